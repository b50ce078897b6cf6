//! Work deferred during the processing of an input.
//!
//! A step modifies only the parts of the state that it borrows, and defers everything else. For example, it defers
//! follow-up work after a WebSocket has left its channel, a call has been answered, or a channel's next deadline has
//! changed. Deferred work is done only by the shard itself (`todo_dispatch`), before the next step.
//!
//! The list is a queue of small values that reuses its memory; large values are boxed. Forwarding a message defers
//! nothing. The list is empty when a step starts, and never exceeds [`STEPS_LEFT_MAX`] entries, which debug builds
//! check. Work on many connections or channels is therefore a single entry ([`Each`]) that is processed one item at a
//! time. If more connections must be closed than a turn may close, the rest are queued in
//! [`Sockets`](crate::shard::sockets::Sockets) until the next turn.

use crate::channel::{Channel, Route, Towards};
use crate::id::{CallRef, ChannelKey, Identity, SessionKey, Slot};
use crate::journal::{EndReason, Unaccepted};
use crate::limits::{ANSWERS_PER_INPUT_MAX, STEPS_LEFT_MAX};
use crate::session::outbox::{DeliveryMark, Offers, Unsent};
use crate::session::web_socket::{Role, Tally};
use crate::shard::calls::letters::{Answer, PageQuestion, Query, WaitingQueries};
use crate::shard::dev::injected::Later;
use crate::shard::directory::slots::ShardOrder;
use crate::{event::Kind, machine::Peer, registry::StoreError, time::Now};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::vec::IntoIter;

/// A piece of work that a step has deferred.
#[derive(Debug)]
pub(crate) enum Todo {
    /// Answers a query about a channel on this shard, made by a call on the same shard. It is handled like a query from
    /// another shard.
    Query(CallRef, Box<Query>),
    /// Queues a list request from a caller on this shard.
    List(CallRef, Box<PageQuestion>),
    /// Starts as many queued list requests as the turn's budget permits.
    BeginLists,
    /// Sends a call's answer to the caller's shard.
    Answer(CallRef, Box<Answer>),
    /// Ends the wait of the device that is waiting on this channel through this connection.
    PollOver(ChannelKey, SessionKey),
    /// Sends the final answer of a pending Alexa or player call to the caller's shard.
    OfferAnswer(CallRef, Box<Answer>),
    /// Answers all pending calls, because the process is shutting down.
    FailCalls,
    /// Notifies the caller's shard that the call is pending here.
    OfferTaken(CallRef),
    /// Times out a call whose caller is on this shard.
    Overdue(CallRef),
    /// Withdraws a call that is pending on one of this shard's channels, because its caller has hung up.
    HungUp(CallRef, Box<Identity>),
    /// Closes an open WebSocket for this reason.
    Close(SessionKey, EndReason),
    /// Checks whether this connection's caller is still authorized. If not, closes the open WebSocket or ends the
    /// device's wait.
    AskAgain(SessionKey),
    /// Rechecks the connections and the waiting device of a channel whose tags have changed.
    TagsChanged(ChannelKey),
    /// Performs an operation on many connections, calls or channels, one at a time.
    Each(Box<Each>),
    /// Logs a message that was not accepted.
    Unaccepted(Box<Declined>),
    /// Handles a WebSocket connection that has left its channel or lost its slot.
    Left(Box<Left>),
    /// Handles a WebSocket connection that has closed.
    Gone(Box<Gone>),
    /// Handles the offers of calls that have been sent to this master in full. Each offer is identified by its position
    /// in the channel's order of acceptance.
    OffersDelivered(SessionKey, Vec<u64>),
    /// Sends the offers of pending calls to this channel's master, except those it already has.
    GiveOffers(ChannelKey),
    /// Handles a superseded connection after the rest of its partly sent message has been sent.
    Released(SessionKey),
    /// Stops waiting for the confirmation of some messages, because there are too many unconfirmed bytes.
    MakeProofRoom,
    /// Stores the offers that a master of this channel has confirmed on this connection.
    OffersConfirmed(ChannelKey, SessionKey, Offers),
    /// Sends this channel's current master the offers that a former master did not answer, if they are due.
    RepeatOffers(ChannelKey),
    /// Handles evidence that this connection's peer is alive.
    Confirmed(SessionKey),
    /// Settles the written messages of this connection, now that it is known what its peer has acknowledged.
    Settle(SessionKey),
    /// Resumes the delivery of a message on this route, after slow connections were closed to make room.
    HandOn(Box<Deferred>, Route),
    /// Delivers the pending messages for this role to the connection that holds the role's slot.
    Deliver(ChannelKey, Role),
    /// Rearms this channel's timer, because its next deadline may have changed.
    Arm(ChannelKey),
    /// Handles a channel that was removed from the tables.
    ChannelWent(Box<(ChannelKey, Channel)>),
    /// Handles the result of a change that the store reported synchronously.
    Committed(ChannelKey, Result<(), StoreError>),
    /// Processes changes to this channel that were queued behind another change.
    ServeWaiting(ChannelKey, Box<WaitingQueries>),
    /// Carries out a slot order, after the slot's leftover channels have been dropped.
    Obey(Box<ShardOrder>),
    /// Unpacks a parcel's messages into a slot, starting at this byte offset.
    Unpack(Slot, Arc<[u8]>, usize),
    /// Performs work that the `--dev` interposer has deferred.
    Interposed(Box<Later>),
}

