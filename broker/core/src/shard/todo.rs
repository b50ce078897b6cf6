//! The work deferred while processing an input.
//!
//! A step modifies the parts that it borrows. Work for other parts is deferred here: a WebSocket left its channel, a
//! call was answered, or a channel's next deadline changed. Only the shard performs it (`todo_dispatch`), before the
//! next step.
//!
//! The list is a reused queue of small values; large ones are boxed. Forwarding a message adds nothing to it. The list
//! is empty when a step begins, and never longer than [`STEPS_LEFT_MAX`], which debug builds check: work on many
//! connections or channels is a single entry ([`Each`]), processed one item at a time. Connections beyond the limit per
//! turn are queued in the [`Sockets`](crate::shard::sockets::Sockets) until the next turn.

use crate::channel::{Channel, Route, Towards, members};
use crate::id::{CallRef, ChannelKey, Identity, SessionKey, Slot};
use crate::journal::{EndReason, Unaccepted};
use crate::limits::{ANSWERS_PER_INPUT_MAX, STEPS_LEFT_MAX};
use crate::session::outbox::{DeliveryMark, Offers, Unsent};
use crate::session::web_socket::{Role, Tally};
use crate::shard::calls::channel_pages::PageQuestion;
use crate::shard::calls::letters::{Answer, Query, WaitingQueries};
use crate::shard::dev::injected::Later;
use crate::shard::directory::slots::ShardOrder;
use crate::{event::Kind, machine::Peer, registry::StoreError, time::Now};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::vec::IntoIter;

/// Work that a step defers to the shard.
#[derive(Debug)]
pub(crate) enum Todo {
    /// A call's query about a channel of this shard, handled like a query from another shard.
    Query(CallRef, Box<Query>),
    /// Queues a list requested by a caller of this shard.
    List(CallRef, Box<PageQuestion>),
    /// Starts queued lists, within the turn's budget.
    BeginLists,
    /// Sends a call's answer to the caller's shard.
    Answer(CallRef, Box<Answer>),
    /// Removes the device that was waiting on this channel over this connection.
    PollOver(ChannelKey, SessionKey),
    /// Sends the final answer of a pending Alexa call to the caller's shard.
    OfferAnswer(CallRef, Box<Answer>),
    /// Answers all pending Alexa calls, because the process is shutting down.
    FailCalls,
    /// Notifies the caller's shard that its Alexa call is pending on this one.
    OfferTaken(CallRef),
    /// Handles the timeout of a call on this shard.
    Overdue(CallRef),
    /// Withdraws an Alexa call pending on this shard's channel, because the caller hung up.
    HungUp(CallRef, Box<Identity>),
    /// Closes an open WebSocket for this reason.
    Close(SessionKey, EndReason),
    /// Rechecks a caller that was found unauthorized: unless permitted now, closes the open WebSocket or ends the
    /// device's wait.
    AskAgain(SessionKey),
    /// A channel's tags changed: rechecks its waiting device, and its connections whose policies test tags.
    TagsChanged(ChannelKey),
    /// An operation on many connections, calls or channels, performed one at a time.
    Each(Box<Each>),
    /// Logs a message that was not accepted.
    Unaccepted(Box<Declined>),
    /// A WebSocket has left its channel or lost its slot.
    Left(Box<Left>),
    /// A WebSocket's connection is gone.
    Gone(Box<Gone>),
    /// The last bytes of these offers, identified by their position in the order of acceptance, were sent to this
    /// connection.
    OffersDelivered(SessionKey, Vec<u64>),
    /// Sends a channel's master the offers of pending calls that it has not yet received.
    GiveOffers(ChannelKey),
    /// A connection that lost its slot has finished sending its partly sent message.
    Released(SessionKey),
    /// Abandons unconfirmed messages of the account with the most, because the limit is exceeded.
    MakeProofRoom,
    /// A master of this channel has confirmed these offers, with their positions and frames, on this connection.
    OffersConfirmed(ChannelKey, SessionKey, Offers),
    /// Repeats the due offers that a former master did not answer.
    RepeatOffers(ChannelKey),
    /// The peer of this connection has shown signs of life.
    Confirmed(SessionKey),
    /// Handles a report of what this connection's peer has acknowledged.
    Told(SessionKey),
    /// Continues delivering a message on this route, after connections were closed for it.
    HandOn(Box<Deferred>, Route),
    /// Delivers a role's pending messages to its current connection.
    Deliver(ChannelKey, Role),
    /// Rearms a channel's timer, because its next deadline may have changed.
    Arm(ChannelKey),
    /// A channel was removed from the tables.
    ChannelWent(Box<(ChannelKey, Channel)>),
    /// The result of a change that the store reported immediately.
    Committed(ChannelKey, Result<(), StoreError>),
    /// Processes changes to a channel that were queued after the previous one.
    ServeWaiting(ChannelKey, Box<WaitingQueries>),
    /// Carries out a slot order once the slot's former channels are gone.
    Obey(Box<ShardOrder>),
    /// Unpacks a parcel's messages, starting at this byte offset, into a slot.
    Unpack(Slot, Arc<[u8]>, usize),
    /// Work deferred by the interposer of `--dev`.
    Interposed(Box<Later>),
}

