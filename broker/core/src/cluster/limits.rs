//! Limits and time spans of the cluster, some of which are fractions of a lease. Time spans are in milliseconds of the
//! node's own monotonic clock.

/// Version of everything exchanged between the nodes of a cluster: etcd keys, messages, links. Incremented with each
/// change that the previous version would not understand. Nodes with adjacent versions can share a cluster.
///
/// Version 7 replaced one connection per client with links. Versions 2, 4 and 6 were never released, so versions 1, 3
/// and 5 have no adjacent version and refuse each other.
///
/// Test builds take the number of an adjacent version, one digit, from `HELIOGRAPH_TEST_INNER_VERSION`; see
/// `deploy/ci/upgrade.sh`.
pub const INNER_VERSION: u32 = match option_env!("HELIOGRAPH_TEST_INNER_VERSION") {
    Some(digit) => (digit.as_bytes()[0] - b'0') as u32,
    None => 7,
};

/// Number of slots into which a cluster's channels are divided. Must never be changed.
pub const SLOTS: u16 = 4_096;

/// Maximum number of nodes that a cluster can have had over its whole lifetime, as counted by the driver's list of
/// names.
pub const NODES_MAX: usize = 256;

/// Interval between ticks.
pub const TICK_MS: u64 = 500;

/// Interval between rounds of questions, keepalives and progress requests.
pub const ROUND_MS: u64 = 1_000;

/// Time without a tick after which the process counts as having been paused, which invalidates everything received
/// before.
pub const GAP_MS: u64 = 2_000;

/// Time since the watch's last progress report after which the view counts as incomplete.
pub const PROGRESS_GAP_MS: u64 = 2_500;

/// Maximum age of the last answer in which etcd showed the slots for a node to *have etcd*.
pub const HAS_ETCD_MS: u64 = 3_000;

/// Timeout of a call, in milliseconds. After a timeout the call's outcome is unknown, so the caller reads the state
/// back.
pub const CALL_MS: u64 = 3_000;

/// Interval between full reads of the slots, which are independent of the watch.
pub const READ_EVERY_MS: u64 = 60_000;

/// Time for which other nodes leave the slots of a restarting node to its next incarnation.
pub const RESTARTED_MS: u64 = 5_000;

/// Minimum time for which other nodes leave a slot to the node chosen by rendezvous hashing.
pub const FALLBACK_MS: u64 = 1_000;

/// Maximum random addition to [`FALLBACK_MS`], so that the other nodes do not all claim at the same time. Both delays,
/// together with a lease, a watch report and the absence, are part of the 10 s within which a lost host's slots are
/// served again.
pub const FALLBACK_SPREAD_MS: u64 = 500;

/// Delay, in addition to `FALLBACK_MS` and its random addition, for a slot that was never owned, counted from the time
/// when the chosen node last claimed such a slot. Initially, all nodes claim their share of 4,096 slots in batches;
/// without this delay, the fastest would claim slots that the others have not reached yet.
pub const FIRST_FALLBACK_MS: u64 = 4_000;

/// Time after startup during which a node claims no slots from an owner that has not yet answered it.
pub const GRACE_MS: u64 = 30_000;

/// Time from the first registration until a node claims slots that were never owned. Ends early once another node has
/// begun to claim; otherwise, a node that starts later would wait longer than the others wait for it.
pub const FIRST_CLAIM_MS: u64 = 10_000;

/// Time after which a node gives up a slot that it cannot load although etcd answers. For a slot queued after
/// [`LOADS_MAX`] others, the time counts from the last loaded slot rather than from the claim.
pub const LOAD_MAX_MS: u64 = 10_000;

/// Time for which a node that could not load a slot leaves it to other nodes.
pub const SHUN_MS: u64 = 30_000;

/// Time over which the closing of clients is spread when their slot was given away. All clients must have reconnected
/// within 2 s of the change of owner.
pub const GIVEN_CLOSE_MS: u64 = 500;

/// Time over which the closing of clients is spread when their slot was claimed from a node that crashed or hangs: the
/// clients of all its channels reconnect, each with up to five TLS handshakes. Part of the 10 s within which they must
/// have reconnected.
pub const LOST_CLOSE_MS: u64 = 1_000;

