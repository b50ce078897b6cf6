//! I/O-free parts of a simulated client: its name, its connection protocol, its messages, and the record of received
//! messages.
//!
//! Every message contains a [`PayloadStamp`] with its sender, recipient, sequence number and time, protected by a
//! checksum; a recipient keeps a [`Sequence`] per sender. From the messages alone, the recipient thus detects missing,
//! duplicated, late, corrupted and misrouted ones. The checks share no code with any service's routing.

use codec::ws::{self, FrameError, FrameRules, Item, Opcode, Receiver, Side, close};
use fastrand::Rng;
use std::fmt::Write;
use std::ops::Range;

/// Identity of a peer, constant for its lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// Channel number, counting from 0.
    pub channel: u32,
    /// Number of the peer within its channel: 0 for the master, 1 and above for viewers.
    pub place: u32,
}

/// Common parts of channel names and ARNs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naming {
    /// AWS region, such as `us-west-2`.
    pub region: String,
    /// Account id of twelve digits.
    pub account: String,
    /// Prefix of all channel names, followed by the channel's number.
    pub prefix: String,
}

impl Naming {
    /// Name of a channel.
    #[must_use]
    pub fn name(&self, channel: u32) -> String {
        format!("{}{channel}", self.prefix)
    }

    /// ARN of a channel.
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

/// Client id of the viewer with this number.
#[must_use]
pub fn client_id(place: u32) -> String {
    let mut id = String::new();
    write_client_id(&mut id, place);
    id
}

/// Path and query of an unsigned WebSocket upgrade request.
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
/// Creation time in every ARN, in milliseconds since 1970.
const CREATED_MS: u64 = 1_700_000_000_000;

// Payload of a message: sender, recipient, sequence number, time, and a checksum.
//
// ```text
//  characters  8    8        8     8   16        16       8         the rest
//             ┌────┬────────┬─────┬───┬─────────┬────────┬─────────┬──────────────────────────┐
//             │run │channel │from │to │sequence │sent_ns │checksum │filler                    │
//             └────┴────────┴─────┴───┴─────────┴────────┴─────────┴──────────────────────────┘
// ```
// Numbers are hexadecimal: their digits are base64 characters, so the payload is valid base64 without encoding, and
// legible in a trace. The checksum covers all other fields.

/// Minimum length of a payload, in characters: a stamp without filler. A multiple of 4, to avoid padding in base64.
pub const STAMP_BYTES: usize = 72;

/// Maximum length of a payload, in characters. No service accepts longer messages.
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024;

/// Metadata in the payload of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadStamp {
    /// Run id, which distinguishes the messages of different runs.
    pub run: u32,
    /// Channel number, counting from 0.
    pub channel: u32,
    /// Number of the sender within its channel: 0 for the master, 1 and above for viewers.
    pub from: u32,
    /// Number of the recipient within its channel.
    pub to: u32,
    /// Sequence number of the message for this sender and recipient, counting from 0.
    pub sequence: u64,
    /// Time of composition, in nanoseconds of the run's clock.
    pub sent_ns: u64,
}

impl PayloadStamp {
    /// Appends a payload of `payload_bytes` characters. `filler` must be a result of [`filler`].
    ///
    /// # Panics
    /// Panics if `payload_bytes` is outside [`STAMP_BYTES`] to [`PAYLOAD_BYTES_MAX`]; the plan validates the flags.
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

    /// Parses the stamp of a payload; `None` if it is too short, has invalid characters or a wrong checksum.
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

/// Generates random base64 characters. Each message takes its filler from them, at a different offset.
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

/// Parses up to 16 hexadecimal digits; `None` if there is any other character.
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

/// Checksum of two consecutive byte strings, computed 8 bytes at a time. Each step is a bijection of the state, so a
/// change within one step always changes the state; folding to 32 bits leaves a collision probability of 2⁻³².
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
/// Number of different filler offsets; prime, so that the offsets do not align with message windows.
const FILLER_STARTS: u64 = 4093;

/// Record of the messages received from one sender. Takes no heap memory while nothing is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sequence {
    next: u64,
    /// Missing ranges of sequence numbers below `next`, in ascending order; at most [`GAPS_MAX`].
    gaps: Vec<Range<u64>>,
    /// Missing messages that are not tracked individually.
    written_off: u64,
}

/// Classification of a received message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArrivalKind {
    /// In order: the highest sequence number so far.
    InOrder,
    /// Late: a message with a higher number arrived earlier.
    Late,
    /// Duplicate of a message that arrived earlier.
    Again,
}

