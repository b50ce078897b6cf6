//! The node: a thread that gives the core what happens, and carries out what it wants.
//!
//! ```text
//!  Handle ── commands ──►┌─ Node ───────────────────────────────────────────────┐
//!  EtcdStore ─ changes ─►│ Core      the rules, and inputs that wait for them   │
//!  Mailbox ──── mail ───►│ Control   leases, the watch, slots ┐                 │──► Service: orders, news
//!  tasks ──── events ───►│ Records   loads, changes           ┴ Connection: etcd│
//!                        │ Post      messages, the hosts of other nodes         │
//!                        └──────────────────────────────────────────────────────┘
//! ```
//! One input of any kind, then all that it causes, then the next. `node` hands each to the part that it is for. A part
//! has private fields; it takes what it needs of others as arguments, and returns what remains to be done, which only
//! the node does.
//!
//! * `start`, `handle`: the thread, and the rest of the process' end of it;
//! * `node`: the parts, and what goes from one to another;
//! * `core`: the rules; `event`: reports of tasks;
//! * `connection`, `control`, `records`: etcd;
//! * `post`: other nodes;
//! * `keeping`, `news`, `inspection`, `log`: what is kept, passed on, shown and logged.

mod connection;
mod control;
mod core;
mod event;
mod handle;
mod inspection;
mod keeping;
mod log;
mod news;
mod node;
mod post;
mod records;
mod start;

pub use handle::{Handle, InquirySender, Inspector, ParcelSender, StartError};
pub use inspection::{Inspection, NodeState};
pub use start::Driver;
