//! The remainder of an input when a step is over.
//!
//! A step changes the parts that it takes, and leaves here what concerns the others: that a WebSocket left its channel,
//! that a call has its answer, that a channel's next deadline is another one. Only the shard does it
//! (`todo_dispatch`), before the next step.
//!
//! The list is one queue, used again, of small values; what is large is boxed. It stays empty for a relayed message.
//! It is empty when a step begins, and never longer than [`STEPS_LEFT_MAX`], which debug builds check: what concerns
//! many connections or channels is one entry ([`Each`]), of which one at a time is done. Connections that are too many
//! for one turn are kept among the [`Sockets`](crate::shard::sockets::Sockets) until the next one.

use crate::channel::{Channel, Route, Towards};
use crate::id::{CallRef, ChannelKey, Identity, SessionKey, Slot};
use crate::journal::{EndReason, Unaccepted};
use crate::limits::{ANSWERS_PER_INPUT_MAX, STEPS_LEFT_MAX};
use crate::session::outbox::{DeliveryMark, Offers, Unsent};
use crate::session::web_socket::{Role, Tally};
use crate::shard::calls::channel_pages::PageQuestion;
use crate::shard::calls::letters::{Answer, Query, WaitingQueries};
use crate::shard::dev::faults::Later;
use crate::shard::directory::slots::ShardOrder;
use crate::{event::Kind, machine::Peer, registry::StoreError, time::Now};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::vec::IntoIter;

/// One thing that a step leaves to the shard.
#[derive(Debug)]
pub(crate) enum Todo {
    /// A call's question for a channel of this shard: as one that comes from another shard by a letter.
    Query(CallRef, Box<Query>),
    /// A list that a caller of this shard wants.
    List(CallRef, Box<PageQuestion>),
    /// Lists that wait begin, as far as the turn has room.
    BeginLists,
    /// The answer of a call, for its caller's shard.
    Answer(CallRef, Box<Answer>),
    /// The device that waited on this channel, by this connection, waits no more.
    PollOver(ChannelKey, SessionKey),
    /// The end of an Alexa call that waited, for its caller's shard.
    OfferAnswer(CallRef, Box<Answer>),
    /// Every Alexa call that waits is answered: the process is about to end.
    FailCalls,
    /// An Alexa call of another shard waits here from here on.
    OfferTaken(CallRef),
    /// A call of this shard was not answered in time.
    Overdue(CallRef),
    /// The caller of an Alexa call that waits on this shard, at this channel, hung up.
    HungUp(CallRef, Box<Identity>),
    /// An open WebSocket ends for this reason.
    Close(SessionKey, EndReason),
    /// An open WebSocket whose caller may not connect any more ends, unless it may again; so does a device's wait.
    AskAgain(SessionKey),
    /// A channel has other tags: its connections whose policies read them are asked again, and its device that waits.
    TagsChanged(ChannelKey),
    /// A step that repeats over many connections, calls or channels, one at a time.
    Each(Box<Each>),
    /// A message was not accepted: its line in the log.
    Unaccepted(Box<Declined>),
    /// A WebSocket has left its channel, or lost its slot there.
    Left(Box<Left>),
    /// The connection of a WebSocket is gone.
    Gone(Box<Gone>),
    /// The last bytes of offers of calls were handed over to this connection: their places in the order of acceptance.
    OffersDelivered(SessionKey, Vec<u64>),
    /// The master of a channel gets the offers of waiting calls that it has not got.
    GiveOffers(ChannelKey),
    /// A connection that lost its slot has handed over what it had begun.
    Released(SessionKey),
    /// More is not confirmed than may be: the account with most makes room.
    MakeProofRoom,
    /// Query what the peer of this connection has acknowledged.
    Ask(SessionKey),
    /// A master of this channel has confirmed, by this connection, the offers with these places and frames.
    OffersConfirmed(ChannelKey, SessionKey, Offers),
    /// Offers that a former master did not answer are due.
    RepeatOffers(ChannelKey),
    /// The peer of this connection is there after all.
    Confirmed(SessionKey),
    /// The peer's acknowledgements of this connection are known.
    Told(SessionKey),
    /// A message goes this way, now that connections were closed for it.
    HandOn(Box<Deferred>, Route),
    /// The messages that are kept for a role go to its current connection.
    Deliver(ChannelKey, Role),
    /// The next deadline of a channel may be another one.
    Arm(ChannelKey),
    /// A channel is out of the tables.
    ChannelWent(Box<(ChannelKey, Channel)>),
    /// The store has reported a change at once.
    Committed(ChannelKey, Result<(), StoreError>),
    /// Changes of a channel that waited for the one before.
    ServeWaiting(ChannelKey, Box<WaitingQueries>),
    /// An order about a slot whose former channels are gone.
    Obey(Box<ShardOrder>),
    /// The messages of a parcel behind this byte go into a slot.
    Unpack(Slot, Arc<[u8]>, usize),
    /// A step that the interposer of `--dev` left to itself.
    Interposed(Box<Later>),
}

