//! Cameras that begin again while their machine goes on: it has confirmed what they never read, or answered.

use super::cameras::{Case, Comeback, assert_delivered, play};
use super::site::{Door, Site};
use super::{VIEWER, seconds, texts};
use crate::peer::{Peer, master_query, offer, to_master, viewer_query};
use crate::process::{Broker, arn};
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};
use testkit::until_true;

/// Its kernel has sent FIN into the cut, and answers what comes later by RST.
#[test]
#[ignore = "needs root"]
fn what_comes_after_the_end_of_a_process_goes_to_the_next_one() {
    let Some(site) = Site::new(1) else { return };
    let broker = site.broker("");
    let case = |door: Door| Case {
        arn: arn(&format!("ended-{}", door.name())),
        camera: door.clone(),
        viewer: door,
        host: 0,
        offer: seconds(1),
        back: seconds(5),
        comeback: Comeback::Ended,
    };
    let cases = Door::both(&broker).map(case);
    assert_delivered(&play(&site, &cases, seconds(10)));
}

/// An offer that was delivered and not answered is given once more, and no second time.
#[test]
#[ignore = "the long check all-hosts runs it"]
fn a_camera_that_restarts_without_an_answer_gets_the_offer_once_more() {
    let broker = Broker::dev(2);
    let lost: Vec<String> = thread::scope(|scope| {
        let mut waits = Vec::new();
        for end in [Ending::Crash, Ending::HalfClose, Ending::Reload] {
            for door in Door::both(&broker) {
                let broker = &broker;
                waits.push(scope.spawn(move || end.restart(broker, &door).err()));
            }
        }
        let waits = waits.into_iter();
        waits
            .filter_map(|it| it.join().expect("a restart"))
            .collect()
    });
    assert!(lost.is_empty(), "{lost:#?}");
}

/// The end of a camera's program.
#[derive(Clone, Copy, Debug)]
enum Ending {
    /// The machine has the offer, the program has not read it: RST.
    Crash,
    /// The same, with FIN.
    HalfClose,
    /// A page that has read it closes properly and connects again.
    Reload,
}

impl Ending {
    /// The error is what the later connections got instead.
    fn restart(self, broker: &Broker, door: &Door) -> Result<(), String> {
        let arn = arn(&format!("{self:?}-{}", door.name()));
        let master = || door.connect(&master_query(&arn));
        let payload = "b2Zm".repeat(500);
        let camera = master();
        let mut viewer = door.connect(&viewer_query(&arn, VIEWER));
        viewer.send(&offer(&payload));
        viewer.expect_silence();
        // A machine acknowledges some milliseconds late what its program does not read.
        until_true("a confirmation of all", || {
            broker.scrape().sum("heliograph_written_messages") == 0.0
        });
        let given = to_master("SDP_OFFER", &payload, VIEWER);
        let rest = self.end(camera, &given);
        let mut next = master();
        let connected = Instant::now();
        let repeated = next.texts_until(connected + REPEATED);
        next.close();
        let again = master().texts_until(Instant::now() + REPEATED);
        drop(rest);
        eprintln!(
            "{self:?}, {}: {} and {} offers",
            door.name(),
            repeated.len(),
            again.len()
        );
        match (&texts(&repeated)[..], &texts(&again)[..]) {
            ([once], []) if *once == given => Ok(()),
            other => Err(format!("{self:?}, {}: {other:?}", door.name())),
        }
    }

    /// Ends the camera, whose machine has the offer; returns what is left of it.
    fn end(self, mut camera: Peer, given: &str) -> Option<Peer> {
        let mut buffer = vec![0; given.len()];
        until_true("the offer", || {
            let peeked = camera.tcp().peek(&mut buffer);
            peeked.is_ok_and(|there| there == given.len())
        });
        match self {
            Self::Crash => None,
            Self::HalfClose => {
                let ended = camera.tcp().shutdown(Shutdown::Write);
                ended.expect("a connection");
                Some(camera)
            }
            Self::Reload => {
                camera.expect(given);
                camera.close();
                None
            }
        }
    }
}

/// An offer is repeated to a connection that has been open for 2 s.
const REPEATED: Duration = seconds(4);
