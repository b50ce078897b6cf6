//! The parts of a simulated client that do no I/O: its name, connection protocol and messages, and the record of
//! messages it has received.
//!
//! Every message contains a [`PayloadStamp`] with its sender, recipient, sequence number and time, protected by a
//! checksum. A recipient keeps one [`Sequence`] per sender. From the messages alone, it can thus detect messages that
//! are missing, duplicated, late, corrupted or misrouted. These checks share no code with any service's routing.

use codec::ws::{self, FrameError, FrameRules, Item, Opcode, Receiver, Side, close};
use fastrand::Rng;
use std::fmt::Write;
use std::ops::Range;

/// The identity of a peer, which stays the same for the whole run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// Number of the channel, counted from 0.
    pub channel: u32,
    /// Number of the peer within its channel: 0 for the master, and 1 and up for viewers.
    pub place: u32,
}

/// The parts that all channel names and ARNs have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naming {
    /// AWS region, such as `us-west-2`.
    pub region: String,
    /// Twelve-digit account id.
    pub account: String,
    /// Prefix of every channel name, followed by the channel number.
    pub prefix: String,
}

impl Naming {
    /// Returns the name of a channel.
    #[must_use]
    pub fn name(&self, channel: u32) -> String {
        format!("{}{channel}", self.prefix)
    }

    /// Returns the ARN of a channel.
    #[must_use]
    pub fn arn(&self, channel: u32) -> String {
        let Self {
            region,
            account,
            prefix,
        } = self;
        format!("arn:aws:kinesisvideo:{region}:{account}:channel/{prefix}{channel}/{CREATED_MS}")
    }
}

/// Returns the client id of viewer number `place`.
#[must_use]
pub fn client_id(place: u32) -> String {
    format!("{VIEWER}{place}")
}

/// Returns the path and query of an unsigned WebSocket upgrade request.
#[must_use]
pub fn unsigned_target(arn: &str, client_id: Option<&str>) -> String {
    let mut target = String::from("/?X-Amz-ChannelARN=");
    codec::http::encode(&mut target, arn);
    if let Some(client_id) = client_id {
        target.push_str("&X-Amz-ClientId=");
        codec::http::encode(&mut target, client_id);
    }
    target
}

pub(crate) fn write_client_id(out: &mut String, place: u32) {
    let _ = write!(out, "{VIEWER}{place}");
}

pub(crate) fn place_of(client_id: &str) -> Option<u32> {
    client_id.strip_prefix(VIEWER)?.parse().ok()
}

const VIEWER: &str = "viewer-";
/// The creation time in all ARNs, in milliseconds since 1970.
const CREATED_MS: u64 = 1_700_000_000_000;

// The payload of a message, which contains the sender, recipient, sequence number, time and a checksum.
//
// ```text
//  characters  8    8        8     8   16        16       8         the rest
//             ┌────┬────────┬─────┬───┬─────────┬────────┬─────────┬──────────────────────────┐
//             │run │channel │from │to │sequence │sent_ns │checksum │filler                    │
//             └────┴────────┴─────┴───┴─────────┴────────┴─────────┴──────────────────────────┘
// ```
// Numbers are hexadecimal. Hexadecimal digits are base64 characters, so the payload is valid base64 without being
// encoded, and is legible in a trace. The checksum covers all other fields.

/// Minimum payload length in characters: a stamp without filler. A multiple of 4, so that base64 needs no padding.
pub const STAMP_BYTES: usize = 72;

/// Maximum payload length in characters. No service accepts longer messages.
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024;

/// The metadata at the start of a message's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadStamp {
    /// Run id, which distinguishes the messages of different runs.
    pub run: u32,
    /// Number of the channel, counted from 0.
    pub channel: u32,
    /// Number of the sender within its channel: 0 for the master, and 1 and up for viewers.
    pub from: u32,
    /// Number of the recipient within its channel.
    pub to: u32,
    /// Sequence number of the message between this sender and this recipient, starting at 0.
    pub sequence: u64,
    /// When the message was composed, in nanoseconds on the run's clock.
    pub sent_ns: u64,
}

