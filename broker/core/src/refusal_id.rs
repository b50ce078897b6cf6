//! Request ids for refusals. Each id encodes the reason for the refusal, so nothing has to be stored.
//!
//! ```text
//! id    = AES-128( block ), one block, printed as a UUID
//! block = 0 16 | milliseconds since 1970 42 | shard 8 | status - 400 8 | check 8 | purpose 6 | counter 40      bits
//! key   = HKDF-SHA-256(session key)
//! ```
//! The leading zeros, and fields with few valid values, distinguish these ids from others: about one in a hundred
//! million random UUIDs passes for one. Time, shard and counter make every block unique, so ids never repeat, and a
//! single block needs no mode of operation. Only holders of the session key can decode an id, which looks random to
//! clients. An id can be decoded as long as `session.key` contains its key, either as the current or as the previous
//! one.

use crate::event::{PURPOSES, Purpose};
use crate::{auth::SessionKeys, check::Check, id::ShardId, limits::SHARDS_MAX, time::Wall};
use aws_lc_rs::cipher::{
    AES_128, DecryptingKey, DecryptionContext, EncryptingKey, UnboundCipherKey,
};
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use std::fmt;

/// The contents of a refusal's request id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusalId {
    /// When the response was sent.
    pub at: Wall,
    /// The shard that sent the response.
    pub shard: ShardId,
    /// The status of the response, from 400 to 599.
    pub status: u16,
    /// The check that failed.
    pub check: Check,
    /// The purpose of the response.
    pub purpose: Purpose,
}

/// Generates request ids for the refusals of one shard.
pub struct RefusalIds {
    /// The key that encrypts the ids. `None` if the crypto library unexpectedly rejected it; the ids then cannot be
    /// decoded.
    key: Option<EncryptingKey>,
    shard: ShardId,
    counter: u64,
}

/// Decodes the request ids of any shard.
pub struct RefusalReader {
    keys: Vec<DecryptingKey>,
}

impl RefusalIds {
    /// Creates a shard's generator. `first` is a random number, of which 40 bits are used. It keeps the ids of nodes
    /// with the same session key distinct.
    #[must_use]
    pub fn new(keys: &SessionKeys, shard: ShardId, first: u64) -> Self {
        let [current, _] = keys.refusal_keys();
        let key = current.and_then(|key| {
            let key = UnboundCipherKey::new(&AES_128, &*key).ok()?;
            EncryptingKey::ecb(key).ok()
        });
        Self {
            key,
            shard,
            counter: first,
        }
    }

    /// Generates the next id: 128 bits, formatted as a UUID.
    pub fn next(&mut self, check: Check, purpose: Purpose, status: u16, at: Wall) -> u128 {
        self.counter = self.counter.wrapping_add(1);
        let id = RefusalId {
            at,
            shard: self.shard,
            status,
            check,
            purpose,
        };
        let mut block = id.pack(self.counter).to_be_bytes();
        let encrypted = self.key.as_ref().map(|key| key.encrypt(&mut block));
        debug_assert!(matches!(encrypted, Some(Ok(_))), "one block is encrypted");
        u128::from_be_bytes(block)
    }
}

impl RefusalReader {
    /// Creates a decoder for ids generated under the current or the previous session key.
    #[must_use]
    pub fn new(keys: &SessionKeys) -> Self {
        let keys = keys.refusal_keys().into_iter().flatten();
        let keys = keys.filter_map(|key| {
            let key = UnboundCipherKey::new(&AES_128, &*key).ok()?;
            DecryptingKey::ecb(key).ok()
        });
        Self {
            keys: keys.collect(),
        }
    }

    /// Decodes a request id. Returns `None` if the id does not belong to a refusal under these keys, if its date is
    /// after `now`, or if its shard number is not below `shards`.
    #[must_use]
    pub fn read(&self, id: &str, now: Wall, shards: u16) -> Option<RefusalId> {
        let encrypted = bytes_of(id)?;
        let read = |key: &DecryptingKey| {
            let mut block = encrypted;
            let plain = key.decrypt(&mut block, DecryptionContext::None).ok()?;
            let block = u128::from_be_bytes(plain.try_into().ok()?);
            RefusalId::unpack(block)
        };
        let id = self.keys.iter().find_map(read)?;
        (id.at <= now && id.shard.0 < shards).then_some(id)
    }
}

impl RefusalId {
    fn pack(self, counter: u64) -> u128 {
        let mut block = Block(0);
        block.push(self.at.0, AT_BITS);
        block.push(self.shard.0.into(), SHARD_BITS);
        let status = self.status.clamp(STATUS_MIN, STATUS_MAX) - STATUS_MIN;
        block.push(status.into(), STATUS_BITS);
        block.push(self.check.index() as u64, CHECK_BITS);
        block.push(self.purpose.index() as u64, PURPOSE_BITS);
        block.push(counter, COUNTER_BITS);
        block.0
    }

    fn unpack(block: u128) -> Option<Self> {
        let mut block = Block(block);
        block.pull(COUNTER_BITS);
        let purpose = block.pull(PURPOSE_BITS);
        let check = block.pull(CHECK_BITS);
        let status = STATUS_MIN + u16::try_from(block.pull(STATUS_BITS)).ok()?;
        let shard = block.pull(SHARD_BITS);
        let at = block.pull(AT_BITS);
        if block.0 != 0 || status > STATUS_MAX {
            return None;
        }
        Some(Self {
            at: Wall(at),
            shard: ShardId(u16::try_from(shard).ok()?),
            status,
            check: Check::of_index(u8::try_from(check).ok()?)?,
            purpose: Purpose::of_index(usize::try_from(purpose).ok()?)?,
        })
    }
}

/// The fields of a refusal id, packed into one encryption block with the last field in the lowest bits.
struct Block(u128);

