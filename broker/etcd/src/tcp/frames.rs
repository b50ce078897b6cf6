//! How the bytes on a connection are framed, within TLS.
//!
//! ```text
//!  hello, from the connecting node, then from the other one:
//!    0 (1) if it only queries | length (1) and name of the sender | length (1) and name of the intended node
//!  frame, from the connecting node, and from the other one in reply to a query:
//!    length (4, the least significant byte first, 1 to 16 MiB) | a message
//! ```
//! The protocol name that TLS negotiates ([`link::Purpose`]) includes the version of the framing.

use crate::limits::{MESSAGE_BYTES_MAX, NAME_BYTES_MAX, PEER_STALL};
use crate::names::Name;
use crate::tcp::shared::within;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) from: Name,
    pub(crate) to: Name,
    /// Whether the sender only wants to exchange one query and its reply, because another process may be using the same
    /// name.
    pub(crate) only_asks: bool,
}

impl Hello {
    pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let mut length = stream.read_u8().await?;
        let only_asks = length == 0;
        if only_asks {
            length = stream.read_u8().await?;
        }
        let from = read_name(stream, length).await?;
        let length = stream.read_u8().await?;
        let to = read_name(stream, length).await?;
        Ok(Self {
            from,
            to,
            only_asks,
        })
    }

    pub(crate) async fn write(&self, stream: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(1 + 2 * (1 + NAME_BYTES_MAX));
        if self.only_asks {
            bytes.push(0);
        }
        for name in [&self.from, &self.to] {
            let name = name.as_str();
            bytes.push(u8::try_from(name.len()).expect("a name has at most 63 bytes"));
            bytes.extend_from_slice(name.as_bytes());
        }
        stream.write_all(&bytes).await?;
        stream.flush().await
    }
}

async fn read_name(stream: &mut (impl AsyncRead + Unpin), length: u8) -> io::Result<Name> {
    let mut bytes = [0; NAME_BYTES_MAX];
    let bytes = bytes
        .get_mut(..length.into())
        .ok_or_else(|| garbage("no name"))?;
    stream.read_exact(bytes).await?;
    let name = std::str::from_utf8(bytes).ok().and_then(Name::new);
    name.ok_or_else(|| garbage("no name"))
}

/// Reads the length of the next frame. Returns `None` if the stream ends between two frames.
pub(crate) async fn read_length(
    stream: &mut (impl AsyncRead + Unpin),
) -> io::Result<Option<usize>> {
    let mut bytes = [0; LENGTH_BYTES];
    let [first, rest @ ..] = &mut bytes;
    if stream.read(std::slice::from_mut(first)).await? == 0 {
        return Ok(None);
    }
    within(PEER_STALL, "half a frame", stream.read_exact(rest)).await?;
    let length = usize::try_from(u32::from_le_bytes(bytes)).unwrap_or(usize::MAX);
    if length == 0 || length > MESSAGE_BYTES_MAX {
        return Err(garbage("invalid length of a frame"));
    }
    Ok(Some(length))
}

/// Reads the message of a frame. Each piece must arrive within [`PEER_STALL`].
pub(crate) async fn read_message(
    stream: &mut (impl AsyncRead + Unpin),
    length: usize,
) -> io::Result<Vec<u8>> {
    let mut message = Vec::with_capacity(length);
    let mut rest = stream.take(length as u64);
    while message.len() < length {
        let piece = within(PEER_STALL, "half a frame", rest.read_buf(&mut message)).await?;
        if piece == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(message)
}

/// Writes a frame. Each piece must be accepted within [`PEER_STALL`].
pub(crate) async fn write(
    stream: &mut (impl AsyncWrite + Unpin),
    message: &[u8],
) -> io::Result<()> {
    let length = u32::try_from(message.len()).map_err(|_| garbage("the message is too long"))?;
    // Sends the length together with the first piece, so that a typical message is one TLS record.
    let (first, rest) = message.split_at(message.len().min(PIECE_BYTES));
    let first = [&length.to_le_bytes(), first].concat();
    for piece in std::iter::once(&first[..]).chain(rest.chunks(PIECE_BYTES)) {
        within(PEER_STALL, "it does not read", stream.write_all(piece)).await?;
    }
    within(PEER_STALL, "it does not read", stream.flush()).await
}

pub(crate) fn garbage(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

const LENGTH_BYTES: usize = 4;

/// Number of bytes of a message that are passed to TLS at a time.
const PIECE_BYTES: usize = 32 << 10;
