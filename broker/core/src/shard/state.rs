//! The state of a shard.

use crate::shard::context::Context;
use crate::shard::dev::state::Interposer;
use crate::shard::directory::Directory;
use crate::shard::gate::Gate;
use crate::shard::sockets::Sockets;

/// The state of a shard. A step that modifies one or two parts borrows only those; a step that may modify any part
/// borrows them all.
pub(crate) struct State {
    pub(crate) sockets: Sockets,
    pub(crate) directory: Directory,
    pub(crate) cx: Context,
    pub(crate) gate: Gate,
    /// The interposer, with `--dev` only.
    pub(crate) interposer: Option<Box<Interposer>>,
}

impl State {
    /// Returns the parts as separate borrows.
    #[inline(always)]
    pub(crate) fn parts(&mut self) -> (&mut Sockets, &mut Directory, &mut Context, &mut Gate) {
        (
            &mut self.sockets,
            &mut self.directory,
            &mut self.cx,
            &mut self.gate,
        )
    }

    /// Returns the interposer and the parts that it observes.
    pub(crate) fn interposed(
        &mut self,
    ) -> Option<(&mut Interposer, &mut Sockets, &mut Directory, &mut Context)> {
        let own = self.interposer.as_deref_mut()?;
        Some((own, &mut self.sockets, &mut self.directory, &mut self.cx))
    }
}
