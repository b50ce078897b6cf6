//! Event counters. Each shard has its own set of plain integers, and a scrape adds them up.

mod access;
mod histogram;
mod purpose;

use crate::check::ByCheck;
use crate::journal::{ConnectionEnd, END_REASONS, EndReason, UNACCEPTED, Unaccepted};
use access::status_index;
pub use access::{
    AUTH_FAILURES, AuthFailure, PLAYER_OUTCOMES, PlayerOutcome, REQUESTED, Requested, STATUS,
    STATUSES, UPGRADE_OUTCOMES, UpgradeOutcome, sign_ins,
};
use codec::signal::{Action, Role};
pub use histogram::{BOUNDS, BUCKETS, EXEMPLARS, Exemplar, Exemplars, Histogram};
pub use purpose::{PURPOSES, Purpose};
use strum::{EnumCount, IntoStaticStr, VariantNames};

/// The kind of a received message in the counters: its action, or `unknown` if the message could not be parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A message with a known action.
    Known(Action),
    /// A message whose action could not be parsed.
    Unknown,
}

impl Kind {
    /// Labels in metrics, in the order of [`Kind::index`].
    pub const LABELS: [&'static str; KINDS] =
        ["SDP_OFFER", "SDP_ANSWER", "ICE_CANDIDATE", "unknown"];

    /// Returns the action, if it is known.
    #[must_use]
    pub const fn action(self) -> Option<Action> {
        match self {
            Self::Known(action) => Some(action),
            Self::Unknown => None,
        }
    }

    /// Returns the index of the kind in tables of counters.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Known(Action::SdpOffer) => 0,
            Self::Known(Action::SdpAnswer) => 1,
            Self::Known(Action::IceCandidate) => 2,
            Self::Unknown => 3,
        }
    }
}

/// The number of kinds.
pub const KINDS: usize = 4;

/// The outcome of a received message. Each message has exactly one outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumCount, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum Outcome {
    /// The recipient's TCP stack acknowledged the message, or an Alexa caller received it.
    Delivered,
    /// The message expired before its recipient connected.
    Expired,
    /// The message was replaced by a newer one, or was dropped because the list of candidates was full.
    Overwritten,
    /// The message was dropped because its channel was deleted, the Alexa caller disconnected, the answer came too late
    /// for its Alexa call, or the server is shutting down. Also used if the message was held back until a newer
    /// connection from its sender sent a message.
    Withdrawn,
    /// The message was refused because it violated a rule.
    Refused,
    /// The message was refused because its sender exceeded a rate limit.
    Throttled,
    /// The message was refused because the queue was full.
    Overflow,
    /// The message was evicted from its queue to make room for a channel or account that uses less. Also used if the
    /// recipient that has just connected does not accept messages of this length.
    Evicted,
    /// The kernel accepted the message, but the message was dropped in favor of newer ones before it was acknowledged.
    DeliveredUnproved,
}

impl Outcome {
    /// Labels in the order of [`Outcome::index`].
    pub const LABELS: &'static [&'static str] = Self::VARIANTS;

    /// Returns the outcome of a message that was refused for `reason`.
    #[must_use]
    pub const fn of(reason: Unaccepted) -> Self {
        match reason {
            Unaccepted::TooLong
            | Unaccepted::NoPayload
            | Unaccepted::NotBase64
            | Unaccepted::NotJson
            | Unaccepted::Malformed
            | Unaccepted::UnknownAction
            | Unaccepted::UnknownRecipient
            | Unaccepted::MasterOffer
            | Unaccepted::FaultInjected
            | Unaccepted::TooLongForRecipient => Self::Refused,
            Unaccepted::TooFast => Self::Throttled,
            Unaccepted::NoRoom => Self::Overflow,
        }
    }

    /// Returns the name used in metrics, on pages and in the log.
    #[must_use]
    pub fn label(self) -> &'static str {
        self.into()
    }

    /// Returns the index of the outcome in tables of counters.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// The number of outcomes.
pub const OUTCOMES: usize = Outcome::COUNT;

/// The role of a connection in the gauge `heliograph_connections{role}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumCount, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum ConnectionRole {
    /// The connection is still in its TLS handshake.
    Handshake,
    /// The connection serves HTTP requests.
    Http,
    /// The connection is the current master of a channel.
    Master,
    /// The connection is a viewer's current connection.
    Viewer,
    /// The connection was superseded by a newer one and is still open.
    Superseded,
}

/// The number of roles.
pub const CONNECTION_ROLES: usize = ConnectionRole::COUNT;

