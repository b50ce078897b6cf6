//! Texts with `*` and `?`, matched 256 places of the text at a time.
//!
//! # Theory of operation
//! The part of a pattern before its first `*` is compared with the beginning of the text, the part behind its last one
//! with the end. The parts between are looked for one behind the other. Each is taken where it is found first: a later
//! place would leave less text to the parts behind it.
//!
//! A part is looked for at 256 places at once, in four words side by side, which the compiler makes into few wide
//! instructions. A word has a bit for each place where the part may begin, and each byte of the part clears the bits of
//! the places where the text has another byte:
//! ```text
//! text  a b c a x c     part a?c     a at +0: 1..1..   ? at +1: all   c at +2: 1..1..   found at the first bit
//! ```
//! The places of a byte in the text are the common bits of two words: the places of its upper and of its lower half.
//!
//! # Work
//! A step is one byte of a part at one word of places, or up to 64 bytes compared at an end. A part of `p` bytes that
//! takes up `t` bytes of the text, those before it included, is looked for at `t - p + 1` places, which takes
//! `p × ⌈(t - p + 1) / 64⌉` steps at most: never more than `t × ⌈p / 64⌉`. So a text takes at most as many steps as it
//! has bytes, times the words of the pattern: ⌈its bytes / 64⌉.

use crate::limits::ARN_BYTES;
use memchr::{memchr, memrchr};
use std::cell::OnceCell;

/// Appends a pattern: `*` matches any bytes, `?` any one byte. Neither stops at `/` or `:`. Runs of `*` mean no more
/// than one of them.
pub(super) fn push(out: &mut Vec<u8>, text: &str) {
    let mut before = 0;
    for byte in text.bytes() {
        if byte != b'*' || before != b'*' {
            out.push(byte);
        }
        before = byte;
    }
}

/// A text that patterns are matched with. Allocates nothing.
pub(super) struct Text<'a> {
    bytes: &'a [u8],
    /// Made when a part is looked for: most patterns differ at the beginning.
    index: OnceCell<Index>,
}

/// The places of the two halves of a byte in a text of at most [`ARN_BYTES`]: a row of words for each value that a half
/// can have, with a bit for each place.
struct Index {
    upper: [Row; 16],
    lower: [Row; 16],
}

/// Words of places, with as many behind them as are read at the last place of a text.
type Row = [u64; ARN_BYTES / WORD + AT_ONCE + 1];

/// A bit for each of the places at which a part is looked for at once.
type Places = [u64; AT_ONCE];

impl<'a> Text<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self {
            bytes: text.as_bytes(),
            index: OnceCell::new(),
        }
    }

    /// Whether the whole text matches a pattern that [`push`] wrote. Adds to `steps`.
    pub(super) fn matches(&self, pattern: &[u8], steps: &mut u64) -> bool {
        let text = self.bytes;
        let stars = memchr(b'*', pattern).zip(memrchr(b'*', pattern));
        let Some((first, last)) = stars else {
            return text.len() == pattern.len() && is_same(pattern, text, steps);
        };
        let (front, rest) = pattern.split_at_checked(first).unwrap_or_default();
        let (middle, back) = rest.split_at_checked(last - first).unwrap_or_default();
        let back = back.strip_prefix(b"*").unwrap_or_default();
        let ends = text.split_at_checked(front.len());
        let Some((beginning, left)) = ends.filter(|(_, left)| left.len() >= back.len()) else {
            return false;
        };
        let (_, ending) = left
            .split_at_checked(left.len() - back.len())
            .unwrap_or_default();
        if !is_same(front, beginning, steps) || !is_same(back, ending, steps) {
            return false;
        }
        let parts = middle.split(|byte| *byte == b'*');
        let parts = parts.filter(|part| !part.is_empty());
        let (mut from, until) = (front.len(), text.len() - back.len());
        let mut needed: usize = parts.clone().map(<[u8]>::len).sum();
        for part in parts {
            let last = until.checked_sub(needed).filter(|last| *last >= from);
            let Some(place) = last.and_then(|last| self.find(part, from, last, steps)) else {
                return false;
            };
            from = place + part.len();
            needed -= part.len();
        }
        true
    }

    /// The first place of a part among the places from `from` to `last`. It ends within the text from each of them.
    fn find(&self, part: &[u8], from: usize, last: usize, steps: &mut u64) -> Option<usize> {
        if self.bytes.len() > ARN_BYTES {
            // No text of a request is as long.
            return find(part, from, last, steps, |wanted, at, found| {
                let bytes = self.bytes.get(at..).unwrap_or_default();
                for (found, bytes) in found.iter_mut().zip(bytes.chunks(WORD)) {
                    let bits = bytes.iter().rev().map(|byte| u64::from(*byte == wanted));
                    *found &= bits.fold(0, |places, bit| places << 1 | bit);
                }
            });
        }
        let index = self.index.get_or_init(|| Index::new(self.bytes));
        find(part, from, last, steps, |wanted, at, found| {
            index.keep(wanted, at, found);
        })
    }
}

