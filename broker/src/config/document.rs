//! A TOML document read key by key: every error is recorded with its line, and reading continues.
//!
//! A [`Reader`] holds what was found so far, a [`Section`] walks one table.

use super::error::{Fault, ValuePlace};
use super::section::Section;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The faults found so far, and where each key was written.
pub(super) struct Reader<'t> {
    text: &'t str,
    /// Where each line begins.
    lines: Vec<usize>,
    /// Values of unknown keys are not quoted: they may be secrets under a misspelt key.
    pub(super) confidential: bool,
    pub(super) faults: Vec<Fault>,
    places: BTreeMap<String, ValuePlace>,
    /// Keys whose value could not be read: what they hold instead is not worth a second complaint.
    wrong: BTreeSet<String>,
}

impl<'t> Reader<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            text,
            lines: std::iter::once(0).chain(breaks).collect(),
            confidential: false,
            faults: Vec::new(),
            places: BTreeMap::new(),
            wrong: BTreeSet::new(),
        }
    }

    /// A reader of a file that holds secrets.
    pub(super) fn confidential(text: &'t str) -> Self {
        Self {
            confidential: true,
            ..Self::new(text)
        }
    }

    /// Parses the text; faults of TOML itself are noted.
    pub(super) fn parse(&mut self) -> DeTable<'t> {
        let (document, errors) = DeTable::parse_recoverable(self.text);
        for error in errors {
            let place = self.place(&error.span().unwrap_or(0..0));
            let rule = error.message().lines().collect::<Vec<_>>().join(", ");
            self.faults.push(Fault {
                place,
                key: String::new(),
                value: String::new(),
                rule,
            });
        }
        document.into_inner()
    }

    /// Reads the document's top table with `read`, then complains of the keys that `read` did not ask for.
    pub(super) fn document(
        &mut self,
        table: &DeTable<'_>,
        read: impl FnOnce(&mut Section<'_, '_, 't>),
    ) {
        Section::walk(self, String::new(), table, read);
    }

    /// Where `key` was written; by flag or in the file.
    pub(super) fn place_of(&self, key: &str) -> ValuePlace {
        self.places.get(key).cloned().unwrap_or(ValuePlace::Default)
    }

    /// Whether the value of `key`, or of a key of that table, is wrong: what follows from its absence is not worth
    /// saying.
    pub(super) fn is_wrong(&self, key: &str) -> bool {
        let of_the_table = |fault: &Fault| {
            let rest = fault.key.strip_prefix(key);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.faults.iter().any(of_the_table)
    }

    /// All faults, and where each key was written.
    pub(super) fn end(self) -> (Vec<Fault>, BTreeMap<String, ValuePlace>) {
        (self.faults, self.places)
    }

    /// Notes that `flag` overrides `key`.
    pub(super) fn flag(&mut self, key: &str, flag: &'static str) {
        self.places.insert(key.into(), ValuePlace::Flag(flag));
    }

    /// Notes that the value of `key` breaks a rule, unless it could not be read at all.
    pub(super) fn fault(&mut self, key: &str, value: impl ToString, rule: impl Into<String>) {
        if self.wrong.contains(key) {
            return;
        }
        let place = self.place_of(key);
        self.faults.push(Fault {
            place,
            key: key.into(),
            value: value.to_string(),
            rule: rule.into(),
        });
    }

    /// Notes where a key was written, or the table of that path.
    pub(super) fn note_place(&mut self, key: &str, span: &Range<usize>) {
        let place = self.place(span);
        self.places.insert(key.into(), place);
    }

    /// Notes that the value of `key` cannot be read, for each of these reasons.
    pub(super) fn unreadable(
        &mut self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        rules: Vec<String>,
    ) {
        let value = self.excerpt(key, value);
        for rule in rules {
            self.fault(key, &value, rule);
        }
        self.wrong.insert(key.into());
    }

    fn place(&self, span: &Range<usize>) -> ValuePlace {
        let line = self.lines.partition_point(|begin| *begin <= span.start);
        let begin = self.lines.get(line.saturating_sub(1)).copied();
        let before = self.text.get(begin.unwrap_or_default()..span.start);
        let column = before.unwrap_or_default().chars().count() + 1;
        ValuePlace::File { line, column }
    }

    /// A value as it is in the file, on one line and cut off when long.
    pub(super) fn excerpt(&self, key: &str, value: &Spanned<DeValue<'_>>) -> String {
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

/// Shown in place of a secret.
pub(super) const REDACTED: &str = "<redacted>";

const EXCERPT_CHARS_MAX: usize = 80;
