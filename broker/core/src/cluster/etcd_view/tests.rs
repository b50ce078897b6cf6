use super::*;
use crate::cluster::types::fixtures::{change, incarnation, registration};
use crate::cluster::types::{Incarnation, Kinship};

const NODE: NodeId = NodeId(3);
const INCARNATION: Incarnation = incarnation(1, 1);

fn registered(revision: u64) -> Change {
    let registration = registration(INCARNATION, Kinship::Peer);
    change(revision, Key::Registration(NODE), registration)
}

fn gone(revision: u64) -> Change {
    Change {
        value: None,
        ..registered(revision)
    }
}

fn snapshot(revision: u64, entries: Vec<Change>) -> Snapshot {
    Snapshot {
        revision: Revision(revision),
        etcd: EtcdId(1),
        entries,
    }
}

fn at_epoch(epoch: u64) -> SlotRecord {
    SlotRecord {
        epoch: Revision(epoch),
        ..SlotRecord::default()
    }
}

#[test]
fn the_higher_epoch_wins_in_any_order() {
    let mut view = View::new(2, Revision(0), None);
    for epoch in [5, 7, 6, 7] {
        view.learn(Slot(1), at_epoch(epoch));
    }
    view.learn(Slot(2), at_epoch(9));
    assert_eq!(view.slot(Slot(1)).epoch, Revision(7));
    let former = [at_epoch(0), at_epoch(5)];
    assert_eq!(view.take_changed(), former.map(|record| (Slot(1), record)));
    assert_eq!(view.newest(), Revision(7));
    assert_eq!(view.changes_after(Revision(6)), [(Slot(1), at_epoch(7))]);
    assert_eq!(view.changes_after(Revision(7)), []);
}

#[test]
fn an_older_snapshot_deletes_nothing_that_is_newer() {
    let mut view = View::new(1, Revision(0), None);
    view.apply_changes(&[registered(10)], Now(1));
    view.apply_snapshot(&snapshot(9, Vec::new()), Now(2));
    assert_eq!(view.at(Key::Registration(NODE)), Revision(10));
    view.apply_snapshot(&snapshot(11, Vec::new()), Now(3));
    assert_eq!(view.at(Key::Registration(NODE)), Revision(0));
    view.apply_changes(&[registered(10)], Now(4));
    assert_eq!(view.registration(NODE), None);
    assert_eq!(view.complete(), Revision(11));
}

#[test]
fn absence_is_counted_while_the_view_is_current() {
    let mut view = View::new(1, Revision(0), None);
    view.apply_changes(&[registered(2)], Now(0));
    view.current_at(Now(0));
    view.apply_changes(&[gone(3)], Now(1_000));
    for (asked, absent) in [(1_500, 500), (3_500, 2_500), (7_000, 0), (8_000, 1_000)] {
        view.current_at(Now(asked));
        assert_eq!(view.absent_ms(NODE), absent, "{asked}");
    }
    view.renew_currency(Now(9_000));
    assert_eq!(view.absent_ms(NODE), 0);
    view.apply_changes(&[registered(4)], Now(9_000));
    view.current_at(Now(9_900));
    assert_eq!(view.absent_ms(NODE), 0);
}

#[test]
fn a_snapshot_without_a_slot_that_was_known_is_of_another_history() {
    let mut view = View::new(2, Revision(0), None);
    view.learn(Slot(0), at_epoch(5));
    let slot = |number, epoch| Change {
        revision: Revision(epoch),
        key: Key::Slot(Slot(number)),
        value: None,
    };
    for (entries, contradicts) in [
        (vec![slot(0, 5)], false),
        (vec![slot(0, 6), slot(1, 7)], false),
        (vec![slot(0, 4)], true),
        (vec![slot(1, 7)], true),
        (vec![], true),
    ] {
        let snapshot = snapshot(9, entries);
        assert_eq!(view.contradicts(&snapshot, Revision(5)), contradicts);
        assert!(!view.contradicts(&snapshot, Revision(4)), "learned since");
    }
}

#[test]
fn nodes_beyond_the_bound_are_passed_over() {
    let mut view = View::new(1, Revision(0), None);
    let beyond = NodeId(u16::MAX);
    let change = Change {
        key: Key::Registration(beyond),
        ..registered(2)
    };
    view.apply_snapshot(&snapshot(2, vec![change]), Now(1));
    assert_eq!(view.registration(beyond), None);
    assert_eq!(view.nodes().count(), 0);
}
