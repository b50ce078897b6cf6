//! Files replaced under a running broker: what is new holds for what comes after, and nobody is cut off.

use crate::listeners::tls::{BOTH, Identity, ask, certificate, handshakes};
use crate::peer::HealthyPair;
use crate::process::Broker;
use std::fs;
use std::sync::Arc;
use testkit::{until, until_true};

#[test]
fn a_replaced_certificate_is_presented_and_nobody_is_cut_off() {
    let (identity, next) = (Identity::new("localhost"), Identity::new("localhost"));
    let broker = identity.serve(4, "");
    let client = identity.client(BOTH, None);
    let mut pair = HealthyPair::secure_as(&broker, &client);
    let mut kept = ask(&broker, &client).expect("a handshake");
    let resumed = handshakes(&broker)[1];
    identity.become_another(&next);
    let client_after = next.client(BOTH, None);
    until("the next certificate", || ask(&broker, &client_after).ok());
    pair.relay();
    std::io::Write::write_all(&mut kept, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .expect("the old connection is still read");
    // A client with an earlier ticket is let in by it, whatever is presented to others.
    for _ in 0..8 {
        assert!(ask(&broker, &client).is_ok());
    }
    assert!(handshakes(&broker)[1] >= resumed + 8.0);
    pair.relay();
}

#[test]
fn half_written_files_change_nothing_and_are_logged_once() {
    let (identity, next) = (Identity::new("localhost"), Identity::new("localhost"));
    let broker = identity.serve(2, "");
    let mut pair = HealthyPair::secure_as(&broker, &identity.client(BOTH, None));
    let whole = fs::read(&next.key).expect("a key");
    fs::write(&identity.key, &whole[..whole.len() / 2]).expect("written");
    until_true("the complaint", || told(&broker) == 1);
    testkit::assert_has(
        &broker.log(),
        &["a section in it has no end: is the file complete?"],
    );
    // Long enough for many looks; a signal makes the broker look and log once more.
    broker.signal("HUP");
    until_true("the second complaint", || told(&broker) == 2);
    assert!(ask(&broker, &identity.client(BOTH, None)).is_ok());
    pair.relay();
    identity.become_another(&next);
    let client = next.client(BOTH, None);
    let stream = until("the next certificate", || ask(&broker, &client).ok());
    let presented = stream.conn.peer_certificates().expect("presented");
    assert_eq!(presented, [certificate(&next.cert)]);
    assert_eq!(told(&broker), 2, "{}", broker.log());
    broker.logged(
        &["certificate in force", " name=", " serial=", " until="],
        2,
    );
    pair.relay();
}

#[test]
fn a_signal_needs_no_change_and_no_wait() {
    let identity = Identity::new("localhost");
    let broker = identity.serve(1, "");
    broker.signal("HUP");
    broker.logged(&["running", " version=", " commit="], 1);
    broker.logged(&["nothing to reload: the certificate has not changed"], 1);
    assert!(!broker.log().contains("certificate reloaded"));
    let plain = Broker::start(&["--dev", "--listen", "http://127.0.0.1:0"], 1);
    plain.signal("HUP");
    until_true("an answer", || plain.log().contains("nothing to reload"));
}

/// A new authority of client certificates: a ticket of one that the old authority vouched for is worth nothing.
#[test]
fn tickets_end_with_the_authority_of_clients() {
    let identity = Identity::new("localhost");
    let (before, after) = (Identity::new("before"), Identity::new("after"));
    let broker = identity.serve(1, &format!("client_ca = {:?}\n", before.ca));
    let old = identity.client(BOTH, Some(&before));
    for _ in 0..3 {
        assert!(ask(&broker, &old).is_ok());
    }
    assert_eq!(handshakes(&broker)[1], 2.0);
    fs::copy(&after.ca, &before.ca).expect("copied");
    let new = identity.client(BOTH, Some(&after));
    until("the other authority", || ask(&broker, &new).ok());
    ask(&broker, &old).expect_err("neither by its ticket nor by its certificate");
    assert!(ask(&broker, &Arc::clone(&new)).is_ok());
}

fn told(broker: &Broker) -> usize {
    broker
        .log()
        .matches("the certificate stays as it was")
        .count()
}
