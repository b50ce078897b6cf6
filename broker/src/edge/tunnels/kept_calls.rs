//! Calls over connections to their owner that are kept: one at a time on each, in a frame each way.
//!
//! ```text
//!                        the owner has it        the answer, whole
//!  Unsent ──► Sent ──────────────────► Taken ─────────────────────► Answered: the client goes back to the machine with
//!               │ │                      │                                     it, the connection waits for a call
//!               │ └──────────────────────┴► 503: the owner fails, or is late; the call may have been carried out
//!               └► Declined: the owner had ended the connection, or never read it; the call goes there again, over
//!                  one of its own
//! ```
//! The client is not read meanwhile: what it sends next may be for any node, so it waits for the machine. A connection
//! is kept after its first call, if the owner answers in a frame; one of the version before answers without, and the
//! tunnel goes on as for an upgrade.
//!
//! Nobody greets a call on a connection that waited, so the owner says soon that it has it
//! ([`KEPT_TAKEN_MS`](crate::edge::limits::KEPT_TAKEN_MS)): a node that hangs is known as soon as by its greeting. An
//! answer that comes before says so as well: most calls are answered in `Sent`.

use crate::edge::connection::{NEVER, has_left};
use crate::edge::tunnels::ahead::Opening;
use crate::edge::tunnels::end::stop;
use crate::edge::tunnels::{
    Answered, Ending, Half, Kept, Progress, Rested, Settled, Side, Taken, Tunnel, Tunnels,
};
use crate::edge::{io::Io, limits::KEPT_TAKEN_MS};
use broker_core::machine::{Machine, TunnelFailure};
use broker_core::{id::NodeId, time::Now};
use codec::proxy::{CALL_BYTES_MAX, CHALLENGE_BYTES, NotFrame};
use std::io;

impl<M: Machine> Tunnels<M> {
    /// A connection to a node that waits for a call. Those that have ended, or go to an address that the node had
    /// before, are closed.
    pub(crate) fn take_kept(&mut self, node: NodeId, io: &mut Io) -> Option<Taken> {
        while let Some(place) = self.aheads.pool.take(node) {
            let Some(mut resting) = self.aheads.all.remove(&place) else {
                debug_assert!(false, "one that waits is there");
                continue;
            };
            self.due.remove(&(resting.due, place));
            let address = resting.address;
            let is_there = (self.links.as_ref()).is_some_and(|links| links.is_at(node, address));
            if let Opening::Resting(rested) = resting.stage
                && is_there
                && !has_left(&resting.owner.socket)
            {
                io.counts.kept_used += 1;
                self.count_aheads(io);
                let owner = resting.owner;
                return Some(Taken {
                    place,
                    owner,
                    address,
                    rested,
                });
            }
            self.aheads.pool.ends(node);
            resting.over = true;
            self.settle_ahead(place, resting, false, io);
        }
        None
    }

    /// Sees whether what goes to an owner is a call, over a connection that is kept from here on or was before. What
    /// the client sent behind it stays here.
    pub(crate) fn frame_call(&mut self, tunnel: &mut Tunnel<M>, challenge: &[u8; CHALLENGE_BYTES]) {
        let fits = |length: &usize| *length <= tunnel.request.len().min(CALL_BYTES_MAX);
        let (Some(length), Some(node)) = (tunnel.call.filter(fits), tunnel.node) else {
            debug_assert!(tunnel.kept.is_none(), "only a call that fits takes one");
            return;
        };
        if tunnel.kept.is_none() && self.aheads.pool.begins(node) {
            tunnel.kept = Some(Box::new(Kept::new(*challenge, 0, None)));
        }
        if let Some(kept) = &mut tunnel.kept {
            kept.rest = tunnel.request.split_off(length);
        }
    }

