//! The configuration file, read by the table of keys.

use super::ice;
use super::section::{Raw, Section, integer, list, text};
use broker_core::settings::value::Checked;
use broker_core::settings::{Field, KEYS, Key, Kind, RATE_MAX, Rate, Settings, size};

/// Reads the whole file into `settings`, which hold the defaults.
pub(super) fn read(top: &mut Section<'_, '_, '_>, settings: &mut Settings) {
    for keys in KEYS.chunk_by(|one, next| one.table() == next.table()) {
        match keys.first().map_or("", Key::table) {
            "" => read_keys(top, keys, settings),
            table => {
                top.section(table, |section| read_keys(section, keys, settings));
            }
        }
    }
    top.tables("ice", |_, section| settings.ice.extend(ice::read(section)));
}

fn read_keys(section: &mut Section<'_, '_, '_>, keys: &'static [Key], settings: &mut Settings) {
    for key in keys {
        if let Kind::Rate(field) = &key.kind {
            rate(section, key.name(), field, settings);
        } else {
            section.store(key.name(), |value| store(value, key, settings));
        }
    }
}

/// Stores a value that is not a table.
fn store(value: &Raw<'_>, key: &Key, settings: &mut Settings) -> Checked<()> {
    match &key.kind {
        Kind::Number(field, range) => (field.set)(settings, size(integer(value, range)?)?),
        Kind::Switch(field) => {
            let on = value.as_bool().ok_or("allowed true, false")?;
            (field.set)(settings, on);
        }
        Kind::List {
            entries,
            may_be_empty,
            ..
        } => {
            let is_empty = value.as_array().is_some_and(|array| array.is_empty());
            let entry = |entry: &Raw<'_>| {
                text(entry, |text| {
                    key.check(text)?;
                    Ok(text.to_owned())
                })
            };
            let texts = match *may_be_empty && is_empty {
                true => Vec::new(),
                false => list(value, entries, entry)?,
            };
            let texts: Vec<_> = texts.iter().map(String::as_str).collect();
            key.put(settings, &texts)?;
        }
        Kind::Cpus { .. } if value.is_array() => key.put(settings, &[&joined(value)])?,
        Kind::Cpus { .. }
        | Kind::Duration(..)
        | Kind::Path { .. }
        | Kind::Rate(_)
        | Kind::Text { .. } => text(value, |text| key.put(settings, &[text]))?,
    }
    Ok(())
}

/// `[0, 1, 2]` as `0,1,2`. What is no number becomes an empty part, which is refused with all that is allowed.
fn joined(numbers: &Raw<'_>) -> String {
    let number = |number: &toml::Spanned<Raw<'_>>| {
        let number = integer(number.get_ref(), &(0..=u64::MAX));
        number.map_or_else(|_| String::new(), |number| number.to_string())
    };
    let numbers = numbers.as_array().into_iter().flatten();
    numbers.map(number).collect::<Vec<_>>().join(",")
}

/// `{ rate = 5, burst = 25 }`; without `burst`, five seconds of the rate.
fn rate(
    section: &mut Section<'_, '_, '_>,
    key: &'static str,
    field: &Field<Rate>,
    settings: &mut Settings,
) {
    section.section(key, |section| {
        let (mut per_second, mut burst) = (None, None);
        section.read("rate", &mut per_second, |value| small(value, 0).map(Some));
        section.read("burst", &mut burst, |value| small(value, 1).map(Some));
        let mut rate = per_second.map_or_else(|| (field.get)(settings), Rate::of);
        rate.burst = burst.unwrap_or(rate.burst);
        (field.set)(settings, rate);
    });
}

fn small(value: &Raw<'_>, least: u64) -> Checked<u32> {
    let number = integer(value, &(least..=RATE_MAX.into()))?;
    Ok(u32::try_from(number).unwrap_or(RATE_MAX))
}
