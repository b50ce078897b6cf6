//! What subcommands print: texts of the wire as a terminal may show them, and findings with their level.

use crate::failure::Failure;
use serde_json::Value;
use std::fmt::Write;
use std::io;

/// Prints a text on stdout.
///
/// # Errors
/// As of [`write`].
pub fn print(text: &str) -> Result<(), Failure> {
    write(&mut io::stdout(), text)
}

/// Writes a text. A reader that has enough of it, such as `head`, is no failure.
///
/// # Errors
/// [`Failure::Fatal`] when it cannot be written.
pub(crate) fn write(out: &mut dyn io::Write, text: &str) -> Result<(), Failure> {
    is_read(out, text).map(|_| ())
}

/// The same; `false` when the reader has enough.
///
/// # Errors
/// As of [`write`].
pub(crate) fn is_read(out: &mut dyn io::Write, text: &str) -> Result<bool, Failure> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::Fatal(format!("stdout: {error}"))),
    }
}

/// A text without anything that a terminal would obey, or that would turn the direction of what it shows.
pub(crate) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if is_obeyed(c) {
            plain.extend(c.escape_default());
        } else {
            plain.push(c);
        }
    }
    plain
}

/// A JSON document without anything that a terminal would obey: such characters are escaped by their numbers, which
/// every reader of JSON takes for the same.
pub(crate) fn json(document: &Value) -> String {
    let text = document.to_string();
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if is_obeyed(c) {
            // None of them is beyond the first 65,536 characters, and outside of strings JSON has none.
            let _ = write!(plain, "\\u{:04x}", u32::from(c));
        } else {
            plain.push(c);
        }
    }
    plain
}

/// Whether a terminal would act on a character, or turn the direction of what it shows.
pub(crate) fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

// Things that a command looked at for an operator, each well, worth a warning, or wrong.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_has_enough_is_no_failure() {
        let (reader, mut pipe) = io::pipe().unwrap();
        assert_eq!(is_read(&mut pipe, "one line\n"), Ok(true));
        drop(reader);
        assert_eq!(is_read(&mut pipe, "another one\n"), Ok(false));
        assert_eq!(write(&mut pipe, "another one\n"), Ok(()));
        let full = &mut [0_u8; 1][..];
        assert!(matches!(
            write(&mut { full }, "two"),
            Err(Failure::Fatal(_))
        ));
    }

    #[test]
    fn what_a_terminal_would_obey_is_written_out() {
        assert_eq!(plain("v\u{1b}[2J\n"), r"v\u{1b}[2J\n");
        assert_eq!(plain("\u{61c}1"), r"\u{61c}1");
        assert_eq!(plain("a\u{202e}b\u{2066}"), r"a\u{202e}b\u{2066}");
        assert_eq!(plain("Grüße 日本"), "Grüße 日本");
    }

    #[test]
    fn a_document_stays_the_same_to_readers_of_json() {
        let document = Value::from(vec!["a\u{9b}2J\u{202e}\u{1b}\"\\ Grüße"]);
        let text = json(&document);
        assert_eq!(text, r#"["a\u009b2J\u202e\u001b\"\\ Grüße"]"#);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), document);
    }
}
