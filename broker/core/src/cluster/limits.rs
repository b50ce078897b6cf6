//! Limits and time spans of the cluster, some of them fractions of a lease. Time spans are in milliseconds of the
//! node's own monotonic clock.

/// Version of everything exchanged between nodes of a cluster: etcd keys, messages, links. Raised with each change that
/// the previous version would not understand; adjacent versions can share a cluster.
///
/// Version 7 introduced links in place of one connection per client. Versions 2, 4 and 6 were never released, so
/// versions 1, 3 and 5 have no adjacent version and refuse each other.
///
/// Test builds take the number of an adjacent version, one digit, from `HELIOGRAPH_TEST_INNER_VERSION`: see
/// `deploy/ci/upgrade.sh`.
pub const INNER_VERSION: u32 = match option_env!("HELIOGRAPH_TEST_INNER_VERSION") {
    Some(digit) => (digit.as_bytes()[0] - b'0') as u32,
    None => 7,
};

/// Number of slots into which a cluster's channels are divided. Never changes.
pub const SLOTS: u16 = 4_096;

/// Maximum number of nodes of one cluster over its whole lifetime, in the driver's list of names.
pub const NODES_MAX: usize = 256;

/// Interval of ticks.
pub const TICK_MS: u64 = 500;

/// Interval between rounds of questions, keepalives and progress requests.
pub const ROUND_MS: u64 = 1_000;

/// Time without a tick after which the process counts as paused, which invalidates everything received before.
pub const GAP_MS: u64 = 2_000;

/// Maximum interval between the watch's progress reports before the view counts as incomplete.
pub const PROGRESS_GAP_MS: u64 = 2_500;

/// Maximum age of etcd's last answer showing the slots for a node to *have etcd*.
pub const HAS_ETCD_MS: u64 = 3_000;

/// Timeout of a call; its outcome is then unknown, and the state is read back.
pub const CALL_MS: u64 = 3_000;

/// Interval of full reads of the slots, independent of the watch.
pub const READ_EVERY_MS: u64 = 60_000;

/// Time for which other nodes leave a restarting node's slots to its next incarnation.
pub const RESTARTED_MS: u64 = 5_000;

/// Minimum time for which other nodes leave a slot to the node chosen by rendezvous hashing.
pub const FALLBACK_MS: u64 = 1_000;

/// Maximum random addition to [`FALLBACK_MS`], so that the other nodes do not all claim at once. Both delays are part
/// of the 10 s in which a lost host's slots are served again, in addition to a lease, a watch report and the absence.
pub const FALLBACK_SPREAD_MS: u64 = 500;

/// Additional delay, on top of `FALLBACK_MS` and its random addition, for a slot that was never owned, counted from
/// when the chosen node last claimed such a slot: all nodes then claim their share of 4,096 slots in batches, and the
/// fastest would otherwise claim slots that the others have not reached yet.
pub const FIRST_FALLBACK_MS: u64 = 4_000;

/// Time after startup during which a node claims no slots of an owner that has not yet answered it.
pub const GRACE_MS: u64 = 30_000;

/// Time from the first registration until a node claims slots that were never owned. Ends early once another node has
/// begun, because a node that starts later would otherwise wait longer than the others wait for it.
pub const FIRST_CLAIM_MS: u64 = 10_000;

/// Time after which a node gives up a slot that it cannot load although etcd answers. For a slot queued after
/// [`LOADS_MAX`] others, it counts from the last loaded slot rather than from the claim.
pub const LOAD_MAX_MS: u64 = 10_000;

/// Time for which a node leaves a slot that it could not load to other nodes.
pub const SHUN_MS: u64 = 30_000;

/// Time over which the clients of a slot that was given away are closed; all must be reconnected within 2 s of the
/// change of owner.
pub const GIVEN_CLOSE_MS: u64 = 500;

/// Time over which clients are closed when their slot was claimed from a node that crashed or hangs: the clients of all
/// its channels reconnect, each with up to five TLS handshakes. Part of the 10 s within which they are reconnected.
pub const LOST_CLOSE_MS: u64 = 1_000;

/// Time for which a node that returns while etcd accepts no registration announces that it will serve: each peer
/// queries it within one round and then claims none of its slots for a lease. By then, claims in flight have completed,
/// and their results are known from an answer in the following round.
pub const ANNOUNCED_MS: u64 = CALL_MS + 2 * ROUND_MS;

/// Maximum gap between a peer's answers during the announcement; one lost question does not count as an interruption.
pub const ANNOUNCED_GAP_MS: u64 = 3 * ROUND_MS;

/// Maximum number of slots in one claim: etcd accepts 128 operations per transaction.
pub const SLOTS_PER_CLAIM: usize = 100;

