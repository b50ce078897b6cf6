//! Spans of time.

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
    /// Silence after which the server pings, on the next whole second; 0 is off.
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