    /// The owner's bytes: frames of the call that is under way.
    pub(crate) fn take_frames(
        &mut self,
        place: u32,
        tunnel: &mut Tunnel<M>,
        bytes: &[u8],
        io: &mut Io,
    ) {
        let Some(kept) = &mut tunnel.kept else {
            return debug_assert!(false, "called for such a tunnel");
        };
        if kept.progress == Progress::Answered {
            kept.spoiled = true; // nothing is said before the next call
            return;
        }
        kept.bytes.extend_from_slice(bytes);
        let read = kept.read();
        match read {
            Ok(true) => {
                self.take_request(tunnel);
            }
            Ok(false) => {}
            Err(NotFrame) if tunnel.may_be_unframed() => self.unframe(place, tunnel, io),
            Err(NotFrame) => tunnel.owner_fails(TunnelFailure::Foreign, Ending::Reset),
        }
        let Some(kept) = &mut tunnel.kept else {
            return;
        };
        match kept.progress {
            Progress::Declined => tunnel.owner_fails(TunnelFailure::Closed, Ending::Close),
            Progress::Answered => io.counts.tunnel_bytes_to_client += kept.bytes.len() as u64,
            Progress::Unsent | Progress::Sent | Progress::Taken => {}
        }
        self.count_kept(place, tunnel);
    }

    /// Counts the bytes of an answer that is not whole among those that wait.
    fn count_kept(&mut self, place: u32, tunnel: &mut Tunnel<M>) {
        let Some(kept) = &mut tunnel.kept else {
            return;
        };
        let counted = std::mem::replace(&mut kept.counted, kept.bytes.len());
        self.stalled_bytes = self.stalled_bytes + kept.counted - counted;
        tunnel.stalled = tunnel.stalled + kept.counted - counted;
        if tunnel.stalled == 0 {
            self.stalled.remove(&place);
        } else {
            self.stalled.insert(place);
        }
    }

    /// The owner is of the version before: its bytes are the answer, and more of the client may follow.
    fn unframe(&mut self, place: u32, tunnel: &mut Tunnel<M>, io: &mut Io) {
        let bytes = tunnel.kept.as_deref_mut().map(Kept::take_bytes);
        let bytes = bytes.unwrap_or_default();
        let _ = self.release_kept(place, tunnel);
        self.count_passed(tunnel, Side::Owner, bytes.len(), io);
        self.pass(place, tunnel, Side::Client, &bytes, io);
    }

    /// The connection is kept no more. What came of the client behind its call, and the progress of that.
    fn release_kept(
        &mut self,
        place: u32,
        tunnel: &mut Tunnel<M>,
    ) -> Option<(Vec<u8>, Progress, u64)> {
        if let Some(kept) = &mut tunnel.kept {
            kept.bytes = Vec::new();
        }
        self.count_kept(place, tunnel);
        let kept = tunnel.kept.take()?;
        self.request_bytes -= kept.rest.len();
        if let Some(node) = tunnel.node {
            self.aheads.pool.ends(node);
        }
        Some((kept.rest, kept.progress, kept.number))
    }

    /// The part of a request that an owner has not got, of a tunnel that ends. A call on a connection that is kept may
    /// have been carried out, unless the owner has said that it ended before.
    pub(crate) fn take_unsent(&mut self, place: u32, tunnel: &mut Tunnel<M>) -> Vec<u8> {
        let mut unsent = self.take_request(tunnel);
        if let Some((mut rest, progress, number)) = self.release_kept(place, tunnel) {
            match progress {
                // Of one that is not kept any more only the rest is here.
                Progress::Unsent | Progress::Declined if !unsent.is_empty() => {
                    unsent.append(&mut rest);
                    tunnel.ahead |= number > 0;
                }
                Progress::Unsent
                | Progress::Sent
                | Progress::Taken
                | Progress::Declined
                | Progress::Answered => unsent.clear(),
            }
        }
        unsent
    }