/// Time for which a node that returns while etcd accepts no registration announces that it will serve. Each peer
/// queries it within one round and then claims none of its slots for a lease. By the end of this time, claims in flight
/// have completed, and their results are known from an answer in the following round.
pub const ANNOUNCED_MS: u64 = CALL_MS + 2 * ROUND_MS;

/// Maximum gap between a peer's answers during the announcement. A single lost question does not count as an
/// interruption.
pub const ANNOUNCED_GAP_MS: u64 = 3 * ROUND_MS;

/// Maximum number of slots in one claim: etcd accepts 128 operations per transaction.
pub const SLOTS_PER_CLAIM: usize = 100;

/// Initial back-off after a claim that failed for no reason visible in the view. Doubles up to [`CLAIM_PAUSE_MAX_MS`].
/// A claim that lost to a competing claim is retried as soon as the view shows the latter.
pub const CLAIM_PAUSE_MS: u64 = 50;

/// Maximum back-off after claims that fail for no visible reason: a fifteenth of the recovery time.
pub const CLAIM_PAUSE_MAX_MS: u64 = 1_000;

/// Maximum number of slots whose records are read concurrently. A third of all slots is then read in 43 rounds, which
/// takes 0.9 s at a round trip of 20 ms to etcd.
pub const LOADS_MAX: usize = 32;

/// Maximum number of concurrent slot transfers from one node.
pub const TRANSFERS_MAX: usize = 8;

/// Maximum time for which a drain waits for a node that can take over this node's slots.
pub const DRAIN_MAX_MS: u64 = 25_000;

/// Like [`DRAIN_MAX_MS`], for the case that every other registered node is also shutting down or that no other is
/// registered; detecting this takes two rounds of questions.
pub const DRAIN_ALONE_MS: u64 = 2_000;

/// Time for which a transfer waits for the response to a parcel; also the delay before the next attempt to transfer the
/// slot.
pub const PARCEL_WAIT_MS: u64 = 3_000;

/// Time for which a parcel is kept for a transfer that has not taken place yet: the lifetime of a pending message.
pub const PARCEL_KEPT_MS: u64 = 120_000;

/// Maximum number of parcels that a node keeps for transfers. Further parcels are refused, and their senders try
/// another node.
pub const PARCELS_MAX: usize = 8 * 64;

/// Maximum time for which a transfer with an unknown outcome prevents its slot from being served.
pub const UNKNOWN_MAX_MS: u64 = 10_000;

/// A node that becomes alone twice within this time waits for a full TTL before it serves again.
pub const ALONE_AGAIN_MS: u64 = 600_000;

// Links: one connection between two nodes that carries many clients.

/// Maximum number of clients on one link. Further clients use another link or receive 503.
pub const LINK_STREAMS_MAX: usize = 1 << 17;

/// Maximum number of unacknowledged bytes per stream and direction. Further bytes wait at the sender: those of a
/// session in its outbox, which has a separate limit; those of a client in the kernel.
pub const LINK_WINDOW_BYTES: usize = 256 * 1024;

/// Maximum number of received bytes that one end of a link buffers for slow clients or sessions. Beyond this limit, the
/// largest stream of the account with the most buffered bytes is closed as a slow consumer.
pub const LINK_HELD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Maximum number of bytes from local clients or sessions that one end of a link buffers before they are framed. Beyond
/// this limit, nothing is read from any of them and no stream is opened until half of the bytes have been sent.
pub const LINK_WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Target size of a single write, in bytes; the remaining frames are sent in the next write. A write ends on a frame
/// boundary.
pub const LINK_WRITE_BYTES: usize = 256 * 1024;

/// Maximum number of unacknowledged sends tracked per client, at 24 bytes each. Further sends are merged with the last
/// one and acknowledged together with it.
pub const LINK_SENDS_MAX: usize = 64;

/// Time after a send at which a PING is sent to check whether the data arrived.
pub const LINK_PING_MS: u64 = 1_000;

/// Time without a received frame, while data is unacknowledged, after which a link is suspect and no streams are opened
/// on it.
pub const LINK_DOUBT_MS: u64 = 3_000;

