//! Messages that shards send to each other and that the side thread sends to shards ("letters"). Contains their types,
//! and the code that sends them.

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

/// A message in the mailbox of a shard.
///
/// [`Post::Handover`], [`Post::Link`] and letters that are [refusable](Machine::refusable) must be sent with
/// `Mailbox::post`. All others must be sent with `Mailbox::post_always`.
pub enum Post<M: Machine> {
    /// A connection that is handed over to the receiving shard. Dropping this message closes the connection.
    Handover(Box<Handover<M>>),
    /// A link from another node that belongs to the receiving shard. Dropping this message closes the link.
    Link(Box<Travelling>),
    /// A message for the receiving shard's state machine. Sent by the state machine of another shard, or by the side
    /// thread (to drain or reload).
    Letter(M::Letter),
    /// A request for the shard's counters, answered between two turns. The requester may have dropped the receiver by
    /// then.
    Scrape(Sender<Scraped<M::Snapshot>>),
    /// A request from an operator, answered between two turns. The requester may have dropped the receiver by then. The
    /// question is boxed, because it is rare and large, and mailboxes reserve space for millions of messages.
    Inspect(Box<M::Question>, Sender<(ShardId, M::Reply)>),
    /// Shifts the shard's clocks relative to the system's. The shard reports the new time once it has done all work
    /// that is due by then.
    Shift(Shift, Sender<(ShardId, Moment)>),
    /// Sets the TLS configuration for connections accepted from now on.
    Tls(Arc<ServerConfig>),
    /// Sets the devices for connections accepted from now on. These include the server names for which a certificate is
    /// requested.
    Devices(Option<Arc<Devices>>),
    /// Stops accepting, but leaves the listening sockets open. New connections wait in the kernel's queue.
    StopAccepting,
    /// Closes the listeners, aborts every connection, and ends the shard once all descriptors are closed.
    Stop,
}

/// A connection that is handed over to another shard together with its session.
pub struct Handover<M: Machine> {
    /// The session, as exported by the state machine of the shard that accepted the connection.
    pub parcel: M::Parcel,
    /// The connection, as exported by the edge of the shard that accepted it.
    pub connection: Travelling,
}

/// A connection that is being moved, for example to another shard. It has no pending operations.
pub struct Travelling {
    pub(crate) socket: OwnedFd,
    /// The state of the established TLS connection, including the bytes of an incomplete record.
    pub(crate) tls: Option<Box<crate::edge::tls::Tls>>,
    /// Bytes that were read from the socket but not passed to a machine yet. For a link, these are the bytes after its
    /// handshake.
    pub(crate) unread: Vec<u8>,
}

/// The response of a shard to [`Post::Scrape`].
#[derive(Clone, Debug)]
pub struct Scraped<S> {
    /// The responding shard.
    pub shard: ShardId,
    /// The machine's counters.
    pub snapshot: S,
    /// The edge's counters.
    pub edge: EdgeCounts,
    /// The open links with other nodes.
    pub links: LinkTable,
}

// The letters that this shard sends to others, and its reports to the thread that started it.

/// The id of this shard, the mailboxes of all shards, and the messages that were refused by a full mailbox.
pub(crate) struct Mail<M: Machine> {
    id: ShardId,
    mailboxes: Arc<[Mailbox<Post<M>>]>,
    /// Messages from the state machine that were refused because a mailbox was full. They are passed back to the state
    /// machine.
    refused: VecDeque<M::Letter>,
    events: Sender<ShardEvent>,
}

impl<M: Machine> Mail<M> {
    /// Creates the mail of the shard `id`.
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

    pub(crate) fn id(&self) -> ShardId {
        self.id
    }

    /// Returns this shard's own mailbox.
    #[inline]
    pub(crate) fn own(&self) -> &Mailbox<Post<M>> {
        &self.mailboxes[self.id.index()]
    }

    /// Passes a link on to the shard that must serve it. If that shard's mailbox is full, closes the link and returns
    /// `false`.
    pub(crate) fn pass_link(&self, to: ShardId, arrived: Travelling) -> bool {
        let letter = Post::Link(Box::new(arrived));
        self.mailboxes[to.index()].post(letter).is_ok()
    }

    /// Posts a message from the state machine. If the mailbox is full, a refusable message is refused. All other
    /// messages must arrive, so they may use the mailbox's reserve.
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

    /// Takes the next of the refused messages.
    #[inline]
    pub(crate) fn next_refused(&mut self) -> Option<M::Letter> {
        self.refused.pop_front()
    }

    /// Hands a connection over to the shard that must serve it. If that shard's mailbox is full, returns the
    /// connection.
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
    /// ending anyway.
    pub(crate) fn report_drained(&self) {
        let _ = self.events.try_send(ShardEvent::Drained(self.id));
    }
}
