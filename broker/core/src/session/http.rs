//! HTTP state of a connection, before or without an upgrade: heads, bodies, and the response to a call.

use crate::auth::{Caller, HeldCaller, Ruling};
use crate::event::{Purpose, Requested, UpgradeRole};
use crate::id::{Account, ChannelKey, Identity, NodeId};
use crate::machine::StreamHome;
use crate::record::Holding;
use crate::{session::NEVER, settings::Program, time::Now};
use codec::control::{Call, Operation, Protocol};
use codec::{http::HeadScanner, identifiers::ChannelArn, signal::Role};
use std::sync::Arc;

/// HTTP state of one connection. Bytes are buffered only while a head or body is incomplete or a call is in progress.
#[derive(Debug)]
pub(crate) struct Http {
    /// The event that the connection waits for.
    pub stage: HttpStage,
    /// Received but unconsumed bytes; begins with the awaited head or body.
    pub buffer: Vec<u8>,
    /// Incremental scanner of the awaited head.
    pub scanner: HeadScanner,
    /// Deadline of the awaited event.
    pub deadline: Now,
    /// When the peer must have read a byte of the queued responses; [`NEVER`] if there are none.
    pub answer_due: Now,
    /// Number of the call in progress, or of the next one.
    pub serial: u32,
    /// Whether at least one request was answered, in which case silence ends keep-alive and is not an error.
    pub served: bool,
    /// Whether part of the awaited head was received, in which case the rest has a deadline.
    pub begun: bool,
    /// Whether the request in progress is a HEAD, whose response has no body.
    pub bodiless: bool,
    /// Whether the connection is queued because its requests wait for a turn.
    pub queued: bool,
    /// Whether the peer has closed its sending side (EOF); the connection ends with the last response.
    pub ended: bool,
    /// Whether the peer's EOF follows the received bytes, possibly after more bytes; such a peer is not waiting for a
    /// WebSocket.
    pub ends_behind: bool,
    /// Whether the session is a single call from another node and ends with its answer.
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
    /// Answer from one or more home shards.
    AwaitReply(PendingCall, Expected),
    /// A caller for the waiting device.
    AwaitWake(Box<AwaitedWake>),
    /// The edge must move the connection to its channel's home, with the bytes received after the head.
    AwaitHandover(Box<Admission>, Vec<u8>),
    /// The edge must forward the connection to the node that owns the channel.
    AwaitLink(Box<Onward>),
    /// The edge must pass the connection to the side thread, with the request as received.
    AwaitAdmin(Vec<u8>),
    /// A node that owns the channel; none does at present.
    AwaitOwner(Box<Onward>),
}

/// A request to be answered by another node.
#[derive(Debug)]
pub struct Onward {
    /// Purpose of the request.
    pub purpose: Purpose,
    /// Identity of the channel.
    pub identity: Identity,
    /// Destination as a stream of a link.
    pub home: Option<StreamHome>,
    /// Deadline for finding a node that responds; set at the first attempt.
    pub until: Option<Now>,
    /// The channel's name.
    pub channel: Box<str>,
    /// Client id of a connecting viewer.
    pub client_id: Option<Box<str>>,
    /// The caller.
    pub caller: Caller,
    /// The request as received, and any bytes after it.
    pub bytes: Vec<u8>,
    /// Length of the request alone, if it is a call.
    pub call: Option<usize>,
    /// Maximum size of a TLS record sent to the client.
    pub record_bytes: usize,
    /// Node that could not be reached, and when it is retried if it still owns the channel.
    pub(crate) failed: Option<(NodeId, Now)>,
    /// Counts the request among those that another node has yet to answer.
    pub counted: OnwardCount,
}

/// Number of requests that other nodes have yet to answer; each request holds a clone. One counter per shard.
#[derive(Clone, Debug, Default)]
pub struct OnwardCount(Arc<()>);

impl OnwardCount {
    /// Whether any request is waiting for another node's answer.
    pub(crate) fn any(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

/// A device waiting at its channel's home for a caller.
#[derive(Debug)]
pub(crate) struct AwaitedWake {
    /// Channel of the device.
    pub channel: ChannelKey,
    /// Caller of the device, rechecked while it waits.
    pub caller: Option<HeldCaller>,
    /// Remaining wait of the device, in milliseconds, while the connection's deadline is the next check of its caller;
    /// otherwise 0.
    pub left_ms: u32,
    /// Whether the connection closes after the response.
    pub close: bool,
}

/// A valid upgrade request or a device's wait that the channel's home has yet to admit.
#[derive(Debug)]
pub struct Admission {
    /// The channel as named in the request.
    pub arn: ChannelArn,
    /// The viewer's client id; `None` for the master.
    pub client_id: Option<Box<str>>,
    /// How the role was determined.
    pub role_by: RoleBy,
    /// The connecting caller.
    pub caller: Caller,
    /// Request to the channel's home.
    pub asks: Asks,
}

impl Admission {
    /// Purpose of the response.
    pub(crate) fn purpose(&self) -> Purpose {
        match (self.asks, &self.client_id) {
            (Asks::Wake { .. }, _) => Purpose::Wake,
            (Asks::WebSocket { .. }, Some(_)) => Purpose::Upgrade(UpgradeRole::Viewer),
            (Asks::WebSocket { .. }, None) => Purpose::Upgrade(UpgradeRole::Master),
        }
    }

    /// Policy and statement that refuse the caller, for operators; includes why it counts as a viewer where that may be
    /// surprising.
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
    /// Whether nothing specifies the role: no client id, at an endpoint that serves both.
    pub(crate) fn is_unnamed(&self) -> bool {
        self.client_id.is_none() && self.role_by == RoleBy::ClientId
    }

    /// Whether the client may be a viewer that omitted its client id, which only the channel's home can tell.
    pub(crate) fn may_lack_client_id(&self) -> bool {
        let is_web_socket = matches!(self.asks, Asks::WebSocket { .. });
        is_web_socket && self.client_id.is_none() && self.role_by != RoleBy::Endpoint
    }
}

/// How the role of a connection, master or viewer, was determined; see codec/PROTOCOL.md, CON-2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleBy {
    /// Presence of a client id in the URL.
    ClientId,
    /// Signed host or path of the endpoint.
    Endpoint,
    /// Endpoint that the caller last requested, known at the channel's home; used if the client id is `MASTER`, or is
    /// missing and the caller may not be the master.
    LastRequest,
}

impl RoleBy {
    /// All values, in the order of their numbers.
    pub(crate) const ALL: [Self; 3] = [Self::ClientId, Self::Endpoint, Self::LastRequest];

