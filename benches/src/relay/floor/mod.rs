//! The floor: what a message or a connection costs when nothing is parsed, checked, looked up by name, counted or
//! limited.
//!
//! It is no WebSocket server: it knows how `loadgen` lays out its messages, finds sender and recipient at fixed places,
//! and copies the payload from one fixed frame into another while it unmasks it. What is left is the kernel's part: one
//! receive and one send for each message, or for each burst, and what accepting, answering and closing cost.
//! `strace -c -f` on the process shows the calls. There are two, since neither mechanism is the cheapest in every case;
//! the floor of a case is the cheaper one.

pub(crate) mod epoll;
mod passing;
pub(crate) mod uring;
