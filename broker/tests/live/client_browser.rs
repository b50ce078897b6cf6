//! The official JavaScript SDK where it is at home: two pages of headless Chromium, one a camera and one its viewer, with a real
//! peer connection between them. The pages are deploy/conformance/browser.

use crate::client_coturn::TurnServer;
use crate::clients::{run, scripts};
use crate::process::Broker;
use std::process::Command;

#[test]
#[ignore = "needs the clients that deploy/ci/check.sh installs"]
fn session_one_shard() {
    run(node("session.mjs"), &Broker::dev(1));
}

#[test]
#[ignore = "needs the clients that deploy/ci/check.sh installs"]
fn session_two_shards() {
    run(node("session.mjs"), &Broker::dev(2));
}

/// With no way between the pages but the relay, the credentials of GetIceServerConfig carry the media.
#[test]
#[ignore = "needs the clients that deploy/ci/check.sh installs"]
fn session_through_a_relay() {
    let turn = TurnServer::start("use-auth-secret\nstatic-auth-secret=north-wind\n");
    let broker = Broker::configured(&turn.ice("secret = \"north-wind\""), 2);
    let mut command = node("session.mjs");
    command.env("HELIOGRAPH_ICE_TRANSPORT", "relay");
    run(command, &broker);
}

fn node(script: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(scripts("browser").join(script));
    command
}
