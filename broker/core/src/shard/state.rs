//! The state of a shard.

use crate::shard::context::Context;
use crate::shard::directory::Directory;
use crate::shard::gate::Gate;
use crate::shard::sockets::Sockets;

/// The state of a shard. A step that changes one part or two takes these; one that may change any takes all.
pub(crate) struct State {
    pub(crate) sockets: Sockets,
    pub(crate) directory: Directory,
    pub(crate) cx: Context,
    pub(crate) gate: Gate,
}

impl State {
    /// The parts, each borrowed for itself.
    #[inline(always)]
    pub(crate) fn parts(&mut self) -> (&mut Sockets, &mut Directory, &mut Context, &mut Gate) {
        (
            &mut self.sockets,
            &mut self.directory,
            &mut self.cx,
            &mut self.gate,
        )
    }
}
