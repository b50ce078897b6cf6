//! The base64 crate, which everybody uses: into buffers that are used again. It checks a text by decoding it.

use crate::rival::Digits;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The base64 crate, with its last output.
#[derive(Debug)]
pub struct Base64 {
    bytes: Vec<u8>,
}

impl Digits for Base64 {
    const LIBRARY: &'static str = "base64";

    fn new(text_bytes: usize) -> Self {
        Self {
            bytes: vec![0; text_bytes],
        }
    }

    fn check(&mut self, text: &[u8]) -> bool {
        STANDARD
            .decode_slice_unchecked(text, &mut self.bytes)
            .is_ok()
    }

    fn encode(&mut self, bytes: &[u8]) -> &[u8] {
        let length = STANDARD
            .encode_slice(bytes, &mut self.bytes)
            .expect("there is room for a text of this length");
        &self.bytes[..length]
    }
}
