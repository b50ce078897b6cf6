//! The classes of worlds: what is meant to happen, and what must not.

use crate::cluster::aimed;
use crate::cluster::net::ETCD;
use crate::cluster::script::{Script, Step, either};

/// The shortest lease that nodes may ask for.
const LEASE_MS: u64 = 5_000;

/// A node's own start, reading and loading of many slots included.
const START_MS: u64 = 5_000;

/// The slots of a lost host are served this long after its registration ended: the report of the watch, absence, the
/// fallback, claims and loads.
const TAKEN_MS: u64 = 5_000;

/// All slots are served this long after the last fault.
pub(crate) const SETTLED_MS: u64 = 15_000;

/// The same where survivors were restarted: they leave the slots of those that they never reached for 30 s.
pub(crate) const SETTLED_AFTER_START_MS: u64 = 33_000;

impl Script {
    /// The script of a world.
    pub(crate) fn new(rng: &mut fastrand::Rng) -> Self {
        let members = match rng.u32(..2_000) {
            0 => 100,
            1..10 => rng.usize(10..40),
            10..40 => rng.usize(6..10),
            _ => *rng.choice([2, 2, 3, 3, 3, 3, 4, 5].iter()).unwrap_or(&3),
        };
        let slots = match rng.u32(..1_000) {
            0..4 => rng.u16(64..512),
            4..100 => rng.u16(9..32),
            _ => rng.u16(1..9),
        };
        let delay_max = *rng.choice([2, 10, 40, 40, 200, 400].iter()).unwrap_or(&10);
        let mut script = Self::of(members, slots, delay_max);
        script.sends_again = rng.bool();
        script.lease_ms = *rng
            .choice([5_000, 5_000, 6_000, 10_000].iter())
            .unwrap_or(&LEASE_MS);
        script.asked_ms = *rng
            .choice([LEASE_MS, script.lease_ms].iter())
            .unwrap_or(&LEASE_MS);
        match rng.u32(..100) {
            0..40 => chaos(&mut script, rng),
            40..58 => nothing_moves(&mut script, rng),
            58..68 => host_lost(&mut script, rng),
            68..76 => drains(&mut script, rng),
            76..82 => joins(&mut script, rng),
            82..87 => rolled_back(&mut script, rng),
            87..91 => new_cluster(&mut script, rng),
            _ => aimed::aim(&mut script, rng),
        }
        let lags = rng.u8(..4) == 0 && script.unserved_max.is_none();
        script.lag = (0..script.hosts)
            .map(|_| if lags { rng.u64(..800) } else { 0 })
            .collect();
        // Steps of one moment keep their order.
        script.steps.sort_by_key(|(at, _)| *at);
        script
    }

    /// A script of which nothing happens so far.
    pub(crate) fn of(members: usize, slots: u16, delay_max: u64) -> Self {
        Self {
            class: "chaos",
            hosts: members,
            members,
            slots,
            delay_max,
            asked_ms: LEASE_MS,
            lease_ms: LEASE_MS,
            begins: START_MS + loads_ms(slots),
            ..Self::default()
        }
    }

    /// No slot is unserved for longer than this, in milliseconds, beyond what loading many slots takes.
    pub(crate) fn unserved(&mut self, most: u64) {
        self.unserved_max = Some(most + loads_ms(self.slots));
    }

    /// All faults are over at `at`, and all slots are served `settled_ms` later.
    pub(crate) fn heals(&mut self, at: u64, settled_ms: u64) {
        self.steps.push((at, Step::Heal));
        self.settled = at + settled_ms + loads_ms(self.slots);
        self.ends = self.settled + 3_000;
    }
}

/// The time that it takes to load all slots on one node, eight at a time, beyond the first eight.
fn loads_ms(slots: u16) -> u64 {
    u64::from(slots.saturating_sub(8)) * 60
}

/// Faults of every kind, at once.
fn chaos(script: &mut Script, rng: &mut fastrand::Rng) {
    let window = rng.u64(5_000..30_000);
    let last = script.begins + window;
    let mut lost = 0;
    let mut is_slow = false;
    for _ in 0..rng.u32(1..7) {
        let at = rng.u64(script.begins..last);
        let fault = Fault {
            at,
            until: at + rng.u64(200..25_000),
            host: rng.usize(..script.hosts),
            other: rng.usize(..script.hosts),
        };
        let kind = rng.u32(..24);
        if !link_fault(script, rng, kind, &fault) && !etcd_fault(script, rng, kind, &fault) {
            is_slow |= process_fault(script, rng, kind, &fault, &mut lost);
        }
    }
    let settled = if is_slow {
        SETTLED_AFTER_START_MS
    } else {
        SETTLED_MS
    };
    script.heals(last, settled);
}

