//! Output of subcommands. Escapes untrusted text, formats findings with their level, applies colors and line widths on
//! a terminal, and suggests names for misspelled ones. All printed and logged text passes through [`shown`].

use crate::failure::Failure;
use rustix::termios::tcgetwinsize;
use serde_json::Value;
use std::borrow::Cow;
use std::fmt::{Display, Write};
use std::io::{self, IsTerminal, Write as _};
use std::os::fd::AsFd;
use strsim::osa_distance;

/// Prints text to stdout.
///
/// # Errors
/// Returns [`Failure::Fatal`] if the text cannot be written.
pub fn print(text: &str) -> Result<(), Failure> {
    write(&mut io::stdout(), text)
}

/// Prints a line to stderr. Ignores errors, since the exit code has already been decided.
pub fn say(line: &impl Display) {
    let _ = writeln!(io::stderr(), "{}", shown(&line.to_string()));
}

/// Writes text to `out`. Returns [`Failure::Fatal`] if the text cannot be written. A pipe closed by its reader, such as
/// `head`, is not an error.
pub(crate) fn write(out: &mut dyn io::Write, text: &str) -> Result<(), Failure> {
    is_read(out, text).map(|_| ())
}

/// Writes text to `out`. Returns `false` if the reader has closed the pipe, and the same errors as [`write`].
pub(crate) fn is_read(out: &mut dyn io::Write, text: &str) -> Result<bool, Failure> {
    obeyed(out, &shown(text))
}

/// Draws a screen over the previous one. Returns the same errors as [`write`].
pub(crate) fn draw(out: &mut dyn io::Write, text: &str) -> Result<(), Failure> {
    let lines = shown(text).replace('\n', "\u{1b}[K\n");
    obeyed(out, &format!("\u{1b}[H{lines}\u{1b}[J")).map(|_| ())
}

/// Writes control sequences to a terminal. Returns `false` if the reader has closed the pipe, and the same errors as
/// [`write`].
pub(crate) fn obeyed(out: &mut dyn io::Write, text: &str) -> Result<bool, Failure> {
    let written = out.write_all(text.as_bytes());
    match written.and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::Fatal(format!("stdout: {error}"))),
    }
}

/// Escapes all characters that a terminal would interpret or that change the text direction.
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

/// Formats a JSON document, escaping the characters that a terminal would interpret.
pub(crate) fn json(document: &Value) -> String {
    shown(&document.to_string()).into_owned()
}

/// Formats a member of a document, without quotes if it is a string. Returns `None` if it is absent or null.
pub(crate) fn member(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(plain(text)),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => Some(json(value)),
    }
}

/// Escapes all characters that a terminal would interpret, except line breaks and colors. Uses JSON's escape sequences,
/// so a JSON parser sees no difference.
pub(crate) fn shown(lines: &str) -> Cow<'_, str> {
    let is_unfit = |c: char| is_obeyed(c) && c != '\n';
    let Some(mut at) = lines.find(is_unfit) else {
        return Cow::Borrowed(lines);
    };
    let (mut shown, mut rest) = (String::with_capacity(lines.len() + 16), lines);
    loop {
        let (before, from) = rest.split_at(at);
        shown.push_str(before);
        let style = style(from);
        shown.push_str(style);
        rest = from.get(style.len()..).unwrap_or_default();
        if style.is_empty() {
            let mut left = rest.chars();
            // All escaped characters have codes below 65,536. In JSON documents, they occur only in strings.
            let c = u32::from(left.next().unwrap_or_default());
            let _ = write!(shown, "\\u{c:04x}"); // writing to a String never fails
            rest = left.as_str();
        }
        let Some(next) = rest.find(is_unfit) else {
            shown.push_str(rest);
            return Cow::Owned(shown);
        };
        at = next;
    }
}

/// Returns the escape sequence for a color or weight at the start of `text`, such as `ESC [ 1 m`. Returns an empty
/// string for any other sequence, such as one that hides text.
fn style(text: &str) -> &str {
    let end = text.strip_prefix("\x1b[").and_then(|rest| rest.find('m'));
    let whole = end.and_then(|end| text.get(.."\x1b[m".len() + end));
    let codes = whole.and_then(|whole| whole.get(2..whole.len() - 1));
    let is_mild = |code: &str| {
        let code = code.parse::<u8>();
        code.is_ok_and(|code| matches!(code, 0..=4 | 22..=24 | 31..=37 | 39 | 91..=97))
    };
    let is_style = codes.is_some_and(|codes| codes.split(';').all(is_mild));
    whole.filter(|_| is_style).unwrap_or_default()
}

