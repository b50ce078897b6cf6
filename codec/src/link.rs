//! Frames of a link: a connection between two nodes that multiplexes many clients as streams.
//!
//! The *front* is the node that a client is connected to, and the *owner* is the node that serves the client's channel.
//! Each side first sends a [`Hello`] and after that only frames. Numbers are big-endian:
//! ```text
//!   0        3      4          8
//!  ┌────────┬──────┬──────────┬───────────────────────────┐
//!  │ length │ type │  stream  │ payload, `length` bytes   │
//!  └────────┴──────┴──────────┴───────────────────────────┘
//!   1 OPEN  kind 1, flags 1 (1: TLS, 2: certificate), listener 2, address 16, port 2, bytes of the request 4,
//!           length of the server name 1, server name, certificate 0 or 32, the request's first bytes
//!   2 DATA  bytes                        3 DATA  the same, with a WebSocket frame that ends with the last byte
//!   4 ACK   offset 8, window 4, round trip 4, age of the oldest byte 4
//!   5 ASK   -                            6 END   how 1, code 2, offset 8
//!   7 PING  number 8                     8 PONG  number 8                     9 AWAY  -
//! ```
//! PING, PONG and AWAY apply to the whole link and use stream 0. All other frames belong to a stream. If a request does
//! not fit into OPEN, DATA frames carry the rest of it. Frames of an unknown type are skipped, so that later versions
//! can add types.

#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod hello;

pub use hello::{ANY_SHARD, HELLO_BYTES_MAX, Hello, NAME_BYTES_MAX, NodeName, NotHello};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use strum::IntoStaticStr;

/// Length of a frame header, in bytes.
pub const HEADER_BYTES: usize = 8;

/// Maximum length of a frame's payload, in bytes. Limits how long one stream can delay the others.
pub const PAYLOAD_BYTES_MAX: usize = 16 * 1024;

/// Length of the SHA-256 hash of a certificate, in bytes.
pub const CERTIFICATE_BYTES: usize = 32;

/// A frame of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Opens a stream for a client. Sent only by the front (the node that the client is connected to).
    Open(Open<'a>),
    /// Carries bytes from the client or to the client. Never empty.
    Data {
        /// The bytes to transfer.
        bytes: &'a [u8],
        /// Whether the data ends at the boundary of a WebSocket frame. If so, a close frame may follow.
        whole: bool,
    },
    /// Acknowledges received bytes.
    Ack(Ack),
    /// Requests an immediate ACK. Sent only by the owner (the node that serves the client's channel).
    Ask,
    /// Ends the stream in the sender's direction.
    End(End),
    /// Requests a PONG with the same number.
    Ping(u64),
    /// Answers a PING once everything sent before that PING has been read.
    Pong(u64),
    /// Announces that the sender no longer opens or accepts streams.
    Away,
}

/// A request to open a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open<'a> {
    /// The client that the stream belongs to.
    pub client: Client,
    /// Length of the client's request in bytes, including head and body. The stream starts with this request.
    pub request_bytes: u32,
    /// As many of the request's first bytes as fit into the frame.
    pub begin: &'a [u8],
}

/// A client, as described by the node that it is connected to (the front).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The kind of the client's request.
    pub kind: Kind,
    /// Address of the client. IPv4-mapped IPv6 addresses have been converted to IPv4.
    pub address: SocketAddr,
    /// Index of the listener that accepted the client, in the configuration of the client's node.
    pub listener: u16,
    /// Whether the client is connected over TLS.
    pub tls: bool,
    /// Server name that the client requested (SNI), at most 255 bytes. Empty if there is none.
    pub server_name: Box<str>,
    /// SHA-256 hash of the client's certificate, if the client presented one.
    pub certificate: Option<[u8; CERTIFICATE_BYTES]>,
}

/// The kind of a client's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A WebSocket upgrade, or another request that can safely be repeated.
    Upgrade,
    /// An API call that does not wait for a peer.
    Call,
    /// An Alexa offer, which waits for an answer.
    AlexaCall,
}

/// Acknowledges bytes that the sender of this frame has received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ack {
    /// Stream offset up to which all bytes are acknowledged. If the client's node sent the frame, the client's machine
    /// has acknowledged these bytes. If the node that serves the channel sent it, the session has read them.
    pub offset: u64,
    /// Maximum number of unacknowledged bytes on the stream.
    pub window: u32,
    /// Round-trip time to the client in milliseconds. Always 0 in a frame from the node that serves the channel.
    pub round_trip_ms: u32,
    /// Age of the oldest unacknowledged byte in milliseconds. Always 0 in a frame from the node that serves the
    /// channel.
    pub oldest_ms: u32,
}

