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

/// HTTP state of one connection. Buffers bytes only while a request head or body is incomplete or a call is in
/// progress.
#[derive(Debug)]
pub(crate) struct Http {
    pub stage: HttpStage,
    /// Unconsumed bytes, from the awaited head or body on.
    pub buffer: Vec<u8>,
    pub scanner: HeadScanner,
    pub deadline: Now,
    /// When the peer must have read a byte of the queued responses; [`NEVER`] if none is queued.
    pub answer_due: Now,
    pub serial: u32,
    /// Whether a request has been answered; a silent peer then ends keep-alive instead of causing an error.
    pub served: bool,
    /// Whether a part of the awaited head has been received; the rest then has a deadline.
    pub begun: bool,
    /// Whether the request is a HEAD request, whose response has no body.
    pub bodiless: bool,
    /// Whether the connection is queued until its requests get their turn.
    pub queued: bool,
    /// Whether the peer has sent EOF; the connection ends with the last response.
    pub ended: bool,
    /// Whether the peer has sent EOF, behind the received bytes and perhaps more; such a peer does not wait for a
    /// WebSocket.
    pub ends_behind: bool,
    /// Whether the session serves a single call from another node and ends with its response.
    pub one_call: bool,
}

#[derive(Debug)]
#[expect(
    clippy::enum_variant_names,
    reason = "states are named for what they await"
)]
pub(crate) enum HttpStage {
    AwaitTls,
    AwaitHead,
    AwaitBody(Box<PendingBody>),
    AwaitReply(PendingCall, Expected),
    AwaitWake(Box<AwaitedWake>),
    /// Waits for the edge to hand the request over to the channel's home shard, with the bytes after the head.
    AwaitHandover(Box<Admission>, Vec<u8>),
    /// Waits for the edge to forward the request to the node that owns the channel.
    AwaitLink(Box<Onward>),
    /// Waits for the edge to pass the request, as received, to the side thread.
    AwaitAdmin(Vec<u8>),
    /// Waits for a node to own the channel.
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
    /// Deadline for finding a node that responds; set by the first attempt.
    pub until: Option<Now>,
    /// The channel's name.
    pub channel: Box<str>,
    /// Client id of a connecting viewer.
    pub client_id: Option<Box<str>>,
    /// The caller that sent the request.
    pub caller: Caller,
    /// The request as received, and any bytes after it.
    pub bytes: Vec<u8>,
    /// Length of the request alone, if the request is a call.
    pub call: Option<usize>,
    /// Maximum size of TLS records sent to the client.
    pub record_bytes: usize,
    pub(crate) failed: Option<(NodeId, Now)>,
    /// Handle that counts this request as unanswered by another node.
    pub counted: OnwardCount,
}

/// Requests that other nodes have not answered, counted per shard; each such request holds a clone.
#[derive(Clone, Debug, Default)]
pub struct OnwardCount(Arc<()>);

