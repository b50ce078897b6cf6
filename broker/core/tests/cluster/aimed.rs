//! Worlds aimed at one rule each, which worlds of chance meet too rarely.

use crate::cluster::classes::{SETTLED_AFTER_START_MS, SETTLED_MS};
use crate::cluster::identity::namesakes;
use crate::cluster::net::ETCD;
use crate::cluster::script::{Script, Step, either};
use broker_core::cluster::limits::Spans;
use broker_core::cluster::limits::{ANNOUNCED_MS, ROUND_MS, TICK_MS};

/// The script of an aimed world.
pub(crate) fn aim(script: &mut Script, rng: &mut fastrand::Rng) {
    script.delay_max = script.delay_max.min(40);
    match rng.u32(..26) {
        0 => came_back_blind(script, rng),
        1 => lease_ends_behind_a_cut(script, rng),
        2 => late_answers(script, rng),
        3 => restarted_without_etcd(script, rng),
        4 => stuck(script, rng),
        5 => first_claimer_in_grace(script, rng),
        6 => etcd_and_a_host_lost(script, rng),
        7 => transfer_without_an_outcome(script, rng),
        8 => transfer_given_up(script, rng),
        9 => cannot_load(script, rng),
        10 => exception_behind_a_cut(script, rng),
        11 => rolled_back_in_a_transfer(script, rng),
        12 => overtaken_by_progress(script, rng),
        13 => asked_by_all(script, rng),
        14 => another_secret(script, rng),
        15 => back_in_a_takeover(script, rng),
        16 => back_while_etcd_is_full(script, rng),
        17 => namesakes::name_of_one_that_lives(script, rng),
        18 => namesakes::name_of_one_that_is_gone(script, rng),
        19 => all_end(script, rng),
        20 => flapping_links(script, rng),
        21 => stopped_by_turns(script, rng),
        22 => lost_packets(script, rng),
        23 => back_as_etcd_has_room(script, rng),
        24 => lost_with_its_member(script, rng),
        _ => another_secret_in_etcd_first(script, rng),
    }
}

/// The links of a node fail every 2 s, for as long or less. Nothing moves.
fn flapping_links(script: &mut Script, rng: &mut fastrand::Rng) {
    script.class = "flapping links";
    let host = rng.usize(..script.hosts);
    let lasts = rng.u64(200..=2_000);
    let mut at = script.begins + rng.u64(..2_000);
    for _ in 0..rng.u32(5..15) {
        script.cut_off(host, at, at + lasts);
        at += lasts + 2_000;
    }
    script.moves_max = Some(0);
    script.heals(at, 6_000);
}

/// A process stands still for 3 s in every 4. Nothing moves.
fn stopped_by_turns(script: &mut Script, rng: &mut fastrand::Rng) {
    script.class = "stopped by turns";
    let host = rng.usize(..script.hosts);
    let mut at = script.begins + rng.u64(..2_000);
    for _ in 0..rng.u32(5..15) {
        script.during(at, at + 3_000, Step::Stop(host), Step::Continue(host));
        at += 4_000;
    }
    script.moves_max = Some(0);
    script.heals(at, 6_000);
}

/// A fifth of all packets is lost, and others take up to 300 ms. Nothing moves.
fn lost_packets(script: &mut Script, rng: &mut fastrand::Rng) {
    script.class = "lost packets";
    script.delay_max = 300;
    let at = script.begins;
    let until = at + rng.u64(20_000..60_000);
    script.during(at, until, Step::LosePackets(20), Step::LosePackets(0));
    script.moves_max = Some(0);
    script.heals(until, 6_000);
}

/// A host is cut off together with a member of etcd, which goes on to report progress to it.
fn lost_with_its_member(script: &mut Script, rng: &mut fastrand::Rng) {
    script.class = "lost with its member";
    let at = script.begins + rng.u64(..2_000);
    let host = rng.usize(..script.hosts);
    let until = at + rng.u64(5_000..20_000);
    script.at(at, Step::LoseMember(host));
    script.isolate(host, at, until);
    script.at(until, Step::See(host));
    script.heals(until, SETTLED_MS);
}

/// A node is cut off until its slots are taken, and then reaches etcd first, with a watch that shows nothing.
fn came_back_blind(script: &mut Script, rng: &mut fastrand::Rng) {
    script.class = "came back blind";
    let at = script.begins + rng.u64(..2_000);
    let host = rng.usize(..script.hosts);
    let until = at + rng.u64(14_000..20_000);
    script.cut_both(host, ETCD, at, until);
    script.during(
        until - 100,
        until + rng.u64(500..3_000),
        Step::Blind(host),
        Step::See(host),
    );
    script.isolate(host, at, until + 8_000);
    script.heals(until + 8_000, SETTLED_MS);
}

