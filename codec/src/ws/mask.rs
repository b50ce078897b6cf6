//! Masking: XOR with a key of four bytes, in words.
//!
//! Source: RFC 6455 section 5.3.

/// Masks `payload` in place, or unmasks it, which is the same.
///
/// `offset` is the place of `payload`'s first byte in the frame's whole payload: the key continues from there. Only its
/// two lowest bits matter.
#[inline]
pub fn mask(payload: &mut [u8], key: [u8; 4], offset: usize) {
    let _ = mask_and_look(payload, key, offset);
}

/// Masks as [`mask`] does and says whether the result is ASCII, and so UTF-8: each word is in a register anyway, so
/// the answer costs next to nothing, where a walk of its own over a short text costs as much as the masking.
#[inline]
pub(crate) fn mask_and_look(payload: &mut [u8], key: [u8; 4], offset: usize) -> bool {
    //= https://www.rfc-editor.org/rfc/rfc6455#section-5.3
    //# Octet i of the transformed data ("transformed-octet-i") is the XOR of
    //# octet i of the original data ("original-octet-i") with octet at index
    //# i modulo 4 of the masking key ("masking-key-octet-j"):
    #[expect(clippy::cast_possible_truncation, reason = "two bits are left")]
    let turn = (offset & 3) as u32 * u8::BITS;
    let half = u32::from_le_bytes(key).rotate_right(turn);
    let word = u64::from(half) << u32::BITS | u64::from(half);
    let mut seen = 0;
    let (words, tail) = payload.as_chunks_mut::<8>();
    for bytes in words {
        let masked = u64::from_le_bytes(*bytes) ^ word;
        seen |= masked;
        *bytes = masked.to_le_bytes();
    }
    let (halves, tail) = tail.as_chunks_mut::<4>();
    for bytes in halves {
        let masked = u32::from_le_bytes(*bytes) ^ half;
        seen |= u64::from(masked);
        *bytes = masked.to_le_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(half.to_le_bytes()) {
        *byte ^= key;
        seen |= u64::from(*byte);
    }
    seen & BEYOND_ASCII == 0
}

/// In each byte of a word the bit that ASCII lacks.
const BEYOND_ASCII: u64 = u64::from_ne_bytes([0x80; 8]);

#[cfg(test)]
mod tests {

    use super::*;

    /// The RFC's sentence, word by word.
    fn scalar(payload: &mut [u8], key: [u8; 4], offset: usize) {
        for (i, byte) in payload.iter_mut().enumerate() {
            *byte ^= key[(i + offset) % 4];
        }
    }

    //= https://www.rfc-editor.org/rfc/rfc6455#section-5.3
    //= type=test
    //# Octet i of the transformed data ("transformed-octet-i") is the XOR of
    //# octet i of the original data ("original-octet-i") with octet at index
    //# i modulo 4 of the masking key ("masking-key-octet-j"):
    #[test]
    fn equals_the_scalar_rule_at_every_length_offset_and_alignment() {
        let original: Vec<u8> = (0..400_u32).map(|i| (i * 7 + 3).to_le_bytes()[0]).collect();
        let key = [0x37, 0xFA, 0x21, 0x3D];
        for length in (0..150).chain([255, 256, 257, 383]) {
            for offset in [0, 1, 2, 3, 4, 7, 65_537, usize::MAX] {
                for start in 0..9 {
                    let (mut fast, mut slow) = (original.clone(), original.clone());
                    mask(&mut fast[start..start + length], key, offset);
                    scalar(&mut slow[start..start + length], key, offset % 4);
                    assert_eq!(
                        fast, slow,
                        "length {length}, offset {offset}, start {start}"
                    );
                    mask(&mut fast[start..start + length], key, offset);
                    assert_eq!(fast, original, "twice is not at all");
                }
            }
        }
    }

    #[test]
    fn pieces_equal_the_whole() {
        let original: Vec<u8> = (0..=255).collect();
        let key = [1, 2, 4, 8];
        let mut whole = original.clone();
        mask(&mut whole, key, 0);
        for cut in 0..original.len() {
            let mut pieces = original.clone();
            let (first, second) = pieces.split_at_mut(cut);
            mask(first, key, 0);
            mask(second, key, cut);
            assert_eq!(pieces, whole, "cut at {cut}");
        }
    }

    #[test]
    fn ascii_is_recognised_at_any_length() {
        let key = [0x80, 0xFF, 0x01, 0x7F];
        for length in 0..40 {
            for spoilt in 0..=length {
                let mut payload = vec![0x7F; length];
                if let Some(byte) = payload.get_mut(spoilt) {
                    *byte = 0x80;
                }
                scalar(&mut payload, key, 1);
                let ascii = mask_and_look(&mut payload, key, 1);
                assert_eq!(ascii, spoilt == length, "byte {spoilt} of {length}");
                assert_eq!(ascii, payload.is_ascii());
            }
        }
    }
}
