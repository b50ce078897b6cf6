//! The files needed to connect to etcd. They are read at startup, when they change, and before each connection attempt.

use crate::etcd_options::{self, EtcdFiles};
use crate::server::reload::{Reloadable, Reloader};
use std::path::PathBuf;

impl EtcdFiles {
    /// Reloads the files when they change. Does nothing if there are none.
    pub(crate) fn watch(&self, reloader: &mut Reloader) {
        if !self.files().is_empty() {
            self.remind();
            reloader.watch(Box::new(self.clone()), self.stamps());
        }
    }
}

impl Reloadable for EtcdFiles {
    fn name(&self) -> &'static str {
        "files of etcd"
    }

    fn files(&self) -> Vec<PathBuf> {
        etcd_options::files_of(&self.settings())
    }

    fn reload(&mut self) -> Result<(), String> {
        self.read().map_err(|faults| etcd_options::told(&faults))?;
        self.remind();
        Ok(())
    }

    fn ends(&self) -> Vec<(&'static str, u64)> {
        let expiry = etcd_options::expiry(&self.settings()).into_iter();
        expiry.map(|it| ("etcd", it.not_after)).collect()
    }

    fn remind(&self) {
        if let Some(expiry) = etcd_options::expiry(&self.settings()) {
            expiry.log();
        }
    }
}