/// The link between two nodes is cut for longer than a registration lives; then a lease ends without reason, while the
/// other node's watch may be blind for a moment. Nothing moves: the owner registers again at once.
fn lease_ends_behind_a_cut(script: &mut Script, rng: &mut fastrand::Rng) {
    script.class = "lease ends behind a cut";
    let at = script.begins + rng.u64(..2_000);
    let host = rng.usize(..script.hosts);
    let until = at + rng.u64(15_000..20_000);
    for other in (0..script.hosts).filter(|other| *other != host) {
        script.cut_both(host, other, at, until);
        if rng.bool() {
            let blind = until - 2_900 + rng.u64(50..100);
            script.during(blind, blind + 2_800, Step::Blind(other), Step::See(other));
        }
    }
    script.at(until - 2_900, Step::Revoke(host));
    script.moves_max = Some(0);
    script.unserved_max = Some(0);
    script.heals(until, 6_000);
}

/// Answers wait on their way for seconds, and arrive when no question gets through any more.
fn late_answers(script: &mut Script, rng: &mut fastrand::Rng) {
    script.class = "late answers";
    script.sends_again = true;
    let at = script.begins + rng.u64(..2_000);
    let host = rng.usize(..script.hosts);
    let turn = at + rng.u64(2_000..7_000);
    let until = turn + rng.u64(10_000..20_000);
    let others = (0..script.hosts).filter(|other| *other != host);
    for other in others.chain([ETCD]) {
        script.at(at, Step::Cut(other, host));
        script.at(turn, Step::Cut(host, other));
        script.at(turn, Step::Mend(other, host));
        script.at(until, Step::Mend(host, other));
    }
    script.heals(until, SETTLED_MS);
}

/// A process is restarted where it reaches its peers, but not etcd: the others take its slots.
fn restarted_without_etcd(script: &mut Script, rng: &mut fastrand::Rng) {
    script.class = "restarted without etcd";
    let at = script.begins + rng.u64(1_000..3_000);
    let host = rng.usize(..script.hosts);
    let end = at + 2 * SETTLED_MS + u64::from(script.slots) * 60;
    script.cut_both(host, ETCD, at, end);
    script.during(at, at + 100, Step::Kill(host), Step::Start(host));
    script.unserved(SETTLED_MS);
    script.heals(end, 3_000);
}

/// A shard hangs: the node serves nothing, and the others take its slots.
fn stuck(script: &mut Script, rng: &mut fastrand::Rng) {
    script.class = "stuck shard";
    let at = script.begins + rng.u64(1_000..3_000);
    let host = rng.usize(..script.hosts);
    let end = at + 2 * SETTLED_MS + u64::from(script.slots) * 60;
    script.at(at, Step::Stick(host));
    script.unserved(SETTLED_MS);
    script.heals(end, 3_000);
}

/// A host is lost and another process restarted, which never reached it: the third node takes the slots in time.
fn first_claimer_in_grace(script: &mut Script, rng: &mut fastrand::Rng) {
    script.class = "first claimer in grace";
    script.members = 3;
    script.hosts = 3;
    let at = script.begins + rng.u64(1_000..3_000);
    let host = rng.usize(..3);
    script.at(at, Step::Lose(host));
    let restarted = (host + 1) % 3;
    script.during(
        at + 50,
        at + 150,
        Step::Kill(restarted),
        Step::Start(restarted),
    );
    script.unserved(SETTLED_MS);
    script.heals(at + 150, SETTLED_MS + 5_000);
}

/// etcd is down, and later all hosts but one are lost: that one goes on.
fn etcd_and_a_host_lost(script: &mut Script, rng: &mut fastrand::Rng) {
    script.class = "etcd and hosts lost";
    let at = script.begins + rng.u64(..2_000);
    let stays = rng.usize(..script.hosts);
    script.at(at, Step::EtcdDown);
    let lost = at + rng.u64(13_000..18_000);
    for other in (0..script.hosts).filter(|other| *other != stays) {
        script.at(lost, Step::Lose(other));
    }
    script.steady.push(stays);
    let until = lost + rng.u64(10_000..20_000);
    script.at(until, Step::EtcdUp(rng.bool()));
    script.heals(until, SETTLED_MS);
}

