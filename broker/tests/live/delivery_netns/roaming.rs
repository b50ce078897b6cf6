//! Viewers that change their network between their offer and its answer.

use super::site::{Door, Site};
use super::{CANDIDATES, OFFER, VIEWER, seconds, texts};
use crate::peer::{
    Peer, answer, candidate_to, master_query, offer, to_master, to_viewer, viewer_query,
};
use crate::process::arn;
use std::thread;
use std::time::{Duration, Instant};

/// Three times each, away for longer each time; plain and over TLS.
#[test]
#[ignore = "needs root"]
fn a_viewer_that_changes_its_network_gets_what_was_answered_meanwhile() {
    let Some(site) = Site::new(1) else { return };
    let broker = site.broker("");
    let mut calls: Vec<Call> = Door::both(&broker)
        .into_iter()
        .map(|door| Call::new(&site, door))
        .collect();
    let mut lost = 0;
    for away in AWAY {
        for call in &mut calls {
            call.viewer.send(&offer(OFFER));
            call.master.expect(&to_master("SDP_OFFER", OFFER, VIEWER));
        }
        site.cut(0);
        for call in &mut calls {
            call.master.send_together(&answer_with_candidates());
        }
        thread::sleep(away);
        site.mend_elsewhere(0);
        for call in &mut calls {
            let is_lost = call.is_lost_by_moving(&site);
            eprintln!("away for {away:?}, {}: lost: {is_lost}", call.door.name());
            lost += usize::from(is_lost);
        }
    }
    assert_eq!(lost, 0, "of {}", calls.len() * AWAY.len());
}

struct Call {
    arn: String,
    door: Door,
    master: Peer,
    viewer: Peer,
    /// Connections from former addresses, which nobody closed.
    former: Vec<Peer>,
}

impl Call {
    fn new(site: &Site, door: Door) -> Self {
        let arn = arn(&format!("roaming-{}", door.name()));
        Self {
            master: door.connect(&master_query(&arn)),
            viewer: site.on(0, || door.connect(&viewer_query(&arn, VIEWER))),
            former: Vec::new(),
            arn,
            door,
        }
    }

    /// Connects the viewer from where it is.
    fn is_lost_by_moving(&mut self, site: &Site) -> bool {
        let query = viewer_query(&self.arn, VIEWER);
        let next = site.on(0, || self.door.connect(&query));
        self.former.push(std::mem::replace(&mut self.viewer, next));
        let arrived = self.viewer.texts_until(Instant::now() + SETTLED);
        let [first, second, third] = CANDIDATES.map(|one| to_viewer("ICE_CANDIDATE", one));
        let expected = [to_viewer("SDP_ANSWER", OFFER), first, second, third];
        texts(&arrived) != expected
    }
}

fn answer_with_candidates() -> [String; 4] {
    let [first, second, third] = CANDIDATES.map(|one| candidate_to(VIEWER, one));
    [answer(VIEWER, OFFER), first, second, third]
}

/// From the answer to the next connection: at once, too.
const AWAY: [Duration; 3] = [Duration::ZERO, seconds(1), seconds(3)];

/// Longer than a message that was written just before waits for its confirmation.
const SETTLED: Duration = Duration::from_millis(1_500);
