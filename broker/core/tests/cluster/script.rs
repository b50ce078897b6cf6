//! The script of a world: its class, its faults and when they end, and the events that must not happen meanwhile.

use crate::cluster::host::Pause;
use crate::cluster::net::ETCD;
use crate::cluster::world::{EtcdState, World};
use broker_core::cluster::message::NodeInput;
use broker_core::cluster::types::EtcdId;

/// A world's plan.
#[derive(Debug, Default)]
pub(crate) struct Script {
    pub(crate) class: &'static str,
    /// All hosts, and how many of them belong to the cluster from the beginning.
    pub(crate) hosts: usize,
    pub(crate) members: usize,
    pub(crate) slots: u16,
    pub(crate) delay_max: u64,
    /// The lease that nodes ask for, and the one that etcd grants.
    pub(crate) asked_ms: u64,
    pub(crate) lease_ms: u64,
    pub(crate) sends_again: bool,
    /// No slot ever had an owner.
    pub(crate) is_new: bool,
    /// By how much each watch lags.
    pub(crate) lag: Vec<u64>,
    pub(crate) steps: Vec<(u64, Step)>,
    /// All slots are served from here on, except for what faults do.
    pub(crate) begins: u64,
    /// Whatever happened, all slots are served from here on.
    pub(crate) settled: u64,
    pub(crate) ends: u64,
    pub(crate) moves_max: Option<u64>,
    pub(crate) moves_once: bool,
    pub(crate) unserved_max: Option<u64>,
    pub(crate) none_lost: bool,
    /// Hosts of another secret: they never own a slot.
    pub(crate) strangers: Vec<usize>,
    /// Hosts whose processes have ended by themselves in the end.
    pub(crate) ended: Vec<usize>,
    /// Hosts that serve all that they own, whatever happens to others.
    pub(crate) steady: Vec<usize>,
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Cut(usize, usize),
    Mend(usize, usize),
    /// The process ends at once; its host refuses connections.
    Kill(usize),
    /// The host is gone.
    Lose(usize),
    /// The host is back, if it was gone, and the process starts.
    Start(usize),
    /// Another machine takes a lost host's name.
    Replace(usize, u32),
    /// A host starts under another one's name, on a copy of its data directory or on one of its own.
    TakeName(usize, usize, Option<u32>),
    Stop(usize),
    Freeze(usize),
    Continue(usize),
    Stick(usize),
    Unstick(usize),
    Blind(usize),
    /// Blind, and progress is reported all the same: that of etcd before 3.4.25 and 3.5.8 overtakes changes.
    Overtake(usize),
    /// Its member of etcd is cut off from the others: blind, and nothing but progress is answered.
    LoseMember(usize),
    See(usize),
    /// The watch lags by this many milliseconds.
    Lag(usize, u64),
    CannotLoad(usize),
    CanLoad(usize),
    EtcdDown,
    EtcdFreeze,
    /// etcd works again; all registrations are lost, or begin again.
    EtcdUp(bool),
    RevokeAll,
    Revoke(usize),
    Compact,
    EndWatches,
    Full(bool),
    /// This percentage of packets is lost, and sent again.
    LosePackets(u8),
    BackUp,
    /// etcd is rolled back to the backup, and has this id.
    Restore(u64),
    /// All nodes are stopped and started again; the operator accepts etcd as it is.
    Accept,
    Drain(usize),
    Rebalance,
    Remove(usize),
    /// Moves are counted from here on.
    Operation,
    /// All faults are over.
    Heal,
}

impl Step {
    pub(crate) fn happens(self, world: &mut World) {
        match self {
            Self::Cut(from, to) => world.net.cut(from, to),
            Self::Mend(from, to) => {
                world.net.mend(from, to);
                world.release();
            }
            Self::Kill(host) => world.end_process(host),
            Self::Lose(host) => {
                world.end_process(host);
                world.hosts[host].is_up = false;
                world.hosts[host].is_wanted = false;
            }
            Self::Start(host) => {
                world.hosts[host].is_up = true;
                world.start(host);
            }
            Self::Replace(host, directory) => {
                if world.hosts[host].cluster.is_none() {
                    world.hosts[host].replace(directory);
                    world.start(host);
                }
            }
            Self::TakeName(host, of, directory) => {
                let [new, known] = world.hosts.get_disjoint_mut([host, of]).expect("two hosts");
                new.takes_name(known, directory);
                world.start(host);
            }
            Self::Stop(host) => pause(world, host, Pause::Stopped),
            Self::Freeze(host) => {
                let since = world.now;
                pause(world, host, Pause::Frozen { since });
            }
            Self::Continue(host) => {
                let now = world.now;
                world.hosts[host].thaw(now);
                world.release();
            }
            Self::Stick(host) => world.hosts[host].is_stuck = true,
            Self::Unstick(host) => world.hosts[host].is_stuck = false,
            Self::Blind(host) => world.hosts[host].is_blind = true,
            Self::Lag(host, lag) => world.script.lag[host] = lag,
            Self::Overtake(host) => {
                world.hosts[host].is_blind = true;
                world.hosts[host].is_overtaken = true;
            }
            Self::LoseMember(host) => {
                world.hosts[host].is_blind = true;
                world.hosts[host].member_is_alone = true;
            }
            Self::See(host) => {
                world.hosts[host].sees();
                world.deliver(host);
            }
            Self::CannotLoad(host) => world.hosts[host].cannot_load = true,
            Self::CanLoad(host) => world.hosts[host].cannot_load = false,
            other => other.happens_to_cluster(world),
        }
    }

