//! Transfers the pending messages of slots (parcels) between nodes. A parcel that exceeds the size of a message is sent
//! in parts, one after another.
//!
//! ```text
//!  sender                          receiver
//!  part 0 of 8 ──────────────────► stored
//!        ◄──── acknowledged: part 0
//!  part 1 of 8 ─ ─ (lost)
//!  part 1 of 8, again ───────────► …
//!  part 7 of 8 ──────────────────► complete: offered to the core like any parcel, which accepts or refuses it
//! ```
//! A parcel is received completely or not at all: no part is used before the last one has arrived. If the parts of a
//! parcel stop arriving, both sides drop the parcel. The core then offers another one.

use crate::limits::{PART_AGAIN_MS, PART_BYTES, PARTS_KEPT_MS, PARTS_MAX, SENDING_MAX};
use crate::names::Name;
use broker_core::cluster::message::Parcel;
use broker_core::cluster::types::{NodeId, ParcelId};
use broker_core::limits::{KEPT_PARCEL_BYTES_MAX, PARCEL_BYTES_MAX};
use broker_core::time::Now;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) parcel: Parcel,
    pub(crate) number: u16,
    pub(crate) count: u16,
    #[serde(with = "broker_core::wire::bytes")]
    pub(crate) bytes: Vec<u8>,
}

/// The parcels being sent: at most [`SENDING_MAX`], with a total of at most [`KEPT_PARCEL_BYTES_MAX`] bytes.
#[derive(Debug, Default)]
pub(crate) struct SendingParcels(BTreeMap<ParcelId, SentParcel>);

#[derive(Debug)]
struct SentParcel {
    to: Name,
    parcel: Parcel,
    bytes: Vec<u8>,
    number: u16,
    at: Now,
    began: Now,
}

impl SendingParcels {
    /// Starts sending a parcel and returns its first part. Returns `None` if a limit has been reached.
    pub(crate) fn begin(
        &mut self,
        to: Name,
        parcel: Parcel,
        bytes: Vec<u8>,
        now: Now,
    ) -> Option<Part> {
        let held: usize = self.0.values().map(|sent| sent.bytes.len()).sum();
        if self.0.len() >= SENDING_MAX || held + bytes.len() > KEPT_PARCEL_BYTES_MAX {
            return None;
        }
        let sent = SentParcel {
            to,
            parcel,
            bytes,
            number: 0,
            at: now,
            began: now,
        };
        let first = sent.part()?;
        self.0.insert(parcel.id, sent);
        Some(first)
    }

    /// Handles the acknowledgement of a part. Returns the next part of the parcel, if there is one.
    pub(crate) fn taken(
        &mut self,
        from: &Name,
        id: ParcelId,
        number: u16,
        now: Now,
    ) -> Option<Part> {
        let sent = self.0.get_mut(&id)?;
        if sent.to != *from || sent.number != number {
            return None;
        }
        sent.number += 1;
        sent.at = now;
        let next = sent.part();
        if next.is_none() {
            self.0.remove(&id);
        }
        next
    }

    pub(crate) fn forget(&mut self, id: ParcelId) {
        self.0.remove(&id);
    }

    /// Returns the parts that were not acknowledged in time and must be sent again. Drops parcels that have timed out.
    pub(crate) fn again(&mut self, now: Now) -> Vec<(Name, Part)> {
        self.0
            .retain(|_, sent| now.since(sent.began) < PARTS_KEPT_MS);
        let due = |sent: &&mut SentParcel| now.since(sent.at) >= PART_AGAIN_MS;
        let again = |sent: &mut SentParcel| {
            sent.at = now;
            Some((sent.to.clone(), sent.part()?))
        };
        self.0.values_mut().filter(due).filter_map(again).collect()
    }
}

impl SentParcel {
    /// Returns the part in flight, or `None` after the last part.
    fn part(&self) -> Option<Part> {
        let count = u16::try_from(self.bytes.len().div_ceil(PART_BYTES)).ok()?;
        let bytes = self.bytes.chunks(PART_BYTES).nth(self.number.into())?;
        Some(Part {
            parcel: self.parcel,
            number: self.number,
            count,
            bytes: bytes.to_vec(),
        })
    }
}