/// The first place of a part; `keep` clears the bits of the places, from one on, that do not have a byte.
fn find(
    part: &[u8],
    from: usize,
    last: usize,
    steps: &mut u64,
    keep: impl Fn(u8, usize, &mut Places),
) -> Option<usize> {
    for first in (from..=last).step_by(AT_ONCE * WORD) {
        let places = (last - first + 1).min(AT_ONCE * WORD);
        let mut found = Places::default();
        for (word, found) in found.iter_mut().enumerate() {
            let of_word = places.saturating_sub(word * WORD).min(WORD);
            if of_word > 0 {
                *found = u64::MAX >> (WORD - of_word);
            }
        }
        let words = places.div_ceil(WORD) as u64;
        for (at, &wanted) in (first..).zip(part) {
            *steps += words;
            if wanted != b'?' {
                keep(wanted, at, &mut found);
            }
            if found == Places::default() {
                break;
            }
        }
        if let Some((word, found)) = (0..).zip(found).find(|(_, found)| *found != 0) {
            return Some(first + word * WORD + found.trailing_zeros() as usize);
        }
    }
    None
}

impl Index {
    fn new(text: &[u8]) -> Self {
        let mut index = Self {
            upper: [Row::default(); 16],
            lower: [Row::default(); 16],
        };
        for (word, bytes) in text.chunks(WORD).enumerate() {
            for (place, byte) in bytes.iter().enumerate() {
                let (upper, lower) = (usize::from(byte >> 4), usize::from(byte & 15));
                for row in [index.upper.get_mut(upper), index.lower.get_mut(lower)] {
                    if let Some(word) = row.and_then(|row| row.get_mut(word)) {
                        *word |= 1 << place;
                    }
                }
            }
        }
        index
    }

    /// Clears the bits of the places, from this one on, where the text has another byte.
    #[inline]
    fn keep(&self, wanted: u8, at: usize, found: &mut Places) {
        let words = |rows: &[Row; 16], half: u8| {
            let row = rows.get(usize::from(half))?;
            row.get(at / WORD..)?
                .first_chunk::<{ AT_ONCE + 1 }>()
                .copied()
        };
        let upper = words(&self.upper, wanted >> 4);
        let Some((mut both, lower)) = upper.zip(words(&self.lower, wanted & 15)) else {
            return *found = Places::default();
        };
        for (both, lower) in both.iter_mut().zip(lower) {
            *both &= lower;
        }
        let shift = at % WORD;
        for (found, [word, next]) in found.iter_mut().zip(both.array_windows()) {
            // Shifted in two steps, since a word cannot be shifted by all its bits.
            *found &= word >> shift | next << 1 << (WORD - 1 - shift);
        }
    }
}

/// Whether a part without `*` matches a text of its length.
fn is_same(part: &[u8], text: &[u8], steps: &mut u64) -> bool {
    part.chunks(WORD)
        .zip(text.chunks(WORD))
        .all(|(part, text)| {
            *steps += 1;
            let pairs = part.iter().zip(text);
            pairs.fold(true, |same, (wanted, byte)| {
                same & ((wanted == byte) | (*wanted == b'?'))
            })
        })
}

/// Places of a word.
const WORD: usize = u64::BITS as usize;

