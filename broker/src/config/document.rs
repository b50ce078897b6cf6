//! Reads a TOML document key by key. Faults are recorded with their positions, and reading continues after a fault.
//!
//! A [`Document`] contains the text and the findings so far, and a [`TableReader`] reads one of its tables. Reading a
//! key marks it as known. Any keys that have not been read by the end of their table are reported as unknown.

use crate::config::draft::{Fault, Findings, ValuePlace};
use crate::terminal::nearest;
use broker_core::settings::value::Checked;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub(crate) struct Document<'d> {
    text: &'d str,
    lines: Vec<usize>,
    /// Whether the document may contain secrets. If so, error messages omit the values of unknown keys, since an
    /// unknown key may be the misspelled name of a secret.
    confidential: bool,
    findings: Findings,
}

pub(crate) type Raw<'d> = DeValue<'d>;

impl<'d> Document<'d> {
    pub(crate) fn new(text: &'d str) -> Self {
        let breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            text,
            lines: std::iter::once(0).chain(breaks).collect(),
            confidential: false,
            findings: Findings::default(),
        }
    }

    /// Creates a document in which any value may be a secret.
    pub(crate) fn confidential(text: &'d str) -> Self {
        Self {
            confidential: true,
            ..Self::new(text)
        }
    }

    /// Reads the root table with `read`, then reports all keys that `read` did not look up. If the text is not valid
    /// TOML, returns an error that states why, and does not call `read`.
    pub(crate) fn read(
        self,
        read: impl FnOnce(&mut TableReader<'_, '_>),
    ) -> Result<Findings, Findings> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        let mut document: Document<'_> = self; // shortens the lifetime to that of the table
        if errors.is_empty() {
            TableReader::walk(&mut document, String::new(), table.get_ref(), read);
            return Ok(document.findings);
        }
        for error in errors {
            let place = document.place(&error.span().unwrap_or(0..0));
            let rule = error.message().lines().collect::<Vec<_>>().join(", ");
            let fault = Fault::of_text(place, rule);
            document.findings.faults.push(fault);
        }
        Err(document.findings)
    }

    fn note_place(&mut self, key: &str, span: &Range<usize>) {
        let place = self.place(span);
        self.findings.written(key, place);
    }

    fn place(&self, span: &Range<usize>) -> ValuePlace {
        let line = self.lines.partition_point(|begin| *begin <= span.start);
        let begin = self.lines.get(line.saturating_sub(1)).copied();
        let before = self.text.get(begin.unwrap_or_default()..span.start);
        let column = before.unwrap_or_default().chars().count() + 1;
        ValuePlace::File { line, column }
    }

    fn fault(&mut self, key: &str, value: &Spanned<Raw<'_>>, rule: String) {
        let value = self.excerpt(key, value);
        self.findings.fault(key, value, rule);
    }

    /// Quotes a value from the document on a single line, truncating long values.
    fn excerpt(&self, key: &str, value: &Spanned<Raw<'_>>) -> String {
        let last = key.rsplit('.').next().unwrap_or(key);
        let secret = ["secret", "password", "token"]
            .iter()
            .any(|word| last.contains(word));
        if secret && !last.ends_with("_file") {
            return REDACTED.into();
        }
        let written = self.text.get(value.span()).unwrap_or_default();
        let line = written.split_whitespace().collect::<Vec<_>>().join(" ");
        match line.char_indices().nth(EXCERPT_CHARS_MAX) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line,
        }
    }
}

pub(crate) struct TableReader<'d, 'r> {
    document: &'r mut Document<'d>,
    /// The table's path, with a trailing dot. Empty for the root table.
    path: String,
    table: &'d DeTable<'d>,
    known: Vec<&'static str>,
}

