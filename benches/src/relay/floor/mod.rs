//! The floor: the cost of a message or a connection without any parsing, checks, look-ups by name, counters or limits.
//!
//! The floor is not a WebSocket server. It knows the layout of the messages that `loadgen` sends: it finds the sender
//! and the recipient at fixed offsets, and copies the payload from one fixed frame into another while unmasking it.
//! What remains is the cost of the kernel: one receive and one send per message or burst, and accepting, answering and
//! closing connections. `strace -c -f` on the process shows these calls. There are two floors, because neither io_uring
//! nor epoll is cheaper under every load. The cheaper floor counts.

pub(crate) mod epoll;
mod passing;
pub(crate) mod uring;
