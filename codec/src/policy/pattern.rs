//! Matching of patterns that contain `*` and `?`. Up to 1,024 positions of the text are compared at once.
//!
//! # Theory of operation
//! The part of a pattern before its first `*` is compared with the start of the text, and the part after its last `*`
//! is compared with the end. The parts in between are searched for in order. For each part, the first match is used,
//! since a later match would leave less text for the parts that follow.
//!
//! A part without `?` is searched for with a library, in time linear in the length of the text. A part with `?` is
//! searched for at 1,024 positions at once. Each start position is represented by a bit, and each byte of the part
//! clears the bits of the positions at which the text differs:
//! ```text
//! text  a b c a x c     part a?c     a at +0: 1..1..   ? at +1: all   c at +2: 1..1..   found at the first bit
//! ```
//! The bits are interleaved across sixteen words: position 0 is in the first word, position 1 in the second word, and
//! position 16 in the first word again. Therefore, the next position is in the next word, and the position sixteen
//! bytes later is in the next bit of the same word. All words are thus read from one index of a bitmap and shifted by
//! the same amount, which compiles to a few wide instructions.
//!
//! The positions at which a byte occurs in the text are the intersection of two bitmaps: one for the upper and one for
//! the lower half of the byte.
//!
//! # Work
//! A step is one byte of a part compared at up to 64 positions, up to 64 bytes compared at the start or end of the
//! text, or 8 bytes searched by the library. Suppose that a part is `p` bytes long and consumes `t` bytes of the text,
//! including the bytes before its match. The part is then compared at `t - p + 1` positions, which takes at most `p ×
//! ⌈(t - p + 1) / 64⌉` steps, and never more than `t × ⌈p / 64⌉`. Matching therefore takes at most as many steps as the
//! length of the text in bytes multiplied by the number of 64-byte words in the pattern.

use crate::limits::ARN_BYTES;
use memchr::{memchr, memmem, memrchr};
use std::cell::OnceCell;

/// Appends a pattern. `*` matches any number of bytes and `?` any single byte, including `/` and `:`. Collapses `**` to
/// `*`.
pub(crate) fn push(out: &mut Vec<u8>, text: &str) {
    let mut before = 0;
    for byte in text.bytes() {
        if byte != b'*' || before != b'*' {
            out.push(byte);
        }
        before = byte;
    }
}

pub(crate) struct PatternText<'a> {
    bytes: &'a [u8],
    /// Index of the text. Built only by the first search, since comparing the start of the text is enough to rule out
    /// most patterns.
    index: OnceCell<Index>,
}

/// An index of a text of at most [`ARN_BYTES`] bytes. For each value that the upper half of a byte may have, and for
/// each value of the lower half, a bitmap shows the positions where it occurs.
struct Index {
    upper: [Row; 16],
    lower: [Row; 16],
}

/// A bitmap of positions, followed by the same bitmap shifted by one position, so that a read may run past the last
/// word.
type Row = [u64; 2 * WORDS];

/// The candidate positions of a search, as a bitmap. Bit `b` of word `w` represents position `16 b + w`.
type Places = [u64; WORDS];

impl<'a> PatternText<'a> {
    pub(crate) const fn new(text: &'a str) -> Self {
        Self {
            bytes: text.as_bytes(),
            index: OnceCell::new(),
        }
    }

    pub(crate) const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub(crate) const fn is_ascii(&self) -> bool {
        self.bytes.is_ascii()
    }

    pub(crate) fn matches(&self, pattern: &[u8], steps: &mut u64) -> bool {
        self.matches_with::<b'*', b'?'>(pattern, steps)
    }

    /// Like `Self::matches`, but for an expanded pattern, in which the wildcards are [`MANY`] and [`ONE`].
    pub(crate) fn matches_expanded(&self, pattern: &[u8], steps: &mut u64) -> bool {
        self.matches_with::<MANY, ONE>(pattern, steps)
    }