/// When a fault begins and ends, and whom it is about.
struct Fault {
    at: u64,
    until: u64,
    host: usize,
    other: usize,
}

/// A fault of the network; false if `kind` is another.
fn link_fault(script: &mut Script, rng: &mut fastrand::Rng, kind: u32, fault: &Fault) -> bool {
    let Fault {
        at,
        until,
        host,
        other,
    } = *fault;
    match kind {
        0 | 1 => script.cut_off(host, at, until),
        2 | 3 if host != other => script.cut_both(host, other, at, until),
        4 if host != other => script.cut(host, other, at, until),
        5 | 6 => script.cut_both(host, ETCD, at, until),
        7 => {
            let ways = either(rng, (host, ETCD), (ETCD, host));
            script.cut(ways.0, ways.1, at, until);
        }
        8 => split(script, rng, at, until),
        _ => return false,
    }
    true
}

/// A fault of etcd; false if `kind` is another.
fn etcd_fault(script: &mut Script, rng: &mut fastrand::Rng, kind: u32, fault: &Fault) -> bool {
    let Fault {
        at, until, host, ..
    } = *fault;
    match kind {
        15 | 16 => {
            script.at(at, either(rng, Step::EtcdDown, Step::EtcdFreeze));
            script.at(until, Step::EtcdUp(rng.bool()));
        }
        17 => script.at(at, Step::RevokeAll),
        18 => script.at(at, Step::Revoke(host)),
        19 => {
            script.at(at, Step::Blind(host));
            let sees = at + rng.u64(100..3_000);
            script.at(sees, Step::See(host));
        }
        20 => {
            script.at(at, Step::Compact);
            script.at(at, Step::EndWatches);
        }
        21 => script.during(at, until, Step::Full(true), Step::Full(false)),
        _ => return false,
    }
    true
}

/// Any other fault. True if it may take the grace of a start, or of a drain, until all slots are served.
fn process_fault(
    script: &mut Script,
    rng: &mut fastrand::Rng,
    kind: u32,
    fault: &Fault,
    lost: &mut usize,
) -> bool {
    let Fault {
        at, until, host, ..
    } = *fault;
    match kind {
        9 | 10 => {
            script.at(at, either(rng, Step::Stop(host), Step::Freeze(host)));
            script.at(until, Step::Continue(host));
            return false;
        }
        11 => {
            script.during(at, until, Step::Stick(host), Step::Unstick(host));
            return false;
        }
        12 | 13 => {
            script.at(at, Step::Kill(host));
            let starts = at + rng.u64(40..3_000);
            script.at(starts, Step::Start(host));
        }
        14 if *lost + 1 < script.members => {
            *lost += 1;
            script.at(at, Step::Lose(host));
            if rng.bool() {
                let directory = 1_000 + rng.u32(..9_000);
                script.at(until, Step::Replace(host, directory));
            }
        }
        22 => script.during(at, until, Step::CannotLoad(host), Step::CanLoad(host)),
        23 if *lost + 1 < script.members => {
            *lost += 1;
            script.at(at, either(rng, Step::Remove(host), Step::Drain(host)));
        }
        _ => {
            script.at(at, Step::EndWatches);
            return false;
        }
    }
    true
}

/// The network falls into two parts; etcd stays with one of them, or with none.
fn split(script: &mut Script, rng: &mut fastrand::Rng, at: u64, until: u64) {
    let sides: Vec<bool> = (0..script.hosts).map(|_| rng.bool()).collect();
    let etcd = rng.u8(..3);
    for one in 0..script.hosts {
        for other in one + 1..script.hosts {
            if sides[one] != sides[other] {
                script.cut_both(one, other, at, until);
            }
        }
        if etcd == 2 || (etcd == 1) != sides[one] {
            script.cut_both(one, ETCD, at, until);
        }
    }
}

/// One fault that must move nothing and that no client may notice.
fn nothing_moves(script: &mut Script, rng: &mut fastrand::Rng) {
    script.class = "nothing moves";
    script.delay_max = script.delay_max.min(40);
    let at = script.begins + rng.u64(500..3_000);
    let until = at + rng.u64(500..30_000);
    let host = rng.usize(..script.hosts);
    let other = (host + 1) % script.hosts;
    match rng.u32(..9) {
        0 => {
            script.at(at, Step::EtcdDown);
            script.at(until, Step::EtcdUp(rng.bool()));
        }
        1 => {
            script.at(at, Step::EtcdFreeze);
            script.at(until, Step::EtcdUp(rng.bool()));
        }
        2 => script.at(at, either(rng, Step::RevokeAll, Step::Revoke(host))),
        3 => script.cut_both(host, other, at, until),
        4 => script.cut_both(host, ETCD, at, until),
        5 => {
            script.at(at, Step::Compact);
            script.at(at, Step::EndWatches);
            script.at(at + 100, Step::RevokeAll);
        }
        6 => script.during(at, until, Step::Full(true), Step::Full(false)),
        7 => script.during(at, at + 2_500, Step::Blind(host), Step::See(host)),
        // Every process ends at once, as after a power cut, and all are back within 30 s of the first.
        _ => {
            let lasts = rng.u64(100..15_000);
            let spread = rng.u64(1_000..27_000);
            for host in 0..script.hosts {
                script.during(
                    at,
                    at + lasts + rng.u64(..8_000),
                    Step::Kill(host),
                    Step::Start(host),
                );
            }
            script.moves_max = Some(0);
            return script.heals(at + lasts + spread, SETTLED_MS);
        }
    }
    script.moves_max = Some(0);
    script.unserved_max = Some(0);
    script.heals(until.max(at + 3_000), 6_000);
}

