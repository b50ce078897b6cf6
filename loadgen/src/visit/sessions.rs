//! The logic of sessions: messages of viewers and their masters, trickled candidates, and messages that are missing
//! when a session ends.

use crate::peer::Arrival;
use crate::visit::crew::{Crew, Party, Person, Verdict};
use crate::visit::messages::{Letter, MASTER, Message, MessageDesk};
use crate::visit::{Stage, Viewer};
use codec::signal::Action;

impl Crew {
    pub(crate) fn close_book(&mut self, viewer: &Viewer, verdict: Verdict) {
        let master = self
            .masters
            .get(self.share.index(self.channel_of(viewer.session)));
        let master_stood = master
            .copied()
            .flatten()
            .is_some_and(|(since_ns, _)| since_ns <= viewer.since_ns);
        let missing = viewer.missing();
        match verdict {
            Verdict::Completed | Verdict::TimedOut if master_stood => {
                self.desk.tally.lost += missing
            }
            Verdict::Completed | Verdict::TimedOut | Verdict::Broken => {
                self.desk
                    .errors
                    .count_many("messages_of_broken_connections", missing);
            }
        }
        if self.ended.len() >= ENDED_MAX {
            self.ended.pop_front();
        }
        self.ended.push_back((viewer.session, viewer.to_master));
    }

    pub(crate) fn at_master(&mut self, channel: u32, letter: Letter, out: &mut Vec<u8>) {
        let stamp = letter.stamp;
        let session = stamp.from.checked_sub(1).filter(|&session| {
            let own = self.channel_of(session) == channel && stamp.channel == channel;
            own && stamp.to == MASTER && letter.sender == Some(stamp.from)
        });
        let Some(session) = session else {
            self.desk.tally.misrouted += 1;
            return;
        };
        let line = self.lines.get(&session).copied();
        let candidates = self.desk.terms.candidates;
        let Some(line) = line else {
            return self.of_ended(session, stamp.sequence);
        };
        let viewer = viewer_of(&mut self.people, &mut self.desk, line, stamp.sent_ns);
        let Some(viewer) = viewer else {
            return;
        };
        let arrival = viewer.to_master.arrive(stamp.sequence);
        if stamp.sequence == 0 && arrival != Arrival::Again {
            let at_once = if self.desk.terms.trickle_ns == 0 {
                candidates
            } else {
                0
            };
            for _ in 0..=at_once {
                viewer.write_to_viewer(&mut self.desk, out);
            }
        }
        self.count(line, arrival, stamp.sent_ns);
    }

    pub(crate) fn at_viewer(&mut self, line: u32, session: u32, letter: Letter, out: &mut Vec<u8>) {
        let stamp = letter.stamp;
        let meant = stamp.to == session + 1 && stamp.from == MASTER && letter.sender.is_none();
        if !meant || stamp.channel != self.channel_of(session) {
            self.desk.tally.misrouted += 1;
            return;
        }
        let candidates = self.desk.terms.candidates;
        let viewer = viewer_of(&mut self.people, &mut self.desk, line, stamp.sent_ns);
        let Some(viewer) = viewer else {
            return;
        };
        let arrival = viewer.to_viewer.arrive(stamp.sequence);
        if stamp.sequence == 0 && viewer.stage == Stage::AwaitAnswer {
            viewer.stage = Stage::AwaitRest;
            let now_ns = self.desk.now_ns;
            if std::mem::take(&mut viewer.returns) {
                self.desk.recovery.viewer_answered(stamp.channel, now_ns);
            }
            let latencies = &mut self.desk.latencies;
            latencies
                .offer_answer
                .record_ns(now_ns.saturating_sub(viewer.since_ns));
            let setup_ns = now_ns.saturating_sub(viewer.due_ns);
            latencies.setup.record_ns(setup_ns);
            self.desk.recent.record_ns(setup_ns);
            let trickles = self.desk.terms.trickle_ns > 0;
            if trickles && candidates > 0 {
                self.answered.push(line);
            }
            for _ in 0..if trickles { 0 } else { candidates } {
                viewer.write_to_master(&mut self.desk, out);
            }
        }
        self.count(line, arrival, stamp.sent_ns);
    }

    fn count(&mut self, line: u32, arrival: Arrival, sent_ns: u64) {
        if !self.desk.count_arrival(arrival) {
            return;
        }
        let span_ns = self.desk.now_ns.saturating_sub(sent_ns);
        self.desk.latencies.message.record_ns(span_ns);
        let candidates = self.desk.terms.candidates;
        if let Some(person) = self.people.get_mut(line as usize)
            && let Party::Viewer(viewer) = &mut person.party
            && matches!(viewer.stage, Stage::AwaitAnswer | Stage::AwaitRest)
            && viewer.is_complete(candidates)
        {
            viewer.stage = Stage::Hold;
            self.settled.push(line);
        }
    }
}

