//! The name that a misspelt one is nearest to.

use strsim::osa_distance;

/// The allowed names in words, and the nearest one to what was written, if one is near.
pub(crate) fn one_of(written: &str, names: impl IntoIterator<Item = &'static str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    format!("allowed {}{}", names.join(", "), nearest(written, &names))
}

/// `; the nearest is NAME`, or nothing. Neither case nor `-` and `_` count.
pub(crate) fn nearest(written: &str, names: &[&str]) -> String {
    let written: String = plain(written).take(WRITTEN_MAX).collect();
    let edits = |name: &&&str| {
        let name: String = plain(name).collect();
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

fn plain(text: &str) -> impl Iterator<Item = char> {
    let is_counted = |char: &char| !matches!(char, '-' | '_');
    text.chars()
        .filter(is_counted)
        .map(|char| char.to_ascii_lowercase())
}

/// Characters of what was written that are compared: more than the longest name has.
const WRITTEN_MAX: usize = 64;

/// A name of which this many first characters were written is near.
const BEGINNING_MIN: usize = 4;

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn a_name_is_near_up_to_a_quarter_of_its_edits() {
        let names = ["refuse", "throttle", "reconnectIce", "ThrottlingException"];
        for (written, found) in [
            ("refuze", "refuse"),
            ("trottle", "throttle"),
            ("reconnect_ice", "reconnectIce"),
            ("Throttling", "ThrottlingException"),
            ("ThrotlingExcepton", "ThrottlingException"),
        ] {
            assert_eq!(
                nearest(written, &names),
                format!("; the nearest is {found}")
            );
        }
        for written in ["", "x", "explode", &"refuse".repeat(1000)] {
            assert_eq!(nearest(written, &names), "", "{written}");
        }
    }
}
