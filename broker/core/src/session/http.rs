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

/// HTTP state of one connection. Bytes are buffered only while a request head or body is incomplete or a call is in
/// progress.
#[derive(Debug)]
pub(crate) struct Http {
    /// The event that the connection waits for.
    pub stage: HttpStage,
    /// Bytes that were received but not consumed; begins with the awaited head or body.
    pub buffer: Vec<u8>,
    /// Incremental scanner of the awaited head.
    pub scanner: HeadScanner,
    /// Deadline for the awaited event.
    pub deadline: Now,
    /// When the peer must have read at least one byte of the queued responses; [`NEVER`] if none are queued.
    pub answer_due: Now,
    /// Number of the call in progress, or of the next one.
    pub serial: u32,
    /// Whether at least one request has been answered, in which case a silent peer ends keep-alive rather than causing
    /// an error.
    pub served: bool,
    /// Whether part of the awaited head has been received, in which case the rest has a deadline.
    pub begun: bool,
    /// Whether the request in progress is a HEAD request, whose response has no body.
    pub bodiless: bool,
    /// Whether the connection is queued because its requests are waiting for a turn.
    pub queued: bool,
    /// Whether the peer has closed its sending side (EOF); the connection ends with the last response.
    pub ended: bool,
    /// Whether the peer's EOF follows the received bytes, possibly with more bytes in between; such a peer is not
    /// waiting for a WebSocket.
    pub ends_behind: bool,
    /// Whether the session serves a single call from another node and ends with the response.
    pub one_call: bool,
}

/// The event that an HTTP connection waits for.
#[derive(Debug)]
#[expect(
    clippy::enum_variant_names,
    reason = "states are named for what they await"
)]
pub(crate) enum HttpStage {
    /// Completion of the TLS handshake.
    AwaitTls,
    /// Request head.
    AwaitHead,
    /// Body of a request.
    AwaitBody(Box<PendingBody>),
    /// Answer from one or more home shards.
    AwaitReply(PendingCall, Expected),
    /// A caller for the waiting device.
    AwaitWake(Box<AwaitedWake>),
    /// The edge must move the connection, with the bytes received after the head, to its channel's home shard.
    AwaitHandover(Box<Admission>, Vec<u8>),
    /// The edge must forward the connection to the node that owns the channel.
    AwaitLink(Box<Onward>),
    /// The edge must pass the connection to the side thread, with the request as received.
    AwaitAdmin(Vec<u8>),
    /// A node that owns the channel; no node does at present.
    AwaitOwner(Box<Onward>),
}

/// A request to be forwarded to another node.
#[derive(Debug)]
pub struct Onward {
    /// Purpose of the request.
    pub purpose: Purpose,
    /// Identity of the request's channel.
    pub identity: Identity,
    /// Destination, if the request can be forwarded as a stream of a link.
    pub home: Option<StreamHome>,
    /// Deadline for finding a node that responds; set when forwarding is first attempted.
    pub until: Option<Now>,
    /// The channel's name.
    pub channel: Box<str>,
    /// Client id of a connecting viewer.
    pub client_id: Option<Box<str>>,
    /// The caller that sent the request.
    pub caller: Caller,
    /// The request as received, followed by any bytes after it.
    pub bytes: Vec<u8>,
    /// Length of the request alone, if the request is a call.
    pub call: Option<usize>,
    /// Maximum size of TLS records sent to the client.
    pub record_bytes: usize,
    /// Node that could not be reached, and when to retry it if it still owns the channel.
    pub(crate) failed: Option<(NodeId, Now)>,
    /// Counts this request among those that other nodes have yet to answer.
    pub counted: OnwardCount,
}

/// Number of requests that other nodes have yet to answer, counted per shard; each such request holds a clone.
#[derive(Clone, Debug, Default)]
pub struct OnwardCount(Arc<()>);

