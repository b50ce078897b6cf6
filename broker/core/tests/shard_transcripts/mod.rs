//! The protocol's rules as transcripts: one exchange a line, what somebody does on the left, all that anybody gets on
//! the right.
//!
//! The machines are the real ones; sockets, clock and mailboxes are those of `script`. What the words of a line mean
//! is written there.

mod admin_pages;
mod alexa;
mod calls;
mod client;
mod connections;
mod delivery;
mod doubt;
mod drain;
mod faults;
mod keeping;
mod large_channels;
mod late;
mod leaving;
mod lists;
mod log;
mod lost_owners;
mod nodes;
pub(crate) mod notes;
mod origins;
mod owners;
mod pongs;
mod registry;
mod repeated_candidates;
mod routing;
mod script;
mod slot_records;
mod slots;
mod store;
mod takeover;
mod timers;
mod trace;
mod unaccepted;
mod waiting;
mod wake;
mod whep;
pub(crate) mod words;