impl PayloadStamp {
    /// Appends a payload of `payload_bytes` characters. The `filler` must come from [`filler`].
    ///
    /// # Panics
    /// Panics if `payload_bytes` is not between [`STAMP_BYTES`] and [`PAYLOAD_BYTES_MAX`]. The plan ensures this when
    /// it validates the flags.
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

    /// Parses a payload's stamp. Returns `None` if the payload is too short, contains invalid characters or has a wrong
    /// checksum.
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

/// Generates random base64 characters. Each message takes its filler from a different offset.
#[must_use]
pub fn filler() -> String {
    let mut random = fastrand::Rng::with_seed(0x4865_6C69_6F67_7261);
    let length = PAYLOAD_BYTES_MAX + usize::try_from(FILLER_STARTS).unwrap_or_default();
    let characters = (0..length).map(|_| char::from(ALPHABET[random.usize(..ALPHABET.len())]));
    characters.collect()
}

fn put(text: &mut [u8], mut number: u64) {
    for place in text.iter_mut().rev() {
        *place = DIGITS[(number & 15) as usize];
        number >>= 4;
    }
}

/// Parses up to 16 hexadecimal digits. Returns `None` on any other character.
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

/// Computes the checksum of two consecutive byte strings, 8 bytes at a time. Each step is a bijection of the state, so
/// a change within a single step always changes the state. The state is then folded to 32 bits, which makes the
/// collision probability 2⁻³².
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
/// Number of different filler offsets. A prime, so that offsets do not align with message windows.
const FILLER_STARTS: u64 = 4093;

/// The record of messages received from one sender. Uses no heap memory unless messages are missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sequence {
    next: u64,
    /// Ranges of missing sequence numbers below `next`, in ascending order. At most [`GAPS_MAX`] ranges.
    gaps: Vec<Range<u64>>,
    /// Number of missing messages that are no longer tracked individually.
    written_off: u64,
}

/// How a received message relates to those that arrived before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// In order: no later message has arrived before this message.
    InOrder,
    /// Late: a later message arrived before this message.
    Late,
    /// Duplicate: the same message has arrived before.
    Again,
    /// No message with this number has been composed. Only a [`MessageBook`](crate::visit::MessageBook) can detect
    /// this.
    Unknown,
}

/// Maximum number of gaps (24 bytes each) to track per sender and recipient. Beyond this, messages in the oldest gap
/// count as lost. If such a message still arrives, it counts as a duplicate.
const GAPS_MAX: usize = 256;

impl Sequence {
    /// Returns one more than the highest sequence number received.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// Records that an intact message has arrived.
    pub fn arrive(&mut self, number: u64) -> Arrival {
        if number >= self.next {
            if number > self.next {
                self.remember(self.next..number);
            }
            self.next = number + 1;
            return Arrival::InOrder;
        }
        let Some(index) = self.gaps.iter().position(|gap| gap.contains(&number)) else {
            return Arrival::Again;
        };
        let gap = self.gaps.remove(index);
        if number + 1 < gap.end {
            self.gaps.insert(index, number + 1..gap.end);
        }
        if gap.start < number {
            self.gaps.insert(index, gap.start..number);
        }
        Arrival::Late
    }

    /// Returns how many of the first `sent` messages are missing.
    #[must_use]
    pub fn missing(&self, sent: u64) -> u64 {
        let in_gaps: u64 = self.gaps.iter().map(|gap| gap.end - gap.start).sum();
        self.written_off + in_gaps + sent.saturating_sub(self.next)
    }

    fn remember(&mut self, gap: Range<u64>) {
        if self.gaps.len() >= GAPS_MAX {
            let oldest = self.gaps.remove(0);
            self.written_off += oldest.end - oldest.start;
        }
        self.gaps.push(gap);
    }
}

// The client protocol of a connection: the upgrade request, frames and closing handshake. Converts bytes to [`Event`]s.

