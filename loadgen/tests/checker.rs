//! The checker catches each fault of a relay by its name, and nothing where there is none.
#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps nothing fails, as it should"
)]

use crate::support::tally::spoiled;
use crate::support::{Delivery, Fault, Relay, accepted, messages};
use codec::ws::{Receiver, Side};
use loadgen::measure::MessageTally;
use loadgen::peer::Name;
use loadgen::schedule::RunShare;
use loadgen::visit::{Crew, MessageDesk, Party, PartyTerms, Peer, ReceiveOutcome, Stage};

const TERMS: PartyTerms = PartyTerms {
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
    fn connected(terms: PartyTerms) -> Self {
        let mut crew = Crew::new(MessageDesk::new(terms, 1), RunShare::WHOLE);
        for place in 0..3 {
            let name = Name {
                channel: CHANNEL,
                place,
            };
            let stage = Stage::AwaitOpen;
            crew.seat(place, Party::Peer(Peer { name, stage }), None);
            let mut request = Vec::new();
            crew.ask(place, "h", "/", &mut request);
            let request = String::from_utf8(request).unwrap();
            let mut answer = accepted(&request).unwrap().into_bytes();
            let heard = crew.receive(place, &mut answer, &mut Vec::new()).unwrap();
            assert_eq!(heard, ReceiveOutcome::Opened);
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

    fn relayed(&mut self, relay: &mut Relay, from: usize, sent: &mut [u8]) -> Vec<Delivery> {
        let place = u32::try_from(from).unwrap();
        let messages = messages(&mut self.receivers[from], sent).into_iter();
        messages
            .flat_map(|payload| relay.route(place, &payload))
            .collect()
    }
}

/// The counts of a relay with this fault that carries 1,000 messages.
fn tally(fault: Fault) -> MessageTally {
    let mut channel = Channel::connected(TERMS);
    channel.exchange(&mut Relay::new(fault), 1_000);
    channel.crew.close_books();
    let tally = channel.crew.desk.tally;
    assert!(tally.sent >= 100, "{tally:?}");
    tally
}

#[test]
fn each_fault_of_a_relay_is_caught_by_its_name() {
    for (fault, least) in [
        (Fault::Nothing, 0),
        (Fault::Loses, 6),
        (Fault::Duplicates, 51),
        (Fault::Reorders, 6),
        (Fault::Corrupts, 6),
        (Fault::Misroutes, 6),
    ] {
        let tally = tally(fault);
        let spoiled = spoiled(fault, &tally);
        assert!(spoiled >= least, "{fault:?}: {tally:?}");
        let fine = fault == Fault::Loses || tally.lost <= 1;
        assert!(fine, "one is held back: {tally:?}");
        assert!(fault != Fault::Nothing || tally.sent >= 1_000, "{tally:?}");
    }
}

#[test]
fn messages_of_another_run_are_no_fault_of_this_one() {
    let mut channel = Channel::connected(TERMS);
    let mut other = Channel::connected(PartyTerms { run: 8, ..TERMS });
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
    assert_eq!(desk.tally, MessageTally::default());
    assert_eq!(desk.errors.kinds()["message_of_another_run"], 8);
}
