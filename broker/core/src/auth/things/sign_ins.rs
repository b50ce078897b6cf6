//! Sign-ins of each thing within the hour: one whose clock is ahead asks for new keys again and again.
//!
//! ```text
//! place = tag 32 | hour 20 | count 12 bits        four places in each of 16,384 sets, the same for all shards
//! ```
//! A place is taken for an hour, and then by whichever thing of its set comes first. Things that find no place are not
//! counted: those that ask often are among the first of the next hour.

use crate::limits::devices::{SIGN_INS_COUNTED_MAX, SIGN_INS_PER_HOUR};
use std::sync::atomic::{AtomicU64, Ordering};

/// Sign-ins of things by certificate and name, shared by all shards. One of each set of credentials: a reload begins
/// again.
#[derive(Debug)]
pub struct SignIns {
    places: Box<[AtomicU64]>,
}

/// The content of a place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    tag: u64,
    hour: u64,
    count: u64,
}

impl Default for SignIns {
    fn default() -> Self {
        let places = std::iter::repeat_with(AtomicU64::default);
        Self {
            places: places.take(SIGN_INS_COUNTED_MAX).collect(),
        }
    }
}

impl SignIns {
    /// Counts one of a thing; true for the first beyond [`SIGN_INS_PER_HOUR`], once an hour.
    pub(crate) fn exceeds(&self, certificate: &[u8; 32], name: Option<&str>, now_s: u64) -> bool {
        let key = key_of(certificate, name);
        let hour = (now_s / 3600) & HOURS;
        let set = usize::try_from(key % SETS).unwrap_or_default() * WAYS;
        let places = self.places.get(set..set + WAYS).unwrap_or_default();
        let tag = (key >> 32) | 1; // never that of an empty place
        let order = Ordering::Relaxed;
        // Its own place first, then one that nobody needs any more.
        let own = |place: Place| place.tag == tag;
        let free = |place: Place| place.tag == 0 || place.hour != hour;
        for fits in [&own as &dyn Fn(Place) -> bool, &free] {
            for word in places {
                let counted = word.fetch_update(order, order, |bits| {
                    let place = Place::of(bits);
                    let count = match place.hour == hour && own(place) {
                        true => (place.count + 1).min(COUNTS),
                        false => 1,
                    };
                    fits(place).then(|| Place { tag, hour, count }.bits())
                });
                if let Ok(before) = counted {
                    let before = Place::of(before);
                    let so_far = if own(before) && before.hour == hour {
                        before.count
                    } else {
                        0
                    };
                    return so_far == SIGN_INS_PER_HOUR;
                }
            }
        }
        false
    }
}

impl Place {
    const fn of(bits: u64) -> Self {
        Self {
            tag: bits >> 32,
            hour: bits >> 12 & HOURS,
            count: bits & COUNTS,
        }
    }

    const fn bits(self) -> u64 {
        self.tag << 32 | self.hour << 12 | self.count
    }
}

/// The certificate's fingerprint, which is random, and the name by FNV-1a.
fn key_of(certificate: &[u8; 32], name: Option<&str>) -> u64 {
    let first = certificate.first_chunk::<8>().copied().unwrap_or_default();
    let name = name.unwrap_or_default().bytes();
    let name = name.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    u64::from_be_bytes(first) ^ name
}

/// Places that one thing may take.
const WAYS: usize = 4;

const SETS: u64 = (SIGN_INS_COUNTED_MAX / WAYS) as u64;

/// The bits of an hour, and of a count, which stays at its largest value.
const HOURS: u64 = (1 << 20) - 1;
const COUNTS: u64 = (1 << 12) - 1;

const _: () = assert!(SIGN_INS_COUNTED_MAX.is_multiple_of(WAYS) && SIGN_INS_PER_HOUR < COUNTS);

#[cfg(test)]
mod tests {

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn certificate(number: u64) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        bytes
    }

    /// The numbers of the sign-ins that exceed, of this many.
    fn exceeding(sign_ins: &SignIns, name: &str, now_s: u64, times: u64) -> Vec<u64> {
        let exceeds = |_: &u64| sign_ins.exceeds(&certificate(7), Some(name), now_s);
        (1..=times).filter(exceeds).collect()
    }

    #[test]
    fn the_first_beyond_the_rate_is_told_once_an_hour_for_each_thing() {
        let sign_ins = SignIns::default();
        assert_eq!(exceeding(&sign_ins, "cam-1", NOW, 10_000), [21]);
        assert_eq!(exceeding(&sign_ins, "cam-2", NOW, 20), [0; 0]);
        assert_eq!(exceeding(&sign_ins, "cam-2", NOW, 20), [1]);
        assert_eq!(exceeding(&sign_ins, "cam-1", NOW + 3600, 30), [21]);
    }

    #[test]
    fn things_that_find_no_place_are_not_counted_until_the_next_hour() {
        let sign_ins = SignIns::default();
        let same_set = |nth: u64| certificate(nth << 32);
        let ask = |nth, now_s| sign_ins.exceeds(&same_set(nth), None, now_s);
        for nth in 0..8 {
            let told = (1..=100).filter(|_| ask(nth << 1, NOW)).count();
            assert_eq!(told, usize::from(nth < 4), "{nth}");
        }
        assert_eq!((1..=100).filter(|_| ask(14, NOW + 3600)).count(), 1);
        assert_eq!(sign_ins.places.len() * 8, 512 << 10);
    }
}