/// The client side of a WebSocket connection, without its socket. A peer creates a new link for each connection.
#[derive(Debug)]
pub struct PeerLink {
    state: LinkState,
    /// Kept apart from the state, so that the state can change while an event borrows from the receiver.
    receiver: Receiver,
}

#[derive(Debug)]
enum LinkState {
    AwaitAnswer(Box<Opening>),
    Open,
    /// This side has sent a close frame and is waiting for the echo. Messages may still arrive.
    AwaitCloseEcho,
    /// Both sides have closed the connection, or it has failed. Received bytes are discarded.
    Ended,
}

/// An event decoded from received bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The service accepted the upgrade.
    Opened,
    /// A message has arrived. Its text may be modified in place.
    Message(&'a mut [u8]),
    /// The service has closed the connection. Contains the close code, if there was one. The close frame has already
    /// been answered.
    ClosedByService(Option<u16>),
    /// The service has answered this side's close frame.
    Closed,
}

/// Why a connection failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkError {
    /// The upgrade was not answered with a 101. Contains the status and, if the response has them, the AWS error type
    /// and the request id.
    Refused(u16, Option<Box<str>>, Option<Box<str>>),
    /// The response is not HTTP, is too long, or does not match the key in the request.
    Answer,
    /// The service violated RFC 6455.
    Frame(FrameError),
}

impl LinkError {
    /// Returns the name under which to count the error.
    #[must_use]
    pub fn kind(&self) -> String {
        match self {
            Self::Refused(status, None, _) => format!("refused_{status}"),
            Self::Refused(status, Some(error), _) => format!("refused_{status}_{error}"),
            Self::Answer => "bad_upgrade_answer".into(),
            Self::Frame(_) => "bad_frame".into(),
        }
    }

    /// Returns the request id of a refused upgrade, if the response contained one.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        match self {
            Self::Refused(_, _, id) => id.as_deref(),
            Self::Answer | Self::Frame(_) => None,
        }
    }
}

impl PeerLink {
    /// Creates a link and appends its upgrade request to `out`. See [`ws::request`](codec::ws::request).
    #[must_use]
    pub fn open(host: &str, target: &str, random: &mut Rng, out: &mut Vec<u8>) -> Self {
        let mut key = Vec::with_capacity(24);
        codec::base64::encode(&mut key, &random.u128(..).to_be_bytes());
        let key = String::from_utf8(key).unwrap_or_default();
        ws::request(out, host, target, &key);
        let head = Vec::new();
        Self {
            state: LinkState::AwaitAnswer(Box::new(Opening { key, head })),
            receiver: Receiver::new(Side::Client),
        }
    }

    /// Creates a link without a connection, in the ended state.
    #[must_use]
    pub const fn ended() -> Self {
        Self {
            state: LinkState::Ended,
            receiver: Receiver::new(Side::Client),
        }
    }

