//! A connection before its upgrade, or without one: heads, bodies, and the response to a call.

use crate::auth::{Caller, HeldCaller, Ruling};
use crate::id::{Account, ChannelKey, Identity, NodeId};
use crate::record::{Holding, Listed};
use crate::{event::Purpose, session::NEVER, settings::Program, time::Now};
use codec::control::{Call, Operation, Protocol};
use codec::{http::HeadScanner, identifiers::ChannelArn, signal::Role};
use std::sync::Arc;

/// The HTTP state of one connection. Bytes are kept only while a head or body is incomplete or a call is under way.
#[derive(Debug)]
pub(crate) struct Http {
    /// The awaited event.
    pub stage: HttpStage,
    /// Bytes received and not used yet; begins with the head or body that is awaited.
    pub buffer: Vec<u8>,
    /// The scanner of the awaited head, which keeps how far it was searched for its end.
    pub scanner: HeadScanner,
    /// When the awaited thing is overdue.
    pub deadline: Now,
    /// When the peer must have taken a byte of the answers that wait; [`NEVER`] while none does.
    pub answer_due: Now,
    /// The number of the call under way, or of the next one.
    pub serial: u32,
    /// At least one request was answered: silence is a keep-alive that ends, not an error.
    pub served: bool,
    /// A part of the awaited head was received: the rest has a deadline.
    pub begun: bool,
    /// The request under way is a HEAD: its answer has no body.
    pub bodiless: bool,
    /// It is in the queue of connections whose requests wait for a turn.
    pub queued: bool,
    /// The peer sends no more: the connection ends with the last answer.
    pub ended: bool,
    /// The peer's end lies behind what has come, and perhaps behind more: it waits for no WebSocket.
    pub ends_behind: bool,
    /// It brings one call of another node, and ends with its answer.
    pub one_call: bool,
}

/// The event that an HTTP connection waits for.
#[derive(Debug)]
#[expect(
    clippy::enum_variant_names,
    reason = "states are named for what they await"
)]
pub(crate) enum HttpStage {
    /// The end of the TLS handshake.
    AwaitTls,
    /// A request head.
    AwaitHead,
    /// A request's body.
    AwaitBody(Box<PendingBody>),
    /// An answer from a home shard, or from several.
    AwaitReply(PendingCall, Expected),
    /// Somebody who waits for the device that asks.
    AwaitWake(Box<AwaitedWake>),
    /// The edge, to take the connection to its channel's home with the bytes that followed the head.
    AwaitHandover(Box<Admission>, Vec<u8>),
    /// The edge, to pass the connection on to the node that owns the channel.
    AwaitLink(Box<Onward>),
    /// The edge, to pass the connection to the side thread, with its request as it came.
    AwaitAdmin(Vec<u8>),
    /// A node that owns the channel: none does for the moment.
    AwaitOwner(Box<Ownerless>),
}

/// A request that another node answers.
#[derive(Debug)]
pub struct Onward {
    /// The purpose of the request.
    pub purpose: Purpose,
    /// The channel.
    pub identity: Identity,
    /// Until when it may look for a node that answers; from its first look on.
    pub until: Option<Now>,
    /// The channel's name.
    pub channel: Box<str>,
    /// The viewer's client id, if it is one that connects.
    pub client_id: Option<Box<str>>,
    /// The caller.
    pub caller: Caller,
    /// The request as it came, and what followed it so far.
    pub bytes: Vec<u8>,
    /// Bytes of the request alone, of a call.
    pub call: Option<usize>,
    /// Its entry in the count of all.
    pub counted: OnwardCount,
}

/// The number of requests that another node is to answer and has not: each has a copy, wherever it is. One per shard.
#[derive(Clone, Debug, Default)]
pub struct OnwardCount(Arc<()>);

