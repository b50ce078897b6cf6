//! One client connection's protocol: upgrade request, frames, closing handshake. Bytes in, [`Event`]s out.

use codec::ws::{self, FrameError, FrameRules, Item, Opcode, Receiver, Side, close};
use fastrand::Rng;

/// The client's side of a WebSocket connection, without its socket. One per peer and connection.
#[derive(Debug)]
pub struct Link {
    state: LinkState,
    /// Beside the state, not in it: an event lent from here must not keep the state from changing.
    receiver: Receiver,
}

#[derive(Debug)]
enum LinkState {
    /// The request is sent, or will be; its answer is awaited.
    AwaitAnswer(Box<Opening>),
    /// Messages travel.
    Open,
    /// We closed; the echo is awaited. Messages still arrive.
    AwaitCloseEcho,
    /// Both sides closed, or the connection is of no use. What comes is thrown away.
    Ended,
}

/// An event in the bytes that a peer receives.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The upgrade was accepted.
    Opened,
    /// A message, in place.
    Message(&'a mut [u8]),
    /// The service closed of its own accord, with its code if it gave one. It was answered.
    ClosedByService(Option<u16>),
    /// The service answered our close.
    Closed,
}

/// Why a connection is of no more use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkError {
    /// The upgrade was answered otherwise than by 101: the status, and the AWS error type and the request id if there
    /// are any.
    Refused(u16, Option<Box<str>>, Option<Box<str>>),
    /// The answer is no HTTP, too long, or no answer to our key.
    Answer,
    /// The service broke RFC 6455.
    Frame(FrameError),
}

impl LinkError {
    /// The name under which it is counted.
    #[must_use]
    pub fn kind(&self) -> String {
        match self {
            Self::Refused(status, None, _) => format!("refused_{status}"),
            Self::Refused(status, Some(error), _) => format!("refused_{status}_{error}"),
            Self::Answer => "bad_upgrade_answer".into(),
            Self::Frame(_) => "bad_frame".into(),
        }
    }

    /// The request id of an upgrade that was refused, if it has one.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        match self {
            Self::Refused(_, _, id) => id.as_deref(),
            Self::Answer | Self::Frame(_) => None,
        }
    }
}

impl Link {
    /// A connection that asks for its upgrade: the request is appended to `out`. `host` and `target` are those of
    /// [`ws::request`](codec::ws::request).
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

    /// A link that is not connected.
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

    /// Begins the closing handshake with code 1000. Does nothing unless messages may be sent.
    pub fn close(&mut self, random: &mut Rng, out: &mut Vec<u8>) {
        if self.is_open() {
            ws::close_frame_masked(out, close::NORMAL, "", key(random));
            self.state = LinkState::AwaitCloseEcho;
        }
    }

    /// Consumes `bytes` up to the end of the next event, if there is one; returns how many were used. The caller comes
    /// again with the rest until nothing is left. What must be answered at once (a ping, a close) is appended to `out`.
    ///
    /// # Errors
    /// See [`LinkError`]; then the link has ended.
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
    /// Consumes a part of the answer; returns how much belonged to it, and whether it is whole and right.
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

/// A mask key; fresh for each frame (RFC 6455 section 5.3).
fn key(random: &mut Rng) -> [u8; 4] {
    random.u32(..).to_ne_bytes()
}

/// The end of an HTTP head.
const END: &[u8] = b"\r\n\r\n";

/// A client that was asked for less would refuse what a service may send.
const RULES: FrameRules = FrameRules {
    message_bytes: 1 << 20,
    fragments: 1 << 16,
};

#[cfg(test)]
mod tests {

    use super::*;

    fn opened() -> (Link, Rng, Vec<u8>) {
        let (mut random, mut out) = (Rng::with_seed(1), Vec::new());
        let link = Link::open("h", "/", &mut random, &mut out);
        (link, random, out)
    }

    fn answer(request: &[u8]) -> Vec<u8> {
        let text = std::str::from_utf8(request).unwrap();
        let key = text.split("Key: ").nth(1).unwrap();
        let accept = ws::accept_key(key.split('\r').next().unwrap());
        let accept = std::str::from_utf8(&accept).unwrap();
        format!("HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {accept}\r\n\r\n").into()
    }

    /// The events of `frames`, received in pieces of `piece` bytes, and the bytes sent in return.
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
        assert_eq!(
            whole.0,
            [
                "Opened",
                "Message([111, 110, 101])",
                "Message([116, 119, 111])",
                "ClosedByService(Some(1001))"
            ]
        );
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
        assert_eq!(
            link.next(&mut bytes, &mut random, &mut out).unwrap().1,
            Some(Event::Opened)
        );
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
        for (answer, kind) in [
            ("HTTP/1.1 503 Service Unavailable\r\n\r\n", "refused_503"),
            (
                "HTTP/1.1 404 Not Found\r\nx-amzn-ErrorType: ResourceNotFoundException\r\n\r\n",
                "refused_404_ResourceNotFoundException",
            ),
            (
                "HTTP/1.1 403 No\r\nX-Amzn-RequestId: 0a-1\r\n\r\n",
                "refused_403",
            ),
            (
                "HTTP/1.1 101 Switching Protocols\r\n\r\n",
                "bad_upgrade_answer",
            ),
            ("220 smtp.example\r\n\r\n", "bad_upgrade_answer"),
        ] {
            let (mut link, mut random, mut out) = opened();
            let mut bytes = answer.as_bytes().to_vec();
            let error = link.next(&mut bytes, &mut random, &mut out).unwrap_err();
            assert_eq!(error.kind(), kind);
            assert_eq!(
                error.request_id(),
                (kind == "refused_403").then_some("0a-1")
            );
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
