//! Clients with small buffers: models of how each of them reads, beside the broker that writes for it.
//!
//! Of the models one is a client that was built and run, AWS' Linux reference; the C SDK's is that of its buffer, and
//! the ESP32's was read.

use crate::http::{create, exchange};
use crate::peer::{Peer, answer, master_query, offer, to_master, upgrade, viewer_query};
use crate::peer::{candidate, client_config, tcp, upgrade_head};
use crate::process::Broker;
use rustls::{ClientConfig, ClientConnection};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

/// How a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Model {
    /// Its buffer holds a message of 18,750 bytes. GO_AWAY has it wait for itself forever.
    CSdk,
    /// Its buffer holds a message of 12,288 bytes, fragments or not; a longer one ends its connection.
    LinuxReference,
    /// Each 4,096 bytes of a frame are an event. One of a frame with FIN is a message, together with what was gathered
    /// of events without. A message without `messagePayload` has it start again.
    Esp32,
}

impl Model {
    /// The head lines by which it connects.
    fn lines(self) -> &'static str {
        match self {
            Self::CSdk | Self::LinuxReference => "Sec-WebSocket-Protocol: wss\r\n",
            Self::Esp32 => "User-Agent: ESP32 Websocket Client\r\n",
        }
    }

    /// The `User-Agent` of its calls.
    fn agent(self) -> &'static str {
        match self {
            Self::CSdk => "AWS-SDK-KVS/1.16.0 GCC/12.2.0 Linux/6.1",
            Self::LinuxReference => "AWS-SDK-KVS",
            Self::Esp32 => "ESP32",
        }
    }

    /// The longest message that it reads.
    fn most(self) -> usize {
        match self {
            Self::CSdk => 18_750,
            Self::LinuxReference => 12_288,
            Self::Esp32 => 20_000,
        }
    }
}

/// A master that reads so.
struct Reader {
    model: Model,
    stream: TcpStream,
    read: Vec<u8>,
    gathered: Vec<u8>,
}

impl Reader {
    /// Asks for its endpoint, and connects.
    fn connect(broker: &Broker, arn: &str, model: Model) -> Self {
        asks_for_endpoint(broker, arn, "MASTER", model.agent());
        let (answer, connection) = upgrade(broker, &master_query(arn), model.lines());
        assert_eq!(answer.status, 101, "{answer:?}");
        let (stream, read) = connection.into_parts();
        Self {
            model,
            stream,
            read,
            gathered: Vec::new(),
        }
    }

    /// The next message as its program gets it; the code of the close frame that came instead.
    fn message(&mut self) -> Result<String, u16> {
        loop {
            let (fin, opcode, payload) = self.frame();
            match opcode {
                8 => return Err(u16::from_be_bytes([payload[0], payload[1]])),
                0 | 1 => {}
                _ => continue,
            }
            if self.model != Model::Esp32 {
                self.gathered.extend_from_slice(&payload);
                assert!(
                    self.gathered.len() <= self.model.most(),
                    "its connection ends"
                );
                if fin {
                    return Ok(self.taken());
                }
                continue;
            }
            for event in payload.chunks(4_096) {
                self.gathered.extend_from_slice(event);
                assert!(
                    self.gathered.len() <= self.model.most(),
                    "it discards the message"
                );
                if fin {
                    let message = self.taken();
                    testkit::assert_has(&message, &["messagePayload"]);
                    return Ok(message);
                }
            }
        }
    }

    fn taken(&mut self) -> String {
        let message = String::from_utf8(std::mem::take(&mut self.gathered)).expect("UTF-8");
        let hangs = self.model == Model::CSdk && message.contains("GO_AWAY");
        assert!(!hangs, "it waits for itself forever");
        message
    }

    /// The next frame: whether it is the last of its message, its opcode and its payload.
    fn frame(&mut self) -> (bool, u8, Vec<u8>) {
        let head = self.bytes(2);
        let length = match head[1] {
            126 => {
                let long = self.bytes(2);
                usize::from(u16::from_be_bytes([long[0], long[1]]))
            }
            short => usize::from(short),
        };
        let payload = self.bytes(length);
        (head[0] & 0x80 != 0, head[0] & 0x0F, payload)
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.read.len() < count {
            let mut more = [0; 4_096];
            let read = self.stream.read(&mut more).expect("bytes of the broker");
            assert!(read > 0, "the broker has ended the connection");
            self.read.extend_from_slice(&more[..read]);
        }
        self.read.drain(..count).collect()
    }
}

