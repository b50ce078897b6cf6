//! Limits and time spans of the cluster. Times are in milliseconds on the node's own monotonic clock. Some of them are
//! fractions of a lease.

/// Version of the inter-node protocol: etcd keys, messages and links. Every change that the previous version would not
/// understand increments it. Nodes with adjacent versions can share a cluster.
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

/// Maximum number of node names that a cluster can use over its lifetime.
pub const NODES_MAX: usize = 256;

/// Interval between ticks.
pub const TICK_MS: u64 = 500;

/// Interval between rounds of queries, keepalives and progress requests.
pub const ROUND_MS: u64 = 1_000;

/// If no tick occurs within this time, the process is considered to have been paused, and everything it received before
/// the pause becomes invalid.
pub const GAP_MS: u64 = 2_000;

/// If the watch reports no progress within this time, the view is considered incomplete.
pub const PROGRESS_GAP_MS: u64 = 2_500;

/// A node *has etcd* if etcd has answered a query that was sent within this time, either for the slots or for the
/// watch's progress.
pub const HAS_ETCD_MS: u64 = 3_000;

/// Timeout of an etcd call. The outcome of a call that timed out is unknown, so the caller reads the state again.
pub const CALL_MS: u64 = 3_000;

/// Interval between full reads of the slots, in addition to the watch.
pub const READ_EVERY_MS: u64 = 60_000;

/// How long other nodes wait before they claim a restarting node's slots, so that its next process can reclaim them.
pub const RESTARTED_MS: u64 = 5_000;

/// Minimum time that nodes wait before they claim a slot for which rendezvous hashing selects another node. Each claim
/// by that node restarts the wait.
pub const FALLBACK_MS: u64 = 1_000;

/// Maximum random delay added to [`FALLBACK_MS`], so that the other nodes do not claim simultaneously. A lost host's
/// slots must be served again within 10 s. This covers both delays, the lease, the grace period after the registration
/// disappears, and the latency of the watch.
pub const FALLBACK_SPREAD_MS: u64 = 500;

/// Additional delay for a slot that has never had an owner. In a new cluster, each node claims its share of the 4,096
/// slots in batches. Without this delay, the fastest node would claim the other nodes' shares as well.
pub const FIRST_FALLBACK_MS: u64 = 4_000;

/// Time after startup during which a node claims no slots from an owner that has not answered it yet.
pub const GRACE_MS: u64 = 30_000;

/// How long a node waits after its first registration before it claims slots that have never had an owner. The wait
/// ends early when another node starts claiming. Otherwise, a node that starts later would wait longer than the others
/// wait for it.
pub const FIRST_CLAIM_MS: u64 = 10_000;

/// How long a node tries to load a slot while etcd answers, before it gives the slot up. If the slot was queued behind
/// [`LOADS_MAX`] others, the time counts from when the last slot was loaded, not from the claim.
pub const LOAD_MAX_MS: u64 = 10_000;

/// How long a node refrains from claiming a slot that it failed to load, so that other nodes can claim it.
pub const SHUN_MS: u64 = 30_000;

/// Period over which a node closes the clients of a transferred slot. All of them must reconnect within 2 s of the
/// owner change.
pub const GIVEN_CLOSE_MS: u64 = 500;

/// Period over which a node closes the clients of slots claimed from a crashed or hanging node. The clients of all
/// channels of that node reconnect, each with up to five TLS handshakes. All of them must reconnect within 10 s,
/// including this period.
pub const LOST_CLOSE_MS: u64 = 1_000;

/// How long a returning node announces its intention to serve before it does so, if etcd accepts no registrations. Each
/// peer queries the node within one round, and from then on claims none of its slots for a lease. Claims already in
/// flight complete within this time, and an answer in the following round shows their results.
pub const ANNOUNCED_MS: u64 = CALL_MS + 2 * ROUND_MS;

/// Maximum gap between a peer's answers during the announcement. The announcement survives a single lost query.
pub const ANNOUNCED_GAP_MS: u64 = 3 * ROUND_MS;

/// Maximum number of slots in one claim. etcd accepts 128 operations per transaction.
pub const SLOTS_PER_CLAIM: usize = 100;

/// Initial back-off after a failed claim if the view does not show why it failed. Doubles up to [`CLAIM_PAUSE_MAX_MS`].
/// A claim that lost to another claim is retried as soon as the view shows the winner.
pub const CLAIM_PAUSE_MS: u64 = 50;

