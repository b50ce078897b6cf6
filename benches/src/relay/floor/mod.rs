//! The floor: the cost of a message or connection without parsing, checks, look-ups by name, counters or limits.
//!
//! Not a WebSocket server: the floor knows the layout of `loadgen`'s messages, finds sender and recipient at fixed
//! offsets, and copies the payload from one fixed frame into another while unmasking it. The remaining cost is the
//! kernel's: one receive and one send per message or burst, plus accepting, answering and closing connections. `strace
//! -c -f` on the process shows the calls. There are two floors, because neither mechanism is the cheapest in all cases;
//! the cheaper one is the floor of a case.

pub(crate) mod epoll;
mod passing;
pub(crate) mod uring;
