//! The harness itself: a trial without an attack passes, and one that harms the healthy does not.

use super::{ATTACKER, Trial, broker};
use crate::http::Connection;
use crate::peer::{Peer, offer, viewer_query};
use crate::process::arn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

#[test]
fn an_idle_crowd_harms_nobody() {
    for shards in [1, 2] {
        let broker = broker("", shards);
        let mut trial = Trial::new("idle crowd", &broker).lasting(Duration::from_millis(500));
        if shards == 2 {
            trial = trial.over_tls();
        }
        let outcome = trial.run(|attack| {
            let crowd: Vec<_> = (0..50)
                .map(|_| Connection::open_from(ATTACKER, broker.plain))
                .collect();
            attack.did(crowd.len() as u64);
            while !attack.over() {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        assert_eq!(outcome.did, 50);
        assert!(
            outcome.peak.descriptors >= outcome.before.descriptors + 50,
            "{outcome:?}"
        );
        broker.assert_balanced();
    }
}

#[test]
fn a_message_too_many_is_noticed() {
    let broker = broker("", 1);
    let taken = catch_unwind(AssertUnwindSafe(|| {
        let trial = Trial::new("intruder", &broker).without_newcomers();
        trial.run(|_| {
            // Without signatures anybody may be a viewer of this channel.
            let query = viewer_query(&arn("healthy-0"), "intruder");
            let mut intruder = Peer::plain_from(ATTACKER, &broker, &query);
            intruder.send(&offer("aW50cnVkZXI="));
            intruder.close();
        })
    }));
    assert!(taken.is_err(), "it went unnoticed");
}