/// A WebSocket connection, and the slot of a channel that it has or had.
#[derive(Clone, Debug)]
pub(crate) struct Membership {
    pub(crate) session: SessionKey,
    pub(crate) channel: ChannelKey,
    pub(crate) role: Role,
}

/// Returns the slot for connections with this role.
pub(crate) fn slot_of(role: &Role) -> members::Slot {
    match role {
        Role::Master => members::Slot::Master,
        Role::Viewer(id) => members::Slot::Viewer(id.clone()),
    }
}

/// A WebSocket that has left its channel or lost its slot.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) member: Membership,
    /// Details of the departure, if the connection is no longer a member; a superseded connection remains a member but
    /// receives nothing.
    pub(crate) end: Option<MemberEnd>,
    /// When waiting for the connection's peer begins.
    pub(crate) from: Now,
    /// Messages that were not sent to the connection; `None` if they were taken back earlier.
    pub(crate) returned: Option<Returned>,
}

/// The departure of a channel member, for the flight recorder.
#[derive(Debug)]
pub(crate) struct MemberEnd {
    /// Address of the peer.
    pub(crate) remote: SocketAddr,
    /// When the connection was admitted.
    pub(crate) opened: Now,
    /// Whether the client has sent a message.
    pub(crate) spoke: bool,
    /// Whether the client has sent any frame.
    pub(crate) heard: bool,
    /// Why the connection is ending.
    pub(crate) reason: EndReason,
}

/// Messages taken back from a connection.
#[derive(Debug, Default)]
pub(crate) struct Returned {
    /// Messages of which no bytes were sent.
    pub(crate) unsent: Vec<Unsent>,
    /// Deadline for completing a partly sent message, if there is one.
    pub(crate) begun: Option<Now>,
    /// Whether there are still unconfirmed messages.
    pub(crate) unconfirmed: bool,
}

/// A WebSocket whose connection is gone.
#[derive(Debug)]
pub(crate) struct Gone {
    pub(crate) member: Membership,
    pub(crate) peer: Peer,
    /// Statistics of the connection for the log entry.
    pub(crate) tally: Option<Tally>,
    /// When the last bytes were received, if the connection was still open.
    pub(crate) last_frame: Option<Now>,
    /// Why the connection ended.
    pub(crate) reason: EndReason,
    /// The policy that denies access to a connection that is no longer authorized.
    pub(crate) refused_by: Option<Box<str>>,
    /// Messages that were not sent or not confirmed.
    pub(crate) unsent: Vec<Unsent>,
    /// Number of sent messages that have been taken back, now or earlier.
    pub(crate) returned: u32,
}

/// A message that is not accepted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Declined {
    pub(crate) from: SessionKey,
    pub(crate) channel: ChannelKey,
    pub(crate) kind: Kind,
    pub(crate) towards: Towards,
    pub(crate) reason: Unaccepted,
    /// Length of the message's frame as sent to the recipient, or of the payload or text if the message is too long.
    pub(crate) bytes: usize,
    /// Maximum length, if the message is too long; otherwise 0.
    pub(crate) most: usize,
}

