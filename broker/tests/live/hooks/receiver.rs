//! A receiver of hooks: a server of HTTP/1.1 by hand that verifies signatures by itself.

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use base64_simd::STANDARD;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver as Events, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// The secret of tests.
pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqr";

/// An event as it came.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) path: String,
    pub(crate) body: Value,
    pub(crate) at: Instant,
}

impl Event {
    pub(crate) fn kind(&self) -> &str {
        self.body["type"].as_str().unwrap_or_default()
    }

    pub(crate) fn data(&self) -> &Value {
        &self.body["data"]
    }

    /// Epoch and sequence.
    pub(crate) fn number(&self) -> (u64, u64) {
        let number = |name: &str| self.data()[name].as_u64().expect("a number");
        (number("epoch"), number("sequence"))
    }
}

/// A receiver; it ends with the process.
pub(crate) struct Receiver {
    address: SocketAddr,
    events: Events<Event>,
}

/// The answer to an event: bytes to send, or `None` for none at all: the connection is closed.
pub(crate) type Answers = fn(nth: usize, &Event, &mut TcpStream);

pub(crate) fn ok(_: usize, _: &Event, to: &mut TcpStream) {
    respond(to, "204 No Content", "");
}

pub(crate) fn respond(to: &mut TcpStream, status: &str, lines: &str) {
    let _ = write!(to, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n{lines}\r\n");
}

impl Receiver {
    pub(crate) fn start(answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("bound");
        let (sender, events) = channel();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let sender = sender.clone();
                thread::spawn(move || serve(stream, answers, &sender));
            }
        });
        Self { address, events }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The next event of this kind; others are passed over.
    pub(crate) fn next(&self, kind: &str) -> Event {
        self.until(kind, |_| true)
    }

    /// The next event of this kind that is as wanted.
    pub(crate) fn until(&self, kind: &str, is: impl Fn(&Value) -> bool) -> Event {
        let end = Instant::now() + WITHIN;
        let mut seen = Vec::new();
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            let Ok(event) = self.events.recv_timeout(left) else {
                break;
            };
            if event.kind() == kind && is(event.data()) {
                return event;
            }
            seen.push(event.body);
        }
        panic!("no {kind} as wanted, but {seen:#?}");
    }

    /// Everything that has come so far.
    pub(crate) fn all(&self) -> Vec<Event> {
        self.events.try_iter().collect()
    }
}

fn serve(stream: TcpStream, answers: Answers, sender: &Sender<Event>) {
    let mut reader = BufReader::new(stream.try_clone().expect("a descriptor"));
    let mut stream = stream;
    for nth in 0.. {
        let Some(event) = read(&mut reader) else {
            return;
        };
        answers(nth, &event, &mut stream);
        if sender.send(event).is_err() {
            return;
        }
    }
}

/// A request; its signature must be right.
fn read(reader: &mut BufReader<TcpStream>) -> Option<Event> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let path = line.split(' ').nth(1)?.to_owned();
    assert!(line.starts_with("POST "), "{line}");
    let (mut id, mut timestamp, mut signature, mut length) = Default::default();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(": ") else {
            break;
        };
        let value = value.to_owned();
        match name.to_ascii_lowercase().as_str() {
            "webhook-id" => id = value,
            "webhook-timestamp" => timestamp = value,
            "webhook-signature" => signature = value,
            "content-length" => length = value,
            _ => {}
        }
    }
    let (id, timestamp): (String, String) = (id, timestamp);
    let (signature, length): (String, String) = (signature, length);
    let mut body = vec![0; length.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    let secret = SECRET.trim_start_matches("whsec_");
    let key = Key::new(
        HMAC_SHA256,
        &STANDARD.decode_to_vec(secret).expect("base64"),
    );
    let signed = [format!("{id}.{timestamp}.").as_bytes(), &body].concat();
    let expected = format!("v1,{}", STANDARD.encode_to_string(sign(&key, &signed)));
    assert_eq!(signature, expected);
    let body = serde_json::from_slice(&body).expect("JSON");
    Some(Event {
        id,
        path,
        body,
        at: Instant::now(),
    })
}

/// The longest wait for an event.
const WITHIN: Duration = Duration::from_secs(15);