/// A WebSocket that has left its channel, or lost its slot there.
#[derive(Debug)]
pub(crate) struct Left {
    /// The connection.
    pub(crate) session: SessionKey,
    /// Channel.
    pub(crate) channel: ChannelKey,
    /// Role there.
    pub(crate) role: Role,
    /// End, if it is a member no longer; one that was superseded stays, silent.
    pub(crate) end: Option<MemberEnd>,
    /// From when on waits for it count.
    pub(crate) from: Now,
    /// Messages that it was not sent; `None` where they were taken back before.
    pub(crate) returned: Option<Returned>,
}

/// The end of a member of a channel, for the recorder.
#[derive(Debug)]
pub(crate) struct MemberEnd {
    /// The address of the other end.
    pub(crate) remote: SocketAddr,
    /// When it was admitted.
    pub(crate) opened: Now,
    /// Whether it has sent a message.
    pub(crate) spoke: bool,
    /// Whether its client has sent any frame.
    pub(crate) heard: bool,
    /// Why it ends.
    pub(crate) reason: EndReason,
}

/// Messages that a connection was not sent.
#[derive(Debug, Default)]
pub(crate) struct Returned {
    /// Messages of which no byte has left it.
    pub(crate) unsent: Vec<Unsent>,
    /// Whether one was begun: until when it may take the rest.
    pub(crate) begun: Option<Now>,
    /// Whether some are written and not confirmed.
    pub(crate) unconfirmed: bool,
}

/// A WebSocket whose connection is gone.
#[derive(Debug)]
pub(crate) struct Gone {
    /// The connection.
    pub(crate) session: SessionKey,
    /// Channel.
    pub(crate) channel: ChannelKey,
    /// Role there.
    pub(crate) role: Role,
    /// The other end.
    pub(crate) peer: Peer,
    /// The figures of its log line.
    pub(crate) tally: Option<Tally>,
    /// When its last bytes came, if it was open until now.
    pub(crate) last_frame: Option<Now>,
    /// Why it ended.
    pub(crate) reason: EndReason,
    /// Of one that may not be open any more: what refuses it.
    pub(crate) refused_by: Option<Box<str>>,
    /// Messages that were not confirmed.
    pub(crate) unsent: Vec<Unsent>,
    /// How many of those that were sent were taken back, before or now.
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
    /// The length of its frame towards the recipient; of one that is too long, that of the payload or of the message.
    pub(crate) bytes: usize,
    /// The longest that is allowed, of one that is too long; else 0.
    pub(crate) most: usize,
}

/// A message that goes on when the step is over, since connections were closed for it.
#[derive(Debug)]
pub(crate) struct Deferred {
    /// The connection that sent it.
    pub(crate) from: SessionKey,
    /// Channel.
    pub(crate) channel: ChannelKey,
    /// The viewer that sent it; `None` for the master.
    pub(crate) sender: Option<Box<str>>,
    /// See [`DeliveryMark`].
    pub(crate) launch: DeliveryMark,
    /// Payload, base64.
    pub(crate) payload: Box<[u8]>,
    /// The viewer that it is for; empty for the master.
    pub(crate) recipient: Box<str>,
    /// The sender's name for it.
    pub(crate) correlation_id: Option<Box<str>>,
}

/// The list of what steps left, oldest first, and the answers that wait for the end of the input. Empty between two
/// inputs.
#[derive(Debug, Default)]
pub(crate) struct TodoList {
    steps: VecDeque<Todo>,
    answers: VecDeque<(CallRef, Box<Answer>)>,
}

