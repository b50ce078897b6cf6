//! Processes on both sides of a run: the target that it starts or watches, the parts that share the load; the machine.

pub(super) mod machine;
pub(super) mod process;
pub(super) mod processes;
pub(super) mod server;
pub(super) mod signal;
