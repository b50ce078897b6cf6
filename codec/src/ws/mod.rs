//! WebSocket frames by RFC 6455.
