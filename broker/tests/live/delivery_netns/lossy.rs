//! A camera behind a link with two seconds of round trip that loses a fifth of all packets: it is there, and those who
//! watch it are not told the contrary again and again.

use super::site::{Door, Site};
use super::{VIEWER, seconds, sleep_until};
use crate::hooks::receiver::{Event, Receiver, ok};
use crate::hooks::{BOTH, text_of};
use crate::peer::{candidate, master_query, viewer_query};
use crate::process::{arn, fresh_directory};
use std::fs;
use std::time::{Duration, Instant};

#[test]
#[ignore = "needs root"]
fn a_camera_behind_a_lossy_link_is_told_gone_a_bounded_number_of_times() {
    let Some(site) = Site::new(1) else {
        return;
    };
    let receiver = Receiver::start(ok);
    let directory = fresh_directory();
    let url = receiver.url("/hook");
    let broker = site.broker(&text_of(&directory, &[("home", &url, BOTH)]));
    let [plain, _] = Door::both(&broker);
    let arn = arn("cam-far");
    let mut link = site.slow_link(0, Duration::from_secs(1), 20);
    let mut camera = site.on(0, || plain.connect(&master_query(&arn)));
    let mut viewer = plain.connect(&viewer_query(&arn, VIEWER));
    link.lose();
    let begin = Instant::now();
    let end = begin + LENGTH;
    let mut heard = 0;
    for number in 1.. {
        let next = begin + number * STEP;
        if next > end {
            break;
        }
        viewer.send(&candidate(&format!("{number:08}")));
        heard += camera.texts_until(next).len();
    }
    sleep_until(end);
    let events = receiver.all();
    let told = |cause: &str| {
        let of_cause = |event: &&Event| event.data()["cause"] == cause;
        events.iter().filter(of_cause).count()
    };
    let (left, confirmed) = (told("master.left"), told("master.confirmed"));
    eprintln!("{heard} messages in {LENGTH:?}; left {left} times, confirmed {confirmed} times");
    assert!(heard > 30, "the link carries most of 40: {heard}");
    assert!(
        left <= GONE_MAX && confirmed <= left,
        "left {left} times, confirmed {confirmed}"
    );
    let _ = fs::remove_dir_all(&directory);
}

const LENGTH: Duration = seconds(600);
const STEP: Duration = seconds(15);

/// Three times in ten minutes, and once more while it has to confirm for a minute.
const GONE_MAX: usize = 4;
