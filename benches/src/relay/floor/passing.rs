//! Processes received bytes for the floors, by copying between fixed offsets.

use crate::relay::place::Place;
use codec::ws::{self, Opcode, accept_key, mask};

/// All peers and their channels. Peers are indexed by the numbers that the caller assigns.
#[derive(Debug, Default)]
pub(crate) struct Passing {
    peers: Vec<Peer>,
    channels: Vec<Vec<Option<u32>>>,
    /// Peers that have pending output, without duplicates.
    pub(crate) dirty: Vec<u32>,
}

#[derive(Debug, Default)]
struct Peer {
    is_open: bool,
    channel: u32,
    /// Number of the peer within its channel. The master is 0, and viewers are numbered from 1.
    place: u32,
    tail: Vec<u8>,
    out: Vec<u8>,
    is_dirty: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Opened,
    /// The received bytes were processed. They may have ended with an incomplete message.
    Passed,
    /// The peer closed the connection and received a reply, or it sent something that the driver never sends.
    Closed,
}

impl Passing {
    pub(crate) fn enter(&mut self, peer: u32) {
        let number = peer as usize;
        if self.peers.len() <= number {
            self.peers.resize_with(number + 1, Peer::default);
        }
        self.peers[number] = Peer::default();
    }

    pub(crate) fn leave(&mut self, peer: u32) {
        let Peer { channel, place, .. } = std::mem::take(&mut self.peers[peer as usize]);
        let places = self.channels.get_mut(channel as usize);
        if let Some(there) = places.and_then(|places| places.get_mut(place as usize)) {
            there.take_if(|number| *number == peer);
        }
    }

    /// Takes a peer's pending output. The caller must send all of it and then return the buffer with
    /// [`Self::give_back`].
    pub(crate) fn take_out(&mut self, peer: u32) -> Vec<u8> {
        let peer = &mut self.peers[peer as usize];
        peer.is_dirty = false;
        std::mem::take(&mut peer.out)
    }

    /// Accepts the buffer from [`Self::take_out`] back for reuse.
    pub(crate) fn give_back(&mut self, peer: u32, mut out: Vec<u8>) {
        out.clear();
        self.peers[peer as usize].out = out;
    }

    pub(crate) fn receive(&mut self, from: u32, bytes: &[u8]) -> Step {
        let peer = &mut self.peers[from as usize];
        if !peer.tail.is_empty() {
            let mut whole = std::mem::take(&mut peer.tail);
            whole.extend_from_slice(bytes);
            return self.receive(from, &whole);
        }
        if !peer.is_open {
            return self.open(from, bytes);
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let Some(frame) = Frame::of(rest) else {
                self.peers[from as usize].tail.extend_from_slice(rest);
                break;
            };
            let (payload, after) = rest[frame.start..].split_at(frame.bytes);
            if frame.is_close || self.pass(from, payload, frame.key).is_none() {
                self.close(from, payload, frame.key);
                return Step::Closed;
            }
            rest = after;
        }
        Step::Passed
    }

    fn open(&mut self, from: u32, head: &[u8]) -> Step {
        if !head.ends_with(b"\r\n\r\n") {
            self.peers[from as usize].tail.extend_from_slice(head);
            return Step::Passed;
        }
        let opened = std::str::from_utf8(head).ok().and_then(|head| {
            let place = Place::of_target(head.split(' ').nth(1)?)?;
            let channel = place.channel.rsplit('-').next()?.parse().ok()?;
            let number = place.viewer.as_deref().map_or("0", after_dash).parse();
            let (_, key) = head.split_once("Sec-WebSocket-Key: ")?;
            Some((channel, number.ok()?, accept_key(key.get(..24)?)))
        });
        let Some((channel, place, accept)) = opened else {
            return Step::Closed;
        };
        self.seat(from, channel, place);
        let peer = &mut self.peers[from as usize];
        peer.out.extend_from_slice(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                Connection: Upgrade\r\nSec-WebSocket-Accept: ",
        );
        peer.out.extend_from_slice(&accept);
        peer.out.extend_from_slice(b"\r\n\r\n");
        self.mark(from);
        Step::Opened
    }

    fn seat(&mut self, from: u32, channel: u32, place: u32) {
        if self.channels.len() <= channel as usize {
            self.channels.resize_with(channel as usize + 1, Vec::new);
        }
        let places = &mut self.channels[channel as usize];
        if places.len() <= place as usize {
            places.resize(place as usize + 1, None);
        }
        places[place as usize] = Some(from);
        let peer = &mut self.peers[from as usize];
        (peer.is_open, peer.channel, peer.place) = (true, channel, place);
    }

