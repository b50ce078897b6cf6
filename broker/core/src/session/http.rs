//! The HTTP state of a connection that has not been upgraded: request heads, bodies, and the response to a call.

use crate::auth::{Caller, HeldCaller, Ruling};
use crate::event::{Purpose, Requested};
use crate::id::{Account, ChannelKey, Identity, NodeId};
use crate::machine::StreamHome;
use crate::record::Holding;
use crate::{session::NEVER, settings::Program, time::Now};
use codec::control::{Call, Operation, Protocol};
use codec::{http::HeadScanner, identifiers::ChannelArn, signal::Role};
use std::sync::Arc;

/// The HTTP state of one connection. Bytes are buffered only while a request head or body is incomplete or a call is in
/// progress.
#[derive(Debug)]
pub(crate) struct Http {
    pub stage: HttpStage,
    /// Received bytes that have not been consumed. They start with the head or body that is being received.
    pub buffer: Vec<u8>,
    pub scanner: HeadScanner,
    pub deadline: Now,
    /// The time by which the peer must read at least one more byte of the queued responses; [`NEVER`] if no responses
    /// are queued.
    pub answer_due: Now,
    pub serial: u32,
    /// Whether the connection has already answered a request. If so, a timeout ends keep-alive instead of causing an
    /// error response.
    pub served: bool,
    /// Whether the first bytes of the next head have been received. If so, the rest of the head has a deadline.
    pub begun: bool,
    /// Whether the request is a HEAD request, whose response has no body.
    pub bodiless: bool,
    /// Whether the connection is in the queue of connections whose requests are waiting for their turn.
    pub queued: bool,
    /// Whether the peer has sent EOF. If so, the connection is closed after the last response.
    pub ended: bool,
    /// Whether the peer has sent an EOF that the session has not reached yet, because further bytes may precede it.
    /// A peer that has sent EOF will not wait for a WebSocket.
    pub ends_behind: bool,
    /// Whether the session serves a single call that another node forwarded. The session ends with the response to the
    /// call.
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
    /// Waits for the edge to hand over the request, with the bytes after its head, to the shard that owns the channel.
    AwaitHandover(Box<Admission>, Vec<u8>),
    /// Waits for the edge to forward the request to the node that owns the channel.
    AwaitLink(Box<Onward>),
    /// Waits for the edge to pass the request, as it was received, to the thread that serves admin pages.
    AwaitAdmin(Vec<u8>),
    /// Waits until the channel has an owner.
    AwaitOwner(Box<Onward>),
}

/// A request to be forwarded to another node.
#[derive(Debug)]
pub struct Onward {
    /// The purpose of the request.
    pub purpose: Purpose,
    /// The identity of the channel that the request names.
    pub identity: Identity,
    /// The slot and the account for forwarding the request as a stream of a link, if this is possible.
    pub home: Option<StreamHome>,
    /// When to stop looking for a node that responds. Set by the first attempt.
    pub until: Option<Now>,
    /// The name of the channel.
    pub channel: Box<str>,
    /// The client id of a viewer that is connecting.
    pub client_id: Option<Box<str>>,
    /// The caller that sent the request.
    pub caller: Caller,
    /// The request as it was received, and any bytes after it.
    pub bytes: Vec<u8>,
    /// The length of the request alone, if it is a call.
    pub call: Option<usize>,
    /// Maximum size of the TLS records sent to the client.
    pub record_bytes: usize,
    pub(crate) failed: Option<(NodeId, Now)>,
    /// A handle that keeps this request counted until another node has answered it.
    pub counted: OnwardCount,
}

/// Counts a shard's requests that are waiting for another node's answer. Each such request holds a clone.
#[derive(Clone, Debug, Default)]
pub struct OnwardCount(Arc<()>);

impl OnwardCount {
    /// Returns `true` if any request is waiting for another node's answer.
    pub(crate) fn any(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

/// A device that is waiting, on the shard that owns its channel, to be woken when a client calls.
#[derive(Debug)]
pub(crate) struct AwaitedWake {
    pub channel: ChannelKey,
    /// The authenticated caller. It is rechecked while the device waits.
    pub caller: Option<HeldCaller>,
    /// How much longer the device may wait, in milliseconds, if the connection's deadline is the next recheck;
    /// otherwise 0.
    pub left_ms: u32,
    pub close: bool,
}

/// A valid upgrade request, or a device's request to wait for a wake-up. The shard that owns the channel decides
/// whether to admit it.
#[derive(Debug)]
pub struct Admission {
    /// The channel named in the request.
    pub arn: ChannelArn,
    /// The client id of the viewer; `None` for the master.
    pub client_id: Option<Box<str>>,
    /// How the role was determined.
    pub role_by: RoleBy,
    /// The caller that is connecting.
    pub caller: Caller,
    /// The request to the shard that owns the channel.
    pub asks: Asks,
}

impl Admission {
    pub(crate) fn purpose(&self) -> Purpose {
        match (self.asks, &self.client_id) {
            (Asks::Wake { .. }, _) => Purpose::Wake,
            (Asks::WebSocket { .. }, Some(_)) => Purpose::Upgrade(Role::Viewer),
            (Asks::WebSocket { .. }, None) => Purpose::Upgrade(Role::Master),
        }
    }

    /// Returns, for operators, the policy and the statement that deny the caller access. Adds a hint if the client id
    /// is `MASTER` and the caller counts as a viewer because of its last endpoint request.
    pub(crate) fn ground_of(&self, ruling: &Ruling) -> Option<Box<str>> {
        let ground = self.caller.ground_of(ruling)?;
        if self.role_by == RoleBy::LastRequest && self.client_id.is_some() {
            return Some(format!("{ground}; {NAMED_MASTER}").into());
        }
        Some(ground)
    }
}

/// A hint for a viewer whose client id is `MASTER`.
const NAMED_MASTER: &str = "X-Amz-ClientId=MASTER is a viewer's here: the URL was not signed with the path /master of \
                            its endpoint, and the caller's last GetSignalingChannelEndpoint did not name Role MASTER";

impl Admission {
    /// Returns `true` if the request does not state the role: it contains no client id, and the endpoint serves both
    /// roles.
    pub(crate) fn is_unnamed(&self) -> bool {
        self.client_id.is_none() && self.role_by == RoleBy::ClientId
    }

    /// Returns `true` if the client may be a viewer although it sent no client id. Only the shard that owns the channel
    /// can tell.
    pub(crate) fn may_lack_client_id(&self) -> bool {
        let is_web_socket = matches!(self.asks, Asks::WebSocket { .. });
        is_web_socket && self.client_id.is_none() && self.role_by != RoleBy::Endpoint
    }
}

/// How the role of a connection (master or viewer) was determined; see codec/PROTOCOL.md, CON-2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleBy {
    /// The role was derived from the presence of a client id in the URL.
    ClientId,
    /// The role was derived from the signed host or path of the endpoint.
    Endpoint,
    /// The role follows from the endpoint that the caller last requested, which only the shard that owns the channel
    /// knows. Used if the client id is `MASTER`, or if there is no client id and the caller may not be the master.
    LastRequest,
}

impl RoleBy {
    pub(crate) const ALL: [Self; 3] = [Self::ClientId, Self::Endpoint, Self::LastRequest];

