//! The payload of a message: sender, recipient, sequence number, time, and a checksum over all of it.
//!
//! ```text
//!  characters  8    8        8     8   16        16       8         the rest
//!             ┌────┬────────┬─────┬───┬─────────┬────────┬─────────┬──────────────────────────┐
//!             │run │channel │from │to │sequence │sent_ns │checksum │filler                    │
//!             └────┴────────┴─────┴───┴─────────┴────────┴─────────┴──────────────────────────┘
//! ```
//! Numbers are hexadecimal: those digits are base64 characters, so the payload passes for base64 without being
//! encoded, and can be read in a trace. The checksum covers everything but itself.

/// Shortest payload in characters: a stamp without filler. A multiple of four, as base64 without padding is.
pub const STAMP_BYTES: usize = 72;

/// Longest payload in characters. No service takes more than this in one message.
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024;

/// The facts about a message in its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Distinguishes the messages of one run from what an earlier run left behind.
    pub run: u32,
    /// The channel, counted from 0.
    pub channel: u32,
    /// The sender's place in its channel: 0 the master, from 1 the viewers.
    pub from: u32,
    /// The recipient's place in its channel.
    pub to: u32,
    /// Which message from this sender to this recipient, counted from 0.
    pub sequence: u64,
    /// When it was composed, in nanoseconds of the run's clock.
    pub sent_ns: u64,
}

impl Stamp {
    /// Appends a payload of `payload_bytes` characters. `filler` is what [`filler`] made.
    ///
    /// # Panics
    /// When `payload_bytes` is below [`STAMP_BYTES`] or above [`PAYLOAD_BYTES_MAX`]; options are checked before.
    pub fn write(&self, out: &mut String, filler: &str, payload_bytes: usize) {
        let start = usize::try_from(self.sequence % FILLER_STARTS).unwrap_or_default();
        let filler = &filler[start..start + payload_bytes - STAMP_BYTES];
        let mut text = [0; STAMP_BYTES];
        put(&mut text[0..8], self.run.into());
        put(&mut text[8..16], self.channel.into());
        put(&mut text[16..24], self.from.into());
        put(&mut text[24..32], self.to.into());
        put(&mut text[32..48], self.sequence);
        put(&mut text[48..64], self.sent_ns);
        let sum = checksum(&text[..64], filler.as_bytes());
        put(&mut text[64..72], sum.into());
        out.push_str(std::str::from_utf8(&text).unwrap_or_default());
        out.push_str(filler);
    }

    /// Reads a payload; `None` when it is not one that was sent: too short, other characters, or a wrong checksum.
    #[must_use]
    pub fn read(payload: &str) -> Option<Self> {
        let (text, filler) = payload.as_bytes().split_at_checked(STAMP_BYTES)?;
        let sum = checksum(&text[..64], filler);
        if take(&text[64..72])? != u64::from(sum) {
            return None;
        }
        let short = |from: usize| u32::try_from(take(&text[from..from + 8])?).ok();
        Some(Self {
            run: short(0)?,
            channel: short(8)?,
            from: short(16)?,
            to: short(24)?,
            sequence: take(&text[32..48])?,
            sent_ns: take(&text[48..64])?,
        })
    }
}

/// The text that fillers are cut from, each message's from another start: characters of base64 without order.
#[must_use]
pub fn filler() -> String {
    let mut random = fastrand::Rng::with_seed(0x4865_6C69_6F67_7261);
    let length = PAYLOAD_BYTES_MAX + usize::try_from(FILLER_STARTS).unwrap_or_default();
    let characters = (0..length).map(|_| char::from(ALPHABET[random.usize(..ALPHABET.len())]));
    characters.collect()
}

/// Writes a number as hexadecimal digits, as many as there is room for.
fn put(text: &mut [u8], mut number: u64) {
    for place in text.iter_mut().rev() {
        *place = DIGITS[(number & 15) as usize];
        number >>= 4;
    }
}

/// The number that hexadecimal digits stand for, at most 16 of them; `None` for any other character.
fn take(text: &[u8]) -> Option<u64> {
    let mut number = 0;
    for &digit in text {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'A'..=b'F' => digit - b'A' + 10,
            _ => return None,
        };
        number = number << 4 | u64::from(value);
    }
    Some(number)
}

/// A checksum of two texts in a row, 8 bytes a step. Each step is a bijection of the state, so a change in one step's
/// bytes always changes the state; folding to 32 bits leaves one chance in 2³².
fn checksum(head: &[u8], tail: &[u8]) -> u32 {
    let mut state = 0xCBF2_9CE4_8422_2325 ^ (head.len() + tail.len()) as u64;
    for text in [head, tail] {
        let (words, rest) = text.as_chunks::<8>();
        for word in words {
            state = step(state, u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        state = step(state, u64::from_le_bytes(last));
    }
    let [a, b, c, d, e, f, g, h] = state.to_le_bytes();
    u32::from_le_bytes([a, b, c, d]) ^ u32::from_le_bytes([e, f, g, h])
}

fn step(state: u64, word: u64) -> u64 {
    let state = (state ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    state ^ state >> 29
}

const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// A prime, so that fillers and windows do not fall into step.
const FILLER_STARTS: u64 = 4093;

#[cfg(test)]
mod tests {

    use super::*;

    const STAMP: Stamp = Stamp {
        run: 0xDEAD_BEEF,
        channel: 7,
        from: 0,
        to: 3,
        sequence: 1 << 40,
        sent_ns: u64::MAX,
    };

    #[test]
    fn what_is_written_is_read() {
        for bytes in [72, 73, 76, 79, 80, 200, 3_000, PAYLOAD_BYTES_MAX] {
            let mut text = String::new();
            STAMP.write(&mut text, &filler(), bytes);
            assert_eq!(text.len(), bytes);
            assert_eq!(Stamp::read(&text), Some(STAMP));
        }
    }

    #[test]
    fn any_single_change_is_seen() {
        let mut text = String::new();
        STAMP.write(&mut text, &filler(), 200);
        for place in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            assert_eq!(Stamp::read(std::str::from_utf8(&changed).unwrap()), None);
        }
        for length in 0..text.len() {
            assert_eq!(Stamp::read(&text[..length]), None);
        }
        assert_eq!(Stamp::read(&format!("{text}A")), None);
    }

    #[test]
    fn payloads_pass_for_base64() {
        let mut text = String::new();
        STAMP.write(&mut text, &filler(), 200);
        assert!(codec::base64::is_well_formed(text.as_bytes()));
    }
}
