//! Faults of files, in the order found; the first ones are kept.

use crate::channels::limits::FAULTS_SHOWN_MAX;
use crate::failure::Failure;
use crate::terminal::plain;
use std::path::Path;

/// The place of something: its file and the document's number in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'f> {
    pub(crate) file: &'f Path,
    pub(crate) document: u32,
}

/// Faults of the files of one import.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    shown: Vec<String>,
    count: usize,
}

impl Faults {
    /// Something is wrong with a file as a whole, or at a place that `text` begins with.
    pub(crate) fn of_file(&mut self, file: &Path, text: &str) {
        self.add(|| format!("{}: {}", file.display(), plain(text)));
    }

    /// Something is wrong with a channel: `text` says what, and what is allowed.
    pub(crate) fn of_channel(&mut self, source: Source<'_>, name: &str, text: &str) {
        let Source { file, document } = source;
        self.add(|| {
            let (file, name) = (file.display(), plain(&shortened(name)));
            format!(
                "{file}: channel {name} (document {document}): {}",
                plain(text)
            )
        });
    }

    fn add(&mut self, text: impl FnOnce() -> String) {
        self.count += 1;
        if self.shown.len() < FAULTS_SHOWN_MAX {
            self.shown.push(text());
        }
    }

    /// The number of faults.
    pub(crate) const fn count(&self) -> usize {
        self.count
    }

    /// Ends the command if there is a fault: a line each, and `outcome`.
    ///
    /// # Errors
    /// [`Failure::Configuration`].
    pub(crate) fn none_or(&mut self, outcome: &str) -> Result<(), Failure> {
        if self.count == 0 {
            return Ok(());
        }
        let more = self.count - self.shown.len();
        if more > 0 {
            self.shown.push(format!("{more} more faults are not shown"));
        }
        self.shown.push(outcome.into());
        Err(Failure::Configuration(
            std::mem::take(&mut self.shown).join("\n"),
        ))
    }
}

/// A name as far as a channel's can be long: that of a file may be anything.
fn shortened(name: &str) -> String {
    let most = codec::limits::WORD_BYTES;
    match name.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &name[..at]),
        None => name.into(),
    }
}
