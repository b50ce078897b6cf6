//! Limits on sizes and counts, rate limits, timeouts, and one shard's share of each.

use crate::limits::{
    CHANGES_PER_SHARD_MAX, CONNECTIONS_PER_WAITING, ENVELOPE_BYTES_MAX, FEWEST_WAITING,
    RECORDER_NOTES, recorder_notes, share, waiting_calls_per_shard,
};
use crate::quota::Rate;
use crate::settings::{Profile, Settings};
use codec::control::Operation;

/// Channels per account under the strict profile, unless configured: twice as many in large regions. Source: KVS WebRTC
/// service quotas, "CreateSignalingChannel".
#[must_use]
pub fn channels_per_account_strict(region: &str) -> usize {
    match region {
        "us-east-1" | "us-west-2" => 10_000,
        _ => Limits::of(Profile::Strict).channels_per_account,
    }
}

/// Limits on sizes and counts. `default()` is all zeros; the configuration's defaults are [`Limits::of`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Maximum number of viewers connected to one channel at a time. Source: KVS WebRTC service quotas,
    /// "ConnectAsViewer".
    pub viewers_per_channel: usize,
    /// Maximum number of channels of one account; 0 means no limit. Source: KVS WebRTC service quotas,
    /// "CreateSignalingChannel".
    pub channels_per_account: usize,
    /// Maximum memory of the records of one account's channels, in bytes, on all shards and nodes.
    pub record_bytes_per_account: usize,
    /// Maximum memory of the records of all channels of the process, in bytes.
    pub record_bytes_total: usize,
    /// Maximum length of `messagePayload`, in characters of base64 text.
    pub payload_bytes: usize,
    /// Maximum length of a WebSocket frame and of a message, in bytes.
    pub message_bytes: usize,
    /// Maximum length of a message, including its envelope, sent to a client that offered the subprotocol `wss`.
    pub wss_message_bytes: usize,
    /// Maximum length of an HTTP request head in bytes, including its empty line.
    pub head_bytes: usize,
    /// Maximum number of header lines in a request head.
    pub header_lines: usize,
    /// Maximum length of an HTTP request body, in bytes.
    pub body_bytes: usize,
    /// Maximum number of bytes in unfinished requests, waiting requests and unread responses on all HTTP connections of
    /// the process, and in unfinished messages on its WebSockets. See [`Settings::request_bytes_per_shard`].
    pub request_bytes: usize,
    /// Maximum number of bytes queued for one connection. At least [`Limits::pending_bytes_per_channel`].
    pub outbox_bytes: usize,
    /// Maximum number of bytes written to all connections and not acknowledged. See
    /// [`Settings::unconfirmed_bytes_of_shard`].
    pub unconfirmed_bytes_total: usize,
    /// Maximum number of bytes queued for all connections. See [`Settings::outbox_bytes_of_shard`].
    pub outbox_bytes_total: usize,
    /// Maximum number of bytes queued for all connections of one shard; 0 means an equal share of the total.
    pub outbox_bytes_per_shard: usize,
    /// Maximum number of bytes of undelivered messages queued for one channel.
    pub pending_bytes_per_channel: usize,
    /// Maximum number of bytes of undelivered messages queued. See [`Settings::pending_bytes_of_shard`].
    pub pending_bytes_total: usize,
    /// Maximum number of bytes of undelivered messages queued by one shard; 0 means an equal share of the total.
    pub pending_bytes_per_shard: usize,
    /// Maximum number of client connections of the process. Beyond it, a connection that was not admitted is evicted;
    /// see `address_shares.rs`. Most of the capacity is available to WebSockets; see `shard/shares.rs` and
    /// [`Settings::connections_per_shard`].
    pub connections: usize,
    /// Maximum number of TLS handshakes in progress on one shard; see `EdgeSettings::handshakes` of the edge.
    pub handshakes_per_shard: usize,
    /// Maximum number of TLS handshakes in progress from one address; 0 means that only `handshakes_per_shard` applies.
    pub handshakes_per_address: usize,
}