    /// Name in traces.
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
    /// A WebSocket upgrade.
    WebSocket {
        /// Accept key of the handshake.
        accept: [u8; 28],
        /// Client program. The subprotocol `wss` is echoed if it was offered.
        program: Program,
    },
    /// A response as soon as someone waits for the channel's master.
    Wake {
        /// Maximum wait, in milliseconds.
        wait_ms: u64,
        /// Whether the connection closes after the response.
        close: bool,
    },
}

/// Parts of a request head kept until the body arrives.
#[derive(Debug)]
pub(crate) struct PendingBody {
    /// Service of the call.
    pub target: Target,
    /// The `Host` field as sent.
    pub host: Box<str>,
    /// Whether the connection closes after the response.
    pub close: bool,
    /// The body's length.
    pub length: usize,
    /// Program of the caller.
    pub program: Program,
    /// The complete head, if the signature covers both head and body.
    pub head: Option<Box<[u8]>>,
    /// Head of a player's request, once its token has been checked.
    pub player: Option<Box<PlayerHead>>,
}

/// Head of a player's request with a valid token.
#[derive(Clone, Debug)]
pub(crate) struct PlayerHead {
    /// Name of the channel.
    pub channel: Box<str>,
    /// Client id named by the token, or `whep`.
    pub client_id: Box<str>,
    /// The caller.
    pub caller: Caller,
}

/// Service of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// An operation named by the request path.
    Api(Operation),
    /// The security token service, at `/`.
    Sts,
    /// A channel's camera, called by a player.
    Whep,
}

impl Target {
    /// Purpose under which the response is counted before the body is read.
    pub(crate) fn purpose(self) -> Purpose {
        match self {
            Self::Api(operation) => Purpose::Api(operation),
            Self::Sts => Purpose::Sts(Requested::Unknown),
            Self::Whep => Purpose::Whep,
        }
    }
}

/// Parts of a call kept until its answer arrives.
#[derive(Debug)]
pub(crate) struct PendingCall {
    /// Operation named by the request path.
    pub operation: Operation,
    /// `Host` as sent, which discovery returns.
    pub host: Box<str>,
    /// Whether the connection closes after the response.
    pub close: bool,
    /// The caller.
    pub caller: Caller,
    /// Program of the caller.
    pub program: Program,
    /// Client id in the call, if policies are evaluated again with the channel's tags.
    pub client_id: Option<Box<str>>,
    /// Name of the call's channel, logged if the call is refused.
    pub channel: Option<Box<str>>,
    /// Subject of the audit entry: a channel's ARN, or the name of one to be created.
    pub subject: Option<Box<str>>,
    /// Whether the log has reserved space for the audit entry.
    pub place_kept: bool,
    /// Holdings of the caller's account on other nodes, once these were queried.
    pub elsewhere: Holding,
}

impl PendingCall {
    /// Account whose limits and shares the call counts against.
    #[must_use]
    pub(crate) fn account(&self) -> Account {
        Account::of_digits(self.caller.account())
    }
}

/// A player's offer waiting for its answer.
#[derive(Debug)]
pub(crate) struct PlayerOffer {
    /// When the offer was read.
    pub posted: Now,
    /// Id of the player's call.
    pub call: Box<str>,
}

/// Response to build from a home shard's reply.
#[derive(Debug)]
pub(crate) enum Expected {
    /// ARN of the created channel.
    Created,
    /// Description of the channel.
    Description,
    /// Page of channels.
    Page,
    /// Empty response: a change was made.
    Done,
    /// Empty response: the channel exists.
    Nothing,
    /// Tags of the channel.
    Tags,
    /// States that the channel's media is not stored.
    MediaStorage,
    /// Refusal of media storage, if the channel exists.
    NoMediaStorage,
    /// Holdings of the account on other nodes, required before this call is made.
    Holding(Box<Call>),
    /// Endpoints of the channel.
    Endpoints(Vec<Protocol>, Role),
    /// ICE servers, with credentials for this name.
    IceServers(Box<str>),
    /// Answer from this channel's master; the call is withdrawn if its caller disconnects. The flag indicates that
    /// another shard has accepted the call and waits for the notice of its end. Includes the offer if it is a player's.
    Answer(Identity, bool, Option<Box<PlayerOffer>>),
    /// Whether a player may use ICE servers.
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

    /// Whether received requests have yet to be answered. `answers_wait` is set if they wait for the peer to read
    /// responses.
    #[must_use]
    pub(crate) fn has_more(&self, answers_wait: bool) -> bool {
        self.queued || (answers_wait && !self.buffer.is_empty())
    }

    /// Number of bytes allocated for requests.
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

    /// Whether a call is in progress or a device is waiting.
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
