//! Simulated masters and viewers for any service that speaks KVS signaling, and honest figures about it.
//!
//! Pure peers under a thin edge, as in the broker. In reading order:
//!
//! | module | what it is |
//! |---|---|
//! | [`peer`] | one simulated client: connection protocol, messages, what each arrival proves; no I/O |
//! | [`visit`] | a session, as a real viewer lives it, and its master; what each message proves; no I/O |
//! | [`sign`] | presigned URLs and signed API calls |
//! | [`measure`] | histograms, counts and errors that add up exactly |
//! | [`schedule`] | when sessions begin, and how a run is split: open loop, no coordinator |
//! | [`address`] | the target and where it may be; the source addresses of many connections |
//! | [`options`] [`plan`] | the command line as given; the same, checked |
//! | [`scenario`] | flags from a TOML file |
//! | [`needs`] | what a plan takes, and whether this machine allows it |
//! | [`edge`] | rings, sockets, TLS, threads, clock, what the kernel tells of processes |
//! | [`result`] | the result as data: the JSON document, its verdict, exact merging |
//! | [`page`] | the result as one HTML page |
//! | [`live`] | what is seen of a run while it runs |
//! | [`report`] | the result as JSON and as text |

pub mod address;
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
pub mod sign;
pub mod visit;