impl<'d> TableReader<'d, '_> {
    /// Reads a table with `read`, then reports all keys that `read` did not look up.
    fn walk<'r>(
        document: &'r mut Document<'d>,
        path: String,
        table: &'d DeTable<'d>,
        read: impl FnOnce(&mut TableReader<'d, 'r>),
    ) {
        let mut section = TableReader {
            document,
            path,
            table,
            known: Vec::new(),
        };
        read(&mut section);
        section.refuse_unknown_keys();
    }

    /// Reads the value of `key` with `check`. Returns `None` if the key is absent or its value is invalid. An invalid
    /// value is recorded as a fault.
    pub(crate) fn read<T>(
        &mut self,
        key: &'static str,
        check: impl FnOnce(&'d Raw<'d>) -> Checked<T>,
    ) -> Option<T> {
        self.read_with_faults(key, |value| check(value).map_err(|rule| vec![rule]))
    }

    /// Like [`Self::read`], except that `check` may report several faults for one value.
    pub(crate) fn read_with_faults<T>(
        &mut self,
        key: &'static str,
        check: impl FnOnce(&'d Raw<'d>) -> Result<T, Vec<String>>,
    ) -> Option<T> {
        let (path, value) = self.value(key)?;
        let note = |rules| {
            for rule in rules {
                self.document.fault(&path, value, rule);
            }
            self.document.findings.unreadable(&path);
        };
        check(value.get_ref()).map_err(note).ok()
    }

    pub(crate) fn text<T>(
        &mut self,
        key: &'static str,
        check: impl FnOnce(&'d str) -> Checked<T>,
    ) -> Option<T> {
        self.read(key, |value| text(value, check))
    }

    pub(crate) fn section(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut TableReader<'_, '_>),
    ) {
        if let Some((path, value)) = self.value(key) {
            self.enter(path, value, read);
        }
    }

    pub(crate) fn tables(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(usize, &mut TableReader<'_, '_>),
    ) {
        let Some((path, value)) = self.value(key) else {
            return;
        };
        let entries = value.get_ref().as_array();
        let as_table = |entry: &'d Spanned<Raw<'d>>| entry.get_ref().as_table();
        let tables = entries.and_then(|all| all.iter().map(as_table).collect::<Option<Vec<_>>>());
        let Some(tables) = tables else {
            let rule = format!("expected a list of tables: [[{path}]]");
            return self.document.fault(&path, value, rule);
        };
        for (nth, table) in tables.into_iter().enumerate() {
            let path = format!("{path}[{nth}]");
            let keys = table.iter().map(|(key, _)| key.span());
            let first = keys.min_by_key(|span| span.start).unwrap_or(0..0);
            self.document.note_place(&path, &first);
            let path = format!("{path}.");
            TableReader::walk(self.document, path, table, |section| read(nth, section));
        }
    }

    pub(crate) fn named_tables(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&str, &mut TableReader<'_, '_>),
    ) {
        let Some((path, value)) = self.value(key) else {
            return;
        };
        let Some(table) = self.table(&path, value) else {
            return;
        };
        for (name, value) in table {
            let name = name.get_ref().as_ref();
            let path = format!("{path}.{name}");
            self.document.note_place(&path, &value.span());
            self.enter(path, value, |section| read(name, section));
        }
    }

    /// Returns the value of `key` if it is a string. Records no faults.
    pub(crate) fn peek(&self, key: &str) -> Option<&'d str> {
        self.table.get(key)?.get_ref().as_str()
    }

    /// Returns whether `key` is present, even with an invalid value.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Returns whether the table has an invalid value. If so, callers do not report further faults that may only be
    /// consequences of it.
    pub(crate) fn has_faults(&self) -> bool {
        let mut faults = self.document.findings.faults.iter();
        faults.any(|fault| fault.key.starts_with(&self.path))
    }

    pub(crate) fn named<T>(&mut self, name: Checked<T>) {
        if let Err(rule) = name {
            self.fault(format!("the name: {rule}"));
        }
    }

    pub(crate) fn either(&mut self, one: &str, other: &str) {
        if self.has(one) == self.has(other) {
            self.fault(format!("expected either {one} or {other}"));
        }
    }

    pub(crate) fn fault(&mut self, rule: impl Into<String>) {
        let path = self.path.trim_end_matches('.');
        self.document.findings.fault(path, A_TABLE, rule);
    }

    fn value(&mut self, key: &'static str) -> Option<(String, &'d Spanned<Raw<'d>>)> {
        self.known.push(key);
        let value = self.table.get(key)?;
        let path = format!("{}{key}", self.path);
        self.document.note_place(&path, &value.span());
        Some((path, value))
    }

    fn enter(
        &mut self,
        path: String,
        value: &'d Spanned<Raw<'d>>,
        read: impl FnOnce(&mut TableReader<'_, '_>),
    ) {
        if let Some(table) = self.table(&path, value) {
            TableReader::walk(self.document, format!("{path}."), table, read);
        }
    }

    fn table(&mut self, path: &str, value: &'d Spanned<Raw<'d>>) -> Option<&'d DeTable<'d>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            let rule = format!("expected a table: [{path}]");
            self.document.fault(path, value, rule);
        }
        table
    }

    fn refuse_unknown_keys(self) {
        for (key, value) in self.table {
            let name = key.get_ref().as_ref();
            if self.known.contains(&name) {
                continue;
            }
            let path = format!("{}{name}", self.path);
            self.document.note_place(&path, &key.span());
            let rule = unknown(&path, name, &self.known, REMOVED);
            if self.document.confidential {
                self.document.findings.fault(&path, REDACTED, rule);
            } else {
                self.document.fault(&path, value, rule);
            }
        }
    }
}

