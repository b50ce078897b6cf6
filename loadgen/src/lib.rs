//! Simulated masters and viewers for any service that speaks KVS signaling, and honest figures about it.
//!
//! Pure peers under a thin edge, as in the broker. In reading order:
//!
//! | module | what it is |
//! |---|---|
//! | [`peer`] | one simulated client: connection protocol, messages, what each arrival proves; no I/O |
//! | [`measure`] | histograms, counts and errors that add up exactly |
//! | [`address`] | the target and where it may be; the source addresses of many connections |
//! | [`options`] [`plan`] | the command line as given; the same, checked |
//! | [`edge`] | rings, sockets, TLS, threads, clock, what the kernel tells of processes |
//! | [`report`] | the result as JSON and as text |

pub mod address;
pub mod edge;
pub mod measure;
pub mod options;
pub mod peer;
pub mod plan;
pub mod report;