impl Limits {
    /// Defaults of `profile`.
    #[must_use]
    pub fn of(profile: Profile) -> Self {
        Settings::new(profile, false).limits
    }
}

// Rates of clients, channels and accounts.

/// Rate limits of clients. Source: KVS WebRTC service quotas; the burst is five seconds of the rate. `default()` is all
/// zeros; the configuration's defaults are those of [`Settings::new`](crate::settings::Settings::new).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quotas {
    /// Whether all rate limits are disabled.
    pub off: bool,
    /// ConnectAsMaster per channel.
    pub connect_master: Rate,
    /// ConnectAsViewer per channel.
    pub connect_viewer: Rate,
    /// SDP_OFFER per connection, and SDP_ANSWER separately.
    pub sdp: Rate,
    /// ICE_CANDIDATE per connection.
    pub ice: Rate,
    /// DescribeSignalingChannel per channel.
    pub describe: Rate,
    /// SendAlexaOfferToMaster per channel.
    pub alexa: Rate,
    /// GetIceServerConfig per channel.
    pub ice_server_config: Rate,
    /// Each operation that changes a channel, and the reading of its tags, per channel.
    pub change: Rate,
    /// CreateSignalingChannel per account.
    pub account_create: Rate,
    /// DescribeSignalingChannel per account.
    pub account_describe: Rate,
    /// GetSignalingChannelEndpoint per account.
    pub account_endpoint: Rate,
    /// ListSignalingChannels per account.
    pub account_list: Rate,
    /// Each operation that changes a channel, and the reading of its tags, per account.
    pub account_change: Rate,
    /// UpdateMediaStorageConfiguration per account.
    pub account_media_storage: Rate,
    /// SendAlexaOfferToMaster per account.
    pub account_alexa: Rate,
    /// STS calls that issue credentials, per account.
    pub account_federation: Rate,
}

impl Quotas {
    /// Rate limit of an operation per account, with its key; `None` if there is none.
    pub(crate) fn account_rate(&self, operation: Operation) -> Option<(&'static str, Rate)> {
        let (key, rate) = match operation {
            Operation::CreateSignalingChannel => ("account_create", self.account_create),
            Operation::DescribeSignalingChannel => ("account_describe", self.account_describe),
            Operation::GetSignalingChannelEndpoint => ("account_endpoint", self.account_endpoint),
            Operation::ListSignalingChannels => ("account_list", self.account_list),
            Operation::SendAlexaOfferToMaster => ("account_alexa", self.account_alexa),
            Operation::UpdateMediaStorageConfiguration => {
                ("account_media_storage", self.account_media_storage)
            }
            Operation::UpdateSignalingChannel
            | Operation::DeleteSignalingChannel
            | Operation::TagResource
            | Operation::UntagResource
            | Operation::ListTagsForResource
            | Operation::DescribeMediaStorageConfiguration => {
                ("account_change", self.account_change)
            }
            Operation::GetIceServerConfig
            | Operation::DescribeMappedResourceConfiguration
            | Operation::JoinStorageSession
            | Operation::JoinStorageSessionAsViewer => return None,
        };
        (!self.off && rate.rate > 0).then_some((key, rate))
    }
}

// Spans of time.