/// Maximum back-off after a failed claim: a fifteenth of the 15 s that recovery may take in the worst case.
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
/// messages. Also the delay before the slot's next transfer.
pub const PARCEL_WAIT_MS: u64 = 3_000;

/// How long a node keeps a parcel (a slot's pending messages) for a future transfer. Equal to the lifetime of a pending
/// message.
pub const PARCEL_KEPT_MS: u64 = 120_000;

/// Maximum number of parcels that a node keeps for transfers. A parcel contains the pending messages of one slot.
/// Further parcels are refused, and their senders try another node.
pub const PARCELS_MAX: usize = 8 * 64;

/// How long a slot may remain unserved because its transfer's outcome is unknown.
pub const UNKNOWN_MAX_MS: u64 = 10_000;

/// If a node is cut off from etcd and all peers again within this time, it waits for a full lease before it serves.
pub const ALONE_AGAIN_MS: u64 = 600_000;

// Limits of links. A link is one connection between two nodes that carries many clients.

/// Maximum number of clients per link. Further clients use another link or receive 503.
pub const LINK_STREAMS_MAX: usize = 1 << 17;

/// Maximum number of unacknowledged bytes in each direction of a stream. Further bytes wait at the sender: a session's
/// bytes in its outbox, which has a separate limit, and a client's bytes in the kernel.
pub const LINK_WINDOW_BYTES: usize = 256 * 1024;

/// Maximum number of received bytes that one end of a link buffers for slow clients or sessions. Beyond this limit, the
/// largest stream of the account with the most buffered bytes is closed as a slow consumer.
pub const LINK_HELD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Maximum number of bytes from local clients or sessions that one end of a link buffers before framing them. Beyond
/// this limit, it stops reading from all of them and opens no streams until half of the bytes have been sent.
pub const LINK_WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Target size of a write, in bytes. A write ends on a frame boundary. Frames that do not fit are sent by the next
/// write.
pub const LINK_WRITE_BYTES: usize = 256 * 1024;

/// Maximum number of unacknowledged sends tracked per client, at 24 bytes each. Further sends are merged with the last
/// one and acknowledged together with it.
pub const LINK_SENDS_MAX: usize = 64;

/// Delay after which a PING frame is sent to check whether sent data has arrived.
pub const LINK_PING_MS: u64 = 1_000;

/// If no frame arrives within this time while data is unacknowledged, the link is suspect. No streams are opened on a
/// suspect link.
pub const LINK_DOUBT_MS: u64 = 3_000;

/// If no frame arrives within this time, the other node is considered dead. Its clients are disconnected, and
/// unacknowledged messages are redirected.
pub const LINK_DEAD_MS: u64 = 10_000;

/// After a pause longer than this, the client's node forwards nothing on a link until it receives a PONG frame, because
/// the owner may have given up the link in the meantime.
pub const LINK_FENCE_MS: u64 = 2_000;

/// How long an answered call's END frame waits so that it can be written along with other frames. Writing it separately
/// would make a call between two nodes a third more expensive.
pub const LINK_QUIET_MS: u64 = 100;

/// Interval between kernel queries about a client's unacknowledged bytes. Also the delay before the first query.
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

// The following time spans are fractions of a lease, which is how long etcd keeps a registration without a keepalive.
// They are derived from the lease that etcd has *granted*, which is longer than requested if etcd's own elections take
// long.
//
// ```text
//  query    ├──────────── hearing: its answer lets an owner serve ───────────┤
//           ├──────────── silence = lease: nobody may claim before ──────────┼──────────┤
//  keepalive├──────────── lease: etcd keeps the registration ────────────────┼──────────┤ absence ├─ may be claimed
// ```
// An owner that receives no answers stops serving, by its own clock, before others may claim its slots. It stops a
// fifth of a lease before the silence ends, and its registration must then be absent for another fifth.

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

    /// Returns how long a registration lasts without a keepalive. A slot counts as silent if no answer has reported it
    /// as served for this long.
    #[must_use]
    pub const fn lease_ms(self) -> u64 {
        self.lease_ms
    }

    /// Returns how long an answer is valid, counted from when its query was sent.
    #[must_use]
    pub const fn hearing_ms(self) -> u64 {
        self.lease_ms - self.absence_ms()
    }

    /// Returns how long a registration must be absent from a current view before the slots of its node may be claimed.
    /// An answer expires earlier than a registration by the same span.
    #[must_use]
    pub const fn absence_ms(self) -> u64 {
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