impl OnwardCount {
    /// Whether there is any.
    pub(crate) fn any(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

/// A request for a channel that no node has for the moment, or one that cannot be reached.
#[derive(Debug)]
pub(crate) struct Ownerless {
    /// The request.
    pub onward: Onward,
    /// The node that could not be reached, and when it is tried again if it has the channel still.
    pub failed: Option<(NodeId, Now)>,
}

/// A device that waits at its channel's home until somebody waits for it.
#[derive(Debug)]
pub(crate) struct AwaitedWake {
    /// Its channel.
    pub channel: ChannelKey,
    /// Its caller, who is asked again whether it may wait.
    pub caller: Option<HeldCaller>,
    /// While its caller is to be asked again at the connection's deadline: the milliseconds that the device may wait
    /// from then on. Else 0.
    pub left_ms: u32,
    /// The connection ends with the answer.
    pub close: bool,
}

/// A valid upgrade request, or a device's question, that its channel's home has yet to admit.
#[derive(Debug)]
pub struct Admission {
    /// The channel as named.
    pub arn: ChannelArn,
    /// The viewer's client id; `None` for the master.
    pub client_id: Option<Box<str>>,
    /// What says which of both it is.
    pub role_by: RoleBy,
    /// The caller that connects.
    pub caller: Caller,
    /// The thing that it asks for.
    pub asks: Asks,
}

impl Admission {
    /// The policy and the statement that refuse its caller, for operators; with what made it a viewer's, where that
    /// may surprise.
    pub(crate) fn ground_of(&self, ruling: &Ruling) -> Option<Box<str>> {
        let ground = self.caller.ground_of(ruling)?;
        if self.role_by == RoleBy::LastRequest && self.client_id.is_some() {
            return Some(format!("{ground}; {NAMED_MASTER}").into());
        }
        Some(ground)
    }
}

/// About a viewer whose client id is that of a master.
const NAMED_MASTER: &str = "X-Amz-ClientId=MASTER is a viewer's here: the URL was not signed with the path /master of \
                            its endpoint, and the caller's last GetSignalingChannelEndpoint did not name Role MASTER";

impl Admission {
    /// Whether nothing names its role: no client id, at an endpoint for both.
    pub(crate) fn is_unnamed(&self) -> bool {
        self.client_id.is_none() && self.role_by == RoleBy::ClientId
    }

    /// Whether it may be a viewer's whose client id is missing, which its channel's home knows.
    pub(crate) fn may_lack_client_id(&self) -> bool {
        let is_web_socket = matches!(self.asks, Asks::WebSocket { .. });
        is_web_socket && self.client_id.is_none() && self.role_by != RoleBy::Endpoint
    }
}

/// What says whether a connection is a master's or a viewer's: codec/PROTOCOL.md, CON-2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleBy {
    /// Whether its URL names a client id.
    ClientId,
    /// The host or the path of its endpoint, as they were signed.
    Endpoint,
    /// Which endpoint its caller asked for last, which the channel's home knows: its client id is `MASTER`, or it has
    /// none and may not be the master.
    LastRequest,
}

impl RoleBy {
    /// All, each at the place of its number.
    pub(crate) const ALL: [Self; 3] = [Self::ClientId, Self::Endpoint, Self::LastRequest];

    /// The name in traces.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::ClientId => "client_id",
            Self::Endpoint => "endpoint",
            Self::LastRequest => "last_request",
        }
    }
}

/// The thing that a connection asks its channel's home for.
#[derive(Clone, Copy, Debug)]
pub enum Asks {
    /// A WebSocket.
    WebSocket {
        /// The accept key of the handshake.
        accept: [u8; 28],
        /// Its program. The subprotocol `wss` is echoed if it was offered.
        program: Program,
    },
    /// An answer as soon as somebody waits for the channel's master.
    Wake {
        /// The longest time for it, in milliseconds.
        wait_ms: u64,
        /// The connection ends with the answer.
        close: bool,
    },
}

/// The parts of a request head that are kept while its body is awaited.
#[derive(Debug)]
pub(crate) struct PendingBody {
    /// The service that the call is for.
    pub target: Target,
    /// The `Host` field as sent.
    pub host: Box<str>,
    /// The connection ends with the answer.
    pub close: bool,
    /// The body's length.
    pub length: usize,
    /// The program of the caller.
    pub program: Program,
    /// The head, where a signature is checked over it and the body.
    pub head: Option<Box<[u8]>>,
}

/// Which of our services a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The operation that the path names.
    Api(Operation),
    /// The security token service, at `/`.
    Sts,
}

/// The parts of a call that are kept while its answer is awaited.
#[derive(Debug)]
pub(crate) struct PendingCall {
    /// The operation that the path names.
    pub operation: Operation,
    /// The `Host` field as sent: discovery answers with it.
    pub host: Box<str>,
    /// The connection ends with the answer.
    pub close: bool,
    /// The caller.
    pub caller: Caller,
    /// The program of the caller.
    pub program: Program,
    /// The client id that the call names, where policies are asked once more with the tags of the channel.
    pub client_id: Option<Box<str>>,
    /// The name of the channel that the call is about: for the log, if it is refused.
    pub channel: Option<Box<str>>,
    /// The subject of the call, where an audit line names it: a channel's ARN, or the name of one to be made.
    pub subject: Option<Box<str>>,
    /// The log keeps a place for that line.
    pub place_kept: bool,
    /// Bytes of records that the caller's account has, once all were asked.
    pub held: u64,
}

