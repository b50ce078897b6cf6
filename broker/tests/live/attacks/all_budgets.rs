//! All budgets at once: bytes for readers that do not read, for peers that never come, of requests, messages and
//! handshakes that never end, and calls that nobody answers. The process stays within the sum that it prints at its
//! start.

use super::{ATTACKER, Attack, Trial, broker};
use crate::http::{Connection, create, request};
use crate::peer::{Peer, candidate, candidate_to, master_query, tcp_from, viewer_query};
use crate::process::{Broker, arn};
use broker::memory::{self, CONNECTION_BYTES, Term};
use broker_core::settings::{Profile, Settings};
use serde_json::json;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::panic::catch_unwind;
use std::thread;
use std::time::Duration;

const OUTBOXES: usize = 256 << 10;
const PENDING: usize = 1 << 20;
const REQUESTS: usize = 1 << 20;
const CHANNEL: usize = 128 << 10;

/// The terms of the budget that are filled here.
const CALLS: &str = "waiting Alexa calls";
#[rustfmt::skip] // a list
const FILLED: [&str; 9] = [
    CALLS, "outboxes", "kept messages", "requests and answers", "spare outboxes", "spare sends", "receive buffers",
    "TLS records of handshakes", "log lines",
];

/// Channels with Alexa calls that wait, and calls of each.
const CHANNELS: usize = 4;
const CALLS_EACH: usize = 40;

/// Bytes that one input may add before it is known who pays: an unfinished message each of two.
const INPUT: usize = 2 * 60_000;

/// The address from which heads, messages and handshakes come that never end.
const CRAWLER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 4));

#[test]
fn all_budgets_full_at_once_stay_within_their_sum() {
    let configuration = format!(
        "[limits]\nrequest_bytes = {REQUESTS}\noutbox_bytes = {CHANNEL}\noutbox_bytes_total = {OUTBOXES}\n\
         pending_bytes_per_channel = {CHANNEL}\npending_bytes_total = {PENDING}\n"
    );
    let mut settings = Settings::new(Profile::Default, true);
    settings.limits.request_bytes = REQUESTS;
    settings.limits.outbox_bytes_total = OUTBOXES;
    settings.limits.pending_bytes_total = PENDING;
    // The bound is to be a close one: of what is not filled here nothing, of Alexa calls those that are made.
    let terms = memory::budget(&settings).into_iter();
    let terms = terms.filter(|term| FILLED.contains(&term.name));
    let terms: Vec<Term> = terms.collect();
    assert_eq!(terms.len(), FILLED.len(), "the budget names them so");
    let bytes = |term: &Term| match term.name {
        CALLS => (CHANNELS * CALLS_EACH).min(term.count) * term.bytes,
        _ => term.total(),
    };
    let sum: usize = terms.iter().map(bytes).sum();
    let broker = broker(&configuration, 1);
    let outcome = Trial::new("all budgets", &broker)
        .lasting(Duration::from_secs(6))
        .run(|attack| {
            thread::scope(|scope| {
                scope.spawn(|| deaf_readers(&broker, attack));
                scope.spawn(|| absent_peers(&broker, attack));
                scope.spawn(|| unfinished(&broker, attack));
                scope.spawn(|| waiting_calls(&broker, attack));
                scope.spawn(|| watch(&broker, attack));
            });
        });
    let grown = outcome
        .peak
        .resident_bytes
        .saturating_sub(outcome.before.resident_bytes);
    let connections = outcome.peak.descriptors * CONNECTION_BYTES;
    let most = (sum + connections) / 10 * 11;
    assert!(
        grown <= most as u64,
        "{grown} bytes more, and the sum is {sum}: {outcome:?}"
    );
    broker.assert_balanced();
}

fn deaf_readers(broker: &Broker, attack: &Attack) {
    let arn = arn("deaf");
    let mut master = Peer::plain_from(ATTACKER, broker, &master_query(&arn));
    let filler = "A".repeat(32_000);
    while !attack.over() {
        let connect = |reader| {
            let query = viewer_query(&arn, &format!("v{reader}"));
            Peer::plain_from(ATTACKER, broker, &query)
        };
        let readers: Vec<Peer> = (0..3).map(connect).collect();
        for message in 0..1_500 {
            if attack.over() {
                break;
            }
            master.send(&candidate_to(&format!("v{}", message % 3), &filler));
            attack.did(1);
        }
        drop(readers);
    }
}

