//! Files that may change under a running server: polled once a second, read again when they have changed and are
//! stable.
//!
//! Theory of operation. What a file is at one look is its [`Stamp`]. A change is acted on when two looks in a row see
//! the same stamps, so that a file is not read while it is being written, nor a certificate before its key. What was
//! read is put in force whole or not at all; an invalid file is logged once, and again when it has changed.
//! ```text
//!   look:  stamps as when last read ──► nothing
//!          other than then, and other than at the last look ──► wait for the next look
//!          other than then, and the same as at the last look ──► read: in force, or logged why not
//! ```
//! Looks are by path, so a symbolic link that is swapped (as Kubernetes does with mounted secrets) is a change as well.

pub(crate) mod accounts;
pub(crate) mod certificate;
pub(crate) mod credentials;
pub(crate) mod hooks;

use crate::files::{Stamp, stamp};
use std::path::PathBuf;

/// Something that is read from files and put in force for what comes after.
pub(crate) trait Subject {
    /// The subject's name in the log, such as "certificate".
    fn name(&self) -> &'static str;

    /// The files that it was read from, or that it would be read from.
    fn files(&self) -> Vec<PathBuf>;

    /// Reads the files and puts what they say in force, or changes nothing.
    ///
    /// # Errors
    /// The fault, its place, and what is allowed.
    fn reload(&mut self) -> Result<(), String>;

    /// Logs what will need the operator's care soon. Called once a day.
    fn remind(&self) {}
}

/// All that can be reloaded. One per process, on the main thread.
#[derive(Default)]
pub(crate) struct Reloader {
    watched: Vec<WatchedFiles>,
}

struct WatchedFiles {
    subject: Box<dyn Subject>,
    /// The files as they were when they were last read, well or not.
    read: Vec<Stamp>,
    /// Other than `read`, at the last look.
    changed: Option<Vec<Stamp>>,
}

impl Reloader {
    /// Watches what was read when its files were as `read` says: take those [`stamps`] before reading.
    pub(crate) fn watch(&mut self, subject: Box<dyn Subject>, read: Vec<Stamp>) {
        self.watched.push(WatchedFiles {
            subject,
            read,
            changed: None,
        });
    }

    /// Whether there is anything to look at.
    pub(crate) fn is_empty(&self) -> bool {
        self.watched.is_empty()
    }

    /// Reads everything again, changed or not: the operator says so.
    pub(crate) fn reload_all(&mut self) {
        if self.is_empty() {
            tracing::info!("nothing to reload");
        }
        self.watched.iter_mut().for_each(WatchedFiles::reload);
    }

    /// Logs what will need the operator's care soon.
    pub(crate) fn remind(&self) {
        self.watched
            .iter()
            .for_each(|watched| watched.subject.remind());
    }

    /// Looks at every file, and reads again what has changed and is the same since the look before.
    pub(crate) fn look(&mut self) {
        self.watched.iter_mut().for_each(WatchedFiles::look);
    }
}

impl WatchedFiles {
    fn look(&mut self) {
        let stamps = stamps(&self.subject.files());
        if stamps == self.read {
            self.changed = None;
        } else if self.changed.as_ref() == Some(&stamps) {
            self.reload();
        } else {
            self.changed = Some(stamps);
        }
    }

    /// Reads the files. If they name others than before, stamps those and reads once more.
    fn reload(&mut self) {
        self.changed = None;
        for _ in 0..2 {
            let files = self.subject.files();
            self.read = stamps(&files);
            let name = self.subject.name();
            if let Err(error) = self.subject.reload() {
                return tracing::error!("the {name} stays as it was: {error}");
            }
            if self.subject.files() == files {
                return tracing::info!("{name} reloaded");
            }
        }
        tracing::warn!(
            "the {} was read while its list of files changed",
            self.subject.name()
        );
    }
}

