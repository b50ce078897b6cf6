//! Bounds in bytes and pieces, rates, spans of time, and one shard's part of each budget.

use crate::limits::{
    CHANGES_PER_SHARD_MAX, CONNECTIONS_PER_WAITING, ENVELOPE_BYTES_MAX, FEWEST_WAITING,
    RECORD_BYTES_MAX, RECORDER_NOTES, recorder_notes, share, waiting_calls_per_shard,
};
use crate::quota::Rate;
use crate::settings::{Profile, Settings};
use codec::control::Operation;

/// Channels of an account under the strict profile, unless they are configured: twice as many in large regions. Source:
/// KVS WebRTC service quotas, "CreateSignalingChannel".
#[must_use]
pub fn channels_per_account_strict(region: &str) -> usize {
    match region {
        "us-east-1" | "us-west-2" => 10_000,
        _ => Limits::of(Profile::Strict).channels_per_account,
    }
}

/// Bounds in bytes and pieces. `default()` is all zeros: the defaults of the configuration are [`Limits::of`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Viewers connected to one channel at a time. Source: KVS WebRTC service quotas, "ConnectAsViewer".
    pub viewers_per_channel: usize,
    /// Channels of one account; 0 is no limit. Source: KVS WebRTC service quotas, "CreateSignalingChannel".
    pub channels_per_account: usize,
    /// Most bytes of memory of the records of one account's channels, on all shards and nodes.
    pub record_bytes_per_account: usize,
    /// Most bytes of memory of the records of all channels of the process. See [`Settings::record_bytes_of_shard`].
    pub record_bytes_total: usize,
    /// Longest `messagePayload` in characters of base64 text.
    pub payload_bytes: usize,
    /// Longest WebSocket frame and message in bytes.
    pub message_bytes: usize,
    /// Longest message, its envelope included, that a client gets which offered the subprotocol `wss`.
    pub wss_message_bytes: usize,
    /// Longest HTTP request head in bytes, its empty line included.
    pub head_bytes: usize,
    /// Most header lines of a request head.
    pub header_lines: usize,
    /// Longest HTTP request body in bytes.
    pub body_bytes: usize,
    /// Most bytes of unfinished requests, of those that wait and of answers not taken, on all HTTP connections of the
    /// process, and of unfinished messages on its WebSockets. See [`Settings::request_bytes_per_shard`].
    pub request_bytes: usize,
    /// Most bytes that wait for one connection. At least [`Limits::pending_bytes_per_channel`].
    pub outbox_bytes: usize,
    /// Most bytes that are written to all connections and not confirmed. See [`Settings::unconfirmed_bytes_of_shard`].
    pub unconfirmed_bytes_total: usize,
    /// Most bytes that wait for all connections. See [`Settings::outbox_bytes_of_shard`].
    pub outbox_bytes_total: usize,
    /// Most bytes that wait for all connections of one shard; 0 for an even part of the total.
    pub outbox_bytes_per_shard: usize,
    /// Most bytes of undelivered messages kept for one channel.
    pub pending_bytes_per_channel: usize,
    /// Most bytes of undelivered messages kept. See [`Settings::pending_bytes_of_shard`].
    pub pending_bytes_total: usize,
    /// Most bytes of undelivered messages kept by one shard; 0 for an even part of the total.
    pub pending_bytes_per_shard: usize,
    /// Most client connections of the process. For one more a connection makes room that was not let in: see
    /// `address_shares.rs`. WebSockets have most of them: see `shard/shares.rs` and
    /// [`Settings::connections_per_shard`].
    pub connections: usize,
    /// Most TLS handshakes under way on one shard: see `EdgeSettings::handshakes` of the edge.
    pub handshakes_per_shard: usize,
    /// Most TLS handshakes under way from one address; 0 for no limit but the one above.
    pub handshakes_per_address: usize,
}

impl Limits {
    /// The defaults of `profile`.
    #[must_use]
    pub fn of(profile: Profile) -> Self {
        Settings::new(profile, false).limits
    }
}

// Rates of clients, channels and accounts.

/// Rates that clients may use up. Source: KVS WebRTC service quotas; the burst is five seconds of the rate.
/// `default()` is all zeros: the defaults of the configuration are those of
/// [`Settings::new`](crate::settings::Settings::new).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quotas {
    /// No rate is limited.
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
    /// Calls of STS that issue keys, per account.
    pub account_federation: Rate,
}

