//! Limits on sizes and counts, rate limits and timeouts. Also computes each shard's share of a limit.

use crate::limits::{
    CHANGES_PER_SHARD_MAX, CONNECTIONS_PER_WAITING, ENVELOPE_BYTES_MAX, FEWEST_WAITING,
    RECORDER_NOTES, recorder_notes, share, waiting_calls_per_shard,
};
use crate::quota::Rate;
use crate::settings::{Profile, Settings};
use codec::control::Operation;

/// Returns the default channel limit per account under the strict profile, which is twice as high in large regions as
/// elsewhere. Source: KVS WebRTC service quotas, "CreateSignalingChannel".
#[must_use]
pub fn channels_per_account_strict(region: &str) -> usize {
    match region {
        "us-east-1" | "us-west-2" => 10_000,
        _ => Limits::of(Profile::Strict).channels_per_account,
    }
}

/// Limits on sizes and counts. `default()` is all zeros; [`Limits::of`] returns the configuration's defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Maximum number of concurrent viewers per channel. Source: KVS WebRTC service quotas, "ConnectAsViewer".
    pub viewers_per_channel: usize,
    /// Maximum number of channels per account; 0 means unlimited. Source: KVS WebRTC service quotas,
    /// "CreateSignalingChannel".
    pub channels_per_account: usize,
    /// Maximum memory in bytes for one account's channel records, on all shards and nodes together.
    pub record_bytes_per_account: usize,
    /// Maximum memory in bytes for all channel records of the process.
    pub record_bytes_total: usize,
    /// Maximum length of `messagePayload`, in base64 characters.
    pub payload_bytes: usize,
    /// Maximum length of a WebSocket frame and of a message, in bytes.
    pub message_bytes: usize,
    /// Maximum length in bytes, including the envelope, of a message to a client that offered the subprotocol `wss`.
    pub wss_message_bytes: usize,
    /// Maximum length in bytes of an HTTP request head, including the empty line that ends it.
    pub head_bytes: usize,
    /// Maximum number of header lines in a request head.
    pub header_lines: usize,
    /// Maximum length of an HTTP request body, in bytes.
    pub body_bytes: usize,
    /// Maximum number of bytes that the process's connections may hold: unfinished requests, waiting requests and
    /// unread responses on HTTP connections, and unfinished messages on WebSockets. See
    /// [`Settings::request_bytes_per_shard`].
    pub request_bytes: usize,
    /// Maximum number of bytes queued for one connection. At least [`Limits::pending_bytes_per_channel`].
    pub outbox_bytes: usize,
    /// Maximum number of bytes on all connections that were written but not acknowledged. See
    /// [`Settings::unconfirmed_bytes_of_shard`].
    pub unconfirmed_bytes_total: usize,
    /// Maximum number of bytes queued for all connections. See [`Settings::outbox_bytes_of_shard`].
    pub outbox_bytes_total: usize,
    /// Maximum number of bytes queued for all connections of a shard. 0 gives each shard an equal share of the total.
    pub outbox_bytes_per_shard: usize,
    /// Maximum number of undelivered message bytes queued for one channel.
    pub pending_bytes_per_channel: usize,
    /// Maximum number of undelivered message bytes on all channels. See [`Settings::pending_bytes_of_shard`].
    pub pending_bytes_total: usize,
    /// Maximum number of undelivered message bytes on one shard. 0 gives each shard an equal share of the total.
    pub pending_bytes_per_shard: usize,
    /// Maximum number of client connections of the process. At the limit, a connection that has not been admitted yet
    /// is evicted; see `address_shares.rs`. WebSockets may use most but not all of the connections; see
    /// `shard/shares.rs` and [`Settings::connections_per_shard`].
    pub connections: usize,
    /// Maximum number of concurrent TLS handshakes per shard; see the edge's `EdgeSettings::handshakes`.
    pub handshakes_per_shard: usize,
    /// Maximum number of concurrent TLS handshakes per client address. If 0, only `handshakes_per_shard` applies.
    pub handshakes_per_address: usize,
}

impl Limits {
    /// Returns the defaults of `profile`.
    #[must_use]
    pub fn of(profile: Profile) -> Self {
        Settings::new(profile, false).limits
    }
}

/// Rate limits for clients. Source: KVS WebRTC service quotas. A burst lasts five seconds. `default()` is all zeros;
/// [`Settings::new`](crate::settings::Settings::new) returns the configuration's defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quotas {
    /// Whether all rate limits are disabled.
    pub off: bool,
    /// Rate of ConnectAsMaster per channel.
    pub connect_master: Rate,
    /// Rate of ConnectAsViewer per channel.
    pub connect_viewer: Rate,
    /// Rate of SDP_OFFER messages per connection. SDP_ANSWER messages have the same rate but are counted separately.
    pub sdp: Rate,
    /// Rate of ICE_CANDIDATE per connection.
    pub ice: Rate,
    /// Rate of DescribeSignalingChannel per channel.
    pub describe: Rate,
    /// Rate of SendAlexaOfferToMaster per channel.
    pub alexa: Rate,
    /// Rate of GetIceServerConfig per channel.
    pub ice_server_config: Rate,
    /// Rate per channel of each operation that changes the channel or reads its tags.
    pub change: Rate,
    /// Rate of CreateSignalingChannel per account.
    pub account_create: Rate,
    /// Rate of DescribeSignalingChannel per account.
    pub account_describe: Rate,
    /// Rate of GetSignalingChannelEndpoint per account.
    pub account_endpoint: Rate,
    /// Rate of ListSignalingChannels per account.
    pub account_list: Rate,
    /// Rate per account of each operation that changes a channel or reads its tags.
    pub account_change: Rate,
    /// Rate of UpdateMediaStorageConfiguration per account.
    pub account_media_storage: Rate,
    /// Rate of SendAlexaOfferToMaster per account.
    pub account_alexa: Rate,
    /// Rate per account of STS calls that issue credentials.
    pub account_federation: Rate,
}