/// The parcels being received. Their total size is subject to the same limit as that of complete parcels.
#[derive(Debug, Default)]
pub(crate) struct Receiving(BTreeMap<(NodeId, ParcelId), ReceivedParcels>);

#[derive(Debug)]
struct ReceivedParcels {
    count: u16,
    next: u16,
    bytes: Vec<u8>,
    at: Now,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PartArrival {
    /// The part was stored, or had been received before. It must be acknowledged.
    Taken,
    /// The last part was received. Contains the parcel's messages. The part must be acknowledged.
    Whole(Vec<u8>),
    /// The part is out of sequence or invalid.
    Strange,
    /// There is no capacity for the parcel.
    Refused,
}

impl Receiving {
    pub(crate) fn add(&mut self, from: NodeId, part: Part, now: Now) -> PartArrival {
        let Part {
            parcel,
            number,
            count,
            bytes,
        } = part;
        let is_sound = number < count
            && usize::from(count) <= PARTS_MAX
            && !bytes.is_empty()
            && bytes.len() <= PART_BYTES;
        if !is_sound {
            return PartArrival::Strange;
        }
        let key = (from, parcel.id);
        let held: usize = self.0.values().map(|received| received.bytes.len()).sum();
        if number == 0 && !self.0.contains_key(&key) {
            let received = ReceivedParcels {
                count,
                next: 0,
                bytes: Vec::new(),
                at: now,
            };
            self.0.insert(key, received);
        }
        let Some(received) = self.0.get_mut(&key).filter(|it| it.count == count) else {
            return PartArrival::Strange;
        };
        if number < received.next {
            return PartArrival::Taken;
        }
        if number > received.next {
            return PartArrival::Strange;
        }
        if held + bytes.len() > KEPT_PARCEL_BYTES_MAX {
            self.0.remove(&key);
            return PartArrival::Refused;
        }
        received.bytes.extend_from_slice(&bytes);
        received.next += 1;
        received.at = now;
        if received.next < count {
            return PartArrival::Taken;
        }
        let whole = self.0.remove(&key);
        whole.map_or(PartArrival::Strange, |whole| {
            PartArrival::Whole(whole.bytes)
        })
    }

    pub(crate) fn expire(&mut self, now: Now) {
        self.0
            .retain(|_, received| now.since(received.at) < PARTS_KEPT_MS);
    }
}

const _: () = assert!(PARTS_MAX * PART_BYTES >= PARCEL_BYTES_MAX);

#[cfg(test)]
mod tests {
    use super::*;
    use broker_core::cluster::message::ParcelSent;
    use broker_core::cluster::types::{Incarnation, Revision, Slot};

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn parcel(number: u32) -> Parcel {
        let giver = Incarnation {
            directory: 1,
            start: 1,
        };
        Parcel {
            id: ParcelId { giver, number },
            slot: Slot(7),
            epoch: Revision(5),
            sent: ParcelSent::Ahead,
        }
    }

    fn messages(length: usize) -> Vec<u8> {
        let numbers = (0..251).cycle().take(length);
        numbers.collect()
    }

    const FROM: NodeId = NodeId(1);

    /// Sends a parcel of 30 MiB while every third message between the nodes is lost, in both directions.
    #[test]
    fn a_parcel_arrives_whole_whatever_is_lost() {
        let wanted = messages(30 << 20);
        let (mut sending, mut receiving) = (SendingParcels::default(), Receiving::default());
        let mut now = Now(1_000);
        let mut messages_sent = 0;
        let mut is_lost = move || {
            messages_sent += 1;
            messages_sent % 3 == 0
        };
        let first = sending.begin(name("n2"), parcel(1), wanted.clone(), now);
        let mut under_way: Vec<Part> = first.into_iter().collect();
        let mut came = None;
        while came.is_none() {
            for part in std::mem::take(&mut under_way) {
                if is_lost() {
                    continue;
                }
                let (id, number) = (part.parcel.id, part.number);
                match receiving.add(FROM, part, now) {
                    PartArrival::Taken => {
                        if !is_lost() {
                            under_way.extend(sending.taken(&name("n2"), id, number, now));
                        }
                    }
                    PartArrival::Whole(bytes) => came = Some(bytes),
                    strange @ (PartArrival::Strange | PartArrival::Refused) => {
                        panic!("{strange:?}")
                    }
                }
            }
            if under_way.is_empty() && came.is_none() {
                now = now.after(PART_AGAIN_MS);
                under_way.extend(sending.again(now).into_iter().map(|(_, part)| part));
                assert!(!under_way.is_empty(), "what is lost is sent again");
            }
        }
        assert!(came == Some(wanted), "the same bytes in the same order");
        assert!(receiving.0.is_empty());
    }

