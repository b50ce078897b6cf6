//! Bytes between the sockets of sessions and the machine.

mod farewell;
pub(super) mod flush;
mod intake;
mod tunnels;
