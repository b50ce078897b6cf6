//! An independent peer: what tungstenite writes we read, and what we write tungstenite reads.

use codec::ws::fuzzing::{Owned, run};
use codec::ws::{
    FrameRules, Kind, Opcode, Side, close_frame, close_frame_masked, frame, frame_masked, header,
    header_bytes,
};
use std::io::{self, Cursor, Read, Write};
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Message, WebSocket};

const RULES: FrameRules = FrameRules {
    message_bytes: 1 << 20,
    fragments: 100,
};

/// A connection whose incoming bytes are all there and whose outgoing bytes are kept.
struct Pipe {
    incoming: Cursor<Vec<u8>>,
    outgoing: Vec<u8>,
}

#[test]
fn we_read_what_tungstenite_writes() {
    for (role, side) in [(Role::Client, Side::Server), (Role::Server, Side::Client)] {
        for length in lengths() {
            let items = items(length);
            let mut peer = peer(role, Vec::new());
            for item in &items {
                peer.write(to_tungstenite(item)).expect("room");
            }
            peer.flush().expect("room");
            let stream = &peer.get_ref().outgoing;
            for read in [7, 1000, usize::MAX] {
                let seen = run(side, &RULES, stream, std::iter::repeat(read));
                assert_eq!((seen.error, seen.idle), (None, true));
                let fine = seen.items == items;
                assert!(fine, "{side:?}, {length} bytes in reads of {read}");
            }
        }
    }
}

#[test]
fn tungstenite_reads_what_we_write() {
    for (role, side) in [(Role::Client, Side::Server), (Role::Server, Side::Client)] {
        for length in lengths() {
            let items = items(length);
            let mut stream = Vec::new();
            for item in &items {
                write(&mut stream, side, item);
            }
            let mut peer = peer(role, stream);
            for item in &items {
                let message = peer.read().expect("valid");
                let fine = from_tungstenite(message) == *item;
                assert!(fine, "{side:?}, {length} bytes");
            }
        }
    }
}

#[test]
fn we_read_tungstenites_fragments_and_it_reads_ours() {
    let text = "gr\u{FC}\u{DF}e".repeat(40).into_bytes();
    for length in [1, 2, 3, 7, 100] {
        let pieces: Vec<_> = text.chunks(length).collect();
        let items = [
            Owned::Ping(b"?".to_vec()),
            Owned::Message(Kind::Text, text.clone()),
        ];
        let (mut theirs, mut ours) = (peer(Role::Client, Vec::new()), Vec::new());
        for (index, piece) in pieces.iter().enumerate() {
            let fin = index == pieces.len() - 1;
            if fin {
                theirs
                    .write(Message::Ping(b"?".to_vec().into()))
                    .expect("room");
                frame(&mut ours, Opcode::Ping, b"?");
            }
            let (data, opcode) = if index == 0 {
                (Data::Text, Opcode::Text)
            } else {
                (Data::Continue, Opcode::Continuation)
            };
            let frame = Frame::message(piece.to_vec(), OpCode::Data(data), fin);
            theirs.write(Message::Frame(frame)).expect("room");
            header(&mut ours, opcode, fin, piece.len());
            ours.extend_from_slice(piece);
        }
        theirs.flush().expect("room");
        let rules = FrameRules {
            fragments: 1000,
            ..RULES
        };
        let seen = run(
            Side::Server,
            &rules,
            &theirs.get_ref().outgoing,
            std::iter::repeat(11),
        );
        let found = (seen.error, &seen.items[..]);
        assert_eq!(found, (None, &items[..]), "fragments of {length}");
        let mut reader = peer(Role::Client, ours);
        for item in &items {
            let found = from_tungstenite(reader.read().expect("valid"));
            assert_eq!(found, *item, "fragments of {length}");
        }
    }
}

/// One item of each sort, with payloads of about `length` bytes; the close comes last.
fn items(length: usize) -> Vec<Owned> {
    let bytes: Vec<u8> = (0..length).map(|i| i.to_le_bytes()[0] ^ 0xA5).collect();
    let control = bytes[..length.min(125)].to_vec();
    vec![
        Owned::Message(Kind::Text, "\u{20AC}".repeat(length / 3).into_bytes()),
        Owned::Ping(control.clone()),
        Owned::Message(Kind::Binary, bytes),
        Owned::Pong(control),
        Owned::Message(Kind::Text, vec![b'a'; length]),
        Owned::Close(Some((4000, "b".repeat(length.min(123))))),
    ]
}

fn lengths() -> impl Iterator<Item = usize> {
    (0..20).chain([
        124, 125, 126, 127, 128, 255, 256, 1000, 65_534, 65_535, 65_536, 65_537, 200_000,
    ])
}

fn write(out: &mut Vec<u8>, side: Side, item: &Owned) {
    let (before, key) = (out.len(), [9, 8, 7, 200]);
    let (opcode, payload) = match item {
        Owned::Message(Kind::Text, payload) => (Opcode::Text, payload),
        Owned::Message(Kind::Binary, payload) => (Opcode::Binary, payload),
        Owned::Ping(payload) => (Opcode::Ping, payload),
        Owned::Pong(payload) => (Opcode::Pong, payload),
        Owned::Close(close) => {
            let (code, reason) = close.as_ref().expect("all of ours have a code");
            return match side {
                Side::Server => close_frame(out, *code, reason),
                Side::Client => close_frame_masked(out, *code, reason, key),
            };
        }
    };
    let key_bytes = match side {
        Side::Server => {
            frame(out, opcode, payload);
            0
        }
        Side::Client => {
            frame_masked(out, opcode, payload, key);
            4
        }
    };
    let bytes = header_bytes(payload.len()) + key_bytes + payload.len();
    assert_eq!(out.len() - before, bytes);
}

fn to_tungstenite(item: &Owned) -> Message {
    match item.clone() {
        Owned::Message(Kind::Text, payload) => {
            Message::Text(String::from_utf8(payload).expect("text").into())
        }
        Owned::Message(Kind::Binary, payload) => Message::Binary(payload.into()),
        Owned::Ping(payload) => Message::Ping(payload.into()),
        Owned::Pong(payload) => Message::Pong(payload.into()),
        Owned::Close(close) => Message::Close(close.map(|(code, reason)| CloseFrame {
            code: code.into(),
            reason: reason.into(),
        })),
    }
}

fn from_tungstenite(message: Message) -> Owned {
    match message {
        Message::Text(text) => Owned::Message(Kind::Text, text.as_bytes().to_vec()),
        Message::Binary(bytes) => Owned::Message(Kind::Binary, bytes.to_vec()),
        Message::Ping(bytes) => Owned::Ping(bytes.to_vec()),
        Message::Pong(bytes) => Owned::Pong(bytes.to_vec()),
        Message::Close(close) => {
            Owned::Close(close.map(|close| (close.code.into(), close.reason.to_string())))
        }
        Message::Frame(_) => unreachable!("never read"),
    }
}

fn peer(role: Role, incoming: Vec<u8>) -> WebSocket<Pipe> {
    let pipe = Pipe {
        incoming: Cursor::new(incoming),
        outgoing: Vec::new(),
    };
    WebSocket::from_raw_socket(pipe, role, Some(WebSocketConfig::default()))
}

impl Read for Pipe {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.incoming.read(into) {
            Ok(0) => Err(io::ErrorKind::WouldBlock.into()),
            other => other,
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outgoing.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
