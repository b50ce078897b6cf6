//! Limits and time spans of the cluster, in milliseconds of the node's own monotonic clock. Some are fractions of a
//! lease.

/// Version of everything that nodes exchange: etcd keys, messages, links. Each change that the previous version would
/// not understand increments it. Nodes with adjacent versions can share a cluster.
///
/// Version 7 replaced one connection per client with links. Versions 2, 4 and 6 were never released, so versions 1, 3
/// and 5 have no adjacent version and refuse each other.
///
/// Test builds take an adjacent version, one digit, from `HELIOGRAPH_TEST_INNER_VERSION`; see `deploy/ci/upgrade.sh`.
pub const INNER_VERSION: u32 = match option_env!("HELIOGRAPH_TEST_INNER_VERSION") {
    Some(digit) => (digit.as_bytes()[0] - b'0') as u32,
    None => 7,
};

/// Number of slots of a cluster. Must never change.
pub const SLOTS: u16 = 4_096;

/// Maximum number of nodes that a cluster can have over its lifetime, as counted by the driver's list of names.
pub const NODES_MAX: usize = 256;

/// Interval between ticks.
pub const TICK_MS: u64 = 500;

/// Interval between rounds of queries, keepalives and progress requests.
pub const ROUND_MS: u64 = 1_000;

/// Time without a tick after which the process counts as paused, which invalidates everything received before.
pub const GAP_MS: u64 = 2_000;

/// Time since the watch's last progress report after which the view is incomplete.
pub const PROGRESS_GAP_MS: u64 = 2_500;

/// A node *has etcd* if the last answer in which etcd showed the slots is at most this old.
pub const HAS_ETCD_MS: u64 = 3_000;

/// Timeout of a call. Its outcome is then unknown, so the caller reads the state back.
pub const CALL_MS: u64 = 3_000;

/// Interval between full reads of the slots, in addition to the watch.
pub const READ_EVERY_MS: u64 = 60_000;

/// Time for which other nodes reserve the slots of a restarting node for its next incarnation.
pub const RESTARTED_MS: u64 = 5_000;

/// Minimum time for which other nodes leave a slot to the node that rendezvous hashing selects.
pub const FALLBACK_MS: u64 = 1_000;

/// Maximum random addition to [`FALLBACK_MS`], so that the other nodes do not claim at the same time. Both delays, a
/// lease, a watch report and the absence fit into the 10 s within which a lost host's slots are served again.
pub const FALLBACK_SPREAD_MS: u64 = 500;

/// Additional delay for a slot that never had an owner, counted from when the selected node last claimed such a slot.
/// At first, all nodes claim their shares of 4,096 slots in batches; without this delay, the fastest would claim the
/// shares of the others.
pub const FIRST_FALLBACK_MS: u64 = 4_000;

/// Time after startup in which a node claims no slots of an owner that has not answered it yet.
pub const GRACE_MS: u64 = 30_000;

/// Time from the first registration until a node claims slots that never had an owner. Ends early when another node
/// begins to claim; otherwise, a node that starts later would wait longer than the others wait for it.
pub const FIRST_CLAIM_MS: u64 = 10_000;

/// Time after which a node gives up a slot that it cannot load although etcd answers. For a slot queued after
/// [`LOADS_MAX`] others, the time counts from the last loaded slot instead of the claim.
pub const LOAD_MAX_MS: u64 = 10_000;

/// Time for which a node that could not load a slot leaves it to other nodes.
pub const SHUN_MS: u64 = 30_000;

/// Time over which a node closes the clients of a transferred slot. All clients must have reconnected within 2 s of the
/// change of owner.
pub const GIVEN_CLOSE_MS: u64 = 500;

/// Time over which a node closes the clients of slots claimed from a crashed or hanging node. The clients of all its
/// channels reconnect, each with up to five TLS handshakes. Part of the 10 s within which they must have reconnected.
pub const LOST_CLOSE_MS: u64 = 1_000;

/// A node that returns while etcd accepts no registration announces for this time that it will serve. Each peer queries
/// it within one round and then claims none of its slots for a lease. Claims in flight complete in this time, and an
/// answer in the following round shows their results.
pub const ANNOUNCED_MS: u64 = CALL_MS + 2 * ROUND_MS;

/// Maximum gap between a peer's answers during the announcement. A single lost query is no interruption.
pub const ANNOUNCED_GAP_MS: u64 = 3 * ROUND_MS;

/// Maximum number of slots in one claim: etcd accepts 128 operations per transaction.
pub const SLOTS_PER_CLAIM: usize = 100;

/// Initial back-off after a claim that failed for no reason visible in the view; doubles up to [`CLAIM_PAUSE_MAX_MS`].
/// A claim that lost to another is retried as soon as the view shows the winning one.
pub const CLAIM_PAUSE_MS: u64 = 50;

