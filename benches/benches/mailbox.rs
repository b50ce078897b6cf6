//! A letter from one shard to another, without waking anybody: posted and taken on one thread, beside other queues; and
//! a channel's record as bytes and back, as it goes to the store.

use benches::harness::{Timer, group, run};
use broker_core::record::{Record, Version};
use broker_core::registry::{decode, encode, key};
use broker_core::time::Wall;
use codec::control::Tag;
use codec::identifiers::ChannelArn;
use mailbox::Mailbox;
use std::hint::black_box;
use std::sync::mpsc::sync_channel;

fn main() {
    run(|criterion| {
        for letters in [1, 64] {
            pass(criterion, letters);
        }
        for tags in [0, 50] {
            record(criterion, tags);
        }
    });
}

/// A letter as large as one of the shards in a box.
type Letter = [u64; 2];

fn pass(criterion: &mut Timer, letters: usize) {
    let case = format!("batch-{letters}");
    let mut group = group(
        criterion,
        "mailbox/pass",
        &case,
        letters,
        letters * size_of::<Letter>(),
    );
    let mailbox = Mailbox::<Letter>::new(1024, 64).expect("descriptors are to be had");
    let ours = || {
        for number in 0..letters {
            let posted = mailbox.post([number as u64; 2]);
            assert!(posted.is_ok());
        }
        let mut taken = 0;
        while let Some(letter) = mailbox.try_take() {
            assert_eq!(letter, [taken; 2]);
            taken += 1;
        }
        taken
    };
    assert_eq!(ours(), letters as u64);
    group.bench_function("heliograph", |bencher| bencher.iter(ours));
    let (to, from) = sync_channel::<Letter>(1024);
    let std = || {
        for number in 0..letters {
            assert!(to.try_send(black_box([number as u64; 2])).is_ok());
        }
        from.try_iter().count()
    };
    assert_eq!(std(), letters);
    group.bench_function("std-sync-channel", |bencher| bencher.iter(std));
    group.finish();
}

fn record(criterion: &mut Timer, tags: usize) {
    let arn = "arn:aws:kinesisvideo:us-west-2:123456789012:channel/demo/1700000000000";
    let arn = ChannelArn::parse(arn, true).expect("it is one of a channel");
    let tags: Vec<Tag> = (0..tags)
        .map(|number| Tag {
            key: format!("key-{number}").into(),
            value: "a value of usual length".into(),
        })
        .collect();
    let record = Record {
        arn,
        ttl_seconds: 60,
        created: Wall(1_700_000_000_000),
        version: Version::from_bytes([b'A'; 20]).expect("letters"),
        tags: tags.into(),
    };
    let bytes = encode(&record);
    let read = decode(key(&record.arn), &bytes).expect("it was just written");
    assert_eq!(read.arn, record.arn);
    assert_eq!(encode(&read), bytes);
    let case = format!("{}-tags", record.tags.len());
    let mut writing = group(criterion, "registry/encode", &case, 1, bytes.len());
    writing.bench_function("heliograph", |bencher| {
        bencher.iter(|| encode(black_box(&record)));
    });
    writing.bench_function("boxed-copy", |bencher| {
        bencher.iter(|| Box::<[u8]>::from(black_box(&*bytes)));
    });
    writing.finish();
    let mut reading = group(criterion, "registry/decode", &case, 1, bytes.len());
    reading.bench_function("heliograph", |bencher| {
        bencher.iter(|| decode(key(&record.arn), black_box(&bytes)));
    });
    reading.finish();
}
