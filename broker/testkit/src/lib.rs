//! Support for tests that start the `heliograph` binary: running it, reading its ready line, log, metrics and exit
//! status, golden files, fuzz inputs for parsers, and waiting with a time limit. Use this crate only in
//! `[dev-dependencies]`, where it does not affect the features of the workspace's build.
//!
//! ```no_run
//! use testkit::{Program, Running, until_true};
//!
//! // In a test: env!("CARGO_BIN_EXE_heliograph") and env!("CARGO_TARGET_TMPDIR").
//! const PROGRAM: Program = Program::new("target/debug/heliograph", "target/tmp");
//!
//! let directory = PROGRAM.directory();
//! let mut command = PROGRAM.command();
//! command.args(["serve", "--dev", "--listen", "http://127.0.0.1:0", "--admin", "127.0.0.1:0", "--data-dir"]);
//! let mut broker = Running::start(command.arg(directory.path("data")), &directory.path("log"));
//! until_true("a connection", || broker.scrape().sum("heliograph_connections") > 0.0);
//! broker.signal("TERM");
//! assert!(broker.ended().success());
//! ```
//! All functions panic on system errors and on timeouts, so that the test fails.

mod golden;
mod mutations;
mod program;
mod running;
mod scrape;
mod store;
mod wait;

pub use golden::{assert_begins, assert_golden, assert_has, help};
pub use mutations::mutations;
pub use program::{Directory, Exit, Program, engine, install, run};
pub use running::{Running, page};
pub use scrape::Scrape;
pub use store::DescriptorStore;
pub use wait::{WITHIN, ended_within, slow, until, until_true, until_within};