impl ConnectionRole {
    /// Labels in the order of [`ConnectionRole::index`].
    pub const LABELS: &'static [&'static str] = Self::VARIANTS;

    /// Returns the index of the role in tables of gauges.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// The counters of one shard, or their sum over all shards. Gauges that can be computed from a table are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages received, by kind.
    pub received: [u64; KINDS],
    /// Messages with an outcome, by kind and outcome.
    pub outcomes: [[u64; OUTCOMES]; KINDS],
    /// Refused messages, by reason. The counts of an outcome's reasons add up to that outcome's count in `outcomes`.
    pub unaccepted: [u64; UNACCEPTED],
    /// Messages queued for recipients that are not connected.
    pub pending_messages: u64,
    /// Bytes of messages queued for recipients that are not connected.
    pub pending_bytes: u64,
    /// Messages that the kernel has fully accepted but the recipient has not acknowledged.
    pub written_messages: u64,
    /// Bytes of messages that have not been acknowledged.
    pub unconfirmed_bytes: u64,
    /// Messages that were written to a connection and later returned to their queue.
    pub returned: u64,
    /// Returned messages that turned out to have been acknowledged.
    pub repeated: u64,
    /// Messages in outboxes that the kernel has not fully accepted.
    pub outbox_messages: u64,
    /// Bytes of messages in outboxes.
    pub outbox_bytes: u64,
    /// Bytes of control frames and HTTP responses in outboxes.
    pub control_bytes: u64,
    /// Alexa calls waiting for an answer.
    pub waiting_calls: u64,
    /// Upgrades by role and outcome.
    pub upgrades: [[u64; UPGRADE_OUTCOMES]; ROLES.len()],
    /// HTTP requests by purpose and status. Statuses are in the order of [`STATUS`].
    pub requests: [[u64; STATUSES]; REQUESTED],
    /// Requests refused because of their signature or by a policy.
    pub auth_failures: [u64; AUTH_FAILURES],
    /// Refusals by check.
    pub refusals: ByCheck,
    /// For each length in [`LARGE_FRAMES`], the number of delivered frames that were longer.
    pub large_frames: [u64; LARGE_FRAMES.len()],
    /// Time from reading a message until the kernel accepted its last byte. Excludes messages that were returned, or
    /// queued for a recipient that was not connected.
    pub delivery: Histogram,
    /// Time from a viewer's admission to the delivery of its first SDP_ANSWER.
    pub session_setup: Histogram,
    /// WebSocket connections that have ended, by reason.
    pub connection_ends: [u64; END_REASONS],
    /// Outcomes of sessions, superseded connections and short connections.
    pub sessions: Sessions,
    /// Log entries (mostly refusals) that were dropped because of the log's rate limits.
    pub log_suppressed: u64,
    /// Changes that were refused because the log had no space for their audit entry.
    pub audit_refused: u64,
    /// Requests from players, by outcome.
    pub players: [u64; PLAYER_OUTCOMES],
    /// Time from a player's request to its answer.
    pub player_setup: Histogram,
    /// Pattern matching steps taken to evaluate policies; see [`codec::policy::Policy::decide`].
    pub policy_steps: u64,
    /// Bytes hashed to verify signatures; see [`codec::sigv4::Verifier::hashed_bytes`].
    pub hashed_bytes: u64,
}

/// Frame lengths, including headers, that overflow the buffers of old C SDK builds. Source: the metrics contract.
pub const LARGE_FRAMES: [usize; 2] = [10_240, 18_750];

impl Counters {
    /// Counts a received message.
    pub fn receive(&mut self, kind: Kind) {
        count(&mut self.received, kind.index(), 1);
    }

    /// Counts the outcome of a message.
    pub fn end(&mut self, kind: Kind, outcome: Outcome) {
        let row = self.outcomes.get_mut(kind.index());
        if let Some(count) = row.and_then(|row| row.get_mut(outcome.index())) {
            *count += 1;
        }
    }

    /// Counts a message that was refused for `reason`.
    pub fn unaccepted(&mut self, kind: Kind, reason: Unaccepted) {
        self.end(kind, Outcome::of(reason));
        count(&mut self.unaccepted, reason.index(), 1);
    }

    /// Counts the response to an upgrade request.
    pub fn upgrade(&mut self, role: Role, outcome: UpgradeOutcome) {
        let row = self.upgrades.get_mut(place(role));
        if let Some(count) = row.and_then(|row| row.get_mut(outcome.index())) {
            *count += 1;
        }
    }

    /// Counts an HTTP request that was answered with `status`.
    pub fn request(&mut self, requested: Requested, status: u16) {
        let row = self.requests.get_mut(requested.index());
        if let Some(count) = row.and_then(|row| row.get_mut(status_index(status))) {
            *count += 1;
        }
    }

    /// Counts an authentication or authorization failure.
    pub fn auth_failure(&mut self, failure: AuthFailure) {
        count(&mut self.auth_failures, failure.index(), 1);
    }