/// A WebSocket connection, and the slot that it occupies or used to occupy.
#[derive(Clone, Debug)]
pub(crate) struct Membership {
    pub(crate) session: SessionKey,
    pub(crate) channel: ChannelKey,
    pub(crate) role: Role,
}

/// A WebSocket connection that has left its channel or was replaced.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) member: Membership,
    /// How the connection left, or `None` if it was only replaced. In that case, it is still a member of the channel,
    /// but receives nothing.
    pub(crate) end: Option<MemberEnd>,
    /// When to start waiting for the peer to return.
    pub(crate) from: Now,
    /// The messages taken back from the connection, or `None` if they were taken back earlier.
    pub(crate) returned: Option<Returned>,
}

/// How a member left its channel, for the flight recorder.
#[derive(Debug)]
pub(crate) struct MemberEnd {
    /// The peer's address.
    pub(crate) remote: SocketAddr,
    /// When the connection was admitted.
    pub(crate) opened: Now,
    /// Whether the client has sent a message.
    pub(crate) spoke: bool,
    /// Whether the client has sent any frame.
    pub(crate) heard: bool,
    /// Why the connection is closing.
    pub(crate) reason: EndReason,
}

/// The messages taken back from a connection.
#[derive(Debug, Default)]
pub(crate) struct Returned {
    /// Messages that were not even partly sent.
    pub(crate) unsent: Vec<Unsent>,
    /// If a message was partly sent, the deadline for sending the rest.
    pub(crate) begun: Option<Now>,
    /// Whether some of the sent messages are still unconfirmed.
    pub(crate) unconfirmed: bool,
}

/// A WebSocket connection that has closed.
#[derive(Debug)]
pub(crate) struct Gone {
    pub(crate) member: Membership,
    pub(crate) peer: Peer,
    /// Statistics of the connection, for the log line.
    pub(crate) tally: Option<Tally>,
    /// When bytes were last received, or `None` if the connection was already closing.
    pub(crate) last_frame: Option<Now>,
    /// Why the connection was closed.
    pub(crate) reason: EndReason,
    /// The policy that denied access, if the connection was closed because its caller was no longer authorized.
    pub(crate) refused_by: Option<Box<str>>,
    /// Messages that were not sent or not confirmed.
    pub(crate) unsent: Vec<Unsent>,
    /// Number of messages that were sent but then taken back, now or earlier.
    pub(crate) returned: u32,
}

/// A message that was not accepted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Declined {
    pub(crate) from: SessionKey,
    pub(crate) channel: ChannelKey,
    pub(crate) kind: Kind,
    pub(crate) towards: Towards,
    pub(crate) reason: Unaccepted,
    /// Length of the frame sent to the recipient. If the message is too long, the length of its payload or text
    /// instead.
    pub(crate) bytes: usize,
    /// The maximum length, if the message exceeds it. Otherwise 0.
    pub(crate) most: usize,
}

/// An owned copy of a message to be delivered after the current step.
#[derive(Debug)]
pub(crate) struct Deferred {
    /// The connection that sent the message.
    pub(crate) from: SessionKey,
    pub(crate) channel: ChannelKey,
    /// The viewer that sent the message, or `None` if a master sent it.
    pub(crate) sender: Option<Box<str>>,
    pub(crate) launch: DeliveryMark,
    /// The payload, still base64-encoded.
    pub(crate) payload: Box<[u8]>,
    /// The viewer to which the message is addressed. Empty for the master.
    pub(crate) recipient: Box<str>,
    /// The id that the sender gave the message.
    pub(crate) correlation_id: Option<Box<str>>,
}