impl TodoList {
    /// Leaves this to the shard.
    pub(crate) fn push(&mut self, todo: Todo) {
        self.steps.push_back(todo);
    }

    /// Sends an answer to its caller.
    pub(crate) fn answer(&mut self, caller: CallRef, answer: impl Into<Answer>) {
        self.push(Todo::Answer(caller, Box::new(answer.into())));
    }

    /// Leaves to the shard that all of these are done, one after the other.
    pub(crate) fn each(&mut self, each: Each) {
        if !each.is_empty() {
            self.push(Todo::Each(Box::new(each)));
        }
    }

    /// The last byte of a call's offer was handed over to this connection: one entry for all of one send.
    pub(crate) fn offer_delivered(&mut self, master: SessionKey, order: u64) {
        if let Some(Todo::OffersDelivered(same, orders)) = self.steps.back_mut()
            && *same == master
        {
            orders.push(order);
        } else {
            self.push(Todo::OffersDelivered(master, vec![order]));
        }
    }

    /// The caller of an answer is connected to this shard: it is taken when the input is over, before the requests that
    /// wait behind the call.
    pub(crate) fn take_later(&mut self, caller: CallRef, answer: Box<Answer>) {
        self.answers.push_back((caller, answer));
    }

    /// The next answer for a caller of this shard.
    pub(crate) fn pop_answer(&mut self) -> Option<(CallRef, Box<Answer>)> {
        self.answers.pop_front()
    }

    /// The next thing to be done.
    pub(crate) fn pop(&mut self) -> Option<Todo> {
        self.invariants();
        self.steps.pop_front()
    }

    /// Whether there is nothing to be done before the next step.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Whether there is nothing to be done before the next input: no answer is to be taken either.
    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        self.steps.is_empty() && self.answers.is_empty()
    }

    /// The number of things to be done.
    pub(crate) fn len(&self) -> usize {
        self.steps.len()
    }

    /// Moves what was left since there were `before` to the front: it belongs to what was just done.
    pub(crate) fn newest_first(&mut self, before: usize) {
        let newest = self.steps.len().saturating_sub(before);
        self.steps.rotate_right(newest);
    }

    /// Checks that no step has left more than may be.
    #[inline]
    fn invariants(&self) {
        let (steps, answers) = (self.steps.len(), self.answers.len());
        debug_assert!(
            steps <= STEPS_LEFT_MAX,
            "{steps} things are left to be done"
        );
        debug_assert!(answers <= ANSWERS_PER_INPUT_MAX, "{answers} answers wait");
    }

    /// Gives back the memory of many answers.
    pub(crate) fn shrink(&mut self) {
        if self.answers.capacity() > STEPS_LEFT_MAX {
            self.answers.shrink_to(STEPS_LEFT_MAX);
        }
    }
}

const _: () = assert!(size_of::<Todo>() <= 48);

// Many connections, calls or channels to which the same is done.

/// Step done for each of many, one after the other: what one leaves comes before the next.
#[derive(Debug)]
pub(crate) enum Each {
    /// Open WebSockets end for this reason: as many as a turn closes, the others in the turns that follow.
    Close(IntoIter<SessionKey>, EndReason),
    /// Connections end at once, for this reason unless they have one.
    Abort(IntoIter<SessionKey>, Option<EndReason>),
    /// Connections whose peers' acknowledgements are queried.
    Ask(IntoIter<SessionKey>),
    /// The calls that wait at these channels are answered: the process is about to end.
    FailCalls(IntoIter<ChannelKey>),
    /// The calls and connections of these channels end: their slot may go.
    Still(IntoIter<ChannelKey>),
    /// Channels that end, since their slot moves.
    Drop(IntoIter<ChannelKey>),
}

impl Each {
    /// Open WebSockets end for this reason.
    pub(crate) fn close(sessions: Vec<SessionKey>, reason: EndReason) -> Self {
        Self::Close(sessions.into_iter(), reason)
    }

    /// Connections end at once, for this reason unless they have one.
    pub(crate) fn abort(sessions: Vec<SessionKey>, reason: Option<EndReason>) -> Self {
        Self::Abort(sessions.into_iter(), reason)
    }

    /// Whether none is left.
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
