//! End-to-end comparison of the broker with its rivals. The servers run as processes, `loadgen` puts load on them, and
//! their CPU times are compared.

mod calls;
pub mod case;
pub mod record;
pub mod run;
pub mod server;
pub mod table;
