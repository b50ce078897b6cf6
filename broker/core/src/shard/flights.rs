//! Messages delivered in one turn, until its sends are over and the clock is read: then their durations are counted.
//!
//! All messages of one read were accepted at the same moment, so a few pairs of moment and number stand for a whole
//! turn.

use super::books::Books;
use super::directory::Directory;
use super::sockets::Sockets;
use super::{alexa, backlog, leave};
use crate::event::{Histogram, Kind, Outcome};
use crate::id::SessionKey;
use crate::session::{NEVER, State};
use crate::time::Moment;
use codec::signal::Action;

/// The oldest `bytes` of a session were handed to the kernel: messages whose last byte was among them are delivered.
pub(super) fn sent(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    key: SessionKey,
    bytes: usize,
    at: Moment,
) {
    let Some(session) = sockets.sessions.get_mut(key) else {
        return;
    };
    let counters = &mut books.counters;
    let mut offers = Vec::new();
    let had_messages = session.outbox.has_messages();
    let (mut messages, mut answers) = (0, false);
    let flights = &mut books.delivery_times;
    let gone = session
        .outbox
        .sent(&mut sockets.scratch.spares, bytes, |mark| {
            let launch = &mark.launch;
            if launch.counted {
                counters.outbox_messages -= 1;
                counters.end(Kind::Known(launch.action), Outcome::Delivered);
            }
            if launch.call {
                offers.push(launch.order);
            }
            counters.frame(mark.end - mark.begin);
            if let Some(accepted_us) = launch.accepted_us {
                flights.land(accepted_us, at, &mut counters.delivery);
            }
            messages += 1;
            answers |= launch.action == Action::SdpAnswer;
        });
    if let Some(tally) = session.tally_mut().filter(|_| messages > 0) {
        tally.messages_out = tally.messages_out.saturating_add(messages);
    }
    if answers && let Some(ms) = session.open_mut().and_then(|ws| ws.first_answer(at.now)) {
        counters.session_setup.observe(ms * 1000, 1);
    }
    session.dirty = !session.outbox.unsent().is_empty() && session.dirty;
    counters.outbox_bytes = counters.outbox_bytes.saturating_sub(gone.messages as u64);
    counters.control_bytes = counters.control_bytes.saturating_sub(gone.control as u64);
    let answer_ms = sockets.settings.timeouts.answer_ms;
    let (waits, left) = (session.answers_wait(), session.outbox.bytes());
    if let State::Http(http) = &mut session.state {
        http.answer_due = if left == 0 {
            NEVER
        } else {
            at.now.after(answer_ms)
        };
        if !waits && !http.buffer.is_empty() {
            sockets.turns.answered.push_back(key);
        }
    }
    let slotless = session.open().is_none_or(|ws| ws.superseded);
    let speaks_http = session.open().is_none();
    let cut = if session.cut { bytes } else { 0 };
    let released = had_messages && slotless && !session.outbox.has_messages();
    sockets.cut_shrinks(cut);
    backlog::weigh(sockets, directory, key);
    if speaks_http {
        sockets.charge(key);
    }
    for order in offers {
        alexa::offer_delivered(sockets, directory, books, key, order);
    }
    if released {
        leave::release_slot(sockets, directory, books, key, at);
    }
}

/// Deliveries of one turn by the moment at which they were accepted.
#[derive(Debug, Default)]
pub(super) struct Flights(Vec<(u32, u64)>);

impl Flights {
    /// A message accepted at `accepted_us` was handed over. When there is no room, `at` must do as the moment of it.
    pub(super) fn land(&mut self, accepted_us: u32, at: Moment, into: &mut Histogram) {
        match self.0.last_mut() {
            Some((moment, messages)) if *moment == accepted_us => *messages += 1,
            Some(_) | None => {
                if self.0.len() == FLIGHTS_MAX {
                    self.land_all(at, into);
                }
                self.0.push((accepted_us, 1));
            }
        }
    }

    /// All sends are over at `at`.
    pub(super) fn land_all(&mut self, at: Moment, into: &mut Histogram) {
        for (accepted_us, messages) in self.0.drain(..) {
            into.observe(u64::from(at.micros.wrapping_sub(accepted_us)), messages);
        }
    }
}

/// Different moments of acceptance among the deliveries of one turn: each costs 16 bytes of a buffer that stays.
const FLIGHTS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u32) -> Moment {
        Moment {
            micros,
            ..Moment::default()
        }
    }

    #[test]
    fn deliveries_are_measured_when_the_sends_are_over_across_the_wrap_of_the_clock() {
        let (mut flights, mut into) = (Flights::default(), Histogram::default());
        for _ in 0..3 {
            flights.land(u32::MAX - 9, at(u32::MAX), &mut into);
        }
        flights.land(5, at(5), &mut into);
        assert_eq!(into.count(), 0);
        flights.land_all(at(30), &mut into);
        assert_eq!((into.count(), into.sum_us), (4, 3 * 40 + 25));
        flights.land_all(at(60), &mut into);
        assert_eq!(into.count(), 4, "each once");
    }

    #[test]
    fn a_machine_that_is_never_told_of_a_flush_keeps_a_bounded_number() {
        let (mut flights, mut into) = (Flights::default(), Histogram::default());
        for moment in 0..1000 {
            flights.land(moment, at(moment), &mut into);
        }
        assert!(flights.0.len() <= FLIGHTS_MAX);
        assert_eq!(into.count() + flights.0.len() as u64, 1000);
    }
}
