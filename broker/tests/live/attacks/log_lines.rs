//! Log lines that a tenant causes by connecting in a loop, beside a tenant of another account.

use super::{ATTACKER, Trial, broker, healthy};
use crate::peer::{Peer, viewer_query};
use crate::process::arn;
use testkit::until;

/// Lines about ends of connections of one account, and as many about connections whose place a newer one takes, that
/// each shard may log within a second.
const LINES_PER_SECOND: f64 = 50.0 + 50.0;

#[test]
fn ends_of_connections_do_not_flood_the_log() {
    let broker = broker("", 2);
    let storm = viewer_query(&arn("stormed"), "v1");
    let other = healthy::own("own");
    let outcome = Trial::new("connects and ends", &broker).run(|attack| {
        while !attack.over() {
            drop(Peer::plain_from(ATTACKER, &broker, &storm));
            attack.did(1);
        }
        drop(Peer::viewer(&broker, &other, "neighbour"));
    });
    broker.logged(&["connection ended", "client_id=\"neighbour\""], 1);
    let log = broker.log();
    let of_storm = |line: &&str| line.contains("channel=\"stormed\"");
    let lines = log.lines().filter(of_storm).count() as f64;
    let seconds = outcome.took.as_secs_f64().ceil() + 1.0;
    assert!(
        lines <= seconds * LINES_PER_SECOND,
        "{lines} lines in {seconds} s, of {} ends",
        outcome.did
    );
    // The last of them are written a little later.
    until("each end and each takeover is logged or counted", || {
        let log = broker.log();
        let ended = log.matches("connection ended").count();
        let superseded = log.matches(" superseded ").count();
        let logged = (ended + superseded) as f64;
        let scrape = broker.scrape();
        let suppressed = scrape.sum("heliograph_log_suppressed_total");
        let ends = scrape.sum("heliograph_connection_ends_total");
        let takeovers = scrape.sum("heliograph_superseded_total");
        ((suppressed + logged - ends - takeovers).abs() < 0.5).then_some(())
    });
}
