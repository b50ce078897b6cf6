//! Connections between nodes that are kept: for calls, each of which is one frame, as is its answer, and behind
//! WebSockets that end by their close frames.
//!
//! The header of a call has one entry more, which its HMAC covers: the number of the call on this connection, from 0,
//! and the bytes of its request, which follow the header. So a header is good for one call, and the end of a request is
//! said by the node that read it, never by its text:
//! ```text
//!  sender → owner   header (client, number, length); exactly these bytes
//!  owner → sender   Taken, soon, unless the answer comes before
//!                   Answer (length); exactly these bytes; then the next call may come
//!                   or Done: this number was not taken, and the connection ends
//!
//!   0      1       4          8               16
//!  ┌──────┬───────┬──────────┬───────────────┬────────────────────────────┐
//!  │ kind │ 0 0 0 │  length  │    number     │ an answer's bytes          │
//!  └──────┴───────┴──────────┴───────────────┴────────────────────────────┘
//! ```
//! An owner that does not know the entry skips it, and answers with the answer alone and its end. No kind is a letter,
//! so that the first byte tells the two apart.
//!
//! The header of an upgrade may have an entry with such a number as well. From then on the connection is the client's,
//! until both sides have closed the WebSocket: the close frame is the last of the client's bytes that the sender passes
//! on, and a frame stands behind the owner's:
//! ```text
//!  sender → owner   header (client, number); the client's bytes, up to the end of its close frame
//!  owner → sender   the answer, frames, its close frame; Free: it has read the client's, and the next header may come
//!                   or Done, in place of an answer: this number was not taken, and the connection ends
//! ```
//! Without `Free` the connection ends with the WebSocket, as it does where the owner does not know the entry.

use crate::proxy::FIXED_BYTES;

/// The entry that makes a header that of a call on a connection that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallEntry {
    /// The number of the call on its connection, from 0 on.
    pub number: u64,
    /// Bytes of the request behind the header: 1 to [`CALL_BYTES_MAX`].
    pub length: u32,
}

/// The entry of a header that says more than whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A call, on a connection that is kept.
    Call(CallEntry),
    /// An upgrade of this number, on a connection that is kept behind its WebSocket.
    Upgrade(u64),
}

/// A frame of the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerFrame<'a> {
    /// The whole call has come; its answer follows.
    Taken,
    /// The answer, as it goes to the client.
    Answer(&'a [u8]),
    /// The owner ends the connection, and has not taken the call or upgrade of this number.
    Done,
    /// The WebSocket is over, and all of its client's bytes were read: the next header may come.
    Free,
}

/// The owner's bytes are no frame of this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotFrame;

/// Longest request or answer that goes over a connection that is kept, in bytes. A longer request has a connection of
/// its own; no answer to a call is longer.
pub const CALL_BYTES_MAX: usize = 256 * 1024;

/// Bytes of a frame of the owner, without those of an answer.
pub const FRAME_BYTES: usize = 16;

/// Type of the entry of a call.
pub(crate) const TYPE_CALL: u8 = 0xe2;

/// Bytes of its value.
pub(crate) const CALL_ENTRY_BYTES: u8 = 12;

/// Type of the entry of an upgrade: eight bytes, its number.
pub(crate) const TYPE_UPGRADE: u8 = 0xe3;

const TAKEN: u8 = 1;
const ANSWER: u8 = 2;
const DONE: u8 = 3;
const FREE: u8 = 4;

impl CallEntry {
    /// The value of the entry.
    pub(crate) fn to_bytes(self) -> [u8; CALL_ENTRY_BYTES as usize] {
        let mut value = [0; CALL_ENTRY_BYTES as usize];
        let bytes = self.number.to_be_bytes().into_iter();
        let bytes = bytes.chain(self.length.to_be_bytes());
        value
            .iter_mut()
            .zip(bytes)
            .for_each(|(to, from)| *to = from);
        value
    }

    /// The entry of this value; `None` for one that no node writes.
    pub(crate) fn of_bytes(value: &[u8]) -> Option<Self> {
        let (number, length) = value.split_first_chunk::<8>()?;
        let (number, length) = (u64::from_be_bytes(*number), length.try_into().ok()?);
        let length = u32::from_be_bytes(length);
        let fits = (1..=CALL_BYTES_MAX).contains(&(length as usize));
        fits.then_some(Self { number, length })
    }
}

/// Appends a frame about the call or upgrade of this number.
///
/// # Panics
/// When an answer is longer than [`CALL_BYTES_MAX`].
pub fn write_frame(out: &mut Vec<u8>, number: u64, frame: OwnerFrame<'_>) {
    let (kind, answer): (u8, &[u8]) = match frame {
        OwnerFrame::Taken => (TAKEN, &[]),
        OwnerFrame::Answer(answer) => (ANSWER, answer),
        OwnerFrame::Done => (DONE, &[]),
        OwnerFrame::Free => (FREE, &[]),
    };
    assert!(answer.len() <= CALL_BYTES_MAX, "the caller looks");
    let length = u32::try_from(answer.len()).unwrap_or_default();
    out.reserve(FRAME_BYTES + answer.len());
    out.extend_from_slice(&[kind, 0, 0, 0]);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&number.to_be_bytes());
    out.extend_from_slice(answer);
}

