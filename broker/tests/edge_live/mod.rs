//! The edge, live: echo shards in this process on loopback, driven by blocking clients of another make (tungstenite,
//! rustls).
//!
//! Everything here is bounded: each read has a time limit, nothing waits by sleeping except an event that is polled.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

#[expect(dead_code, reason = "the example also reads files")]
#[path = "../../examples/echo/certificate.rs"]
mod certificate;
mod close;
mod descriptors;
mod echo;
mod handover;
#[path = "../../examples/echo/machine.rs"]
mod machine;
mod mover;
mod secure;
mod segments;
#[path = "../../examples/echo/server.rs"]
mod server;
#[path = "../../examples/echo/session.rs"]
mod session;
mod shares;
mod support;