/// Time without a received frame after which the other node counts as dead: its clients are disconnected, and
/// unacknowledged messages are redirected.
pub const LINK_DEAD_MS: u64 = 10_000;

/// Duration of a pause after which a front forwards nothing until it receives a PONG, because the owner may have given
/// up the link.
pub const LINK_FENCE_MS: u64 = 2_000;

/// Time for which the END of an answered call waits for other frames on its link. A separate write for it would
/// increase the cost of a call across two nodes by a third.
pub const LINK_QUIET_MS: u64 = 100;

/// Interval between queries to the kernel about a client with unacknowledged bytes, and the delay before the first
/// query.
pub const LINK_SWEEP_MS: u64 = 1_000;

/// Time after which a link without streams is closed.
pub const LINK_IDLE_MS: u64 = 60_000;

const _: () = {
    assert!(LINK_WINDOW_BYTES <= u32::MAX as usize && LINK_WRITE_BYTES <= LINK_WINDOW_BYTES);
    assert!(LINK_PING_MS < LINK_DOUBT_MS && LINK_DOUBT_MS < LINK_DEAD_MS);
    assert!(
        LINK_FENCE_MS < LINK_DEAD_MS,
        "who may have been given up passes nothing on"
    );
};

const _: () = {
    assert!(GAP_MS >= 2 * TICK_MS, "an ordinary tick is no gap");
    assert!(ROUND_MS.is_multiple_of(TICK_MS), "rounds begin at ticks");
    assert!(HAS_ETCD_MS > 2 * ROUND_MS, "one lost question is no outage");
    assert!(
        DRAIN_ALONE_MS >= 2 * ROUND_MS,
        "who stops says so in between"
    );
    assert!(
        SLOTS_PER_CLAIM <= 126,
        "two compares for registrations are left of 128"
    );
};

// Spans that are parts of a lease: the lifetime that etcd gives a registration without a keepalive. The *granted* lease
// counts: etcd grants a longer one than requested where its own elections take long.
//
// ```text
//  question ├──────────── hearing: its answer lets an owner serve ───────────┤
//           ├──────────── silence = lease: nobody may take before ───────────┼──────────┤
//  keepalive├──────────── lease: etcd keeps the registration ────────────────┼──────────┤ absence ├─ may be taken
// ```
// An owner that nobody answers stops by its own clock before others may take its slots: a fifth of a lease before they
// may claim at the earliest, and another fifth for the absence.

/// The time spans used by one node. All copies are replaced together when etcd grants a different lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spans {
    lease_ms: u64,
}

impl Spans {
    /// Derives the time spans from the lifetime of a lease, in milliseconds.
    #[must_use]
    pub const fn of_lease(lease_ms: u64) -> Self {
        Self { lease_ms }
    }

    /// Lifetime of a registration without a keepalive; also the time after which a slot that is not reported as served
    /// counts as silent.
    #[must_use]
    pub const fn lease_ms(self) -> u64 {
        self.lease_ms
    }

    /// Time for which an answer is valid, counted from the time at which its question was sent.
    #[must_use]
    pub const fn hearing_ms(self) -> u64 {
        self.lease_ms - self.part_ms()
    }

    /// Time for which a registration must have been absent from a current view before the slots of its node may be
    /// claimed.
    #[must_use]
    pub const fn absence_ms(self) -> u64 {
        self.part_ms()
    }

    /// Margin by which answers expire earlier than a registration; also the time for which a registration must be
    /// absent.
    const fn part_ms(self) -> u64 {
        self.lease_ms / 5
    }
}

#[cfg(test)]
mod spans_tests {
    use super::*;

    #[test]
    fn an_owner_stops_before_others_may_take() {
        for (lease_ms, hearing_ms, absence_ms) in [
            (5_000, 4_000, 1_000),
            (6_000, 4_800, 1_200),
            (10_000, 8_000, 2_000),
            (60_000, 48_000, 12_000),
        ] {
            let spans = Spans::of_lease(lease_ms);
            assert_eq!(spans.hearing_ms(), hearing_ms);
            assert_eq!(spans.absence_ms(), absence_ms);
        }
    }
}
