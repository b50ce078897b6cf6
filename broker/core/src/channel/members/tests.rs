//! Tests for slots: which connection has a slot, which one is superseded, and which one regains it.

use super::*;

fn key(slot: u32) -> SessionKey {
    SessionKey::new(slot, 0)
}

fn after_long(number: u32) -> Leaver {
    Leaver {
        session: key(number),
        brief: false,
        spoke: false,
    }
}

fn at_once(number: u32) -> Leaver {
    Leaver {
        brief: true,
        ..after_long(number)
    }
}

/// Joins with a separate hasher.
fn join(
    members: &mut Members,
    slot: Role,
    session: SessionKey,
    viewers_max: usize,
) -> Result<Joined, TableFull> {
    let hasher = RandomState::with_seeds(1, 2, 3, 4);
    members.join(slot, session, (viewers_max, &hasher), Now(0))
}

#[test]
fn the_newest_master_wins_and_the_fifth_older_one_is_evicted() {
    let mut members = Members::default();
    let mut evicted = Vec::new();
    for number in 0..7 {
        let joined = join(&mut members, Role::Master, key(number), 10).unwrap();
        assert_eq!(joined.superseded, number.checked_sub(1).map(key));
        evicted.extend(joined.evicted);
    }
    assert_eq!(members.master(), Some(key(6)));
    assert_eq!(evicted, [key(0), key(1)]);
    assert_eq!(members.all(), (2..7).map(key).collect::<Vec<_>>());
}

#[test]
fn viewers_are_limited_but_a_known_id_replaces_itself() {
    let mut members = Members::default();
    for number in 0..2 {
        join(
            &mut members,
            Role::Viewer(format!("v{number}").into()),
            key(number),
            2,
        )
        .unwrap();
    }
    assert_eq!(
        join(&mut members, Role::Viewer("v2".into()), key(2), 2),
        Err(TableFull)
    );
    let joined = join(&mut members, Role::Viewer("v1".into()), key(3), 2).unwrap();
    assert_eq!((joined.superseded, members.viewers()), (Some(key(1)), 2));
}

#[test]
fn a_slot_is_held_until_its_former_connection_has_ended_what_it_began() {
    let mut members = Members::default();
    let slot = Role::Viewer("v".into());
    join(&mut members, slot.clone(), key(1), 10).unwrap();
    join(&mut members, Role::Master, key(2), 10).unwrap();
    assert_eq!(members.leave(&slot, after_long(1), Now(0)), None);
    members.hold(slot.clone(), key(1), Now(5));
    join(&mut members, slot, key(3), 10).unwrap();
    assert_eq!(members.viewer("v"), Some(key(3)));
    assert_eq!(members.to_viewer("v"), None);
    assert_eq!(
        members.to_master(),
        Some(key(2)),
        "other slots are not held"
    );
    assert_eq!(members.next_overdue(), Some(Now(5)));
    assert_eq!(members.take_overdue(Now(4)), None);
    assert_eq!(members.take_overdue(Now(5)), Some(key(1)));
    assert_eq!(members.take_overdue(Now(6)), None, "told once");
    assert!(members.release(key(1)) && !members.release(key(1)));
    assert_eq!(members.to_viewer("v"), Some(key(3)));
}

#[test]
fn a_superseded_connection_that_leaves_does_not_free_the_slot() {
    let mut members = Members::default();
    let slot = Role::Viewer("v".into());
    join(&mut members, slot.clone(), key(1), 10).unwrap();
    join(&mut members, slot.clone(), key(2), 10).unwrap();
    assert_eq!(members.leave(&slot, after_long(1), Now(0)), None);
    assert_eq!(members.viewer("v"), Some(key(2)));
    assert_eq!(members.all(), vec![key(2)]);
    assert_eq!(members.leave(&slot, after_long(2), Now(0)), None);
    assert!(members.is_empty());
}