/// Words of places at which a part is looked for at once.
const AT_ONCE: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, exponential.
    fn naive(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|taken| naive(rest, &text[taken..])),
            Some((wanted, rest)) => text.split_first().is_some_and(|(byte, text)| {
                (wanted == byte || *wanted == b'?') && naive(rest, text)
            }),
        }
    }

    /// The definition for long texts: which prefixes of the text each prefix of the pattern matches.
    fn by_prefixes(pattern: &[u8], text: &[u8]) -> bool {
        let mut matched = vec![false; text.len() + 1];
        matched[0] = true;
        for wanted in pattern {
            let mut next = vec![false; text.len() + 1];
            for end in 0..=text.len() {
                next[end] = if *wanted == b'*' {
                    matched[end] || end > 0 && next[end - 1]
                } else {
                    end > 0 && matched[end - 1] && (*wanted == b'?' || *wanted == text[end - 1])
                };
            }
            matched = next;
        }
        matched[text.len()]
    }

    /// Whether the text matches, within the bound on steps.
    fn matches(pattern: &str, text: &str) -> bool {
        let (mut written, mut steps) = (Vec::new(), 0);
        push(&mut written, pattern);
        let matches = Text::new(text).matches(&written, &mut steps);
        let bound = text.len() * pattern.len().div_ceil(64);
        assert!(
            steps <= bound as u64,
            "{steps} steps, at most {bound}: {pattern} {text}"
        );
        matches
    }

    #[test]
    fn patterns_match_whole_texts() {
        for (pattern, text, wanted) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "a/b:c", true),
            ("?", "", false),
            ("?", "/", true),
            ("a*", "a", true),
            ("*a", "ba", true),
            ("*a", "ab", false),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "a1c2", false),
            ("channel/*/*", "channel/a/1", true),
            ("channel/?/1", "channel/ab/1", false),
            ("a?c*", "abcdef", true),
            ("***", "x", true),
            ("A", "a", false),
            ("a*a", "a", false),
            ("*ab*b", "ab", false),
        ] {
            assert_eq!(matches(pattern, text), wanted, "{pattern} {text}");
        }
    }

    /// The most expensive patterns: no part fits, each fits nearly everywhere, or there are many.
    #[test]
    fn hostile_patterns_keep_to_the_bound() {
        let long = "a".repeat(1024);
        let mixed = format!("arn:aws:kinesisvideo:{}:1:channel/a/1", "a".repeat(980));
        for pattern in [
            format!("{}b", "*a".repeat(1000)),
            format!("*{}b", "?".repeat(500)),
            format!("arn:*{}b", "?".repeat(100)),
            format!("arn:*{}b*", "?".repeat(100)),
            format!("*{}b*", "a".repeat(63)),
            format!("*{}b*", "a".repeat(64)),
            format!("*{}b*", "a".repeat(512)),
            format!("*{}b*", "a?".repeat(400)),
            format!("{}b*", "*a?".repeat(300)),
            format!("*{}*", "a".repeat(1025)),
            format!("*{}*b*", "a".repeat(1000)),
        ] {
            for text in [&long, &mixed] {
                assert!(!matches(&pattern, text), "{pattern}");
                let wanted = by_prefixes(pattern.as_bytes(), format!("{text}b").as_bytes());
                assert_eq!(matches(&pattern, &format!("{text}b")), wanted, "{pattern}");
            }
        }
    }

    #[test]
    fn matching_allocates_nothing() {
        let text = "arn:aws:kinesisvideo:us-west-2:123456789012:channel/demo/1700000000000";
        let mut pattern = Vec::new();
        push(&mut pattern, "arn:*:channel/d?mo*17*");
        let counted = allocation_counter::measure(|| {
            assert!(Text::new(text).matches(&pattern, &mut 0));
        });
        assert_eq!(counted.count_total, 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn as_the_definition_says(pattern in "[ab*?]{0,8}", text in "[ab]{0,10}") {
            let wanted = naive(pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(matches(&pattern, &text), wanted);
            prop_assert_eq!(by_prefixes(pattern.as_bytes(), text.as_bytes()), wanted);
        }

        /// Texts of several words, also longer than any of a request, and patterns cut out of them.
        #[test]
        fn as_the_definition_says_of_long_texts(
            text in prop_oneof!["[ab]{0,200}", "[abé]{900,1300}"],
            cuts in prop::collection::vec((0usize..1300, 0usize..150, "[*?]|[ab]{0,2}"), 0..5),
            ends in any::<[bool; 2]>(),
        ) {
            let mut pattern = String::new();
            let mut from = 0;
            for (skipped, taken, between) in cuts {
                from += skipped;
                pattern.push_str(&between);
                pattern.push('*');
                let piece = text.bytes().skip(from).take(taken);
                pattern.extend(piece.map(|byte| if byte.is_ascii() { char::from(byte) } else { '?' }));
                from += taken;
            }
            let pattern = format!("{}{pattern}{}", ["", "*"][usize::from(ends[0])], ["", "*"][usize::from(ends[1])]);
            let wanted = by_prefixes(pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(matches(&pattern, &text), wanted, "{}", pattern);
        }
    }
}
