//! The checker catches each fault of a relay by its name, and nothing where there is none.
#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps nothing fails, as it should"
)]

use crate::support::tally::is_clean;
use crate::support::{Fault, RULES, Relay, accepted};
use codec::ws::{Item, Receiver, Side};
use loadgen::measure::Tally;
use loadgen::peer::Name;
use loadgen::schedule::Share;
use loadgen::visit::{Crew, Desk, Heard, Party, Peer, Stage, Terms};

const TERMS: Terms = Terms {
    run: 7,
    payload_bytes: 400,
    sdp_bytes: 400,
    candidates: 0,
    trickle_ns: 0,
    channels: 6,
    viewers: 2,
    window: 4,
};
/// The channel under test: not the first one.
const CHANNEL: u32 = 5;

/// A master on line 0 and two viewers on lines 1 and 2, connected.
struct Channel {
    crew: Crew,
    receivers: Vec<Receiver>,
}

impl Channel {
    fn connected(terms: Terms) -> Self {
        let mut crew = Crew::new(Desk::new(terms, 1), Share::WHOLE);
        for place in 0..3 {
            let name = Name {
                channel: CHANNEL,
                place,
            };
            let stage = Stage::AwaitOpen;
            crew.seat(place, Party::Peer(Peer { name, stage }));
            let mut request = Vec::new();
            crew.ask(place, "h", "/", &mut request);
            let request = String::from_utf8(request).unwrap();
            let mut answer = accepted(&request).unwrap().into_bytes();
            let heard = crew.receive(place, &mut answer, &mut Vec::new()).unwrap();
            assert_eq!(heard, Heard::Opened);
            let Party::Peer(peer) = crew.party(place) else {
                panic!("a peer is there");
            };
            assert_eq!(peer.stage, Stage::Hold);
        }
        let receivers = (0..3).map(|_| Receiver::new(Side::Server)).collect();
        Self { crew, receivers }
    }

    /// Lets messages go round until this many were sent, then lets the rest arrive.
    fn exchange(&mut self, relay: &mut Relay, messages: u64) {
        self.crew.relay.is_speaking = true;
        let mut outs: Vec<Vec<u8>> = vec![Vec::new(); 3];
        for (line, out) in (0..).zip(&mut outs) {
            self.crew.start(line, out);
        }
        while outs.iter().any(|out| !out.is_empty()) {
            self.crew.relay.is_speaking = self.crew.desk.tally.sent < messages;
            for from in 0..3 {
                let mut sent = std::mem::take(&mut outs[from]);
                for delivery in self.relayed(relay, from, &mut sent) {
                    let mut frame = delivery.frame();
                    let out = &mut outs[delivery.to as usize];
                    self.crew.receive(delivery.to, &mut frame, out).unwrap();
                }
            }
        }
    }

    fn relayed(
        &mut self,
        relay: &mut Relay,
        from: usize,
        sent: &mut [u8],
    ) -> Vec<crate::support::Delivery> {
        let place = u32::try_from(from).unwrap();
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

/// The counts of a relay with this fault that carries 1,000 messages.
fn tally(fault: Fault) -> Tally {
    let mut channel = Channel::connected(TERMS);
    channel.exchange(&mut Relay::new(fault), 1_000);
    channel.crew.close_books();
    let tally = channel.crew.desk.tally;
    assert!(tally.sent >= 100, "{tally:?}");
    tally
}

#[test]
fn a_sound_relay_has_no_fault() {
    let tally = tally(Fault::Nothing);
    assert!(is_clean(&tally), "{tally:?}");
    assert!(tally.sent >= 1_000 && tally.received == tally.sent);
}

#[test]
fn a_lossy_relay() {
    let tally = tally(Fault::Loses);
    assert_eq!(tally.lost, tally.sent - tally.received);
    assert!(is_clean(&Tally { lost: 0, ..tally }));
    assert!(tally.lost > 5);
}

#[test]
fn a_duplicating_relay() {
    let tally = tally(Fault::Duplicates);
    assert_eq!(tally.duplicated, tally.received - tally.sent);
    assert!(tally.duplicated > 50);
    assert!(
        is_clean(&Tally {
            duplicated: 0,
            ..tally
        }),
        "{tally:?}"
    );
}

#[test]
fn a_reordering_relay() {
    let tally = tally(Fault::Reorders);
    assert!(tally.reordered > 5, "{tally:?}");
    assert!(
        is_clean(&Tally {
            reordered: 0,
            lost: 0,
            ..tally
        }),
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
        is_clean(&Tally {
            corrupted: 0,
            ..tally
        }),
        "{tally:?}"
    );
}

#[test]
fn a_misrouting_relay() {
    let tally = tally(Fault::Misroutes);
    assert!(tally.misrouted > 5, "{tally:?}");
    assert!(
        is_clean(&Tally {
            misrouted: 0,
            ..tally
        }),
        "{tally:?}"
    );
}

#[test]
fn messages_of_another_run_are_no_fault_of_this_one() {
    let mut channel = Channel::connected(TERMS);
    let mut other = Channel::connected(Terms { run: 8, ..TERMS });
    let mut out = Vec::new();
    other.crew.start(0, &mut out);
    let mut relay = Relay::new(Fault::Nothing);
    for delivery in other.relayed(&mut relay, 0, &mut out) {
        let mut frame = delivery.frame();
        channel
            .crew
            .receive(delivery.to, &mut frame, &mut Vec::new())
            .unwrap();
    }
    let desk = &channel.crew.desk;
    assert_eq!(desk.tally, Tally::default());
    assert_eq!(desk.errors.kinds()["message_of_another_run"], 8);
}