/// Maximum number of gaps tracked per sender and recipient (24 bytes each). If there are more, the messages in the
/// oldest gap count as lost, and as duplicates if they arrive later.
const GAPS_MAX: usize = 256;

impl Sequence {
    /// Successor of the highest sequence number received.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// Records the arrival of an intact message.
    pub fn arrive(&mut self, number: u64) -> ArrivalKind {
        if number >= self.next {
            if number > self.next {
                self.remember(self.next..number);
            }
            self.next = number + 1;
            return ArrivalKind::InOrder;
        }
        let Some(index) = self.gaps.iter().position(|gap| gap.contains(&number)) else {
            return ArrivalKind::Again;
        };
        let gap = self.gaps.remove(index);
        if number + 1 < gap.end {
            self.gaps.insert(index, number + 1..gap.end);
        }
        if gap.start < number {
            self.gaps.insert(index, gap.start..number);
        }
        ArrivalKind::Late
    }

    /// Number of missing messages out of the first `sent`.
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

// Protocol of one client connection: upgrade request, frames, closing handshake. Converts bytes to [`Event`]s.

/// Client side of a WebSocket connection without its socket. One per peer and connection.
#[derive(Debug)]
pub struct PeerLink {
    state: LinkState,
    /// Separate from the state, so that an event borrowed from the receiver does not prevent changes to the state.
    receiver: Receiver,
}

#[derive(Debug)]
enum LinkState {
    AwaitAnswer(Box<Opening>),
    Open,
    /// This side has sent a close frame and awaits its echo. Messages may still arrive.
    AwaitCloseEcho,
    /// Both sides have closed, or the connection has failed. Received bytes are discarded.
    Ended,
}

/// Event decoded from the received bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The service accepted the upgrade.
    Opened,
    /// A message arrived; the text may be modified in place.
    Message(&'a mut [u8]),
    /// The service closed the connection, with this code if it sent one. The close frame has been answered.
    ClosedByService(Option<u16>),
    /// The service answered this side's close frame.
    Closed,
}

/// Reason for the failure of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkError {
    /// The response to the upgrade is not a 101. Contains the status, and the AWS error type and request id if present.
    Refused(u16, Option<Box<str>>, Option<Box<str>>),
    /// The response is not HTTP, is too long, or does not match the key that was sent.
    Answer,
    /// The service violated RFC 6455.
    Frame(FrameError),
}

impl LinkError {
    /// Name under which the error is counted.
    #[must_use]
    pub fn kind(&self) -> String {
        match self {
            Self::Refused(status, None, _) => format!("refused_{status}"),
            Self::Refused(status, Some(error), _) => format!("refused_{status}_{error}"),
            Self::Answer => "bad_upgrade_answer".into(),
            Self::Frame(_) => "bad_frame".into(),
        }
    }

    /// Request id of a refused upgrade, if the response contained one.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        match self {
            Self::Refused(_, _, id) => id.as_deref(),
            Self::Answer | Self::Frame(_) => None,
        }
    }
}

impl PeerLink {
    /// Creates a link and appends its upgrade request to `out`; see [`ws::request`](codec::ws::request).
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

    /// Creates a link in the ended state, without a connection.
    #[must_use]
    pub const fn ended() -> Self {
        Self {
            state: LinkState::Ended,
            receiver: Receiver::new(Side::Client),
        }
    }

    /// Whether messages may be sent.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.state, LinkState::Open)
    }

    /// Starts the closing handshake with code 1000. Has no effect unless the connection is open.
    pub fn close(&mut self, random: &mut Rng, out: &mut Vec<u8>) {
        if self.is_open() {
            ws::close_frame_masked(out, close::NORMAL, "", key(random));
            self.state = LinkState::AwaitCloseEcho;
        }
    }

    /// Consumes `bytes` up to the end of the next event, if any, and returns the number of bytes consumed. The caller
    /// repeats the call until all bytes are consumed. Immediate replies (to a ping or close) are appended to `out`. An
    /// error ends the link.
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

    fn run(numbers: &[u64]) -> (Vec<ArrivalKind>, Sequence) {
        let mut sequence = Sequence::default();
        let arrivals = numbers.iter().map(|&n| sequence.arrive(n)).collect();
        (arrivals, sequence)
    }

    #[test]
    fn arrivals_are_classified() {
        use ArrivalKind::{Again, InOrder, Late};
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

    /// Returns the events of `frames`, received in pieces of `piece` bytes, and the bytes sent in return.
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
        let wanted = [
            "Opened",
            "Message([111, 110, 101])",
            "Message([116, 119, 111])",
            "ClosedByService(Some(1001))",
        ];
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
