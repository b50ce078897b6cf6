//! Reloads files that may change while the server runs. The files are polled once a second, and a changed file is read
//! once it is stable.
//!
//! Theory of operation: each poll takes the files' stamps (metadata that changes when a file does). A change is applied
//! once two consecutive polls have seen the same stamps. A half-written file is therefore not read, and neither is a
//! new certificate whose key is not in place yet. The files' contents are applied atomically. An invalid file is logged
//! at once and then every ten minutes until it is valid. [`Reloads`] also shows the rejection on the admin listener,
//! since the rejected change may have been meant to revoke permissions that are still in effect.
//! ```text
//!   look:  stamps equal those of the last read ──► nothing
//!          different from those, and from the last look's ──► wait for the next look
//!          different from those, equal to the last look's ──► read: applied, or the reason is logged
//! ```
//! Files are polled by path, so replacing a symbolic link also counts as a change. Kubernetes updates mounted secrets
//! in this way.

pub(crate) mod accounts;
pub(crate) mod certificate;
pub(crate) mod configuration;
pub(crate) mod credentials;
mod etcd;
pub(crate) mod hooks;
pub(crate) mod token;

use crate::edge::turn::calendar;
use crate::files::{FileStamp, stamp};
use crate::side::{HistoryStore, MarkKind, Reloads, reloaded};
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub(crate) trait Reloadable {
    /// Returns the name used in logs, such as "certificate".
    fn name(&self) -> &'static str;

    fn files(&self) -> Vec<PathBuf>;

    /// Reads the files and applies their contents. On failure, nothing changes. The error states what is wrong, where,
    /// and what is expected.
    fn reload(&mut self) -> Result<(), String>;

    /// Returns the purpose and the expiry of each certificate in use.
    fn ends(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    /// Checks changed files that are applied only when the operator requests it. Returns `None` if changes to these
    /// files are applied automatically.
    fn check(&mut self) -> Option<Result<(), String>> {
        None
    }

    /// Describes what the last reload or check changed, for the history. May be empty.
    fn changed(&self) -> String {
        String::new()
    }

    /// Returns whether a reload has an effect even if no file has changed.
    fn acts_unchanged(&self) -> bool {
        false
    }

    /// Logs anything that will soon need the operator's attention. Called once a day.
    fn remind(&self) {}
}

/// Reloads all files that may change. There is one reloader per process, on the main thread.
#[derive(Default)]
pub(crate) struct Reloader {
    watched: Vec<WatchedFiles>,
    reloads: Reloads,
    /// All reloads appear in this history.
    pub(crate) history: HistoryStore,
}

struct WatchedFiles {
    subject: Box<dyn Reloadable>,
    /// The files' stamps at the last read, whether or not it succeeded.
    read: Vec<FileStamp>,
    /// The stamps seen by the last poll, if they differ from `read`.
    changed: Option<Vec<FileStamp>>,
    /// Why the changed files were rejected, and when this was last logged.
    refused: Option<(String, Instant)>,
}

impl Reloader {
    pub(crate) fn new(reloads: Reloads) -> Self {
        Self {
            reloads,
            ..Self::default()
        }
    }

    /// Watches files that have already been read. `read` contains the [`stamps`] taken before the files were read.
    pub(crate) fn watch(&mut self, subject: Box<dyn Reloadable>, read: Vec<FileStamp>) {
        note(&self.reloads, subject.name(), Ok(subject.ends()));
        self.watched.push(WatchedFiles {
            subject,
            read,
            changed: None,
            refused: None,
        });
    }

    /// Reads all files again at the operator's request, whether or not they have changed.
    pub(crate) fn reload_all(&mut self) {
        if self.watched.is_empty() {
            tracing::info!("nothing to reload");
        }
        for watched in &mut self.watched {
            let read = watched.reload(&self.reloads, true, Instant::now());
            watched.mark(&self.history, read);
        }
    }

    pub(crate) fn remind(&self) {
        self.watched
            .iter()
            .for_each(|watched| watched.subject.remind());
    }

    /// Polls all files, and reads those that have changed and are stable. Returns whether any file was read.
    pub(crate) fn look(&mut self, now: Instant) -> bool {
        let mut is_read = false;
        for watched in &mut self.watched {
            if let Some(reminder) = watched.reminder(now) {
                tracing::error!("{reminder}");
            }
            if let Some(read) = watched.look(&self.reloads, now) {
                watched.mark(&self.history, read);
                is_read = true;
            }
        }
        is_read
    }
}

impl WatchedFiles {
    /// Reads the files if they have changed and are stable. In that case, returns the result of [`Self::reload`].
    fn look(&mut self, reloads: &Reloads, now: Instant) -> Option<bool> {
        let stamps = stamps(&self.subject.files());
        if stamps == self.read {
            self.changed = None;
        } else if self.changed.as_ref() == Some(&stamps) {
            return Some(self.reload(reloads, false, now));
        } else {
            self.changed = Some(stamps);
        }
        None
    }

    /// Reads the files. `is_ordered` is set if the operator requested it. Returns whether the files have changed since
    /// they were last read.
    fn reload(&mut self, reloads: &Reloads, is_ordered: bool, now: Instant) -> bool {
        self.changed = None;
        let former = self.read.clone();
        let read = self.read_again(is_ordered);
        if let Err(error) = &read {
            tracing::error!("the {} stays as it was: {error}", self.subject.name());
        }
        let in_force = read.as_ref().map(|()| self.subject.ends());
        note(reloads, self.subject.name(), in_force);
        self.refused = read.err().map(|error| (error, now));
        self.read != former
    }

    /// Records a reload in the history, with the applied changes or the reason why the files were rejected.
    fn mark(&self, history: &HistoryStore, is_changed: bool) {
        let name = self.subject.name();
        match &self.refused {
            Some((error, _)) => history.mark(MarkKind::Reload, format!("{name} refused: {error}")),
            None if is_changed => {
                let changed = self.subject.changed();
                history.mark(MarkKind::Reload, format!("{name} read again{changed}"));
            }
            None => {}
        }
    }

    /// Reads the files. If they now refer to other files, takes the stamps of all files again and repeats the read.
    fn read_again(&mut self, is_ordered: bool) -> Result<(), String> {
        let name = self.subject.name();
        let former = self.read.clone();
        for _ in 0..2 {
            let files = self.subject.files();
            self.read = stamps(&files);
            let checked = if is_ordered {
                None
            } else {
                self.subject.check()
            };
            let is_checked = checked.is_some();
            checked.unwrap_or_else(|| self.subject.reload())?;
            if self.subject.files() == files {
                if self.read == former && !self.subject.acts_unchanged() {
                    tracing::info!("nothing to reload: the {name} has not changed");
                } else {
                    tracing::info!("{name} {}", if is_checked { "checked" } else { "reloaded" });
                }
                return Ok(());
            }
        }
        tracing::warn!("the list of files of the {name} changed while they were read");
        Ok(())
    }

    /// Returns a log reminder that files were rejected. Returns `None` if the last reminder is less than
    /// [`REFUSED_EVERY`] ago.
    fn reminder(&mut self, now: Instant) -> Option<String> {
        let (error, logged) = self.refused.as_mut()?;
        if now.saturating_duration_since(*logged) < REFUSED_EVERY {
            return None;
        }
        *logged = now;
        let name = self.subject.name();
        Some(format!("the {name} still stays as it was: {error}"))
    }
}

fn note(reloads: &Reloads, name: &'static str, read: Result<Vec<(&'static str, u64)>, &String>) {
    debug_assert!(
        cfg!(test) || reloaded().any(|it| it == name),
        "{name} has a metric"
    );
    let now_ms = calendar().0;
    let mut reloads = reloads.lock();
    let reload = reloads.entry(name).or_default();
    match read {
        Ok(ends) => {
            (reload.succeeded_ms, reload.failed, reload.ends) = (now_ms, None, ends);
        }
        Err(error) => {
            let since_ms = reload
                .failed
                .as_ref()
                .map_or(now_ms, |(since_ms, _)| *since_ms);
            let error: String = error.chars().take(ERROR_CHARS_MAX).collect();
            reload.failed = Some((since_ms, error.into()));
        }
    }
}

