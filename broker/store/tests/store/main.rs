//! Tests the store from the outside: through the file system, and across restarts of the process.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod damage;
mod full;
mod layout;
mod lives;
mod snapshot;
mod support;