/// Maximum back-off after such a claim: a fifteenth of the recovery time.
pub const CLAIM_PAUSE_MAX_MS: u64 = 1_000;

/// Maximum number of slots whose records are read concurrently. A third of all slots is then read in 43 rounds, which
/// take 0.9 s at a round trip of 20 ms to etcd.
pub const LOADS_MAX: usize = 32;

/// Maximum number of concurrent slot transfers from one node.
pub const TRANSFERS_MAX: usize = 8;

/// Maximum time for which a drain waits for a node that can take over this node's slots.
pub const DRAIN_MAX_MS: u64 = 25_000;

/// [`DRAIN_MAX_MS`] if no other node is registered or all others are shutting down too. Detecting this takes two rounds
/// of queries.
pub const DRAIN_ALONE_MS: u64 = 2_000;

/// Time for which a transfer waits for the response to a parcel; also the delay before the slot's next transfer.
pub const PARCEL_WAIT_MS: u64 = 3_000;

/// Time for which a node keeps a parcel for a future transfer: the lifetime of a pending message.
pub const PARCEL_KEPT_MS: u64 = 120_000;

/// Maximum number of parcels that a node keeps for transfers. It refuses further parcels, and their senders try another
/// node.
pub const PARCELS_MAX: usize = 8 * 64;

/// Maximum time for which a slot is not served because its transfer has an unknown outcome.
pub const UNKNOWN_MAX_MS: u64 = 10_000;

/// A node that becomes alone again within this time must wait for a full lease before it serves again.
pub const ALONE_AGAIN_MS: u64 = 600_000;

// Links: one connection between two nodes that carries many clients.

/// Maximum number of clients per link. Further clients use another link or receive 503.
pub const LINK_STREAMS_MAX: usize = 1 << 17;

/// Maximum number of unacknowledged bytes per stream and direction. Further bytes wait at the sender: those of a
/// session in its outbox, which has a separate limit; those of a client in the kernel.
pub const LINK_WINDOW_BYTES: usize = 256 * 1024;

/// Maximum number of received bytes that one end of a link buffers for slow clients or sessions. Beyond it, the largest
/// stream of the account with the most buffered bytes is closed as a slow consumer.
pub const LINK_HELD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Maximum number of unframed bytes from local clients or sessions that one end of a link buffers. Beyond it, the end
/// reads from none of them and opens no stream until half of the bytes are sent.
pub const LINK_WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Target size of a write, in bytes. A write ends on a frame boundary; the next write sends the remaining frames.
pub const LINK_WRITE_BYTES: usize = 256 * 1024;

/// Maximum number of unacknowledged sends tracked per client, 24 bytes each. Further sends are merged with the last one
/// and acknowledged with it.
pub const LINK_SENDS_MAX: usize = 64;

/// Time after a send at which a PING checks whether the data arrived.
pub const LINK_PING_MS: u64 = 1_000;

/// Time without a received frame, while data is unacknowledged, after which a link is suspect and opens no streams.
pub const LINK_DOUBT_MS: u64 = 3_000;

/// Time without a received frame after which the other node counts as dead: its clients are disconnected, and
/// unacknowledged messages are redirected.
pub const LINK_DEAD_MS: u64 = 10_000;

/// Minimum pause after which a front forwards nothing until it receives a PONG, because the owner may have given up the
/// link.
pub const LINK_FENCE_MS: u64 = 2_000;

/// Time for which the END of an answered call waits for other frames on its link. A separate write would increase the
/// cost of a call across two nodes by a third.
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

// Spans that are fractions of a lease, the lifetime that etcd gives a registration without a keepalive. The
// *granted* lease counts: etcd grants a longer one than requested if its own elections take long.
//
// ```text
//  query    ├──────────── hearing: its answer lets an owner serve ───────────┤
//           ├──────────── silence = lease: nobody may claim before ──────────┼──────────┤
//  keepalive├──────────── lease: etcd keeps the registration ────────────────┼──────────┤ absence ├─ may be claimed
// ```
// An owner that nobody answers stops by its own clock before others may claim its slots: a fifth of a lease before the
// earliest claim, and another fifth for the absence.

/// Time spans of one node. All copies are replaced together when etcd grants another lease.
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

    /// Lifetime of a registration without a keepalive, and the time after which a slot that is not reported as served
    /// counts as silent.
    #[must_use]
    pub const fn lease_ms(self) -> u64 {
        self.lease_ms
    }

    /// Validity of an answer, counted from when its query was sent.
    #[must_use]
    pub const fn hearing_ms(self) -> u64 {
        self.lease_ms - self.part_ms()
    }

    /// Time for which a registration must be absent from a current view before its node's slots may be claimed.
    #[must_use]
    pub const fn absence_ms(self) -> u64 {
        self.part_ms()
    }

    /// Margin by which answers expire earlier than a registration; also the required absence of a registration.
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
