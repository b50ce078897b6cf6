//! Nonces of temporary credentials: a counter under a key.

use crate::auth::session_keys::NONCE_BYTES;
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use std::fmt;

/// Generates nonces that never repeat and cannot be predicted. Exists per shard; the seed is drawn once per start.
pub struct Nonces {
    key: Key,
    shard: u16,
    counter: u64,
}

impl Nonces {
    /// Nonces of one shard, from 32 random bytes.
    #[must_use]
    pub fn new(seed: &[u8; 32], shard: u16) -> Self {
        Self {
            key: Key::new(HMAC_SHA256, seed),
            shard,
            counter: 0,
        }
    }

    /// The next one.
    pub fn draw(&mut self) -> [u8; NONCE_BYTES] {
        let mut place = [0; 10];
        let (shard, counter) = place.split_at_mut(2);
        shard.copy_from_slice(&self.shard.to_be_bytes());
        counter.copy_from_slice(&self.counter.to_be_bytes());
        self.counter += 1;
        let mut nonce = [0; NONCE_BYTES];
        nonce.copy_from_slice(sign(&self.key, &place).as_ref());
        nonce
    }
}

impl fmt::Debug for Nonces {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Nonces({}, {})", self.shard, self.counter)
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_nonce_comes_twice() {
        let mut all = BTreeSet::new();
        for (seed, shard) in [([1; 32], 0), ([1; 32], 1), ([2; 32], 0)] {
            let mut nonces = Nonces::new(&seed, shard);
            all.extend((0..100).map(|_| nonces.draw()));
        }
        assert_eq!(all.len(), 300);
    }
}
