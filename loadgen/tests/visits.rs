//! Sessions against a relay with one fault: the crew catches it by its name, and nothing where there is none.
#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps nothing fails, as it should"
)]

use crate::support::tally::{is_clean, spoiled};
use crate::support::{Fault, Relay, accepted, messages};
use codec::ws::{Receiver, Side};
use loadgen::measure::MessageTally;
use loadgen::schedule::RunShare;
use loadgen::visit::{
    CANDIDATES_MAX, Crew, MessageDesk, Party, PartyTerms, ReceiveOutcome, Stage, Verdict, Viewer,
};

const TERMS: PartyTerms = PartyTerms {
    run: 7,
    payload_bytes: 400,
    sdp_bytes: 1_000,
    candidates: 4,
    trickle_ns: 0,
    channels: 1,
    viewers: 0,
    window: 0,
};

/// A master on line 0 and the viewers of sessions 0 and 1 on lines 1 and 2, as places 0 to 2 of a relay.
struct Channel {
    crew: Crew,
    relay: Relay,
    outs: [Vec<u8>; 3],
    receivers: [Receiver; 3],
}

impl Channel {
    fn new(fault: Fault, terms: PartyTerms) -> Self {
        let mut channel = Self {
            crew: Crew::new(MessageDesk::new(terms, 1), RunShare::WHOLE),
            relay: Relay::new(fault),
            outs: Default::default(),
            receivers: std::array::from_fn(|_| Receiver::new(Side::Server)),
        };
        channel.open(0, Party::Master(0));
        channel
    }

    fn open(&mut self, line: u32, party: Party) {
        let place = line as usize;
        self.crew.seat(line, party, None);
        let mut request = Vec::new();
        self.crew.ask(line, "h", "/", &mut request);
        let request = String::from_utf8(request).unwrap();
        let mut answer = accepted(&request).unwrap().into_bytes();
        self.receivers[place] = Receiver::new(Side::Server);
        let heard = self
            .crew
            .receive(line, &mut answer, &mut self.outs[place])
            .unwrap();
        assert_eq!(heard, ReceiveOutcome::Opened);
    }

    /// Both sessions from their upgrade to their end; gives how many settled.
    fn round(&mut self) -> usize {
        self.crew.desk.now_ns += 1_000_000;
        for line in [1, 2] {
            let viewer = Viewer::new(line - 1, self.crew.desk.now_ns);
            self.open(line, Party::Viewer(viewer));
        }
        self.carry_all();
        let mut trickling = Vec::new();
        while let Some(line) = self.crew.answered() {
            trickling.push(line);
        }
        while !trickling.is_empty() {
            for &line in &trickling {
                self.trickle(line);
            }
            trickling.retain(|&line| self.crew.has_more(line));
        }
        let mut settled = Vec::new();
        while let Some(line) = self.crew.settled() {
            settled.push(line);
        }
        for line in [1, 2] {
            let whole = settled.contains(&line);
            self.crew.leave(
                line,
                if whole {
                    Verdict::Completed
                } else {
                    Verdict::TimedOut
                },
            );
        }
        settled.len()
    }

    fn carry_all(&mut self) {
        while self.outs.iter().any(|out| !out.is_empty()) {
            for from in 0..3 {
                self.carry(from);
            }
        }
    }

    /// One candidate each way, no more and no less.
    fn trickle(&mut self, line: u32) {
        let before = self.crew.desk.tally.received;
        let master = self.crew.master_line(line).unwrap();
        let outs = &mut self.outs;
        self.crew.trickle_back(line, &mut outs[master as usize]);
        self.crew.trickle(line, &mut outs[line as usize]);
        self.carry_all();
        assert_eq!(self.crew.desk.tally.received, before + 2);
    }

    fn carry(&mut self, from: usize) {
        let mut sent = std::mem::take(&mut self.outs[from]);
        for payload in messages(&mut self.receivers[from], &mut sent) {
            for delivery in self.relay.route(from.try_into().unwrap(), &payload) {
                let mut frame = delivery.frame();
                let out = &mut self.outs[delivery.to as usize];
                self.crew.receive(delivery.to, &mut frame, out).unwrap();
            }
        }
    }
}

/// The counts of many sessions through a relay with this fault, and the number of those that settled.
fn tally(fault: Fault) -> (MessageTally, usize) {
    let mut channel = Channel::new(fault, TERMS);
    let settled = (0..50).map(|_| channel.round()).sum();
    channel.crew.close_books();
    (channel.crew.desk.tally, settled)
}

#[test]
fn each_fault_of_a_relay_is_caught_by_its_name() {
    for (fault, least, settle) in [
        (Fault::Nothing, 0, 100..=100),
        (Fault::Loses, 21, 0..=99),
        (Fault::Duplicates, 21, 100..=100),
        (Fault::Reorders, 6, 0..=100),
        (Fault::Corrupts, 21, 0..=100),
        (Fault::Misroutes, 6, 0..=100),
    ] {
        let (tally, settled) = tally(fault);
        assert!(spoiled(fault, &tally) >= least, "{fault:?}: {tally:?}");
        assert!(settle.contains(&settled), "{fault:?}: {settled}");
        assert!(fault != Fault::Nothing || tally.sent == 1_000, "{tally:?}");
    }
}

