//! Texts with `*` and `?`, matched without exponential backtracking.

/// A pattern: `*` matches any bytes, `?` any one byte. Neither stops at `/` or `:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(Box<[u8]>);

impl Pattern {
    /// A pattern; runs of `*` mean no more than one of them.
    pub(super) fn new(text: &str) -> Self {
        let mut bytes = text.as_bytes().to_vec();
        bytes.dedup_by(|byte, before| *byte == b'*' && *before == b'*');
        Self(bytes.into_boxed_slice())
    }

    /// Whether the whole text matches.
    ///
    /// Only the last `*` is ever returned to: whatever an earlier one could take, the later one can take as well. So
    /// the work is at most the pattern's length times the text's.
    pub(super) fn matches(&self, text: &[u8]) -> bool {
        let pattern = &*self.0;
        let (mut at, mut read) = (0, 0);
        let mut star: Option<(usize, usize)> = None; // behind it; where its text ends
        while let Some(&byte) = text.get(read) {
            match pattern.get(at) {
                Some(b'*') => {
                    at += 1;
                    star = Some((at, read));
                }
                Some(&wanted) if wanted == byte || wanted == b'?' => {
                    at += 1;
                    read += 1;
                }
                Some(_) | None => {
                    let Some((behind, end)) = star else {
                        return false;
                    };
                    at = behind;
                    read = end + 1;
                    star = Some((behind, read));
                }
            }
        }
        pattern
            .get(at..)
            .is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
    }
}

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

    #[test]
    fn patterns_match_whole_texts() {
        for (pattern, text, matches) in [
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
        ] {
            assert_eq!(
                Pattern::new(pattern).matches(text.as_bytes()),
                matches,
                "{pattern} {text}"
            );
        }
    }

    #[test]
    fn hostile_patterns_end() {
        let pattern = Pattern::new(&format!("{}b", "*a".repeat(1000)));
        assert!(!pattern.matches(&[b'a'; 1024]));
        let pattern = Pattern::new(&format!("*{}b", "?".repeat(500)));
        assert!(!pattern.matches(&[b'a'; 1024]));
    }

    proptest! {
        #[test]
        fn as_the_definition_says(pattern in "[ab*?]{0,8}", text in "[ab]{0,10}") {
            prop_assert_eq!(
                Pattern::new(&pattern).matches(text.as_bytes()),
                naive(pattern.as_bytes(), text.as_bytes())
            );
        }
    }
}