impl Quotas {
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

/// Timeouts and other durations, in milliseconds. 0 is valid only for fields whose documentation says what it means.
/// `default()` is all zeros; [`Settings::new`](crate::settings::Settings::new) returns the configuration's defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// Maximum time until a request head is complete. For the first request, it starts when the connection is accepted
    /// or, with TLS, when the handshake is complete.
    pub head_ms: u64,
    /// Maximum time from accepting a connection to completing its TLS handshake.
    pub tls_ms: u64,
    /// Maximum time from the end of a request head to the end of the body.
    pub body_ms: u64,
    /// How long a connection may go without a frame from the client before it is closed. Source: KVS WebRTC service
    /// quotas, "idle connection timeout".
    pub idle_ms: u64,
    /// Maximum age of a WebSocket; 0 means unlimited. Source: KVS WebRTC service quotas, "connection duration".
    pub connection_age_ms: u64,
    /// Time from GO_AWAY until the server closes the connection. Source: KVS WebRTC service quotas, "GO_AWAY".
    pub go_away_grace_ms: u64,
    /// Time without data from or to a client before the server pings it. Rounded up to a whole second; 0 means off.
    pub ping_ms: u64,
    /// How long after a ping the connection is closed if nothing has been received since. Rounded up to a whole second;
    /// 0 means off.
    pub pong_ms: u64,
    /// Time after which a connection with unacknowledged bytes is closed (`TCP_USER_TIMEOUT`); 0 means the kernel's
    /// default.
    pub tcp_user_ms: u64,
    /// Maximum time between two requests on an HTTP connection.
    pub keep_alive_ms: u64,
    /// Maximum time until the peer of an HTTP connection has read some of the queued responses.
    pub answer_ms: u64,
    /// Maximum time from the server's close frame or FIN until the peer sends its own.
    pub close_ms: u64,
    /// Maximum time from SIGTERM until the process exits. One second under `--dev`, because a development server does
    /// not need to wait for idle clients.
    pub drain_ms: u64,
    /// Maximum time that a SendAlexaOfferToMaster call waits for an answer if the channel's MessageTtlSeconds is
    /// longer. 0 means that only MessageTtlSeconds applies.
    pub alexa_wait_max_ms: u64,
    /// Maximum tolerated difference between the signer's and the server's clock.
    pub clock_tolerance_ms: u64,
}

impl Settings {
    /// Returns a shard's share of [`Limits::connections`](crate::settings::limits::Limits::connections), rounded up.
    #[must_use]
    pub fn connections_per_shard(&self) -> usize {
        self.limits.connections.div_ceil(self.shards.max(1))
    }

    /// Returns a shard's share of [`Limits::request_bytes`](crate::settings::limits::Limits::request_bytes), but at
    /// least the size of the largest permitted request.
    #[must_use]
    pub fn request_bytes_per_shard(&self) -> usize {
        let limits = &self.limits;
        let part = limits.request_bytes / self.shards.max(1);
        part.max(limits.head_bytes + limits.body_bytes)
    }

    /// Returns the maximum number of bytes queued for all connections of a shard: the configured value or, by default,
    /// a share of the total. Regardless of the number of shards, the share is large enough for several of the largest
    /// messages.
    #[must_use]
    pub fn outbox_bytes_of_shard(&self) -> usize {
        self.part(
            self.limits.outbox_bytes_per_shard,
            self.limits.outbox_bytes_total,
        )
    }

    /// Returns the maximum number of message bytes on a shard that were written but not acknowledged.
    #[must_use]
    pub fn unconfirmed_bytes_of_shard(&self) -> usize {
        self.part(0, self.limits.unconfirmed_bytes_total)
    }

    /// Returns the maximum number of undelivered message bytes on a shard.
    #[must_use]
    pub fn pending_bytes_of_shard(&self) -> usize {
        self.part(
            self.limits.pending_bytes_per_shard,
            self.limits.pending_bytes_total,
        )
    }

    /// Returns the number of notes in a shard's flight recorder. The default is lower above 16 shards, which keeps the
    /// process within its memory budget.
    #[must_use]
    pub fn recorder_notes_of_shard(&self) -> usize {
        match self.recorder.notes {
            RECORDER_NOTES => recorder_notes(self.shards),
            written => written,
        }
    }

    /// Returns the maximum number of registry changes in flight from a shard.
    #[must_use]
    pub fn changes_of_shard(&self) -> usize {
        CHANGES_PER_SHARD_MAX.min(self.waiting_most())
    }

    /// Returns the maximum number of Alexa calls waiting on a shard.
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
