//! The parts of a simulated client, without I/O: its name, its connection's protocol, its messages and the record of
//! those that arrived.
//!
//! Every message carries a [`Stamp`] that says who sent it to whom, which one it is and when, under a checksum; a
//! recipient keeps a [`Sequence`] for each sender. So a recipient knows from the messages alone what is missing,
//! doubled, late, altered or misrouted. The checker shares no code with any service's routing.

mod link;
pub(crate) mod name;
mod sequence;
mod stamp;

pub use link::{Event, Link, LinkError};
pub use name::{Name, Naming, client_id, unsigned_target};
pub use sequence::{Arrival, Sequence};
pub use stamp::{PAYLOAD_BYTES_MAX, STAMP_BYTES, Stamp, filler};
