//! Counters of sessions: answered or not, their places taken over, short ones. A service whose connections are all well
//! may still be one whose masters are mute.

use crate::journal::{ConnectionEnd, EndReason};
use codec::signal::Role;
use strum::{EnumCount, VariantNames};

/// The outcome of a viewer's connection. Exactly one of these at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumCount, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum SessionOutcome {
    /// An answer was handed to it.
    Answered,
    /// It offered, and left or fell silent without an answer.
    Unanswered,
    /// It sent no offer.
    NoOffer,
    /// It offered, and the broker ended it before an answer.
    CutShort,
}

/// The number of outcomes.
const OUTCOMES: usize = SessionOutcome::COUNT;

impl SessionOutcome {
    /// The labels in the order of [`Sessions::outcomes`].
    pub const LABELS: &'static [&'static str] = Self::VARIANTS;

    fn of(end: &ConnectionEnd) -> Self {
        let by_itself = matches!(
            end.reason,
            EndReason::PeerClosed
                | EndReason::PeerGone
                | EndReason::Unanswered
                | EndReason::Idle
                | EndReason::Age
        );
        match (end.offered_ms, end.answered_ms) {
            (_, Some(_)) => Self::Answered,
            (None, None) => Self::NoOffer,
            (Some(_), None) if by_itself => Self::Unanswered,
            (Some(_), None) => Self::CutShort,
        }
    }
}

/// The roles by which connections are counted, in the order of their counters.
pub const ROLES: [&str; 2] = ["master", "viewer"];

/// The counters of one shard's sessions, and their sum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sessions {
    /// Connections of viewers that ended, by outcome.
    pub outcomes: [u64; OUTCOMES],
    /// Connections whose place a newer one took, by role.
    pub superseded: [u64; ROLES.len()],
    /// Connections that ended within [`SHORT_MS`] of their admission, by role.
    pub short: [u64; ROLES.len()],
}

/// Milliseconds that a short connection lasts at most. A viewer's may be, once it is answered; a master's is not meant
/// to be.
pub const SHORT_MS: u64 = 10_000;

impl Sessions {
    /// A connection ended.
    pub fn ended(&mut self, end: &ConnectionEnd) {
        if end.role == Role::Viewer {
            self.outcomes[SessionOutcome::of(end) as usize] += 1;
        }
        if end.duration_ms <= SHORT_MS {
            self.short[place(end.role)] += 1;
        }
    }

    /// A newer connection took the place of one with this role.
    pub fn superseded(&mut self, role: Role) {
        self.superseded[place(role)] += 1;
    }

    /// Adds another shard's counters to these.
    pub fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.outcomes[..], &other.outcomes[..]),
            (&mut self.superseded, &other.superseded),
            (&mut self.short, &other.short),
        ];
        for (sums, others) in pairs {
            sums.iter_mut()
                .zip(others)
                .for_each(|(sum, one)| *sum += one);
        }
    }
}

fn place(role: Role) -> usize {
    match role {
        Role::Master => 0,
        Role::Viewer => 1,
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn each_end_has_one_outcome() {
        let end = |role, offered_ms, answered_ms, reason, duration_ms| ConnectionEnd {
            role,
            client_id: None,
            channel: None,
            remote: ([127, 0, 0, 1], 9).into(),
            duration_ms,
            messages_in: 0,
            messages_out: 0,
            offered_ms,
            answered_ms,
            reason,
            refused_by: None,
        };
        let mut sessions = Sessions::default();
        let (left, drained) = (EndReason::PeerGone, EndReason::Drain);
        for (offered, answered, reason) in [
            (Some(1), Some(2), left),
            (None, Some(2), drained),
            (Some(1), None, left),
            (None, None, left),
            (Some(1), None, drained),
        ] {
            sessions.ended(&end(Role::Viewer, offered, answered, reason, SHORT_MS + 1));
        }
        sessions.ended(&end(Role::Master, None, None, left, SHORT_MS));
        sessions.superseded(Role::Viewer);
        assert_eq!(sessions.outcomes, [2, 1, 1, 1]);
        assert_eq!((sessions.short, sessions.superseded), ([1, 0], [0, 1]));
        let mut sum = sessions.clone();
        sum.add(&sessions);
        assert_eq!(sum.outcomes, [4, 2, 2, 2]);
        assert_eq!((sum.short, sum.superseded), ([2, 0], [0, 2]));
        assert_eq!(SessionOutcome::LABELS[OUTCOMES - 1], "cut_short");
    }
}