    fn matches_with<const MANY: u8, const ONE: u8>(&self, pattern: &[u8], steps: &mut u64) -> bool {
        let text = self.bytes;
        let stars = memchr(MANY, pattern).zip(memrchr(MANY, pattern));
        let Some((first, last)) = stars else {
            return text.len() == pattern.len() && is_same::<ONE>(pattern, text, steps);
        };
        let (front, rest) = pattern.split_at_checked(first).unwrap_or_default();
        let (middle, back) = rest.split_at_checked(last - first).unwrap_or_default();
        let back = back.strip_prefix(&[MANY]).unwrap_or_default();
        let ends = text.split_at_checked(front.len());
        let Some((beginning, left)) = ends.filter(|(_, left)| left.len() >= back.len()) else {
            return false;
        };
        let (_, ending) = left
            .split_at_checked(left.len() - back.len())
            .unwrap_or_default();
        if !is_same::<ONE>(front, beginning, steps) || !is_same::<ONE>(back, ending, steps) {
            return false;
        }
        let parts = middle.split(|byte| *byte == MANY);
        let parts = parts.filter(|part| !part.is_empty());
        let (mut from, until) = (front.len(), text.len() - back.len());
        let mut needed: usize = parts.clone().map(<[u8]>::len).sum();
        for part in parts {
            let last = until.checked_sub(needed).filter(|last| *last >= from);
            let Some(place) = last.and_then(|last| self.find::<ONE>(part, from, last, steps))
            else {
                return false;
            };
            from = place + part.len();
            needed -= part.len();
        }
        true
    }

    /// Returns the position of the first match of a part of the pattern, from `from` to `last`. The part must fit into
    /// the text at all of these positions.
    fn find<const ONE: u8>(
        &self,
        part: &[u8],
        from: usize,
        last: usize,
        steps: &mut u64,
    ) -> Option<usize> {
        if let [wanted] = part
            && *wanted != ONE
        {
            let places = self.bytes.get(from..=last)?;
            let found = memchr(*wanted, places);
            *steps += found.map_or(places.len(), |place| place + 1).div_ceil(64) as u64;
            return found.map(|place| from + place);
        }
        if memchr(ONE, part).is_none() {
            let places = self.bytes.get(from..last + part.len())?;
            let found = memmem::find(places, part);
            let searched = found.map_or(places.len(), |place| place + part.len());
            *steps += searched.div_ceil(SEARCHED_BYTES_PER_STEP) as u64;
            return found.map(|place| from + place);
        }
        if self.bytes.len() <= PLACES {
            let index = self.index.get_or_init(|| Index::new(self.bytes));
            return find::<ONE>(part, from, last, steps, |wanted, at, found| {
                index.keep(wanted, at, found);
            });
        }
        // Not reached for the text of a request, which is always short enough for the index.
        (from..=last).step_by(PLACES).find_map(|first| {
            let last = (last - first).min(PLACES - 1);
            let place = find::<ONE>(part, 0, last, steps, |wanted, at, found| {
                let bytes = self.bytes.get(first + at..).unwrap_or_default();
                for (place, byte) in bytes.iter().enumerate().take(last + 1) {
                    let cleared = u64::from(*byte != wanted) << (place / WORDS);
                    if let Some(found) = found.get_mut(place % WORDS) {
                        *found &= !cleared;
                    }
                }
            });
            place.map(|place| first + place)
        })
    }
}

/// Returns the position of the first match of a part of the pattern, from `from` to `last`. Calls `keep` with a byte
/// and an offset. `keep` must clear the bits of all positions where the text differs from that byte at that offset.
fn find<const ONE: u8>(
    part: &[u8],
    from: usize,
    last: usize,
    steps: &mut u64,
    keep: impl Fn(u8, usize, &mut Places),
) -> Option<usize> {
    let (mut found, behind) = (from_place(from), from_place(last + 1));
    for (found, behind) in found.iter_mut().zip(behind) {
        *found &= !behind;
    }
    let words = (last - from + 1).div_ceil(64) as u64;
    let mut left = 0;
    for (bytes, at) in part.chunks(BETWEEN_LOOKS).zip((0..).step_by(BETWEEN_LOOKS)) {
        for (&wanted, at) in bytes.iter().zip(at..) {
            *steps += words;
            if wanted != ONE {
                keep(wanted, at, &mut found);
            }
        }
        left = found.iter().fold(0, |any, found| any | found);
        if left == 0 {
            return None;
        }
    }
    let bit = left.trailing_zeros();
    let word = found.iter().position(|found| found >> bit & 1 != 0)?;
    Some(bit as usize * WORDS + word)
}

