//! Descriptors: neither who reaches the admin listener nor clients take those of the other.

use super::{ATTACKER, HEALTHY, Trial};
use crate::http::Connection;
use crate::process::Broker;
use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

/// One shard starts with these and has room for about a hundred connections.
const DESCRIPTORS: u32 = 200;

/// Opens connections without end, of which some say half a head, and keeps as many as there are descriptors twice: for
/// the time of the attack, and on a busy machine until they were more than descriptors.
fn hoard(attack: &super::Attack, to: SocketAddr, mut meanwhile: impl FnMut()) {
    let mut held = Vec::new();
    while !attack.over() || held.len() <= DESCRIPTORS as usize {
        for number in 0..50 {
            let mut stream = crate::peer::tcp_from(ATTACKER, to);
            if number % 2 == 1 {
                let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\n");
            }
            held.push(stream);
            attack.did(1);
        }
        let most = 2 * DESCRIPTORS as usize;
        held.drain(..held.len().saturating_sub(most));
        meanwhile();
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn operator_is_served(broker: &Broker) {
    let mut operator = Connection::open_from(HEALTHY, broker.admin);
    operator.send(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let answer = operator.answer().expect("an answer to the operator");
    assert_eq!(answer.status, 200);
}

#[test]
fn admin_connections_take_no_descriptors_of_clients() {
    let broker = Broker::with_descriptors(DESCRIPTORS, 1);
    let trial = Trial::new("admin hoard", &broker);
    let outcome = trial.run(|attack| hoard(attack, broker.admin, || operator_is_served(&broker)));
    let more = outcome.peak.descriptors - outcome.before.descriptors;
    assert!(
        more <= 32 + 8,
        "those of the admin listener, and some newcomers: {outcome:?}"
    );
    broker.assert_balanced();
}

#[test]
fn clients_take_no_descriptors_of_operators() {
    let broker = Broker::with_descriptors(DESCRIPTORS, 1);
    let warning = format!("the limit of open files is {DESCRIPTORS}, which allows ");
    assert!(broker.log().contains(&warning), "{}", broker.log());
    let trial = Trial::new("client hoard", &broker);
    let outcome = trial.run(|attack| hoard(attack, broker.plain, || operator_is_served(&broker)));
    assert!(outcome.did > u64::from(DESCRIPTORS), "{outcome:?}");
    let refused = broker.scrape().sum("heliograph_accept_errors_total");
    assert!(refused > 0.0, "the limit was never met");
    broker.assert_balanced();
}
