//! Frames that cost next to nothing to send and move nothing: empty messages, faulty ones, pongs, as fast as they go.

use super::{ATTACKER, Attack, Trial, broker};
use crate::peer::{Peer, viewer_query};
use crate::process::{Broker, arn};
use std::thread;

/// Attackers at a time.
const FLOODERS: usize = 8;

/// Bytes that one writes at once: what a receive on loopback brings.
const WRITE_BYTES: usize = 64 * 1024;

#[test]
fn a_flood_of_frames_without_effect_is_cut_off() {
    let faulty: &[u8] = b"\x81\x82\0\0\0\0{}";
    for (name, frame) in [
        ("empty messages", &b"\x81\x80\0\0\0\0"[..]),
        ("faulty messages", faulty),
        ("pongs", &b"\x8a\x80\0\0\0\0"[..]),
    ] {
        let broker = broker("", 1);
        let outcome = Trial::new(name, &broker).run(|attack| {
            thread::scope(|scope| {
                for number in 0..FLOODERS {
                    let broker = &broker;
                    scope.spawn(move || flood(broker, attack, number, frame));
                }
            });
        });
        assert!(
            outcome.did >= FLOODERS as u64,
            "each was cut off: {outcome:?}"
        );
        broker.assert_balanced();
    }
}

/// Connects, floods until it is cut off with 1008, again and again.
fn flood(broker: &Broker, attack: &Attack, number: usize, frame: &[u8]) {
    let query = viewer_query(&arn("attacked"), &format!("v{number}"));
    let bytes = frame.repeat(WRITE_BYTES / frame.len());
    while !attack.over() {
        let mut flooder = Peer::plain_from(ATTACKER, broker, &query);
        // Far more than is allowed within a second; a broker that takes all of it and goes on does not end the
        // connection.
        let _ = (0..64).try_for_each(|_| flooder.send_bytes(&bytes));
        let (_, code) = flooder.drain();
        assert!(code.is_none_or(|code| u16::from(code) == 1008), "{code:?}");
        attack.did(1);
    }
}