/// Timeouts and other durations, in milliseconds. 0 means "off" where a field's description mentions it. `default()` is
/// all zeros; the configuration's defaults are those of [`Settings::new`](crate::settings::Settings::new).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// Time from accepting the connection (TLS: from the end of its handshake) to the complete request head.
    pub head_ms: u64,
    /// Time from accepting the connection to the end of its TLS handshake.
    pub tls_ms: u64,
    /// Time from the end of a request head to the end of its body.
    pub body_ms: u64,
    /// Time without any frame from the client after which its connection is closed. Source: KVS WebRTC service quotas,
    /// "idle connection timeout".
    pub idle_ms: u64,
    /// Maximum age of a WebSocket connection; 0 means off. Source: KVS WebRTC service quotas, "connection duration".
    pub connection_age_ms: u64,
    /// Time from GO_AWAY until the server closes the connection. Source: KVS WebRTC service quotas, "GO_AWAY".
    pub go_away_grace_ms: u64,
    /// Time without data from or to a client after which the server sends a ping, on the next whole second; 0 means
    /// off.
    pub ping_ms: u64,
    /// Time after a ping at which a connection is closed, on the next whole second, if nothing has been received since;
    /// 0 means off.
    pub pong_ms: u64,
    /// Time after which a connection with unacknowledged bytes is closed (`TCP_USER_TIMEOUT`); 0 means the kernel's
    /// default.
    pub tcp_user_ms: u64,
    /// Maximum time between two requests on one HTTP connection.
    pub keep_alive_ms: u64,
    /// Time within which an HTTP peer must read some of the responses queued for it.
    pub answer_ms: u64,
    /// Time from our close frame, or our FIN, to the peer's.
    pub close_ms: u64,
    /// Time from SIGTERM to the end of the process; one second under `--dev`, since nobody wants to wait for an idle
    /// client.
    pub drain_ms: u64,
    /// Maximum wait of a SendAlexaOfferToMaster call, within its channel's MessageTtlSeconds; 0 means off.
    pub alexa_wait_max_ms: u64,
    /// Maximum difference between a signer's clock and the server's.
    pub clock_tolerance_ms: u64,
}

// One shard's part of each budget of the process.

impl Settings {
    /// A single shard's share of [`Limits::connections`](crate::settings::limits::Limits::connections), rounded up.
    #[must_use]
    pub fn connections_per_shard(&self) -> usize {
        self.limits.connections.div_ceil(self.shards.max(1))
    }

    /// A single shard's share of [`Limits::request_bytes`](crate::settings::limits::Limits::request_bytes), but always
    /// enough for the largest request.
    #[must_use]
    pub fn request_bytes_per_shard(&self) -> usize {
        let limits = &self.limits;
        let part = limits.request_bytes / self.shards.max(1);
        part.max(limits.head_bytes + limits.body_bytes)
    }

    /// Maximum number of bytes queued for all connections of one shard: as configured, or its share of the process's
    /// total, which fits a few of the largest messages on any number of shards.
    #[must_use]
    pub fn outbox_bytes_of_shard(&self) -> usize {
        self.part(
            self.limits.outbox_bytes_per_shard,
            self.limits.outbox_bytes_total,
        )
    }

    /// Maximum number of bytes in one shard's messages that are written but not acknowledged.
    #[must_use]
    pub fn unconfirmed_bytes_of_shard(&self) -> usize {
        self.part(0, self.limits.unconfirmed_bytes_total)
    }

    /// Maximum number of bytes of undelivered messages queued by one shard.
    #[must_use]
    pub fn pending_bytes_of_shard(&self) -> usize {
        self.part(
            self.limits.pending_bytes_per_shard,
            self.limits.pending_bytes_total,
        )
    }

    /// Number of notes in one shard's flight recorder, as configured. The default is lower on more than 16 shards, to
    /// keep the process within its budget.
    #[must_use]
    pub fn recorder_notes_of_shard(&self) -> usize {
        match self.recorder.notes {
            RECORDER_NOTES => recorder_notes(self.shards),
            written => written,
        }
    }

    /// Maximum number of registry changes that one shard may have in flight.
    #[must_use]
    pub fn changes_of_shard(&self) -> usize {
        CHANGES_PER_SHARD_MAX.min(self.waiting_most())
    }

    /// Maximum number of Alexa calls that may wait on the channels of one shard.
    #[must_use]
    pub fn waiting_calls_of_shard(&self) -> usize {
        waiting_calls_per_shard(self.shards).min(self.waiting_most())
    }

    fn waiting_most(&self) -> usize {
        (self.limits.connections / CONNECTIONS_PER_WAITING).max(FEWEST_WAITING)
    }

    fn part(&self, of_shard: usize, total: usize) -> usize {
        let least = 4 * (self.limits.payload_bytes + ENVELOPE_BYTES_MAX);
        match of_shard {
            0 => share(total, self.shards, least, usize::MAX),
            written => written,
        }
    }
}
