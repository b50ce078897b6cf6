//! End-to-end comparison of the broker with its rivals: servers run as processes, are driven by `loadgen`, and are
//! compared by CPU time.

mod calls;
pub mod case;
pub mod record;
pub mod run;
pub mod server;
pub mod table;
