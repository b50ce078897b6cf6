//! The closed set of reasons why requests are refused.
//!
//! Every refused API call, upgrade or malformed head has exactly one check: the rule that it violated. The caller
//! receives the service's error, which often reveals less than the check, because a stranger must not learn which
//! channels exist. Operators find the check in the log, in `heliograph_refusals_total{check}`, and by the request id in
//! the response.
//!
//! The table "Checks" in `deploy/REFUSALS.md` must have the same entries. A test compares the two.

use strum::{EnumCount, EnumMessage, EnumString, FromRepr, IntoStaticStr, VariantArray};

/// The rule that a refused request violated.
///
/// The doc comment of each variant is the explanation that operators see, and `message` is the remedy. Names and
/// numbers never change, because refusal ids contain the numbers. Append new checks at the end.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    EnumCount,
    EnumMessage,
    EnumString,
    FromRepr,
    IntoStaticStr,
    VariantArray,
)]
#[strum(serialize_all = "snake_case")]
#[repr(u8)]
pub enum Check {
    /// The request head violates HTTP.
    #[strum(
        message = "Look at what sent it: a scanner, a proxy, or a client that speaks TLS to a plain port."
    )]
    HttpMalformed = 0,
    /// The request uses an HTTP version other than 1.0 and 1.1.
    #[strum(message = "Let the proxy in front speak HTTP/1.1 to the broker.")]
    HttpVersion = 1,
    /// The request head is longer, or has more lines, than `[limits]` allow.
    #[strum(
        message = "Shorten its URL or headers (long policies make long session tokens), or raise \
                       `head_bytes` or `header_lines`."
    )]
    HeadTooLarge = 2,
    /// The request head did not arrive completely within `[timeouts] head`.
    #[strum(message = "Look at the network between the client and the broker.")]
    HeadTimeout = 3,
    /// The request has a body without Content-Length.
    #[strum(message = "Send Content-Length; chunked bodies are not accepted.")]
    BodyLengthMissing = 4,
    /// The request body is larger than `[limits] body_bytes`.
    #[strum(
        message = "Send less (the longest payload of an Alexa offer is 10,000 bytes), or raise `body_bytes`."
    )]
    BodyTooLarge = 5,
    /// The request body did not arrive completely within `[timeouts] body`.
    #[strum(
        message = "Look at the network between the client and the broker, and at the client's Content-Length."
    )]
    BodyTimeout = 6,
    /// No operation has this path and method.
    #[strum(
        message = "Check the client's endpoint URL, and whether the operation is one that this service has."
    )]
    OperationUnknown = 7,
    /// Pages of this origin may not use a server without signatures.
    #[strum(message = "Start the broker with `--dev-origin ORIGIN`.")]
    OriginForeign = 8,
    /// The request names a host that is not a name of this server.
    #[strum(
        message = "Use localhost or an address, name the host in `[advertise]`, or start with \
                       `--dev-origin http://NAME`."
    )]
    HostForeign = 9,
    /// The URL is for a WebSocket, but the request is not an upgrade.
    #[strum(message = "Have the proxy in front forward the headers Upgrade and Connection.")]
    NotWebsocket = 10,
    /// Part of the WebSocket opening handshake is missing or invalid.
    #[strum(
        message = "Have the proxy in front forward Connection, Sec-WebSocket-Key and HTTP/1.1; or correct the client."
    )]
    HandshakeMalformed = 11,
    /// The client requests a WebSocket version other than 13.
    #[strum(message = "Update the client's WebSocket library.")]
    WebsocketVersion = 12,
    /// The query string is not percent-encoded UTF-8, or is encoded twice.
    #[strum(message = "Encode the URL once, as RFC 3986 says.")]
    QueryMalformed = 13,
    /// A query parameter of the protocol is given more than once.
    #[strum(message = "Build the URL from an endpoint that has no query of its own.")]
    ParameterTwice = 14,
    /// X-Amz-ChannelARN is missing, or is not the ARN of a signaling channel.
    #[strum(
        message = "Use the ChannelARN that CreateSignalingChannel or DescribeSignalingChannel returned."
    )]
    ArnMalformed = 15,
    /// X-Amz-ClientId is not 1 to 256 characters of `[a-zA-Z0-9_.-]`, or begins with `AWS_`.
    #[strum(message = "Choose another client id.")]
    ClientIdMalformed = 16,
    /// The endpoint is for viewers, but the URL has no X-Amz-ClientId.
    #[strum(
        message = "Ask GetSignalingChannelEndpoint for the role MASTER, or add the client id of the viewer."
    )]
    RoleHostMismatch = 17,
    /// The request has no signature.
    #[strum(
        message = "Give the client credentials; behind a proxy, let it pass on the header Authorization."
    )]
    SignatureMissing = 18,
    /// Part of the signature is missing or malformed.
    #[strum(message = "Sign with an AWS SDK, and send the URL or the headers as it made them.")]
    SignatureMalformed = 19,
    /// The request was signed longer ago than the clock tolerance allows.
    #[strum(message = "Set the client's clock (NTP), or give its principal a `clock_tolerance`.")]
    SignatureExpired = 20,
    /// The request was signed further in the future than the clock tolerance allows.
    #[strum(message = "Set the client's clock (NTP), and compare the clock of this server.")]
    SignatureEarly = 21,
    /// The presigned URL was used after it expired (X-Amz-Expires).
    #[strum(
        message = "Set the client's clock (NTP). If that is right, sign a URL for each connection: a client that \
                       reconnects must not use the old one again."
    )]
    UrlExpired = 22,
    /// The credential is scoped to another service.
    #[strum(message = "Sign for the service `kinesisvideo`, and calls of STS for `sts`.")]
    ScopeService = 23,
    /// The credential is scoped to another region than the server's.
    #[strum(message = "Set the client's region to that of the broker (`region`).")]
    ScopeRegion = 24,
    /// The credential scope has another date than the request, or does not end with `aws4_request`.
    #[strum(message = "Sign with an AWS SDK: day and scope of a signature belong together.")]
    ScopeMalformed = 25,
    /// No principal has this access key id.
    #[strum(
        message = "Add the principal to the credentials file, or correct the key that the client uses."
    )]
    UnknownKey = 26,
    /// The session token was not sealed by this broker's session key.
    #[strum(
        message = "Get temporary credentials from this broker (GetFederationToken): those of AWS, and those of \
                       before a change of `session.key`, do not count here."
    )]
    TokenUnsealed = 27,
    /// The principal that requested these temporary credentials is gone, or its secret has changed.
    #[strum(message = "Get new temporary credentials.")]
    TokenOrphaned = 28,
    /// The session token is missing, does not belong to the principal, or the principal has none.
    #[strum(message = "Compare `session_token` of the principal with what the client uses.")]
    TokenMismatch = 29,
    /// The temporary credentials have expired.
    #[strum(message = "Let the client get new temporary credentials before the old ones end.")]
    TokenExpired = 30,
    /// The principal's key has expired (`expires` in the credentials file).
    #[strum(message = "Give the client a new key, or the principal a later `expires`.")]
    KeyExpired = 31,
    /// The signature does not match this key and request.
    #[strum(
        message = "If all clients of this key are refused, compare the secret. Otherwise compare the canonical \
                       request with what this client signed: another endpoint, or a proxy that changes Host, path \
                       or query, breaks signatures."
    )]
    SignatureMismatch = 32,
    /// The signature is valid, but no policy of the principal allows the action.
    #[strum(
        message = "Allow the action on this channel in the principal's policies; for temporary credentials also \
                       in the policy that they were asked for with."
    )]
    PolicyNoAllow = 33,
    /// The signature is valid, but a policy of the principal denies the action.
    #[strum(message = "Look for the statement with \"Effect\": \"Deny\": it wins over all others.")]
    PolicyExplicitDeny = 34,
    /// The channel belongs to another account or region than the caller, so it does not exist for the caller.
    #[strum(
        message = "Compare region and account of the ARN with `region` and the principal's account."
    )]
    AccountHidden = 35,
    /// No channel has this name.
    #[strum(message = "Create it (CreateSignalingChannel), or correct the name.")]
    ChannelAbsent = 36,
    /// The channel was deleted and created again since the ARN was learned.
    #[strum(message = "Let the client describe the channel by its name again.")]
    ChannelStaleArn = 37,
    /// The channel is being deleted, or was deleted while the request waited.
    #[strum(
        message = "Wait for the end of the deletion, then create it again if it is still needed."
    )]
    ChannelDeleting = 38,
    /// A channel of this name exists in this account and region.
    #[strum(message = "Use that one, or choose another name.")]
    ChannelExists = 39,
    /// CurrentVersion is stale: the channel has been changed since.
    #[strum(message = "Describe the channel, and ask again with its version.")]
    ChannelVersionStale = 40,
    /// The channel has reached the limit of viewers, `[limits] viewers_per_channel`.
    #[strum(
        message = "Raise `viewers_per_channel`, or look for viewers that connect with a new client id each time."
    )]
    ViewersFull = 41,
    /// The account, or the server, has reached its limit of channels.
    #[strum(message = "Delete unused channels, or raise `channels_per_account`.")]
    ChannelsFull = 42,
    /// The channel would have more than 50 tags.
    #[strum(message = "Remove tags first (UntagResource).")]
    TagsFull = 43,
    /// The channel, or the account, has reached its limit of waiting SendAlexaOfferToMaster calls.
    #[strum(message = "Check whether the channel's master is connected and answers.")]
    AlexaCallsFull = 44,
    /// The channel's connects exceed the rate in `[quotas]`, or one key's exceed half of it.
    #[strum(
        message = "Look for a client that reconnects without a pause; or raise `connect_master` or \
                       `connect_viewer`."
    )]
    RateConnect = 45,
    /// The channel's calls of this operation exceed the rate in `[quotas]`, or one key's exceed half of it.
    #[strum(message = "Have the client cache endpoints and ICE servers; or raise the quota.")]
    RateChannel = 46,
    /// The account exceeds the rate of this operation in `[quotas]`, or one caller requests credentials too often.
    #[strum(
        message = "Have clients cache endpoints and ICE servers; or raise the quota of accounts."
    )]
    RateAccount = 47,
    /// Too many changes of this channel, or of all channels, are in flight.
    #[strum(message = "Retry; if it persists, check the latency of the disk (`fsync`).")]
    ChangesFull = 48,
    /// The body is not a single JSON object whose members have the right types.
    #[strum(message = "Correct the client's request; an AWS SDK builds it correctly.")]
    BodyMalformed = 49,
    /// A member or parameter is missing or violates its constraints; the response names it.
    #[strum(message = "Read the text of the answer: it names the member and what is expected.")]
    ArgumentInvalid = 50,
    /// Media storage is not offered by this service.
    #[strum(message = "Leave media storage disabled.")]
    MediaStorageAbsent = 51,
    /// The policy of the requested session is invalid, or longer than 2,048 bytes.
    #[strum(
        message = "Read the text of the answer, which names line and column; wildcards and fewer statements make \
                       a policy shorter."
    )]
    SessionPolicyMalformed = 52,
    /// The server was shutting down.
    #[strum(message = "Nothing: clients connect again, to the next process or to another node.")]
    Draining = 53,
    /// A shard had no capacity for another connection or call.
    #[strum(
        message = "Look at `heliograph_shard_busy_ratio` and `heliograph_mailbox_refused_total`: more shards, or \
                       fewer connects at once."
    )]
    MailboxFull = 54,
    /// Unfinished requests and unread responses have reached their limit of bytes.
    #[strum(
        message = "Look for the address that holds most: it is refused first. Raise `request_bytes` if the load is \
                       legitimate."
    )]
    RequestsFull = 55,
    /// The registry did not accept the change: its disk, or in a cluster etcd, is full or failing.
    #[strum(
        message = "Read the log's `the registry takes no changes`; free the disk; look at `/ready`. In a cluster run \
                       `heliograph cluster check`."
    )]
    StoreFailed = 56,
    /// The log has no space for the change's audit line, so the change was not made.
    #[strum(
        message = "Look at what takes the broker's stderr: it is stuck or slow, or its disk is full."
    )]
    AuditFull = 57,
    /// The call was not answered within 150 seconds; whether it changed anything is not known.
    #[strum(
        message = "Look for a silent shard and at the time that commits take; then describe the channel."
    )]
    ReplyTimeout = 58,
    /// An internal fault of the broker.
    #[strum(message = "Report it, with the log lines around it.")]
    InternalFailure = 59,
    /// A fault injected by a test (`/dev/faults`).
    #[strum(message = "Look at `GET /dev/faults`; `DELETE /dev/faults` ends them all.")]
    FaultInjected = 60,
    /// The server has reached its limit of connections, and none can be evicted for this one.
    #[strum(
        message = "Look at `heliograph_connections`, and at the accounts and addresses that hold them; raise \
                       `connections`, or the limit of descriptors."
    )]
    ConnectionsFull = 61,
    /// The limit of concurrent TLS handshakes is reached; the connection was closed without a response.
    #[strum(
        message = "Look for clients that do not finish their handshakes, and at `heliograph_shard_busy_ratio`."
    )]
    HandshakesFull = 62,
    /// The request is plain HTTP on a port that speaks TLS.
    #[strum(message = "Let its URL begin with `https://` or `wss://`.")]
    TlsExpected = 63,
    /// The node that owns the channel did not respond, and no other took it over within 3 s.
    #[strum(
        message = "Look for the node's name in the log of this one, then at that node and the network between them."
    )]
    OwnerUnreachable = 64,
    /// Another node forwarded the request, but this node does not own the channel either.
    #[strum(message = "Give all nodes the same `[cluster] map_file`.")]
    OwnerElsewhere = 65,
    /// No node owns the channel at present.
    #[strum(message = "Find the nodes that are down.")]
    OwnerNone = 66,
    /// A node did not send its part of the list within 3 s, or no node owns some channels; fixed maps never list.
    #[strum(
        message = "Look at the node that the error names and at `/cluster`. With a fixed map, describe channels by \
                   their names."
    )]
    ListIncomplete = 67,
    /// The records of the account, of the server or of etcd have reached their size limit.
    #[strum(
        message = "Delete channels and tags that nobody uses; or raise `record_bytes_per_account`, \
                   `record_bytes_total` or etcd's quota, as the text of the answer says."
    )]
    RecordsFull = 68,
    /// The channel is not here, and another node may have claimed its slot while etcd does not respond to this one.
    #[strum(
        message = "Look at `/cluster` of this node and at the network between it and etcd; nodes that reach etcd know \
                   the channel."
    )]
    AbsenceUnknown = 69,
    /// The client does not trust the certificate, according to the alert that ended the TLS handshake.
    #[strum(
        message = "Give the client the authority of the certificate; look at the certificate's names and dates \
                   (`heliograph doctor --config FILE`), at its chain, and at the client's clock."
    )]
    TlsDistrusted = 70,
    /// The client and the broker have no TLS version, cipher suite or protocol in common.
    #[strum(
        message = "The record says what the client offered and what would have matched: change one of the two."
    )]
    TlsNothingCommon = 71,
    /// The client violated the protocol in the TLS handshake, or sent something other than TLS.
    #[strum(
        message = "Look at what sent it: a scanner, a proxy that speaks another protocol to this port, or a damaged \
                   client."
    )]
    TlsBroken = 72,
    /// The client disconnected during the TLS handshake, without an alert.
    #[strum(
        message = "Look at the client's own log: some leave like this when they do not trust the certificate, others \
                   when their network or their patience ends."
    )]
    TlsLeft = 73,
    /// The credentials file contains no role with this ARN.
    #[strum(
        message = "Add the role to the credentials file, or correct the ARN that the client asks for."
    )]
    RoleAbsent = 74,
    /// No statement of the role's trust policy allows this caller.
    #[strum(
        message = "Let a statement of the role's `trust` name the caller or its account and allow the action \
                       (sts:AssumeRole; with tags sts:TagSession, with a source identity sts:SetSourceIdentity)."
    )]
    TrustNoAllow = 75,
    /// A statement of the role's trust policy denies this caller.
    #[strum(
        message = "Look for the statement with \"Effect\": \"Deny\" in the role's `trust`: it wins over all others."
    )]
    TrustExplicitDeny = 76,
    /// The role of these temporary credentials, a role in their chain, or a policy that bounds them is gone.
    #[strum(message = "Assume the role again; if it is gone on purpose, nothing.")]
    RoleGone = 77,
    /// The account's limit of waiting `GET /wake` requests is reached, or another account's request evicted this one.
    #[strum(
        message = "Let devices ask again after a while; look for an account whose devices are more than they should \
                   be."
    )]
    WakePollsFull = 78,
    /// A newer `GET /wake` of the same channel replaced this one.
    #[strum(
        message = "Look for two devices of one channel, or a client that asks again before it has its answer."
    )]
    WakePollReplaced = 79,
    /// The OpenID provider's token is invalid: its format, a claim, its key or its signature.
    #[strum(
        message = "Read what decided it beside the refusal; compare the provider's entry in the credentials file with \
                   the token's `iss` and `aud`, and look at `heliograph_oidc_provider_up`."
    )]
    WebTokenInvalid = 80,
    /// The address exceeds the limit of unsigned sign-in requests.
    #[strum(
        message = "Let the client use its temporary credentials until they end, instead of signing in each time."
    )]
    RateAddress = 81,
    /// The certificate is missing, not trusted, expired, or disabled.
    #[strum(
        message = "See why in the refusal; `heliograph things check CERT.pem` says what a certificate may do."
    )]
    ThingCertificate = 82,
    /// The certificate does not belong to the thing that the request names.
    #[strum(
        message = "Let the device send its own name, or add a line with both to the registry of `[things]`."
    )]
    ThingName = 83,
    /// No role alias has this name.
    #[strum(
        message = "Add `[role_alias.NAME]` to the credentials file, or correct the name in the device."
    )]
    AliasAbsent = 84,
    /// The request names another host than its TLS connection.
    #[strum(message = "Let the client send the same host name as TLS server name and as Host.")]
    ThingHost = 85,
    /// The thing got its credentials, but signs in more than twenty times an hour.
    #[strum(
        message = "Set the device's clock: one that is ahead takes each of its keys for ended and asks again. Else \
                   look for firmware that asks before each call, or for two devices with one certificate."
    )]
    ThingClock = 86,
    /// A PROXY protocol header arrived at a listener that expects none.
    #[strum(
        message = "Let the proxy send none to this listener, or name the proxy's network in `[proxy] protocol_from`."
    )]
    ProxyUnexpected = 87,
    /// The listener expects a PROXY protocol header, but the address is not in `[proxy] protocol_from`.
    #[strum(
        message = "Let it connect through the proxy or to another listener; if it is a proxy, add its network to \
                   `protocol_from`."
    )]
    ProxyForeign = 88,
    /// A proxy's connection did not begin with a PROXY protocol header.
    #[strum(
        message = "Let the proxy send the PROXY protocol, version 1 or 2, to this listener: `send-proxy` of HAProxy, \
                   `proxy_protocol on` of nginx. Its health checks, too."
    )]
    ProxyMalformed = 89,
    /// The request came through a proxy that terminates TLS or has another port, but the response names this listener.
    #[strum(
        message = "Set `[advertise]` wss and https to the proxy's address, or name its network in `[proxy] \
                   forwarded_from` and let it send `X-Forwarded-Proto`."
    )]
    EndpointUnadvertised = 90,
    /// A player's URL (`/whep/`) was used for something other than POST or OPTIONS on its path.
    #[strum(
        message = "Give the URL to a player that speaks WHEP; SDKs and `presign --channel-arn` sign those of \
                   WebSockets."
    )]
    WhepTokenElsewhere = 91,
    /// `/whep/` does not support this method.
    #[strum(
        message = "Let the player POST its offer to `/whep/NAME`; calls are not changed (PATCH) once they are answered."
    )]
    WhepMethod = 92,
    /// The Content-Type of a player's request is not that of an SDP offer.
    #[strum(message = "Let the player send `Content-Type: application/sdp`.")]
    WhepType = 93,
    /// The body of a player's request is not an SDP offer with media.
    #[strum(message = "Look at what the player sends: an SDP with at least one line `m=`.")]
    WhepOffer = 94,
    /// No camera connected to the channel before the player's call timed out.
    #[strum(
        message = "Connect the camera, or let a hook wake it (WAKE.md); the player may try again."
    )]
    WhepNoMaster = 95,
    /// The camera received the player's offer but did not answer in time.
    #[strum(
        message = "Look at the camera's own log; `heliograph trace CHANNEL` shows what it got and sent."
    )]
    WhepSilent = 96,
    /// The camera answered without media: it supports no codec of the player's offer.
    #[strum(
        message = "Compare the codecs of both; CLIENTS.md has settings for players that were tried."
    )]
    WhepNoCodec = 97,
    /// The limit of waiting player calls is reached, or another account's or channel's call evicted this one.
    #[strum(
        message = "Look for a player that asks in a loop; its account's others are refused first."
    )]
    WhepFull = 98,
}

