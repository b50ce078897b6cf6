//! Deadlines that come nearer and move away again, over and over: requests begun, ended and begun again.

use super::{ATTACKER, Trial, broker};
use crate::http::Connection;
use crate::process::Broker;
use std::thread;
use std::time::Duration;

/// Attackers at a time.
const CONNECTIONS: usize = 30;

/// Longer than a head may take: what was armed for it is outdated by then.
const PAUSE: Duration = Duration::from_millis(3_100);

#[test]
fn a_connection_has_one_timer_entry() {
    let broker = broker("[timeouts]\nhead = \"3s\"\n", 1);
    let trial = Trial::new("moving deadlines", &broker).lasting(2 * PAUSE);
    trial.run(|attack| {
        let open = |_| Connection::open_from(ATTACKER, broker.plain);
        let mut connections: Vec<Connection> = (0..CONNECTIONS).map(open).collect();
        while !attack.over() {
            for connection in &mut connections {
                connection.send(b"POST / HTTP/1.1\r\nHost: localhost\r\n");
            }
            assert_entries(&broker);
            for connection in &mut connections {
                connection.send(b"Content-Length: 0\r\n\r\n");
                let answer = connection.answer().expect("an answer");
                answer.refused(404, "UnknownOperationException");
                attack.did(1);
            }
            thread::sleep(PAUSE);
        }
        assert_entries(&broker);
    });
    broker.assert_balanced();
}

fn assert_entries(broker: &Broker) {
    let scrape = broker.scrape();
    let entries = scrape.sum("heliograph_timer_entries");
    let owners = scrape.sum("heliograph_connections") + scrape.sum("heliograph_channels");
    assert!(
        entries >= 1.0 && entries <= owners,
        "{entries} entries for {owners} connections and channels"
    );
}
