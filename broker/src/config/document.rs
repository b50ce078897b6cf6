//! A TOML document read key by key: every error is recorded with its line, and reading continues.
//!
//! A [`Reader`] holds what was found so far, a [`Section`] walks one table. A section names the keys it knows by asking
//! for them; what is left in the table when it ends is unknown.

use super::error::{Fault, ValuePlace};
use broker_core::settings::value::{self, Checked};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Range, RangeInclusive};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The faults found so far, and where each key was written.
pub(super) struct Reader<'t> {
    text: &'t str,
    /// Where each line begins.
    lines: Vec<usize>,
    /// Values of unknown keys are not quoted: they may be secrets under a misspelt key.
    confidential: bool,
    pub(super) faults: Vec<Fault>,
    places: BTreeMap<String, ValuePlace>,
    /// Keys whose value could not be read: what they hold instead is not worth a second complaint.
    wrong: BTreeSet<String>,
}

/// One table of the document.
pub(super) struct Section<'d, 'r, 't> {
    reader: &'r mut Reader<'t>,
    /// With a dot at its end, or empty for the document itself.
    path: String,
    table: &'d DeTable<'d>,
    known: Vec<&'static str>,
    /// Every key of the table was read, whatever its name.
    all_known: bool,
}

/// A value as the document has it, for functions that read one.
pub(super) type Raw<'d> = DeValue<'d>;

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

    fn place(&self, span: &Range<usize>) -> ValuePlace {
        let line = self.lines.partition_point(|begin| *begin <= span.start);
        let begin = self.lines.get(line.saturating_sub(1)).copied();
        let before = self.text.get(begin.unwrap_or_default()..span.start);
        let column = before.unwrap_or_default().chars().count() + 1;
        ValuePlace::File { line, column }
    }

    /// A value as it is in the file, on one line and cut off when long.
    fn excerpt(&self, key: &str, value: &Spanned<DeValue<'_>>) -> String {
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

impl<'d, 't> Section<'d, '_, 't> {
    fn walk(
        reader: &mut Reader<'t>,
        path: String,
        table: &DeTable<'_>,
        read: impl FnOnce(&mut Section<'_, '_, 't>),
    ) {
        let mut section = Section {
            reader,
            path,
            table,
            known: Vec::new(),
            all_known: false,
        };
        read(&mut section);
        section.complain_of_unknown_keys();
    }

    /// Hands the value of `key`, if it is there, to `store`, which says what is allowed instead.
    pub(super) fn store(&mut self, key: &'static str, store: impl FnOnce(&Raw<'d>) -> Checked<()>) {
        self.read(key, &mut (), store);
    }

    /// Reads `key` with `check` into `target`; leaves `target` alone when the key is absent or wrong. Tells whether the
    /// key is there and right.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        target: &mut T,
        check: impl FnOnce(&Raw<'d>) -> Checked<T>,
    ) -> bool {
        self.read_telling_all(key, target, |value| check(value).map_err(|rule| vec![rule]))
    }

    /// The same with a `check` that tells of several faults of one value.
    fn read_telling_all<T>(
        &mut self,
        key: &'static str,
        target: &mut T,
        check: impl FnOnce(&Raw<'d>) -> Result<T, Vec<String>>,
    ) -> bool {
        self.known.push(key);
        let Some(value) = self.table.get(key) else {
            return false;
        };
        let place = self.reader.place(&value.span());
        let path = format!("{}{key}", self.path);
        self.reader.places.insert(path.clone(), place.clone());
        match check(value.get_ref()) {
            Ok(checked) => *target = checked,
            Err(rules) => {
                self.reader.wrong.insert(path.clone());
                let value = self.reader.excerpt(&path, value);
                let faults = rules.into_iter().map(|rule| Fault {
                    place: place.clone(),
                    key: path.clone(),
                    value: value.clone(),
                    rule,
                });
                self.reader.faults.extend(faults);
                return false;
            }
        }
        true
    }

    /// A text that `check` understands, or has several faults.
    pub(super) fn text_telling_all<T>(
        &mut self,
        key: &'static str,
        target: &mut T,
        check: impl FnOnce(&str) -> Result<T, Vec<String>>,
    ) -> bool {
        self.read_telling_all(key, target, |value| match value.as_str() {
            Some(text) => check(text),
            None => Err(vec!["allowed a text in quotes".into()]),
        })
    }

    /// A text that `check` understands.
    pub(super) fn text<T>(
        &mut self,
        key: &'static str,
        target: &mut T,
        check: impl FnOnce(&str) -> Checked<T>,
    ) -> bool {
        self.read(key, target, |value| text(value, check))
    }

    /// A duration in `range`, in milliseconds.
    pub(super) fn duration(
        &mut self,
        key: &'static str,
        target: &mut u64,
        range: RangeInclusive<u64>,
    ) {
        self.text(key, target, |text| value::duration(text, range));
    }

    /// A table of its own.
    pub(super) fn section(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'_, '_, 't>),
    ) -> bool {
        self.known.push(key);
        let Some(value) = self.table.get(key) else {
            return false;
        };
        let path = format!("{}{key}", self.path);
        let place = self.reader.place(&value.span());
        self.reader.places.insert(path.clone(), place.clone());
        let Some(table) = value.get_ref().as_table() else {
            let value = self.reader.excerpt(&path, value);
            let rule = format!("allowed a table: [{path}]");
            self.reader.faults.push(Fault {
                place,
                key: path,
                value,
                rule,
            });
            return false;
        };
        Section::walk(self.reader, format!("{path}."), table, read);
        true
    }

    /// A list of tables, each read by `read` with its place in the list.
    pub(super) fn tables(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(usize, &mut Section<'_, '_, 't>),
    ) {
        self.known.push(key);
        let Some(value) = self.table.get(key) else {
            return;
        };
        let path = format!("{}{key}", self.path);
        let place = self.reader.place(&value.span());
        let entries = value.get_ref().as_array();
        let tables = entries.and_then(|entries| {
            entries
                .iter()
                .map(|entry| entry.get_ref().as_table())
                .collect::<Option<Vec<_>>>()
        });
        let Some(tables) = tables else {
            let value = self.reader.excerpt(&path, value);
            let rule = format!("allowed a list of tables: [[{path}]]");
            self.reader.faults.push(Fault {
                place,
                key: path,
                value,
                rule,
            });
            return;
        };
        self.reader.places.insert(path.clone(), place);
        for (nth, table) in tables.into_iter().enumerate() {
            let path = format!("{path}[{nth}]");
            let keys = table.iter().map(|(key, _)| key.span());
            let first = keys.min_by_key(|span| span.start).unwrap_or(0..0);
            let place = self.reader.place(&first);
            self.reader.places.insert(path.clone(), place);
            Section::walk(self.reader, format!("{path}."), table, |section| {
                read(nth, section)
            });
        }
    }

    /// A table of tables with names of the writer's choice, each read by `read` with its name.
    pub(super) fn named_tables(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&str, &mut Section<'_, '_, 't>),
    ) {
        self.section(key, |section| {
            for (name, value) in section.table {
                let name = name.get_ref().as_ref();
                let path = format!("{}{name}", section.path);
                let place = section.reader.place(&value.span());
                section.reader.places.insert(path.clone(), place);
                match value.get_ref().as_table() {
                    Some(table) => {
                        Section::walk(section.reader, format!("{path}."), table, |inner| {
                            read(name, inner)
                        });
                    }
                    None => {
                        let value = section.reader.excerpt(&path, value);
                        let rule = format!("allowed a table: [{path}]");
                        section.reader.fault(&path, value, rule);
                    }
                }
            }
            section.all_known = true;
        });
    }

    /// Whether `key` is written, right or wrong.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Whether a value of this table is wrong, so that what follows from its absence is not worth saying.
    pub(super) fn complained(&self) -> bool {
        self.reader
            .faults
            .iter()
            .any(|fault| fault.key.starts_with(&self.path))
    }

    /// Notes a fault of this table as a whole.
    pub(super) fn fault(&mut self, value: &str, rule: impl Into<String>) {
        let path = self.path.trim_end_matches('.').to_owned();
        self.reader.fault(&path, value, rule);
    }

    fn complain_of_unknown_keys(self) {
        if self.all_known {
            return;
        }
        for (key, value) in self.table {
            if self.known.contains(&key.get_ref().as_ref()) {
                continue;
            }
            let place = self.reader.place(&key.span());
            let path = format!("{}{}", self.path, key.get_ref());
            let value = if self.reader.confidential {
                REDACTED.into()
            } else {
                self.reader.excerpt(&path, value)
            };
            let rule = format!("unknown key, allowed {}", self.known.join(", "));
            self.reader.faults.push(Fault {
                place,
                key: path,
                value,
                rule,
            });
        }
    }
}

/// A string that `check` understands.
pub(super) fn text<T>(value: &Raw<'_>, check: impl FnOnce(&str) -> Checked<T>) -> Checked<T> {
    match value.as_str() {
        Some(text) => check(text),
        // What the check says of an empty text is what is allowed, but a number could be right in every other way.
        None => Err(match check("") {
            Ok(_) => "allowed a text in quotes".into(),
            Err(rule) => format!("{rule}, in quotes"),
        }),
    }
}

/// A whole number in `range`.
pub(super) fn integer(value: &Raw<'_>, range: &RangeInclusive<u64>) -> Checked<u64> {
    let decimal = value.as_integer().and_then(|number| {
        u64::from_str_radix(number.as_str().trim_start_matches('+'), number.radix()).ok()
    });
    match decimal {
        Some(number) if range.contains(&number) => Ok(number),
        Some(_) | None => Err(format!("allowed {}", value::between(range))),
    }
}

/// A list whose entries `check` understands.
pub(super) fn list<T>(
    value: &Raw<'_>,
    what: &str,
    check: impl Fn(&Raw<'_>) -> Checked<T>,
) -> Checked<Vec<T>> {
    let Some(entries) = value.as_array() else {
        return Err(format!("allowed a list of {what}"));
    };
    if entries.is_empty() {
        return Err(format!("allowed a list of {what}, not empty"));
    }
    entries.iter().map(|entry| check(entry.get_ref())).collect()
}

/// Stands for a value that nobody may see.
const REDACTED: &str = "<redacted>";

const EXCERPT_CHARS_MAX: usize = 80;