    /// Returns whether the link may send messages.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.state, LinkState::Open)
    }

    /// Starts the closing handshake with code 1000. Does nothing unless the connection is open.
    pub fn close(&mut self, random: &mut Rng, out: &mut Vec<u8>) {
        if self.is_open() {
            ws::close_frame_masked(out, close::NORMAL, "", key(random));
            self.state = LinkState::AwaitCloseEcho;
        }
    }

    /// Consumes `bytes` up to the end of the next event, if any, and returns how many bytes were consumed. Call this
    /// repeatedly until all bytes are consumed. Replies to pings and close frames are appended to `out`. An error ends
    /// the link.
    pub fn next<'a>(
        &'a mut self,
        bytes: &'a mut [u8],
        random: &mut Rng,
        out: &mut Vec<u8>,
    ) -> Result<(usize, Option<Event<'a>>), LinkError> {
        let open = match &mut self.state {
            LinkState::AwaitAnswer(opening) => {
                let (used, opened) = match opening.take_in(bytes) {
                    Ok(step) => step,
                    Err(error) => {
                        self.state = LinkState::Ended;
                        return Err(error);
                    }
                };
                if opened {
                    self.state = LinkState::Open;
                }
                return Ok((used, opened.then_some(Event::Opened)));
            }
            LinkState::Open => true,
            LinkState::AwaitCloseEcho => false,
            LinkState::Ended => return Ok((bytes.len(), None)),
        };
        let (used, item) = match self.receiver.next(&RULES, bytes) {
            Ok(step) => step,
            Err(error) => {
                self.state = LinkState::Ended;
                return Err(LinkError::Frame(error));
            }
        };
        let event = match item {
            None | Some(Item::Pong(_)) => None,
            Some(Item::Message { payload, .. }) => Some(Event::Message(payload)),
            Some(Item::Ping(payload)) => {
                ws::frame_masked(out, Opcode::Pong, payload, key(random));
                None
            }
            Some(Item::Close(frame)) => {
                self.state = LinkState::Ended;
                let code = frame.map(|frame| frame.code);
                if open {
                    let echo = code.unwrap_or(close::NORMAL);
                    ws::close_frame_masked(out, echo, "", key(random));
                }
                Some(if open {
                    Event::ClosedByService(code)
                } else {
                    Event::Closed
                })
            }
        };
        Ok((used, event))
    }
}

#[derive(Debug)]
struct Opening {
    key: String,
    head: Vec<u8>,
}

impl Opening {
    fn take_in(&mut self, bytes: &[u8]) -> Result<(usize, bool), LinkError> {
        let before = self.head.len();
        self.head.extend_from_slice(bytes);
        let search = before.saturating_sub(END.len() - 1);
        let found = self.head[search..]
            .windows(END.len())
            .position(|window| window == END);
        let Some(place) = found else {
            let whole = self.head.len() <= codec::limits::HEAD_BYTES;
            return whole
                .then_some((bytes.len(), false))
                .ok_or(LinkError::Answer);
        };
        let end = search + place + END.len();
        self.check(end)?;
        Ok((end - before, true))
    }

    fn check(&self, end: usize) -> Result<(), LinkError> {
        let mut lines = [httparse::EMPTY_HEADER; 64];
        let mut answer = httparse::Response::new(&mut lines);
        if answer.parse(&self.head[..end]).is_err() {
            return Err(LinkError::Answer);
        }
        let value = |name: &str| {
            let mut lines = answer.headers.iter();
            let line = lines.find(|line| line.name.eq_ignore_ascii_case(name))?;
            std::str::from_utf8(line.value).ok()
        };
        match answer.code {
            Some(101) => {
                let accept = value("Sec-WebSocket-Accept").map(str::as_bytes);
                let right = accept == Some(&ws::accept_key(&self.key)[..]);
                right.then_some(()).ok_or(LinkError::Answer)
            }
            Some(status) => {
                let error = value("x-amzn-ErrorType").map(Into::into);
                let id = value("x-amzn-RequestId").map(Into::into);
                Err(LinkError::Refused(status, error, id))
            }
            None => Err(LinkError::Answer),
        }
    }
}

fn key(random: &mut Rng) -> [u8; 4] {
    random.u32(..).to_ne_bytes()
}

const END: &[u8] = b"\r\n\r\n";

const RULES: FrameRules = FrameRules {
    message_bytes: 1 << 20,
    fragments: 1 << 16,
};

#[cfg(test)]
mod name_tests {
    use super::*;

    #[test]
    fn names_are_what_the_service_expects() {
        let naming = Naming {
            region: "us-west-2".into(),
            account: "123456789012".into(),
            prefix: "loadgen-".into(),
        };
        let arn = naming.arn(4);
        let wanted = "arn:aws:kinesisvideo:us-west-2:123456789012:channel/loadgen-4/1700000000000";
        assert_eq!(arn, wanted);
        assert!(codec::identifiers::ChannelArn::parse(&arn, true).is_ok());
        assert_eq!(client_id(12), "viewer-12");
        assert_eq!(place_of("viewer-12"), Some(12));
        assert_eq!(place_of("viewer"), None);
    }

