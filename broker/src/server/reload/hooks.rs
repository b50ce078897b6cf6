//! The hook courier, and the files of the configured hooks. They are read at startup and when they change.

use crate::failure::{Failure, Fallible};
use crate::files::FileStamp;
use crate::hooks::client::{self, Client, HookFault};
use crate::hooks::{Courier, Hooks, Order};
use crate::server::random::seeds;
use crate::server::reload::{Reloadable, Reloader, stamps};
use crate::side::{Running, Shows, StatusBoard, Teller};
use crate::tls_files::first_end_of;
use broker_core::cluster::slot_maps::SlotMap;
use broker_core::settings::Settings;
use std::path::PathBuf;
use std::sync::Arc;

/// The hooks as prepared at startup. All fields are empty if no hooks are configured.
#[derive(Default)]
pub(crate) struct Started {
    pub(crate) courier: Option<Courier>,
    pub(crate) hooks: Option<Hooks>,
    /// The reloadable files, with the stamps taken just before the files were read.
    files: Option<(HookFiles, Vec<FileStamp>)>,
}

struct HookFiles {
    running: Running,
    hooks: Hooks,
}

/// Reads the files of the configured hooks and creates the courier. The returned [`Teller`] passes channel states to
/// the event streams of the admin listener. Fails with [`Failure::Configuration`], which lists all faults in the files.
pub(crate) fn prepare(
    status: &StatusBoard,
    (epoch, slots): (u64, Option<Arc<SlotMap>>),
    shows: &mut Shows,
) -> Fallible<(Started, Teller)> {
    let (teller, running) = (shows.readers.teller(), status.running());
    let settings = &running.settings();
    if settings.hooks.is_empty() {
        return Ok((Started::default(), teller));
    }
    let read = stamps(&client::files_of(settings));
    let clients = clients(settings).map_err(Failure::Configuration)?;
    let [seed, ..] = seeds()?;
    let (courier, hooks) = Courier::new(settings, (epoch, slots), clients, seed);
    let files = HookFiles {
        running: running.clone(),
        hooks: hooks.clone(),
    };
    shows.hooks = Some(hooks.clone());
    let started = Started {
        courier: Some(courier),
        hooks: Some(hooks),
        files: Some((files, read)),
    };
    Ok((started, teller))
}

impl Started {
    pub(crate) fn watch(self, reloader: &mut Reloader) {
        if let Some((files, read)) = self.files {
            reloader.watch(Box::new(files), read);
        }
    }
}

/// Creates the clients of all hooks from the current files. The error lists the faults in the files, one per line.
pub(crate) fn clients(settings: &Settings) -> Result<Vec<Client>, String> {
    let told = |HookFault { key, path, rule }| format!("{key} = {}: {rule}", path.display());
    client::clients(settings).map_err(|faults| {
        let faults: Vec<_> = faults.into_iter().map(told).collect();
        faults.join("\n")
    })
}

impl Reloadable for HookFiles {
    fn name(&self) -> &'static str {
        "files of hooks"
    }

    /// Returns `true`, since a reload resumes sending to receivers that have responded with 410.
    fn acts_unchanged(&self) -> bool {
        true
    }

    fn files(&self) -> Vec<PathBuf> {
        client::files_of(&self.running.settings())
    }

    /// Keeps the queued events, and resumes sending to receivers that have responded with 410.
    fn reload(&mut self) -> Result<(), String> {
        let settings = self.running.settings();
        let clients = clients(&settings)?;
        self.hooks.order(Order::Clients(settings, clients));
        Ok(())
    }

    fn ends(&self) -> Vec<(&'static str, u64)> {
        let settings = self.running.settings();
        let hooks = settings.hooks.iter();
        let files = hooks.flat_map(|hook| hook.client.iter().map(|(cert, _)| cert).chain(&hook.ca));
        let ends = files.filter_map(|file| first_end_of(file));
        ends.map(|end| ("hook", end)).collect()
    }
}
