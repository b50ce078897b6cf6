//! Masters that connect to one channel one after the other, each superseding the last, beside viewers of that channel.

use super::{ATTACKER, Attack, HEALTHY, Trial, broker};
use crate::http::get;
use crate::peer::{Peer, master_query, offer, to_master, viewer_query};
use crate::process::{Broker, arn};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use tungstenite::protocol::frame::coding::CloseCode;

/// Attackers at a time, and masters that each keeps open.
const STORMERS: usize = 6;
const KEPT: usize = 8;

/// Viewers of the channel.
const VIEWERS: usize = 4;

/// Superseded masters that a channel keeps.
const SUPERSEDED: u64 = 4;

#[test]
fn masters_that_supersede_each_other_cut_no_viewer() {
    let broker = broker("", 2);
    let outcome = Trial::new("storm of masters", &broker).run(|attack| storm(&broker, attack));
    assert!(outcome.did > (STORMERS * KEPT) as u64, "{outcome:?}");
    broker.assert_balanced();
}

fn storm(broker: &Broker, attack: &Attack) {
    let channel = arn("contested");
    let connect = |number| {
        let query = viewer_query(&channel, &format!("v{number}"));
        Peer::plain_from(HEALTHY, broker, &query)
    };
    let mut viewers: Vec<Peer> = (0..VIEWERS).map(connect).collect();
    let calm = AtomicBool::new(false);
    thread::scope(|scope| {
        let stormers: Vec<_> = (0..STORMERS)
            .map(|_| scope.spawn(|| supersede(broker, attack, &channel)))
            .collect();
        scope.spawn(|| {
            while !calm.load(Ordering::Relaxed) {
                let contested = get(broker.admin, "/channels/contested").json();
                let kept = contested["superseded"].as_u64().expect("a number");
                assert!(kept <= SUPERSEDED, "{kept} are kept");
                thread::sleep(Duration::from_millis(5));
            }
        });
        while !attack.over() && !stormers.iter().any(|stormer| stormer.is_finished()) {
            viewers.iter_mut().for_each(Peer::expect_silence);
            // Each is a frame without effect, of which there may be 200 a second.
            thread::sleep(Duration::from_millis(20));
        }
        calm.store(true, Ordering::Relaxed);
    });
    // The next master serves the same viewers.
    let mut master = Peer::plain_from(HEALTHY, broker, &master_query(&channel));
    for (number, viewer) in viewers.iter_mut().enumerate() {
        viewer.send(&offer("Y2FsbQ=="));
        master.expect(&to_master("SDP_OFFER", "Y2FsbQ==", &format!("v{number}")));
    }
    viewers.into_iter().for_each(Peer::close);
    master.close();
}

/// Connects as a master again and again. Only superseded ones are ended, as too many of them.
fn supersede(broker: &Broker, attack: &Attack, channel: &str) {
    let mut kept = VecDeque::new();
    while !attack.over() {
        kept.push_back(Peer::plain_from(ATTACKER, broker, &master_query(channel)));
        attack.did(1);
        if kept.len() > KEPT
            && let Some(mut oldest) = kept.pop_front()
        {
            // As many came after it as the channel keeps, so it was superseded and then ended.
            let (texts, code) = oldest.drain();
            assert_eq!((texts.len(), code), (0, Some(CloseCode::Away)));
        }
    }
}