#[test]
fn what_comes_twice_is_seen_after_its_session_ended() {
    let mut channel = Channel::new(Fault::Nothing, TERMS);
    let viewer = Viewer::new(0, 0);
    channel.open(1, Party::Viewer(viewer));
    let offer = channel.outs[1].clone();
    channel.carry(1);
    channel.crew.leave(1, Verdict::Broken);
    channel.outs[1] = offer;
    channel.receivers[1] = Receiver::new(Side::Server);
    channel.carry(1);
    assert_eq!(channel.crew.desk.tally.duplicated, 1);
}

#[test]
fn a_broken_connection_is_named_and_loses_nothing() {
    let mut channel = Channel::new(Fault::Nothing, TERMS);
    channel.open(1, Party::Viewer(Viewer::new(0, 0)));
    channel.crew.leave(1, Verdict::Broken);
    // The master leaves while a session waits: that it is not answered is not the service's loss.
    channel.open(2, Party::Viewer(Viewer::new(1, 0)));
    channel.crew.leave(0, Verdict::Broken);
    channel.crew.leave(2, Verdict::TimedOut);
    channel.crew.close_books();
    let desk = &mut channel.crew.desk;
    assert!(is_clean(&desk.tally));
    assert_eq!(desk.errors.kinds()["messages_of_broken_connections"], 2);
}

#[test]
fn messages_of_an_earlier_connection_are_no_fault() {
    let mut channel = Channel::new(Fault::Nothing, TERMS);
    channel.open(1, Party::Viewer(Viewer::new(0, 0)));
    let offer = channel.outs[1].clone();
    let Party::Viewer(mut viewer) = channel.crew.leave(1, Verdict::Broken) else {
        panic!("a viewer was there");
    };
    channel.crew.desk.now_ns = 5;
    viewer.restart(5);
    channel.outs[1].clear();
    channel.open(1, Party::Viewer(viewer));
    channel.outs[1].splice(0..0, offer);
    channel.carry(1);
    assert!(is_clean(&channel.crew.desk.tally));
    let found = channel.crew.desk.errors.kinds()["message_of_an_earlier_connection"];
    assert_eq!(found, 1);
    let Party::Viewer(viewer) = channel.crew.party(1) else {
        panic!("a viewer is there");
    };
    let found = (viewer.stage, viewer.to_viewer.sent());
    assert_eq!(found, (Stage::AwaitAnswer, 5));
}

/// The viewer's wait began before it sent that offer, and it is not open again yet: the master answers its next one.
#[test]
fn an_offer_that_comes_while_its_viewer_connects_again_is_no_fault() {
    let mut channel = Channel::new(Fault::Nothing, TERMS);
    channel.crew.desk.now_ns = 2;
    channel.open(1, Party::Viewer(Viewer::new(0, 0)));
    let Party::Viewer(mut viewer) = channel.crew.leave(1, Verdict::Broken) else {
        panic!("a viewer was there");
    };
    viewer.restart(0);
    channel.crew.seat(1, Party::Viewer(viewer), None);
    channel.carry(1);
    assert!(is_clean(&channel.crew.desk.tally));
    let found = channel.crew.desk.errors.kinds()["message_of_an_earlier_connection"];
    assert_eq!(found, 1);
    assert!(channel.outs[0].is_empty(), "the master does not answer it");
}

#[test]
fn candidates_trickle_one_by_one_each_way() {
    let terms = PartyTerms {
        trickle_ns: 1,
        ..TERMS
    };
    let mut channel = Channel::new(Fault::Nothing, terms);
    assert_eq!(channel.round(), 2);
    let tally = channel.crew.desk.tally;
    assert_eq!((tally.sent, tally.received, tally.lost), (20, 20, 0));
    assert!(!channel.crew.has_more(1) && channel.crew.master_line(1).is_none());
}

#[test]
fn an_absent_master_sends_its_candidates_when_it_returns() {
    let terms = PartyTerms {
        trickle_ns: 1,
        ..TERMS
    };
    let mut channel = Channel::new(Fault::Nothing, terms);
    let viewer = Viewer::new(0, 1);
    channel.crew.desk.now_ns = 1;
    channel.open(1, Party::Viewer(viewer));
    channel.carry_all();
    assert_eq!(channel.crew.answered(), Some(1));
    channel.crew.leave(0, Verdict::Broken);
    assert_eq!(channel.crew.master_line(1), None);
    for _ in 0..9 {
        assert!(channel.crew.has_more(1), "the master has said none");
        let mut out = Vec::new();
        channel.crew.trickle(1, &mut out);
    }
    let Party::Viewer(viewer) = channel.crew.party(1) else {
        panic!("a viewer is there");
    };
    assert_eq!((viewer.to_master.sent(), viewer.to_viewer.sent()), (5, 1));
}

#[test]
fn sessions_without_and_with_the_most_candidates_settle() {
    for candidates in [0, CANDIDATES_MAX] {
        let mut channel = Channel::new(
            Fault::Nothing,
            PartyTerms {
                candidates,
                ..TERMS
            },
        );
        assert_eq!(channel.round(), 2, "{candidates}");
        assert_eq!(
            channel.crew.desk.tally.received,
            u64::from(candidates + 1) * 4
        );
    }
}
