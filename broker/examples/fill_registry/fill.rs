//! Channel records written through the store, as a broker writes them. Beside the example, a test of a large registry
//! uses this.

use broker::registry::{self, DurableStore, Ticket};
use broker_core::id::{ChannelKey, ShardId};
use broker_core::record::{Record, Version};
use broker_core::registry::{Change, Store};
use broker_core::time::Wall;
use codec::control::Tag;
use codec::identifiers::ChannelArn;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};

/// Writes this many channels, each with this many tags, into the registry of a data directory that no server uses.
pub(crate) fn fill(dir: &Path, channels: usize, tags: usize) {
    let (tell, told) = channel();
    let store = registry::open(dir, |_| {}).expect("a directory that exists");
    let on_done =
        move |done: store::Done<Ticket>| tell.send(done.result).expect("somebody listens");
    let writer = store.start(on_done, || {}).expect("a thread");
    let mut end = DurableStore::new(ShardId(0), writer.committer());
    let mut random = fastrand::Rng::with_seed(1);
    let mut under_way = 0;
    for number in 0..channels {
        if under_way == UNDER_WAY_MAX {
            wait(&told);
            under_way -= 1;
        }
        let record = record(number, tags, &mut random);
        end.submit(ChannelKey::default(), Change::Put(&record))
            .expect("fewer are under way than the queue takes");
        under_way += 1;
    }
    (0..under_way).for_each(|_| wait(&told));
    writer.close();
}

fn wait(told: &Receiver<Result<(), store::CommitError>>) {
    told.recv()
        .expect("an answer to each change")
        .expect("room on the disk");
}

fn record(number: usize, tags: usize, random: &mut fastrand::Rng) -> Record {
    let created = Wall(1_700_000_000_000 + number as u64);
    let arn = format!(
        "arn:aws:kinesisvideo:us-west-2:123456789012:channel/fill-{number:07}/{}",
        created.0
    );
    let tag = |tag: usize| Tag {
        key: format!("tag-{tag}").into(),
        value: format!("value of channel {number}").into(),
    };
    Record {
        arn: ChannelArn::parse(&arn, true).expect("an ARN"),
        ttl_seconds: 60,
        created,
        version: Version::draw(random),
        tags: (0..tags).map(tag).collect::<Vec<_>>().into(),
    }
}

/// Below the store's queue, so that no change is refused.
const UNDER_WAY_MAX: usize = store::limits::QUEUE_CHANGES_MAX / 2;
