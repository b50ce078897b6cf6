//! The admin listener's token file. It is read at startup and when it changes.

use crate::failure::{Failure, Fallible};
use crate::files::{self, Token};
use crate::server::check::used_token_file;
use crate::server::reload::{Reloadable, Reloader, stamps};
use crate::side::Tokens;
use broker_core::settings::Settings;
use std::path::PathBuf;
use tokio::sync::watch;

/// The valid tokens. Exists only if there is a token file, and is owned by the main thread.
struct TokenFile {
    path: PathBuf,
    of_side: watch::Sender<Vec<Token>>,
}

/// Reads the tokens from the configured file, if the broker uses one, and watches that file for changes. Fails with
/// [`Failure::Configuration`] if the file cannot be read.
pub(crate) fn find(settings: &Settings, reloader: &mut Reloader) -> Fallible<Option<Tokens>> {
    let Some(path) = used_token_file(settings) else {
        return Ok(None);
    };
    let (of_side, in_force) = watch::channel(Vec::new());
    let mut file = TokenFile {
        path: path.clone(),
        of_side,
    };
    let read = stamps(&file.files());
    file.reload().map_err(Failure::Configuration)?;
    reloader.watch(Box::new(file), read);
    Ok(Some(Tokens::new(in_force)))
}

impl Reloadable for TokenFile {
    fn name(&self) -> &'static str {
        "admin token"
    }

    fn files(&self) -> Vec<PathBuf> {
        vec![self.path.clone()]
    }

    /// Replaces the tokens that requests must carry. Closes the event streams that were opened with a revoked token.
    fn reload(&mut self) -> Result<(), String> {
        let refused = |rule| format!("admin.token_file = {}: {rule}", self.path.display());
        let tokens = files::tokens(&self.path).map_err(refused)?;
        self.of_side.send_replace(tokens);
        Ok(())
    }
}
