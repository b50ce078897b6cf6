//! Tests the writer against a model of etcd that loses answers and applies copies of requests late.

use super::*;
use std::collections::BTreeMap;

/// A model of how etcd stores records.
#[derive(Default)]
struct Model {
    revision: u64,
    slots: BTreeMap<u16, u64>,
    lanes: BTreeMap<usize, (u64, Box<str>)>,
    records: BTreeMap<String, (u64, Rc<[u8]>)>,
    is_full: bool,
}

impl Model {
    fn carry_out(&mut self, lane: usize, request: &Request) -> Option<Answer> {
        let (lane_at, value) = self.lanes.get(&lane).cloned().unwrap_or_default();
        let at = |model: &Self, key: &str| model.records.get(key).map_or(0, |record| record.0);
        let slot_at = |slot: &Slot| Revision(self.slots.get(&slot.0).copied().unwrap_or(0));
        let removes = request.lane.is_none();
        let made = request
            .lane
            .as_ref()
            .is_none_or(|(expected, _)| expected.0 == lane_at)
            && request
                .slots
                .iter()
                .all(|(slot, epoch)| slot_at(slot) == *epoch)
            && (!removes
                || request
                    .records
                    .iter()
                    .all(|(_, key, _)| at(self, key) <= request.before.0));
        if made && !removes && self.is_full {
            return None;
        }
        let slots = request
            .slots
            .iter()
            .map(|(slot, _)| slot_at(slot))
            .collect();
        let records = request
            .records
            .iter()
            .map(|(_, key, _)| Revision(at(self, key)));
        let records = if removes {
            records.collect()
        } else {
            Vec::new()
        };
        if made {
            let removed = request
                .records
                .iter()
                .any(|(_, key, _)| self.records.contains_key(&**key));
            self.revision += u64::from(!removes || removed);
            if let Some((_, tag)) = &request.lane {
                self.lanes.insert(lane, (self.revision, tag.clone()));
            }
            for (_, key, value) in &request.records {
                match value {
                    Some(value) => {
                        let record = (self.revision, Rc::clone(value));
                        self.records.insert(key.to_string(), record);
                    }
                    None => drop(self.records.remove(&**key)),
                }
            }
        }
        Some(Answer {
            made,
            revision: Revision(self.revision),
            lane: (Revision(lane_at), value),
            slots,
            records,
        })
    }
}

/// The value that each record must have, according to the changes that were reported as applied.
type Reported = BTreeMap<String, Option<Rc<[u8]>>>;

