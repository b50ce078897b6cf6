use super::*;
use broker_core::cluster::limits::SLOTS;
use broker_core::cluster::message::{Held, ParcelSent};
use broker_core::cluster::types::{Revision, Slot, SlotRecord};
use proptest::prelude::*;

fn names() -> Names {
    let mut names = Names::new(Name::new("me").unwrap());
    for number in 1..4 {
        names
            .number(&Name::new(&format!("n{number}")).unwrap())
            .unwrap();
    }
    names
}

fn incarnation() -> impl Strategy<Value = Incarnation> {
    any::<(u32, u64)>().prop_map(|(directory, start)| Incarnation { directory, start })
}

fn parcel_id() -> impl Strategy<Value = ParcelId> {
    (incarnation(), any::<u32>()).prop_map(|(giver, number)| ParcelId { giver, number })
}

fn record() -> impl Strategy<Value = SlotRecord> {
    let owner = (0u16..4, incarnation()).prop_map(|(node, incarnation)| Owner {
        node: NodeId(node),
        incarnation,
    });
    let parts = (
        any::<u64>(),
        proptest::option::of(owner),
        proptest::option::of(parcel_id()),
        any::<u64>(),
    );
    parts.prop_map(|(epoch, owner, parcel, presence)| SlotRecord {
        epoch: Revision(epoch),
        owner,
        parcel,
        presence,
    })
}

fn answer() -> impl Strategy<Value = Message> {
    let serves = proptest::collection::btree_map(0..SLOTS, any::<u64>(), 0..40);
    let changes = proptest::collection::vec((0..SLOTS, record()), 0..40);
    let flags = any::<(bool, bool, u64, u64)>();
    let processes = (incarnation(), incarnation());
    (serves, changes, flags, processes).prop_map(|(serves, changes, flags, processes)| {
        let (asker, incarnation) = processes;
        let (has_etcd, stopping, asked, newest) = flags;
        let held = |(slot, epoch)| Held {
            slot: Slot(slot),
            epoch: Revision(epoch),
        };
        let changed = |(slot, record)| (Slot(slot), record);
        Message::Answer(Answer {
            asked: Now(asked),
            asker,
            incarnation,
            has_etcd,
            stopping,
            serves: serves.into_iter().map(held).collect(),
            changes: changes.into_iter().map(changed).collect(),
            newest: Revision(newest),
        })
    })
}

/// Generates a parcel, and the bytes that are sent with it.
fn parcel() -> impl Strategy<Value = (Parcel, Vec<u8>)> {
    let parcel = (parcel_id(), 0..SLOTS, any::<(u64, bool, Vec<u8>)>());
    parcel.prop_map(|(id, slot, (epoch, late, bytes))| {
        let sent = if late {
            ParcelSent::Late
        } else {
            ParcelSent::Ahead
        };
        let parcel = Parcel {
            id,
            slot: Slot(slot),
            epoch: Revision(epoch),
            sent,
        };
        (parcel, bytes)
    })
}

fn message() -> impl Strategy<Value = Message> {
    let question = (any::<(u64, u64)>(), incarnation());
    let question = question.prop_map(|((asked, complete), asker)| {
        Message::Question(Question {
            asked: Now(asked),
            asker,
            complete: Revision(complete),
        })
    });
    let part = (parcel(), any::<(u16, u16)>());
    let part = part.prop_map(|((parcel, bytes), (number, count))| {
        Message::Part(Part {
            parcel,
            number,
            count,
            bytes,
        })
    });
    let parcel = parcel().prop_map(|(parcel, bytes)| Message::Parcel(parcel, bytes));
    let taken = (parcel_id(), any::<u16>());
    let taken = taken.prop_map(|(id, number)| Message::PartTaken(id, number));
    let receipt = (parcel_id(), any::<bool>()).prop_map(|(id, taken)| Message::Receipt(id, taken));
    let heard = (incarnation(), any::<u64>()).prop_map(|(incarnation, ago_ms)| Heard {
        incarnation,
        ago_ms,
    });
    let found = (any::<u64>(), proptest::option::of(heard));
    let found = found.prop_map(|(asked, heard)| Message::Found(Now(asked), heard));
    prop_oneof![
        question,
        answer(),
        incarnation().prop_map(Message::Goodbye),
        parcel,
        receipt,
        part,
        taken,
        any::<(u64, Vec<u8>)>().prop_map(|(number, bytes)| Message::Inquiry(number, bytes)),
        any::<(u64, Vec<u8>)>().prop_map(|(number, bytes)| Message::Reply(number, bytes)),
        any::<u64>().prop_map(|asked| Message::Seek(Now(asked))),
        found,
    ]
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(message in message()) {
        let mut names = names();
        let bytes = encode(&message, &names);
        prop_assert_eq!(decode(&bytes, &mut names), Ok(message));
        for len in 0..bytes.len() {
            prop_assert_eq!(decode(&bytes[..len], &mut names), Err(UnreadableMessage::Damaged));
        }
        let longer = [&bytes[..], &[0]].concat();
        prop_assert_eq!(decode(&longer, &mut names), Err(UnreadableMessage::Damaged));
    }
}

