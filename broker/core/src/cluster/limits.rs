//! Limits and time spans of the cluster. Times are in milliseconds of the node's own monotonic clock, and some are
//! fractions of a lease.

/// Version of everything that nodes exchange: etcd keys, messages and links. Every change that the previous version
/// would not understand increments this number. Nodes with adjacent versions can share a cluster.
///
/// Version 7 replaced one connection per client with links. Versions 2, 4 and 6 were never released, so versions 1, 3
/// and 5 have no adjacent version, and nodes with these versions refuse each other.
///
/// Test builds take an adjacent version, given as one digit, from `HELIOGRAPH_TEST_INNER_VERSION`; see
/// `deploy/ci/upgrade.sh`.
pub const INNER_VERSION: u32 = match option_env!("HELIOGRAPH_TEST_INNER_VERSION") {
    Some(digit) => (digit.as_bytes()[0] - b'0') as u32,
    None => 7,
};

/// Number of slots in a cluster. Must never change.
pub const SLOTS: u16 = 4_096;

/// Maximum number of node names that a cluster can have over its lifetime.
pub const NODES_MAX: usize = 256;

/// Interval between ticks.
pub const TICK_MS: u64 = 500;

/// Interval between rounds of queries, keepalives and progress requests.
pub const ROUND_MS: u64 = 1_000;

/// If no tick occurs for this time, the process is considered to have been paused. Everything received before the pause
/// is then invalid.
pub const GAP_MS: u64 = 2_000;

/// If the watch reports no progress for this time, the view is considered incomplete.
pub const PROGRESS_GAP_MS: u64 = 2_500;

/// A node is considered to *have etcd* if etcd has answered a query for the slots or for the watch's progress that was
/// sent within this time.
pub const HAS_ETCD_MS: u64 = 3_000;

/// Timeout of a call. The outcome of a call that timed out is unknown, so the caller reads the state again.
pub const CALL_MS: u64 = 3_000;

/// Interval between full reads of the slots, in addition to the watch.
pub const READ_EVERY_MS: u64 = 60_000;

/// How long other nodes wait before they claim the slots of a restarting node, so that its next process can reclaim
/// them.
pub const RESTARTED_MS: u64 = 5_000;

/// Minimum time that nodes wait before they claim a slot for which rendezvous hashing selects another node.
pub const FALLBACK_MS: u64 = 1_000;

/// Maximum random delay that is added to [`FALLBACK_MS`], so that the other nodes do not claim at the same time. The
/// slots of a lost host must be served again within 10 s. This includes both delays, a lease, the absence of the
/// registration and a report of the watch.
pub const FALLBACK_SPREAD_MS: u64 = 500;

/// Additional delay for a slot that has never had an owner, counted from when the selected node last claimed such a
/// slot. At first, all nodes claim their shares of 4,096 slots in batches. Without this delay, the fastest node would
/// claim the shares of the others.
pub const FIRST_FALLBACK_MS: u64 = 4_000;

/// Time after startup during which a node claims no slots from an owner that has not answered it yet.
pub const GRACE_MS: u64 = 30_000;

/// How long after its first registration a node waits before it claims slots that have never had an owner. The wait
/// ends early when another node begins to claim. Otherwise, a node that starts later would wait longer than the others
/// wait for it.
pub const FIRST_CLAIM_MS: u64 = 10_000;

/// How long a node tries to load a slot while etcd answers. Then it gives up the slot. If the slot was queued behind
/// [`LOADS_MAX`] others, the time counts from when the last slot was loaded, rather than from the claim.
pub const LOAD_MAX_MS: u64 = 10_000;

/// After a node has failed to load a slot, it does not claim the slot for this time, so that other nodes can.
pub const SHUN_MS: u64 = 30_000;

/// Time over which a node closes the clients of a transferred slot. All clients must reconnect within 2 s after the
/// owner has changed.
pub const GIVEN_CLOSE_MS: u64 = 500;

/// Time over which a node closes the clients of slots that were claimed from a crashed or hanging node. The clients of
/// all channels of that node reconnect, and each performs up to five TLS handshakes. All of them must reconnect within
/// 10 s, including this time.
pub const LOST_CLOSE_MS: u64 = 1_000;

/// How long a returning node announces that it will serve before it does, if etcd accepts no registrations. Within one
/// round, each peer queries the node. From that query on, the peer claims none of the node's slots for a lease. Claims
/// that are in flight complete within this time, and an answer in the following round shows their results.
pub const ANNOUNCED_MS: u64 = CALL_MS + 2 * ROUND_MS;

/// Maximum gap between a peer's answers during the announcement. The announcement survives a single lost query.
pub const ANNOUNCED_GAP_MS: u64 = 3 * ROUND_MS;

/// Maximum number of slots in one claim. etcd accepts 128 operations per transaction.
pub const SLOTS_PER_CLAIM: usize = 100;

/// Initial back-off after a failed claim if the view does not show why it failed. Doubles up to [`CLAIM_PAUSE_MAX_MS`].
/// A claim that lost to another claim is retried as soon as the view shows the winner.
pub const CLAIM_PAUSE_MS: u64 = 50;

/// Maximum back-off after a failed claim. A fifteenth of the 15 s that recovery may take in the worst case.
pub const CLAIM_PAUSE_MAX_MS: u64 = 1_000;

