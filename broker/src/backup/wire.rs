//! A backup as a stream of bytes: the response of `POST /backup`.
//!
//! ```text
//! heliograph backup 1\n
//! K  <length: 4>  <session.key, as text>                          at most once, first
//! R  <key's length: 2>  <value's length: 4>  <key>  <value>       each row of the store, in the order of keys
//! E  <rows: 8>                                                    the end, without which a stream is worth nothing
//! ```
//! Numbers are in the order of the network. Keys and values are those of the store, within its limits.

use std::io::{self, Read};
use store::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use zeroize::Zeroizing;

/// The beginning of a stream; the number is that of the format.
pub(crate) const MAGIC: &[u8] = b"heliograph backup 1\n";

/// Names the data directory in the answer, so that a command on the same machine finds the session key.
pub(crate) const DATA_DIR_HEADER: &str = "heliograph-data-dir";

/// Longest `session.key`, in bytes.
const SESSION_KEY_BYTES_MAX: usize = 1024;

/// Appends the session key.
pub(crate) fn put_session_key(to: &mut Vec<u8>, text: &str) {
    to.push(b'K');
    to.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
    to.extend_from_slice(text.as_bytes());
}

/// Appends a row.
pub(crate) fn put_row(to: &mut Vec<u8>, key: &str, value: &[u8]) {
    to.push(b'R');
    to.extend_from_slice(&u16::try_from(key.len()).unwrap_or(u16::MAX).to_be_bytes());
    to.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_be_bytes());
    to.extend_from_slice(key.as_bytes());
    to.extend_from_slice(value);
}

/// Appends the end.
pub(crate) fn put_end(to: &mut Vec<u8>, rows: u64) {
    to.push(b'E');
    to.extend_from_slice(&rows.to_be_bytes());
}

/// Reads a stream; memory is one row.
pub(crate) struct Reader<R> {
    from: R,
    key: Vec<u8>,
    value: Vec<u8>,
    rows: u64,
}

/// One part of a stream.
pub(crate) enum Part<'r> {
    /// The text of `session.key`.
    SessionKey(Zeroizing<String>),
    /// A row.
    Row(&'r str, &'r [u8]),
    /// All was there: this many rows.
    End(u64),
}

impl<R: Read> Reader<R> {
    /// A reader of a stream, which must begin as one.
    ///
    /// # Errors
    /// It does not, or cannot be read.
    pub(crate) fn new(mut from: R) -> io::Result<Self> {
        let mut magic = [0; MAGIC.len()];
        from.read_exact(&mut magic).map_err(cut_off)?;
        if magic != MAGIC {
            return Err(damaged("it does not begin as a backup of this version"));
        }
        Ok(Self {
            from,
            key: Vec::new(),
            value: Vec::new(),
            rows: 0,
        })
    }

    /// The next part.
    ///
    /// # Errors
    /// The stream ends before its end, is none, or cannot be read.
    pub(crate) fn next(&mut self) -> io::Result<Part<'_>> {
        match self.bytes::<1>()? {
            [b'K'] => {
                let length = u32::from_be_bytes(self.bytes()?) as usize;
                let mut text = Zeroizing::new(Vec::new());
                fill(&mut self.from, &mut text, length, SESSION_KEY_BYTES_MAX)?;
                let text =
                    str::from_utf8(&text).map_err(|_| damaged("its session key is not text"))?;
                Ok(Part::SessionKey(Zeroizing::new(text.to_owned())))
            }
            [b'R'] => {
                let key = usize::from(u16::from_be_bytes(self.bytes()?));
                let value = u32::from_be_bytes(self.bytes()?) as usize;
                fill(&mut self.from, &mut self.key, key, KEY_BYTES_MAX)?;
                fill(&mut self.from, &mut self.value, value, VALUE_BYTES_MAX)?;
                self.rows += 1;
                let key = str::from_utf8(&self.key).map_err(|_| damaged("a key is not text"))?;
                Ok(Part::Row(key, &self.value))
            }
            [b'E'] => {
                let rows = u64::from_be_bytes(self.bytes()?);
                if rows != self.rows {
                    return Err(damaged(
                        "its number of rows differs from the count at its end",
                    ));
                }
                Ok(Part::End(rows))
            }
            [_] => Err(damaged("a part of it is of an unknown kind")),
        }
    }

    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.from.read_exact(&mut bytes).map_err(cut_off)?;
        Ok(bytes)
    }
}

fn fill(from: &mut impl Read, to: &mut Vec<u8>, length: usize, most: usize) -> io::Result<()> {
    if length > most {
        return Err(damaged("a part of it is longer than allowed"));
    }
    to.resize(length, 0);
    from.read_exact(to).map_err(cut_off)
}

fn cut_off(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return damaged("it was cut off");
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

    fn whole() -> Vec<u8> {
        let mut stream = MAGIC.to_vec();
        put_session_key(&mut stream, "key");
        put_row(&mut stream, "a", b"1");
        put_row(&mut stream, "b", &[7; 5000]);
        put_end(&mut stream, 2);
        stream
    }

    fn read(stream: &[u8]) -> io::Result<Vec<String>> {
        let mut reader = Reader::new(stream)?;
        let mut parts = Vec::new();
        loop {
            match reader.next()? {
                Part::SessionKey(text) => parts.push(text.to_string()),
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
        let mut more = MAGIC.to_vec();
        put_row(&mut more, "a", b"1");
        put_end(&mut more, 2);
        let long = [MAGIC, b"R\xff\xff\0\0\0\0"].concat();
        let huge = [MAGIC, b"R\0\0\xff\xff\xff\xff"].concat();
        let unknown = [MAGIC, b"X"].concat();
        for stream in [&more[..], &long, &huge, &unknown, b"heliograph backup 2\n"] {
            assert!(read(stream).is_err());
        }
    }
}
