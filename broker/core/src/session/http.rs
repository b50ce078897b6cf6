//! HTTP state of a connection, before its upgrade or without one: heads, bodies, and the response to a call.

use crate::auth::{Caller, HeldCaller, Ruling};
use crate::event::{Purpose, Requested, UpgradeRole};
use crate::id::{Account, ChannelKey, Identity, NodeId};
use crate::machine::StreamHome;
use crate::record::{Holding, ListedChannel};
use crate::{session::NEVER, settings::Program, time::Now};
use codec::control::{Call, Operation, Protocol};
use codec::{http::HeadScanner, identifiers::ChannelArn, signal::Role};
use std::sync::Arc;

/// HTTP state of one connection. Bytes are kept only while a head or body is incomplete or a call is in progress.
#[derive(Debug)]
pub(crate) struct Http {
    /// Awaited event.
    pub stage: HttpStage,
    /// Received bytes not yet used; begins with the awaited head or body.
    pub buffer: Vec<u8>,
    /// Scanner of the awaited head, with its progress.
    pub scanner: HeadScanner,
    /// Deadline of the awaited event.
    pub deadline: Now,
    /// When the peer must have taken a byte of the queued answers; [`NEVER`] without any.
    pub answer_due: Now,
    /// Number of the call in progress, or of the next one.
    pub serial: u32,
    /// Whether at least one request was answered: then silence is the end of keep-alive, not an error.
    pub served: bool,
    /// Whether a part of the awaited head was received: the rest has a deadline.
    pub begun: bool,
    /// Whether the request in progress is a HEAD: its answer has no body.
    pub bodiless: bool,
    /// Whether the connection is queued, since its requests wait for a turn.
    pub queued: bool,
    /// Whether the peer sends no more: the connection ends with the last answer.
    pub ended: bool,
    /// Whether the peer's end follows the received bytes, and perhaps more: the peer waits for no WebSocket.
    pub ends_behind: bool,
    /// Whether the session is one call of another node, and ends with its answer.
    pub one_call: bool,
}

/// Event that an HTTP connection waits for.
#[derive(Debug)]
#[expect(
    clippy::enum_variant_names,
    reason = "states are named for what they await"
)]
pub(crate) enum HttpStage {
    /// End of the TLS handshake.
    AwaitTls,
    /// Request head.
    AwaitHead,
    /// Body of a request.
    AwaitBody(Box<PendingBody>),
    /// Answer from a home shard, or from several.
    AwaitReply(PendingCall, Expected),
    /// A caller for the device.
    AwaitWake(Box<AwaitedWake>),
    /// The edge must move the connection to its channel's home, with the bytes that followed the head.
    AwaitHandover(Box<Admission>, Vec<u8>),
    /// The edge must forward the connection to the node that owns the channel.
    AwaitLink(Box<Onward>),
    /// The edge must pass the connection to the side thread, with its request as received.
    AwaitAdmin(Vec<u8>),
    /// A node that owns the channel: none does at present.
    AwaitOwner(Box<Onward>),
}

/// A request that another node answers.
#[derive(Debug)]
pub struct Onward {
    /// Purpose of the request.
    pub purpose: Purpose,
    /// The channel.
    pub identity: Identity,
    /// Destination as a stream of a link.
    pub home: Option<StreamHome>,
    /// Deadline for finding a node that answers; set at the first attempt.
    pub until: Option<Now>,
    /// The channel's name.
    pub channel: Box<str>,
    /// Client id of a connecting viewer.
    pub client_id: Option<Box<str>>,
    /// The caller.
    pub caller: Caller,
    /// Request as received, and further bytes.
    pub bytes: Vec<u8>,
    /// Length of the request alone, if it is a call.
    pub call: Option<usize>,
    /// Most bytes of a TLS record to the client.
    pub record_bytes: usize,
    /// Node that could not be reached, and when it is retried if it still has the channel.
    pub(crate) failed: Option<(NodeId, Now)>,
    /// Entry in the count of all such requests.
    pub counted: OnwardCount,
}

/// Number of requests that another node must still answer: each has a copy, wherever it is. One per shard.
#[derive(Clone, Debug, Default)]
pub struct OnwardCount(Arc<()>);

