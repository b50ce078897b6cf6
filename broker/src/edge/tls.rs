//! The TLS engine of one connection.

/// One connection's TLS state.
pub struct Tls {
    _inner: rustls::server::UnbufferedServerConnection,
}
