//! The configuration file, read by the table of keys.

use crate::config::document::{Raw, Section, digits, list, text};
use crate::config::entries::{hooks, ice};
use broker_core::settings::value::{self, Checked};
use broker_core::settings::{Field, KEYS, Key, Kind, RATE_MAX, Rate, Settings};

/// Reads the whole file into `settings`, which hold the defaults.
pub(crate) fn read(top: &mut Section<'_, '_>, settings: &mut Settings) {
    for keys in KEYS.chunk_by(|one, next| one.table() == next.table()) {
        match keys.first().map_or("", Key::table) {
            "" => read_keys(top, keys, settings),
            // Those of a table within another are read with it.
            table if table.contains('.') => {}
            table => top.section(table, |section| {
                read_keys(section, keys, settings);
                read_inner(section, table, settings);
            }),
        }
    }
    top.tables("hook", |nth, section| hooks::read(nth, section, settings));
    top.tables("ice", |_, section| settings.ice.extend(ice::read(section)));
}

/// Reads the tables within a table.
fn read_inner(section: &mut Section<'_, '_>, table: &str, settings: &mut Settings) {
    for keys in KEYS.chunk_by(|one, next| one.table() == next.table()) {
        let inner = keys.first().and_then(|key| key.table().split_once('.'));
        if let Some((_, name)) = inner.filter(|(outer, _)| *outer == table) {
            section.section(name, |section| read_keys(section, keys, settings));
        }
    }
}

fn read_keys(section: &mut Section<'_, '_>, keys: &'static [Key], settings: &mut Settings) {
    for key in keys {
        if let Kind::Rate(field) = &key.kind {
            section.section(key.name(), |section| rate(section, field, settings));
        } else {
            section.read(key.name(), |value| store(value, key, settings));
        }
    }
}

/// Stores a value that is not a table, as the flag of that key would. A value of another type is an empty text there,
/// which is refused with all that is allowed.
fn store(value: &Raw<'_>, key: &Key, settings: &mut Settings) -> Checked<()> {
    match &key.kind {
        Kind::Number(..) => key.put(settings, &[&digits(value)]),
        Kind::Switch(_) => {
            let on = value.as_bool().map(|on| on.to_string());
            key.put(settings, &[&on.unwrap_or_default()])
        }
        Kind::Cpus { .. } if value.is_array() => {
            let numbers = value.as_array().into_iter().flatten();
            let numbers: Vec<_> = numbers.map(|number| digits(number.get_ref())).collect();
            key.put(settings, &[&numbers.join(",")])
        }
        Kind::List {
            entries,
            may_be_empty,
            ..
        } => {
            let entry = |entry| text(entry, |text| key.check(text).map(|()| text));
            let least = usize::from(!may_be_empty);
            key.put(settings, &list(value, least, entries, entry)?)
        }
        Kind::Cpus { .. }
        | Kind::Duration(..)
        | Kind::Path { .. }
        | Kind::Rate(_)
        | Kind::Text { .. } => text(value, |text| key.put(settings, &[text])),
    }
}

/// `{ rate = 5, burst = 25 }`; without `burst`, five seconds of the rate.
fn rate(section: &mut Section<'_, '_>, field: &Field<Rate>, settings: &mut Settings) {
    let rate = section.read("rate", |value| small(value, 0)).map(Rate::of);
    let mut rate = rate.unwrap_or_else(|| (field.get)(settings));
    if let Some(burst) = section.read("burst", |value| small(value, 1)) {
        rate.burst = burst;
    }
    (field.set)(settings, rate);
}

fn small(value: &Raw<'_>, least: u64) -> Checked<u32> {
    let number = value::number(&digits(value), &(least..=RATE_MAX.into()))?;
    Ok(u32::try_from(number).unwrap_or(RATE_MAX))
}