/// A host is lost, or its process killed: others take its slots, or it takes them again.
fn host_lost(script: &mut Script, rng: &mut fastrand::Rng) {
    script.class = "host lost";
    let at = script.begins + rng.u64(..3_000);
    let host = rng.usize(..script.hosts);
    if rng.bool() {
        script.at(at, Step::Lose(host));
        script.unserved(script.lease_ms + TAKEN_MS);
        if rng.bool() {
            script.at(at + rng.u64(100..20_000), Step::Replace(host, 5_000));
        }
        return script.heals(at, SETTLED_MS + rng.u64(..8_000));
    }
    script.during(
        at,
        at + rng.u64(33..500),
        Step::Kill(host),
        Step::Start(host),
    );
    script.moves_max = Some(0);
    script.unserved(3_500);
    script.heals(at, 6_000);
}

/// One node after the other is drained and started again.
fn drains(script: &mut Script, rng: &mut fastrand::Rng) {
    script.class = "drains";
    script.delay_max = script.delay_max.min(200);
    script.none_lost = true;
    script.moves_once = true;
    script.unserved(4_000);
    let mut at = script.begins;
    let drained = rng.usize(1..=script.hosts.min(3));
    for host in 0..drained {
        at += rng.u64(1_000..3_000);
        script.at(at, Step::Operation);
        script.at(at, Step::Drain(host));
        at += 6_000 + u64::from(script.slots) * 300;
        script.at(at, Step::Start(host));
    }
    script.heals(at, 6_000);
}

/// Nodes join, and stay empty until slots are spread.
fn joins(script: &mut Script, rng: &mut fastrand::Rng) {
    script.class = "joins";
    script.delay_max = script.delay_max.min(200);
    script.members = rng.usize(1..=script.hosts.min(5));
    script.hosts = script.members + rng.usize(1..4);
    script.none_lost = true;
    let at = script.begins + rng.u64(..2_000);
    for host in script.members..script.hosts {
        script.at(at + rng.u64(..3_000), Step::Start(host));
    }
    script.unserved(4_000);
    let asked = at + 6_000;
    if rng.bool() {
        script.moves_max = Some(0);
        return script.heals(asked, 12_000);
    }
    script.moves_once = true;
    script.moves_max = Some(u64::from(script.slots));
    script.at(asked, Step::Operation);
    script.at(asked, Step::Rebalance);
    script.heals(asked, 8_000 + u64::from(script.slots) * 200);
}

/// etcd comes back from a backup; later the operator accepts it.
fn rolled_back(script: &mut Script, rng: &mut fastrand::Rng) {
    script.class = "rolled back";
    script.delay_max = script.delay_max.min(200);
    let backup = script.begins + rng.u64(..1_000);
    script.at(backup, Step::BackUp);
    let restored = backup + rng.u64(1_000..6_000);
    for _ in 0..rng.u32(1..4) {
        let host = rng.usize(..script.hosts);
        let between = rng.u64(backup..restored);
        script.at(between, either(rng, Step::Revoke(host), Step::Rebalance));
    }
    script.at(restored, Step::Restore(either(rng, 1, 2)));
    let mut at = restored + rng.u64(1_000..25_000);
    if rng.bool() {
        let host = rng.usize(..script.hosts);
        script.at(rng.u64(restored..at), Step::Kill(host));
    }
    script.at(at, Step::Accept);
    at += 1_000;
    script.heals(at, SETTLED_AFTER_START_MS);
}

/// A cluster that nobody ever used.
fn new_cluster(script: &mut Script, rng: &mut fastrand::Rng) {
    script.class = "new cluster";
    script.is_new = true;
    script.moves_max = Some(0);
    script.begins += 11_500 + 2 * script.delay_max;
    let late = rng.usize(..script.hosts);
    if late > 0 && rng.bool() {
        script.during(1, rng.u64(500..20_000), Step::Kill(late), Step::Start(late));
    }
    script.heals(script.begins, 12_000);
}
