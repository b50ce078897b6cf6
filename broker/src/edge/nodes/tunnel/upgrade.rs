//! Upgrades on connections that come back when both sides have closed the WebSocket: the next client needs no connect,
//! no greeting and no handshake.
//!
//! ```text
//!  client                this node                                   owner
//!    │ close frame ────────► passed on, and nothing behind it ─────────► │
//!    │ ◄──────── passed on; the end follows ◄──────── close frame, Free  │
//!    │ end ────────────────► the connection waits for the next client    │
//! ```
//! Both sides' frames are followed, so that this node knows as well as the owner where the client's bytes end. Where it
//! does not, where either side says more, or where the end comes in another way, the connection ends with the tunnel.
//! An owner that does not know `Free` never says it.

use crate::edge::io::Io;
use crate::edge::nodes::tunnel::ahead::Opening;
use crate::edge::nodes::tunnel::call::Rested;
use crate::edge::nodes::tunnel::half::Half;
use crate::edge::nodes::tunnel::{Ending, Passes, Side, Tunnel, Tunnels};
use broker_core::id::NodeId;
use broker_core::machine::Machine;
use broker_core::time::Now;
use codec::proxy::{CHALLENGE_BYTES, FRAME_BYTES, NotFrame, OwnerFrame, read_frame};
use codec::ws::{Follower, Place};
use std::net::SocketAddr;

/// An upgrade on a connection that may come back.
pub(crate) struct Upgrade {
    /// The owner's, of the connection.
    challenge: [u8; CHALLENGE_BYTES],
    /// The number of the upgrade on it.
    pub(crate) number: u64,
    /// The address that the connection goes to, once it has waited.
    address: Option<SocketAddr>,
    /// The client's frames, as far as the owner was given them; `None` where they are not followed.
    client: Option<Follower>,
    /// The client goes on behind its close frame.
    goes_on: bool,
    /// The owner's bytes behind its close frame: one frame at most, and a byte that is too many.
    behind: Vec<u8>,
    /// The connection waits for its next client when this one has ended.
    free: bool,
}

impl Upgrade {
    pub(crate) fn new(
        challenge: [u8; CHALLENGE_BYTES],
        number: u64,
        address: Option<SocketAddr>,
    ) -> Self {
        Self {
            challenge,
            number,
            address,
            client: None,
            goes_on: false,
            behind: Vec::new(),
            free: false,
        }
    }

    /// The request is on its way: the client's frames follow, unless there is something behind its head already.
    pub(crate) fn follows(&mut self, request: &[u8]) {
        let end = request.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        if end.is_some_and(|end| end + 4 == request.len()) {
            self.client = Some(Follower::of_client());
        }
    }

    /// Whether the owner has all that its client will send.
    fn has_all(&self) -> bool {
        let client = self.client.as_ref();
        !self.goes_on && client.is_some_and(|client| client.place() == Place::Closed)
    }
}

impl<M: Machine> Tunnel<M> {
    /// Bytes of one side that are to be passed on: the number of those that the other side is to get.
    #[inline]
    pub(crate) fn follow(&mut self, side: Side, bytes: &[u8]) -> usize {
        match (side, &mut self.upgrade) {
            (Side::Owner, None) => {
                self.frames.follow(bytes);
                bytes.len()
            }
            (Side::Owner, Some(upgrade)) => {
                let its = self.frames.follow(bytes);
                let behind = bytes.iter().skip(its);
                let room = (FRAME_BYTES + 1).saturating_sub(upgrade.behind.len());
                upgrade.behind.extend(behind.take(room));
                its
            }
            (Side::Client, Some(upgrade)) => {
                let Some(client) = &mut upgrade.client else {
                    return bytes.len();
                };
                let its = client.follow(bytes);
                upgrade.goes_on |= its < bytes.len();
                its
            }
            (Side::Client, None) => bytes.len(),
        }
    }

    /// Whether the owner says in place of an answer that it has not taken the upgrade, which a connection waited for.
    pub(crate) fn is_declined(&self, bytes: &[u8]) -> bool {
        let waited = self.upgrade.as_ref().filter(|it| it.number > 0);
        // Bytes that a TLS record is made of may be none of the owner's yet.
        let is_first = self.parcel.is_some() && !bytes.is_empty();
        is_first && waited.is_some_and(|it| read_frame(bytes, it.number) != Err(NotFrame))
    }

    /// Whether the end of the client is not to be passed on, since its close frame was, and the owner is to answer it.
    pub(crate) fn awaits_free(&self) -> bool {
        let upgrade = self.upgrade.as_ref();
        self.owner.ended.is_none() && upgrade.is_some_and(|it| it.has_all() && !it.free)
    }

    /// Looks at what the owner has said behind its close frame. Nothing follows that.
    pub(crate) fn look_behind(&mut self, now: Now) {
        let Some(upgrade) = &mut self.upgrade else {
            return;
        };
        let read = read_frame(&upgrade.behind, upgrade.number);
        match read {
            Ok(None) => return,
            Ok(Some((OwnerFrame::Free, FRAME_BYTES)))
                if upgrade.behind.len() == FRAME_BYTES
                    && upgrade.has_all()
                    && self.passes == Passes::Both
                    && self.owner.taken() =>
            {
                upgrade.free = true;
                self.passes = Passes::Nothing;
                self.owner.shut = true;
            }
            Ok(Some(_)) | Err(NotFrame) => self.passes = Passes::Nothing,
        }
        self.owner.ended.get_or_insert(now);
    }

    /// Takes the connection out of a tunnel that has ended, if it waits for the next client.
    pub(crate) fn take_free(&mut self, ending: Ending) -> Option<Box<Upgrade>> {
        let is_over = !matches!(ending, Ending::Bounce(_));
        self.upgrade.take_if(|upgrade| is_over && upgrade.free)
    }
}

impl<M: Machine> Tunnels<M> {
    /// Has the connection of a tunnel that has ended wait for its next client, if there is room.
    pub(crate) fn await_next(
        &mut self,
        place: u32,
        (node, mut owner): (NodeId, Half),
        upgrade: Upgrade,
        io: &mut Io,
    ) {
        let address = upgrade.address.or_else(|| owner.remote());
        let next = upgrade.number.checked_add(1).filter(|_| !io.stopping);
        let (Some(address), Some(next), true) =
            (address, next, self.aheads.stock.returns(node, place))
        else {
            self.all.release(place);
            return owner.close(io);
        };
        owner.discharge(&mut io.counts);
        let half = Half::new(owner.socket, owner.tls);
        let challenge = upgrade.challenge;
        let stage = Opening::Ready(Rested { challenge, next });
        io.counts.ahead_returned += 1;
        self.wait(place, (node, address), half, stage, io);
    }
}
