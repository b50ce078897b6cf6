//! The console: its files, the figures of its first page, and the events that keep its pages up to date.
//!
//! `events` is the page that streams are asked for; `hub` has the feeds that they are fed from, `sources` the state
//! that each begins with, `stream` one of them, `topic` what it may be about.

pub(super) mod assets;
pub(super) mod events;
pub(super) mod history;
pub(super) mod hub;
pub(super) mod overview;
pub(super) mod sources;
mod stream;
mod topic;
