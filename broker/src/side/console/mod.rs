//! The console: its files, the figures of its first page, and the events that keep its pages up to date.

pub(super) mod assets;
pub(super) mod events;
pub(super) mod history;
pub(super) mod overview;
mod stream;