    /// Returns the name used in traces.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::ClientId => "client_id",
            Self::Endpoint => "endpoint",
            Self::LastRequest => "last_request",
        }
    }
}

/// A request that a connection makes to the shard that owns its channel.
#[derive(Clone, Copy, Debug)]
pub enum Asks {
    /// A WebSocket upgrade.
    WebSocket {
        /// The value of `Sec-WebSocket-Accept` for the handshake.
        accept: [u8; 28],
        /// The client program. The subprotocol `wss` is accepted if it was offered.
        program: Program,
    },
    /// A device's request for a response as soon as a client is waiting for the channel's master.
    Wake {
        /// Maximum time to wait, in milliseconds.
        wait_ms: u64,
        /// Whether to close the connection after the response.
        close: bool,
    },
}

/// The parts of a request head that must be kept until the body has arrived.
#[derive(Debug)]
pub(crate) struct PendingBody {
    pub target: Target,
    /// The `Host` header as it was sent.
    pub host: Box<str>,
    pub close: bool,
    pub length: usize,
    pub program: Program,
    /// The complete head, if the signature covers both the head and the body.
    pub head: Option<Box<[u8]>>,
    /// The head of a player's request whose token has been verified.
    pub player: Option<Box<PlayerHead>>,
}

#[derive(Clone, Debug)]
pub(crate) struct PlayerHead {
    pub channel: Box<str>,
    /// The client id in the token, or `whep`.
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
    /// Returns the purpose of the request, as far as it is known before the body has been read.
    pub(crate) fn purpose(self) -> Purpose {
        match self {
            Self::Api(operation) => Purpose::Api(operation),
            Self::Sts => Purpose::Sts(Requested::Unknown),
            Self::Whep => Purpose::Whep,
        }
    }
}

/// The data that is kept for a call until its answer arrives.
#[derive(Debug)]
pub(crate) struct PendingCall {
    pub operation: Operation,
    /// The `Host` header as it was sent. Discovery returns it to the client.
    pub host: Box<str>,
    pub close: bool,
    pub caller: Caller,
    pub program: Program,
    /// The client id in the call. Needed when policies are evaluated again with the channel's tags.
    pub client_id: Option<Box<str>>,
    /// The name of the channel, for the log entry in case the call is refused.
    pub channel: Option<Box<str>>,
    /// The channel that the audit entry names: its ARN, or only its name if the channel does not exist yet.
    pub subject: Option<Box<str>>,
    /// Whether space for the audit entry has been reserved in the log.
    pub place_kept: bool,
    /// The channels and bytes that the caller's account has on other nodes, once those nodes have answered.
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
    /// An empty response, sent once the change has been made.
    Done,
    /// An empty response, which shows that the channel exists.
    Nothing,
    Tags,
    /// A response that states that the channel's media is not stored.
    MediaStorage,
    /// A refusal, because media storage is not supported. If the channel does not exist, the call fails with that error
    /// instead.
    NoMediaStorage,
    /// The channels and bytes that the account has on other nodes. Once they are known, the stored call continues.
    Holding(Box<Call>),
    Endpoints(Vec<Protocol>, Role),
    /// The ICE servers, with credentials that are issued for this user name.
    IceServers(Box<str>),
    /// The answer from this channel's master. If the caller disconnects, the call is withdrawn. The flag is set if
    /// another shard has accepted the call and must be told when it ends. A player's call also contains the offer.
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

    /// Returns `true` if there are received requests that have not been answered. They are waiting for their turn or,
    /// if `answers_wait` is set, for the peer to read responses.
    #[must_use]
    pub(crate) fn has_more(&self, answers_wait: bool) -> bool {
        self.queued || (answers_wait && !self.buffer.is_empty())
    }

    /// Returns the number of bytes allocated for requests.
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
        // Bytes per device, not counting the surrounding tables, which take about 130 bytes in maps and 48 bytes at the
        // edge.
        let waits = size_of::<AwaitedWake>();
        let sum = size_of::<session::Session>() + size_of::<Http>() + waits;
        assert!(sum <= 480, "{sum}: {waits} and {}", size_of::<Http>());
    }
}
