//! Signing keys: their derivation for a day, region and service, their HMACs, and a cache of derived keys.

use crate::sigv4::TERMINATOR;
use crate::sigv4::credential::Credential;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use std::fmt;

/// A key derived from a secret for one day, region and service, with its HMAC state precomputed (1.2 KiB). Debug output
/// hides it.
///
/// Source: AWS, "Create a signed AWS API request", step 3.
#[derive(Clone)]
pub struct SigningKey(hmac::Key);

impl SigningKey {
    /// Derives the key with four HMACs, which takes about a microsecond. `date` has the form `YYYYMMDD`.
    #[must_use]
    pub fn derive(secret_access_key: &str, date: &str, region: &str, service: &str) -> Self {
        let secret = ["AWS4", secret_access_key].concat();
        let mut key = hmac::Key::new(HMAC_SHA256, secret.as_bytes());
        for part in [date, region, service, TERMINATOR] {
            key = hmac::Key::new(HMAC_SHA256, hmac::sign(&key, part.as_bytes()).as_ref());
        }
        Self(key)
    }

    /// Returns the signature of a string to sign.
    #[must_use]
    pub fn sign(&self, string_to_sign: &[u8]) -> [u8; 32] {
        let mut signature = [0; 32];
        signature.copy_from_slice(hmac::sign(&self.0, string_to_sign).as_ref());
        signature
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("SigningKey")
    }
}

/// Formats 32 bytes as lowercase hexadecimal. Panics if `bytes` has any other length.
pub(crate) fn hex(bytes: &[u8]) -> [u8; 64] {
    let mut text = [b'0'; 64];
    HEXLOWER.encode_mut(bytes, &mut text);
    text
}

pub(crate) fn unhex(text: &[u8]) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let is_long_enough = text.len() == 2 * bytes.len();
    let decoded = is_long_enough.then(|| HEXLOWER_PERMISSIVE.decode_mut(text, &mut bytes));
    decoded?.ok().map(|_| bytes)
}

// The cache of derived keys, which is bounded and owned by the caller. Each shard has one.
//
// Deriving a key costs about as much as the rest of a verification, and a fleet signs with the same few keys all day.
// The cache is set-associative, with eight entries per set. An access key id maps to one set and takes at most two of
// its entries, so that a key used with many dates does not evict other keys. The temporary keys in a set also share
// only two entries, since a caller may request any number of them. Only known ids are cached, so a hash without a
// secret is safe.

/// A cache of derived keys by access key id, day, region and service. Each shard has one. Debug output hides the keys.
///
/// Each used entry takes 1.5 KiB. An entry is bound to its secret, so rotating the secret replaces the entry.
pub struct SigningKeys {
    /// The sets of the cache, each with at most [`WAYS`] entries.
    sets: Vec<Vec<Entry>>,
    /// Number of lookups so far. Serves as a clock that records when each entry was last used.
    tick: u64,
}

struct Entry {
    access_key_id: String,
    scope: String,
    secret: String,
    is_temporary: bool,
    key: SigningKey,
    used: u64,
}

impl SigningKeys {
    /// Creates a cache for at least `entries_max` entries. The number is rounded up to whole sets.
    #[must_use]
    pub fn new(entries_max: usize) -> Self {
        let mut sets = Vec::new();
        sets.resize_with(entries_max.div_ceil(WAYS).max(1), Vec::new);
        Self { sets, tick: 0 }
    }

    /// Returns the number of cached keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sets.iter().map(Vec::len).sum()
    }

    /// Returns whether the cache is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes all derived keys, so that the keys of deleted credentials do not stay in memory.
    pub fn clear(&mut self) {
        self.sets.iter_mut().for_each(Vec::clear);
    }

    /// Returns the signing key for an access key, deriving it if it is not cached. An access key with a session token
    /// is temporary.
    pub(crate) fn of(
        &mut self,
        id: &str,
        credential: &Credential<'_>,
        (secret, is_temporary): (&str, bool),
    ) -> &SigningKey {
        self.tick += 1;
        let tick = self.tick;
        let place = hash(id) % self.sets.len().max(1) as u64;
        let place = usize::try_from(place).unwrap_or_default();
        let set = self
            .sets
            .get_mut(place)
            .expect("a table has a set, and the place is below their number");
        let found = set
            .iter()
            .position(|entry| entry.serves(id, credential.scope, secret));
        let found = found.unwrap_or_else(|| {
            let Credential {
                date,
                region,
                service,
                ..
            } = *credential;
            let entry = Entry {
                access_key_id: id.to_owned(),
                scope: credential.scope.to_owned(),
                secret: secret.to_owned(),
                is_temporary,
                key: SigningKey::derive(secret, date, region, service),
                used: 0,
            };
            match victim(set, &entry) {
                Some(victim) => {
                    set.push(entry);
                    drop(set.swap_remove(victim));
                    victim
                }
                None => {
                    set.push(entry);
                    set.len() - 1
                }
            }
        });
        let entry = set.get_mut(found).expect("it was found or put there above");
        entry.used = tick;
        &entry.key
    }
}