impl OnwardCount {
    /// Whether any request is waiting for another node's answer.
    pub(crate) fn any(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

/// A device that is waiting for a caller at its channel's home shard.
#[derive(Debug)]
pub(crate) struct AwaitedWake {
    /// Channel that the device waits on.
    pub channel: ChannelKey,
    /// Caller that the device authenticated as; rechecked while the device waits.
    pub caller: Option<HeldCaller>,
    /// Remaining time that the device waits, in milliseconds, while the connection's deadline is that of the next check
    /// of its caller; otherwise 0.
    pub left_ms: u32,
    /// Whether to close the connection after the response.
    pub close: bool,
}

/// A valid upgrade request, or a device's request to wait, that the channel's home shard has yet to admit.
#[derive(Debug)]
pub struct Admission {
    /// The channel as named in the request.
    pub arn: ChannelArn,
    /// The viewer's client id; `None` for the master.
    pub client_id: Option<Box<str>>,
    /// How the role was determined.
    pub role_by: RoleBy,
    /// The caller that is connecting.
    pub caller: Caller,
    /// Request of the connection to the channel's home shard.
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

    /// Policy and statement that deny the caller, for operators. If the caller counts as a viewer for a reason that may
    /// be surprising, includes the reason.
    pub(crate) fn ground_of(&self, ruling: &Ruling) -> Option<Box<str>> {
        let ground = self.caller.ground_of(ruling)?;
        if self.role_by == RoleBy::LastRequest && self.client_id.is_some() {
            return Some(format!("{ground}; {NAMED_MASTER}").into());
        }
        Some(ground)
    }
}

/// Hint for a viewer whose client id is `MASTER`.
const NAMED_MASTER: &str = "X-Amz-ClientId=MASTER is a viewer's here: the URL was not signed with the path /master of \
                            its endpoint, and the caller's last GetSignalingChannelEndpoint did not name Role MASTER";

impl Admission {
    /// Whether nothing specifies the role: the request has no client id, and the endpoint serves both roles.
    pub(crate) fn is_unnamed(&self) -> bool {
        self.client_id.is_none() && self.role_by == RoleBy::ClientId
    }

    /// Whether the client may be a viewer that omitted its client id, which only the channel's home shard can
    /// determine.
    pub(crate) fn may_lack_client_id(&self) -> bool {
        let is_web_socket = matches!(self.asks, Asks::WebSocket { .. });
        is_web_socket && self.client_id.is_none() && self.role_by != RoleBy::Endpoint
    }
}

/// How the role of a connection, master or viewer, was determined; see codec/PROTOCOL.md, CON-2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleBy {
    /// By the presence of a client id in the URL.
    ClientId,
    /// By the signed host or path of the endpoint.
    Endpoint,
    /// By the endpoint that the caller last requested, which the channel's home shard knows; used if the client id is
    /// `MASTER`, or if it is missing and the caller may not be the master.
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

/// Request from a connection to its channel's home shard.
#[derive(Clone, Copy, Debug)]
pub enum Asks {
    /// A WebSocket upgrade.
    WebSocket {
        /// Value of the `Sec-WebSocket-Accept` header for the handshake.
        accept: [u8; 28],
        /// Client program. The subprotocol `wss` is accepted if it was offered.
        program: Program,
    },
    /// A device's request to receive a response as soon as a client waits for the channel's master.
    Wake {
        /// Maximum time to wait, in milliseconds.
        wait_ms: u64,
        /// Whether to close the connection after the response.
        close: bool,
    },
}

/// Parts of a request head that are kept until the body arrives.
#[derive(Debug)]
pub(crate) struct PendingBody {
    /// Service that is called.
    pub target: Target,
    /// Value of the `Host` header as sent.
    pub host: Box<str>,
    /// Whether to close the connection after the response.
    pub close: bool,
    /// Length of the body, in bytes.
    pub length: usize,
    /// Client program of the caller.
    pub program: Program,
    /// The complete head, if the signature covers both the head and the body.
    pub head: Option<Box<[u8]>>,
    /// Head of a player's request, if its token has been checked.
    pub player: Option<Box<PlayerHead>>,
}

/// Head of a player's request with a valid token.
#[derive(Clone, Debug)]
pub(crate) struct PlayerHead {
    /// Name of the channel.
    pub channel: Box<str>,
    /// Client id in the token, or `whep`.
    pub client_id: Box<str>,
    /// The caller identified by the token.
    pub caller: Caller,
}

/// Service that is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// An API operation, determined by the request path.
    Api(Operation),
    /// The Security Token Service, at `/`.
    Sts,
    /// A channel's camera, called by a player through WHEP.
    Whep,
}

impl Target {
    /// Purpose under which the response is counted until the body has been read.
    pub(crate) fn purpose(self) -> Purpose {
        match self {
            Self::Api(operation) => Purpose::Api(operation),
            Self::Sts => Purpose::Sts(Requested::Unknown),
            Self::Whep => Purpose::Whep,
        }
    }
}

/// Parts of a call that are kept until its answer arrives.
#[derive(Debug)]
pub(crate) struct PendingCall {
    /// Operation determined by the request path.
    pub operation: Operation,
    /// Value of the `Host` header as sent, which discovery returns to the client.
    pub host: Box<str>,
    /// Whether to close the connection after the response.
    pub close: bool,
    /// The caller that sent the request.
    pub caller: Caller,
    /// Client program of the caller.
    pub program: Program,
    /// Client id in the call, needed if policies are evaluated again with the channel's tags.
    pub client_id: Option<Box<str>>,
    /// Name of the call's channel, logged if the call is refused.
    pub channel: Option<Box<str>>,
    /// Subject of the audit entry: a channel's ARN, or the name of a channel to be created.
    pub subject: Option<Box<str>>,
    /// Whether space for the audit entry has been reserved in the log.
    pub place_kept: bool,
    /// Number of channels and bytes of the caller's account on other nodes, once those nodes have been queried.
    pub elsewhere: Holding,
}

impl PendingCall {
    /// Account against whose limits and shares the call counts.
    #[must_use]
    pub(crate) fn account(&self) -> Account {
        Account::of_digits(self.caller.account())
    }
}

/// A player's offer that is waiting for its answer.
#[derive(Debug)]
pub(crate) struct PlayerOffer {
    /// When the offer was received.
    pub posted: Now,
    /// Id of the player's call.
    pub call: Box<str>,
}

/// Kind of response to build from a home shard's reply.
#[derive(Debug)]
pub(crate) enum Expected {
    /// ARN of the created channel.
    Created,
    /// Description of the channel.
    Description,
    /// Page of channels.
    Page,
    /// Empty response: the change was made.
    Done,
    /// Empty response: the channel exists.
    Nothing,
    /// Tags of the channel.
    Tags,
    /// Statement that the channel's media is not stored.
    MediaStorage,
    /// Refusal of media storage, provided that the channel exists.
    NoMediaStorage,
    /// Number of channels and bytes of the account on other nodes, required before this call can be made.
    Holding(Box<Call>),
    /// Endpoints of the channel.
    Endpoints(Vec<Protocol>, Role),
    /// ICE servers, with credentials for the given name.
    IceServers(Box<str>),
    /// Answer from this channel's master; the call is withdrawn if its caller disconnects. The flag indicates that
    /// another shard has accepted the call and must be notified when it ends. Contains the offer if it is a player's.
    Answer(Identity, bool, Option<Box<PlayerOffer>>),
    /// Whether a player may use ICE servers.
    PlayerServers,
}

impl Http {
    /// Creates the state of an accepted connection.
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

    /// Whether received requests remain to be answered. `answers_wait` is set if they are waiting for the peer to read
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