struct Removed {
    path: &'static str,
    version: &'static str,
    instead: &'static str,
}

/// Keys that have been removed but may still occur in files written for an earlier version (deploy/UPGRADE.md).
const REMOVED: &[Removed] = &[];

fn unknown(path: &str, name: &str, known: &[&str], removed: &[Removed]) -> String {
    match removed.iter().find(|key| key.path == path) {
        Some(key) => format!("removed in {}, use {}", key.version, key.instead),
        None => {
            let nearest = nearest(name, known);
            format!("unknown key, expected {}{nearest}", known.join(", "))
        }
    }
}

pub(crate) fn text<'d, T>(
    value: &'d Raw<'_>,
    check: impl FnOnce(&'d str) -> Checked<T>,
) -> Checked<T> {
    match value.as_str() {
        Some(text) => check(text),
        // Checks an empty string instead, because the error for an empty string states the expected values. If an empty
        // string is valid, reports the expected type.
        None => Err(match check("") {
            Ok(_) => "expected a text in quotes".into(),
            Err(rule) => format!("{rule}, in quotes"),
        }),
    }
}

/// Formats an integer as it is written on the command line. Any other value becomes an empty string, which every rule
/// rejects.
pub(crate) fn digits(value: &Raw<'_>) -> String {
    let number = value.as_integer().and_then(|number| {
        u64::from_str_radix(number.as_str().trim_start_matches('+'), number.radix()).ok()
    });
    number.map_or_else(String::new, |number| number.to_string())
}

/// Reads a list of at least `least` entries and parses each one with `check`. Error messages call the entries
/// `entries`.
pub(crate) fn list<'d, T>(
    value: &'d Raw<'d>,
    least: usize,
    entries: &str,
    check: impl Fn(&'d Raw<'d>) -> Checked<T>,
) -> Checked<Vec<T>> {
    match value.as_array() {
        None => Err(format!("expected a list of {entries}")),
        Some(all) if all.len() < least => Err(format!("expected a list of {entries}, not empty")),
        Some(all) => all.iter().map(|entry| check(entry.get_ref())).collect(),
    }
}

pub(crate) const REDACTED: &str = "<redacted>";

pub(crate) const A_TABLE: &str = "{ … }";

const EXCERPT_CHARS_MAX: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_key_names_its_version_and_what_to_use() {
        let removed = [Removed {
            path: "limits.old",
            version: "0.2.0",
            instead: "limits.new",
        }];
        let rule = |path: &str, name: &str| unknown(path, name, &["new"], &removed);
        assert_eq!(
            rule("limits.old", "old"),
            "removed in 0.2.0, use limits.new"
        );
        assert!(rule("hook.old", "old").starts_with("unknown key, expected new"));
    }
}
