//! Cameras that are cut off and come back while viewers offer: cases that play at once, each with a channel of its own.

use super::site::{Door, Site};
use super::{from_viewer, offer_with_candidates, sleep_until, texts};
use crate::peer::{Peer, master_query, viewer_query};
use socket2::{SockFilter, SockRef};
use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

/// One camera, one viewer. Times count from the cut.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) arn: String,
    pub(crate) camera: Door,
    pub(crate) viewer: Door,
    /// The camera's: all cameras of a host come back at one moment.
    pub(crate) host: usize,
    /// When the viewer offers.
    pub(crate) offer: Duration,
    /// When the camera connects again.
    pub(crate) back: Duration,
    pub(crate) comeback: Comeback,
}

/// The state of a camera's machine after a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comeback {
    /// It began again: packets to the old port are answered by RST.
    Reset,
    /// What comes to the old port is lost for good.
    Silence,
    /// It has another address, and what goes to the old one is lost.
    OtherAddress,
    /// Its process ended during the cut: its kernel still has the old connection's FIN to send.
    Ended,
}

/// The outcome of a case.
pub(crate) struct Outcome {
    pub(crate) case: Case,
    /// Texts on the camera's second connection, with the times of their arrival.
    pub(crate) arrived: Vec<(Instant, String)>,
    /// When both the offer was sent and the camera was back.
    possible: Instant,
}

/// Plays all cases from one cut on, for so long.
pub(crate) fn play(site: &Site, cases: &[Case], length: Duration) -> Vec<Outcome> {
    let cameras: Vec<Peer> = cases
        .iter()
        .map(|case| site.on(case.host, || case.connect_camera()))
        .collect();
    let mut viewers: Vec<Peer> = cases
        .iter()
        .map(|case| case.viewer.connect(&viewer_query(&case.arn, super::VIEWER)))
        .collect();
    let hosts: BTreeSet<usize> = cases.iter().map(|case| case.host).collect();
    for host in hosts {
        site.cut(host);
    }
    let kept: Vec<Option<Peer>> = cases
        .iter()
        .zip(cameras)
        .map(|(case, camera)| case.comeback.leave(camera))
        .collect();
    let cut = Instant::now();
    let moments: BTreeSet<Duration> = cases
        .iter()
        .flat_map(|case| [case.offer, case.back])
        .collect();
    let outcomes = thread::scope(|scope| {
        let mut waits = Vec::new();
        for moment in moments {
            sleep_until(cut + moment);
            let back = cases.iter().filter(|case| case.back == moment);
            let hosts: BTreeSet<usize> = back.clone().map(|case| case.host).collect();
            for host in hosts {
                let is_elsewhere = |case: &&Case| case.comeback == Comeback::OtherAddress;
                match back
                    .clone()
                    .find(|case| case.host == host)
                    .filter(is_elsewhere)
                {
                    Some(_) => site.mend_elsewhere(host),
                    None => site.mend(host),
                }
            }
            for case in back {
                waits.push(scope.spawn(move || case.come_back(site, cut, cut + length)));
            }
            for (case, viewer) in cases.iter().zip(&mut viewers) {
                if case.offer == moment {
                    viewer.send_together(&offer_with_candidates());
                }
            }
        }
        let waits = waits.into_iter();
        waits.map(|it| it.join().expect("it came back")).collect()
    });
    drop(kept);
    outcomes
}

impl Case {
    fn connect_camera(&self) -> Peer {
        self.camera.connect(&master_query(&self.arn))
    }

    fn come_back(&self, site: &Site, cut: Instant, end: Instant) -> Outcome {
        let mut camera = site.on(self.host, || self.connect_camera());
        let connected = Instant::now();
        Outcome {
            case: self.clone(),
            arrived: camera.texts_until(end),
            possible: connected.max(cut + self.offer),
        }
    }
}

impl Comeback {
    /// Has a connection of a host that is cut off be as it says; returns it where it stays open.
    pub(crate) fn leave(self, camera: Peer) -> Option<Peer> {
        let socket = SockRef::from(camera.tcp());
        match self {
            Self::Reset => {
                // RST, which is lost, and nothing is left of it.
                let set = socket.set_linger(Some(Duration::ZERO));
                set.expect("a socket");
                None
            }
            Self::Silence => {
                lose_all(&socket);
                Some(camera)
            }
            Self::OtherAddress => Some(camera),
            Self::Ended => None,
        }
    }
}

/// Has the kernel lose what comes to a socket before TCP sees it.
fn lose_all(socket: &SockRef<'_>) {
    // BPF_RET | BPF_K: nothing of a packet is kept.
    let attached = socket.attach_filter(&[SockFilter::new(0x06, 0, 0, 0)]);
    attached.expect("a filter");
}

impl Outcome {
    /// Offer and candidates, in order, once, and nothing else.
    pub(crate) fn is_delivered(&self) -> bool {
        texts(&self.arrived) == from_viewer()
    }

    /// One line of a table.
    fn print(&self) {
        let case = &self.case;
        let (offer, back) = (case.offer.as_secs(), case.back.as_secs());
        let is_control = if back < offer { ", control" } else { "" };
        let said = match self.arrived.last() {
            Some((last, _)) if self.is_delivered() => {
                let after = last.saturating_duration_since(self.possible);
                format!("delivered within {after:?}")
            }
            _ => format!("not delivered, but {:?}", texts(&self.arrived)),
        };
        eprintln!(
            "offer {offer} s, back {back} s, {:?}, {}{is_control}: {said}",
            case.comeback,
            case.camera.name()
        );
    }
}

/// Each case is delivered; all outcomes are printed.
pub(crate) fn assert_delivered(outcomes: &[Outcome]) {
    outcomes.iter().for_each(Outcome::print);
    let lost = outcomes.iter().filter(|outcome| !outcome.is_delivered());
    let lost = lost.count();
    assert_eq!(lost, 0, "not delivered, of {} cases", outcomes.len());
}