/// Deferred work, oldest first. Empty between inputs.
#[derive(Debug, Default)]
pub(crate) struct TodoList {
    steps: VecDeque<Todo>,
    /// Answers for callers on this shard. They are handled at the end of the input, before any requests that were
    /// pipelined behind the calls.
    pub(crate) answers: VecDeque<(CallRef, Box<Answer>)>,
}

impl TodoList {
    /// Adds a piece of deferred work.
    pub(crate) fn push(&mut self, todo: Todo) {
        self.steps.push_back(todo);
    }

    /// Answers a call, regardless of which shard its caller is connected to.
    pub(crate) fn answer(&mut self, caller: CallRef, answer: impl Into<Answer>) {
        self.push(Todo::Answer(caller, Box::new(answer.into())));
    }

    /// Defers an operation on several items. The shard performs it one item at a time.
    pub(crate) fn each(&mut self, each: Each) {
        if !each.is_empty() {
            self.push(Todo::Each(Box::new(each)));
        }
    }

    /// Records that a call's offer has been sent to a master in full. Offers completed by the same send share one
    /// entry.
    pub(crate) fn offer_delivered(&mut self, master: SessionKey, order: u64) {
        if let Some(Todo::OffersDelivered(same, orders)) = self.steps.back_mut()
            && *same == master
        {
            orders.push(order);
        } else {
            self.push(Todo::OffersDelivered(master, vec![order]));
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Todo> {
        self.invariants();
        self.steps.pop_front()
    }

    /// Returns whether no work is left to do before the next step.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Returns whether no work and no answers are left to handle before the next input.
    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        self.steps.is_empty() && self.answers.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.steps.len()
    }

    /// Moves all items except the first `before` to the front. They were deferred by the item just processed, and must
    /// be processed next.
    pub(crate) fn newest_first(&mut self, before: usize) {
        let newest = self.steps.len().saturating_sub(before);
        self.steps.rotate_right(newest);
    }

    /// Checks that no step has deferred more items than the limit.
    #[inline]
    fn invariants(&self) {
        let (steps, answers) = (self.steps.len(), self.answers.len());
        debug_assert!(
            steps <= STEPS_LEFT_MAX,
            "{steps} things are left to be done"
        );
        debug_assert!(answers <= ANSWERS_PER_INPUT_MAX, "{answers} answers wait");
    }

    /// Frees memory after an unusually large number of answers.
    pub(crate) fn shrink(&mut self) {
        if self.answers.capacity() > STEPS_LEFT_MAX {
            self.answers.shrink_to(STEPS_LEFT_MAX);
        }
    }
}

const _: () = assert!(size_of::<Todo>() <= 48);

// Operations on many connections, calls or channels.

/// An operation on many items, performed one at a time. All work that an item defers is done before the next item.
#[derive(Debug)]
pub(crate) enum Each {
    /// Closes open WebSockets for this reason. Connections beyond this turn's limit are closed in later turns.
    Close(IntoIter<SessionKey>, EndReason),
    /// Aborts connections. Records the reason, if given, for connections that have none yet.
    Abort(IntoIter<SessionKey>, Option<EndReason>),
    /// Queries how much the peers of these connections have acknowledged.
    Ask(IntoIter<SessionKey>),
    /// Answers all of these channels' pending calls, because the process is shutting down.
    FailCalls(IntoIter<ChannelKey>),
    /// Ends these channels' calls and connections, because their slot may move.
    Still(IntoIter<ChannelKey>),
    /// Drops these channels, because their slot is leaving this node.
    Drop(IntoIter<ChannelKey>),
}

impl Each {
    /// Closes open WebSockets for this reason.
    pub(crate) fn close(sessions: Vec<SessionKey>, reason: EndReason) -> Self {
        Self::Close(sessions.into_iter(), reason)
    }

    /// Aborts connections. Records the reason, if given, for connections that have none yet.
    pub(crate) fn abort(sessions: Vec<SessionKey>, reason: Option<EndReason>) -> Self {
        Self::Abort(sessions.into_iter(), reason)
    }

    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Close(sessions, _) | Self::Abort(sessions, _) | Self::Ask(sessions) => {
                sessions.as_slice().is_empty()
            }
            Self::FailCalls(channels) | Self::Still(channels) | Self::Drop(channels) => {
                channels.as_slice().is_empty()
            }
        }
    }
}
