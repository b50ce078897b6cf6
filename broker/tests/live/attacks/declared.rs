//! Frames that declare more than they bring: refused by their header, and nothing is allocated for them.

use super::{ATTACKER, Trial, broker};
use crate::peer::{Peer, viewer_query};
use crate::process::arn;

/// A masked text frame of this length, as far as its header goes.
fn header(length: u64) -> Vec<u8> {
    let mut bytes = vec![0x81, 0x80 | 127];
    bytes.extend(length.to_be_bytes());
    bytes.extend([1, 2, 3, 4]);
    bytes
}

#[test]
fn huge_frames_are_refused_by_their_header() {
    let broker = broker("", 1);
    let outcome = Trial::new("huge declared frames", &broker).run(|attack| {
        while !attack.over() {
            for length in [65_537, 1 << 20, 1 << 32, (1 << 63) - 1] {
                let query = viewer_query(&arn("attacked"), "attacker");
                let mut viewer = Peer::plain_from(ATTACKER, &broker, &query);
                viewer
                    .send_bytes(&header(length))
                    .expect("a header is taken");
                viewer.expect_close(1009);
                attack.did(1);
            }
        }
    });
    let grew = outcome
        .peak
        .resident_bytes
        .saturating_sub(outcome.before.resident_bytes);
    assert!(grew < 8 << 20, "{grew} bytes more: {outcome:?}");
    broker.assert_balanced();
}