    #[test]
    fn only_the_next_part_of_a_parcel_counts() {
        let mut receiving = Receiving::default();
        let part = |number, count, length| Part {
            parcel: parcel(1),
            number,
            count,
            bytes: messages(length),
        };
        for strange in [
            part(1, 3, 1),
            part(0, 0, 1),
            part(3, 3, 1),
            part(0, 3, 0),
            part(0, 3, PART_BYTES + 1),
            part(0, u16::MAX, 1),
        ] {
            assert_eq!(receiving.add(FROM, strange, Now(0)), PartArrival::Strange);
        }
        for (sent, arrival) in [
            (part(0, 3, 1), PartArrival::Taken),
            (part(0, 3, 9), PartArrival::Taken),
            (part(2, 3, 1), PartArrival::Strange),
            (part(1, 2, 1), PartArrival::Strange),
        ] {
            assert_eq!(receiving.add(FROM, sent, Now(0)), arrival);
        }
        let other = receiving.add(NodeId(2), part(1, 3, 1), Now(0));
        assert_eq!(other, PartArrival::Strange, "of another node");
        assert_eq!(
            receiving.add(FROM, part(1, 3, 1), Now(0)),
            PartArrival::Taken
        );
        let whole = receiving.add(FROM, part(2, 3, 2), Now(0));
        assert_eq!(whole, PartArrival::Whole(vec![0, 0, 0, 1]));
    }

    #[test]
    fn what_stops_is_dropped_and_there_is_a_bound() {
        let (mut sending, mut receiving) = (SendingParcels::default(), Receiving::default());
        for number in 1..SENDING_MAX {
            let id = parcel(u32::try_from(number).unwrap());
            let first = sending.begin(name("n2"), id, messages(PART_BYTES + 1), Now(0));
            let arrival = receiving.add(FROM, first.unwrap(), Now(0));
            assert_eq!(arrival, PartArrival::Taken);
        }
        let part = |number, length| Part {
            parcel: parcel(number),
            number: 0,
            count: 2,
            bytes: messages(length),
        };
        let last = receiving.add(FROM, part(1_000, PART_BYTES), Now(0));
        assert_eq!(last, PartArrival::Taken);
        let beyond = receiving.add(FROM, part(1_001, 1), Now(0));
        assert_eq!(beyond, PartArrival::Refused);
        let too_long = sending.begin(name("n2"), parcel(998), messages(PART_BYTES + 1), Now(0));
        assert_eq!(too_long, None);
        let last = sending.begin(name("n2"), parcel(0), messages(1), Now(0));
        assert!(last.is_some());
        let more = sending.begin(name("n2"), parcel(999), messages(1), Now(0));
        assert_eq!(more, None);
        assert_eq!(sending.taken(&name("n3"), parcel(0).id, 0, Now(0)), None);
        assert_eq!(sending.taken(&name("n2"), parcel(0).id, 1, Now(0)), None);
        sending.forget(parcel(0).id);
        let again = sending.again(Now(PARTS_KEPT_MS - 1));
        assert_eq!(again.len(), SENDING_MAX - 1);
        assert_eq!(sending.again(Now(PARTS_KEPT_MS)), []);
        assert!(sending.0.is_empty());
        receiving.expire(Now(PARTS_KEPT_MS));
        assert!(receiving.0.is_empty());
    }
}
