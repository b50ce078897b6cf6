//! The parties of one thread, without I/O. In the open loop the real life of a viewer: connect, offer, answer,
//! candidates both ways, hold, disconnect. In the closed loop peers that are connected for the whole run, and
//! [`Relay`] if it relays.
//!
//! ```text
//!   viewer                                        master (lives for the whole run)
//!     │ upgrade, 101                                │
//!     ├── SDP_OFFER, number 0 ────────────────────► │
//!     │ ◄──────────────────── SDP_ANSWER, number 0 ─┤
//!     │ ◄──────────────── ICE_CANDIDATE, 1 to n ────┤
//!     ├── ICE_CANDIDATE, 1 to n ──────────────────► │
//!     │ hold                                        │
//!     └── close
//! ```
//! A session that has not begun costs nothing: its moment is a function of its number. One that runs is a [`Viewer`]
//! in the [`Crew`] of its thread; both of its directions are written into one [`Book`] each, since its master lives on
//! the same thread. The checker knows who must receive what from the numbers in the messages alone and shares no code
//! with any routing.

pub mod answer;
mod book;
mod crew;
mod desk;
mod discovery;
mod recovery;
mod viewer;

pub use book::{Arrival, Book, CANDIDATES_MAX};
pub use crew::{Crew, Heard, LINE_BYTES, Party, Peer, Relay, Verdict};
pub use desk::{Desk, Terms};
pub use discovery::{Call, Discovery, Reply, Role, write_call};
pub use recovery::Recovery;
pub use viewer::{Stage, Viewer};
