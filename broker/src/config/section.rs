//! One table of a TOML document, read key by key. A section names the keys it knows by asking for them; what is left in
//! the table when it ends is unknown.

use super::document::{REDACTED, Reader};
use broker_core::settings::value::{self, Checked};
use std::ops::RangeInclusive;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

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

impl<'d, 't> Section<'d, '_, 't> {
    /// Reads a table with `read`, then complains of the keys that `read` did not ask for.
    pub(super) fn walk(
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
        section.refuse_unknown_keys();
    }

    /// Hands the value of `key`, if it is there, to `store`, which says what is allowed instead.
    pub(super) fn store(&mut self, key: &'static str, store: impl FnOnce(&Raw<'d>) -> Checked<()>) {
        self.read(key, &mut (), store);
    }

    /// Reads `key` with `check` into `target`; leaves `target` alone when the key is absent or wrong. Returns whether
    /// the key is there and right.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        target: &mut T,
        check: impl FnOnce(&Raw<'d>) -> Checked<T>,
    ) -> bool {
        self.read_with_faults(key, target, |value| check(value).map_err(|rule| vec![rule]))
    }

    /// The same with a `check` that finds several faults of one value.
    fn read_with_faults<T>(
        &mut self,
        key: &'static str,
        target: &mut T,
        check: impl FnOnce(&Raw<'d>) -> Result<T, Vec<String>>,
    ) -> bool {
        let Some((path, value)) = self.value(key) else {
            return false;
        };
        match check(value.get_ref()) {
            Ok(checked) => {
                *target = checked;
                true
            }
            Err(rules) => {
                self.reader.unreadable(&path, value, rules);
                false
            }
        }
    }

    /// The value of `key` with its path, if it is there. The key is known from here on.
    fn value(&mut self, key: &'static str) -> Option<(String, &'d Spanned<DeValue<'d>>)> {
        self.known.push(key);
        let value = self.table.get(key)?;
        let path = format!("{}{key}", self.path);
        self.reader.note_place(&path, &value.span());
        Some((path, value))
    }

    /// A text that `check` understands, or has several faults.
    pub(super) fn text_with_faults<T>(
        &mut self,
        key: &'static str,
        target: &mut T,
        check: impl FnOnce(&str) -> Result<T, Vec<String>>,
    ) -> bool {
        self.read_with_faults(key, target, |value| match value.as_str() {
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
        let Some((path, value)) = self.value(key) else {
            return false;
        };
        self.enter(&path, value, read)
    }

    /// Reads a value that should be a table; false if it is none.
    fn enter(
        &mut self,
        path: &str,
        value: &Spanned<DeValue<'_>>,
        read: impl FnOnce(&mut Section<'_, '_, 't>),
    ) -> bool {
        let Some(table) = value.get_ref().as_table() else {
            let value = self.reader.excerpt(path, value);
            self.reader
                .fault(path, value, format!("allowed a table: [{path}]"));
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
        let Some((path, value)) = self.value(key) else {
            return;
        };
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
            return self.reader.fault(&path, value, rule);
        };
        for (nth, table) in tables.into_iter().enumerate() {
            let path = format!("{path}[{nth}]");
            let keys = table.iter().map(|(key, _)| key.span());
            let first = keys.min_by_key(|span| span.start).unwrap_or(0..0);
            self.reader.note_place(&path, &first);
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
                section.reader.note_place(&path, &value.span());
                section.enter(&path, value, |inner| read(name, inner));
            }
            section.all_known = true;
        });
    }

    /// Whether `key` is written, right or wrong.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Whether a value of this table is wrong, so that what follows from its absence is not worth saying.
    pub(super) fn has_faults(&self) -> bool {
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

    fn refuse_unknown_keys(self) {
        if self.all_known {
            return;
        }
        for (key, value) in self.table {
            if self.known.contains(&key.get_ref().as_ref()) {
                continue;
            }
            let path = format!("{}{}", self.path, key.get_ref());
            self.reader.note_place(&path, &key.span());
            let value = if self.reader.confidential {
                REDACTED.into()
            } else {
                self.reader.excerpt(&path, value)
            };
            let rule = format!("unknown key, allowed {}", self.known.join(", "));
            self.reader.fault(&path, value, rule);
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