impl PendingCall {
    /// The account whose places and shares the call uses.
    #[must_use]
    pub(crate) fn account(&self) -> Account {
        Account::of_digits(self.caller.account())
    }
}

/// The answer that a home shard's reply is to become.
#[derive(Debug)]
pub(crate) enum Expected {
    /// The new channel's ARN.
    Created,
    /// The channel's description.
    Description,
    /// Pages of all shards, merged once all have come.
    Pages {
        /// Shards that have not answered.
        missing: usize,
        /// Entries asked for.
        limit: usize,
        /// The entries of the pages that came.
        records: Vec<Listed>,
        /// The least of the last names of shards that have more: what comes after it may be incomplete.
        complete_to: Option<Box<str>>,
    },
    /// Nothing but that a change was made.
    Done,
    /// Nothing but that the channel is there.
    Nothing,
    /// The channel's tags.
    Tags,
    /// That the channel's media are not stored.
    MediaStorage,
    /// The refusal of media storage, if the channel is there.
    NoMediaStorage,
    /// That the account may make one more of this call, before it is made.
    Permit {
        /// Shards that have not answered.
        missing: usize,
        /// The account's on those that have.
        held: Holding,
        /// The call.
        call: Box<Call>,
    },
    /// The channel's endpoints.
    Endpoints(Vec<Protocol>, Role),
    /// ICE servers, with credentials in this name.
    IceServers(Box<str>),
    /// The answer of this channel's master; the call is withdrawn when its caller hangs up. Whether another shard said
    /// that it took the call, and waits for the word that it is over.
    Answer(Identity, bool),
}

impl Http {
    /// A connection that was just accepted.
    #[must_use]
    pub(crate) fn new(stage: HttpStage, deadline: Now) -> Self {
        Self {
            stage,
            buffer: Vec::new(),
            scanner: HeadScanner::new(),
            deadline,
            answer_due: NEVER,
            serial: 0,
            served: false,
            begun: false,
            bodiless: false,
            queued: false,
            ended: false,
            ends_behind: false,
            one_call: false,
        }
    }

    /// The next request is awaited until `deadline`.
    pub(crate) fn await_head(&mut self, deadline: Now) {
        self.stage = HttpStage::AwaitHead;
        self.scanner = HeadScanner::new();
        self.deadline = deadline;
        self.serial = self.serial.wrapping_add(1);
        self.served = true;
        self.begun = false;
        self.bodiless = false;
        if self.buffer.is_empty() {
            self.buffer = Vec::new();
        }
    }

    /// Whether requests that have come are still to be answered. `answers_wait`: they wait for the peer to take
    /// answers.
    #[must_use]
    pub(crate) fn has_more(&self, answers_wait: bool) -> bool {
        self.queued || (answers_wait && !self.buffer.is_empty())
    }

    /// Bytes of requests that are kept here, as memory was taken for them.
    #[must_use]
    pub(crate) fn held(&self) -> usize {
        let aside = match &self.stage {
            HttpStage::AwaitBody(awaited) => awaited.head.as_ref().map_or(0, |head| head.len()),
            HttpStage::AwaitHandover(_, unread) | HttpStage::AwaitAdmin(unread) => {
                unread.capacity()
            }
            HttpStage::AwaitLink(onward) => onward.bytes.capacity(),
            HttpStage::AwaitOwner(ownerless) => ownerless.onward.bytes.capacity(),
            HttpStage::AwaitTls
            | HttpStage::AwaitHead
            | HttpStage::AwaitReply(..)
            | HttpStage::AwaitWake(_) => 0,
        };
        self.buffer.capacity() + aside
    }

    /// Whether a call is under way, or a device waits.
    #[must_use]
    pub(crate) fn awaits_reply(&self) -> bool {
        matches!(
            self.stage,
            HttpStage::AwaitReply(..) | HttpStage::AwaitWake(_)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session;

    #[test]
    fn a_device_that_waits_stays_small() {
        // Of each, before the tables around it: some 130 bytes in maps, and the edge's 48.
        let waits = size_of::<AwaitedWake>();
        let sum = size_of::<session::Session>() + size_of::<Http>() + waits;
        assert!(sum <= 480, "{sum}: {waits} and {}", size_of::<Http>());
    }
}
