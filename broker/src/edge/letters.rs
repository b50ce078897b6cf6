//! Letters between shards, and from the side thread to a shard: their forms, and how a shard sends them.

use crate::devices::Devices;
use crate::edge::{counters::EdgeCounts, start::ShardEvent, turn::Shift};
use broker_core::cluster::link::LinkTable;
use broker_core::{id::ShardId, machine::Machine, time::Moment};
use crossbeam_channel::Sender;
use mailbox::Mailbox;
use rustls::ServerConfig;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// One letter in a shard's mailbox.
///
/// Post [`Post::Handover`], [`Post::Link`] and [refusable](Machine::refusable) letters with `Mailbox::post`, everything
/// else with `Mailbox::post_always`.
pub enum Post<M: Machine> {
    /// A connection that belongs to the reader's shard. Dropping the letter closes the connection.
    Handover(Box<Handover<M>>),
    /// A link of another node that is for the reader's shard. Dropping the letter closes the connection.
    Link(Box<Travelling>),
    /// A letter of the machine, from another shard's machine or from the side thread (drain, reload).
    Letter(M::Letter),
    /// Answer with the counters between two turns. A receiver that is gone does no harm.
    Scrape(Sender<Scraped<M::Snapshot>>),
    /// Answer an operator's question, between two turns. A receiver that is gone does no harm. In a box, since it is
    /// rare and longer than all other letters, whose places in mailboxes are counted by the million.
    Inspect(Box<M::Question>, Sender<(ShardId, M::Reply)>),
    /// The clocks differ from the system's by this much from here on. Answered with the moment, once all that is due
    /// by it is done.
    Shift(Shift, Sender<(ShardId, Moment)>),
    /// Connections accepted from here on present this.
    Tls(Arc<ServerConfig>),
    /// Connections accepted from here on are asked for a certificate at the names of these devices.
    Devices(Option<Arc<Devices>>),
    /// End the listeners, and leave their sockets open: who connects from here on waits in the kernel's queue.
    StopAccepting,
    /// End the listeners, cut off every connection, and end the shard when all descriptors are closed.
    Stop,
}

/// A connection on its way, with its session.
pub struct Handover<M: Machine> {
    /// The session, out of the machine that accepted it.
    pub parcel: M::Parcel,
    /// The connection, out of the edge that accepted it.
    pub connection: Travelling,
}

/// A connection with nothing armed and nothing in flight.
pub struct Travelling {
    pub(crate) socket: OwnedFd,
    /// The TLS state, established, with the bytes of an incomplete record.
    pub(crate) tls: Option<Box<crate::edge::tls::Tls>>,
    /// Received bytes that no machine has seen yet, as they came from the socket; of a link, behind its handshake.
    pub(crate) unread: Vec<u8>,
}

/// A shard's answer to [`Post::Scrape`].
#[derive(Clone, Debug)]
pub struct Scraped<S> {
    /// The owner.
    pub shard: ShardId,
    /// The machine's counters.
    pub snapshot: S,
    /// The edge's counters.
    pub edge: EdgeCounts,
    /// Open links with other nodes.
    pub links: LinkTable,
}

// Letters of this shard to others, and its reports to the thread that started it.

/// A shard's name, the mailboxes of all shards, and letters that did not get into one.
pub(crate) struct Mail<M: Machine> {
    id: ShardId,
    mailboxes: Arc<[Mailbox<Post<M>>]>,
    /// Letters of the machine that found no room, to be handed back.
    refused: VecDeque<M::Letter>,
    events: Sender<ShardEvent>,
}

impl<M: Machine> Mail<M> {
    /// The mail of the shard `id`.
    pub(crate) fn new(
        id: ShardId,
        mailboxes: Arc<[Mailbox<Post<M>>]>,
        events: Sender<ShardEvent>,
    ) -> Self {
        let refused = VecDeque::new();
        Self {
            id,
            mailboxes,
            refused,
            events,
        }
    }

    /// The shard.
    pub(crate) fn id(&self) -> ShardId {
        self.id
    }

    /// The shard's own mailbox.
    #[inline]
    pub(crate) fn own(&self) -> &Mailbox<Post<M>> {
        &self.mailboxes[self.id.index()]
    }

    /// Passes a link on to the shard that it is for. False when there is no room: it is closed.
    pub(crate) fn pass_link(&self, to: ShardId, arrived: Travelling) -> bool {
        let letter = Post::Link(Box::new(arrived));
        self.mailboxes[to.index()].post(letter).is_ok()
    }

    /// Posts a letter of the machine: a question may be refused, whatever must arrive uses the reserve.
    pub(crate) fn post(&mut self, to: ShardId, letter: M::Letter, counts: &mut EdgeCounts) {
        let mailbox = &self.mailboxes[to.index()];
        let posted = if M::refusable(&letter) {
            mailbox.post(Post::Letter(letter))
        } else {
            mailbox.post_always(Post::Letter(letter))
        };
        let Err(refused) = posted else { return };
        counts.mailbox_refused += 1;
        let Post::Letter(letter) = refused else {
            return debug_assert!(false, "a mailbox returns what it was given");
        };
        self.refused.push_back(letter);
    }

    /// A letter that found no room.
    #[inline]
    pub(crate) fn next_refused(&mut self) -> Option<M::Letter> {
        self.refused.pop_front()
    }

    /// Posts a connection to its shard. Returns it when there is no room.
    pub(crate) fn hand_over(
        &self,
        to: ShardId,
        handover: Handover<M>,
        counts: &mut EdgeCounts,
    ) -> Option<Box<Handover<M>>> {
        let handover = Post::Handover(Box::new(handover));
        let Err(refused) = self.mailboxes[to.index()].post(handover) else {
            counts.handovers += 1;
            return None;
        };
        counts.mailbox_refused += 1;
        let Post::Handover(back) = refused else {
            debug_assert!(false, "a mailbox returns what it was given");
            return None;
        };
        Some(back)
    }

    /// Reports that the machine has drained. The receiver is the server's; when it is gone, the process is ending
    /// anyway.
    pub(crate) fn report_drained(&self) {
        let _ = self.events.try_send(ShardEvent::Drained(self.id));
    }
}
