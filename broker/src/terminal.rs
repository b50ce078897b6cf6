//! Texts of the wire as a terminal may show them.

/// A text without anything that a terminal would obey, or that would turn the direction of what it shows.
pub(crate) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        let obeyed = c.is_control()
            || matches!(c, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if obeyed {
            plain.extend(c.escape_default());
        } else {
            plain.push(c);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_written_out() {
        assert_eq!(plain("v\u{1b}[2J\n"), r"v\u{1b}[2J\n");
        assert_eq!(plain("\u{61c}1"), r"\u{61c}1");
        assert_eq!(plain("a\u{202e}b\u{2066}"), r"a\u{202e}b\u{2066}");
        assert_eq!(plain("Grüße 日本"), "Grüße 日本");
    }
}
