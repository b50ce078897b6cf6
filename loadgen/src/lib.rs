//! Load generator that simulates masters and viewers of any service that speaks KVS signaling, and measures that
//! service.
//!
//! As in the broker, I/O-free state machines are driven by a thin I/O layer. The modules in reading order:
//!
//! | module | what it is |
//! |---|---|
//! | [`peer`] | what a simulated client is made of: connection protocol, messages, what arrived of them; no I/O |
//! | [`visit`] | the parties of a thread: sessions as real viewers live them, their masters, relaying peers; no I/O |
//! | [`credentials`] | the keys to sign with |
//! | [`measure`] | histograms, counts and errors, as a worker counts them |
//! | [`schedule`] | when sessions begin, and how a run is split: open loop, no coordinator |
//! | [`address`] | the target and where it may be; the source addresses of many connections |
//! | [`options`] [`plan`] | the command line as given; the same, checked |
//! | [`scenario`] | flags from a TOML file |
//! | [`needs`] | what a plan takes, and whether this machine allows it |
//! | [`edge`] | threads, clock, API calls, signals, what the kernel reports of processes |
//! | `worker` | one thread of a run: its ring, sockets, TLS and timers |
//! | [`result`] | the result as data: the JSON document, its verdict, exact merging |
//! | [`page`] | the result as one HTML page |
//! | [`live`] | what is seen of a run while it runs |
//! | [`report`] | what was run, as the document that the engine fills |

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
pub mod report;
pub mod result;
pub mod scenario;
pub mod schedule;
pub mod visit;
mod worker;
