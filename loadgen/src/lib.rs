//! A load generator that simulates masters and viewers, and measures the service that they connect to. The service may
//! be any implementation of KVS signaling.
//!
//! As in the broker, a thin I/O layer drives state machines that do no I/O. The modules in reading order:
//!
//! | module | contents |
//! |---|---|
//! | [`peer`] | parts of a simulated client: connection protocol, messages, record of received messages; no I/O |
//! | [`visit`] | parties on one thread: viewer sessions, their masters, relaying peers; no I/O |
//! | [`credentials`] | keys for signing |
//! | [`measure`] | a worker's histograms, counters and errors |
//! | [`schedule`] | start times of sessions, and the split of a run: open loop, no coordinator |
//! | [`address`] | target addresses, and the source addresses of many connections |
//! | [`options`] [`plan`] | the command line as given, and after validation |
//! | [`scenario`] | flags from a TOML file |
//! | [`needs`] | resources that a plan needs, compared with the limits of this machine |
//! | [`edge`] | threads, clock, API calls, signals, process statistics from the kernel |
//! | `worker` | one thread of a run: its ring, sockets, TLS and timers |
//! | [`result`] | the result as data: the JSON document, its verdict, exact merging |
//! | [`page`] | the result as one HTML page |
//! | [`live`] | live progress of a run |

pub mod address;
pub mod credentials;
pub mod edge;
pub mod live;
pub mod measure;
pub mod needs;
pub mod options;
pub mod page;
pub mod peer;
pub mod plan;
pub mod result;
pub mod scenario;
pub mod schedule;
pub mod visit;
mod worker;