    /// Counts a WebSocket connection that has ended.
    pub fn connection_end(&mut self, reason: EndReason) {
        count(&mut self.connection_ends, reason.index(), 1);
    }

    /// Counts a delivered frame of `bytes` bytes.
    pub fn frame(&mut self, bytes: usize) {
        for (count, over) in self.large_frames.iter_mut().zip(LARGE_FRAMES) {
            *count += u64::from(bytes > over);
        }
    }

    /// Adds the counters of another shard.
    pub fn add(&mut self, other: &Self) {
        add_all(&mut self.received, &other.received);
        add_all(
            self.outcomes.as_flattened_mut(),
            other.outcomes.as_flattened(),
        );
        add_all(&mut self.unaccepted, &other.unaccepted);
        add_all(
            self.upgrades.as_flattened_mut(),
            other.upgrades.as_flattened(),
        );
        add_all(
            self.requests.as_flattened_mut(),
            other.requests.as_flattened(),
        );
        add_all(&mut self.auth_failures, &other.auth_failures);
        add_all(&mut self.large_frames, &other.large_frames);
        self.refusals.add(&other.refusals);
        add_all(&mut self.connection_ends, &other.connection_ends);
        self.sessions.add(&other.sessions);
        self.delivery.add(&other.delivery);
        self.session_setup.add(&other.session_setup);
        add_all(&mut self.players, &other.players);
        self.player_setup.add(&other.player_setup);
        self.log_suppressed += other.log_suppressed;
        self.audit_refused += other.audit_refused;
        self.policy_steps += other.policy_steps;
        self.hashed_bytes += other.hashed_bytes;
        self.pending_messages += other.pending_messages;
        self.pending_bytes += other.pending_bytes;
        self.written_messages += other.written_messages;
        self.unconfirmed_bytes += other.unconfirmed_bytes;
        self.returned += other.returned;
        self.repeated += other.repeated;
        self.outbox_messages += other.outbox_messages;
        self.outbox_bytes += other.outbox_bytes;
        self.control_bytes += other.control_bytes;
        self.waiting_calls += other.waiting_calls;
    }

    /// Returns the number of received messages that have no outcome and are not included in a gauge either. Must always
    /// be 0.
    #[must_use]
    pub fn unaccounted(&self) -> i128 {
        let received: u64 = self.received.iter().sum();
        let ended: u64 = self.outcomes.iter().flatten().sum();
        i128::from(received)
            - i128::from(ended)
            - i128::from(self.pending_messages)
            - i128::from(self.outbox_messages)
            - i128::from(self.written_messages)
    }

    /// Returns `true` if every refused message has a reason, that is, if the counts of each outcome's reasons add up to
    /// the count of the outcome.
    #[must_use]
    pub fn all_have_their_reason(&self) -> bool {
        [Outcome::Refused, Outcome::Throttled, Outcome::Overflow]
            .into_iter()
            .all(|outcome| {
                let ended = self
                    .outcomes
                    .iter()
                    .filter_map(|row| row.get(outcome.index()));
                let reasons = Unaccepted::ALL.iter().zip(self.unaccepted);
                let of_outcome = reasons.filter(|(reason, _)| Outcome::of(**reason) == outcome);
                ended.sum::<u64>() == of_outcome.map(|(_, count)| count).sum::<u64>()
            })
    }
}

fn add_all(sums: &mut [u64], ones: &[u64]) {
    for (sum, one) in sums.iter_mut().zip(ones) {
        *sum += one;
    }
}

fn count(counters: &mut [u64], index: usize, many: u64) {
    if let Some(count) = counters.get_mut(index) {
        *count += many;
    }
}

// Session counters. They reveal masters that do not answer, which the number of open connections does not show.

/// The outcome of a viewer's connection, known once the connection ends. Each connection has exactly one outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumCount, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum SessionOutcome {
    /// The viewer received an answer.
    Answered,
    /// The viewer sent an offer, but disconnected or went silent before it received an answer.
    Unanswered,
    /// The viewer did not send an offer.
    NoOffer,
    /// The viewer sent an offer, but the broker closed the connection before an answer arrived.
    CutShort,
}

const SESSION_OUTCOMES: usize = SessionOutcome::COUNT;

impl SessionOutcome {
    /// Labels in the order of [`Sessions::outcomes`].
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

/// The labels of the roles, in the order of their counters.
pub const ROLES: [&str; 2] = ["master", "viewer"];

/// The session counters of one shard, or their sum over all shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sessions {
    /// Viewer connections that have ended, by outcome.
    pub outcomes: [u64; SESSION_OUTCOMES],
    /// Superseded connections, by role.
    pub superseded: [u64; ROLES.len()],
    /// Connections that ended within [`SHORT_MS`] of their admission, by role.
    pub short: [u64; ROLES.len()],
}