/// Returns the viewer on a connection. Returns `None` if the party there is not a viewer. Also returns `None` if the
/// viewer is not connected or the message sent at `sent_ns` is older than the connection; the message then counts as
/// one from an earlier connection.
fn viewer_of<'a>(
    people: &'a mut [Person],
    desk: &mut MessageDesk,
    line: u32,
    sent_ns: u64,
) -> Option<&'a mut Viewer> {
    let Party::Viewer(viewer) = &mut people.get_mut(line as usize)?.party else {
        return None;
    };
    if sent_ns < viewer.since_ns || !viewer.stage.is_open() {
        desk.errors.count("message_of_an_earlier_connection");
        return None;
    }
    Some(viewer)
}

impl Viewer {
    /// Appends the next message from the viewer to its master, unless all have been composed: first the offer, then
    /// the candidates.
    pub(crate) fn write_to_master(&mut self, desk: &mut MessageDesk, out: &mut Vec<u8>) {
        let number = self.to_master.compose();
        write(desk, self.session, number, Action::SdpOffer, out);
    }

    /// Appends the next message from the master to the viewer, unless all have been composed: first the answer, then
    /// the candidates.
    fn write_to_viewer(&mut self, desk: &mut MessageDesk, out: &mut Vec<u8>) {
        let number = self.to_viewer.compose();
        write(desk, self.session, number, Action::SdpAnswer, out);
    }
}

fn write(
    desk: &mut MessageDesk,
    session: u32,
    number: Option<u32>,
    first: Action,
    out: &mut Vec<u8>,
) {
    let Some(number) = number else {
        return;
    };
    let (from, to) = match first {
        Action::SdpAnswer => (MASTER, session + 1),
        Action::SdpOffer | Action::IceCandidate => (session + 1, MASTER),
    };
    let message = Message {
        channel: session % desk.terms.channels,
        from,
        to,
        sequence: u64::from(number),
        action: match number {
            0 => first,
            _ => Action::IceCandidate,
        },
        since_ns: desk.now_ns,
    };
    desk.write(message, out);
}

/// Maximum number of ended sessions whose messages stay on record. Each session takes 12 bytes.
const ENDED_MAX: usize = 4096;

impl Crew {
    /// Returns a connection whose session was answered since the last call and still has candidates to send.
    pub fn answered(&mut self) -> Option<u32> {
        self.answered.pop()
    }

    /// Appends the next candidate from the viewer on a connection to its master.
    pub fn trickle(&mut self, line: u32, out: &mut Vec<u8>) {
        let desk = &mut self.desk;
        if let Some(viewer) = trickling(&mut self.people, line, desk.terms.candidates)
            && viewer.to_master.sent() <= u64::from(desk.terms.candidates)
        {
            viewer.write_to_master(desk, out);
        }
    }

    /// Appends the next candidate from the master to the viewer on `line`. The caller must send it on
    /// [`Crew::master_line`].
    pub fn trickle_back(&mut self, line: u32, out: &mut Vec<u8>) {
        let desk = &mut self.desk;
        if let Some(viewer) = trickling(&mut self.people, line, desk.terms.candidates)
            && viewer.to_viewer.sent() <= u64::from(desk.terms.candidates)
        {
            viewer.write_to_viewer(desk, out);
        }
    }

    /// Returns the connection of the master that serves the session on `line`, if it is open.
    #[must_use]
    pub fn master_line(&self, line: u32) -> Option<u32> {
        let Party::Viewer(viewer) = self.party(line) else {
            return None;
        };
        let place = self.share.index(self.channel_of(viewer.session));
        self.masters.get(place)?.map(|(_, line)| line)
    }

    /// Returns whether the session on a connection still has candidates to send.
    pub fn has_more(&mut self, line: u32) -> bool {
        trickling(&mut self.people, line, self.desk.terms.candidates).is_some()
    }
}

fn trickling(people: &mut [Person], line: u32, candidates: u32) -> Option<&mut Viewer> {
    let Party::Viewer(viewer) = &mut people.get_mut(line as usize)?.party else {
        return None;
    };
    let left = |sent: u64| sent <= u64::from(candidates);
    let is_left = left(viewer.to_master.sent()) || left(viewer.to_viewer.sent());
    (is_left && viewer.stage == Stage::AwaitRest).then_some(viewer)
}