#[test]
fn the_last_one_superseded_is_closed_for_a_slot_that_stays_vacant() {
    let mut members = Members::default();
    let (slot, other) = (Role::Master, Role::Viewer("v".into()));
    for number in 0..4 {
        join(&mut members, slot.clone(), key(number), 10).unwrap();
        join(&mut members, other.clone(), key(10 + number), 10).unwrap();
    }
    assert_eq!(members.leave(&slot, after_long(3), Now(1_000)), None);
    assert_eq!(members.next_overdue(), Some(Now(6_000)));
    assert_eq!(members.take_for_vacancy(Now(5_999)), None);
    assert_eq!(members.take_for_vacancy(Now(6_000)), Some(key(2)));
    assert_eq!(members.take_for_vacancy(Now(6_000)), None, "one at a time");
    assert_eq!(members.leave(&slot, after_long(2), Now(6_000)), None);
    assert_eq!(members.take_for_vacancy(Now(11_000)), Some(key(1)));
    assert_eq!(members.leave(&slot, after_long(1), Now(11_000)), None);
    // A client has returned, so the oldest connection is not closed.
    join(&mut members, slot.clone(), key(4), 10).unwrap();
    assert_eq!(members.next_overdue(), None);
    // The oldest connection leaves by itself, so there is none left to close.
    assert_eq!(members.leave(&slot, after_long(4), Now(20_000)), None);
    assert_eq!(members.next_overdue(), Some(Now(25_000)));
    assert_eq!(members.leave(&slot, after_long(0), Now(21_000)), None);
    assert_eq!(members.next_overdue(), None);
    // Each slot is treated separately.
    assert_eq!(members.leave(&other, after_long(13), Now(30_000)), None);
    assert_eq!(members.take_for_vacancy(Now(35_000)), Some(key(12)));
}

#[test]
fn a_connection_that_ends_at_once_leaves_its_slot_to_the_one_before_it() {
    for slot in [Role::Master, Role::Viewer("v".into())] {
        let mut members = Members::default();
        for number in 0..3 {
            join(&mut members, slot.clone(), key(number), 10).unwrap();
        }
        let has = |members: &Members| match &slot {
            Role::Master => members.master(),
            Role::Viewer(id) => members.viewer(id),
        };
        members.hold(slot.clone(), key(1), Now(5));
        let returning = members.leave(&slot, at_once(2), Now(0));
        assert_eq!(returning, Some(key(1)));
        assert_eq!(has(&members), Some(key(1)));
        assert_eq!(members.next_overdue(), None);
        // The connection had been open for long, so no older one regains the slot.
        assert_eq!(members.leave(&slot, after_long(1), Now(0)), None);
        assert_eq!(has(&members), None);
        assert_eq!(members.take_for_vacancy(Now(5_000)), Some(key(0)));
    }
}

#[test]
fn the_one_before_several_that_end_at_once_comes_back_whichever_ends_first() {
    let mut members = Members::default();
    for number in 0..4 {
        join(&mut members, Role::Master, key(number), 10).unwrap();
    }
    for number in [2, 1] {
        assert_eq!(members.leave(&Role::Master, at_once(number), Now(0)), None);
    }
    let returning = members.leave(&Role::Master, at_once(3), Now(0));
    assert_eq!(returning, Some(key(0)));
    // The connection between these two stays.
    for number in 4..6 {
        join(&mut members, Role::Master, key(number), 10).unwrap();
    }
    assert_eq!(members.leave(&Role::Master, after_long(4), Now(0)), None);
    assert_eq!(members.leave(&Role::Master, at_once(5), Now(0)), None);
    assert_eq!(members.master(), None);
}

#[test]
fn a_connection_that_lost_its_slot_is_overtaken_by_newer_ones_that_spoke() {
    let mut members = Members::default();
    let slot = Role::Viewer("v".into());
    for number in 0..4 {
        join(&mut members, slot.clone(), key(number), 10).unwrap();
    }
    let nobody = |_| false;
    assert_eq!(members.lost(key(3), nobody), None);
    assert_eq!(members.lost(key(0), nobody), Some((Now(0), false)));
    for number in [2, 3] {
        let spoke = |other| other == key(number);
        assert_eq!(members.lost(key(1), spoke), Some((Now(0), true)));
    }
    assert_eq!(
        members.lost(key(1), |other| other == key(0)),
        Some((Now(0), false))
    );
    // A connection that sent a message has left. Only older connections are marked as overtaken.
    let spoke = Leaver {
        spoke: true,
        ..after_long(1)
    };
    assert_eq!(members.leave(&slot, spoke, Now(0)), None);
    assert_eq!(members.lost(key(0), nobody), Some((Now(0), true)));
    assert_eq!(members.lost(key(2), nobody), Some((Now(0), false)));
    let spoke = Leaver {
        spoke: true,
        ..at_once(3)
    };
    assert_eq!(members.leave(&slot, spoke, Now(0)), Some(key(2)));
}
