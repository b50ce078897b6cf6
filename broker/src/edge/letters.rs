//! Letters between shards, and from the side thread to a shard: defines their types, and sends them.

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

/// A letter in a shard's mailbox.
///
/// Send [`Post::Handover`], [`Post::Link`] and [refusable](Machine::refusable) letters with `Mailbox::post`, and all
/// others with `Mailbox::post_always`.
pub enum Post<M: Machine> {
    /// A connection handed over to the receiving shard. Dropping the letter closes the connection.
    Handover(Box<Handover<M>>),
    /// A link from another node, for the receiving shard. Dropping the letter closes the connection.
    Link(Box<Travelling>),
    /// A letter for the machine, from another shard's machine or from the side thread (drain, reload).
    Letter(M::Letter),
    /// A request for the counters, answered between two turns. The receiver may be dropped.
    Scrape(Sender<Scraped<M::Snapshot>>),
    /// An operator's request, answered between two turns. The receiver may be dropped. Boxed because it is rare and
    /// larger than other letters, for which mailboxes reserve millions of entries.
    Inspect(Box<M::Question>, Sender<(ShardId, M::Reply)>),
    /// Shifts the shard's clocks relative to the system's. Acknowledged with the new time, once all work due by then is
    /// done.
    Shift(Shift, Sender<(ShardId, Moment)>),
    /// Sets the TLS configuration of connections accepted from now on.
    Tls(Arc<ServerConfig>),
    /// Sets the devices, and with them the server names for which a certificate is requested, for connections accepted
    /// from now on.
    Devices(Option<Arc<Devices>>),
    /// Stops accepting but leaves the listening sockets open: new connections wait in the kernel's queue.
    StopAccepting,
    /// Closes the listeners, aborts every connection, and ends the shard once all descriptors are closed.
    Stop,
}

/// A connection being handed over, with its session.
pub struct Handover<M: Machine> {
    /// The session, taken from the machine of the shard that accepted the connection.
    pub parcel: M::Parcel,
    /// The connection, taken from the edge of the shard that accepted it.
    pub connection: Travelling,
}

/// A connection with no operation armed or in flight.
pub struct Travelling {
    pub(crate) socket: OwnedFd,
    /// The established TLS state, including the bytes of an incomplete record.
    pub(crate) tls: Option<Box<crate::edge::tls::Tls>>,
    /// Received bytes not yet passed to a machine, as read from the socket; for a link, the bytes after its handshake.
    pub(crate) unread: Vec<u8>,
}

/// A shard's response to [`Post::Scrape`].
#[derive(Clone, Debug)]
pub struct Scraped<S> {
    /// The responding shard.
    pub shard: ShardId,
    /// The machine's counters.
    pub snapshot: S,
    /// The edge's counters.
    pub edge: EdgeCounts,
    /// Open links with other nodes.
    pub links: LinkTable,
}

// This shard's letters to others, and its reports to the thread that started it.

/// A shard's id, the mailboxes of all shards, and the letters that a mailbox has refused.
pub(crate) struct Mail<M: Machine> {
    id: ShardId,
    mailboxes: Arc<[Mailbox<Post<M>>]>,
    /// Letters of the machine that a full mailbox refused, to be returned to the machine.
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

    /// Returns the shard's own mailbox.
    #[inline]
    pub(crate) fn own(&self) -> &Mailbox<Post<M>> {
        &self.mailboxes[self.id.index()]
    }

    /// Passes a link on to its shard. Returns `false`, closing the link, if that shard's mailbox is full.
    pub(crate) fn pass_link(&self, to: ShardId, arrived: Travelling) -> bool {
        let letter = Post::Link(Box::new(arrived));
        self.mailboxes[to.index()].post(letter).is_ok()
    }

    /// Posts a letter of the machine. A request may be refused, whereas letters that must arrive may use the mailbox's
    /// reserve.
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

    /// Takes the next refused letter.
    #[inline]
    pub(crate) fn next_refused(&mut self) -> Option<M::Letter> {
        self.refused.pop_front()
    }

    /// Hands a connection over to its shard. Returns the connection if that shard's mailbox is full.
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

    /// Reports that the machine has drained. The server owns the receiver; if the receiver has been dropped, the
    /// process is ending anyway.
    pub(crate) fn report_drained(&self) {
        let _ = self.events.try_send(ShardEvent::Drained(self.id));
    }
}