    #[test]
    fn targets_without_a_signature_are_what_the_service_expects() {
        let master = "/?X-Amz-ChannelARN=arn%3Aaws%3Ax%2Fdemo";
        assert_eq!(unsigned_target("arn:aws:x/demo", None), master);
        let viewer = format!("{master}&X-Amz-ClientId=viewer-12");
        assert_eq!(unsigned_target("arn:aws:x/demo", Some("viewer-12")), viewer);
    }
}

#[cfg(test)]
mod stamp_tests {
    use super::*;

    const STAMP: PayloadStamp = PayloadStamp {
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
            assert_eq!(PayloadStamp::read(&text), Some(STAMP));
            let passes = codec::base64::is_well_formed(text.as_bytes());
            assert_eq!(passes, bytes % 4 == 0, "{bytes}");
        }
    }

    #[test]
    fn any_single_change_is_seen() {
        let mut text = String::new();
        STAMP.write(&mut text, &filler(), 200);
        for place in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            let found = PayloadStamp::read(std::str::from_utf8(&changed).unwrap());
            assert_eq!(found, None);
        }
        for length in 0..text.len() {
            assert_eq!(PayloadStamp::read(&text[..length]), None);
        }
        assert_eq!(PayloadStamp::read(&format!("{text}A")), None);
    }
}

#[cfg(test)]
mod sequence_tests {
    use super::*;

    fn run(numbers: &[u64]) -> (Vec<Arrival>, Sequence) {
        let mut sequence = Sequence::default();
        let arrivals = numbers.iter().map(|&n| sequence.arrive(n)).collect();
        (arrivals, sequence)
    }

    #[test]
    fn arrivals_are_classified() {
        use Arrival::{Again, InOrder, Late};
        for (numbers, arrivals, missing_of_five) in [
            (&[0, 1, 2, 3, 4][..], &[InOrder; 5][..], 0),
            (&[0, 1], &[InOrder, InOrder], 3),
            (&[0, 2, 4], &[InOrder, InOrder, InOrder], 2),
            (&[4, 2, 0, 1, 3], &[InOrder, Late, Late, Late, Late], 0),
            (&[0, 0, 1, 0], &[InOrder, Again, InOrder, Again], 3),
            (&[1, 0, 0, 1], &[InOrder, Late, Again, Again], 3),
            (&[], &[], 5),
        ] {
            let (got, sequence) = run(numbers);
            assert_eq!(got, arrivals, "{numbers:?}");
            assert_eq!(sequence.missing(5), missing_of_five, "{numbers:?}");
        }
    }

    #[test]
    fn memory_is_bounded_and_nothing_missing_is_forgotten() {
        let (_, sequence) = run(&(0..2_000).map(|n| 2 * n + 1).collect::<Vec<_>>());
        assert_eq!(sequence.gaps.len(), GAPS_MAX);
        assert_eq!(sequence.missing(4_000), 2_000);
    }
}

#[cfg(test)]
mod link_tests {
    use super::*;

    fn opened() -> (PeerLink, Rng, Vec<u8>) {
        let (mut random, mut out) = (Rng::with_seed(1), Vec::new());
        let link = PeerLink::open("h", "/", &mut random, &mut out);
        (link, random, out)
    }

    fn answer(request: &[u8]) -> Vec<u8> {
        let text = std::str::from_utf8(request).unwrap();
        let key = text.split("Key: ").nth(1).unwrap();
        let accept = ws::accept_key(key.split('\r').next().unwrap());
        let accept = std::str::from_utf8(&accept).unwrap();
        format!("HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {accept}\r\n\r\n").into()
    }