/// Returns whether a terminal would interpret a character, or the character changes the text direction.
pub(crate) fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

// Output streams. A terminal has a width and may have colors; a pipe or a file has neither.

/// The display properties of an output stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    /// Characters per line, or `None` if the output is not a terminal.
    columns: Option<usize>,
    colours: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    Bold,
    Red,
    Green,
    Yellow,
}

impl Screen {
    /// Properties of a pipe or a file. Also used in tests.
    pub const PLAIN: Self = Self {
        columns: None,
        colours: false,
    };

    /// Properties for text that another program will display, with lines of the usual width.
    pub(crate) const EIGHTY: Self = Self {
        columns: Some(COLUMNS),
        colours: false,
    };

    #[cfg(test)]
    pub(crate) const NARROW: Self = Self {
        columns: Some(20),
        colours: true,
    };

    /// Returns the display properties of standard output.
    #[must_use]
    pub fn stdout() -> Self {
        Self::of(&io::stdout())
    }

    /// Returns the display properties of standard error.
    #[must_use]
    pub fn stderr() -> Self {
        Self::of(&io::stderr())
    }

    fn of(stream: &(impl AsFd + IsTerminal)) -> Self {
        if !stream.is_terminal() {
            return Self::PLAIN;
        }
        let columns = tcgetwinsize(stream).map_or(0, |size| usize::from(size.ws_col));
        let variable = |name| std::env::var_os(name).unwrap_or_default();
        Self {
            // Some terminals report no width.
            columns: Some(if columns == 0 { COLUMNS } else { columns }),
            // Any value of NO_COLOR disables colors, unless it is empty (https://no-color.org).
            colours: variable("NO_COLOR").is_empty() && variable("TERM") != "dumb",
        }
    }

    /// Returns whether the output is a terminal.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        self.columns.is_some()
    }

    pub(crate) fn rows(self) -> usize {
        let rows = tcgetwinsize(io::stdout()).map_or(0, |size| usize::from(size.ws_row));
        if rows == 0 { ROWS } else { rows }
    }

    pub(crate) fn cut(self, line: &str) -> String {
        line.chars()
            .take(self.columns.unwrap_or(usize::MAX))
            .collect()
    }

    pub(crate) fn paint(self, colour: Colour, text: &str) -> String {
        if !self.colours {
            return text.to_owned();
        }
        let number = match colour {
            Colour::Bold => "1",
            Colour::Red => "31",
            Colour::Green => "32",
            Colour::Yellow => "33",
        };
        format!("\u{1b}[{number}m{text}\u{1b}[0m")
    }

    /// Wraps a long line between words, and indents the continuation lines.
    pub(crate) fn wrapped(self, line: &str, indent: usize) -> String {
        let Some(columns) = self.columns.filter(|it| line.chars().count() > *it) else {
            return line.to_owned();
        };
        let indent = indent.min(columns / 2);
        let (mut out, mut width) = (String::new(), 0);
        for word in line.split_inclusive(' ') {
            let length = word.trim_end().chars().count();
            if width > indent && width + length > columns {
                out.truncate(out.trim_end().len());
                out.push('\n');
                out.extend(std::iter::repeat_n(' ', indent));
                width = indent;
            }
            out.push_str(word);
            width += word.chars().count();
        }
        out
    }

    pub(crate) fn show(self, text: &str, colour: impl Fn(&str) -> Option<Colour>) -> String {
        if !self.is_terminal() {
            return text.to_owned();
        }
        let mut out = String::new();
        for line in text.lines() {
            let begins = line.len() - line.trim_start().len();
            let shown = self.wrapped(line, begins + 2);
            out.push_str(&match colour(line) {
                Some(colour) => self.paint(colour, &shown),
                None => shown,
            });
            out.push('\n');
        }
        out
    }

    /// Formats a command's failure, preceded by `error:` on a terminal.
    #[must_use]
    pub fn failure(self, failure: &Failure) -> String {
        if !self.is_terminal() || matches!(failure, Failure::Warnings(_)) {
            return format!("{failure}\n");
        }
        let shown = self.show(&format!("error: {failure}"), |_| None);
        shown.replacen("error:", &self.paint(Colour::Red, "error:"), 1)
    }
}

