//! The table of cases: when the viewer offers, when the camera is back, and what answers at its old port.

use super::cameras::{Case, Comeback, assert_delivered, play};
use super::seconds;
use super::site::{Door, Site};
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