/// The stamps of the files at this moment, in their order.
pub(crate) fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    files.iter().map(|file| stamp(file)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::rc::Rc;

    /// Puts a text in force unless it is "bad"; a text "also FILE" names another file.
    struct Text {
        file: PathBuf,
        files: Vec<PathBuf>,
        log: Rc<RefCell<Vec<String>>>,
    }

    impl Subject for Text {
        fn name(&self) -> &'static str {
            "text"
        }

        fn files(&self) -> Vec<PathBuf> {
            self.files.clone()
        }

        fn reload(&mut self) -> Result<(), String> {
            let text = fs::read_to_string(&self.file).map_err(|error| error.to_string());
            let text = text.and_then(|text| match text.as_str() {
                "bad" => Err("bad".into()),
                _ => Ok(text),
            });
            let said = match &text {
                Ok(text) => text.clone(),
                Err(_) => "kept".into(),
            };
            self.log.borrow_mut().push(said);
            let text = text?;
            self.files = vec![self.file.clone()];
            self.files
                .extend(text.strip_prefix("also ").map(PathBuf::from));
            Ok(())
        }
    }

    struct Case {
        directory: PathBuf,
        file: PathBuf,
        reloader: Reloader,
        log: Rc<RefCell<Vec<String>>>,
    }

    impl Case {
        fn new(name: &str) -> Self {
            let directory = std::env::temp_dir()
                .join(format!("heliograph-reload-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&directory);
            fs::create_dir_all(&directory).unwrap();
            let file = directory.join("file");
            fs::write(&file, "first").unwrap();
            let log = Rc::new(RefCell::new(Vec::new()));
            let mut reloader = Reloader::default();
            let files = vec![file.clone()];
            let read = stamps(&files);
            let text = Text {
                file: file.clone(),
                files,
                log: Rc::clone(&log),
            };
            reloader.watch(Box::new(text), read);
            Self {
                directory,
                file,
                reloader,
                log,
            }
        }

        /// Looks this many times; returns what was read meanwhile.
        fn look(&mut self, times: usize) -> Vec<String> {
            for _ in 0..times {
                self.reloader.look();
            }
            self.log.take()
        }
    }

    impl Drop for Case {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }

    #[test]
    fn a_changed_file_is_read_once_it_no_longer_changes() {
        let mut case = Case::new("unchanged");
        assert!(case.look(3).is_empty());
        fs::write(&case.file, "sec").unwrap();
        assert!(case.look(1).is_empty(), "it may not be whole");
        fs::write(&case.file, "second").unwrap();
        assert!(case.look(1).is_empty(), "it was not");
        assert_eq!(case.look(5), ["second"]);
    }

    #[test]
    fn an_invalid_file_is_logged_once_and_a_valid_one_is_loaded() {
        let mut case = Case::new("bad");
        fs::write(&case.file, "bad").unwrap();
        assert_eq!(case.look(5), ["kept"]);
        fs::write(&case.file, "better").unwrap();
        assert_eq!(case.look(5), ["better"]);
        fs::remove_file(&case.file).unwrap();
        assert_eq!(case.look(5), ["kept"]);
        fs::write(&case.file, "back").unwrap();
        assert_eq!(case.look(5), ["back"]);
    }

    #[test]
    fn a_swapped_link_is_a_change() {
        let mut case = Case::new("link");
        let (old, new) = (case.directory.join("old"), case.directory.join("new"));
        fs::create_dir(&old).unwrap();
        fs::create_dir(&new).unwrap();
        fs::write(old.join("text"), "older").unwrap();
        fs::write(new.join("text"), "newer").unwrap();
        let data = case.directory.join("data");
        symlink(&old, &data).unwrap();
        fs::remove_file(&case.file).unwrap();
        symlink(data.join("text"), &case.file).unwrap();
        assert_eq!(case.look(2), ["older"]);
        let beside = case.directory.join("data.tmp");
        symlink(&new, &beside).unwrap();
        fs::rename(&beside, &data).unwrap();
        assert_eq!(case.look(2), ["newer"]);
    }

    #[test]
    fn files_that_a_file_names_are_watched_too() {
        let mut case = Case::new("also");
        let other = case.directory.join("other");
        fs::write(&other, "1").unwrap();
        let text = format!("also {}", other.display());
        fs::write(&case.file, &text).unwrap();
        assert_eq!(
            case.look(2),
            [text.clone(), text.clone()],
            "stamped before it is read"
        );
        assert!(case.look(3).is_empty());
        fs::write(&other, "22").unwrap();
        assert_eq!(case.look(2), [text]);
    }

    #[test]
    fn the_operator_needs_no_change() {
        let mut case = Case::new("operator");
        case.reloader.reload_all();
        assert_eq!(case.log.take(), ["first"]);
        assert!(case.look(3).is_empty());
    }
}
