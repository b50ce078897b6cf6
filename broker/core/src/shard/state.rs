//! The state of a shard.

use crate::shard::context::Context;
use crate::shard::dev::state::Interposer;
use crate::shard::directory::Directory;
use crate::shard::gate::Gate;
use crate::shard::sockets::Sockets;

/// A shard's state, divided into parts. A step that needs only one part borrows that part and the context. A step that
/// needs several parts, or calls one that does, borrows the whole state.
pub(crate) struct State {
    pub(crate) sockets: Sockets,
    pub(crate) directory: Directory,
    pub(crate) cx: Context,
    pub(crate) gate: Gate,
    /// The interposer, or `None` without `--dev`.
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

    /// Returns the interposer, if any, together with the parts of the state that it observes.
    pub(crate) fn interposed(
        &mut self,
    ) -> Option<(&mut Interposer, &mut Sockets, &mut Directory, &mut Context)> {
        let own = self.interposer.as_deref_mut()?;
        Some((own, &mut self.sockets, &mut self.directory, &mut self.cx))
    }
}
