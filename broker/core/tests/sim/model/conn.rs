//! The model of one connection.

use super::confirmation::Written;
use super::doubt::Gone;
use super::proof::Proving;
use super::{ConnId, Expect, quotas};
use crate::sim::words::{Call, Piece};
use broker_core::id::SessionKey;
use broker_core::journal::EndReason;
use codec::control::Operation;
use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;

/// One connection.
pub(crate) struct Conn {
    pub(crate) shard: usize,
    pub(crate) remote: SocketAddr,
    pub(crate) tls: bool,
    /// A machine has a session of it.
    pub(crate) live: bool,
    /// Index of its place in the gauges.
    pub(crate) place: usize,
    pub(crate) stage: Stage,
    pub(crate) pieces: VecDeque<Piece>,
    /// Bytes of an incomplete piece were fed.
    pub(crate) partial: bool,
    pub(crate) served: bool,
    pub(crate) ended: bool,
    pub(crate) head_began: bool,
    pub(crate) deadline: u64,
    pub(crate) number: u32,
    pub(crate) ws: Option<Ws>,
    /// Messages queued for it and not wholly handed over, in order.
    pub(crate) outbox: VecDeque<Queued>,
    /// Messages that the kernel has and that are not confirmed, the ends of those that were taken back, and how many of
    /// these were confirmed all the same.
    pub(crate) written: VecDeque<Written>,
    pub(crate) returned: VecDeque<usize>,
    pub(crate) repeated: u32,
    /// Through which byte on the wire its peer has confirmed, and since when it is doubtful that the peer is there.
    pub(crate) confirmed: usize,
    pub(crate) doubtful: Option<u64>,
    /// A master: whether it is reported gone for that.
    pub(crate) gone: Gone,
    pub(crate) round_trip_ms: u32,
    /// The viewers whose messages a master had not confirmed when it became doubtful.
    pub(crate) doubted: BTreeSet<String>,
    /// The senders of calls that waited then, or since.
    pub(crate) doubted_calls: BTreeSet<String>,
    /// Bytes that were handed over, and those on the wire for them; and where its first queued message begins.
    pub(crate) sent: usize,
    pub(crate) wire: usize,
    pub(crate) begins: Option<usize>,
    /// When it was asked last what its peer has, and the bytes of messages written since.
    pub(crate) asked: u64,
    pub(crate) unasked: usize,
    /// The ping under way whose pong proves what was before it.
    pub(crate) proof: Option<Proving>,
    /// How much was on the wire when its peer sent no more: what it had not confirmed by then, its program does not
    /// read, nor what came later.
    pub(crate) over: Option<usize>,
    /// What it has not confirmed when it is asked the next time makes room.
    pub(crate) makes_room: bool,
    /// Bytes that the kernel held for it when it was asked last; 0 where they are few.
    pub(crate) unread: usize,
    /// Bytes that were written since, of those that no message is asked for.
    pub(crate) uncounted: usize,
    /// Bytes of the send that is not reported yet.
    pub(crate) launched: usize,
    /// Number of these that the edge has begun to take.
    pub(crate) begun: usize,
    /// The machine's key of it: of two that wait for the same number of bytes the greater pays.
    pub(crate) key: SessionKey,
    /// Its socket had no room, and it has not taken everything since.
    pub(crate) behind: bool,
    /// It was cut off since it does not read.
    pub(crate) cut: bool,
    /// Bytes of its outbox: read off the machine before each input, then predicted.
    pub(crate) bytes: usize,
    /// Bytes of these that belong to no messages.
    pub(crate) control: usize,
    /// Answers that were queued in this step and whose length the model does not know.
    pub(crate) unsure: usize,
    /// Its requests wait for a turn.
    pub(crate) queued: bool,
    /// Since when it has taken nothing of the answers that wait for it.
    pub(crate) untaken: Option<u64>,
    /// Items that must appear in its stream in this step, beside messages.
    pub(crate) expects: VecDeque<Expect>,
    /// Our close frame was queued by the connection's own doing, so what followed in the same read was dropped.
    pub(crate) lost_sync: bool,
    /// Until when a fault keeps everything from it; the end of time, if for good.
    pub(crate) mute: Option<u64>,
    /// Its end waits for that.
    pub(crate) deferred: bool,
    /// When that was over.
    pub(crate) unmuted: u64,
}