    fn pass(&mut self, from: u32, text: &[u8], key: [u8; 4]) -> Option<()> {
        let Peer { channel, place, .. } = self.peers[from as usize];
        let text = without_correlation_id(text, key);
        let masked = text.get(BEFORE_PAYLOAD.len()..)?;
        let (to, payload_bytes) = if place == 0 {
            let mut digits: [u8; 8] = masked.get(STAMP_TO..)?.first_chunk().copied()?;
            mask(&mut digits, key, BEFORE_PAYLOAD.len() + STAMP_TO);
            let to = u32::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?;
            let after = AFTER_PAYLOAD.len() + decimal_digits(to) + END.len();
            (to, masked.len().checked_sub(after)?)
        } else {
            (0, masked.len().checked_sub(END.len())?)
        };
        let to = (*self.channels.get(channel as usize)?.get(to as usize)?)?;
        let sender_bytes = if place == 0 {
            0
        } else {
            BEFORE_SENDER.len() + decimal_digits(place)
        };
        let fixed = EVENT_PAYLOAD.len() + EVENT_TYPE.len() + END.len();
        let out = &mut self.peers[to as usize].out;
        ws::header(
            out,
            Opcode::Text,
            true,
            fixed + payload_bytes + sender_bytes,
        );
        out.extend_from_slice(EVENT_PAYLOAD);
        let start = out.len();
        out.extend_from_slice(&masked[..payload_bytes]);
        mask(&mut out[start..], key, BEFORE_PAYLOAD.len());
        out.extend_from_slice(EVENT_TYPE);
        if place > 0 {
            out.extend_from_slice(BEFORE_SENDER);
            out.extend_from_slice(place.to_string().as_bytes());
        }
        out.extend_from_slice(END);
        self.mark(to);
        Some(())
    }

    /// Replies with a close frame whose code is the first two bytes of `payload`. If the peer sent a close frame, the
    /// reply echoes it.
    fn close(&mut self, from: u32, payload: &[u8], key: [u8; 4]) {
        let mut code = [0; 2];
        let bytes = payload.len().min(code.len());
        code[..bytes].copy_from_slice(&payload[..bytes]);
        mask(&mut code, key, 0);
        let out = &mut self.peers[from as usize].out;
        ws::header(out, Opcode::Close, true, bytes);
        out.extend_from_slice(&code[..bytes]);
        self.mark(from);
    }

    fn mark(&mut self, peer: u32) {
        let there = &mut self.peers[peer as usize];
        if !std::mem::replace(&mut there.is_dirty, true) {
            self.dirty.push(peer);
        }
    }
}

struct Frame {
    is_close: bool,
    start: usize,
    bytes: usize,
    key: [u8; 4],
}

impl Frame {
    /// Parses the frame at the start of `bytes`. Returns `None` if the frame is incomplete.
    fn of(bytes: &[u8]) -> Option<Self> {
        let (first, second) = (*bytes.first()?, *bytes.get(1)?);
        let (length, after) = match second & 0x7F {
            126 => (
                u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?).into(),
                4,
            ),
            127 => {
                let long = u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
                (usize::try_from(long).ok()?, 10)
            }
            short => (short.into(), 2),
        };
        let key: [u8; 4] = *bytes.get(after..)?.first_chunk()?;
        let start = after + key.len();
        (bytes.len() - start >= length).then_some(Self {
            is_close: first & 0x0F == 8,
            start,
            bytes: length,
            key,
        })
    }
}

/// Truncates a masked request with a correlation id to the length that it would have without the id. The driver adds
/// correlation ids while it is not measuring.
fn without_correlation_id(text: &[u8], key: [u8; 4]) -> &[u8] {
    let Some(start) = text.len().checked_sub(CORRELATION_ID.len() + END.len()) else {
        return text;
    };
    let mut quote = [text[start + CORRELATION_ID.len() - 2]];
    mask(&mut quote, key, start + CORRELATION_ID.len() - 2);
    // If the request ends in an id of one letter, the quote before that letter. In other requests, this offset is
    // within a payload or a number.
    match quote {
        [b'"'] => &text[..start + END.len()],
        _ => text,
    }
}

fn after_dash(text: &str) -> &str {
    text.rsplit('-').next().unwrap_or_default()
}