impl Block {
    fn push(&mut self, value: u64, bits: u32) {
        self.0 = self.0 << bits | u128::from(value & ((1 << bits) - 1));
    }

    fn pull(&mut self, bits: u32) -> u64 {
        let value = self.0 & ((1 << bits) - 1);
        self.0 >>= bits;
        u64::try_from(value).unwrap_or_default()
    }
}

/// Formats an id as a UUID.
#[must_use]
pub fn printed(id: u128) -> String {
    let mut digits = [0; 32];
    HEXLOWER.encode_mut(&id.to_be_bytes(), &mut digits);
    let mut text = String::with_capacity(36);
    for (place, digit) in digits.into_iter().enumerate() {
        if matches!(place, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        text.push(char::from(digit));
    }
    text
}

fn bytes_of(id: &str) -> Option<[u8; 16]> {
    let hyphens = [8, 13, 18, 23];
    let is_form = |(at, byte): (usize, u8)| (byte == b'-') == hyphens.contains(&at);
    if id.len() != 36 || !id.bytes().enumerate().all(is_form) {
        return None;
    }
    let digits: Vec<u8> = id.bytes().filter(|byte| *byte != b'-').collect();
    let bytes = HEXLOWER_PERMISSIVE.decode(&digits).ok()?;
    bytes.try_into().ok()
}

impl fmt::Debug for RefusalIds {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "RefusalIds({})", self.shard.0)
    }
}

impl fmt::Debug for RefusalReader {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "RefusalReader({} keys)", self.keys.len())
    }
}

/// Number of timestamp bits, enough until the year 2109.
const AT_BITS: u32 = 42;
const SHARD_BITS: u32 = 8;
const STATUS_BITS: u32 = 8;
const CHECK_BITS: u32 = 8;
const PURPOSE_BITS: u32 = 6;
const COUNTER_BITS: u32 = 40;
const STATUS_MIN: u16 = 400;
const STATUS_MAX: u16 = 599;

const _: () = assert!(
    AT_BITS + SHARD_BITS + STATUS_BITS + CHECK_BITS + PURPOSE_BITS + COUNTER_BITS == 128 - 16,
    "16 bits are left: they are 0, which tells ids of ours from others"
);
const _: () = assert!(SHARDS_MAX <= 1 << SHARD_BITS && PURPOSES <= 1 << PURPOSE_BITS);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::CHECKS;
    use proptest::prelude::*;

    fn keys(byte: u8) -> SessionKeys {
        SessionKeys::new(&[byte; 32], None)
    }

    prop_compose! {
        fn ids()(
            at in 0..1u64 << AT_BITS,
            shard in 0..256u16,
            status in STATUS_MIN..=STATUS_MAX,
            check in 0..CHECKS,
            purpose in 0..PURPOSES,
        ) -> RefusalId {
            RefusalId {
                at: Wall(at),
                shard: ShardId(shard),
                status,
                check: Check::ALL[check],
                purpose: Purpose::of_index(purpose).unwrap(),
            }
        }
    }

    #[test]
    fn an_id_is_printed_as_a_uuid() {
        let id = 0x0123_4567_89ab_cdef_0011_2233_4455_6677;
        assert_eq!(printed(id), "01234567-89ab-cdef-0011-223344556677");
        assert_eq!(printed(7), "00000000-0000-0000-0000-000000000007");
    }

    proptest! {
        #[test]
        fn every_id_reads_as_it_was_made(id in ids(), first: u64) {
            let mut made = RefusalIds::new(&keys(1), id.shard, first);
            let text = printed(made.next(id.check, id.purpose, id.status, id.at));
            let reader = RefusalReader::new(&keys(1));
            prop_assert_eq!(reader.read(&text, id.at, 256), Some(id));
            prop_assert_eq!(reader.read(&text.to_uppercase(), id.at, 256), Some(id));
            prop_assert_eq!(reader.read(&text, id.at, id.shard.0), None, "a shard that is not there");
            if let Some(before) = id.at.0.checked_sub(1) {
                prop_assert_eq!(reader.read(&text, Wall(before), 256), None, "of the future");
            }
            prop_assert_eq!(RefusalReader::new(&keys(2)).read(&text, id.at, 256), None);
            let rotated = SessionKeys::new(&[2; 32], Some(&[1; 32]));
            prop_assert_eq!(RefusalReader::new(&rotated).read(&text, id.at, 256), Some(id));
            let another = printed(made.next(id.check, id.purpose, id.status, id.at));
            prop_assert_ne!(text, another);
        }
    }

    #[test]
    fn random_ids_say_nothing() {
        let reader = RefusalReader::new(&keys(1));
        let mut random = fastrand::Rng::with_seed(7);
        let now = Wall(1_800_000_000_000);
        let read = (0..1_000_000).filter(|_| {
            let id = printed(random.u128(..));
            reader.read(&id, now, 256).is_some()
        });
        assert!(read.count() <= 40);
    }

    #[test]
    fn what_has_not_the_form_of_an_id_is_none() {
        let mut ids = RefusalIds::new(&keys(1), ShardId(0), 0);
        let at = Wall(1_800_000_000_000);
        let id = printed(ids.next(Check::Draining, Purpose::Unknown, 503, at));
        let reader = RefusalReader::new(&keys(1));
        assert!(reader.read(&id, at, 1).is_some());
        for other in [
            "",
            "-",
            &id[1..],
            &format!("{id}0"),
            &id.replace('-', ""),
            &id.replace('-', "0"),
            &format!("{}g", &id[..35]),
            &format!("{}é", &id[..34]),
            &format!("0-{}", &id[2..]),
        ] {
            assert_eq!(reader.read(other, at, 1), None, "{other}");
        }
    }
}