    /// Receives `frames` in pieces of `piece` bytes. Returns the events and the bytes that were sent in reply.
    fn feed(piece: usize, frames: &[u8]) -> (Vec<String>, Vec<u8>) {
        let (mut link, mut random, request) = opened();
        let mut stream = answer(&request);
        stream.extend_from_slice(frames);
        let (mut events, mut out) = (Vec::new(), Vec::new());
        for piece in stream.chunks_mut(piece) {
            let mut used = 0;
            while used < piece.len() {
                match link.next(&mut piece[used..], &mut random, &mut out) {
                    Ok((step, event)) => {
                        used += step;
                        events.extend(event.map(|event| format!("{event:?}")));
                    }
                    Err(error) => {
                        events.push(error.kind());
                        return (events, out);
                    }
                }
            }
        }
        (events, out)
    }

    #[test]
    fn events_do_not_depend_on_the_cutting() {
        let mut frames = Vec::new();
        ws::frame(&mut frames, Opcode::Text, b"one");
        ws::frame(&mut frames, Opcode::Ping, b"?");
        ws::frame(&mut frames, Opcode::Text, b"two");
        ws::close_frame(&mut frames, 1001, "bye");
        ws::frame(&mut frames, Opcode::Text, b"after the end");
        let whole = feed(usize::MAX, &frames);
        #[rustfmt::skip] // a list
        let wanted = ["Opened", "Message([111, 110, 101])", "Message([116, 119, 111])", "ClosedByService(Some(1001))"];
        assert_eq!(whole.0, wanted);
        assert_eq!(whole.1.len(), 7 + 8); // the pong and the echo
        for piece in 1..60 {
            assert_eq!(feed(piece, &frames), whole);
        }
    }

    #[test]
    fn our_close_ends_with_the_echo() {
        let (mut link, mut random, request) = opened();
        let mut out = Vec::new();
        link.close(&mut random, &mut out);
        assert!(out.is_empty());
        let mut bytes = answer(&request);
        let found = link.next(&mut bytes, &mut random, &mut out).unwrap().1;
        assert_eq!(found, Some(Event::Opened));
        link.close(&mut random, &mut out);
        assert!(!link.is_open() && !out.is_empty());
        let mut echo = Vec::new();
        ws::close_frame(&mut echo, 1000, "");
        let before = out.len();
        let step = link.next(&mut echo, &mut random, &mut out).unwrap();
        assert_eq!(step, (4, Some(Event::Closed)));
        assert_eq!(out.len(), before);
    }

    #[test]
    fn refusals_have_their_reason() {
        #[rustfmt::skip] // a table, a case per row
        let cases = [
            ("HTTP/1.1 503 Service Unavailable\r\n\r\n", "refused_503"),
            (
                "HTTP/1.1 404 Not Found\r\nx-amzn-ErrorType: ResourceNotFoundException\r\n\r\n",
                "refused_404_ResourceNotFoundException",
            ),
            ("HTTP/1.1 403 No\r\nX-Amzn-RequestId: 0a-1\r\n\r\n", "refused_403"),
            ("HTTP/1.1 101 Switching Protocols\r\n\r\n", "bad_upgrade_answer"),
            ("220 smtp.example\r\n\r\n", "bad_upgrade_answer"),
        ];
        for (answer, kind) in cases {
            let (mut link, mut random, mut out) = opened();
            let mut bytes = answer.as_bytes().to_vec();
            let error = link.next(&mut bytes, &mut random, &mut out).unwrap_err();
            assert_eq!(error.kind(), kind);
            let found = error.request_id();
            assert_eq!(found, (kind == "refused_403").then_some("0a-1"));
        }
        let (mut link, mut random, mut out) = opened();
        let mut endless = vec![b'a'; codec::limits::HEAD_BYTES + 1];
        assert!(link.next(&mut endless, &mut random, &mut out).is_err());
    }

    #[test]
    fn a_masked_frame_of_a_service_is_refused() {
        let mut frames = Vec::new();
        ws::frame_masked(&mut frames, Opcode::Text, b"x", [1, 2, 3, 4]);
        assert_eq!(feed(usize::MAX, &frames).0, ["Opened", "bad_frame"]);
    }
}
