//! Bad input, each beside a healthy pair on the same shard that goes on relaying.
//!
//! * [`desync`], [`upgrade`]: requests that are or only look wrong. Refusals of each check: `operator/refusals`.
//! * [`slow_reader`]: a peer that never reads. A process without descriptors: `edge_live/descriptors.rs`.

mod desync;
mod slow_reader;
mod upgrade;