/// Ends a stream in the sender's direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Why the stream ends.
    pub how: How,
    /// The final value of [`Ack::offset`].
    pub offset: u64,
}

/// The reason why a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// The client has closed its sending side (EOF), but can still receive.
    Fin,
    /// The client has reset its connection.
    Reset,
    /// The client's connection timed out because it was silent or stalled for too long.
    Timeout,
    /// The client read too slowly, and its node has buffered too much data for it.
    Slow,
    /// The session has ended. The client's connection is closed once all data has been sent.
    Finish,
    /// The session has ended, and the client's connection is closed immediately. If the code is not 0, a close frame
    /// with this code is sent first.
    Cut(u16),
    /// The node that serves the channel has not started to process the request, so the client's node may retry with the
    /// next owner.
    NotBegun,
}

/// A violation of the frame format. The link is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum FrameError {
    /// The payload exceeds [`PAYLOAD_BYTES_MAX`].
    TooLong,
    /// The payload has the wrong length for the frame type.
    WrongLength,
    /// The stream number is 0, but the frame type must belong to a stream.
    NoStream,
    /// The stream number is not 0, but the frame type applies to the whole link.
    NotOfStream,
    /// OPEN has an unknown kind or flag, or a server name that is not valid UTF-8.
    BadOpen,
    /// OPEN contains more bytes than the declared length of the request, or that length is 0.
    BadRequest,
    /// END has an unknown reason, or a code where none is expected.
    BadEnd,
}

const OPEN: u8 = 1;
const DATA: u8 = 2;
const WHOLE: u8 = 3;
const ACK: u8 = 4;
const ASK: u8 = 5;
const END: u8 = 6;
const PING: u8 = 7;
const PONG: u8 = 8;
const AWAY: u8 = 9;

const FLAG_TLS: u8 = 1;
const FLAG_CERTIFICATE: u8 = 2;

/// Length of the part of OPEN that precedes the server name, in bytes.
const OPEN_BYTES: usize = 27;

impl Client {
    /// Returns how many bytes of the request fit into OPEN: about 16,000.
    #[must_use]
    pub fn room(&self) -> usize {
        let certificate = self.certificate.map_or(0, |certificate| certificate.len());
        PAYLOAD_BYTES_MAX - OPEN_BYTES - self.name().len() - certificate
    }

    /// Returns the server name. A name that is too long becomes empty, since no listener can have one of that length.
    fn name(&self) -> &[u8] {
        let name = self.server_name.as_bytes();
        Some(name)
            .filter(|name| name.len() <= 255)
            .unwrap_or_default()
    }
}

/// Appends a frame. `stream` must be 0 if the frame applies to the whole link.
///
/// # Panics
/// Panics if the payload exceeds [`PAYLOAD_BYTES_MAX`].
pub fn write(out: &mut Vec<u8>, stream: u32, frame: &Frame<'_>) {
    let begin = out.len();
    out.extend_from_slice(&[0, 0, 0, type_of(frame)]);
    out.extend_from_slice(&stream.to_be_bytes());
    match frame {
        Frame::Open(open) => write_open(out, open),
        Frame::Data { bytes, .. } => out.extend_from_slice(bytes),
        Frame::Ack(ack) => {
            out.extend_from_slice(&ack.offset.to_be_bytes());
            for number in [ack.window, ack.round_trip_ms, ack.oldest_ms] {
                out.extend_from_slice(&number.to_be_bytes());
            }
        }
        Frame::End(end) => {
            let (how, code) = how_bytes(end.how);
            out.push(how);
            out.extend_from_slice(&code.to_be_bytes());
            out.extend_from_slice(&end.offset.to_be_bytes());
        }
        Frame::Ping(number) | Frame::Pong(number) => out.extend_from_slice(&number.to_be_bytes()),
        Frame::Ask | Frame::Away => {}
    }
    let length = out.len() - begin - HEADER_BYTES;
    assert!(length <= PAYLOAD_BYTES_MAX, "a payload of {length} bytes");
    let [.., high, middle, low] = length.to_be_bytes();
    if let Some(place) = out.get_mut(begin..begin + 3) {
        place.copy_from_slice(&[high, middle, low]);
    }
}

fn type_of(frame: &Frame<'_>) -> u8 {
    match frame {
        Frame::Open(_) => OPEN,
        Frame::Data { whole: false, .. } => DATA,
        Frame::Data { whole: true, .. } => WHOLE,
        Frame::Ack(_) => ACK,
        Frame::Ask => ASK,
        Frame::End(_) => END,
        Frame::Ping(_) => PING,
        Frame::Pong(_) => PONG,
        Frame::Away => AWAY,
    }
}