/// A node is drained while etcd's answers, or its calls, are lost: transfers have no known outcome.
fn transfer_without_an_outcome(script: &mut Script, rng: &mut fastrand::Rng) {
    script.class = "transfer without an outcome";
    script.delay_max = 40;
    let at = script.begins + rng.u64(..2_000);
    let host = rng.usize(..script.hosts);
    let cut = at + rng.u64(..100);
    let until = cut + rng.u64(500..20_000);
    script.at(at, either(rng, Step::Drain(host), Step::Rebalance));
    match rng.u8(..3) {
        0 => script.cut_both(host, ETCD, cut, until),
        1 => script.cut(ETCD, host, cut, until),
        _ => {
            script.at(cut, Step::EtcdFreeze);
            script.at(until, Step::EtcdUp(rng.bool()));
        }
    }
    script.heals(until.max(at + 26_000), SETTLED_MS);
}

/// A node's transfers are refused, since etcd is full; later its host is lost, and another node takes the slots without
/// the parcels that it still has.
fn transfer_given_up(script: &mut Script, rng: &mut fastrand::Rng) {
    script.class = "transfer given up";
    let at = script.begins + rng.u64(..2_000);
    let host = rng.usize(..script.hosts);
    script.at(at, Step::Full(true));
    script.at(at + 100, Step::Drain(host));
    let lost = at + rng.u64(1_000..20_000);
    script.at(lost, Step::Lose(host));
    script.heals(lost, SETTLED_MS);
}

/// A process that is restarted claims its slots, but cannot load them: it gives them up, and the others take them.
fn cannot_load(script: &mut Script, rng: &mut fastrand::Rng) {
    script.class = "cannot load";
    let at = script.begins + rng.u64(..2_000);
    let host = rng.usize(..script.hosts);
    script.at(at, Step::CannotLoad(host));
    script.during(at, at + 100, Step::Kill(host), Step::Start(host));
    script.unserved(SETTLED_MS);
    script.heals(at + 2 * SETTLED_MS, SETTLED_MS);
}

/// etcd is down, then a node is cut off, then etcd is back for the others: the price of the exception.
fn exception_behind_a_cut(script: &mut Script, rng: &mut fastrand::Rng) {
    script.class = "exception behind a cut";
    let at = script.begins + rng.u64(..2_000);
    let host = rng.usize(..script.hosts);
    let until = at + rng.u64(30_000..40_000);
    script.at(at, Step::EtcdDown);
    script.cut_off(host, at + 6_000, until);
    let back = Step::EtcdUp(rng.bool());
    script.at(at + rng.u64(7_000..12_000), back);
    script.heals(until, SETTLED_MS);
}

/// A node is asked by all others, but none of its questions is answered: it is alone.
fn asked_by_all(script: &mut Script, rng: &mut fastrand::Rng) {
    script.class = "asked by all";
    let at = script.begins + rng.u64(..2_000);
    let host = rng.usize(..script.hosts);
    let until = at + rng.u64(10_000..20_000);
    if rng.bool() {
        script.cut_off(host, at, until);
    } else {
        let others = (0..script.hosts).filter(|other| *other != host);
        for other in others.chain([ETCD]) {
            script.cut(host, other, at, until);
        }
    }
    script.heals(until, SETTLED_MS);
}

/// A node is cut off, or stopped, until its slots are about to be taken, or some of them are. It mostly reaches its
/// peers before etcd.
fn back_in_a_takeover(script: &mut Script, rng: &mut fastrand::Rng) {
    script.class = "back in a takeover";
    let at = script.begins + rng.u64(..2_000);
    let host = rng.usize(..script.hosts);
    let back = at + rng.u64(10_000..13_500);
    if rng.bool() {
        script.during(at, back, Step::Stop(host), Step::Continue(host));
    } else {
        script.isolate(host, at, back);
    }
    let late = back + rng.u64(..2_000);
    script.cut_both(host, ETCD, at, late);
    script.heals(late, SETTLED_MS);
}

/// etcd takes no changes while a node is cut off: nobody takes its slots, and it serves them when the cut ends.
fn back_while_etcd_is_full(script: &mut Script, rng: &mut fastrand::Rng) {
    script.class = "back while etcd is full";
    let at = script.begins + rng.u64(..2_000);
    let host = rng.usize(..script.hosts);
    let lasts = rng.u64(9_000..25_000);
    script.at(at, Step::Full(true));
    script.cut_off(host, at, at + lasts);
    script.moves_max = Some(0);
    // At the earliest: a question is a round old at most.
    let alone_ms = Spans::of_lease(script.lease_ms).hearing_ms() - ROUND_MS;
    script.unserved_max = Some(lasts + BACK_MS - alone_ms);
    script.heals(at + lasts + SETTLED_MS, 6_000);
}