const REFUSED_EVERY: Duration = Duration::from_secs(10 * 60);

/// Maximum length of a stored error in characters. Enough for the first few faults in a file.
const ERROR_CHARS_MAX: usize = 2_000;

pub(crate) fn stamps(files: &[PathBuf]) -> Vec<FileStamp> {
    files.iter().map(|file| stamp(file)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::rc::Rc;

    /// Applies a text unless it is "bad". The text "also FILE" names another file to read.
    struct Text {
        file: PathBuf,
        files: Vec<PathBuf>,
        log: Rc<RefCell<Vec<String>>>,
    }

    impl Reloadable for Text {
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
        directory: testkit::Directory,
        file: PathBuf,
        reloader: Reloader,
        reloads: Reloads,
        log: Rc<RefCell<Vec<String>>>,
    }

    impl Case {
        fn new() -> Self {
            let directory = testkit::Directory::temporary();
            let file = directory.join("file");
            fs::write(&file, "first").unwrap();
            let log = Rc::new(RefCell::new(Vec::new()));
            let reloads = Reloads::default();
            let mut reloader = Reloader::new(reloads.clone());
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
                reloads,
                log,
            }
        }

        /// Polls the files `times` times. Returns the texts that were read.
        fn look(&mut self, times: usize) -> Vec<String> {
            for _ in 0..times {
                self.reloader.look(Instant::now());
            }
            self.log.take()
        }
    }

    #[test]
    fn a_changed_file_is_read_once_it_no_longer_changes() {
        let mut case = Case::new();
        assert!(case.look(3).is_empty());
        fs::write(&case.file, "sec").unwrap();
        assert!(case.look(1).is_empty(), "it may not be whole");
        fs::write(&case.file, "second").unwrap();
        assert!(case.look(1).is_empty(), "it was not");
        assert_eq!(case.look(5), ["second"]);
    }

    #[test]
    fn an_invalid_file_is_logged_once_and_a_valid_one_is_loaded() {
        let mut case = Case::new();
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
    fn a_refused_file_is_told_until_a_good_one_is_read() {
        let mut case = Case::new();
        let told = |case: &Case| case.reloads.lock()["text"].clone();
        let first = told(&case);
        assert!(first.succeeded_ms > 0 && first.failed.is_none());
        fs::write(&case.file, "bad").unwrap();
        assert_eq!(case.look(3), ["kept"]);
        let (since_ms, why) = told(&case).failed.unwrap();
        assert!(since_ms >= first.succeeded_ms && &*why == "bad");
        let later = |minutes: u64| Instant::now() + Duration::from_secs(minutes * 60);
        let mut reminds = |now| case.reloader.watched[0].reminder(now);
        assert_eq!(reminds(later(9)), None);
        let line = "the text still stays as it was: bad";
        assert_eq!(reminds(later(11)).as_deref(), Some(line));
        assert_eq!(reminds(later(12)), None);
        assert_eq!(reminds(later(22)).as_deref(), Some(line));
        case.reloader.reload_all();
        let again = told(&case).failed.unwrap();
        assert_eq!(again.0, since_ms, "since the first that failed");
        fs::write(&case.file, "better").unwrap();
        case.look(3);
        assert!(told(&case).failed.is_none());
        assert_eq!(case.reloader.watched[0].reminder(later(40)), None);
    }

    #[test]
    fn a_swapped_link_is_a_change() {
        let mut case = Case::new();
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
        let mut case = Case::new();
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
        let mut case = Case::new();
        case.reloader.reload_all();
        assert_eq!(case.log.take(), ["first"]);
        assert!(case.look(3).is_empty());
    }
}
