//! The help of `loadgen`, which users and scripts see.

use std::process::Command;
use testkit::{assert_golden, help};

/// The folder of all such texts of the workspace: `broker/tests/live/golden.rs`.
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../broker/tests/data/golden");

#[test]
fn the_help_of_every_command() {
    let help = help("loadgen", || Command::new(env!("CARGO_BIN_EXE_loadgen")));
    assert_golden(GOLDEN, "loadgen.txt", &help);
}
