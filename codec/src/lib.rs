//! The wire of WebRTC signaling, without I/O.
#![warn(clippy::indexing_slicing)]
#![cfg_attr(test, expect(clippy::indexing_slicing, reason = "a test that indexes out of range fails, as it should"))]

pub mod control;
pub mod ws;
