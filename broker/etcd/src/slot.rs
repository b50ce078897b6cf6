//! From a channel to its slot.

use broker_core::cluster::limits::SLOTS;
use broker_core::cluster::types::Slot;
use broker_core::id::Identity;
use std::hash::Hasher;

/// The slot of a channel: SipHash-2-4 of `region:account:name` under the cluster's key, so that nobody outside can aim
/// at one slot. It never changes.
#[expect(
    deprecated,
    reason = "the hash of hash maps may change between versions of Rust; this one is SipHash-2-4 forever"
)]
pub(crate) fn slot_of(key: &[u8; 16], identity: &Identity) -> Slot {
    let (low, high) = key.split_at(8);
    let number = |bytes: &[u8]| {
        bytes
            .iter()
            .rev()
            .fold(0, |n, byte| n << 8 | u64::from(*byte))
    };
    let mut hasher = std::hash::SipHasher::new_with_keys(number(low), number(high));
    hasher.write(identity.as_str().as_bytes());
    Slot(u16::try_from(hasher.finish() % u64::from(SLOTS)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slot_of_a_channel_never_changes() {
        let key = std::array::from_fn(|byte| u8::try_from(byte).unwrap());
        // Computed by another implementation of the hash.
        assert_eq!(
            slot_of(&key, &Identity::new("us-west-2", "123456789012", "cam.1")),
            Slot(87)
        );
    }
}