/// A call of GetSignalingChannelEndpoint in a role, by a program of this name.
fn asks_for_endpoint(broker: &Broker, arn: &str, role: &str, agent: &str) {
    let configuration = format!(r#"{{"Protocols":["WSS"],"Role":"{role}"}}"#);
    let body = format!(
        r#"{{"ChannelARN":"{arn}","SingleMasterChannelEndpointConfiguration":{configuration}}}"#
    );
    let call = format!(
        "POST /getSignalingChannelEndpoint HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: {agent}\r\nContent-Length: \
         {}\r\n\r\n{body}",
        body.len()
    );
    exchange(broker.plain, call.as_bytes()).ok();
}

/// Longest payload of a message for a master within this many bytes, from viewer `v1`.
fn payload_within(bytes: usize) -> String {
    "p".repeat(bytes - to_master("SDP_OFFER", "", "v1").len())
}

#[test]
fn each_reader_gets_what_it_can_take_and_the_rest_is_refused_to_its_sender() {
    for model in [Model::CSdk, Model::LinuxReference, Model::Esp32] {
        let broker = Broker::dev(2);
        let arn = create(broker.plain, "demo", 60);
        let mut camera = Reader::connect(&broker, &arn, model);
        let mut viewer = Peer::viewer(&broker, &arn, "v1");
        for bytes in [200, 4_096, 4_097, 6_000, model.most()] {
            let payload = payload_within(bytes);
            viewer.send(&offer(&payload));
            assert_eq!(
                camera.message(),
                Ok(to_master("SDP_OFFER", &payload, "v1")),
                "{model:?}"
            );
        }
        viewer.send(&offer(&payload_within(model.most() + 1)));
        viewer.send(&offer("c2hvcnQ="));
        assert_eq!(
            camera.message(),
            Ok(to_master("SDP_OFFER", "c2hvcnQ=", "v1")),
            "{model:?}"
        );
        let refused = broker
            .scrape()
            .sum("heliograph_messages_unaccepted_total{outcome=\"refused\",reason=\"too_long_for_recipient\"}");
        assert!(refused >= 1.0, "{model:?}");
        drop((camera, viewer));
        broker.assert_balanced();
    }
}

#[test]
fn what_was_kept_comes_in_fragments_and_what_came_back_is_whole() {
    let broker = Broker::dev(1);
    let arn = create(broker.plain, "demo", 60);
    let mut viewer = Peer::viewer(&broker, &arn, "v1");
    let (kept, live) = (payload_within(9_000), payload_within(15_000));
    viewer.send(&offer(&kept));
    let mut camera = Reader::connect(&broker, &arn, Model::Esp32);
    assert_eq!(camera.message(), Ok(to_master("SDP_OFFER", &kept, "v1")));
    // A machine that acknowledges nothing: what it was sent goes to the next connection, whatever that reads.
    drop(camera);
    viewer.send(&offer(&live));
    let mut next = Peer::master(&broker, &arn);
    next.expect(&to_master("SDP_OFFER", &live, "v1"));
    next.send(&answer("v1", "YQ=="));
}

/// The buffer of a small TLS library holds one record: none has more than one frame, also where several wait, and where
/// they were kept and follow the answer to the upgrade at once. Other clients get them together.
#[test]
fn each_frame_for_a_small_buffer_has_a_record_of_its_own() {
    for (agent, is_small) in [("ESP32 Websocket Client", true), ("Mozilla/5.0", false)] {
        let broker = Broker::dev(2);
        let arn = create(broker.plain, "demo", 60);
        let longest = longest_record(&broker, (&broker, &client_config(&broker)), &arn, agent);
        assert_eq!(longest <= 4_096 + 16, is_small, "{agent}: {longest}");
        broker.assert_balanced();
    }
}

/// The longest record, in bytes of plaintext, that a camera at one node gets of what was kept for it at the owner.
pub(crate) fn longest_record(
    owner: &Broker,
    (front, client): (&Broker, &Arc<ClientConfig>),
    arn: &str,
    agent: &str,
) -> usize {
    let mut viewer = Peer::viewer(owner, arn, "v1");
    let candidates = [
        candidate(&payload_within(3_000)),
        candidate(&payload_within(200)),
    ];
    viewer.send_together(&[&[offer(&payload_within(6_000))][..], &candidates].concat());
    testkit::until_true("the kept ones", || {
        owner.scrape().sum("heliograph_pending_messages") >= 3.0
    });
    let name = "localhost".try_into().expect("a name");
    let session = ClientConnection::new(Arc::clone(client), name);
    let mut stream = tcp(front.tls);
    let head = upgrade_head(front, &master_query(arn));
    let head = head.replacen("\r\n", &format!("\r\nUser-Agent: {agent}\r\n"), 1);
    let records = read_records(&mut stream, session.expect("a session"), &head);
    records.into_iter().max().unwrap_or_default()
}

/// Upgrades over TLS and reads all that comes within the time of its messages: the plaintext bytes of each record.
fn read_records(stream: &mut TcpStream, mut session: ClientConnection, head: &str) -> Vec<usize> {
    while session.is_handshaking() {
        session.complete_io(stream).expect("a handshake");
    }
    session.writer().write_all(head.as_bytes()).expect("room");
    let (mut records, mut messages, mut wire) = (Vec::new(), 0, Vec::new());
    while messages < 3 {
        while session.wants_write() {
            session.write_tls(stream).expect("sent");
        }
        let mut more = [0; 4_096];
        let read = stream.read(&mut more).expect("bytes of the broker");
        wire.extend_from_slice(&more[..read]);
        while let Some(length) = wire
            .get(3..5)
            .map(|it| usize::from(u16::from_be_bytes([it[0], it[1]])))
        {
            if wire.len() < 5 + length {
                break;
            }
            let record: Vec<u8> = wire.drain(..5 + length).collect();
            let (mut rest, mut text) = (&*record, Vec::new());
            while !rest.is_empty() {
                session.read_tls(&mut rest).expect("a part of a record");
                session.process_new_packets().expect("of ours");
            }
            let _ = session.reader().read_to_end(&mut text); // it says that more may come
            records.push(text.len());
            messages += text
                .windows(16)
                .filter(|it| it == b"\"messagePayload\"")
                .count();
        }
    }
    records
}

#[test]
fn a_reader_that_go_away_breaks_is_closed_at_its_age() {
    let ages = "[timeouts]\nconnection_age = \"3s\"\ngo_away_grace = \"2s\"\n";
    let broker = Broker::configured(ages, 1);
    let arn = create(broker.plain, "demo", 60);
    let mut camera = Reader::connect(&broker, &arn, Model::Esp32);
    let (answer, browser) = upgrade(&broker, &viewer_query(&arn, "v1"), "");
    assert_eq!(answer.status, 101);
    assert_eq!(camera.message(), Err(1001));
    let mut browser = Peer::after_upgrade(browser);
    browser.expect(r#"{"messageType":"GO_AWAY"}"#);
}

#[test]
fn an_operator_adds_a_row() {
    let row = "[clients.doorbell]\nuser_agent = \"Doorbell/2.*\"\nframe_bytes = 1024\nmessage_bytes = 2048\n";
    let broker = Broker::configured(row, 1);
    let arn = create(broker.plain, "demo", 60);
    let (answer, connection) = upgrade(
        &broker,
        &master_query(&arn),
        "User-Agent: Doorbell/2.7 (rtos)\r\n",
    );
    assert_eq!(answer.status, 101);
    let (stream, read) = connection.into_parts();
    let mut camera = Reader {
        model: Model::CSdk,
        stream,
        read,
        gathered: Vec::new(),
    };
    let mut viewer = Peer::viewer(&broker, &arn, "v1");
    viewer.send(&offer(&payload_within(2_049)));
    viewer.send(&offer(&payload_within(2_048)));
    let frames: Vec<_> = (0..2).map(|_| camera.frame()).collect();
    let shapes: Vec<_> = frames
        .iter()
        .map(|(fin, opcode, payload)| (*fin, *opcode, payload.len()))
        .collect();
    assert_eq!(shapes, [(false, 1, 1_024), (true, 0, 1_024)]);
    let shown = broker.page("/config").json();
    assert_eq!(shown["clients"]["doorbell"]["message_bytes"], 2_048);
    assert_eq!(shown["clients"]["esp32"]["frame_bytes"], 4_096);
}