const COLUMNS: usize = 80;
const ROWS: usize = 24;

// Name suggestions for misspelled names.

/// Suggests the name that is most similar to `written`, in the form `; the nearest is NAME`. Returns an empty string if
/// no name is similar. Ignores case, and treats `-` and `_` as equal.
pub(crate) fn nearest(written: &str, names: &[&str]) -> String {
    let written: String = letters(written).take(WRITTEN_MAX).collect();
    let edits = |name: &&&str| {
        let name: String = letters(name).collect();
        let begins = written.len() >= BEGINNING_MIN && name.starts_with(&written);
        if begins {
            0
        } else {
            osa_distance(&name, &written)
        }
    };
    let found = names.iter().min_by_key(edits);
    let found = found.filter(|name| edits(name) <= written.len() / 4 + 1);
    found.map_or_else(String::new, |name| format!("; the nearest is {name}"))
}

fn letters(text: &str) -> impl Iterator<Item = char> {
    let is_counted = |char: &char| !matches!(char, '-' | '_');
    text.chars()
        .filter(is_counted)
        .map(|char| char.to_ascii_lowercase())
}

/// Maximum number of characters to compare. Longer than any name.
const WRITTEN_MAX: usize = 64;

/// Minimum number of characters that must match the start of a name before it is suggested.
const BEGINNING_MIN: usize = 4;

// Findings of commands, with their level.

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) level: Level,
    pub(crate) text: String,
}

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

pub(crate) fn count(findings: &[Finding], level: Level, noun: &str) -> Option<String> {
    let count = findings.iter().filter(|it| it.level == level).count();
    (count > 0).then(|| counted(count, noun))
}

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
    fn lines_and_colours_stay_and_nothing_else_that_is_obeyed() {
        for (text, wanted) in [
            ("two\nlines of Grüße\n", "two\nlines of Grüße\n"),
            ("\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m"),
            ("\x1b[8mhidden\x1b[1;8m", r"\u001b[8mhidden\u001b[1;8m"),
            (
                "\x1b[2J\x1b]0;title\x07\r\t",
                r"\u001b[2J\u001b]0;title\u0007\u000d\u0009",
            ),
            ("\x1b[m\x1b[", r"\u001b[m\u001b["),
            ("a\u{202e}b\u{9b}1m", r"a\u202eb\u009b1m"),
        ] {
            assert_eq!(shown(text), wanted);
        }
    }

    #[test]
    fn a_terminal_has_colours_and_a_width_and_a_pipe_neither() {
        let narrow = Screen::NARROW;
        let line = "ok    three words which are long";
        assert_eq!(
            narrow.wrapped(line, 6),
            "ok    three words\n      which are long"
        );
        assert_eq!(
            narrow.wrapped("as-long-as-it-is-without-a-break", 4),
            "as-long-as-it-is-without-a-break"
        );
        assert_eq!(Screen::PLAIN.wrapped(line, 6), line);
        assert_eq!(narrow.paint(Colour::Red, "x"), "\u{1b}[31mx\u{1b}[0m");
        assert_eq!(Screen::PLAIN.paint(Colour::Red, "x"), "x");
        let bold = |line: &str| line.starts_with('a').then_some(Colour::Bold);
        assert_eq!(narrow.show("a\n  b\n", bold), "\u{1b}[1ma\u{1b}[0m\n  b\n");
        assert_eq!(Screen::PLAIN.show("a\n  b\n", bold), "a\n  b\n");
        let (no, warnings) = (
            Failure::Fatal("no".into()),
            Failure::Warnings("2 warnings".into()),
        );
        assert_eq!(narrow.failure(&no), "\u{1b}[31merror:\u{1b}[0m no\n");
        assert_eq!(narrow.failure(&warnings), "2 warnings\n");
        assert_eq!(Screen::PLAIN.failure(&no), "no\n");
    }

    #[test]
    fn a_document_stays_the_same_to_readers_of_json() {
        let document = Value::from(vec!["a\u{9b}2J\u{202e}\u{1b}\"\\ Grüße"]);
        let text = json(&document);
        assert_eq!(text, r#"["a\u009b2J\u202e\u001b\"\\ Grüße"]"#);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), document);
    }
}
