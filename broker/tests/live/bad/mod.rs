//! Bad input, each beside a healthy pair on the same shard that goes on relaying.
//!
//! * [`http`], [`desync`], [`upgrade`], [`frame`], [`message`]: faults in the order of the layers.
//! * [`slow_reader`]: a peer that never reads; [`descriptors`]: a process that may open no more files.

mod descriptors;
mod desync;
mod frame;
mod http;
mod message;
mod slow_reader;
mod upgrade;
