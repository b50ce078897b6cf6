//! The checker catches each fault of a relay by its name, and nothing where there is none.
#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps nothing fails, as it should"
)]

mod support;

use codec::ws::{self, Item, Opcode, Receiver, Rules, Side};
use loadgen::measure::Tally;
use loadgen::peer::{Desk, Name, Naming, Peer, Terms, missing};
use support::{Fault, Relay};

const TERMS: Terms = Terms {
    run: 7,
    payload_bytes: 400,
    window: 4,
};
const RULES: Rules = Rules {
    message_bytes: 1 << 16,
    fragments: 1,
};

/// A master and two viewers at one desk, connected.
struct Channel {
    desk: Desk,
    peers: Vec<Peer>,
    receivers: Vec<Receiver>,
}

impl Channel {
    fn connected() -> Self {
        let naming = Naming {
            region: "r".into(),
            account: "1".into(),
            prefix: "p".into(),
        };
        let mut desk = Desk::new(TERMS, 1);
        let mut peers: Vec<_> = (0..3)
            .map(|place| Peer::new(Name { channel: 5, place }, 2))
            .collect();
        for peer in &mut peers {
            let mut request = Vec::new();
            peer.connect("h", &naming, &mut desk, &mut request);
            let request = String::from_utf8(request).unwrap();
            let key = request
                .split("Key: ")
                .nth(1)
                .unwrap()
                .split('\r')
                .next()
                .unwrap();
            let accept = ws::accept_key(key);
            let accept = std::str::from_utf8(&accept).unwrap();
            let mut answer =
                format!("HTTP/1.1 101 OK\r\nSec-WebSocket-Accept: {accept}\r\n\r\n").into_bytes();
            let progress = peer
                .receive(&mut answer, &mut desk, &mut Vec::new())
                .unwrap();
            assert!(progress.opened && peer.is_open());
        }
        let receivers = (0..3).map(|_| Receiver::new(Side::Server)).collect();
        Self {
            desk,
            peers,
            receivers,
        }
    }

    /// Lets messages go round until so many were sent, then lets the rest arrive.
    fn exchange(&mut self, relay: &mut Relay, messages: u64) {
        self.desk.speaking = true;
        let mut outs: Vec<Vec<u8>> = vec![Vec::new(); 3];
        for (peer, out) in self.peers.iter_mut().zip(&mut outs) {
            peer.start(&mut self.desk, out);
        }
        while outs.iter().any(|out| !out.is_empty()) {
            self.desk.speaking = self.desk.tally.sent < messages;
            for from in 0..3 {
                let mut sent = std::mem::take(&mut outs[from]);
                for delivery in self.relayed(relay, from, &mut sent) {
                    let to = delivery.to as usize;
                    let mut frame = Vec::new();
                    ws::frame(&mut frame, Opcode::Text, delivery.text.as_bytes());
                    self.peers[to]
                        .receive(&mut frame, &mut self.desk, &mut outs[to])
                        .unwrap();
                }
            }
        }
    }

    fn relayed(
        &mut self,
        relay: &mut Relay,
        from: usize,
        sent: &mut [u8],
    ) -> Vec<support::Delivery> {
        let place = self.peers[from].name().place;
        let mut deliveries = Vec::new();
        let mut rest = sent;
        loop {
            let (used, item) = self.receivers[from].next(&RULES, rest).unwrap();
            match item {
                Some(Item::Message { payload, .. }) => {
                    deliveries.extend(relay.route(place, payload))
                }
                None => return deliveries,
                Some(other) => panic!("{other:?}"),
            }
            rest = &mut rest[used..];
        }
    }
}

/// What is counted when a relay with this fault carries 1,000 messages.
fn tally(fault: Fault) -> Tally {
    let mut channel = Channel::connected();
    channel.exchange(&mut Relay::new(fault), 1_000);
    let mut tally = channel.desk.tally;
    tally.lost = missing(&channel.peers).saturating_sub(tally.corrupted + tally.misrouted);
    assert!(tally.sent >= 100, "{tally:?}");
    tally
}

#[test]
fn a_sound_relay_has_no_fault() {
    let tally = tally(Fault::Nothing);
    assert!(tally.is_clean(), "{tally:?}");
    assert!(tally.sent >= 1_000 && tally.received == tally.sent);
}

#[test]
fn a_lossy_relay() {
    let tally = tally(Fault::Loses);
    assert_eq!(tally.lost, tally.sent - tally.received);
    assert!(Tally { lost: 0, ..tally }.is_clean());
    assert!(tally.lost > 5);
}

#[test]
fn a_duplicating_relay() {
    let tally = tally(Fault::Duplicates);
    assert_eq!(tally.duplicated, tally.received - tally.sent);
    assert!(tally.duplicated > 50);
    assert!(
        Tally {
            duplicated: 0,
            ..tally
        }
        .is_clean(),
        "{tally:?}"
    );
}

#[test]
fn a_reordering_relay() {
    let tally = tally(Fault::Reorders);
    assert!(tally.reordered > 5, "{tally:?}");
    assert!(
        Tally {
            reordered: 0,
            lost: 0,
            ..tally
        }
        .is_clean(),
        "{tally:?}"
    );
    assert!(
        tally.lost <= 1,
        "one may be held back at the end: {tally:?}"
    );
}

#[test]
fn a_corrupting_relay() {
    let tally = tally(Fault::Corrupts);
    assert!(tally.corrupted > 5, "{tally:?}");
    assert!(
        Tally {
            corrupted: 0,
            ..tally
        }
        .is_clean(),
        "{tally:?}"
    );
}

#[test]
fn a_misrouting_relay() {
    let tally = tally(Fault::Misroutes);
    assert!(tally.misrouted > 5, "{tally:?}");
    assert!(
        Tally {
            misrouted: 0,
            ..tally
        }
        .is_clean(),
        "{tally:?}"
    );
}

#[test]
fn messages_of_another_run_are_no_fault_of_this_one() {
    let mut channel = Channel::connected();
    let mut other = Channel::connected();
    other.desk = Desk::new(Terms { run: 8, ..TERMS }, 1);
    let mut out = Vec::new();
    other.peers[0].start(&mut other.desk, &mut out);
    let mut relay = Relay::new(Fault::Nothing);
    for delivery in other.relayed(&mut relay, 0, &mut out) {
        let mut frame = Vec::new();
        ws::frame(&mut frame, Opcode::Text, delivery.text.as_bytes());
        let peer = &mut channel.peers[delivery.to as usize];
        peer.receive(&mut frame, &mut channel.desk, &mut Vec::new())
            .unwrap();
    }
    assert_eq!(channel.desk.tally, Tally::default());
    assert_eq!(channel.desk.errors.kinds()["message_of_another_run"], 8);
}
