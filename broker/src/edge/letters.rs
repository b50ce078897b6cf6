//! Messages ("letters") that shards receive from each other and from the side thread: the message types, and the code
//! that sends them.

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

/// A message in a shard's mailbox.
///
/// Send [`Post::Handover`], [`Post::Link`] and letters that are [refusable](Machine::refusable) with `Mailbox::post`,
/// and all others with `Mailbox::post_always`.
pub enum Post<M: Machine> {
    /// A connection handed over to the receiving shard. Dropping this message closes the connection.
    Handover(Box<Handover<M>>),
    /// A link from another node, which the receiving shard must serve. Dropping this message closes the link.
    Link(Box<Travelling>),
    /// A message to the receiving shard's state machine, sent by another shard's state machine or by the side thread
    /// (to drain or reload).
    Letter(M::Letter),
    /// A request for the shard's counters, answered between two loop iterations. By then, the requester may have
    /// dropped the receiver.
    Scrape(Sender<Scraped<M::Snapshot>>),
    /// An operator's question, answered between two loop iterations. By then, the requester may have dropped the
    /// receiver. Boxed because questions are rare and large, and mailboxes reserve space for millions of messages.
    Inspect(Box<M::Question>, Sender<(ShardId, M::Reply)>),
    /// Shifts the shard's clocks relative to the system's. Once the shard has done all work that is due by the new
    /// time, it reports that time.
    Shift(Shift, Sender<(ShardId, Moment)>),
    /// Sets the TLS configuration for connections accepted from now on.
    Tls(Arc<ServerConfig>),
    /// Sets the devices, and with them the server names for which a certificate is requested, for connections accepted
    /// from now on.
    Devices(Option<Arc<Devices>>),
    /// Stops accepting but keeps the listening sockets open. New connections wait in the kernel's backlog.
    StopAccepting,
    /// Closes the listeners and aborts every connection. The shard stops once all descriptors are closed.
    Stop,
}

/// A connection that moves to another shard, with its session.
pub struct Handover<M: Machine> {
    /// The session, as exported by the accepting shard's state machine.
    pub parcel: M::Parcel,
    /// The connection, as exported by the accepting shard's edge.
    pub connection: Travelling,
}

/// A connection in transit, for example to another shard. It has no pending operations.
pub struct Travelling {
    pub(crate) socket: OwnedFd,
    /// The established TLS connection's state, including any incomplete record.
    pub(crate) tls: Option<Box<crate::edge::tls::Tls>>,
    /// Bytes that have been read from the socket but not passed to a state machine. For a link, the bytes after its
    /// handshake.
    pub(crate) unread: Vec<u8>,
}

/// A shard's response to [`Post::Scrape`].
#[derive(Clone, Debug)]
pub struct Scraped<S> {
    /// The responding shard.
    pub shard: ShardId,
    /// The state machine's counters.
    pub snapshot: S,
    /// The edge's counters.
    pub edge: EdgeCounts,
    /// The open links with other nodes.
    pub links: LinkTable,
}

// Messages that this shard sends to other shards, and its reports to the thread that started it.

/// The id of this shard, the mailboxes of all shards, and the messages that were rejected by a full mailbox.
pub(crate) struct Mail<M: Machine> {
    id: ShardId,
    mailboxes: Arc<[Mailbox<Post<M>>]>,
    /// Messages from the state machine that were rejected by a full mailbox, to be passed back to the state machine.
    pub(crate) refused: VecDeque<M::Letter>,
    events: Sender<ShardEvent>,
}

impl<M: Machine> Mail<M> {
    /// Creates the state with which shard `id` sends messages to other shards.
    pub(crate) fn new(
        id: ShardId,
        mailboxes: Arc<[Mailbox<Post<M>>]>,
        events: Sender<ShardEvent>,
    ) -> Self {
        Self {
            id,
            mailboxes,
            refused: VecDeque::new(),
            events,
        }
    }

    pub(crate) fn id(&self) -> ShardId {
        self.id
    }

    /// Returns this shard's own mailbox.
    #[inline]
    pub(crate) fn own(&self) -> &Mailbox<Post<M>> {
        &self.mailboxes[self.id.index()]
    }

    /// Passes a link to the shard that must serve it. If that shard's mailbox is full, closes the link and returns
    /// `false`.
    pub(crate) fn pass_link(&self, to: ShardId, arrived: Travelling) -> bool {
        let letter = Post::Link(Box::new(arrived));
        self.mailboxes[to.index()].post(letter).is_ok()
    }

    /// Posts a message from the state machine. A full mailbox rejects a refusable message. All others must arrive, so
    /// they may use the mailbox's reserved space.
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

    /// Hands a connection over to the shard that must serve it, or returns it if that shard's mailbox is full.
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

    /// Reports that the state machine has finished draining. If the server has dropped the receiver, the process is
    /// exiting anyway.
    pub(crate) fn report_drained(&self) {
        let _ = self.events.try_send(ShardEvent::Drained(self.id));
    }
}
