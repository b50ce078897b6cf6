//! The parts of a shard that a step takes together where it may do anything but check signatures.

use crate::shard::books::Books;
use crate::shard::directory::Directory;
use crate::shard::sockets::Sockets;
use crate::shard::todo::TodoList;

/// The parts of a shard without its gate, and the list of what steps leave. For the steps that pass a message or a call
/// on, and for those through the shard's double; any other step takes the parts that it changes one by one.
pub(crate) struct Parts<'a> {
    pub(crate) sockets: &'a mut Sockets,
    pub(crate) directory: &'a mut Directory,
    pub(crate) books: &'a mut Books,
    pub(crate) todo: &'a mut TodoList,
}

impl Parts<'_> {
    /// The same for a step within this one.
    #[inline(always)]
    pub(crate) fn lend(&mut self) -> Parts<'_> {
        Parts {
            sockets: self.sockets,
            directory: self.directory,
            books: self.books,
            todo: self.todo,
        }
    }
}
