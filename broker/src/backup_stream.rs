//! The byte stream of a backup, sent in response to `POST /backup`.
//!
//! ```text
//! heliograph backup 2\n
//! <length: 4, big-endian>  <a part, encoded by broker_core::wire>    first the session key, if any;
//!                                                                    then rows in key order; the end marker
//! ```
//! The keys and values come from the store unchanged, so the store's size limits apply to them.

use broker_core::wire;
use serde::{Deserialize, Serialize};
use std::io::{self, Read};
use store::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use zeroize::Zeroizing;

pub(crate) const MAGIC: &[u8] = b"heliograph backup 2\n";

/// Response header with the data directory's path. A command on the same machine uses it to find the session key.
pub(crate) const DATA_DIR_HEADER: &str = "heliograph-data-dir";

pub(crate) const EPOCH_HEADER: &str = "heliograph-presence-epoch";

/// Maximum length of `session.key`, in bytes.
const SESSION_KEY_BYTES_MAX: usize = 1024;

#[derive(Serialize, Deserialize)]
pub(crate) enum Part<'p> {
    SessionKey(&'p str),
    /// A row's key and value.
    Row(
        &'p str,
        #[serde(serialize_with = "wire::bytes::serialize")] &'p [u8],
    ),
    /// The end marker, with the number of rows. A stream without it is invalid.
    End(u64),
}

impl Part<'_> {
    fn is_of_a_store(&self) -> bool {
        match self {
            Self::SessionKey(text) => text.len() <= SESSION_KEY_BYTES_MAX,
            Self::Row(key, value) => key.len() <= KEY_BYTES_MAX && value.len() <= VALUE_BYTES_MAX,
            Self::End(_) => true,
        }
    }
}

pub(crate) fn put(to: &mut Vec<u8>, part: &Part<'_>) {
    let bytes = wire::write(part);
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    to.extend_from_slice(&length.to_be_bytes());
    to.extend_from_slice(&bytes);
}

/// Maximum length of a part in bytes. Enough for a row and the lengths of its key and value.
const PART_BYTES_MAX: usize = KEY_BYTES_MAX + VALUE_BYTES_MAX + 16;

pub(crate) struct Reader<R> {
    from: R,
    /// Buffer for the current part. It is never reallocated, so no stray copy of the session key remains in memory.
    part: Zeroizing<Vec<u8>>,
    rows: u64,
}

impl<R: Read> Reader<R> {
    /// Creates a reader and checks the magic bytes. Fails if they do not match, or if the stream cannot be read.
    pub(crate) fn new(mut from: R) -> io::Result<Self> {
        let mut magic = [0; MAGIC.len()];
        from.read_exact(&mut magic).map_err(cut_off)?;
        if magic != MAGIC {
            return Err(damaged("it is not a backup of this version"));
        }
        Ok(Self {
            from,
            part: Zeroizing::new(Vec::with_capacity(PART_BYTES_MAX)),
            rows: 0,
        })
    }

    /// Reads the next part. Fails if the stream is truncated, malformed or unreadable.
    pub(crate) fn next(&mut self) -> io::Result<Part<'_>> {
        let mut length = [0; 4];
        self.from.read_exact(&mut length).map_err(cut_off)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > PART_BYTES_MAX {
            return Err(damaged("a part of it is longer than allowed"));
        }
        self.part.resize(length, 0);
        self.from.read_exact(&mut self.part).map_err(cut_off)?;
        let part = wire::read(&self.part, PART_BYTES_MAX).filter(Part::is_of_a_store);
        match &part {
            Some(Part::Row(..)) => self.rows += 1,
            Some(Part::End(rows)) if *rows != self.rows => {
                return Err(damaged(
                    "its number of rows differs from the count at its end",
                ));
            }
            Some(Part::SessionKey(_) | Part::End(_)) | None => {}
        }
        part.ok_or_else(|| damaged("a part of it is not of this version"))
    }
}

fn cut_off(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return damaged("it is truncated");
    }
    error
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the stream is damaged: {what}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(parts: &[Part<'_>]) -> Vec<u8> {
        let mut stream = MAGIC.to_vec();
        parts.iter().for_each(|part| put(&mut stream, part));
        stream
    }

    fn whole() -> Vec<u8> {
        stream(&[
            Part::SessionKey("key"),
            Part::Row("a", b"1"),
            Part::Row("b", &[7; 5000]),
            Part::End(2),
        ])
    }

    fn read(stream: &[u8]) -> io::Result<Vec<String>> {
        let mut reader = Reader::new(stream)?;
        let mut parts = Vec::new();
        loop {
            match reader.next()? {
                Part::SessionKey(text) => parts.push(text.to_owned()),
                Part::Row(key, value) => parts.push(format!("{key} {}", value.len())),
                Part::End(rows) => {
                    parts.push(rows.to_string());
                    return Ok(parts);
                }
            }
        }
    }

    #[test]
    fn what_is_put_is_read() {
        assert_eq!(read(&whole()).unwrap(), ["key", "a 1", "b 5000", "2"]);
        let (key, value) = ("k".repeat(KEY_BYTES_MAX), vec![7; VALUE_BYTES_MAX]);
        let longest = stream(&[Part::Row(&key, &value), Part::End(1)]);
        assert_eq!(read(&longest).unwrap().len(), 2);
    }

    #[test]
    fn a_stream_that_was_cut_off_anywhere_is_refused() {
        let stream = whole();
        for length in 0..stream.len() {
            assert!(read(&stream[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn a_stream_that_is_none_is_refused() {
        let (key, value) = ("k".repeat(KEY_BYTES_MAX + 1), vec![7; VALUE_BYTES_MAX + 1]);
        let end = [MAGIC, &[0, 0, 0, 3, 2, 0, 0]].concat();
        #[rustfmt::skip] // a table, a case per row
        let cases = [
            (stream(&[Part::Row("a", b"1"), Part::End(2)]), "number of rows"),
            (stream(&[Part::SessionKey(&key), Part::End(0)]), "not of this"),
            (stream(&[Part::Row(&key, b""), Part::End(1)]), "not of this"),
            (stream(&[Part::Row("a", &value), Part::End(1)]), "not of this"),
            (end, "not of this"),
            ([MAGIC, &[0, 0, 0, 2, 3, 0]].concat(), "not of this"),
            ([MAGIC, &[0xff; 4]].concat(), "longer than allowed"),
            (b"heliograph backup 1\nE\0\0\0\0\0\0\0\0".to_vec(), "not a backup"),
        ];
        for (stream, why) in cases {
            let refused = read(&stream).unwrap_err().to_string();
            assert!(refused.contains(why), "{refused}");
        }
    }
}