struct World {
    random: fastrand::Rng,
    model: Model,
    writer: Writer<u32>,
    now: u64,
    /// Copies of requests that may be carried out at any time.
    copies: Vec<(usize, Request)>,
    asked: u32,
    settled: Vec<u32>,
    reported: Reported,
    /// The last applied change of each record.
    newest: BTreeMap<String, u32>,
    met: BTreeMap<&'static str, u32>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut model = Model {
            revision: 10,
            ..Model::default()
        };
        model
            .slots
            .extend((0..4).map(|slot| (slot, u64::from(slot) + 2)));
        let process = Incarnation {
            directory: 1,
            start: 1,
        };
        Self {
            random: fastrand::Rng::with_seed(seed),
            model,
            writer: Writer::new(process),
            now: 0,
            copies: Vec::new(),
            asked: 0,
            settled: Vec::new(),
            reported: Reported::new(),
            newest: BTreeMap::new(),
            met: BTreeMap::new(),
        }
    }

    fn meet(&mut self, what: &'static str) {
        *self.met.entry(what).or_default() += 1;
    }

    fn submit(&mut self) {
        let number = self.asked;
        self.asked += 1;
        let key = self.random.u32(0..12);
        let slot = u16::try_from(key % 4).unwrap();
        let value = self
            .random
            .bool()
            .then(|| number.to_le_bytes().as_slice().into());
        self.writer.take(Change {
            call: CallId(number.into()),
            held: Held {
                slot: Slot(slot),
                epoch: Revision(self.model.slots[&slot]),
            },
            key: format!("channel{key}").into(),
            value,
            ticket: number,
            since: Now(self.now),
        });
    }

    /// Sends the requests that are due. The fate of each is random.
    fn send(&mut self, is_kind: bool) {
        while let Some((lane, request)) = self.writer.next(Now(self.now)) {
            assert!(request.records.len() + request.slots.len() <= 127);
            let now = Now(self.now);
            match if is_kind { 0 } else { self.random.u32(0..8) } {
                // The request or its answer is lost. A copy may be carried out later.
                1 | 2 => {
                    self.meet("lost");
                    self.copies.push((lane, request));
                    self.writer.unknown(lane, now);
                }
                3 => {
                    self.meet("answer lost");
                    self.model.carry_out(lane, &request);
                    self.writer.unknown(lane, now);
                }
                4 => {
                    self.meet("not sent");
                    let settled = self.writer.refused(lane, false, now);
                    self.settle(settled);
                    return;
                }
                _ => {
                    let settled = match self.model.carry_out(lane, &request) {
                        None => {
                            self.meet("refused");
                            self.writer.refused(lane, true, now)
                        }
                        Some(answer) => {
                            self.meet(if answer.made { "made" } else { "not made" });
                            self.writer.answered(lane, &answer, now)
                        }
                    };
                    self.settle(settled);
                    if !is_kind {
                        return;
                    }
                }
            }
        }
    }

    fn settle(&mut self, settled: Vec<(Change<u32>, Settled)>) {
        for (change, outcome) in settled {
            assert!(
                !self.settled.contains(&change.ticket),
                "settled twice: {change:?}"
            );
            self.settled.push(change.ticket);
            match outcome {
                Settled::Made(_) => {
                    let key = change.key.to_string();
                    let former = self.newest.insert(key, change.ticket);
                    assert!(former < Some(change.ticket), "out of order: {change:?}");
                    self.reported.insert(change.key.to_string(), change.value);
                }
                Settled::Fenced(_) => self.meet("fenced"),
                Settled::Refused => {}
            }
        }
    }

    fn step(&mut self) {
        self.now += self.random.u64(0..200);
        match self.random.u32(0..20) {
            0..8 => self.submit(),
            8..14 => self.send(false),
            14 | 15 if !self.copies.is_empty() => {
                let place = self.random.usize(0..self.copies.len());
                let (lane, request) = self.copies.swap_remove(place);
                if self
                    .model
                    .carry_out(lane, &request)
                    .is_some_and(|answer| answer.made)
                {
                    self.meet("late copy made");
                }
            }
            16 => {
                // This process takes the slot again, or another process owned it in the meantime.
                let slot = self.random.u16(0..4);
                self.model.revision += 1;
                self.model.slots.insert(slot, self.model.revision);
            }
            17 => self.model.is_full = !self.model.is_full,
            18 => {
                let settled = self.writer.expire(Now(self.now));
                self.settle(settled);
            }
            _ => {}
        }
    }

    fn finish(&mut self) {
        self.model.is_full = false;
        for _ in 0..100 {
            self.now += 1_000;
            self.send(true);
        }
        assert!(self.writer.is_empty(), "everything is settled");
        self.settled.sort_unstable();
        assert_eq!(
            self.settled,
            (0..self.asked).collect::<Vec<_>>(),
            "each change once"
        );
        self.compare();
        // Copies that are still waiting anywhere change nothing.
        for (lane, request) in std::mem::take(&mut self.copies) {
            self.model.carry_out(lane, &request);
        }
        self.compare();
    }

    fn compare(&self) {
        for (key, value) in &self.reported {
            let found = self.model.records.get(key).map(|(_, value)| value);
            assert_eq!(found, value.as_ref(), "{key}");
        }
        let unknown = self
            .model
            .records
            .keys()
            .find(|key| !self.reported.contains_key(*key));
        assert_eq!(unknown, None, "it was not reported");
    }
}

#[test]
fn what_is_reported_is_what_is_there_whatever_is_lost() {
    let mut met: BTreeMap<&'static str, u32> = BTreeMap::new();
    for seed in 0..3_000 {
        let world = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            for _ in 0..120 {
                world.step();
            }
            world.finish();
            world.met
        });
        let world = world.unwrap_or_else(|_| panic!("seed {seed}"));
        for (what, times) in world {
            *met.entry(what).or_default() += times;
        }
    }
    #[rustfmt::skip] // a list
    let names = ["answer lost", "fenced", "late copy made", "lost", "made", "not made", "not sent", "refused"];
    assert_eq!(met.keys().copied().collect::<Vec<_>>(), names, "{met:?}");
}

#[test]
fn a_batch_has_at_most_what_etcd_takes_and_one_change_of_a_key() {
    let mut writer = Writer::new(Incarnation {
        directory: 1,
        start: 1,
    });
    for number in 0..250_u16 {
        writer.take(Change {
            call: CallId(number.into()),
            held: Held {
                slot: Slot(number),
                epoch: Revision(3),
            },
            key: format!("channel{}", number.min(240)).into(),
            value: (number % 3 > 0).then(|| [0].as_slice().into()),
            ticket: number,
            since: Now(0),
        });
    }
    let (first, one) = writer.next(Now(0)).unwrap();
    let (second, two) = writer.next(Now(0)).unwrap();
    assert_eq!((first, second), (0, 1));
    assert_eq!(writer.next(Now(0)), None, "two batches are under way");
    assert_eq!(
        one.records.len(),
        REMOVALS_PER_BATCH,
        "a removal comes first"
    );
    assert_eq!((one.lane, two.records.len()), (None, PUTS_PER_BATCH));
    let keys: HashSet<&Rc<str>> = two.records.iter().map(|(_, key, _)| key).collect();
    assert_eq!(keys.len(), two.records.len());
    assert_eq!(writer.expire(Now(WRITE_WAIT_MS - 1)), []);
    let late = writer.expire(Now(WRITE_WAIT_MS));
    assert_eq!(late.len(), 250 - one.records.len() - two.records.len());
}
