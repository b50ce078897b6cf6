//! Bounds and spans of the cluster, some of which are parts of a lease. Spans are milliseconds of the node's own
//! monotonic clock.

/// The version of all that nodes of one cluster exchange: keys in etcd, messages, links. Raised with each change that
/// the version before would not understand; two neighbouring ones share a cluster.
///
/// 7 has links in place of a connection for each client. No program has version 6, so those of 5 and older are no
/// neighbours: each refuses the other by its number.
pub const INNER_VERSION: u32 = 7;

/// Slots of a cluster: the number of parts that channels are divided into. It never changes.
pub const SLOTS: u16 = 4_096;

/// Nodes that one cluster may have, over its whole life, in the list of names that a driver keeps.
pub const NODES_MAX: usize = 256;

/// From one tick to the next.
pub const TICK_MS: u64 = 500;

/// From one round of questions, keepalives and progress requests to the next.
pub const ROUND_MS: u64 = 1_000;

/// A longer span without a tick means that the process was stopped: nothing from before it counts.
pub const GAP_MS: u64 = 2_000;

/// Progress reports of the watch that are further apart than this leave a gap in what the view knows.
pub const PROGRESS_GAP_MS: u64 = 2_500;

/// A node *has etcd* while etcd's last answer that shows the slots is not older than this.
pub const HAS_ETCD_MS: u64 = 3_000;

/// After this long without a reply the outcome of a call is unknown, and the state is read back.
pub const CALL_MS: u64 = 3_000;

/// The slots are read as a whole this often, whatever the watch reports.
pub const READ_EVERY_MS: u64 = 60_000;

/// Time that other nodes leave a node's slots to its next incarnation.
pub const RESTARTED_MS: u64 = 5_000;

/// The least time that the other nodes leave a slot to the one that rendezvous hashing names.
pub const FALLBACK_MS: u64 = 1_000;

/// The most that chance adds to [`FALLBACK_MS`], so that the others do not all claim at once. Together they are part of
/// the 10 s after which a lost host's slots are served; a lease, a report of the watch and the absence come before.
pub const FALLBACK_SPREAD_MS: u64 = 500;

/// Time added to both for a slot that nobody ever owned, counted from when the named node last took such a slot: all
/// nodes then claim their parts of 4,096 slots batch by batch, and the fastest would take slots that the others have
/// not reached.
pub const FIRST_FALLBACK_MS: u64 = 4_000;

/// For this long after its start a node takes no slot of an owner that did not answer it since then.
pub const GRACE_MS: u64 = 30_000;

/// Time from the first registration until a node claims slots that nobody ever owned. It ends early once a node has
/// begun to: one that starts later would otherwise count longer than the others wait for it.
pub const FIRST_CLAIM_MS: u64 = 10_000;

/// A slot is given up when loading it was tried for this long, with etcd answering. One that waits behind [`LOADS_MAX`]
/// others counts from the last slot that was loaded, not from its claim.
pub const LOAD_MAX_MS: u64 = 10_000;

/// Time that a node leaves a slot that it could not load to the others.
pub const SHUN_MS: u64 = 30_000;

/// Over how long clients are closed whose slot was given to another node: their clients meet again within 2 s of that.
pub const GIVEN_CLOSE_MS: u64 = 500;

/// The same where the slot was taken from a node that is gone, or hangs: the clients of all its channels come back,
/// each with up to five TLS handshakes. It is part of the 10 s within which they meet again.
pub const LOST_CLOSE_MS: u64 = 1_000;

/// A node that comes back while etcd takes no registration says for this long that it serves before it does: each peer
/// asks it within a round, and takes nothing of it for a lease. Claims that were on their way have ended by then, and
/// what they took is in an answer of the round that follows.
pub const ANNOUNCED_MS: u64 = CALL_MS + 2 * ROUND_MS;

/// Meanwhile each peer answers, none later than this: one lost question is no interruption.
pub const ANNOUNCED_GAP_MS: u64 = 3 * ROUND_MS;

/// Slots in one claim: etcd takes 128 operations a transaction.
pub const SLOTS_PER_CLAIM: usize = 100;

/// The pause after a claim that etcd did not make, while the view shows no reason; it doubles up to
/// [`CLAIM_PAUSE_MAX_MS`]. A claim that lost against another one is tried again as soon as the view shows that.
pub const CLAIM_PAUSE_MS: u64 = 50;

/// Longest pause between claims that fail for no reason that the view shows: a fifteenth of what a recovery may take.
pub const CLAIM_PAUSE_MAX_MS: u64 = 1_000;

/// Slots whose records are read at a time: a third of the slots is read in 43 rounds, 0.9 s with an etcd that is 20 ms
/// away.
pub const LOADS_MAX: usize = 32;

