//! The configuration file. When it changes, it is validated and the changed keys are logged. SIGHUP applies all changes
//! that can be applied at runtime, or none if the file is invalid. Flags given at startup take precedence.
//!
//! Each shard receives the settings as a single value, between two loop iterations. The hook courier receives them
//! first, before any shard starts to report channels according to the new settings.

use crate::config::{self, ServeFlags};
use crate::edge::Post;
use crate::hooks::{Hooks, Order};
use crate::memory;
use crate::server::check::{CheckedConfiguration, check_start};
use crate::server::mailboxes::{Mailboxes, post_to_all};
use crate::server::reload::{Reloadable, Reloader, hooks, stamps};
use crate::side::{FileReport, StatusBoard, set_log_level};
use broker_core::limits::MESSAGE_BOUNDS_MAX;
use broker_core::settings::{SettingChanges, Settings};
use broker_core::shard::Letter;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

pub(crate) struct ConfigurationFile {
    flags: ServeFlags,
    path: PathBuf,
    files: Vec<PathBuf>,
    /// The current configuration, as specified by the file and the flags. Does not include adjustments such as ports
    /// chosen by the system.
    in_force: Settings,
    /// All settings since startup that differ in their message limits. Open connections may still use any of them.
    bounds: Vec<Arc<Settings>>,
    applied: String,
    /// Maximum memory, in bytes, that the settings at startup allow the process to use.
    memory: usize,
    status: StatusBoard,
    hooks: Option<Hooks>,
    mailboxes: Mailboxes,
}

struct Checkup {
    sha256: Box<str>,
    in_force: Settings,
    /// The settings including adjustments made at startup, such as ports chosen by the system.
    running: Arc<Settings>,
    changes: SettingChanges,
}

impl ConfigurationFile {
    /// Watches the configuration file used at startup, unless it is a pipe. Must be called before any file that the
    /// configuration names is watched, so that SIGHUP applies the configuration before it reads those files.
    pub(crate) fn start(
        flags: &ServeFlags,
        checked: &CheckedConfiguration,
        status: &StatusBoard,
        hooks: &hooks::Started,
        mailboxes: &Mailboxes,
        reloader: &mut Reloader,
    ) {
        let CheckedConfiguration {
            settings, sha256, ..
        } = checked;
        // A pipe cannot be read again.
        let Some(path) = settings.config.clone().filter(|path| path.is_file()) else {
            return;
        };
        let running = status.running().settings();
        *status.configuration().lock() = FileReport {
            running: sha256.clone(),
            file: sha256.clone(),
            waiting: SettingChanges::default(),
        };
        let files = files_of(&path, settings);
        let mut read = stamps(&files);
        if config::sha256_of(&path).as_ref() != Some(sha256) {
            read.clear(); // the file has changed since it was read
        }
        let file = Self {
            flags: flags.clone(),
            files,
            path,
            in_force: settings.clone(),
            applied: String::new(),
            memory: memory::bytes(&running),
            bounds: vec![running],
            status: status.clone(),
            hooks: hooks.hooks.clone(),
            mailboxes: Arc::clone(mailboxes),
        };
        reloader.watch(Box::new(file), read);
    }

    /// Reads the file without applying its settings.
    fn look(&mut self) -> Result<Checkup, String> {
        let path = self.path.display();
        if !self.path.is_file() {
            return Err(format!("{path}: not a readable regular file"));
        }
        let draft = config::draft(&self.flags);
        let report = FileReport {
            running: self.status.configuration().lock().running.clone(),
            file: draft.sha256.clone(),
            waiting: SettingChanges::default(),
        };
        *self.status.configuration().lock() = report;
        if let Some(settings) = draft.settings() {
            self.files = files_of(&self.path, settings);
        }
        let checked = check_start(draft, SystemTime::now()).map_err(|error| error.to_string())?;
        let CheckedConfiguration {
            settings, sha256, ..
        } = checked;
        let (in_force, changes) = self.in_force.updated(&settings);
        let (running, _) = self.status.running().settings().updated(&settings);
        config::hold_together(&in_force).map_err(|error| {
            format!("{path}: not valid together with keys that stay as they are until a restart: {error}")
        })?;
        memory::fits(&running, self.memory, memory::limit())
            .map_err(|rule| format!("{path}: {rule}"))?;
        let knows = |of: &Arc<Settings>| of.bounds_messages_as(&running);
        if self.bounds.len() >= MESSAGE_BOUNDS_MAX && !self.bounds.iter().any(knows) {
            return Err(format!(
                "{path}: lengths of messages and [clients] have had {MESSAGE_BOUNDS_MAX} values since the start, and \
                 connections keep theirs: restart the broker to apply another"
            ));
        }
        Ok(Checkup {
            sha256,
            in_force,
            running: Arc::new(running),
            changes,
        })
    }