#[test]
fn another_form_is_refused_by_its_number() {
    let question = Message::Question(Question {
        asked: Now(1),
        asker: Incarnation {
            directory: 1,
            start: 1,
        },
        complete: Revision(2),
    });
    let mut names = names();
    let mut later = encode(&question, &names);
    assert_eq!(decode(&later, &mut names), Ok(question));
    later[0] += 1;
    assert_eq!(
        decode(&later, &mut names),
        Err(UnreadableMessage::Form(FORM + 1))
    );
    let line = UnreadableMessage::Form(1).to_string();
    assert!(
        line.contains("inner version 1, and this program reads that of 5"),
        "{line}"
    );
}

#[test]
fn what_is_no_message_is_refused() {
    let mut names = names();
    let me = Incarnation {
        directory: 1,
        start: 1,
    };
    let answer = |changes: Vec<(u16, SlotRecord)>, serves: &[u16]| {
        let held = |slot: &u16| Held {
            slot: Slot(*slot),
            epoch: Revision(1),
        };
        Message::Answer(Answer {
            asked: Now(1),
            asker: me,
            incarnation: me,
            has_etcd: true,
            stopping: false,
            serves: serves.iter().map(held).collect(),
            changes: changes
                .into_iter()
                .map(|(slot, record)| (Slot(slot), record))
                .collect(),
            newest: Revision(1),
        })
    };
    let nobodys = SlotRecord::default();
    let all: Vec<u16> = (0..SLOTS).collect();
    for sound in [
        answer(Vec::new(), &all),
        answer(vec![(SLOTS - 1, nobodys); SLOTS.into()], &[]),
    ] {
        let bytes = encode(&sound, &names);
        assert_eq!(decode(&bytes, &mut names), Ok(sound));
    }
    let one_more: Vec<u16> = (0..SLOTS).chain([0]).collect();
    for wrong in [
        answer(Vec::new(), &[SLOTS]),
        answer(Vec::new(), &[2, 1]),
        answer(Vec::new(), &[1, 1]),
        answer(Vec::new(), &one_more),
        answer(vec![(SLOTS, nobodys)], &[]),
        answer(vec![(1, nobodys); usize::from(SLOTS) + 1], &[]),
    ] {
        let bytes = encode(&wrong, &names);
        assert_eq!(
            decode(&bytes, &mut names),
            Err(UnreadableMessage::Damaged),
            "{wrong:?}"
        );
    }
    let long = Message::Reply(1, vec![0; MESSAGE_BYTES_MAX]);
    let long = encode(&long, &names);
    assert_eq!(decode(&long, &mut names), Err(UnreadableMessage::Damaged));
    let envelope = |name: &str, message: u8| wire::append(vec![FORM], &(vec![name], message));
    let goodbye = Message::Goodbye(me);
    assert_eq!(
        decode(&[&envelope("n1", 2)[..], &[1, 1]].concat(), &mut names),
        Ok(goodbye)
    );
    for wrong in [envelope("a/b", 2), envelope("", 2), envelope("n1", 11)] {
        let bytes = [&wrong[..], &[1, 1]].concat();
        assert_eq!(decode(&bytes, &mut names), Err(UnreadableMessage::Damaged));
    }
}

#[test]
fn owners_are_named_and_not_numbered() {
    let mut here = names();
    let n3 = here.number(&Name::new("n3").unwrap()).unwrap();
    let incarnation = Incarnation {
        directory: 1,
        start: 2,
    };
    let owner = Owner {
        node: n3,
        incarnation,
    };
    let record = SlotRecord {
        epoch: Revision(9),
        owner: Some(owner),
        ..SlotRecord::default()
    };
    let answer = Answer {
        asked: Now(1),
        asker: incarnation,
        incarnation,
        has_etcd: true,
        stopping: false,
        serves: [].into(),
        changes: vec![(Slot(4), record)],
        newest: Revision(9),
    };
    let bytes = encode(&Message::Answer(answer), &here);
    let mut there = Names::new(Name::new("other").unwrap());
    let Ok(Message::Answer(answer)) = decode(&bytes, &mut there) else {
        panic!("it is an answer");
    };
    let owner = answer.changes[0].1.owner.unwrap();
    assert_eq!(there.name(owner.node), Some(&Name::new("n3").unwrap()));
    assert_ne!(owner.node, n3, "the numbers of two processes differ");
}

#[test]
fn more_nodes_than_a_cluster_has_are_refused() {
    let record = |number: u16| SlotRecord {
        epoch: Revision(1),
        owner: Some(Owner {
            node: NodeId(number),
            incarnation: Incarnation {
                directory: 1,
                start: 1,
            },
        }),
        ..SlotRecord::default()
    };
    let mut here = names();
    for number in 4..NODES_MAX {
        here.number(&Name::new(&format!("n{number}")).unwrap())
            .unwrap();
    }
    let all = u16::try_from(NODES_MAX).unwrap();
    let answer = Answer {
        asked: Now(1),
        asker: Incarnation {
            directory: 2,
            start: 2,
        },
        incarnation: Incarnation {
            directory: 1,
            start: 1,
        },
        has_etcd: false,
        stopping: false,
        serves: [].into(),
        changes: (0..all)
            .map(|number| (Slot(number), record(number)))
            .collect(),
        newest: Revision(1),
    };
    let bytes = encode(&Message::Answer(answer), &here);
    assert!(decode(&bytes, &mut here).is_ok());
    let mut there = Names::new(Name::new("other").unwrap());
    assert_eq!(decode(&bytes, &mut there), Err(UnreadableMessage::Damaged));
}