/// The number of checks.
pub const CHECKS: usize = Check::COUNT;

impl Check {
    /// All checks, in the order of [`Check::index`].
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// Returns the check's number, which is also its index in tables.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Returns the check with this number, or `None` if the number is unknown.
    #[must_use]
    pub const fn of_index(number: u8) -> Option<Self> {
        Self::from_repr(number)
    }

    /// Returns the check's stable id, as used in metric labels, in the log and in JSON.
    #[must_use]
    pub fn id(self) -> &'static str {
        self.into()
    }

    /// Returns the one-sentence explanation for operators.
    #[must_use]
    pub fn says(self) -> &'static str {
        self.get_documentation().unwrap_or_default()
    }

    /// Returns the suggested remedy.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        self.get_message().unwrap_or_default()
    }
}

const _: () = assert!(
    CHECKS <= 255,
    "an id of a refusal has eight bits for its check"
);

/// A counter for each check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByCheck([u64; CHECKS]);

impl Default for ByCheck {
    fn default() -> Self {
        Self([0; CHECKS])
    }
}

impl ByCheck {
    /// Counts one refusal.
    pub fn count(&mut self, check: Check) {
        if let Some(count) = self.0.get_mut(check.index()) {
            *count += 1;
        }
    }

    /// Iterates over the checks and their counts.
    pub fn each(&self) -> impl Iterator<Item = (Check, u64)> + '_ {
        Check::ALL.iter().copied().zip(self.0)
    }

    /// Adds the counts of another shard.
    pub fn add(&mut self, other: &Self) {
        for (sum, one) in self.0.iter_mut().zip(other.0) {
            *sum += one;
        }
    }
}

#[cfg(test)]
mod tests;
