//! Frames, masking and opening handshakes with tungstenite.
//!
//! Settings: tungstenite zeroes the free part of its read buffer before each read, so a buffer that just fits one read
//! is the fastest: for an ICE candidate, it is 7 times faster than the default of 128 KiB. A smaller buffer would save
//! another seventh on large messages in this benchmark, but a real socket would then need several reads per message.
//! Frames are written with `Frame` rather than through the connection's write buffer, since that is the shortest path
//! from a payload to a frame in the caller's buffer.

use crate::rival::{Decode, Encode, ReadHead, Seen, Shake};
use std::io;
use tungstenite::handshake::machine::TryParse;
use tungstenite::handshake::server::{Request, create_response, write_response};
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Bytes, Message, WebSocket};

/// An adaptor for tungstenite.
#[derive(Debug)]
pub struct Tungstenite<T>(T);

/// A stream that returns the same bytes on every read and discards everything written to it.
#[derive(Debug)]
pub struct Pipe {
    read: Box<[u8]>,
    at: usize,
}

impl io::Read for Pipe {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let rest = self.read.get(self.at..).unwrap_or_default();
        let count = rest.len().min(into.len());
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        into[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        Ok(count)
    }
}

impl io::Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Tungstenite<WebSocket<Pipe>> {
    /// Handles one read and passes each message it contained to `see`.
    pub(crate) fn messages(&mut self, mut see: impl FnMut(&str)) {
        self.0.get_mut().at = 0;
        while let Ok(message) = self.0.read() {
            if let Message::Text(text) = message {
                see(&text);
            }
        }
    }
}

impl Decode for Tungstenite<WebSocket<Pipe>> {
    const LIBRARY: &'static str = "tungstenite";

    fn new(read: &[u8]) -> Self {
        let pipe = Pipe {
            read: read.into(),
            at: 0,
        };
        let config = WebSocketConfig::default()
            .read_buffer_size(read.len())
            .max_message_size(Some(codec::limits::MESSAGE_BYTES));
        Self(WebSocket::from_raw_socket(pipe, Role::Server, Some(config)))
    }

    fn decode(&mut self, mut see: impl FnMut(&[u8])) {
        self.messages(|text| see(text.as_bytes()));
    }
}

impl Encode for Tungstenite<Bytes> {
    const LIBRARY: &'static str = "tungstenite";

    fn new(text: &[u8]) -> Self {
        Self(Bytes::copy_from_slice(text))
    }

    fn encode(&mut self, out: &mut Vec<u8>) {
        let frame = Frame::message(self.0.clone(), OpCode::Data(Data::Text), true);
        frame.format(out).expect("a buffer takes every byte");
    }

    fn encode_masked(&mut self, out: &mut Vec<u8>, key: [u8; 4]) {
        let mut frame = Frame::message(self.0.clone(), OpCode::Data(Data::Text), true);
        frame.header_mut().mask = Some(key);
        frame.format(out).expect("a buffer takes every byte");
    }
}

impl ReadHead for Tungstenite<()> {
    const LIBRARY: &'static str = "tungstenite";

    fn read(bytes: &[u8]) -> Option<Seen> {
        let (used, request) = Request::try_parse(bytes).ok()??;
        let target = request.uri().path_and_query()?;
        Some(Seen {
            bytes: used,
            target_bytes: target.as_str().len(),
            lines: request.headers().len(),
            host_bytes: request.headers().get("host")?.len(),
        })
    }
}

impl Shake for Tungstenite<()> {
    const LIBRARY: &'static str = "tungstenite";

    fn shake(bytes: &[u8], out: &mut Vec<u8>) -> bool {
        let Ok(Some((_, request))) = Request::try_parse(bytes) else {
            return false;
        };
        let Ok(response) = create_response(&request) else {
            return false;
        };
        write_response(out, &response).is_ok()
    }
}