/// Slots that one node transfers at a time.
pub const TRANSFERS_MAX: usize = 8;

/// Longest time that a drain waits for a node that can take its slots.
pub const DRAIN_MAX_MS: u64 = 25_000;

/// The same where every other registered node stops as well, or none is registered: two rounds of questions show it.
pub const DRAIN_ALONE_MS: u64 = 2_000;

/// Time that a transfer waits for a parcel's answer, and a slot for the next attempt.
pub const PARCEL_WAIT_MS: u64 = 3_000;

/// Time that a parcel is kept for a transfer that does not come: the life of a pending message.
pub const PARCEL_KEPT_MS: u64 = 120_000;

/// Parcels that one node keeps for transfers to come; further ones are refused, and the giver asks another node.
pub const PARCELS_MAX: usize = 8 * 64;

/// Longest time that a transfer without an outcome keeps its slot from being served.
pub const UNKNOWN_MAX_MS: u64 = 10_000;

/// A node that is alone for the second time within this span waits a whole TTL before it serves again.
pub const ALONE_AGAIN_MS: u64 = 600_000;

// Links: one connection between two nodes that carries many clients.

/// Clients on one link. One more is refused, and has another link, or 503.
pub const LINK_STREAMS_MAX: usize = 1 << 17;

/// Bytes of one stream that its receiver has not confirmed, in each direction. The sender keeps what is beyond: a
/// session in its outbox, which has a bound of its own, and a client's kernel what is not read from it.
pub const LINK_WINDOW_BYTES: usize = 256 * 1024;

/// Bytes of the other node that one end holds for clients, or sessions, that take them slowly. Beyond it the account
/// that holds most loses the stream that holds most, as a slow consumer does.
pub const LINK_HELD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of its own clients, or sessions, that one end holds until they are in frames. Beyond it nothing more is taken
/// of any until half of it is gone, and no stream begins.
pub const LINK_WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of one write, beyond which the rest has its turn in the next one. It ends with a whole frame.
pub const LINK_WRITE_BYTES: usize = 256 * 1024;

/// Sends to one client that are remembered until they are confirmed, of 24 bytes. More of them count as one, which is
/// confirmed with the last.
pub const LINK_SENDS_MAX: usize = 64;

/// Time from something that was sent to the PING that asks whether it arrived.
pub const LINK_PING_MS: u64 = 1_000;

/// Time without a frame, while something is unconfirmed, after which a link is doubtful: nothing begins on it.
pub const LINK_DOUBT_MS: u64 = 3_000;

/// The same after which the other node counts as gone: its clients end, and what is unconfirmed goes elsewhere.
pub const LINK_DEAD_MS: u64 = 10_000;

/// After an own standstill of more than this a front passes nothing on before a PONG: the owner may have given it up.
pub const LINK_FENCE_MS: u64 = 2_000;

/// Time for which the END of a call that has its answer waits for other frames of its link: a write of its own would be
/// a third of what a call costs two nodes.
pub const LINK_QUIET_MS: u64 = 100;

/// Time between two questions to the kernel about a client with unconfirmed bytes, and from the first to the question.
pub const LINK_SWEEP_MS: u64 = 1_000;

/// Time after which a link without a stream ends.
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

// The spans that are parts of a lease: the life that etcd gives a registration without a keepalive. The lease that is
// *granted* counts: etcd gives a longer one than it is asked for where its own elections take long.
//
// ```text
//  question ├──────────── hearing: its answer lets an owner serve ───────────┤
//           ├──────────── silence = lease: nobody may take before ───────────┼──────────┤
//  keepalive├──────────── lease: etcd keeps the registration ────────────────┼──────────┤ absence ├─ may be taken
// ```
// An owner that nobody answers stops by its own clock before others may take: a fifth of a lease before they may claim
// at the earliest, and another fifth for the absence.

/// The spans of one node. Copies of it are replaced together when etcd grants another lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spans {
    lease_ms: u64,
}

impl Spans {
    /// The spans of a lease of this many milliseconds.
    #[must_use]
    pub const fn of_lease(lease_ms: u64) -> Self {
        Self { lease_ms }
    }

    /// Life of a registration without a keepalive; a slot of which no word came for as long counts as silent.
    #[must_use]
    pub const fn lease_ms(self) -> u64 {
        self.lease_ms
    }

    /// The value of an answer, from the moment its question was sent.
    #[must_use]
    pub const fn hearing_ms(self) -> u64 {
        self.lease_ms - self.part_ms()
    }

    /// Time that a registration must be absent from a current view before the slots of its node may be taken.
    #[must_use]
    pub const fn absence_ms(self) -> u64 {
        self.part_ms()
    }

    /// By how much an answer loses its value before a registration ends, and time that a registration must be absent.
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
