//! The names of a service's actions: matched with a pattern all at once, and the one that a misspelt one is nearest to.

use crate::aws::policy::action::{Action, Actions};
use strsim::osa_distance;

/// The actions of one service: those that are asked about here, then those that load and mean nothing.
pub(crate) struct Names {
    known: Vec<Name>,
    /// For each letter, its places in each name: a bit for each.
    letters: Box<[[u64; NAMES_MAX]; 26]>,
    /// The place behind the last letter of each name; none where there is no name.
    ends: [u64; NAMES_MAX],
}

struct Name {
    name: &'static str,
    /// The action of this name; none if it is not served here.
    actions: Actions,
}

/// Occurrences of each letter in a name, in either case.
type Letters = [u8; 26];

impl Names {
    /// # Panics
    /// When there are more than [`NAMES_MAX`] names, or one is too long.
    pub(crate) fn new(service: &str, unserved: &[&'static str]) -> Self {
        let served = Action::ALL.into_iter().filter(|action| {
            let its = action.as_str().split(':').next();
            its == Some(service)
        });
        let served = served.map(|action| (action.name(), action.into()));
        let unserved = unserved.iter().map(|name| (*name, Actions::default()));
        let known: Vec<Name> = served
            .chain(unserved)
            .map(|(name, actions)| Name { name, actions })
            .collect();
        assert!(known.len() <= NAMES_MAX, "{service} has too many actions");
        let mut letters = Box::new([[0; NAMES_MAX]; 26]);
        let mut ends = [0; NAMES_MAX];
        for (number, (known, end)) in known.iter().zip(&mut ends).enumerate() {
            assert!(known.name.len() < 64, "{} is too long", known.name);
            *end = 1 << known.name.len();
            for (place, letter) in known.name.bytes().map(letter).enumerate() {
                let places = letters.get_mut(letter.unwrap_or(usize::MAX));
                let places = places.and_then(|places| places.get_mut(number));
                *places.expect("a name is of letters") |= 1 << place;
            }
        }
        Self {
            known,
            letters,
            ends,
        }
    }

    /// The actions whose names match a pattern, without regard to case; `None` when it matches no name.
    pub(crate) fn matching(&self, pattern: &str) -> Option<Actions> {
        // A bit for each place in a name that the pattern so far leads to.
        let mut names = [1u64; NAMES_MAX];
        for byte in pattern.bytes() {
            match (
                byte,
                letter(byte).and_then(|letter| self.letters.get(letter)),
            ) {
                (b'*', _) => {
                    // All places from the first on.
                    names
                        .iter_mut()
                        .for_each(|places| *places |= places.wrapping_neg());
                }
                (b'?', _) => names.iter_mut().for_each(|places| *places <<= 1),
                (_, Some(letters)) => {
                    for (places, letter) in names.iter_mut().zip(letters) {
                        *places = (*places & letter) << 1;
                    }
                }
                (_, None) => return None,
            }
        }
        let ended = names.iter().zip(&self.ends).zip(&self.known);
        ended
            .filter(|((places, end), _)| **places & **end != 0)
            .map(|(_, known)| known.actions)
            .reduce(Actions::union)
    }

    /// The known name that takes the fewest edits; for a pattern, the known name whose beginning takes the fewest.
    /// `None` when the fewest are more than [`HINT_EDITS_MAX`]. Compares the [`HINT_NAMES_MAX`] names whose letters
    /// differ least, and none whose letters differ by more edits than that: so no name is compared with one that is
    /// much longer or shorter.
    pub(crate) fn nearest(&self, written: &str) -> Option<&'static str> {
        let written = written.to_ascii_lowercase();
        let plain = written.replace(['*', '?'], "");
        let is_pattern = plain.len() < written.len();
        let letters = letters_of(&plain);
        let near = self.known.iter().filter_map(|known| {
            let beginning = known.name.get(..plain.len()).filter(|_| is_pattern);
            let compared = beginning.unwrap_or(known.name);
            let least = fewest_edits(&letters_of(compared), &letters);
            (least <= HINT_EDITS_MAX).then_some((least, compared, known.name))
        });
        let mut near: Vec<_> = near.collect();
        near.sort_by_key(|(least, ..)| *least);
        let near = near.into_iter().take(HINT_NAMES_MAX);
        let near = near.map(|(_, compared, name)| {
            let edits = osa_distance(&compared.to_ascii_lowercase(), &plain);
            (edits, name)
        });
        let (edits, name) = near.min_by_key(|(edits, _)| *edits)?;
        (edits <= HINT_EDITS_MAX).then_some(name)
    }
}

/// A lower bound of the edits between two names: each adds, removes or replaces one letter, or swaps two.
fn fewest_edits(one: &Letters, other: &Letters) -> usize {
    let pairs = one.iter().zip(other);
    let (more, fewer) = pairs.fold((0, 0), |(more, fewer), (one, other)| {
        (
            more + usize::from(one.saturating_sub(*other)),
            fewer + usize::from(other.saturating_sub(*one)),
        )
    });
    more.max(fewer)
}

fn letters_of(name: &str) -> Letters {
    let mut letters = [0; 26];
    for letter in name.bytes().filter_map(letter) {
        if let Some(count) = letters.get_mut(letter) {
            *count += 1;
        }
    }
    letters
}

/// The number of a letter, in either case.
fn letter(byte: u8) -> Option<usize> {
    let number = (byte | 0x20).wrapping_sub(b'a');
    (number < 26).then_some(usize::from(number))
}

/// Room for the names of one service: kinesisvideo has 46.
const NAMES_MAX: usize = 48;

/// Most edits from a misspelt name to the one that it is taken for.
const HINT_EDITS_MAX: usize = 3;

/// Most known names that a misspelt one is compared with. Each takes its letters times those of the other: the longest
/// has 35.
const HINT_NAMES_MAX: usize = 4;

#[cfg(test)]
mod tests {

    use super::*;
    use crate::aws::policy::action::{KINESISVIDEO, STS};
    use crate::aws::policy::pattern;
    use proptest::prelude::*;

    /// The actions that a pattern matches by the general matcher, name by name.
    fn one_by_one(names: &Names, text: &str) -> Option<Actions> {
        let mut pattern = Vec::new();
        pattern::push(&mut pattern, &text.to_ascii_lowercase());
        let matched = names.known.iter().filter(|known| {
            let name = known.name.to_ascii_lowercase();
            pattern::Text::new(&name).matches(&pattern, &mut 0)
        });
        matched.map(|known| known.actions).reduce(Actions::union)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn all_at_once_is_as_one_by_one(
            pattern in prop_oneof![
                "[*?a-tA-T]{0,6}",
                "([*?]{0,2}(Get|Signaling|Channel|Stream|Role|e)[*?]{0,2}){1,3}",
                ".{0,3}",
            ],
        ) {
            for names in [&*KINESISVIDEO, &*STS] {
                prop_assert_eq!(names.matching(&pattern), one_by_one(names, &pattern), "{}", pattern);
            }
        }

        #[test]
        fn no_name_is_nearer_than_its_letters_say(one in "[a-e]{0,8}", other in "[a-e]{0,8}") {
            let least = fewest_edits(&letters_of(&one), &letters_of(&other));
            prop_assert!(least <= osa_distance(&one, &other));
        }
    }
}