impl Quotas {
    /// The rate of an operation per account, with its key; `None` where there is none.
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

/// Spans of time in milliseconds. 0 means "off" where a field says so. `default()` is all zeros: the defaults of
/// the configuration are those of [`Settings::new`](crate::settings::Settings::new).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// From the accepted connection (TLS: from the end of its handshake) to the whole request head.
    pub head_ms: u64,
    /// From the accepted connection to the end of its TLS handshake.
    pub tls_ms: u64,
    /// From the end of a request head to the end of its body.
    pub body_ms: u64,
    /// Without any frame from the client. Source: KVS WebRTC service quotas, "idle connection timeout".
    pub idle_ms: u64,
    /// Age at which a WebSocket connection ends; 0 is off. Source: KVS WebRTC service quotas, "connection duration".
    pub connection_age_ms: u64,
    /// From GO_AWAY to the close. Source: KVS WebRTC service quotas, "GO_AWAY".
    pub go_away_grace_ms: u64,
    /// The server pings, on the next whole second, when for so long nothing came from a client, or nothing went to it;
    /// 0 is off.
    pub ping_ms: u64,
    /// From a ping to the end of a connection from which nothing has come since, on the next whole second; 0 is off.
    pub pong_ms: u64,
    /// Unacknowledged bytes end the connection after this (`TCP_USER_TIMEOUT`); 0 is the kernel's own.
    pub tcp_user_ms: u64,
    /// Between two requests of one HTTP connection.
    pub keep_alive_ms: u64,
    /// Within which an HTTP peer takes some of the answers that wait for it.
    pub answer_ms: u64,
    /// From our close frame, or our FIN, to the peer's.
    pub close_ms: u64,
    /// From SIGTERM to the end of the process; under `--dev` one second, since nobody wants to wait for an idle client.
    pub drain_ms: u64,
    /// Longest wait of a SendAlexaOfferToMaster call below its channel's MessageTtlSeconds; 0 is off.
    pub alexa_wait_max_ms: u64,
    /// The most by which a signer's clock may be off.
    pub clock_tolerance_ms: u64,
}

// One shard's part of each budget of the process.

impl Settings {
    /// One shard's part of [`Limits::connections`](crate::settings::limits::Limits::connections), rounded up.
    #[must_use]
    pub fn connections_per_shard(&self) -> usize {
        self.limits.connections.div_ceil(self.shards.max(1))
    }

    /// One shard's part of [`Limits::request_bytes`](crate::settings::limits::Limits::request_bytes), but always room
    /// for the largest request.
    #[must_use]
    pub fn request_bytes_per_shard(&self) -> usize {
        let limits = &self.limits;
        let part = limits.request_bytes / self.shards.max(1);
        part.max(limits.head_bytes + limits.body_bytes)
    }

    /// Most bytes that wait for all connections of one shard: as configured, or its part of the process's, which holds
    /// some of the largest messages on any number of shards.
    #[must_use]
    pub fn outbox_bytes_of_shard(&self) -> usize {
        self.part(
            self.limits.outbox_bytes_per_shard,
            self.limits.outbox_bytes_total,
        )
    }

    /// Most bytes of messages that are written and not confirmed, of one shard.
    #[must_use]
    pub fn unconfirmed_bytes_of_shard(&self) -> usize {
        self.part(0, self.limits.unconfirmed_bytes_total)
    }

    /// Most bytes of undelivered messages kept by one shard.
    #[must_use]
    pub fn pending_bytes_of_shard(&self) -> usize {
        self.part(
            self.limits.pending_bytes_per_shard,
            self.limits.pending_bytes_total,
        )
    }

    /// Most bytes of the records of one shard's channels, but always room for some of the largest.
    #[must_use]
    pub fn record_bytes_of_shard(&self) -> usize {
        let least = 4 * RECORD_BYTES_MAX;
        share(
            self.limits.record_bytes_total,
            self.shards,
            least,
            usize::MAX,
        )
    }

    /// Notes of one shard's flight recorder: as configured. The default is less on more than 16 shards, which leaves
    /// the process within its budget.
    #[must_use]
    pub fn recorder_notes_of_shard(&self) -> usize {
        match self.recorder.notes {
            RECORDER_NOTES => recorder_notes(self.shards),
            written => written,
        }
    }

    /// Changes of the registry that one shard may have in flight.
    #[must_use]
    pub fn changes_of_shard(&self) -> usize {
        CHANGES_PER_SHARD_MAX.min(self.waiting_most())
    }

    /// Alexa calls that may wait on the channels of one shard.
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
