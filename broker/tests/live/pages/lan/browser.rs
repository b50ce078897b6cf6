//! Two browsers, one of which is a phone, in a network of their own.

use super::inside::start;
use crate::client_browser::{node, screenshots};
use crate::clients::run;

#[test]
#[ignore = "a test of the outside runs it, in a network of its own"]
fn a_phone_and_a_computer() {
    let mut command = node("phone.mjs");
    command.env("HELIOGRAPH_SCREENSHOTS", screenshots());
    let broker = start(&["--lan"]);
    run(command, &broker);
}
