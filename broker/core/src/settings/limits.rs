//! Bounds in bytes and pieces.

use crate::settings::{Profile, Settings};

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
    /// `crowd.rs`. WebSockets have most of them: see `shard/shares/admitted.rs` and
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
