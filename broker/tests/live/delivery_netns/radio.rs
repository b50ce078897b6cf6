//! A camera that switches its radio off and closes nothing: it is called when an offer for it is in doubt.

use super::cameras::Comeback;
use super::site::{Door, Site};
use super::{VIEWER, from_viewer, offer_with_candidates, seconds, texts};
use crate::hooks::receiver::{Receiver, ok};
use crate::hooks::{BOTH, text_of};
use crate::peer::{master_query, viewer_query};
use crate::process::{arn, directory};
use std::thread;
use std::time::{Duration, Instant};

/// Plain and over TLS, at once.
#[test]
#[ignore = "needs root"]
fn a_camera_whose_radio_is_off_is_called_for_an_offer() {
    let Some(site) = Site::new(1) else { return };
    let receiver = Receiver::start(ok);
    let directory = directory();
    let url = receiver.url("/hook");
    let broker = site.broker(&text_of(&directory, &[("home", &url, BOTH)]));
    let doors = Door::both(&broker);
    let names = ["cam-plain", "cam-tls"];
    let cameras = [0, 1].map(|nth: usize| {
        let query = master_query(&arn(names[nth]));
        site.on(0, || doors[nth].connect(&query))
    });
    site.cut(0);
    for camera in cameras {
        drop(Comeback::Reset.leave(camera));
    }
    thread::sleep(ASLEEP);
    let mut viewers =
        [0, 1].map(|nth: usize| doors[nth].connect(&viewer_query(&arn(names[nth]), VIEWER)));
    let offered = Instant::now();
    for viewer in &mut viewers {
        viewer.send_together(&offer_with_candidates());
    }
    let mut called = Vec::new();
    while called.len() < names.len() {
        let wake = receiver.next("channel.wake");
        let name = wake.data()["channel"]["name"].as_str().expect("a name");
        if !called.contains(&name.to_owned()) {
            let after = wake.at - offered;
            eprintln!("{name}: called {after:?} after the offer");
            assert!(after <= CALLED_WITHIN, "{name}: {after:?}");
            called.push(name.to_owned());
        }
    }
    site.mend(0);
    for (name, door) in names.iter().zip(&doors) {
        let query = master_query(&arn(name));
        let mut camera = site.on(0, || door.connect(&query));
        let arrived = camera.texts_until(Instant::now() + seconds(1));
        assert_eq!(texts(&arrived), from_viewer(), "{name}");
    }
}

/// From the last word of the radio to the offer.
const ASLEEP: Duration = seconds(2);

/// 2 s of doubt and one for the call are the promise; the rest is for a busy machine.
const CALLED_WITHIN: Duration = seconds(4);