    /// The answer is here: the client goes back with it, and the connection waits for its next call.
    pub(crate) fn deliver(
        &mut self,
        place: u32,
        mut tunnel: Box<Tunnel<M>>,
        machine: &mut M,
        io: &mut Io,
    ) -> Settled<M> {
        let answer = tunnel.kept.as_deref_mut().map(Kept::take_bytes);
        self.count_kept(place, &mut tunnel);
        self.take_request(&mut tunnel);
        let (Some(answer), Some(parcel)) = (answer, tunnel.parcel.take()) else {
            debug_assert!(false, "an answer that no client awaits");
            tunnel.end(Ending::Close);
            return self.settle(place, tunnel, machine, io);
        };
        self.due.remove(&(tunnel.due, place));
        machine.tunnel_left(place);
        let Tunnel {
            node,
            peer,
            kept,
            client,
            owner,
            ..
        } = *tunnel;
        debug_assert!(client.at_rest() && !owner.armed, "neither is read");
        let mut rest = Vec::new();
        if let (Some(kept), Some(node)) = (kept, node) {
            self.request_bytes -= kept.rest.len();
            rest = self.rest(place, (node, owner), *kept, io);
        }
        io.counts.tunnels = self.to_nodes();
        let answered = Answered {
            client,
            remote: peer.remote,
            parcel,
            answer,
            rest,
        };
        Settled {
            answered: Some(Box::new(answered)),
            ..Settled::done()
        }
    }

    /// Has a connection wait for its next call, unless it is of no use for one. Returns what the client sent behind its
    /// call.
    fn rest(
        &mut self,
        place: u32,
        (node, owner): (NodeId, Half),
        kept: Kept,
        io: &mut Io,
    ) -> Vec<u8> {
        let address = kept.address.or_else(|| owner.remote());
        let is_of_use = !kept.spoiled && owner.taken() && owner.ended.is_none() && !io.stopping;
        let (Some(address), true, Some(next)) = (address, is_of_use, kept.number.checked_add(1))
        else {
            self.aheads.pool.ends(node);
            self.all.release(place);
            owner.close(io);
            return kept.rest;
        };
        let challenge = kept.challenge;
        let stage = Opening::Resting(Rested { challenge, next });
        self.aheads.pool.rests(node, place);
        self.wait(place, (node, address), owner, stage, io);
        kept.rest
    }
}

impl<M: Machine> Tunnel<M> {
    /// The owner's side of the connection has failed. A kernel resets one whose bytes its process has not read: then
    /// the owner has not begun the call, unless it has said so.
    pub(crate) fn was_cut(&mut self, error: &io::Error) {
        let is_reset = error.raw_os_error() == Some(libc::ECONNRESET);
        if let Some(kept) = self.kept.as_mut().filter(|_| is_reset)
            && kept.number > 0
            && kept.progress == Progress::Sent
        {
            kept.progress = Progress::Declined;
        }
    }

    /// Whether the whole answer to its call has come.
    pub(crate) fn is_answered(&self) -> bool {
        let kept = self.kept.as_ref();
        kept.is_some_and(|kept| kept.progress == Progress::Answered)
    }

    /// Whether the owner may be of the version before, which answers without a frame.
    fn may_be_unframed(&self) -> bool {
        let kept = self.kept.as_ref();
        kept.is_some_and(|kept| kept.number == 0 && kept.progress == Progress::Sent)
    }

    /// When the owner is to have said that it has the call; the end of time where it need not.
    pub(crate) fn taken_due(&self) -> Now {
        let kept = self.kept.as_ref();
        let awaits = kept.is_some_and(|it| it.number > 0 && it.progress == Progress::Sent);
        if awaits {
            self.began.after(KEPT_TAKEN_MS)
        } else {
            NEVER
        }
    }

    /// The owner fails behind its answer, which is whole: the connection is not kept. False when there is none.
    pub(crate) fn spoil(&mut self) -> bool {
        let is_answered = self.is_answered();
        if let Some(kept) = self.kept.as_mut().filter(|_| is_answered) {
            kept.spoiled = true;
            self.owner.waiting = Vec::new();
            stop(&self.owner, Ending::Close); // nothing more of the request is sent
        }
        is_answered
    }
}
