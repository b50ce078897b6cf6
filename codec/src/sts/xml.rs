//! Writes XML elements without white space.

use crate::sts::VERSION;

pub(crate) fn open_root(out: &mut Vec<u8>, name: &'static str) {
    for part in [
        "<",
        name,
        " xmlns=\"https://sts.amazonaws.com/doc/",
        VERSION,
        "/\">",
    ] {
        out.extend_from_slice(part.as_bytes());
    }
}

pub(crate) fn open(out: &mut Vec<u8>, name: &'static str) {
    for part in ["<", name, ">"] {
        out.extend_from_slice(part.as_bytes());
    }
}

pub(crate) fn close(out: &mut Vec<u8>, name: &'static str) {
    for part in ["</", name, ">"] {
        out.extend_from_slice(part.as_bytes());
    }
}

pub(crate) fn element(out: &mut Vec<u8>, name: &'static str, value: &str) {
    open(out, name);
    text(out, value);
    close(out, name);
}

/// Appends text. Characters that XML 1.0 cannot represent (section 2.2) are replaced with U+FFFD. Carriage returns are
/// escaped, because parsers would convert them to line feeds (section 2.11).
pub(crate) fn text(out: &mut Vec<u8>, value: &str) {
    for char in value.chars() {
        let spelled = match char {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            '"' => "&quot;",
            '\'' => "&apos;",
            '\r' => "&#13;",
            '\t' | '\n' => {
                out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            '\0'..' ' | '\u{fffe}' | '\u{ffff}' => "\u{fffd}",
            _ => {
                out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
        };
        out.extend_from_slice(spelled.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        let mut out = Vec::new();
        element(
            &mut out,
            "A",
            "<a b='c'>\"&amp;\r\n\t\0\u{1f}\u{fffe}\u{7f}é😀]]>",
        );
        let expected = "<A>&lt;a b=&apos;c&apos;&gt;&quot;&amp;amp;&#13;\n\t\u{fffd}\u{fffd}\u{fffd}\u{7f}é😀]]&gt;</A>";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
