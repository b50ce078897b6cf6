//! The newest connection of a master, or of a client id, takes the older one's place (codec/PROTOCOL.md, TAKE).

use crate::peer::{Peer, answer, candidate, candidate_to, offer, to_master, to_viewer};
use crate::process::{Broker, arn};
use testkit::until;

on_shards!(
    the_newest_master_wins,
    the_newest_viewer_of_an_id_wins,
    a_crowd_of_masters_leaves_four_behind,
    what_waits_goes_to_the_newest,
);

fn the_newest_master_wins(broker: &Broker) {
    let arn = arn("demo");
    let mut older = Peer::master(broker, &arn);
    let mut viewer = Peer::viewer(broker, &arn, "v1");
    viewer.send(&offer("Zmlyc3Q="));
    older.expect(&to_master("SDP_OFFER", "Zmlyc3Q=", "v1"));
    let mut newer = Peer::master(broker, &arn);
    viewer.send(&offer("c2Vjb25k"));
    newer.expect(&to_master("SDP_OFFER", "c2Vjb25k", "v1"));
    // The older one stays open, gets nothing, and what it still sends is not lost.
    older.expect_silence();
    older.send(&answer("v1", "bGF0ZQ=="));
    viewer.expect(&to_viewer("SDP_ANSWER", "bGF0ZQ=="));
    // Its end does not end the newer one.
    older.close();
    viewer.send(&candidate("dGhpcmQ="));
    newer.expect(&to_master("ICE_CANDIDATE", "dGhpcmQ=", "v1"));
}

fn the_newest_viewer_of_an_id_wins(broker: &Broker) {
    let arn = arn("demo");
    let mut master = Peer::master(broker, &arn);
    let mut older = Peer::viewer(broker, &arn, "v1");
    let mut newer = Peer::viewer(broker, &arn, "v1");
    master.send(&answer("v1", "YW5zd2Vy"));
    newer.expect(&to_viewer("SDP_ANSWER", "YW5zd2Vy"));
    older.expect_silence();
    older.send(&candidate("bGF0ZQ=="));
    master.expect(&to_master("ICE_CANDIDATE", "bGF0ZQ==", "v1"));
    older.close();
    master.send(&candidate_to("v1", "Y2Fu"));
    newer.expect(&to_viewer("ICE_CANDIDATE", "Y2Fu"));
}

/// Four superseded connections are kept per slot, the oldest is closed beyond that (TAKE-3).
fn a_crowd_of_masters_leaves_four_behind(broker: &Broker) {
    let arn = arn("demo");
    let mut masters: Vec<Peer> = (0..8).map(|_| Peer::master(broker, &arn)).collect();
    for oldest in &mut masters[..3] {
        oldest.expect_close(1001);
    }
    for superseded in &mut masters[3..7] {
        superseded.expect_silence();
    }
    let mut viewer = Peer::viewer(broker, &arn, "v1");
    viewer.send(&offer("b2ZmZXI="));
    masters[7].expect(&to_master("SDP_OFFER", "b2ZmZXI=", "v1"));
}

fn what_waits_goes_to_the_newest(broker: &Broker) {
    let arn = arn("demo");
    let mut viewer = Peer::viewer(broker, &arn, "v1");
    viewer.send(&offer("b2ZmZXI="));
    viewer.expect_silence();
    let mut first = Peer::master(broker, &arn);
    first.expect(&to_master("SDP_OFFER", "b2ZmZXI=", "v1"));
    drop(Peer::master(broker, &arn));
    until("the second is gone", || {
        let superseded = (broker.scrape()).sum("heliograph_connections{role=\"superseded\"}");
        (superseded < 0.5).then_some(())
    });
    // That left within a second and sent nothing: the one before it is the master again.
    viewer.send(&offer("YWdhaW4="));
    first.expect(&to_master("SDP_OFFER", "YWdhaW4=", "v1"));
    first.close();
    viewer.send(&offer("bmV4dA=="));
    viewer.expect_silence();
    let mut third = Peer::master(broker, &arn);
    third.expect(&to_master("SDP_OFFER", "bmV4dA==", "v1"));
}