/// A message whose delivery continues after the current step, because connections were closed for it.
#[derive(Debug)]
pub(crate) struct Deferred {
    /// The connection that sent the message.
    pub(crate) from: SessionKey,
    pub(crate) channel: ChannelKey,
    /// The viewer that sent the message; `None` for a master.
    pub(crate) sender: Option<Box<str>>,
    pub(crate) launch: DeliveryMark,
    /// The payload, base64-encoded.
    pub(crate) payload: Box<[u8]>,
    /// The viewer that the message is addressed to; empty for the master.
    pub(crate) recipient: Box<str>,
    /// The sender's id for the message.
    pub(crate) correlation_id: Option<Box<str>>,
}

/// The work deferred by steps, oldest first, and the answers to process at the end of the input. Empty between inputs.
#[derive(Debug, Default)]
pub(crate) struct TodoList {
    steps: VecDeque<Todo>,
    answers: VecDeque<(CallRef, Box<Answer>)>,
}

impl TodoList {
    /// Defers an item to the shard.
    pub(crate) fn push(&mut self, todo: Todo) {
        self.steps.push_back(todo);
    }

    /// Sends an answer to the caller.
    pub(crate) fn answer(&mut self, caller: CallRef, answer: impl Into<Answer>) {
        self.push(Todo::Answer(caller, Box::new(answer.into())));
    }

    /// Defers an operation on several items, to be performed one at a time.
    pub(crate) fn each(&mut self, each: Each) {
        if !each.is_empty() {
            self.push(Todo::Each(Box::new(each)));
        }
    }

    /// Records that the last byte of a call's offer was sent to this connection. All offers of one send share an entry.
    pub(crate) fn offer_delivered(&mut self, master: SessionKey, order: u64) {
        if let Some(Todo::OffersDelivered(same, orders)) = self.steps.back_mut()
            && *same == master
        {
            orders.push(order);
        } else {
            self.push(Todo::OffersDelivered(master, vec![order]));
        }
    }

    /// Queues an answer whose caller is connected to this shard. The answer is processed at the end of the input,
    /// before any requests pipelined after the call.
    pub(crate) fn take_later(&mut self, caller: CallRef, answer: Box<Answer>) {
        self.answers.push_back((caller, answer));
    }

    /// Takes the next answer for a caller on this shard.
    pub(crate) fn pop_answer(&mut self) -> Option<(CallRef, Box<Answer>)> {
        self.answers.pop_front()
    }

    pub(crate) fn pop(&mut self) -> Option<Todo> {
        self.invariants();
        self.steps.pop_front()
    }

    /// Whether there is no more work before the next step.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Whether there is no more work before the next input, including answers.
    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        self.steps.is_empty() && self.answers.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.steps.len()
    }

    /// Moves the items queued after the first `before` items to the front, since they result from the item just
    /// processed.
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

    /// Releases memory after a large number of answers.
    pub(crate) fn shrink(&mut self) {
        if self.answers.capacity() > STEPS_LEFT_MAX {
            self.answers.shrink_to(STEPS_LEFT_MAX);
        }
    }
}

const _: () = assert!(size_of::<Todo>() <= 48);

// Operations on many connections, calls or channels.

/// An operation on many items, performed one at a time. Work deferred for one item is done before the next item.
#[derive(Debug)]
pub(crate) enum Each {
    /// Closes open WebSockets for this reason: as many as permitted in one turn, and the rest in subsequent turns.
    Close(IntoIter<SessionKey>, EndReason),
    /// Aborts connections, for this reason unless one is already set.
    Abort(IntoIter<SessionKey>, Option<EndReason>),
    /// Queries what the peers of these connections have acknowledged.
    Ask(IntoIter<SessionKey>),
    /// Answers the pending calls of these channels because the process is shutting down.
    FailCalls(IntoIter<ChannelKey>),
    /// Ends the calls and connections of these channels because their slot may move.
    Still(IntoIter<ChannelKey>),
    /// Drops these channels because their slot is moving.
    Drop(IntoIter<ChannelKey>),
}

impl Each {
    /// Closes open WebSockets for this reason.
    pub(crate) fn close(sessions: Vec<SessionKey>, reason: EndReason) -> Self {
        Self::Close(sessions.into_iter(), reason)
    }

    /// Aborts connections, for this reason unless one is already set.
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