impl OnwardCount {
    /// Whether any request awaits another node's answer.
    pub(crate) fn any(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

/// A device that waits for a caller at its channel's home shard.
#[derive(Debug)]
pub(crate) struct AwaitedWake {
    pub channel: ChannelKey,
    /// Authenticated caller, rechecked while the device waits.
    pub caller: Option<HeldCaller>,
    /// Remaining wait of the device in milliseconds, while the connection's deadline is that of the next recheck;
    /// otherwise 0.
    pub left_ms: u32,
    pub close: bool,
}

/// A valid upgrade request, or a device's request to wait, to be admitted by the channel's home shard.
#[derive(Debug)]
pub struct Admission {
    /// The channel named in the request.
    pub arn: ChannelArn,
    /// The viewer's client id; `None` for the master.
    pub client_id: Option<Box<str>>,
    /// How the role was determined.
    pub role_by: RoleBy,
    /// The caller that is connecting.
    pub caller: Caller,
    /// The connection's request to the home shard.
    pub asks: Asks,
}

impl Admission {
    pub(crate) fn purpose(&self) -> Purpose {
        match (self.asks, &self.client_id) {
            (Asks::Wake { .. }, _) => Purpose::Wake,
            (Asks::WebSocket { .. }, Some(_)) => Purpose::Upgrade(UpgradeRole::Viewer),
            (Asks::WebSocket { .. }, None) => Purpose::Upgrade(UpgradeRole::Master),
        }
    }

    /// Returns the policy and statement that deny the caller, for operators. Also states why the caller counts as a
    /// viewer, if that may be surprising.
    pub(crate) fn ground_of(&self, ruling: &Ruling) -> Option<Box<str>> {
        let ground = self.caller.ground_of(ruling)?;
        if self.role_by == RoleBy::LastRequest && self.client_id.is_some() {
            return Some(format!("{ground}; {NAMED_MASTER}").into());
        }
        Some(ground)
    }
}

/// Hint for a viewer with the client id `MASTER`.
const NAMED_MASTER: &str = "X-Amz-ClientId=MASTER is a viewer's here: the URL was not signed with the path /master of \
                            its endpoint, and the caller's last GetSignalingChannelEndpoint did not name Role MASTER";

impl Admission {
    /// Whether nothing states the role: the request has no client id, and the endpoint serves both roles.
    pub(crate) fn is_unnamed(&self) -> bool {
        self.client_id.is_none() && self.role_by == RoleBy::ClientId
    }

    /// Whether the client may be a viewer without a client id, which only the channel's home shard can determine.
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
    /// By the endpoint that the caller last requested, which the channel's home shard knows. Used if the client id is
    /// `MASTER`, or if it is missing and the caller may not be the master.
    LastRequest,
}

impl RoleBy {
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

/// A connection's request to its channel's home shard.
#[derive(Clone, Copy, Debug)]
pub enum Asks {
    /// A WebSocket upgrade.
    WebSocket {
        /// Value of `Sec-WebSocket-Accept` for the handshake.
        accept: [u8; 28],
        /// Client program. The subprotocol `wss` is accepted if offered.
        program: Program,
    },
    /// A device's request for a response as soon as a client waits for the channel's master.
    Wake {
        /// Maximum time to wait, in milliseconds.
        wait_ms: u64,
        /// Whether to close the connection after the response.
        close: bool,
    },
}

/// Parts of a request head that are needed with the body.
#[derive(Debug)]
pub(crate) struct PendingBody {
    pub target: Target,
    /// The `Host` header as sent.
    pub host: Box<str>,
    pub close: bool,
    pub length: usize,
    pub program: Program,
    /// The complete head, if the signature covers head and body.
    pub head: Option<Box<[u8]>>,
    /// Head of a player's request whose token was verified.
    pub player: Option<Box<PlayerHead>>,
}

#[derive(Clone, Debug)]
pub(crate) struct PlayerHead {
    pub channel: Box<str>,
    /// Client id in the token, or `whep`.
    pub client_id: Box<str>,
    pub caller: Caller,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Api(Operation),
    /// The Security Token Service, at `/`.
    Sts,
    Whep,
}

impl Target {
    /// Purpose of the response until the body has been read.
    pub(crate) fn purpose(self) -> Purpose {
        match self {
            Self::Api(operation) => Purpose::Api(operation),
            Self::Sts => Purpose::Sts(Requested::Unknown),
            Self::Whep => Purpose::Whep,
        }
    }
}

/// Parts of a call that are needed with its answer.
#[derive(Debug)]
pub(crate) struct PendingCall {
    pub operation: Operation,
    /// The `Host` header as sent, which discovery returns to the client.
    pub host: Box<str>,
    pub close: bool,
    pub caller: Caller,
    pub program: Program,
    /// Client id in the call, for another evaluation of policies with the channel's tags.
    pub client_id: Option<Box<str>>,
    /// Name of the channel, for the log entry of a refusal.
    pub channel: Option<Box<str>>,
    /// Subject of the audit entry: a channel's ARN, or the name of a channel to be created.
    pub subject: Option<Box<str>>,
    /// Whether the log has reserved space for the audit entry.
    pub place_kept: bool,
    /// Channels and bytes of the caller's account on other nodes, once queried.
    pub elsewhere: Holding,
}

impl PendingCall {
    #[must_use]
    pub(crate) fn account(&self) -> Account {
        Account::of_digits(self.caller.account())
    }
}

#[derive(Debug)]
pub(crate) struct PlayerOffer {
    pub posted: Now,
    pub call: Box<str>,
}

#[derive(Debug)]
pub(crate) enum Expected {
    Created,
    Description,
    Page,
    /// No contents: the change was made.
    Done,
    /// No contents: the channel exists.
    Nothing,
    Tags,
    /// Statement that the channel's media is not stored.
    MediaStorage,
    /// Refusal of media storage, if the channel exists.
    NoMediaStorage,
    /// Channels and bytes of the account on other nodes, required before this call.
    Holding(Box<Call>),
    Endpoints(Vec<Protocol>, Role),
    /// ICE servers with credentials for this name.
    IceServers(Box<str>),
    /// The answer of this channel's master; the call is withdrawn if the caller disconnects. The flag tells whether
    /// another shard has accepted the call and must learn of its end. Contains a player's offer, if any.
    Answer(Identity, bool, Option<Box<PlayerOffer>>),
    PlayerServers,
}

impl Http {
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

    /// Whether received requests remain to be answered. If `answers_wait`, they wait for the peer to read responses.
    #[must_use]
    pub(crate) fn has_more(&self, answers_wait: bool) -> bool {
        self.queued || (answers_wait && !self.buffer.is_empty())
    }

    /// Bytes allocated for requests.
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
        // Bytes per device, without the surrounding tables: about 130 bytes in maps, and 48 at the edge.
        let waits = size_of::<AwaitedWake>();
        let sum = size_of::<session::Session>() + size_of::<Http>() + waits;
        assert!(sum <= 480, "{sum}: {waits} and {}", size_of::<Http>());
    }
}