fn write_open(out: &mut Vec<u8>, open: &Open<'_>) {
    let client = &open.client;
    let kind = match client.kind {
        Kind::Upgrade => 1,
        Kind::Call => 2,
        Kind::AlexaCall => 3,
    };
    let certificate = u8::from(client.certificate.is_some()) * FLAG_CERTIFICATE;
    out.extend_from_slice(&[kind, (u8::from(client.tls) * FLAG_TLS) | certificate]);
    out.extend_from_slice(&client.listener.to_be_bytes());
    let address = match client.address.ip() {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    out.extend_from_slice(&address.octets());
    out.extend_from_slice(&client.address.port().to_be_bytes());
    out.extend_from_slice(&open.request_bytes.to_be_bytes());
    out.push(u8::try_from(client.name().len()).unwrap_or(0));
    out.extend_from_slice(client.name());
    out.extend_from_slice(client.certificate.as_ref().map_or(&[], |it| &it[..]));
    out.extend_from_slice(open.begin);
}

fn how_bytes(how: How) -> (u8, u16) {
    match how {
        How::Fin => (1, 0),
        How::Reset => (2, 0),
        How::Timeout => (3, 0),
        How::Slow => (4, 0),
        How::Finish => (5, 0),
        How::Cut(code) => (6, code),
        How::NotBegun => (7, 0),
    }
}

/// The incoming side of a link, after the hello. Buffers at most one incomplete frame.
#[derive(Debug, Default)]
pub struct Reader {
    partial: Vec<u8>,
    /// Whether the frame in `partial` is complete and has already been returned.
    is_read: bool,
    skipped: usize,
}

impl Reader {
    /// Returns how many of `bytes` were consumed and, if there is one, the next frame with its stream number. If no
    /// frame is complete, all bytes are consumed. A frame that lies completely within `bytes` is borrowed from it.
    /// After an error, the reader must not be used again.
    pub fn next<'a>(
        &'a mut self,
        bytes: &'a [u8],
    ) -> Result<(usize, Option<(u32, Frame<'a>)>), FrameError> {
        if std::mem::take(&mut self.is_read) {
            self.partial = Vec::new();
        }
        let mut used = 0;
        loop {
            let rest = bytes.get(used..).unwrap_or_default();
            if rest.is_empty() {
                return Ok((used, None));
            }
            if self.skipped > 0 {
                let skipped = self.skipped.min(rest.len());
                self.skipped -= skipped;
                used += skipped;
                continue;
            }
            if self.partial.is_empty() {
                match header(rest)? {
                    Some(header) if !header.is_known() => self.skipped = header.frame_bytes,
                    Some(header) if header.frame_bytes <= rest.len() => {
                        return Ok((used + header.frame_bytes, Some(header.frame(rest)?)));
                    }
                    Some(_) | None => {
                        self.partial.extend_from_slice(rest);
                        return Ok((bytes.len(), None));
                    }
                }
                continue;
            }
            // The header is completed first, then the payload.
            let wanted = header(&self.partial)?.map_or(HEADER_BYTES, |it| it.frame_bytes);
            let missing = (wanted - self.partial.len()).min(rest.len());
            self.partial
                .extend_from_slice(rest.get(..missing).unwrap_or_default());
            used += missing;
            match header(&self.partial)? {
                Some(header) if !header.is_known() => {
                    self.skipped = header.frame_bytes - self.partial.len();
                    self.partial = Vec::new();
                }
                Some(header) if header.frame_bytes == self.partial.len() => {
                    self.is_read = true;
                    return Ok((used, Some(header.frame(&self.partial)?)));
                }
                Some(_) | None => {}
            }
        }
    }
}

struct Header {
    kind: u8,
    stream: u32,
    frame_bytes: usize,
}

fn header(bytes: &[u8]) -> Result<Option<Header>, FrameError> {
    let Some(&[high, middle, low, kind, a, b, c, d]) = bytes.first_chunk() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes([0, high, middle, low]) as usize;
    if length > PAYLOAD_BYTES_MAX {
        return Err(FrameError::TooLong);
    }
    Ok(Some(Header {
        kind,
        stream: u32::from_be_bytes([a, b, c, d]),
        frame_bytes: HEADER_BYTES + length,
    }))
}

impl Header {
    fn is_known(&self) -> bool {
        (OPEN..=AWAY).contains(&self.kind)
    }

    fn frame<'a>(&self, bytes: &'a [u8]) -> Result<(u32, Frame<'a>), FrameError> {
        let of_link = matches!(self.kind, PING | PONG | AWAY);
        match (of_link, self.stream) {
            (true, 1..) => return Err(FrameError::NotOfStream),
            (false, 0) => return Err(FrameError::NoStream),
            (true, 0) | (false, 1..) => {}
        }
        let mut rest = bytes
            .get(HEADER_BYTES..self.frame_bytes)
            .unwrap_or_default();
        if matches!(self.kind, DATA | WHOLE) && !rest.is_empty() {
            let whole = self.kind == WHOLE;
            return Ok((self.stream, Frame::Data { bytes: rest, whole }));
        }
        let frame = match self.kind {
            OPEN => Some(Frame::Open(open(&mut rest)?)),
            ACK => ack(&mut rest),
            ASK => Some(Frame::Ask),
            END => end(&mut rest)?,
            PING => take(&mut rest).map(|number| Frame::Ping(u64::from_be_bytes(number))),
            PONG => take(&mut rest).map(|number| Frame::Pong(u64::from_be_bytes(number))),
            AWAY => Some(Frame::Away),
            _ => None, // DATA without a byte
        };
        let frame = frame.filter(|_| rest.is_empty());
        Ok((self.stream, frame.ok_or(FrameError::WrongLength)?))
    }
}