fn absent_peers(broker: &Broker, attack: &Attack) {
    let connect = |number| {
        let query = viewer_query(&arn(&format!("absent-{number}")), "v");
        Peer::plain_from(ATTACKER, broker, &query)
    };
    let mut senders: Vec<Peer> = (0..30).map(connect).collect();
    // Small ones: what it takes to keep a message is more than its bytes.
    while !attack.over() {
        for sender in &mut senders {
            sender.send(&candidate(&"A".repeat(1_500)));
            attack.did(1);
        }
    }
}

/// Heads, messages and handshakes without an end, each again when it was ended.
fn unfinished(broker: &Broker, attack: &Attack) {
    let head = [&b"GET / HTTP/1.1\r\nX-Filler: "[..], &[b'x'; 15_000]].concat();
    let mut message = vec![0x81, 0xfe];
    message.extend_from_slice(&60_001_u16.to_be_bytes());
    message.resize(60_000, 0);
    let hello = [&[22, 3, 1, 0x40, 0, 1, 0, 0xf0, 0][..], &[0; 16_000]].concat();
    while !attack.over() {
        let mut streams: Vec<TcpStream> = Vec::new();
        let mut peers = Vec::new();
        for number in 0..80 {
            for (to, bytes) in [(broker.plain, &head), (broker.tls, &hello)] {
                let mut stream = tcp_from(CRAWLER, to);
                let _ = stream.write_all(bytes);
                streams.push(stream);
            }
            let query = viewer_query(&arn(&format!("begun-{number}")), "v");
            // Its address holds most, so its own upgrades may be cut off as well.
            let peer = catch_unwind(|| Peer::plain_from(CRAWLER, broker, &query));
            if let Ok(mut peer) = peer {
                let _ = peer.send_bytes(&message);
                peers.push(peer);
            }
            attack.did(3);
        }
        thread::sleep(Duration::from_millis(200));
    }
}

fn waiting_calls(broker: &Broker, attack: &Attack) {
    let offer = "A".repeat(9_000);
    let mut callers = Vec::new();
    for channel in 0..CHANNELS {
        let arn = create(broker.plain, &format!("hoard-{channel}"), 120);
        for call in 0..CALLS_EACH {
            let body = json!({
                "ChannelARN": arn,
                "SenderClientId": format!("alexa-{call}"),
                "MessagePayload": offer,
            });
            let mut caller = Connection::open_from(ATTACKER, broker.plain);
            caller.send(&request(
                "/v1/send-alexa-offer-to-master",
                &body.to_string(),
            ));
            callers.push(caller);
            attack.did(1);
        }
    }
    while !attack.over() {
        thread::sleep(Duration::from_millis(50));
    }
}

/// They are filled indeed, at some look. How much of what deaf readers are sent the kernels hold is theirs to say, so
/// of outboxes anything will do.
fn watch(broker: &Broker, attack: &Attack) {
    let gauges = ["pending_bytes", "outbox_bytes", "request_bytes"];
    let mut most = [0.0_f64; 3];
    while !attack.over() {
        let scrape = broker.scrape();
        for (most, gauge) in most.iter_mut().zip(gauges) {
            *most = most.max(scrape.sum(&format!("heliograph_{gauge}")));
        }
        thread::sleep(Duration::from_millis(5));
    }
    eprintln!("all budgets: {gauges:?} {most:?}");
    let bounds = [
        (PENDING / 2, PENDING),
        (1, OUTBOXES),
        (REQUESTS / 2, REQUESTS + INPUT),
    ];
    for ((seen, (least, most)), gauge) in most.into_iter().zip(bounds).zip(gauges) {
        let within = seen >= least as f64 && seen <= most as f64;
        assert!(within, "{seen} {gauge}, not from {least} to {most}");
    }
}