    fn apply(&mut self, running: &Arc<Settings>, in_force: Settings) -> Result<(), String> {
        let former = self.status.running().settings();
        let courier = self
            .hooks
            .as_ref()
            .filter(|_| former.hooks != running.hooks);
        let clients = courier.map(|_| hooks::clients(running)).transpose()?;
        if former.log_level != running.log_level {
            set_log_level(running.log_level)?;
        }
        if let Some((courier, clients)) = courier.zip(clients) {
            courier.order(Order::Clients(Arc::clone(running), clients));
        }
        if !self.bounds.iter().any(|of| of.bounds_messages_as(running)) {
            self.bounds.push(Arc::clone(running));
        }
        *self.status.running().lock() = Arc::clone(running);
        post_to_all(&self.mailboxes, || {
            Post::Letter(Letter::Settings(Arc::clone(running)))
        });
        self.in_force = in_force;
        Ok(())
    }

    /// Records and logs the changes that require a restart.
    fn report(&self, sha256: Box<str>, changes: SettingChanges) {
        needs_restart(&changes);
        let mut report = self.status.configuration().lock();
        if changes.is_empty() {
            report.running = sha256;
        }
        report.waiting = changes;
    }
}

impl Reloadable for ConfigurationFile {
    fn name(&self) -> &'static str {
        "configuration"
    }

    fn files(&self) -> Vec<PathBuf> {
        self.files.clone()
    }

    fn check(&mut self) -> Option<Result<(), String>> {
        self.applied.clear();
        let looked = self.look();
        Some(looked.map(|checkup| {
            if !checkup.changes.applied.is_empty() {
                let keys = checkup.changes.applied.join(", ");
                tracing::warn!("the configuration file needs a SIGHUP: {keys}");
            }
            self.report(checkup.sha256, checkup.changes);
        }))
    }

    fn reload(&mut self) -> Result<(), String> {
        self.applied.clear();
        let Checkup {
            sha256,
            in_force,
            running,
            mut changes,
        } = self.look()?;
        if !changes.applied.is_empty() {
            self.apply(&running, in_force)?;
            self.applied = std::mem::take(&mut changes.applied).join(", ");
            tracing::info!("configuration in force: {}", self.applied);
        }
        self.report(sha256, changes);
        Ok(())
    }

    fn changed(&self) -> String {
        let waiting = &self.status.configuration().lock().waiting;
        let parts = [
            ("in force", self.applied.clone()),
            ("needs a SIGHUP", waiting.applied.join(", ")),
            ("needs a restart", waiting.restart.join(", ")),
        ];
        let parts = parts.iter().filter(|(_, keys)| !keys.is_empty());
        parts
            .map(|(what, keys)| format!("; {what}: {keys}"))
            .collect()
    }

    fn acts_unchanged(&self) -> bool {
        true
    }

    fn remind(&self) {
        needs_restart(&self.status.configuration().lock().waiting);
    }
}

fn needs_restart(changes: &SettingChanges) {
    if !changes.restart.is_empty() {
        let keys = changes.restart.join(", ");
        tracing::warn!("the configuration file needs a restart: {keys}");
    }
}

/// Returns the files that make up a configuration. Other files that the configuration names are reloaded separately, or
/// read only at startup.
fn files_of(path: &Path, settings: &Settings) -> Vec<PathBuf> {
    let secrets = settings.ice_files.iter().cloned();
    std::iter::once(path.into()).chain(secrets).collect()
}