    /// A step of etcd, of the operator, or of the whole.
    fn happens_to_cluster(self, world: &mut World) {
        match self {
            Self::EtcdDown => world.etcd_state = EtcdState::Down,
            Self::EtcdFreeze => world.etcd_state = EtcdState::Frozen,
            Self::EtcdUp(revokes) => etcd_up(world, revokes),
            Self::RevokeAll => {
                world.etcd.revoke_all();
                world.check.unforeseen = Some(world.now);
                world.publish();
            }
            Self::Revoke(host) => {
                let node = world.hosts[host].node;
                world.etcd.revoke(node);
                world.check.unforeseen = Some(world.now);
                world.publish();
            }
            Self::Compact => world.etcd.compact(),
            Self::EndWatches => world.end_watches(),
            Self::LosePackets(percent) => world.net.lost_percent = percent,
            Self::Full(true) => world.etcd.is_full = true,
            Self::Full(false) => has_room(world),
            Self::BackUp => world.etcd.back_up(),
            Self::Restore(id) => {
                let now = world.now;
                world.etcd.restore(EtcdId(id), now);
                world.publish();
                world.end_watches();
            }
            Self::Accept => {
                world.check.forgets_history();
                for host in 0..world.hosts.len() {
                    world.end_process(host);
                    world.hosts[host].accept();
                    if world.hosts[host].is_up && world.hosts[host].is_wanted {
                        world.push_in(500, Self::Start(host));
                    }
                }
            }
            Self::Drain(host) => {
                if world.hosts[host].runs() {
                    world.input(host, NodeInput::Drain);
                }
            }
            Self::Rebalance => {
                for host in 0..world.hosts.len() {
                    if world.hosts[host].runs() {
                        world.input(host, NodeInput::Rebalance);
                    }
                }
            }
            Self::Remove(host) => {
                let node = world.hosts[host].node;
                world.etcd.remove(node);
                world.hosts[host].is_wanted = false;
                world.publish();
            }
            Self::Operation => world.check.begins_operation(),
            Self::Heal => heal(world),
            other => unreachable!("{other:?}"),
        }
    }
}

fn pause(world: &mut World, host: usize, pause: Pause) {
    if world.hosts[host].runs() {
        world.hosts[host].pause = pause;
    }
}

/// etcd takes changes again, if it took none.
fn has_room(world: &mut World) {
    if world.etcd.is_full {
        world.check.unforeseen = Some(world.now);
    }
    world.etcd.is_full = false;
}

fn etcd_up(world: &mut World, revokes: bool) {
    if world.etcd_state == EtcdState::Up {
        return;
    }
    let was_down = world.etcd_state == EtcdState::Down;
    world.etcd_state = EtcdState::Up;
    if revokes {
        world.etcd.revoke_all();
        world.check.unforeseen = Some(world.now);
    } else {
        let now = world.now;
        world.etcd.extend_all(now);
    }
    world.publish();
    if was_down {
        world.end_watches();
    } else {
        for host in 0..world.hosts.len() {
            world.deliver(host);
        }
    }
    world.release();
}

fn heal(world: &mut World) {
    world.net.mend_all();
    let now = world.now;
    for number in 0..world.hosts.len() {
        let host = &mut world.hosts[number];
        host.thaw(now);
        host.is_stuck = false;
        host.sees();
        host.cannot_load = false;
        if host.is_wanted && host.is_up && host.cluster.is_none() {
            world.start(number);
        }
    }
    has_room(world);
    etcd_up(world, false);
    for host in 0..world.hosts.len() {
        world.deliver(host);
    }
    world.release();
}

impl Script {
    /// Something happens at a moment.
    pub(crate) fn at(&mut self, at: u64, step: Step) {
        self.steps.push((at, step));
    }

    /// A fault begins at a moment, and ends at a later one.
    pub(crate) fn during(&mut self, from: u64, until: u64, begins: Step, ends: Step) {
        self.at(from, begins);
        self.at(until, ends);
    }

    /// Cuts one way between two ends.
    pub(crate) fn cut(&mut self, one: usize, other: usize, from: u64, until: u64) {
        self.during(from, until, Step::Cut(one, other), Step::Mend(one, other));
    }

    /// Cuts both ways between two ends.
    pub(crate) fn cut_both(&mut self, one: usize, other: usize, from: u64, until: u64) {
        self.cut(one, other, from, until);
        self.cut(other, one, from, until);
    }

    /// Cuts a host off from all others, but not from etcd.
    pub(crate) fn isolate(&mut self, host: usize, from: u64, until: u64) {
        for other in (0..self.hosts).filter(|other| *other != host) {
            self.cut_both(host, other, from, until);
        }
    }

    /// Cuts a host off from everybody.
    pub(crate) fn cut_off(&mut self, host: usize, from: u64, until: u64) {
        self.cut_both(host, ETCD, from, until);
        self.isolate(host, from, until);
    }
}

/// One of two, by chance.
pub(crate) fn either<T>(rng: &mut fastrand::Rng, one: T, other: T) -> T {
    if rng.bool() { one } else { other }
}
