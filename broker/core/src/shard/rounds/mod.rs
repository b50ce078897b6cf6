//! The shard's loops: over the frames and requests of what was received, over what is due, and over what operators
//! want.
//!
//! Each item is a step of its own: what it leaves ([`Todo`](crate::shard::todo::Todo)) is done before the next one begins, so
//! that a later item sees what an earlier one has changed. Only these methods, those of `shard/mod.rs` and of
//! `todo::work_off`, and those of the test double (`dev/`) have all parts.

mod check;
mod doubled;
mod due;
mod letters;
mod operators;
mod received;
