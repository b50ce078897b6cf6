//! The broker beside its rivals, end to end: servers as processes, driven by `loadgen`, compared by CPU time.
//!
//! | module | what it is |
//! |---|---|
//! | [`case`] | the loads |
//! | `calls` | the driver of API calls |
//! | [`server`] | the programs: found or built, started on a core, stopped |
//! | [`run`] | one server under one load |
//! | [`record`] | figures of a whole comparison as a file |
//! | [`table`] | a record as a table of ratios; two records side by side |

mod calls;
pub mod case;
pub mod record;
pub mod run;
pub mod server;
pub mod table;
