//! The store as its users meet it: through the file system, over lives of processes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod damage;
mod full;
mod layout;
mod lives;
mod snapshot;
mod support;
