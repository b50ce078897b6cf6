//! The table of cases: when the viewer offers, when the camera is back, and what answers at its old port.

use super::cameras::{Case, Comeback, assert_delivered, play};
use super::seconds;
use super::site::{Door, Site};
use crate::peer::{Peer, answer, master_query, viewer_query};
use crate::process::{Broker, arn};
use std::time::Duration;

#[test]
#[ignore = "needs root"]
fn a_camera_that_was_cut_off_gets_what_it_never_confirmed() {
    table(&[1, 10, 30], &[5, 20, 45], seconds(60));
}

/// The short ones of the table.
#[test]
#[ignore = "needs root"]
fn a_camera_that_is_back_soon_gets_what_it_never_confirmed() {
    table(&[1], &[5], seconds(10));
}

/// Of these all but every tenth were cut off with what they were sent, and the others read nothing: their windows are
/// shut. What the neighbours never confirmed comes back all the same.
#[test]
#[ignore = "needs root"]
fn a_thousand_peers_that_acknowledge_nothing_take_nothing_from_their_neighbours() {
    let crowd = COMEBACKS.len();
    let Some(site) = Site::new(u8::try_from(crowd + 1).expect("few")) else {
        return;
    };
    let broker = site.broker("");
    let mut masters = Vec::new();
    let mut silent = Vec::new();
    for channel in 0..CROWD / CROWD_VIEWERS {
        let arn = arn(&format!("crowd{channel}"));
        masters.push(Peer::plain_at(broker.plain, &master_query(&arn)));
        for viewer in 0..CROWD_VIEWERS {
            let query = viewer_query(&arn, &viewer.to_string());
            let connect = || Peer::plain_at(broker.plain, &query);
            silent.push(match viewer {
                0 => connect(),
                _ => site.on(crowd, connect),
            });
        }
    }
    site.cut(crowd);
    for master in &mut masters {
        // More than a window for the one that does not read, and a message for each of the others.
        let long = "AAAA".repeat(8_000);
        let long = (0..16).map(|_| answer("0", &long));
        let short = (1..CROWD_VIEWERS).map(|viewer| answer(&viewer.to_string(), "AAAA"));
        master.send_together(&long.chain(short).collect::<Vec<_>>());
    }
    assert_delivered(&play(&site, &cases(&broker, &[1], &[5]), seconds(10)));
    let doubtful = broker.scrape().sum("heliograph_doubtful");
    assert!(doubtful >= 1_000.0, "{doubtful} of them are doubtful");
    drop((masters, silent));
}

/// Viewers that acknowledge nothing, and how many of them a channel has.
const CROWD: usize = 1_000;
const CROWD_VIEWERS: usize = 10;

/// Cases of all these times, which play for so long.
fn table(offers: &[u64], backs: &[u64], length: Duration) {
    let hosts = backs.len() * COMEBACKS.len();
    let Some(site) = Site::new(u8::try_from(hosts).expect("few")) else {
        return;
    };
    let broker = site.broker("");
    assert_delivered(&play(&site, &cases(&broker, offers, backs), length));
}

/// One host for each moment and each way to be back.
fn cases(broker: &Broker, offers: &[u64], backs: &[u64]) -> Vec<Case> {
    let mut cases = Vec::new();
    for (nth, back) in backs.iter().enumerate() {
        for (way, comeback) in COMEBACKS.into_iter().enumerate() {
            for offer in offers {
                for door in Door::both(broker) {
                    cases.push(Case {
                        arn: arn(&format!("cut{}", cases.len())),
                        camera: door.clone(),
                        viewer: door,
                        host: nth * COMEBACKS.len() + way,
                        offer: seconds(*offer),
                        back: seconds(*back),
                        comeback,
                    });
                }
            }
        }
    }
    cases
}

pub(crate) const COMEBACKS: [Comeback; 3] =
    [Comeback::Reset, Comeback::Silence, Comeback::OtherAddress];
