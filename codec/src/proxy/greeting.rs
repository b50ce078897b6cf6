//! The greeting: the first bytes from the node that is connected to.

/// Bytes of a challenge.
pub const CHALLENGE_BYTES: usize = 32;

/// Bytes of a greeting.
pub const GREETING_BYTES: usize = MAGIC.len() + CHALLENGE_BYTES;

/// The peer is not an inner listener of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotGreeting;

/// The greeting with this challenge, which must be random and used once.
#[must_use]
pub fn greeting(challenge: &[u8; CHALLENGE_BYTES]) -> [u8; GREETING_BYTES] {
    let mut greeting = [0; GREETING_BYTES];
    let bytes = MAGIC.iter().chain(challenge);
    greeting
        .iter_mut()
        .zip(bytes)
        .for_each(|(to, from)| *to = *from);
    greeting
}

/// The challenge of the greeting received so far; `None` while it is incomplete.
///
/// # Errors
/// The bytes are no greeting, or others follow it: the owner sends nothing more before it has the header.
pub fn read_greeting(bytes: &[u8]) -> Result<Option<[u8; CHALLENGE_BYTES]>, NotGreeting> {
    let begun = bytes.len().min(MAGIC.len());
    if bytes.get(..begun) != MAGIC.get(..begun) || bytes.len() > GREETING_BYTES {
        return Err(NotGreeting);
    }
    let challenge = bytes.get(MAGIC.len()..).unwrap_or_default();
    Ok(challenge.try_into().ok())
}

/// The protocol between nodes, version 1.
const MAGIC: [u8; 8] = *b"HELIO/1\n";

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn a_greeting_is_read_at_every_cut() {
        let challenge = [7; CHALLENGE_BYTES];
        let whole = greeting(&challenge);
        for cut in 0..whole.len() {
            assert_eq!(read_greeting(&whole[..cut]), Ok(None), "{cut}");
        }
        assert_eq!(read_greeting(&whole), Ok(Some(challenge)));
    }

    #[test]
    fn what_is_no_greeting_is_known_by_its_first_wrong_byte() {
        assert_eq!(read_greeting(b"HTTP/1.1 400"), Err(NotGreeting));
        assert_eq!(read_greeting(b"HELIO/2"), Err(NotGreeting));
        let more = [&greeting(&[7; CHALLENGE_BYTES])[..], b"x"].concat();
        assert_eq!(read_greeting(&more), Err(NotGreeting));
    }
}
