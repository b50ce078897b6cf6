//! Writes JSON strings.

/// Appends `text` as a quoted JSON string. Escapes only what RFC 8259 section 7 requires.
pub fn string(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(place) = rest
        .iter()
        .position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\')
    {
        let Some((plain, [special, after @ ..])) = rest.split_at_checked(place) else {
            break;
        };
        out.extend_from_slice(plain);
        escape(out, *special);
        rest = after;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

fn escape(out: &mut Vec<u8>, byte: u8) {
    let letter = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        0x09 => b't',
        0x0A => b'n',
        0x0C => b'f',
        0x0D => b'r',
        control => {
            out.extend_from_slice(format!("\\u{control:04x}").as_bytes());
            return;
        }
    };
    out.extend_from_slice(&[b'\\', letter]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serde_json_writes_the_same() {
        let every: String = (0..=0x17Fu32)
            .chain([0x20AC, 0x1F600])
            .filter_map(char::from_u32)
            .collect();
        for text in ["", "plain", "\"\\", "a\nb", "\u{1}", &every] {
            let mut out = b"x".to_vec();
            string(&mut out, text);
            let found = String::from_utf8(out).unwrap();
            assert_eq!(found, format!("x{}", serde_json::to_string(text).unwrap()));
        }
    }
}