/// Initial back-off after a failed claim if the view shows no reason; doubles up to [`CLAIM_PAUSE_MAX_MS`]. A claim
/// that lost to another one is retried as soon as the view shows it.
pub const CLAIM_PAUSE_MS: u64 = 50;

/// Maximum back-off between claims that fail for no visible reason: a fifteenth of the recovery time.
pub const CLAIM_PAUSE_MAX_MS: u64 = 1_000;

/// Maximum number of slots whose records are read concurrently: a third of the slots is read in 43 rounds, 0.9 s at 20
/// ms from etcd.
pub const LOADS_MAX: usize = 32;

/// Maximum number of slots that one node transfers concurrently.
pub const TRANSFERS_MAX: usize = 8;

/// Maximum time for which a drain waits for a node that can take over its slots.
pub const DRAIN_MAX_MS: u64 = 25_000;

/// Like [`DRAIN_MAX_MS`], if every other registered node is also stopping or none is registered; takes two rounds of
/// questions to detect.
pub const DRAIN_ALONE_MS: u64 = 2_000;

/// Time for which a transfer waits for the response to a parcel, and the delay before a slot's next transfer attempt.
pub const PARCEL_WAIT_MS: u64 = 3_000;

/// Time for which a parcel is kept for a transfer that has not arrived: the lifetime of a pending message.
pub const PARCEL_KEPT_MS: u64 = 120_000;

/// Maximum number of parcels that one node keeps for transfers; further ones are refused, and the sender tries another
/// node.
pub const PARCELS_MAX: usize = 8 * 64;

/// Maximum time for which a transfer with an unknown outcome keeps its slot from being served.
pub const UNKNOWN_MAX_MS: u64 = 10_000;

/// A node that becomes alone twice within this time waits for a full TTL before it serves again.
pub const ALONE_AGAIN_MS: u64 = 600_000;

// Links: one connection between two nodes that carries many clients.

/// Maximum number of clients on one link. Further ones are refused, and use another link or receive 503.
pub const LINK_STREAMS_MAX: usize = 1 << 17;

/// Maximum number of unacknowledged bytes per stream and direction. Further bytes wait at the sender: a session's in
/// its outbox, which has a separate limit; a client's in the kernel.
pub const LINK_WINDOW_BYTES: usize = 256 * 1024;

/// Maximum number of received bytes that one end buffers for slow clients or sessions. Beyond it, the largest stream of
/// the account with the most buffered bytes is closed as a slow consumer.
pub const LINK_HELD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Maximum number of bytes from local clients or sessions that one end buffers before they are framed. Beyond it,
/// nothing is read from any of them and no stream is opened until half of it is sent.
pub const LINK_WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Target size of one write, in bytes; remaining frames are sent in the next write. A write ends on a frame boundary.
pub const LINK_WRITE_BYTES: usize = 256 * 1024;

/// Maximum number of unacknowledged sends tracked per client, 24 bytes each. Further ones are merged and acknowledged
/// with the last.
pub const LINK_SENDS_MAX: usize = 64;

/// Time from a send until a PING checks whether it arrived.
pub const LINK_PING_MS: u64 = 1_000;

/// Time without a frame, while data is unacknowledged, after which a link is suspect: no streams are opened on it.
pub const LINK_DOUBT_MS: u64 = 3_000;

/// Time without a frame after which the other node counts as dead: its clients are disconnected, and unacknowledged
/// messages are redirected.
pub const LINK_DEAD_MS: u64 = 10_000;

/// Pause after which a front forwards nothing until it receives a PONG, because the owner may have given up the link.
pub const LINK_FENCE_MS: u64 = 2_000;

/// Time for which the END of an answered call waits for other frames on its link: a separate write would add a third to
/// the cost of a call across two nodes.
pub const LINK_QUIET_MS: u64 = 100;

/// Interval of queries to the kernel about a client with unacknowledged bytes, and the delay before the first query.
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

/// Time spans of one node. All copies are replaced together when etcd grants a different lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spans {
    lease_ms: u64,
}

impl Spans {
    /// Time spans for a lease of this many milliseconds.
    #[must_use]
    pub const fn of_lease(lease_ms: u64) -> Self {
        Self { lease_ms }
    }

    /// Lifetime of a registration without a keepalive; also the time without a report after which a slot counts as
    /// silent.
    #[must_use]
    pub const fn lease_ms(self) -> u64 {
        self.lease_ms
    }

    /// Validity of an answer, counted from the time its question was sent.
    #[must_use]
    pub const fn hearing_ms(self) -> u64 {
        self.lease_ms - self.part_ms()
    }

    /// Time for which a registration must be absent from a current view before its node's slots may be claimed.
    #[must_use]
    pub const fn absence_ms(self) -> u64 {
        self.part_ms()
    }

    /// Margin by which answers expire before a registration does; also the time for which a registration must be
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
