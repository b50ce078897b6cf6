//! The contract of every store of the registry, whatever is under it: tests of the store on a disk and of the one on
//! etcd run these.

use broker_core::id::{ChannelKey, ShardId};
use broker_core::record::{Record, Version};
use broker_core::registry::{Change, Store, StoreError, Submitted, Ticket};
use broker_core::time::Wall;
use codec::identifiers::ChannelArn;
use std::collections::BTreeMap;
use std::sync::mpsc::Receiver;
use std::time::Duration;

/// A store that is open: its ends for two shards, and what is reported of changes.
pub(crate) struct Open<S> {
    pub(crate) shards: [(ShardId, S); 2],
    pub(crate) results: Receiver<(Ticket, Result<(), StoreError>)>,
}

/// A place of records. Opened again after it was closed, it has what was kept.
pub(crate) trait Place {
    /// One shard's end.
    type End: Store;

    /// Whether changes may be refused, with nothing changed, since what is under the store takes long to answer: one on
    /// a busy machine may need longer than a change is to wait.
    const MAY_REFUSE: bool = false;

    /// Opens it, and gives the identities of the records in it, sorted.
    fn open(&mut self) -> (Open<Self::End>, Vec<String>);

    /// Closes it: what was taken before is reported. Its ends may still be there.
    fn close(&mut self);
}

/// Longest wait for a report.
const PATIENCE: Duration = Duration::from_secs(30);

/// Records outlive the store that took them; a name that is given again is one record; what a closed store is given it
/// refuses.
pub(crate) fn records_outlive_the_store_that_took_them(place: &mut impl Place) {
    let (mut open, found) = place.open();
    assert_eq!(found, [""; 0]);
    let [one, two, again] = [("one", 1), ("two", 2), ("one", 3)].map(|(name, ms)| record(name, ms));
    let keys = [1, 2, 3].map(|slot| ChannelKey::new(slot, 7));
    let changes = [
        (0, keys[0], Change::Put(&one)),
        (1, keys[1], Change::Put(&two)),
        (0, keys[0], Change::Remove(&one.arn)),
        (0, keys[2], Change::Put(&again)),
    ];
    let mut expected = Vec::new();
    for (shard, channel, change) in changes {
        let (shard, end) = &mut open.shards[shard];
        assert_eq!(end.submit(channel, change), Ok(Submitted::Later));
        let shard = *shard;
        expected.push(Ticket { shard, channel });
    }
    let mut reported = Vec::new();
    for _ in 0..expected.len() {
        let (ticket, result) = open
            .results
            .recv_timeout(PATIENCE)
            .expect("each is reported");
        assert_eq!(result, Ok(()), "{ticket:?}");
        reported.push(ticket);
    }
    // Changes of one channel are reported in order, others in any.
    let of_one = |tickets: &[Ticket]| -> Vec<Ticket> {
        let is_one = |ticket: &&Ticket| ticket.channel != keys[1];
        tickets.iter().filter(is_one).copied().collect()
    };
    assert_eq!(of_one(&reported), of_one(&expected));
    place.close();
    let refused = open.shards[0]
        .1
        .submit(keys[0], Change::Put(&one))
        .unwrap_err();
    assert!(refused.to_string().contains("restarted"), "{refused}");
    assert!(open.results.try_recv().is_err(), "it is not reported");

    let (_, found) = place.open();
    assert_eq!(found, [again.arn.identity(), two.arn.identity()]);
    place.close();
}

/// Hundreds of changes of few names, submitted as fast as they are taken: each is reported once, and what is kept is
/// what the last of each name says that was made.
pub(crate) fn changes_of_a_name_are_made_in_order<P: Place>(place: &mut P) {
    let (mut open, _) = place.open();
    let mut submitted = Vec::new();
    let mut made: BTreeMap<ChannelKey, bool> = BTreeMap::new();
    let mut note = |(ticket, result): (Ticket, Result<(), StoreError>)| {
        if let Err(refused) = &result {
            let is_allowed = P::MAY_REFUSE && refused.to_string().contains("try again");
            assert!(is_allowed, "{ticket:?}: {refused}");
        }
        let before = made.insert(ticket.channel, result.is_ok());
        assert_eq!(before, None, "{ticket:?} is reported once");
    };
    let mut waiting = 0;
    for number in 0..600_u32 {
        let name = format!("name{}", number * 7 % 40);
        let record = record(&name, 1_000 + u64::from(number));
        let is_kept = !number.is_multiple_of(3);
        let channel = ChannelKey::new(number, 1);
        let end = &mut open.shards[usize::from(name.len() % 2 == 0)].1;
        loop {
            let change = if is_kept {
                Change::Put(&record)
            } else {
                Change::Remove(&record.arn)
            };
            match end.submit(channel, change) {
                Ok(Submitted::Later) => break,
                Err(StoreError::Busy) => {
                    note(open.results.recv_timeout(PATIENCE).expect("a report"));
                    waiting -= 1;
                }
                other => panic!("{other:?}"),
            }
        }
        waiting += 1;
        submitted.push((channel, record.arn.identity().to_owned(), is_kept));
    }
    for _ in 0..waiting {
        note(
            open.results
                .recv_timeout(PATIENCE)
                .expect("each is reported"),
        );
    }
    place.close();
    assert!(open.results.try_recv().is_err(), "each is reported once");
    let mut last: BTreeMap<String, bool> = BTreeMap::new();
    for (channel, identity, is_kept) in submitted {
        if made[&channel] {
            last.insert(identity, is_kept);
        }
    }
    assert!(!last.is_empty(), "some are made");
    let (_, found) = place.open();
    let kept = last.into_iter().filter(|(_, is_kept)| *is_kept);
    assert_eq!(
        found,
        kept.map(|(identity, _)| identity).collect::<Vec<_>>()
    );
    place.close();
}

/// A record of this name.
pub(crate) fn record(name: &str, created_ms: u64) -> Record {
    let arn = format!("arn:aws:kinesisvideo:eu-1:1:channel/{name}/{created_ms}");
    Record {
        arn: ChannelArn::parse(&arn, true).unwrap(),
        ttl_seconds: 60,
        created: Wall(created_ms),
        version: Version::from_bytes([b'v'; 20]).unwrap(),
        tags: Vec::new().into(),
    }
}
