//! Memory that a shard holds for idle connections and channels: as bytes that were asked for, before the allocator's
//! rounding and without the edge, whose part is asserted where its types are.

use super::driver::{self, Driver};
use broker_core::cluster::link::{Link, Role};
use broker_core::limits::RECORD_BYTES_MAX;
use broker_core::record::Record;
use broker_core::time::Now;
use codec::control::Tag;
use codec::link::{Client, Kind};

/// Whole chunks of every table.
const CHANNELS: usize = 4096;

/// A channel that is there and that nobody uses: its record, its texts, its places in the tables.
#[test]
fn a_channel_nobody_uses() {
    let empty = held_by(|| Driver::new(0));
    let full = held_by(|| Driver::new(CHANNELS));
    assert_near("a channel", (full - empty) / CHANNELS, UNUSED_CHANNEL_BYTES);
}

/// A channel whose states a hook gets, when its master and a viewer have come and gone, beside one that nobody watches.
#[test]
fn a_channel_that_a_hook_watches() {
    let at_rest = |mut driver: Driver| {
        for channel in 0..CHANNELS {
            for viewer in [None, Some("viewer-1")] {
                let session = driver.connect(channel, viewer);
                driver.leave(session);
            }
        }
        driver
    };
    let unwatched = held_by(|| at_rest(Driver::new(CHANNELS)));
    let watched = held_by(|| at_rest(Driver::watched(CHANNELS)));
    let more = watched.saturating_sub(unwatched);
    let fine = more <= CHANNELS;
    assert!(fine, "{more} bytes more for {CHANNELS} channels");
}

/// Records count with what they take at least: what is asked for, and 16 bytes for each allocation.
#[test]
fn a_record_counts_with_what_it_takes() {
    let tags = |count: usize, key: usize, value: usize| {
        let tag = |number| Tag {
            key: format!("{number:0>key$}").into(),
            value: "v".repeat(value).into(),
        };
        (0..count).map(tag).collect::<Vec<_>>()
    };
    for (count, key, value) in [
        (0, 0, 0),
        (1, 2, 0),
        (3, 8, 20),
        (50, 2, 1),
        (50, 512, 1024),
    ] {
        let records = || {
            (0..CHANNELS / 4).map(|number| Record {
                tags: tags(count, key, value).into(),
                ..driver::record(number)
            })
        };
        let counted: usize = records().map(|record| record.bytes()).sum();
        assert!(counted <= CHANNELS / 4 * RECORD_BYTES_MAX);
        let before = allocations(|| Driver::new(0));
        let after = allocations(|| Driver::with(records()));
        let held = after.0 - before.0 + 16 * (after.1 - before.1);
        assert!(
            held <= counted && counted <= held * 2,
            "{count} tags of {key} and {value}: {held} bytes are held, {counted} counted"
        );
    }
}

/// A channel with its master and one viewer, on top of the channel.
#[test]
fn a_channel_with_one_viewer() {
    let mut driver = Driver::new(CHANNELS);
    let connected = held_by(|| {
        for channel in 0..CHANNELS {
            driver.connect(channel, None);
            driver.connect(channel, Some("viewer-1"));
        }
    });
    assert_near("a connection", connected / (2 * CHANNELS), ALONE_BYTES);
}

/// The same with nine viewers.
#[test]
fn a_channel_with_nine_viewers() {
    let mut driver = Driver::new(CHANNELS / 8);
    let connected = held_by(|| {
        for channel in 0..CHANNELS / 8 {
            driver.connect(channel, None);
            for viewer in 0..9 {
                driver.connect(channel, Some(&format!("viewer-{viewer}")));
            }
        }
    });
    assert_near(
        "a connection",
        connected / (CHANNELS / 8 * 10),
        CROWDED_BYTES,
    );
}

/// Clients at rest on one link, each with its answer: what both of its ends hold for one of them. A quiet turn costs
/// nothing for them.
#[test]
fn a_client_at_rest_on_a_link() {
    let ends = [Role::Front, Role::Owner];
    let mut kept = None;
    let held = held_by(|| {
        let [mut front, mut owner] = ends.map(|role| Link::new(role, WINDOW, Now(0)));
        let mut bytes = Vec::new();
        for _ in 0..STREAMS {
            let id = front.open(&client(), b"GET".to_vec(), 0).expect("room");
            carry(&mut front, &mut owner, &mut bytes);
            owner.streams.took(id, owner.inbox(id).len());
            owner.streams.push(id, &[7; 200], true);
            carry(&mut owner, &mut front, &mut bytes);
            front.streams.took(id, front.inbox(id).len());
            front.streams.sent(id, 200, 200, Now(0));
            front.streams.unacknowledged(id, 0, 1);
            carry(&mut front, &mut owner, &mut bytes);
        }
        kept = Some([front, owner]);
    });
    assert_near("a client on a link", held / STREAMS, ON_A_LINK_BYTES);
    for mut end in kept.expect("both ends") {
        assert_eq!(end.figures().streams, STREAMS as u64);
        end.tick(Now(20_000)); // whose sweep ends
        while end.poll().is_some() {}
        let quiet = allocations(|| end.tick(Now(20_001)));
        assert!(quiet == (0, 0) && !end.has_output());
    }
}

fn client() -> Client {
    Client {
        kind: Kind::Upgrade,
        address: ([192, 0, 2, 1], 1).into(),
        listener: 0,
        tls: false,
        server_name: "".into(),
        certificate: None,
    }
}

fn carry(from: &mut Link, to: &mut Link, bytes: &mut Vec<u8>) {
    bytes.clear();
    from.write(bytes, Now(0));
    to.read(bytes, Now(0));
    while to.poll().is_some() {}
}

/// Bytes and allocations that are held after this and were not before it.
fn allocations<T>(step: impl FnOnce() -> T) -> (usize, usize) {
    let mut kept = None;
    let counted = allocation_counter::measure(|| kept = Some(step()));
    let number = |held: i64| usize::try_from(held).expect("no fewer");
    (number(counted.bytes_current), number(counted.count_current))
}

/// Bytes that are held after this and were not before it.
fn held_by<T>(step: impl FnOnce() -> T) -> usize {
    allocations(step).0
}

fn assert_near(what: &str, held: usize, expected: usize) {
    assert!(
        held * 10 <= expected * 11,
        "{what} holds {held} bytes, more than a tenth above {expected}: each of a million pays for it"
    );
    assert!(
        held * 10 >= expected * 9,
        "{what} holds {held} bytes: write that here in place of {expected}"
    );
}

const STREAMS: usize = 100_000;
const WINDOW: u32 = 256 << 10;
const ON_A_LINK_BYTES: usize = 774;
const UNUSED_CHANNEL_BYTES: usize = 251;
const ALONE_BYTES: usize = 284;
const CROWDED_BYTES: usize = 301;
