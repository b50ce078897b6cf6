//! Letters of this shard to others, and its reports to the thread that started it.

use crate::edge::letters::counts::EdgeCounts;
use crate::edge::letters::post::{Handover, Post};
use crate::edge::start::ShardEvent;
use broker_core::id::ShardId;
use broker_core::machine::Machine;
use crossbeam_channel::Sender;
use mailbox::Mailbox;
use std::collections::VecDeque;
use std::sync::Arc;

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