/// Parses OPEN. Consumes all of `rest`, since the frame ends with the first bytes of the request.
fn open<'a>(rest: &mut &'a [u8]) -> Result<Open<'a>, FrameError> {
    let fixed: [u8; OPEN_BYTES] = take(rest).ok_or(FrameError::WrongLength)?;
    let mut fixed = &fixed[..];
    let (
        Some([kind, flags]),
        Some(listener),
        Some(address),
        Some(port),
        Some(request),
        Some([name]),
    ) = (
        take(&mut fixed),
        take(&mut fixed),
        take::<16>(&mut fixed),
        take(&mut fixed),
        take(&mut fixed),
        take(&mut fixed),
    )
    else {
        return Err(FrameError::WrongLength);
    };
    let kind = match kind {
        1 => Kind::Upgrade,
        2 => Kind::Call,
        3 => Kind::AlexaCall,
        _ => return Err(FrameError::BadOpen),
    };
    if flags > FLAG_TLS | FLAG_CERTIFICATE {
        return Err(FrameError::BadOpen);
    }
    let (name, mut begin) = rest
        .split_at_checked(name.into())
        .ok_or(FrameError::WrongLength)?;
    let mut certificate = None;
    if flags & FLAG_CERTIFICATE != 0 {
        certificate = Some(take(&mut begin).ok_or(FrameError::WrongLength)?);
    }
    *rest = &[];
    let request_bytes = u32::from_be_bytes(request);
    if request_bytes == 0 || begin.len() > request_bytes as usize {
        return Err(FrameError::BadRequest);
    }
    let address = Ipv6Addr::from(address).to_canonical();
    let name = std::str::from_utf8(name).map_err(|_| FrameError::BadOpen)?;
    let client = Client {
        kind,
        address: SocketAddr::new(address, u16::from_be_bytes(port)),
        listener: u16::from_be_bytes(listener),
        tls: flags & FLAG_TLS != 0,
        server_name: name.into(),
        certificate,
    };
    Ok(Open {
        client,
        request_bytes,
        begin,
    })
}

fn ack(rest: &mut &[u8]) -> Option<Frame<'static>> {
    Some(Frame::Ack(Ack {
        offset: u64::from_be_bytes(take(rest)?),
        window: u32::from_be_bytes(take(rest)?),
        round_trip_ms: u32::from_be_bytes(take(rest)?),
        oldest_ms: u32::from_be_bytes(take(rest)?),
    }))
}

fn end(rest: &mut &[u8]) -> Result<Option<Frame<'static>>, FrameError> {
    let (Some([how]), Some(code), Some(offset)) = (take(rest), take(rest), take(rest)) else {
        return Ok(None);
    };
    let how = match (how, u16::from_be_bytes(code)) {
        (1, 0) => How::Fin,
        (2, 0) => How::Reset,
        (3, 0) => How::Timeout,
        (4, 0) => How::Slow,
        (5, 0) => How::Finish,
        (6, code) => How::Cut(code),
        (7, 0) => How::NotBegun,
        _ => return Err(FrameError::BadEnd),
    };
    let offset = u64::from_be_bytes(offset);
    Ok(Some(Frame::End(End { how, offset })))
}

fn take<const BYTES: usize>(rest: &mut &[u8]) -> Option<[u8; BYTES]> {
    let (first, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(*first)
}