const fn decimal_digits(number: u32) -> usize {
    match number.checked_ilog10() {
        Some(log) => log as usize + 1,
        None => 1,
    }
}

/// The start of a request from the driver, up to its payload.
const BEFORE_PAYLOAD: &[u8] = br#"{"action":"ICE_CANDIDATE","messagePayload":""#;
const AFTER_PAYLOAD: &[u8] = br#"","recipientClientId":"viewer-"#;
const CORRELATION_ID: &[u8] = br#"","correlationId":"m"#;
const END: &[u8] = br#""}"#;
/// Offset of the recipient within the payload, where it is written as eight hexadecimal digits.
const STAMP_TO: usize = 24;
const EVENT_PAYLOAD: &[u8] = br#"{"messagePayload":""#;
const EVENT_TYPE: &[u8] = br#"","messageType":"ICE_CANDIDATE"#;
const BEFORE_SENDER: &[u8] = br#"","senderClientId":"viewer-"#;

#[cfg(test)]
mod tests {
    use super::*;
    use codec::signal::client::Outgoing;
    use codec::signal::{Action, Delivery};

    fn head(channel: u32, viewer: Option<u32>) -> Vec<u8> {
        let mut target = format!("/?X-Amz-ChannelARN=arn%3Aaws%3Ax%2Floadgen-{channel}%2F17");
        if let Some(viewer) = viewer {
            target.push_str(&format!("&X-Amz-ClientId=viewer-{viewer}"));
        }
        let mut head = Vec::new();
        ws::request(&mut head, "host", &target, "dGhlIHNhbXBsZSBub25jZQ==");
        head
    }

    fn opened() -> Passing {
        let mut passing = Passing::default();
        for (peer, viewer) in [(5, None), (6, Some(1)), (7, Some(12))] {
            passing.enter(peer);
            assert_eq!(passing.receive(peer, &head(3, viewer)), Step::Opened);
            let answer = passing.take_out(peer);
            assert!(answer.starts_with(b"HTTP/1.1 101 "));
        }
        passing.dirty.clear();
        passing
    }

    fn message(to: Option<u32>, payload: &str, correlation_id: Option<&str>) -> Vec<u8> {
        let (mut out, mut scratch) = (Vec::new(), Vec::new());
        let recipient = to.map(|to| format!("viewer-{to}"));
        let message = Outgoing {
            action: Action::IceCandidate,
            payload,
            recipient: recipient.as_deref(),
            correlation_id,
        };
        message.write(&mut out, &mut scratch, [1, 2, 3, 4]);
        out
    }

    fn event(payload: &str, sender: Option<&str>) -> Vec<u8> {
        let mut out = Vec::new();
        let delivery = Delivery {
            action: Action::IceCandidate,
            payload: payload.as_bytes(),
            sender,
        };
        delivery.write(&mut out);
        out
    }

    #[test]
    fn messages_become_the_events_that_the_broker_makes() {
        for bytes in [72, 200, 4_000, 70_000] {
            let payload = format!("{:024}{:08X}{}", 0, 12, "A".repeat(bytes - 32));
            let mut passing = opened();
            let to_viewer = [None, Some("m")].map(|id| message(Some(12), &payload, id));
            let to_viewer = to_viewer.concat();
            let whole = event(&payload, None);
            for cut in [1, 5, 60, to_viewer.len() / 2 + 3] {
                let (one, other) = to_viewer.split_at(cut);
                assert_eq!(passing.receive(5, one), Step::Passed);
                assert_eq!(passing.receive(5, other), Step::Passed);
                assert_eq!(std::mem::take(&mut passing.dirty), [7]);
                assert_eq!(passing.take_out(7), [&whole[..], &whole[..]].concat());
            }
            for id in [None, Some("m")] {
                let to_master = message(None, &payload, id);
                assert_eq!(passing.receive(7, &to_master), Step::Passed);
                assert_eq!(passing.take_out(5), event(&payload, Some("viewer-12")));
            }
        }
    }

    #[test]
    fn a_close_is_echoed() {
        let mut passing = opened();
        let mut close = Vec::new();
        ws::close_frame_masked(&mut close, 1000, "", [9, 8, 7, 6]);
        assert_eq!(passing.receive(6, &close), Step::Closed);
        let mut echo = Vec::new();
        ws::close_frame(&mut echo, 1000, "");
        assert_eq!(passing.take_out(6), echo);
        passing.leave(6);
        assert_eq!(passing.channels[3][1], None);
    }
}
