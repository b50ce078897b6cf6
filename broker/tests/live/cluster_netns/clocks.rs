//! Wall clocks that jump: leases and silence go by another clock.

use super::journal::moment;
use super::{LONG_S, serves_on, until_changes};
use crate::cluster_etcd::nodes::setup::Setup;
use crate::cluster_etcd::nodes::{Nodes, name_of};
use crate::http::Connection;
use crate::peer::HealthyPair;
use crate::process::Broker;
use serde_json::json;
use testkit::until;

/// An hour ahead, then an hour behind; answers have the time of the node's clock.
#[test]
#[ignore = "needs etcd, root and faketime"]
fn a_wall_clock_that_jumps_moves_nothing() {
    let setup = Setup {
        library: Some(LIBRARY),
        ..Setup::default()
    };
    let Some(nodes) = Nodes::on_hosts_as(setup) else {
        return;
    };
    let owner = nodes.largest();
    let [one, _] = nodes.others(owner);
    let arn = nodes.channels_of(owner, 1).remove(0);
    let mut pair = HealthyPair::on(nodes.node(one), &arn);
    let before = moment();
    let right = hours(nodes.node(owner), &arn);
    for (jump, hours_ahead) in [("+3600", 1), ("-3600", 23)] {
        nodes.set_clock(owner, jump);
        until("the time of the clock in answers", || {
            let ahead = (24 + hours(nodes.node(owner), &arn) - right) % 24;
            // The hour may have ended meanwhile.
            (ahead == hours_ahead || ahead == (hours_ahead + 1) % 24).then_some(())
        });
        serves_on(&nodes, &[0, 1, 2], &mut pair, &arn, LONG_S);
        until_changes(nodes.node(one), &arn);
    }
    assert_eq!(nodes.owner(name_of(&arn)), owner);
    let journal = nodes.journal();
    assert_eq!(journal.changes_since(before), 0);
    journal.assert_sound();
    nodes.until_served();
}

/// The hour of the `Date` of an answer.
fn hours(node: &Broker, arn: &str) -> u32 {
    let asked = json!({ "ChannelARN": arn });
    let found = Connection::open(node.plain).call("/describeSignalingChannel", &asked);
    let date = found.header("date").expect("every answer has it");
    let time = date.split(' ').nth(4).expect("an IMF-fixdate");
    time.split(':')
        .next()
        .and_then(|hours| hours.parse().ok())
        .expect("two digits")
}

/// Debian's. It changes the wall clock of a program, and here no other clock.
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