/// Maximum number of slots whose records are read concurrently. With this limit, reading a third of all slots takes 43
/// rounds, or 0.9 s if a round trip to etcd takes 20 ms.
pub const LOADS_MAX: usize = 32;

/// Maximum number of concurrent slot transfers from one node.
pub const TRANSFERS_MAX: usize = 8;

/// Maximum time that a draining node waits for another node that can take over its slots.
pub const DRAIN_MAX_MS: u64 = 25_000;

/// Used in place of [`DRAIN_MAX_MS`] if no other node is registered or all others are shutting down as well. Detecting
/// this takes two rounds of queries.
pub const DRAIN_ALONE_MS: u64 = 2_000;

/// How long a transfer waits for the other node to accept or refuse the parcel, which contains the slot's pending
/// messages. Also the delay before the next transfer of that slot.
pub const PARCEL_WAIT_MS: u64 = 3_000;

/// How long a node keeps a parcel (the pending messages of a slot) for a future transfer. Equal to the lifetime of a
/// pending message.
pub const PARCEL_KEPT_MS: u64 = 120_000;

/// Maximum number of parcels (the pending messages of a slot) that a node keeps for transfers. Further parcels are
/// refused, and their senders try another node.
pub const PARCELS_MAX: usize = 8 * 64;

/// How long a slot may remain unserved because the outcome of its transfer is unknown.
pub const UNKNOWN_MAX_MS: u64 = 10_000;

/// If a node becomes alone again within this time, it must wait for a full lease before it serves again.
pub const ALONE_AGAIN_MS: u64 = 600_000;

// Limits of links. A link is one connection between two nodes that carries many clients.

/// Maximum number of clients per link. Further clients use another link or receive 503.
pub const LINK_STREAMS_MAX: usize = 1 << 17;

/// Maximum number of unacknowledged bytes in each direction of a stream. Further bytes wait at the sender. The bytes of
/// a session wait in its outbox, which has a separate limit. The bytes of a client wait in the kernel.
pub const LINK_WINDOW_BYTES: usize = 256 * 1024;

/// Maximum number of received bytes that one end of a link buffers for slow clients or sessions. If the limit is
/// exceeded, the account with the most buffered bytes is selected, and its largest stream is closed as a slow consumer.
pub const LINK_HELD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Maximum number of unframed bytes from local clients or sessions that one end of a link buffers. If the limit is
/// exceeded, this end stops reading from all of them and opens no streams until half of the bytes have been sent.
pub const LINK_WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Target size of a write, in bytes. A write ends on a frame boundary. Frames that do not fit are sent by the next
/// write.
pub const LINK_WRITE_BYTES: usize = 256 * 1024;

/// Maximum number of unacknowledged sends that are tracked per client, at 24 bytes each. Further sends are merged with
/// the last one and acknowledged together with it.
pub const LINK_SENDS_MAX: usize = 64;

/// Delay after which a PING frame is sent to check whether sent data has arrived.
pub const LINK_PING_MS: u64 = 1_000;

/// A link is suspect if no frame arrives for this time while data is unacknowledged. No streams are opened on such a
/// link.
pub const LINK_DOUBT_MS: u64 = 3_000;

/// If no frame arrives for this time, the other node is considered dead. Its clients are disconnected, and
/// unacknowledged messages are redirected.
pub const LINK_DEAD_MS: u64 = 10_000;

/// After a pause longer than this, the client's node forwards nothing on a link until it receives a PONG frame, because
/// the owner may have given up the link in the meantime.
pub const LINK_FENCE_MS: u64 = 2_000;

/// How long the END frame of an answered call waits for other frames on its link. A separate write would increase the
/// cost of a call between two nodes by a third.
pub const LINK_QUIET_MS: u64 = 100;

/// Interval at which the kernel is queried about a client with unacknowledged bytes, and the delay before the first
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

// The following time spans are fractions of a lease, which is the lifetime that etcd gives a registration without a
// keepalive. The lease that etcd has *granted* counts. It is longer than requested if etcd's own elections take long.
//
// ```text
//  query    ├──────────── hearing: its answer lets an owner serve ───────────┤
//           ├──────────── silence = lease: nobody may claim before ──────────┼──────────┤
//  keepalive├──────────── lease: etcd keeps the registration ────────────────┼──────────┤ absence ├─ may be claimed
// ```
// An owner that receives no answers stops by its own clock before others may claim its slots. It stops a fifth of a
// lease before the silence ends, and the registration must then be absent for another fifth.

/// The time spans of one node. All copies are replaced together when etcd grants a different lease.
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

    /// Returns the lifetime of a registration without a keepalive. A slot also counts as silent after this time if no
    /// answer reports that it is served.
    #[must_use]
    pub const fn lease_ms(self) -> u64 {
        self.lease_ms
    }

    /// Returns how long an answer is valid, counted from when its query was sent.
    #[must_use]
    pub const fn hearing_ms(self) -> u64 {
        self.lease_ms - self.part_ms()
    }

    /// Returns how long a registration must be absent from a current view before the slots of its node may be claimed.
    #[must_use]
    pub const fn absence_ms(self) -> u64 {
        self.part_ms()
    }

    /// Returns how much earlier an answer expires than a registration. A registration must also be absent for this
    /// long.
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
