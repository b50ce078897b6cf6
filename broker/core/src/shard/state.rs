//! The state of a shard.

use crate::shard::context::Context;
use crate::shard::dev::state::Interposer;
use crate::shard::directory::Directory;
use crate::shard::gate::Gate;
use crate::shard::sockets::Sockets;

/// The state of a shard. A step that changes one or two parts borrows only these; a step that may change any borrows
/// all.
pub(crate) struct State {
    pub(crate) sockets: Sockets,
    pub(crate) directory: Directory,
    pub(crate) cx: Context,
    pub(crate) gate: Gate,
    /// The interposer, with `--dev` only.
    pub(crate) interposer: Option<Box<Interposer>>,
}

impl State {
    /// The parts, borrowed separately.
    #[inline(always)]
    pub(crate) fn parts(&mut self) -> (&mut Sockets, &mut Directory, &mut Context, &mut Gate) {
        (
            &mut self.sockets,
            &mut self.directory,
            &mut self.cx,
            &mut self.gate,
        )
    }

    /// The interposer, and the parts that it observes.
    pub(crate) fn interposed(
        &mut self,
    ) -> Option<(&mut Interposer, &mut Sockets, &mut Directory, &mut Context)> {
        let own = self.interposer.as_deref_mut()?;
        Some((own, &mut self.sockets, &mut self.directory, &mut self.cx))
    }
}
