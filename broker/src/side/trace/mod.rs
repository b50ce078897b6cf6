//! Traces of channels: what happened, what that suggests, and the viewers whose session did not go well.
//!
//! `reader` gets the notes of a channel from its shard, `story` makes connections of them, `hints` says what they
//! suggest, `twins` says who takes whose place; `page` shows it, and `troubled` keeps the sessions that went wrong.

mod hints;
pub(crate) mod page;
pub(crate) mod reader;
mod story;
pub(crate) mod troubled;
mod twins;