fn from_place(place: usize) -> Places {
    let bits = |from: usize| if from < 64 { u64::MAX << from } else { 0 };
    let (bit, first) = (place / WORDS, place % WORDS);
    let mut places = [bits(bit); WORDS];
    places
        .iter_mut()
        .take(first)
        .for_each(|word| *word = bits(bit + 1));
    places
}

impl Index {
    fn new(text: &[u8]) -> Self {
        let mut index = Self {
            upper: [[0; 2 * WORDS]; 16],
            lower: [[0; 2 * WORDS]; 16],
        };
        for (bit, bytes) in text.chunks(WORDS).enumerate() {
            for (word, byte) in bytes.iter().enumerate() {
                let (upper, lower) = (usize::from(byte >> 4), usize::from(byte & 15));
                for row in [index.upper.get_mut(upper), index.lower.get_mut(lower)] {
                    if let Some(word) = row.and_then(|row| row.get_mut(word)) {
                        *word |= 1 << bit;
                    }
                }
            }
        }
        for row in index.upper.iter_mut().chain(&mut index.lower) {
            let (words, further) = row.split_at_mut(WORDS);
            for (further, word) in further.iter_mut().zip(words) {
                *further = *word >> 1;
            }
        }
        index
    }

    /// Clears the bits of all positions at which the text, at offset `at`, differs from `wanted`.
    #[inline]
    fn keep(&self, wanted: u8, at: usize, found: &mut Places) {
        let words = |rows: &[Row; 16], half: u8| {
            let row = rows.get(usize::from(half))?;
            row.get(at % WORDS..)?.first_chunk::<WORDS>().copied()
        };
        let halves = words(&self.upper, wanted >> 4).zip(words(&self.lower, wanted & 15));
        let (upper, lower) = halves.unwrap_or_default();
        let shift = at / WORDS % 64;
        for (found, (upper, lower)) in found.iter_mut().zip(upper.iter().zip(lower)) {
            *found &= (upper & lower) >> shift;
        }
    }
}

fn is_same<const ONE: u8>(part: &[u8], text: &[u8], steps: &mut u64) -> bool {
    part.chunks(64).zip(text.chunks(64)).all(|(part, text)| {
        *steps += 1;
        let pairs = part.iter().zip(text);
        pairs.fold(true, |same, (wanted, byte)| {
            same & ((wanted == byte) | (*wanted == ONE))
        })
    })
}

/// Wildcard for any number of bytes in an expanded pattern, where all bytes other than this one and [`ONE`] are
/// literal. This byte never occurs in UTF-8.
pub(crate) const MANY: u8 = 0xFE;

/// Wildcard for any single byte in an expanded pattern. This byte never occurs in UTF-8.
pub(crate) const ONE: u8 = 0xFD;

const SEARCHED_BYTES_PER_STEP: usize = 8;

const WORDS: usize = 16;

const PLACES: usize = 64 * WORDS;
const _: () = assert!(ARN_BYTES <= PLACES);

/// Number of bytes of a pattern part that are compared before checking again whether any candidates remain.
const BETWEEN_LOOKS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Matches according to the definition, in exponential time.
    fn naive(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|taken| naive(rest, &text[taken..])),
            Some((wanted, rest)) => text.split_first().is_some_and(|(byte, text)| {
                (wanted == byte || *wanted == b'?') && naive(rest, text)
            }),
        }
    }

    /// Matches long texts according to the definition, by finding which prefixes of the text each prefix of the pattern
    /// matches.
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

    /// Returns whether the text matches the pattern. Asserts that the number of steps is within the bound.
    fn matches(pattern: &str, text: &str) -> bool {
        let (mut written, mut steps) = (Vec::new(), 0);
        push(&mut written, pattern);
        let matches = PatternText::new(text).matches(&written, &mut steps);
        let bound = text.len() * pattern.len().div_ceil(64);
        let fine = steps <= bound as u64;
        assert!(fine, "{steps} steps, at most {bound}: {pattern} {text}");
        matches
    }

    /// The most expensive patterns: those in which no part fits, in which parts fit nearly everywhere, or which have
    /// many parts.
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
            assert!(PatternText::new(text).matches(&pattern, &mut 0));
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

        /// Tests texts that span several words, some of them longer than any text of a request, with patterns cut out
        /// of these texts.
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
