//! Validation of UTF-8 that arrives in pieces.
//!
//! A text's buffer has a boundary before which everything is proven. Behind it lie at most three bytes: the start of a
//! character whose end has not arrived. They are looked at again with the next piece, so nothing else is carried.

/// Checks `text` from `proven` on and returns the new boundary, at most three bytes before the end of `text`; `None`
/// when no continuation can make `text` valid.
///
/// `proven` is the boundary of the last call for the same text, 0 at first. The text is complete when the boundary is
/// its end.
pub(crate) fn prove(text: &[u8], proven: usize) -> Option<usize> {
    let fresh = text.get(proven..)?;
    let (whole, begun) = fresh.split_at_checked(fresh.len() - begun_bytes(fresh))?;
    simdutf8::basic::from_utf8(whole).ok()?;
    if let Err(error) = std::str::from_utf8(begun)
        && error.error_len().is_some()
    {
        return None;
    }
    Some(text.len() - begun.len())
}

/// Bytes at the end that are the start of a character whose length, by its first byte, goes beyond the end.
fn begun_bytes(text: &[u8]) -> usize {
    for (behind, &byte) in (1..=CHARACTER_BYTES_MAX - 1).zip(text.iter().rev()) {
        let length = match byte {
            0x80..=0xBF => continue, // inside a character: its first byte is further ahead
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            0x00..=0x7F | 0xC0 | 0xC1 | 0xF5..=0xFF => 1, // whole, or never valid: no reason to wait
        };
        return if length > behind { behind } else { 0 };
    }
    0
}

/// The longest UTF-8 character in bytes (RFC 3629 section 3).
const CHARACTER_BYTES_MAX: usize = 4;

#[cfg(test)]
mod tests {

    use super::*;

    /// The boundary by std's check of the whole text; `None` if it is invalid.
    fn oracle(text: &[u8]) -> Option<usize> {
        match std::str::from_utf8(text) {
            Ok(_) => Some(text.len()),
            Err(error) if error.error_len().is_none() => Some(error.valid_up_to()),
            Err(_) => None,
        }
    }

    #[test]
    fn every_prefix_of_every_short_text_of_telling_bytes_agrees_with_std() {
        let telling = [
            0x41, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xED, 0xEF,
            0xF0, 0xF1, 0xF4, 0xF5,
        ];
        let mut text = [0; 4];
        for index in 0..telling.len().pow(4) {
            let mut digits = index;
            for byte in &mut text {
                *byte = telling[digits % telling.len()];
                digits /= telling.len();
            }
            let mut proven = Some(0);
            for end in 1..=text.len() {
                proven = proven.and_then(|proven| prove(&text[..end], proven));
                assert_eq!(proven, oracle(&text[..end]), "{:x?}", &text[..end]);
            }
        }
    }

    #[test]
    fn long_texts_cut_anywhere_agree_with_std() {
        let valid = "κόσμε \u{10FFFF} ascii \u{D7FF}\u{E000} 𐍈 "
            .repeat(4)
            .into_bytes();
        for spoilt in 0..=valid.len() {
            let mut text = valid.clone();
            if let Some(byte) = text.get_mut(spoilt) {
                *byte = 0xFF;
            }
            for cut in 0..=text.len() {
                let first = prove(&text[..cut], 0);
                assert_eq!(first, oracle(&text[..cut]));
                assert_eq!(
                    first.and_then(|proven| prove(&text, proven)),
                    oracle(&text),
                    "cut {cut}, spoilt {spoilt}"
                );
            }
        }
    }
}
