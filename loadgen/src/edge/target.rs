//! Processes on both sides of a run: the target that it starts or watches, the parts that share the load; the machine.

pub(crate) mod machine;
pub(crate) mod process;
pub(crate) mod processes;
pub(crate) mod server;
pub(crate) mod signal;
