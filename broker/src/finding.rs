//! Things that a command looked at for an operator, each well, worth a warning, or wrong.

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) level: Level,
    /// The state of the thing; unless all is well, with the remedy.
    pub(crate) text: String,
}

/// From well to wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Ok,
    Warning,
    Error,
}

pub(crate) fn ok(text: impl Into<String>) -> Finding {
    Level::Ok.of(text)
}

pub(crate) fn warning(text: impl Into<String>) -> Finding {
    Level::Warning.of(text)
}

pub(crate) fn error(text: impl Into<String>) -> Finding {
    Level::Error.of(text)
}

impl Level {
    fn of(self, text: impl Into<String>) -> Finding {
        Finding {
            level: self,
            text: text.into(),
        }
    }
}

/// The number of those of a level, such as `2 warnings`; `None` where there is none.
pub(crate) fn count(findings: &[Finding], level: Level, noun: &str) -> Option<String> {
    let count = findings.iter().filter(|it| it.level == level).count();
    (count > 0).then(|| counted(count, noun))
}

/// A number of things, such as `1 shard`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}