/// Returns the index of the entry to evict for a new key, or `None` if there is room. This is the least recently used
/// entry among
/// * the entries with the new key's id, if that id has reached its limit;
/// * otherwise, all temporary keys, if the new key is temporary and they have reached their limit;
/// * otherwise, all entries of the set.
fn victim(set: &[Entry], further: &Entry) -> Option<usize> {
    let is_same = |entry: &Entry| entry.access_key_id == further.access_key_id;
    let are_temporary = |entry: &Entry| further.is_temporary && entry.is_temporary;
    let count = |is_of: &dyn Fn(&Entry) -> bool| set.iter().filter(|entry| is_of(entry)).count();
    let is_of: &dyn Fn(&Entry) -> bool = if count(&is_same) >= PLACES_PER_ID {
        &is_same
    } else if count(&are_temporary) >= PLACES_OF_TEMPORARY {
        &are_temporary
    } else if set.len() >= WAYS {
        &|_| true
    } else {
        return None;
    };
    let entries = set.iter().enumerate();
    let candidates = entries.filter(|(_, entry)| is_of(entry));
    candidates
        .min_by_key(|(_, entry)| entry.used)
        .map(|(place, _)| place)
}

impl Entry {
    fn serves(&self, id: &str, scope: &str, secret: &str) -> bool {
        self.access_key_id == id
            && self.scope == scope
            && verify_slices_are_equal(self.secret.as_bytes(), secret.as_bytes()).is_ok()
    }
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "SigningKeys({})", self.len())
    }
}

/// FNV-1a hash with a final mixing step, so that the low bits depend on all bytes of the text.
fn hash(text: &str) -> u64 {
    let hash = text.bytes().fold(0xCBF2_9CE4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    });
    hash ^ hash >> 32
}

const WAYS: usize = 8;

/// Maximum number of cached keys per access key id. Two are needed around midnight, when requests signed on either day
/// arrive.
const PLACES_PER_ID: usize = 2;

const PLACES_OF_TEMPORARY: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_64_digits() {
        let bytes: Vec<u8> = (0..32).map(|byte| byte * 8 + 7).collect();
        let mut text = hex(&bytes);
        assert_eq!(unhex(&text).unwrap(), *bytes);
        assert_eq!(unhex(&text.to_ascii_uppercase()).unwrap(), *bytes);
        assert_eq!(unhex(&text[1..]), None);
        assert_eq!(unhex(&text[2..]), None);
        text[5] = b'g';
        assert_eq!(unhex(&text), None);
        assert_eq!(unhex(&[b'0'; 66]), None);
    }

    #[test]
    fn keys_keep_their_secret() {
        let key = SigningKey::derive("secret", "20260102", "us-east-1", "kinesisvideo");
        assert_eq!(format!("{key:?}"), "SigningKey");
    }
}

#[cfg(test)]
mod signing_keys_tests {
    use super::*;

    /// Looks up the key in the cache. Returns whether it is the key that is derived from the secret.
    fn ask(keys: &mut SigningKeys, id: &str, scope: &str, secret: &str) -> bool {
        ask_for(keys, id, scope, (secret, false))
    }

    fn ask_for(
        keys: &mut SigningKeys,
        id: &str,
        scope: &str,
        (secret, is_temporary): (&str, bool),
    ) -> bool {
        let text = format!("{id}/{scope}");
        let credential = Credential::parse(text.as_bytes()).ok().unwrap();
        let Credential {
            date,
            region,
            service,
            ..
        } = credential;
        let right = SigningKey::derive(secret, date, region, service).sign(b"text");
        let key = keys.of(id, &credential, (secret, is_temporary));
        key.sign(b"text") == right
    }

    /// Returns the access key ids in a cache that has one set, in sorted order.
    fn held(keys: &SigningKeys) -> Vec<String> {
        let held = keys.sets[0].iter();
        let mut held: Vec<_> = held.map(|entry| entry.access_key_id.clone()).collect();
        held.sort();
        held
    }

    fn scope(day: usize) -> String {
        format!("202601{day:02}/us-east-1/kinesisvideo/aws4_request")
    }

