//! The wire protocol of WebRTC signaling, without I/O: parses bytes into typed values and serialises them.
//!
//! No code in this crate opens a socket, reads a clock or generates random numbers; the result of every function
//! depends only on its arguments, and no peer input can cause a panic. The modules, in the order in which a message
//! passes through them:
//!
//! | module | what it knows |
//! |---|---|
//! | [`limits`] | the bounds of the wire, each with its source |
//! | [`http`] | request heads, the upgrade, query strings, responses |
//! | [`ws`] | WebSocket frames by RFC 6455, server and client side |
//! | [`json`] | JSON text: the flat scanner, simd-json behind it, the escaping writer |
//! | [`identifiers`] | channel ARN, channel name, client id, correlation id: identifiers as checked types |
//! | [`policy`], [`sigv4`] | policies of IAM; signatures of version 4 |
//! | [`calendar`] | days and dates |
//! | [`base64`] | the one place that calls base64-simd |
//! | [`signal`] | signaling messages: requests of clients, events and status responses of the service |
//! | [`control`] | the HTTP API operations: typed requests and response bodies |
//! | [`whep`] | players without an SDK: offers, answers and candidates of a camera as SDP |
//! | [`sts`] | temporary credentials: the requests of AWS STS that are served, forms in and XML out |
//! | [`proxy`] | what a proxy in front says of a client |
//! | [`link`] | frames of one connection between two nodes that carries many clients |
#![warn(clippy::indexing_slicing)]
#![cfg_attr(
    test,
    expect(
        clippy::indexing_slicing,
        reason = "a test that indexes out of range fails, as it should"
    )
)]

pub mod base64;
pub mod calendar;
pub mod control;
pub mod http;
pub mod identifiers;
pub mod json;
pub mod limits;
pub mod link;
pub mod policy;
pub mod proxy;
pub mod signal;
pub mod sigv4;
pub mod sts;
pub mod whep;
pub mod ws;
