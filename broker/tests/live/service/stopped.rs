//! A process that is stopped and goes on: what its sockets held meanwhile (codec/PROTOCOL.md, TAKE-4).

use crate::http::Connection;
use crate::peer::{Peer, master_query, offer, to_master, upgrade_head};
use crate::process::{Broker, arn};
use testkit::until_true;

/// Upgrades whose clients have left take nobody's place.
#[test]
fn upgrades_whose_clients_left_are_not_admitted() {
    let broker = Broker::dev(4);
    let arn = arn("demo");
    let mut master = Peer::master(&broker, &arn);
    let mut viewer = Peer::viewer(&broker, &arn, "v1");
    broker.stop();
    for _ in 0..8 {
        let mut ghost = Connection::open(broker.plain);
        ghost.send(upgrade_head(&broker, &master_query(&arn)).as_bytes());
    }
    broker.go_on();
    let accepted = || broker.scrape().sum("heliograph_accepted_total");
    let http = "heliograph_connections{role=\"http\"}";
    until_true("the end of all of them", || {
        accepted() >= 10.0 && broker.scrape().sum(http) == 0.0
    });
    viewer.send(&offer("b2ZmZXI="));
    master.expect(&to_master("SDP_OFFER", "b2ZmZXI=", "v1"));
    let upgrades = "heliograph_upgrades_total{role=\"master\",outcome=\"accepted\"}";
    assert_eq!(broker.scrape().sum(upgrades), 1.0);
}
