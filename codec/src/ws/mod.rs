//! WebSocket frames by RFC 6455, both sides, without I/O.
//!
//! ```text
//!  bytes ──► Header::parse ──► Receiver ──► Item (message, ping, pong, close)      incoming
//!  payload ──► frame / frame_masked / header ──► bytes at the end of a Vec         outgoing
//! ```
//! * [`Receiver`] is the incoming side of one connection. A frame that lies whole in the caller's bytes is unmasked and
//!   checked in place and lent from there: no copy, no allocation. Only what a read cut off, and fragments, are kept.
//! * [`frame`], [`frame_masked`] and [`close_frame`] append to the caller's buffer; [`header`] announces a payload that
//!   the caller writes in place.
//! * [`Follower`] sees where the frames of one side end, for a node that passes them on and may close between two.
//! * [`accept_key`], [`valid_key`] and [`request`] are the opening handshake's own fields.
//! * [`FrameError`] names each way to break the protocol, with its close code.
//!
//! The parts of the RFC that are not implemented, and why: `codec/tests/rfc6455.md`.

pub mod close;
mod encoder;
mod error;
mod follower;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod header;
mod mask;
mod partial;
mod receiver;
mod upgrade;
mod utf8;

pub use close::CloseFrame;
pub use encoder::{close_frame, close_frame_masked, frame, frame_masked, header, header_bytes};
pub use error::{Excess, FrameError};
pub use follower::{Follower, Place};
pub use header::{CONTROL_BYTES_MAX, HEADER_BYTES_MAX, Header, Opcode, Side};
pub use mask::mask;
pub use receiver::{FrameRules, Item, Kind, Receiver};
pub use upgrade::{accept_key, request, valid_key};
