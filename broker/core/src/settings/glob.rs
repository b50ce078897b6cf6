//! Patterns of names: `*` covers any text, `?` for any one byte. Names are ASCII.

/// A pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(Box<[u8]>);

impl Glob {
    /// The pattern of this text; what is neither `*` nor `?` covers itself.
    #[must_use]
    pub fn new(pattern: &str) -> Self {
        Self(pattern.as_bytes().into())
    }

    /// The text, if it covers nothing else.
    #[must_use]
    pub fn literal(&self) -> Option<&str> {
        let plain = !self.0.iter().any(|byte| matches!(byte, b'*' | b'?'));
        std::str::from_utf8(&self.0).ok().filter(|_| plain)
    }

    /// Whether it covers the whole of `text`. At most as many steps as both lengths multiplied.
    #[must_use]
    pub fn covers(&self, text: &str) -> bool {
        covers(&self.0, text.as_bytes())
    }
}

/// The same of a pattern that is a text of somebody else's.
pub(crate) fn covers(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut read) = (0, 0);
    // The place of the last star, and the text behind its part so far.
    let mut star: Option<(usize, usize)> = None;
    while read < text.len() {
        let byte = pattern.get(at);
        if byte == Some(&b'*') {
            star = Some((at, read));
            at += 1;
        } else if byte == Some(&b'?') || (byte.is_some() && byte == text.get(read)) {
            (at, read) = (at + 1, read + 1);
        } else if let Some((place, taken)) = &mut star {
            // The star covers one byte more.
            *taken += 1;
            (at, read) = (*place + 1, *taken);
        } else {
            return false;
        }
    }
    let rest = pattern.get(at..).unwrap_or_default();
    rest.iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stars_and_question_marks() {
        for (pattern, text, covers) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "cam-1", true),
            ("cam-*", "cam-", true),
            ("cam-*", "cam", false),
            ("cam-?", "cam-1", true),
            ("cam-?", "cam-12", false),
            ("*-1", "cam-1-1", true),
            ("*a*b", "xaxxbxb", true),
            ("a*b", "abc", false),
            ("a*a", "a", false),
            ("cam-1", "cam-1", true),
            ("cam-1", "cam-12", false),
            ("cam-*", "a-cam-1", false),
            ("a**c", "abc", true),
        ] {
            assert_eq!(Glob::new(pattern).covers(text), covers, "{pattern} {text}");
        }
        assert_eq!(Glob::new("cam-1").literal(), Some("cam-1"));
        assert_eq!(Glob::new("cam-?").literal(), None);
    }

    #[test]
    fn many_stars_take_no_longer_than_both_lengths_multiplied() {
        let pattern = "a*".repeat(128) + "b";
        assert!(!Glob::new(&pattern).covers(&"a".repeat(256)));
    }

    fn by_the_book(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (None, Some(_)) => false,
            (Some((b'*', rest)), _) => {
                by_the_book(rest, text)
                    || text
                        .split_first()
                        .is_some_and(|(_, later)| by_the_book(pattern, later))
            }
            (Some(_), None) => false,
            (Some((b'?', rest)), Some((_, later))) => by_the_book(rest, later),
            (Some((one, rest)), Some((other, later))) => one == other && by_the_book(rest, later),
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in "[ab*?]{0,8}", text in "[ab]{0,10}") {
            let expected = by_the_book(pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(Glob::new(&pattern).covers(&text), expected);
        }
    }
}
