//! The hooks of the configuration: their files, read at start and again when they change, and their courier.

use crate::hooks::client::{self, Client, HookFault};
use crate::hooks::{self, Courier, Hooks, Order};
use crate::server::random::seeds;
use crate::server::reload::{Reloadable, Reloader, stamps};
use crate::side::{Running, Shows, StatusBoard, Teller};
use crate::tls_files::first_end_of;
use crate::{failure::Failure, files::FileStamp};
use broker_core::cluster::slot_maps::SlotMap;
use broker_core::settings::Settings;
use std::path::PathBuf;
use std::sync::Arc;

/// The hooks of a start; all empty without any.
#[derive(Default)]
pub(crate) struct Started {
    /// To be run on the side thread.
    pub(crate) courier: Option<Courier>,
    /// The ways to it.
    pub(crate) hooks: Option<Hooks>,
    /// The subject of reloads, and its files as they were just before they were read.
    files: Option<(HookFiles, Vec<FileStamp>)>,
}

/// The files of the hooks in force, on the main thread.
struct HookFiles {
    running: Running,
    hooks: Hooks,
}

/// Reads what the hooks of the settings need; the admin listener shows them, and who reads there gets states as well.
///
/// # Errors
/// [`Failure::Configuration`] with every fault of their files.
pub(crate) fn prepare(
    status: &StatusBoard,
    (epoch, slots): (u64, Option<Arc<SlotMap>>),
    shows: &mut Shows,
) -> Result<(Started, Teller), Failure> {
    let (teller, running) = (shows.readers.teller(), status.running());
    let settings = &running.settings();
    if settings.hooks.is_empty() {
        return Ok((Started::default(), teller));
    }
    let read = stamps(&client::files_of(settings));
    let clients = clients(settings).map_err(Failure::Configuration)?;
    let [seed, ..] = seeds()?;
    let (courier, hooks) = hooks::courier(settings, (epoch, slots), clients, seed);
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
    /// The files are watched from here on.
    pub(crate) fn watch(self, reloader: &mut Reloader) {
        if let Some((files, read)) = self.files {
            reloader.watch(Box::new(files), read);
        }
    }
}

/// The clients of all hooks, with their files as they are.
///
/// # Errors
/// Every fault of these files, a line each.
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

    /// A receiver that was gone gets events again.
    fn acts_unchanged(&self) -> bool {
        true
    }

    fn files(&self) -> Vec<PathBuf> {
        client::files_of(&self.running.settings())
    }

    /// The events that wait stay; a hook that was off is on again.
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