/// The place of a WebSocket on its channel.
#[derive(Debug)]
pub(crate) struct Ws {
    pub(crate) channel: usize,
    /// `None` for a master.
    pub(crate) viewer: Option<String>,
    pub(crate) superseded: bool,
    /// Its place in the order of admission to all slots.
    pub(crate) admitted: u64,
    /// When it lost its slot, to which connection, and which one it gives way to since.
    pub(crate) lost: Option<Lost>,
    /// Its number in the order in which connections were admitted, were superseded or left, and when that was.
    pub(crate) number: u64,
    pub(crate) moved: u64,
    /// It made room for another one.
    pub(crate) paid: bool,
    pub(crate) opened: u64,
    pub(crate) heard: u64,
    /// When bytes were last handed to the kernel, or a ping was queued.
    pub(crate) went: u64,
    /// Since when a ping is unanswered.
    pub(crate) pinged: Option<u64>,
    pub(crate) told: bool,
    /// Whether it may get GO_AWAY and RECONNECT_ICE_SERVER.
    pub(crate) notices: bool,
    /// When it is closed; at the end of time, if never. And whether that is for ICE servers.
    pub(crate) ends: u64,
    pub(crate) recalled: bool,
    pub(crate) message_began: Option<u64>,
    /// Times from a viewer's admission to its first offer that was within its rate, and to the first SDP_ANSWER that
    /// was handed to it.
    pub(crate) setup: [Option<u64>; 2],
    pub(crate) messages_in: u32,
    pub(crate) messages_out: u32,
    /// A second of the clock, and how many frames without effect came in it.
    pub(crate) idle: (u64, u32),
    pub(crate) taken: quotas::Taken,
    /// Why it ends: what happened first, or what else it may have been.
    pub(crate) reason: Option<EndReason>,
    pub(crate) or_reason: Option<EndReason>,
}

impl Ws {
    /// When it is pinged, unless it is superseded: nothing came, or nothing went. Once pinged, only what went counts.
    pub(crate) fn ping_due(&self, ping_ms: u64) -> u64 {
        let came = self.pinged.map_or(self.heard, |_| u64::MAX);
        let due = super::timers::whole_second(came.min(self.went) + ping_ms);
        if ping_ms == 0 { u64::MAX } else { due }
    }
}

/// The loss of a slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lost {
    pub(crate) since: u64,
    /// The place of the one that took it in the order of admission.
    pub(crate) to: u64,
    /// The connection whose early end gives it back; none, once something was taken back.
    pub(crate) by: Option<ConnId>,
}

/// A message in an outbox.
#[derive(Clone, Copy)]
pub(crate) struct Queued {
    pub(crate) number: usize,
    /// It counts in the gauge.
    pub(crate) counted: bool,
    /// The duration of its delivery is measured.
    pub(crate) timed: bool,
    /// It was handed to the kernel whole.
    pub(crate) written: bool,
}

/// The state of a connection.
#[derive(Debug)]
pub(crate) enum Stage {
    AwaitTls,
    AwaitHead,
    AwaitBody(Operation),
    AwaitReply(Reply),
    AwaitHandover(String, Option<String>, bool),
    Open,
    /// Our close frame is out since; whether the peer's stream of frames is lost.
    AwaitEcho(u64, bool),
    /// Since when the edge has to end it; never again once it has to abort it.
    Ending(u64),
    Gone,
}

/// A call that waits, with the answers so far.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) call: Call,
    /// The permission that its account has to give first.
    pub(crate) permit: Option<Permit>,
    pub(crate) missing: usize,
    pub(crate) names: Vec<String>,
    pub(crate) more: bool,
    /// An Alexa call: another shard said that it waits there.
    pub(crate) taken: bool,
    /// A change, for whose line the log keeps a place.
    pub(crate) place_kept: bool,
    /// That line was written before the answer.
    pub(crate) noted: bool,
}

/// The account's leave for a call, as far as it has come.
#[derive(Debug)]
pub(crate) struct Permit {
    pub(crate) missing: usize,
    pub(crate) channels: usize,
    pub(crate) bytes: u64,
}
