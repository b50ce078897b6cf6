//! Entry points for fuzzers and for the randomized test with fixed seeds. No input may cause a panic, and everything
//! that can be decoded must survive a round trip through the encoder.

use crate::names::{Name, Names};
use crate::parcels::Part;
use crate::wire::{FORM, Message, decode, encode};
use broker_core::cluster::message::{Answer, Heard, Held, Parcel, ParcelSent, Question};
use broker_core::cluster::types::{
    Incarnation, NodeId, Owner, ParcelId, Revision, Slot, SlotRecord,
};
use broker_core::time::Now;

/// Decodes `data` as a message: first unchanged, then with the byte that identifies the current message format in
/// front.
///
/// # Panics
/// Panics if a decoded message does not survive being encoded and decoded again, which would be a bug.
pub fn fuzz(data: &[u8]) {
    let mut names = names();
    for bytes in [data, &[&[FORM][..], data].concat()] {
        if let Ok(message) = decode(bytes, &mut names) {
            let again = encode(&message, &names);
            assert_eq!(decode(&again, &mut names), Ok(message));
        }
    }
}

/// Returns one sample message of each kind, for use as a seed corpus.
#[must_use]
pub fn samples() -> Vec<Vec<u8>> {
    let giver = Incarnation {
        directory: 0xdada_dada,
        start: 7,
    };
    let id = ParcelId { giver, number: 300 };
    let epoch = Revision(1 << 40);
    let slots = || (0..3).map(|number| Slot(number * 1_000));
    let mut names = names();
    let record = |node: Option<NodeId>| SlotRecord {
        epoch,
        owner: node.map(|node| Owner {
            node,
            incarnation: giver,
        }),
        parcel: Some(id),
        presence: 1 << 41,
    };
    let nodes = ["n1", "n2", "n1"].map(|name| names.number(&Name::new(name)?).ok());
    let answer = Answer {
        asked: Now(1 << 20),
        asker: giver,
        incarnation: giver,
        has_etcd: true,
        stopping: false,
        serves: slots().map(|slot| Held { slot, epoch }).collect(),
        changes: slots().zip(nodes.map(record)).collect(),
        newest: epoch,
    };
    let parcel = Parcel {
        id,
        slot: Slot(4_095),
        epoch,
        sent: ParcelSent::Late,
    };
    let part = Part {
        parcel,
        number: 1,
        count: 2,
        bytes: vec![1; 200],
    };
    let question = Question {
        asked: Now(1),
        asker: giver,
        complete: epoch,
    };
    let heard = Heard {
        incarnation: giver,
        ago_ms: 700,
    };
    let messages = [
        Message::Question(question),
        Message::Answer(answer),
        Message::Goodbye(giver),
        Message::Parcel(parcel, vec![2; 20]),
        Message::Receipt(id, true),
        Message::Part(part),
        Message::PartTaken(id, 1),
        Message::Inquiry(1 << 50, vec![3; 20]),
        Message::Reply(1, Vec::new()),
        Message::Seek(Now(1 << 30)),
        Message::Found(Now(1), Some(heard)),
    ];
    messages
        .iter()
        .map(|message| encode(message, &names))
        .collect()
}

fn names() -> Names {
    Names::new(Name::new("me").expect("it is a name"))
}
