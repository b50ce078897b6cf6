//! Measures the store: `cargo run --release -p heliograph-store --example figures -- DIR [ROWS]`.
//!
//! Fills a store in an empty directory with rows of some 300 bytes. Then opens it in the state left by a clean shutdown
//! and in the state left by a crash, and measures commits one by one and in batches.

#![expect(clippy::print_stdout, reason = "its answer")]
#![expect(clippy::unwrap_used, reason = "an example ends when something fails")]

use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use store::{Change, Committer, Refused, Store, Writer};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().expect("a directory");
    let dir = Path::new(&dir);
    let rows = arguments
        .next()
        .map_or(1_000_000, |rows| rows.parse().unwrap());

    let (writer, done) = start(open(dir, "empty"));
    let begun = Instant::now();
    submit_all(&writer.committer(), &done, 0..rows);
    report("filled", rows, begun.elapsed());
    let crashed = dir.join("crashed");
    std::fs::create_dir_all(&crashed).unwrap();
    std::fs::copy(dir.join("store.redb"), crashed.join("store.redb")).unwrap();
    writer.close();
    let bytes = std::fs::metadata(dir.join("store.redb")).unwrap().len();
    println!("file: {bytes} bytes, {} a row", bytes / rows.max(1));

    load(&open(&crashed, "crashed"), rows);
    std::fs::remove_dir_all(&crashed).unwrap();
    let store = open(dir, "closed");
    load(&store, rows);

    let (writer, done) = start(store);
    let committer = writer.committer();
    let begun = Instant::now();
    for number in 0..ONE_BY_ONE {
        submit_all(
            &committer,
            &done,
            number * 31 % rows..number * 31 % rows + 1,
        );
    }
    report("one by one", ONE_BY_ONE, begun.elapsed());
    let begun = Instant::now();
    let many = 50_000.min(rows);
    submit_scattered(&committer, &done, many, rows);
    report("as fast as taken, scattered", many, begun.elapsed());
    let begun = Instant::now();
    writer.close();
    println!("close: {:?}", begun.elapsed());
}

const ONE_BY_ONE: u64 = 500;

fn open(dir: &Path, what: &str) -> Store {
    let begun = Instant::now();
    let store = Store::open(dir).unwrap();
    println!("open, {what}: {:?}", begun.elapsed());
    store
}

fn load(store: &Store, expected: u64) {
    let (begun, mut bytes) = (Instant::now(), 0);
    let rows = store
        .load(|key, value| bytes += key.len() + value.len())
        .unwrap();
    assert_eq!(rows, expected);
    println!("load: {rows} rows, {bytes} bytes: {:?}", begun.elapsed());
}

fn start(store: Store) -> (Writer<u64>, Receiver<u64>) {
    let (tell, done) = channel();
    let on_done = move |answer: store::Done<u64>| {
        answer.result.unwrap();
        tell.send(answer.ticket).unwrap();
    };
    (store.start(on_done, || {}).unwrap(), done)
}

fn submit_scattered(committer: &Committer<u64>, done: &Receiver<u64>, count: u64, rows: u64) {
    let mut random = fastrand::Rng::with_seed(3);
    submit_all(committer, done, (0..count).map(|_| random.u64(0..rows)));
}

/// Submits changes and waits until all of them have been answered. While the queue is full, waits for an answer.
fn submit_all(
    committer: &Committer<u64>,
    done: &Receiver<u64>,
    numbers: impl IntoIterator<Item = u64>,
) {
    let mut waiting = 0_u64;
    for number in numbers {
        let mut change = Change {
            ticket: number,
            key: format!("us-west-2/123456789012/camera-{number:08}").into(),
            value: Some(vec![u8::try_from(number % 251).unwrap(); 260].into()),
        };
        while let Err((refused, back)) = committer.submit(change) {
            assert_eq!(refused, Refused::Busy);
            done.recv().unwrap();
            waiting -= 1;
            change = back;
        }
        waiting += 1;
    }
    for _ in 0..waiting {
        done.recv().unwrap();
    }
}

fn report(what: &str, changes: u64, took: Duration) {
    println!(
        "{what}: {changes} changes in {took:?}, {:.0} a second",
        changes as f64 / took.as_secs_f64()
    );
}