    #[test]
    fn an_id_has_at_most_two_places() {
        let mut keys = SigningKeys::new(64);
        for round in 0..3 {
            for day in 1..=9 {
                let fine = ask(&mut keys, "AKID", &scope(day), "secret");
                assert!(fine, "{round} {day}");
                assert!(keys.len() <= 2);
            }
        }
        assert!(ask(&mut keys, "OTHER", &scope(1), "secret"));
        assert_eq!(keys.len(), 3);
        keys.clear();
        assert!(keys.is_empty());
    }

    #[test]
    fn the_least_recently_used_gives_way() {
        let mut keys = SigningKeys::new(1); // one set
        for id in 0..8 {
            assert!(ask(&mut keys, &format!("AKID{id}"), &scope(1), "secret"));
        }
        assert!(ask(&mut keys, "AKID0", &scope(1), "secret"));
        assert!(ask(&mut keys, "AKID8", &scope(1), "secret"));
        let wanted = [
            "AKID0", "AKID2", "AKID3", "AKID4", "AKID5", "AKID6", "AKID7", "AKID8",
        ];
        assert_eq!(held(&keys), wanted);
    }

    #[test]
    fn temporary_keys_displace_one_another_alone() {
        let mut keys = SigningKeys::new(1); // one set
        for id in 0..6 {
            assert!(ask(&mut keys, &format!("AKID{id}"), &scope(1), "secret"));
        }
        for id in 0..100 {
            let id = format!("ASIA{id}");
            assert!(ask_for(&mut keys, &id, &scope(1), ("secret", true)));
        }
        let all = [
            "AKID0", "AKID1", "AKID2", "AKID3", "AKID4", "AKID5", "ASIA98", "ASIA99",
        ];
        assert_eq!(held(&keys), all);
        // Temporary keys are limited to two entries even if the rest of the set is empty.
        keys.clear();
        for id in ["ASIA1", "ASIA2", "ASIA3"] {
            assert!(ask_for(&mut keys, id, &scope(1), ("secret", true)));
        }
        assert_eq!(held(&keys), ["ASIA2", "ASIA3"]);
    }

    /// Tests a cache of the size that a shard uses, nearly full of long-term keys.
    #[test]
    fn a_hundred_thousand_temporary_keys_displace_no_other() {
        let mut keys = SigningKeys::new(8192);
        let fill = |keys: &mut SigningKeys, id: &str, is_temporary| {
            let text = format!("{id}/{}", scope(1));
            let credential = Credential::parse(text.as_bytes()).ok().unwrap();
            keys.of(id, &credential, ("secret", is_temporary));
        };
        let long_term = |keys: &SigningKeys| {
            let all = keys.sets.iter().flatten();
            let mut ids: Vec<_> = all
                .filter(|entry| !entry.is_temporary)
                .map(|entry| entry.access_key_id.clone())
                .collect();
            ids.sort();
            ids
        };
        let mut number = 0;
        while keys.len() < 4000 {
            let id = format!("AKID{number}");
            number += 1;
            let place = usize::try_from(hash(&id) % keys.sets.len() as u64).unwrap();
            if keys.sets[place].len() < WAYS - PLACES_OF_TEMPORARY {
                fill(&mut keys, &id, false);
            }
        }
        let before = long_term(&keys);
        for number in 0..100_000 {
            fill(&mut keys, &format!("ASIA{number}"), true);
        }
        assert_eq!(long_term(&keys), before);
        assert!(keys.len() - before.len() <= PLACES_OF_TEMPORARY * keys.sets.len());
    }

    #[test]
    fn the_bound_holds_and_answers_stay_right() {
        let mut keys = SigningKeys::new(32);
        for id in 0..1000 {
            let secret = format!("secret{}", id % 7);
            assert!(ask(
                &mut keys,
                &format!("AKID{}", id % 100),
                &scope(id % 3 + 1),
                &secret
            ));
            assert!(keys.len() <= 32);
        }
        assert_eq!(keys.len(), 32);
    }

    #[test]
    fn another_secret_is_another_key() {
        let mut keys = SigningKeys::new(8);
        for secret in ["old", "new", "newer", "old"] {
            assert!(ask(&mut keys, "AKID", &scope(1), secret));
        }
        assert_eq!(keys.len(), 2);
        assert!(!format!("{keys:?}").contains("AKID"));
    }

    #[test]
    fn another_region_or_service_is_another_key() {
        let mut keys = SigningKeys::new(8);
        #[rustfmt::skip] // a list
        let cases = ["us-east-1/sts", "us-east-1/kinesisvideo", "eu-west-1/sts", "us-east-1/sts"];
        for part in cases {
            assert!(ask(
                &mut keys,
                "AKID",
                &format!("20260101/{part}/aws4_request"),
                "secret"
            ));
        }
    }
}