/// The frame about the call or upgrade of this number at the beginning of `bytes`, and its length; `None` while it is
/// not whole.
///
/// # Errors
/// The bytes are another thing, known by the first wrong byte, or a frame of another call or length.
pub fn read_frame(bytes: &[u8], number: u64) -> Result<Option<(OwnerFrame<'_>, usize)>, NotFrame> {
    let Some(&kind) = bytes.first() else {
        return Ok(None);
    };
    let begins = bytes.iter().skip(1).take(3).all(|byte| *byte == 0);
    if ![TAKEN, ANSWER, DONE, FREE].contains(&kind) || !begins {
        return Err(NotFrame);
    }
    let Some((fixed, rest)) = bytes.split_first_chunk::<FRAME_BYTES>() else {
        return Ok(None);
    };
    let [_, _, _, _, a, b, c, d, its @ ..] = *fixed;
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    let fits = match kind {
        ANSWER => (1..=CALL_BYTES_MAX).contains(&length),
        _ => length == 0,
    };
    if !fits || u64::from_be_bytes(its) != number {
        return Err(NotFrame);
    }
    let frame = match kind {
        TAKEN => OwnerFrame::Taken,
        DONE => OwnerFrame::Done,
        FREE => OwnerFrame::Free,
        _ => match rest.get(..length) {
            Some(answer) => OwnerFrame::Answer(answer),
            None => return Ok(None),
        },
    };
    Ok(Some((frame, FRAME_BYTES + length)))
}

const _: () = assert!(CALL_BYTES_MAX <= u32::MAX as usize && FRAME_BYTES == FIXED_BYTES);

#[cfg(test)]
mod tests {
    use super::*;

    fn written(number: u64, frame: OwnerFrame<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_frame(&mut bytes, number, frame);
        bytes
    }

    #[test]
    fn frames_are_read_at_every_cut_and_what_follows_is_left() {
        let answer = OwnerFrame::Answer(b"HTTP/1.1 200 OK\r\n\r\n");
        for frame in [
            OwnerFrame::Taken,
            answer,
            OwnerFrame::Done,
            OwnerFrame::Free,
        ] {
            let bytes = written(7, frame);
            for cut in 0..bytes.len() {
                assert_eq!(read_frame(&bytes[..cut], 7), Ok(None), "{cut}");
            }
            let more = [&bytes[..], b"x"].concat();
            assert_eq!(read_frame(&more, 7), Ok(Some((frame, bytes.len()))));
        }
    }

    #[test]
    fn an_answer_without_a_frame_is_known_by_its_first_byte() {
        assert_eq!(read_frame(b"H", 0), Err(NotFrame));
        assert_eq!(read_frame(b"\x01\x01", 0), Err(NotFrame));
        assert_eq!(read_frame(b"", 0), Ok(None));
    }

    #[test]
    fn frames_of_another_call_or_length_are_none() {
        for frame in [
            OwnerFrame::Taken,
            OwnerFrame::Answer(b"x"),
            OwnerFrame::Done,
            OwnerFrame::Free,
        ] {
            let bytes = written(7, frame);
            assert_eq!(read_frame(&bytes, 8), Err(NotFrame), "another number");
        }
        for (kind, length) in [
            (TAKEN, 1),
            (DONE, 1),
            (FREE, 1),
            (ANSWER, 0),
            (ANSWER, CALL_BYTES_MAX + 1),
            (ANSWER, u32::MAX as usize),
            (0, 0),
            (5, 0),
        ] {
            let mut bytes = written(7, OwnerFrame::Taken);
            bytes[0] = kind;
            bytes[4..8].copy_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
            bytes.resize(FRAME_BYTES + length.min(2), 0);
            assert_eq!(read_frame(&bytes, 7), Err(NotFrame), "{kind} {length}");
        }
    }

    #[test]
    fn a_call_has_a_length_within_its_bound() {
        for (length, is_read) in [
            (0, false),
            (1, true),
            (CALL_BYTES_MAX, true),
            (CALL_BYTES_MAX + 1, false),
        ] {
            let (number, length) = (u64::MAX - 1, u32::try_from(length).unwrap());
            let entry = CallEntry { number, length };
            let read = CallEntry::of_bytes(&entry.to_bytes());
            assert_eq!(read, is_read.then_some(entry), "{length}");
        }
        assert_eq!(CallEntry::of_bytes(&[0; 11]), None);
        assert_eq!(CallEntry::of_bytes(&[0; 13]), None);
    }
}
