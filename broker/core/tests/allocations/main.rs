//! Allocations of a shard, counted.
//!
//! A message's way through a shard allocates nothing once its buffers are there: counted, in both directions, alone and
//! in bursts. Buffers of more than `SPARE_OUTBOX_BYTES_MAX` are not kept, so larger bursts allocate theirs.
#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps nothing fails, as it should"
)]

mod driver;
mod held;

use codec::signal::Action;
use codec::signal::client::Outgoing;
use driver::Driver;

#[test]
fn a_relayed_message_allocates_nothing() {
    for payload in [200, 3_000] {
        for count in [1, 4] {
            let mut driver = Driver::new(1);
            let master = driver.connect(0, None);
            let viewer = driver.connect(0, Some(VIEWER));
            for (from, to, recipient) in [(master, viewer, Some(VIEWER)), (viewer, master, None)] {
                let read = frames(payload, count, recipient);
                let mut buffer = read.clone();
                for round in 0..100 {
                    buffer.copy_from_slice(&read);
                    driver.sent.clear();
                    let counted = allocation_counter::measure(|| driver.receive(from, &mut buffer));
                    let [(recipient, bytes)] = driver.sent[..] else {
                        panic!("one send is due, not {:?}", driver.sent);
                    };
                    assert!(recipient == to && bytes > payload * count);
                    // The first ones make buffers, which are used again.
                    assert!(
                        round < WARM_UP || counted.count_total == 0,
                        "{payload} bytes, {count} at a time, round {round}: {counted:?}"
                    );
                }
            }
        }
    }
}

/// The counter counts: a connection allocates.
#[test]
fn a_connection_allocates() {
    let mut driver = Driver::new(1);
    let counted = allocation_counter::measure(|| {
        driver.connect(0, None);
    });
    assert!(counted.count_total > 0, "{counted:?}");
}

/// The bytes that a client sends in one piece.
fn frames(payload: usize, count: usize, recipient: Option<&str>) -> Vec<u8> {
    let payload = "A".repeat(payload);
    let (mut out, mut scratch) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let message = Outgoing {
            action: Action::IceCandidate,
            payload: &payload,
            recipient,
            correlation_id: None,
        };
        message.write(&mut out, &mut scratch, [1, 2, 3, 4]);
    }
    out
}

/// Rounds after which every buffer has its size.
const WARM_UP: usize = 10;
const VIEWER: &str = "viewer-1";