/// Maximum duration of a short connection in milliseconds. Short connections are normal for viewers that have received
/// an answer, but not for masters.
pub const SHORT_MS: u64 = 10_000;

impl Sessions {
    /// Counts a connection that has ended.
    pub fn ended(&mut self, end: &ConnectionEnd) {
        if end.role == Role::Viewer {
            self.outcomes[SessionOutcome::of(end) as usize] += 1;
        }
        if end.duration_ms <= SHORT_MS {
            self.short[place(end.role)] += 1;
        }
    }

    /// Counts a superseded connection in `role`.
    pub fn superseded(&mut self, role: Role) {
        self.superseded[place(role)] += 1;
    }

    /// Adds the counters of another shard.
    pub fn add(&mut self, other: &Self) {
        add_all(&mut self.outcomes, &other.outcomes);
        add_all(&mut self.superseded, &other.superseded);
        add_all(&mut self.short, &other.short);
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
    fn every_kind_and_outcome_has_its_own_counter_and_label() {
        let mut counters = Counters::default();
        counters.receive(Kind::Unknown);
        counters.unaccepted(Kind::Unknown, Unaccepted::NotJson);
        assert_eq!(counters.received[3], 1);
        assert!(counters.all_have_their_reason());
        assert_eq!(counters.outcomes[3][4], 1);
        assert_eq!(counters.unaccounted(), 0);
        let found = Kind::LABELS[Kind::Known(Action::IceCandidate).index()];
        assert_eq!(found, Action::IceCandidate.as_str());
        assert_eq!(Outcome::LABELS[Outcome::Overflow.index()], "overflow");
        counters.end(Kind::Unknown, Outcome::Overflow);
        assert!(!counters.all_have_their_reason());
    }

    #[test]
    fn sums_add_each_field() {
        let mut one = Counters {
            pending_messages: 1,
            outbox_messages: 2,
            log_suppressed: 3,
            audit_refused: 4,
            policy_steps: 5,
            hashed_bytes: 6,
            pending_bytes: 7,
            written_messages: 8,
            unconfirmed_bytes: 9,
            returned: 10,
            repeated: 11,
            outbox_bytes: 12,
            control_bytes: 13,
            waiting_calls: 14,
            ..Counters::default()
        };
        one.receive(Kind::Known(Action::SdpOffer));
        one.upgrade(Role::Viewer, UpgradeOutcome::Forbidden);
        one.request(Requested::Unknown, 404);
        one.auth_failure(AuthFailure::Policy);
        one.unaccepted(Kind::Unknown, Unaccepted::TooFast);
        one.connection_end(EndReason::Drain);
        one.frame(10_241);
        one.frame(18_751);
        one.delivery.observe(7, 1);
        let mut sum = one.clone();
        sum.add(&one);
        let found = (sum.received[0], sum.pending_messages, sum.outbox_messages);
        assert_eq!(found, (2, 2, 4));
        let found = [sum.log_suppressed, sum.audit_refused, sum.policy_steps];
        assert_eq!(found, [6, 8, 10]);
        let found = [sum.hashed_bytes, sum.pending_bytes, sum.written_messages];
        assert_eq!(found, [12, 14, 16]);
        let found = [sum.unconfirmed_bytes, sum.returned, sum.repeated];
        assert_eq!(found, [18, 20, 22]);
        let found = [sum.outbox_bytes, sum.control_bytes, sum.waiting_calls];
        assert_eq!(found, [24, 26, 28]);
        assert_eq!(sum.unaccounted(), -22);
        assert_eq!(sum.unaccepted[Unaccepted::TooFast.index()], 2);
        assert_eq!(sum.upgrades[1][3], 2);
        assert_eq!(sum.requests[REQUESTED - 1][5], 2);
        assert_eq!(sum.auth_failures[AUTH_FAILURES - 1], 2);
        assert_eq!(sum.connection_ends[EndReason::Drain.index()], 2);
        assert_eq!(sum.large_frames, [4, 2]);
        assert_eq!((sum.delivery.count(), sum.session_setup.count()), (2, 0));
    }
}

#[cfg(test)]
mod sessions_tests {
    use super::*;

    #[test]
    fn each_end_has_one_outcome() {
        let end = |role, offered_ms, answered_ms, reason, duration_ms| ConnectionEnd {
            role,
            client_id: None,
            channel: None,
            account: crate::id::Account(0),
            remote: ([127, 0, 0, 1], 9).into(),
            duration_ms,
            messages_in: 0,
            messages_out: 0,
            returned: 0,
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
        assert_eq!(SessionOutcome::LABELS[SESSION_OUTCOMES - 1], "cut_short");
    }
}