impl OnwardCount {
    /// Whether there is any such request.
    pub(crate) fn any(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

/// A device that waits at its channel's home for a caller.
#[derive(Debug)]
pub(crate) struct AwaitedWake {
    /// Channel of the device.
    pub channel: ChannelKey,
    /// Caller of the device, checked again while it waits.
    pub caller: Option<HeldCaller>,
    /// Remaining wait of the device, in milliseconds, while the connection's deadline is that of the next check of its
    /// caller. Else 0.
    pub left_ms: u32,
    /// Whether the connection closes with the answer.
    pub close: bool,
}

/// A valid upgrade request, or a device's wait, that its channel's home must still admit.
#[derive(Debug)]
pub struct Admission {
    /// The channel as named in the request.
    pub arn: ChannelArn,
    /// The viewer's client id; `None` for the master.
    pub client_id: Option<Box<str>>,
    /// Basis of the role.
    pub role_by: RoleBy,
    /// Caller that connects.
    pub caller: Caller,
    /// Request to the channel's home.
    pub asks: Asks,
}

impl Admission {
    /// The purpose of its answer.
    pub(crate) fn purpose(&self) -> Purpose {
        match (self.asks, &self.client_id) {
            (Asks::Wake { .. }, _) => Purpose::Wake,
            (Asks::WebSocket { .. }, Some(_)) => Purpose::Upgrade(UpgradeRole::Viewer),
            (Asks::WebSocket { .. }, None) => Purpose::Upgrade(UpgradeRole::Master),
        }
    }

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

/// Hint for a viewer whose client id is that of a master.
const NAMED_MASTER: &str = "X-Amz-ClientId=MASTER is a viewer's here: the URL was not signed with the path /master of \
                            its endpoint, and the caller's last GetSignalingChannelEndpoint did not name Role MASTER";

impl Admission {
    /// Whether nothing names the role: no client id, at an endpoint for both.
    pub(crate) fn is_unnamed(&self) -> bool {
        self.client_id.is_none() && self.role_by == RoleBy::ClientId
    }

    /// Whether it may be a viewer without its client id, which only the channel's home can tell.
    pub(crate) fn may_lack_client_id(&self) -> bool {
        let is_web_socket = matches!(self.asks, Asks::WebSocket { .. });
        is_web_socket && self.client_id.is_none() && self.role_by != RoleBy::Endpoint
    }
}

/// Basis for the role of a connection, master or viewer: codec/PROTOCOL.md, CON-2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleBy {
    /// Presence of a client id in the URL.
    ClientId,
    /// Signed host or path of the endpoint.
    Endpoint,
    /// Endpoint that the caller requested last, known at the channel's home: the client id is `MASTER`, or it is
    /// missing and the caller may not be the master.
    LastRequest,
}

impl RoleBy {
    /// All values, in the order of their numbers.
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

/// Request of a connection to its channel's home.
#[derive(Clone, Copy, Debug)]
pub enum Asks {
    /// A WebSocket.
    WebSocket {
        /// Accept key of the handshake.
        accept: [u8; 28],
        /// Client program. The subprotocol `wss` is echoed if it was offered.
        program: Program,
    },
    /// An answer as soon as somebody waits for the channel's master.
    Wake {
        /// Longest wait, in milliseconds.
        wait_ms: u64,
        /// Whether the connection closes with the answer.
        close: bool,
    },
}

/// Parts of a request head kept while its body is awaited.
#[derive(Debug)]
pub(crate) struct PendingBody {
    /// Service of the call.
    pub target: Target,
    /// The `Host` field as sent.
    pub host: Box<str>,
    /// Whether the connection closes with the answer.
    pub close: bool,
    /// The body's length.
    pub length: usize,
    /// Program of the caller.
    pub program: Program,
    /// Whole head, if a signature covers it and the body.
    pub head: Option<Box<[u8]>>,
    /// Head of a player's request, once its token was checked.
    pub player: Option<Box<PlayerHead>>,
}

/// The head of a player's request, whose token is good.
#[derive(Clone, Debug)]
pub(crate) struct PlayerHead {
    /// Name of the channel.
    pub channel: Box<str>,
    /// Client id that the token names, else `whep`.
    pub client_id: Box<str>,
    /// The caller.
    pub caller: Caller,
}

/// Service of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Operation of the path.
    Api(Operation),
    /// The security token service, at `/`.
    Sts,
    /// A channel's camera, for a player.
    Whep,
}

impl Target {
    /// The purpose that the answer is counted for, before the body is read.
    pub(crate) fn purpose(self) -> Purpose {
        match self {
            Self::Api(operation) => Purpose::Api(operation),
            Self::Sts => Purpose::Sts(Requested::Unknown),
            Self::Whep => Purpose::Whep,
        }
    }
}

/// The parts of a call that are kept while its answer is awaited.
#[derive(Debug)]
pub(crate) struct PendingCall {
    /// Operation of the path.
    pub operation: Operation,
    /// `Host` as sent: discovery answers with it.
    pub host: Box<str>,
    /// Whether the connection closes with the answer.
    pub close: bool,
    /// The caller.
    pub caller: Caller,
    /// Program of the caller.
    pub program: Program,
    /// Client id in the call, if policies are evaluated once more with the tags of the channel.
    pub client_id: Option<Box<str>>,
    /// Name of the call's channel: for the log, if the call is refused.
    pub channel: Option<Box<str>>,
    /// Subject for the audit line: a channel's ARN, or the name of one to be created.
    pub subject: Option<Box<str>>,
    /// Whether the log has reserved a place for that line.
    pub place_kept: bool,
    /// Bytes of records of the caller's account, once all shards were queried.
    pub held: u64,
}

impl PendingCall {
    /// Account whose places and shares the call uses.
    #[must_use]
    pub(crate) fn account(&self) -> Account {
        Account::of_digits(self.caller.account())
    }
}

/// A player's offer while its answer is awaited.
#[derive(Debug)]
pub(crate) struct PlayerOffer {
    /// Moment at which it was read.
    pub posted: Now,
    /// Id of its call.
    pub call: Box<str>,
}

/// Answer to build from a home shard's reply.
#[derive(Debug)]
pub(crate) enum Expected {
    /// ARN of the created channel.
    Created,
    /// Description of the channel.
    Description,
    /// Pages of all shards, merged once all have arrived.
    Pages {
        /// Shards that have not answered.
        missing: usize,
        /// Requested entries.
        limit: usize,
        /// Entries of the pages received.
        records: Vec<ListedChannel>,
        /// Lowest of the last names of shards that have more: entries after it may be incomplete.
        complete_to: Option<Box<str>>,
    },
    /// Empty: a change was made.
    Done,
    /// Empty: the channel exists.
    Nothing,
    /// Tags of the channel.
    Tags,
    /// The channel's media is not stored.
    MediaStorage,
    /// Refusal of media storage, if the channel exists.
    NoMediaStorage,
    /// Permission for one more such call of the account, before it is made.
    Permit {
        /// Shards that have not answered.
        missing: usize,
        /// Holdings of the account on those that have.
        held: Holding,
        /// Call to make.
        call: Box<Call>,
    },
    /// Endpoints of the channel.
    Endpoints(Vec<Protocol>, Role),
    /// ICE servers, with credentials in this name.
    IceServers(Box<str>),
    /// Answer of this channel's master; the call is withdrawn when its caller disconnects. The flag: another shard has
    /// accepted the call, and waits for the notice of its end. With the offer, if it is a player's.
    Answer(Identity, bool, Option<Box<PlayerOffer>>),
    /// Rights of a player on ICE servers.
    PlayerServers,
}

impl Http {
    /// State of an accepted connection.
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

    /// Waits for the next request until `deadline`.
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

    /// Whether received requests are still to be answered. `answers_wait`: they wait for the peer to take answers.
    #[must_use]
    pub(crate) fn has_more(&self, answers_wait: bool) -> bool {
        self.queued || (answers_wait && !self.buffer.is_empty())
    }

    /// Allocated bytes of requests.
    #[must_use]
    pub(crate) fn held(&self) -> usize {
        let aside = match &self.stage {
            HttpStage::AwaitBody(awaited) => awaited.head.as_ref().map_or(0, |head| head.len()),
            HttpStage::AwaitHandover(_, unread) | HttpStage::AwaitAdmin(unread) => {
                unread.capacity()
            }
            HttpStage::AwaitLink(onward) | HttpStage::AwaitOwner(onward) => onward.bytes.capacity(),
            HttpStage::AwaitTls
            | HttpStage::AwaitHead
            | HttpStage::AwaitReply(..)
            | HttpStage::AwaitWake(_) => 0,
        };
        self.buffer.capacity() + aside
    }

    /// Whether a call is in progress, or a device waits.
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
