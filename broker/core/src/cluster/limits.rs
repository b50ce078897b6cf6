//! Bounds and time spans of the cluster, some of them parts of a lease. Spans are milliseconds of the node's own
//! monotonic clock.

/// Version of everything that nodes of one cluster exchange: keys in etcd, messages, links. Raised with each change
/// that the version before would not understand; neighbouring versions share a cluster.
///
/// 7 has links in place of a connection for each client. Versions 2, 4 and 6 were never released, so versions 1, 3 and
/// 5 have no neighbours: each refuses the other by its number.
///
/// A build for tests has its neighbour's number by `HELIOGRAPH_TEST_INNER_VERSION`, one digit: see
/// `deploy/ci/upgrade.sh`.
pub const INNER_VERSION: u32 = match option_env!("HELIOGRAPH_TEST_INNER_VERSION") {
    Some(digit) => (digit.as_bytes()[0] - b'0') as u32,
    None => 7,
};

/// Slots of a cluster: the number of parts that channels are divided into. Never changes.
pub const SLOTS: u16 = 4_096;

/// Most nodes of one cluster over its whole life, in the driver's list of names.
pub const NODES_MAX: usize = 256;

/// Interval of ticks.
pub const TICK_MS: u64 = 500;

/// Interval of rounds of questions, keepalives and progress requests.
pub const ROUND_MS: u64 = 1_000;

/// A longer span without a tick means that the process was paused: nothing from before it counts.
pub const GAP_MS: u64 = 2_000;

/// Longest interval between progress reports of the watch without a gap in the view.
pub const PROGRESS_GAP_MS: u64 = 2_500;

/// A node *has etcd* while etcd's last answer that shows the slots is not older than this.
pub const HAS_ETCD_MS: u64 = 3_000;

/// Time-out of a call: its outcome is then unknown, and the state is read back.
pub const CALL_MS: u64 = 3_000;

/// Interval of full reads of the slots, whatever the watch reports.
pub const READ_EVERY_MS: u64 = 60_000;

/// Time for which other nodes leave a node's slots to its next incarnation.
pub const RESTARTED_MS: u64 = 5_000;

/// Shortest time for which other nodes leave a slot to the node that rendezvous hashing names.
pub const FALLBACK_MS: u64 = 1_000;

/// Longest random addition to [`FALLBACK_MS`], so that the others do not all claim at once. Both are part of the 10 s
/// after which a lost host's slots are served; a lease, a report of the watch and the absence come before.
pub const FALLBACK_SPREAD_MS: u64 = 500;

/// Addition to both for a slot that was never owned, counted from when the named node last took such a slot: all nodes
/// then claim their parts of 4,096 slots batch by batch, and the fastest would take slots that the others have not
/// reached.
pub const FIRST_FALLBACK_MS: u64 = 4_000;

/// Time after its start for which a node takes no slot of an owner that has not answered it since.
pub const GRACE_MS: u64 = 30_000;

/// Time from the first registration until a node claims slots that were never owned. Ends early once a node has begun
/// to: a node that starts later would otherwise wait longer than the others wait for it.
pub const FIRST_CLAIM_MS: u64 = 10_000;

/// A slot is given up after loading was tried for this long, with etcd answering. A slot that waits behind
/// [`LOADS_MAX`] others counts from the last loaded slot, not from its claim.
pub const LOAD_MAX_MS: u64 = 10_000;

/// Time for which a node leaves a slot that it could not load to the others.
pub const SHUN_MS: u64 = 30_000;

/// Time over which clients of a slot that was given away are closed: their clients meet again within 2 s of that.
pub const GIVEN_CLOSE_MS: u64 = 500;

/// Time over which clients are closed whose slot was taken from a node that is gone, or hangs: the clients of all its
/// channels reconnect, each with up to five TLS handshakes. Part of the 10 s within which they meet again.
pub const LOST_CLOSE_MS: u64 = 1_000;

/// Time for which a node that returns while etcd accepts no registration announces that it serves before it does: each
/// peer queries it within a round, and takes none of its slots for a lease. Claims in flight have ended by then, and
/// what they took is in an answer of the following round.
pub const ANNOUNCED_MS: u64 = CALL_MS + 2 * ROUND_MS;

/// Longest gap between a peer's answers meanwhile: one lost question is no interruption.
pub const ANNOUNCED_GAP_MS: u64 = 3 * ROUND_MS;

/// Slots in one claim: etcd accepts 128 operations per transaction.
pub const SLOTS_PER_CLAIM: usize = 100;