/// The same, and etcd takes claims again about when the node is back, which may be cut off again in between.
fn back_as_etcd_has_room(script: &mut Script, rng: &mut fastrand::Rng) {
    script.class = "back as etcd has room";
    let at = script.begins + rng.u64(..2_000);
    let host = rng.usize(..script.hosts);
    let until = at + rng.u64(9_000..25_000);
    script.at(at, Step::Full(true));
    script.cut_off(host, at, until);
    let mut room = until + rng.u64(..5_000);
    if rng.bool() {
        let again = until + rng.u64(500..5_000);
        let lasts = rng.u64(100..2_000);
        script.cut_off(host, again, again + lasts);
        room = again + rng.u64(..lasts);
    }
    script.at(room, Step::Full(false));
    script.heals(until + 7_000, SETTLED_MS);
}

/// etcd comes back from a backup while a node gives a slot away. Only the giver wrote records since the backup, so it
/// may be the only one that notices.
fn rolled_back_in_a_transfer(script: &mut Script, rng: &mut fastrand::Rng) {
    script.class = "rolled back in a transfer";
    let backup = script.begins + rng.u64(..1_000);
    let restored = backup + rng.u64(200..3_000);
    let given = restored - rng.u64(..2 * script.delay_max + 10);
    script.at(backup, Step::BackUp);
    script.at(given, Step::Rebalance);
    script.at(restored, Step::Restore(1));
    let accepted = restored + rng.u64(5_000..20_000);
    script.at(accepted, Step::Accept);
    script.heals(accepted + 1_000, SETTLED_AFTER_START_MS);
}

/// A process stands still until its slots are taken. When it goes on, it reaches etcd first: the watch still owes it
/// the changes, reports progress before them, and begins with a report that was under way all the while.
fn overtaken_by_progress(script: &mut Script, rng: &mut fastrand::Rng) {
    script.class = "overtaken by progress";
    let at = script.begins + rng.u64(..2_000);
    let host = rng.usize(..script.hosts);
    let until = at + rng.u64(14_000..20_000);
    script.at(at - 2_000, Step::Lag(host, rng.u64(300..900)));
    script.at(at, Step::Lag(host, 0));
    script.at(at, Step::Overtake(host));
    script.during(at, until, Step::Stop(host), Step::Continue(host));
    script.at(until + rng.u64(2_500..5_000), Step::See(host));
    script.isolate(host, at, until + 5_000);
    script.heals(until + 5_000, SETTLED_MS);
}

/// A node with another secret starts beside the others: it ends, and nothing moves.
fn another_secret(script: &mut Script, rng: &mut fastrand::Rng) {
    script.class = "another secret";
    let at = script.begins + rng.u64(..3_000);
    let stranger = joins_with_another_secret(script, at);
    script.ended.push(stranger);
    script.moves_max = Some(0);
    script.unserved_max = Some(0);
    script.heals(at + 1_000, 3_000);
}

/// All leases end while the others do not reach etcd, so that a node with another secret starts as if it were alone. It
/// takes nothing, whatever becomes of the others.
fn another_secret_in_etcd_first(script: &mut Script, rng: &mut fastrand::Rng) {
    script.class = "another secret, in etcd first";
    script.members = script.members.max(3);
    script.hosts = script.members;
    let at = script.begins + rng.u64(..3_000);
    let until = at + rng.u64(1_000..6_000);
    for host in 0..script.members {
        script.cut_both(host, ETCD, at, until);
    }
    script.at(at + 100, Step::RevokeAll);
    joins_with_another_secret(script, at + 200);
    // By then it has run for as long as its grace lasts.
    let lost = at + rng.u64(28_000..40_000);
    script.at(lost, Step::Lose(rng.usize(..script.members)));
    script.unserved(SETTLED_MS);
    script.heals(lost, SETTLED_MS + 10_000);
}

fn joins_with_another_secret(script: &mut Script, at: u64) -> usize {
    script.hosts = script.members + 1;
    let stranger = script.members;
    script.strangers.push(stranger);
    script.at(at, Step::Start(stranger));
    stranger
}

/// All nodes are drained at once: none of them has anybody to give its slots to, and all have ended soon.
fn all_end(script: &mut Script, rng: &mut fastrand::Rng) {
    script.class = "all end";
    let at = script.begins + rng.u64(..2_000);
    for host in 0..script.hosts {
        script.at(at + rng.u64(..500), Step::Drain(host));
        script.ended.push(host);
    }
    script.ends = at + 6_000;
    script.settled = script.ends + 1;
}

/// A node serves this long after a cut that it was alone in: a round of questions, what etcd answers to a read and to
/// the attempt to register, the time for which it says to its peers that it serves, and a tick.
const BACK_MS: u64 = 3_500 + ANNOUNCED_MS + TICK_MS;
