//! The console: its files, the figures of its first page, and the events that keep its pages up to date.
//!
//! `events` is the page that streams are asked for; `hub` has the feeds that they are fed from, `sources` the state
//! that each begins with, `stream` one of them, `topic` what it may be about.

pub(crate) mod assets;
pub(crate) mod events;
pub(crate) mod history;
pub(crate) mod hub;
pub(crate) mod overview;
pub(crate) mod sources;
mod stream;
mod topic;
