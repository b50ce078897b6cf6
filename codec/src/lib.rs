//! The wire protocol of WebRTC signaling, without I/O: parses bytes into typed values, and serializes those values.
//!
//! No code in this crate opens a socket, reads a clock or generates random numbers. Every result depends only on the
//! arguments, and no input from a peer causes a panic. The modules, in the order in which a message passes through
//! them:
//!
//! | module | contents |
//! |---|---|
//! | [`limits`] | limits of the wire protocol, each with its source |
//! | [`http`] | request heads, upgrades, query strings, responses |
//! | [`ws`] | WebSocket frames (RFC 6455), server and client side |
//! | [`json`] | JSON text: the flat scanner, simd-json as its fallback, the escaping writer |
//! | [`identifiers`] | validated channel ARNs, channel names, client ids and correlation ids |
//! | [`policy`], [`sigv4`] | IAM policies; AWS Signature Version 4 |
//! | [`calendar`] | days and dates |
//! | [`base64`] | the only module that calls base64-simd |
//! | [`signal`] | signaling messages: client requests, service events and status responses |
//! | [`control`] | HTTP API operations: typed requests and response bodies |
//! | [`whep`] | players without an SDK: offers, answers and candidates of a camera as SDP |
//! | [`sts`] | temporary credentials: the supported requests of AWS STS, forms in and XML out |
//! | [`proxy`] | client information from a proxy |
//! | [`link`] | frames of a connection between two nodes that carries many clients |
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

/// Minimum size in bytes of payloads that are processed with the CPU's widest vectors. For shorter ones, selecting the
/// code for the CPU would cost more than it saves.
const WIDE_BYTES_MIN: usize = 256;
