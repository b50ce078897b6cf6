//! Messages that are begun and never ended, on as many WebSockets as one cares to open.

use super::{ATTACKER, Trial, broker};
use crate::peer::{Peer, viewer_query};
use crate::process::arn;
use std::time::Duration;

/// Bytes that unfinished messages of all connections may take, with requests.
const BUDGET: usize = 1 << 20;

/// Bytes of each message that come; one more would end it.
const BEGUN: usize = 60_000;

const CONNECTIONS: usize = 60;

#[test]
fn unfinished_messages_are_bounded_all_together() {
    let configuration =
        format!("[limits]\nrequest_bytes = {BUDGET}\nviewers_per_channel = {CONNECTIONS}\n");
    let broker = broker(&configuration, 1);
    let mut message = vec![0x81, 0xfe];
    message.extend_from_slice(&60_001_u16.to_be_bytes());
    message.extend_from_slice(&[0; 4]);
    message.resize(message.len() + BEGUN, b'x');
    let outcome = Trial::new("unfinished messages", &broker).run(|attack| {
        let mut crowd = Vec::new();
        for number in 0..CONNECTIONS {
            let query = viewer_query(&arn("begun"), &format!("v{number}"));
            let mut peer = Peer::plain_from(ATTACKER, &broker, &query);
            let _ = peer.send_bytes(&message);
            crowd.push(peer);
            attack.did(1);
        }
        // 3.6 MB have come or were cut off.
        let scrape = || broker.scrape();
        while scrape().sum("heliograph_request_bytes_refused_total") < 1.0 {
            assert!(!attack.over(), "nobody paid");
            std::thread::sleep(Duration::from_millis(10));
        }
        let held = scrape().sum("heliograph_request_bytes");
        assert!(held <= (BUDGET + 2 * BEGUN) as f64, "{held} bytes are held");
    });
    assert_eq!(outcome.did, CONNECTIONS as u64);
    broker.assert_balanced();
}
