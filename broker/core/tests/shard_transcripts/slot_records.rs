//! The sum of the bytes of records, while slots come and go and records change.

use crate::shard_transcripts::slots::{ACCOUNT, CHANNEL, Node, REGION, parcel, serve};
use crate::shard_transcripts::store::{Changes, SlowStore};
use broker_core::cluster::message::{Held, ReleaseCause, SlotOrder};
use broker_core::cluster::types::Revision;
use broker_core::id::{Identity, NodeId};
use broker_core::limits::CHANGE_REPLY_MS_MAX;
use broker_core::machine::{Input, Machine};
use broker_core::record::{Record, Version};
use broker_core::registry::StoreError;
use broker_core::settings::Settings;
use broker_core::shard::Letter;
use broker_core::time::Wall;
use codec::control::Tag;
use codec::identifiers::ChannelArn;
use std::collections::{BTreeMap, VecDeque};

const CHANNELS: usize = 4;
const STEPS: u32 = 60;
const WORLDS: u64 = 200;

/// A channel that is here: its record, and that of a change that is under way, with the change's number.
struct Here {
    record: Record,
    next: Option<(u32, Record)>,
}

impl Here {
    /// It counts with the larger of both.
    fn bytes(&self) -> usize {
        let next = self.next.as_ref().map_or(0, |(_, next)| next.bytes());
        self.record.bytes().max(next)
    }
}

#[test]
fn records_are_counted_as_long_as_their_slot_is_here() {
    let mut left = 0;
    for seed in 0..WORLDS {
        left += world(fastrand::Rng::with_seed(seed), seed);
    }
    assert!(left > 0, "no slot left with a change under way");
}

/// Returns the number of changes whose slot left, or was served again, before they were durable.
fn world(mut random: fastrand::Rng, seed: u64) -> usize {
    let changes = Changes::default();
    changes.wait();
    let store = Box::new(SlowStore::new(0, &changes));
    let mut node = Node::with_store(Settings::default(), store);
    let mut here: BTreeMap<usize, Here> = BTreeMap::new();
    let mut submitted = VecDeque::new();
    let mut left = 0;
    for number in 0..STEPS {
        let channel = random.usize(..CHANNELS);
        let record = record(channel, random.usize(..200));
        let slot = node.map.slot(&Identity::of(&record.arn));
        let slot = slot.expect("the key is known");
        let epoch = Revision(9);
        let held = Held { slot, epoch };
        let is_changing = |it: &Here| it.next.is_some();
        match random.u8(..8) {
            0 | 1 => {
                node.order(serve(held, vec![record.clone()], None));
                node.map.assign(slot, Some(NodeId(0)));
                let next = None;
                let before = here.insert(channel, Here { record, next });
                left += usize::from(before.as_ref().is_some_and(is_changing));
            }
            2 => {
                let causes = [
                    ReleaseCause::Transferred,
                    ReleaseCause::Superseded(Some(parcel())),
                ];
                let cause = random.choice(causes).expect("two");
                node.order(SlotOrder::Release(held, cause));
                node.map.assign(slot, None);
                let before = here.remove(&channel);
                left += usize::from(before.as_ref().is_some_and(is_changing));
            }
            3 | 4 => {
                let Some(((_, key), (channel, number))) = changes.next().zip(submitted.pop_front())
                else {
                    continue;
                };
                let is_durable = random.bool();
                let result = match is_durable {
                    true => Ok(()),
                    false => Err(StoreError::Busy),
                };
                node.input(Input::Letter(Letter::Committed(key, result)));
                let is_this = |it: &&mut Here| it.next.as_ref().is_some_and(|it| it.0 == number);
                if let Some(of) = here.get_mut(&channel).filter(is_this) {
                    let (_, next) = of.next.take().expect("it is this one");
                    of.record = if is_durable { next } else { of.record.clone() };
                }
            }
            _ => {
                if let Some(of) = here.get_mut(&channel).filter(|it| it.next.is_none()) {
                    node.call("/TagResource", &tag_resource(&record));
                    of.next = Some((number, record));
                    submitted.push_back((channel, number));
                }
            }
        }
        let bytes: usize = here.values().map(Here::bytes).sum();
        let counted = node.shard.snapshot().record_bytes;
        assert_eq!(counted, bytes as u64, "seed {seed}, step {number}");
    }
    left
}

/// A channel with one tag, whose value has this length.
fn record(channel: usize, value: usize) -> Record {
    let arn = format!("arn:aws:kinesisvideo:{REGION}:{ACCOUNT}:channel/cam{channel}/17");
    let tag = Tag {
        key: "k".into(),
        value: "v".repeat(value).into(),
    };
    Record {
        arn: ChannelArn::parse(&arn, true).expect("an ARN"),
        ttl_seconds: 60,
        created: Wall(17),
        version: Version::from_bytes([b'v'; 20]).expect("letters"),
        tags: vec![tag].into(),
    }
}

/// The call that gives a channel the tag of this record.
fn tag_resource(record: &Record) -> String {
    let (arn, value) = (&record.arn, &record.tags[0].value);
    format!(r#"{{"ResourceARN":"{arn}","Tags":[{{"Key":"k","Value":"{value}"}}]}}"#)
}

/// etcd may never say what became of a change that was sent; its caller gets 503, and what etcd says later counts.
#[test]
fn a_change_without_an_outcome_is_answered_in_time() {
    let changes = Changes::default();
    changes.wait();
    let mut node = Node::with_store(Settings::default(), Box::new(SlowStore::new(0, &changes)));
    node.take_slot(Vec::new());
    let body = format!("{{\"ChannelName\":\"{CHANNEL}\"}}");
    let create = node.call("/createSignalingChannel", &body);
    node.tick(CHANGE_REPLY_MS_MAX - 100);
    assert_eq!(node.heard(create), "");
    node.tick(200);
    let answer = node.heard(create);
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    let (_, key) = changes.next().expect("it is under way");
    node.input(Input::Letter(Letter::Committed(key, Ok(()))));
    let describe = node.call("/describeSignalingChannel", &body);
    assert!(node.heard(describe).starts_with("HTTP/1.1 200 "));
    node.assert_balanced();
}