/// First pause after a failed claim while the view shows no reason; doubles up to [`CLAIM_PAUSE_MAX_MS`]. A claim that
/// lost against another one is retried as soon as the view shows that.
pub const CLAIM_PAUSE_MS: u64 = 50;

/// Longest pause between claims that fail for no visible reason: a fifteenth of the time of a recovery.
pub const CLAIM_PAUSE_MAX_MS: u64 = 1_000;

/// Slots whose records are read at a time: a third of the slots is read in 43 rounds, 0.9 s with an etcd that is 20 ms
/// away.
pub const LOADS_MAX: usize = 32;

/// Slots that one node transfers at a time.
pub const TRANSFERS_MAX: usize = 8;

/// Longest time for which a drain waits for a node that can take its slots.
pub const DRAIN_MAX_MS: u64 = 25_000;

/// As [`DRAIN_MAX_MS`], where every other registered node stops as well, or none is registered: two rounds of questions
/// show it.
pub const DRAIN_ALONE_MS: u64 = 2_000;

/// Time for which a transfer waits for a parcel's answer, and a slot for the next attempt.
pub const PARCEL_WAIT_MS: u64 = 3_000;

/// Time for which a parcel is kept for a transfer that does not arrive: the lifetime of a pending message.
pub const PARCEL_KEPT_MS: u64 = 120_000;

/// Most parcels that one node keeps for transfers; further ones are refused, and the giver asks another node.
pub const PARCELS_MAX: usize = 8 * 64;

/// Longest time for which a transfer with an unknown outcome keeps its slot from being served.
pub const UNKNOWN_MAX_MS: u64 = 10_000;

/// A node that is alone for the second time within this span waits a whole TTL before it serves again.
pub const ALONE_AGAIN_MS: u64 = 600_000;

// Links: one connection between two nodes that carries many clients.

/// Most clients on one link. One more is refused, and gets another link, or 503.
pub const LINK_STREAMS_MAX: usize = 1 << 17;

/// Unacknowledged bytes of one stream, in each direction. The sender keeps the rest: a session in its outbox, which has
/// a bound of its own; a client's bytes stay in the kernel.
pub const LINK_WINDOW_BYTES: usize = 256 * 1024;

/// Bytes of the other node that one end buffers for slow clients or sessions. Beyond it the largest stream of the
/// account with most bytes is closed as a slow consumer.
pub const LINK_HELD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of its own clients or sessions that one end buffers until they are in frames. Beyond it nothing more is read
/// from any until half of it is sent, and no stream begins.
pub const LINK_WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of one write; the rest has its turn in the next one. A write ends with a whole frame.
pub const LINK_WRITE_BYTES: usize = 256 * 1024;

/// Most unacknowledged sends to one client that are remembered, 24 bytes each. Further ones count as one, acknowledged
/// with the last.
pub const LINK_SENDS_MAX: usize = 64;

/// Time from a send to the PING that checks whether it arrived.
pub const LINK_PING_MS: u64 = 1_000;

/// Time without a frame, while something is unacknowledged, after which a link is suspect: no stream begins on it.
pub const LINK_DOUBT_MS: u64 = 3_000;

/// Time without a frame after which the other node counts as gone: its clients end, and what is unacknowledged goes
/// elsewhere.
pub const LINK_DEAD_MS: u64 = 10_000;

/// After a pause of its own longer than this, a front forwards nothing before a PONG: the owner may have given it up.
pub const LINK_FENCE_MS: u64 = 2_000;

/// Time for which the END of an answered call waits for other frames of its link: a write of its own would be a third
/// of the cost of a call for two nodes.
pub const LINK_QUIET_MS: u64 = 100;

/// Interval of queries to the kernel about a client with unacknowledged bytes, also before the first query.
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

/// Time spans of one node. All copies are replaced together when etcd grants another lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spans {
    lease_ms: u64,
}

impl Spans {
    /// Spans of a lease of this many milliseconds.
    #[must_use]
    pub const fn of_lease(lease_ms: u64) -> Self {
        Self { lease_ms }
    }

    /// Lifetime of a registration without a keepalive; a slot not reported for as long counts as silent.
    #[must_use]
    pub const fn lease_ms(self) -> u64 {
        self.lease_ms
    }

    /// Validity of an answer, from the moment its question was sent.
    #[must_use]
    pub const fn hearing_ms(self) -> u64 {
        self.lease_ms - self.part_ms()
    }

    /// Time for which a registration must be absent from a current view before the slots of its node may be taken.
    #[must_use]
    pub const fn absence_ms(self) -> u64 {
        self.part_ms()
    }

    /// Time by which answers expire before a registration, and for which a registration must be absent.
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
