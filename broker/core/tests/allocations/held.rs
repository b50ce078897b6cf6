//! What a shard holds for idle connections and channels: as bytes that were asked for, before the allocator's rounding
//! and without the edge, whose part is asserted where its types are.

use super::driver::Driver;

/// Whole chunks of every table.
const CHANNELS: usize = 4096;

/// A channel that is there and that nobody uses: its record, its texts, its places in the tables.
#[test]
fn a_channel_nobody_uses() {
    let empty = held_by(|| Driver::new(0));
    let full = held_by(|| Driver::new(CHANNELS));
    assert_near("a channel", (full - empty) / CHANNELS, UNUSED_CHANNEL_BYTES);
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

/// Bytes that are held after this and were not before it.
fn held_by<T>(step: impl FnOnce() -> T) -> usize {
    let mut kept = None;
    let counted = allocation_counter::measure(|| kept = Some(step()));
    usize::try_from(counted.bytes_current).expect("nothing is given back that was there before")
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

const UNUSED_CHANNEL_BYTES: usize = 251;
const ALONE_BYTES: usize = 252;
const CROWDED_BYTES: usize = 265;
