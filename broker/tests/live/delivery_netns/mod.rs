//! Messages that were written to a machine which never confirmed them: its link is cut without FIN, RST or ICMP. They
//! go to its next connection, in order, once. `deploy/ci/check.sh` runs these by name; most are for root only.
//!
//! * [`site`]: the broker's host and those of its clients, namespaces of this machine.
//! * [`cameras`]: cameras that are cut off and come back while viewers offer, as a table of cases on one clock.
//! * [`cuts`]: the table itself; [`through`]: behind another node, and behind a proxy.
//! * [`roaming`]: viewers that change their network; [`radio`]: a camera that sleeps.
//! * [`lossy`]: a camera behind a link that loses packets.
//! * [`restarts`]: cameras that begin again while their machine goes on.

mod cameras;
mod cuts;
mod far;
mod lossy;
mod radio;
mod restarts;
mod roaming;
mod site;
mod through;

use crate::peer::{candidate, offer, to_master};
use std::thread;
use std::time::{Duration, Instant};

/// A viewer's offer and its candidates.
fn offer_with_candidates() -> [String; 4] {
    let [first, second, third] = CANDIDATES.map(candidate);
    [offer(OFFER), first, second, third]
}

/// The same, as a master gets it.
fn from_viewer() -> [String; 4] {
    let [first, second, third] = CANDIDATES.map(|one| to_master("ICE_CANDIDATE", one, VIEWER));
    [to_master("SDP_OFFER", OFFER, VIEWER), first, second, third]
}

/// The texts without the times of their arrival.
fn texts(arrived: &[(Instant, String)]) -> Vec<&str> {
    arrived.iter().map(|(_, text)| text.as_str()).collect()
}

/// Waits for a moment of a scenario.
fn sleep_until(moment: Instant) {
    thread::sleep(moment.saturating_duration_since(Instant::now()));
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const VIEWER: &str = "phone";
const OFFER: &str = "b2ZmZXI=";
const CANDIDATES: [&str; 3] = ["Y2Fu0001", "Y2Fu0002", "Y2Fu0003"];
