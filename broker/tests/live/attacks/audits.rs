//! Audit lines: refused changes are limited like other refusals; no change is made without one, also when nobody reads
//! the log.

use super::{ATTACKER, Trial, broker};
use crate::http::{Connection, create, request};
use crate::peer::HealthyPair;
use crate::process::{Broker, DEV, fresh_directory};
use crate::signed::service::credentials;
use crate::signed::signer::{Call, Signer};
use serde_json::json;
use std::fs;
use std::io::Read;
use std::thread;
use std::time::Duration;
use testkit::until;

/// Requests that an attacker has under way on its connection.
const PIPELINED: usize = 50;

/// Lines about changes of one network that were not made, which each shard may log within a second.
const DENIALS_PER_SECOND: f64 = 10.0;

/// Lines about refusals of one channel which each shard may log of one network within ten seconds.
const REFUSALS_PER_WINDOW: f64 = 16.0;

/// Changes of one account whose lines wait in the log's queue at most, half of all, and more than are ever needed to
/// fill its share.
const QUEUED: usize = 1024;
const CHANGES_MAX: usize = 4 * QUEUED;

/// Changes of a neighbour meanwhile.
const OWN: usize = 20;

#[test]
fn refused_creates_do_not_flood_the_log() {
    let broker = broker("", 2);
    create(broker.plain, "taken", 60);
    let outcome = Trial::new("refused creates", &broker).run(|attack| {
        let mut connection = Connection::open_from(ATTACKER, broker.plain);
        let again = request("/createSignalingChannel", r#"{"ChannelName":"taken"}"#);
        while !attack.over() {
            connection.send(&again.repeat(PIPELINED));
            for _ in 0..PIPELINED {
                let answer = connection.answer().expect("an answer");
                answer.refused(400, "ResourceInUseException");
            }
            attack.did(PIPELINED as u64);
        }
    });
    let logged = broker.log();
    let lines = logged.matches("ResourceInUseException").count() as f64;
    let seconds = outcome.took.as_secs_f64().ceil() + 1.0;
    let windows = (seconds / 10.0).ceil() + 1.0;
    assert!(
        lines <= seconds * DENIALS_PER_SECOND + windows * REFUSALS_PER_WINDOW,
        "{lines} lines in {seconds} s, of {} refusals",
        outcome.did
    );
    let suppressed = broker.scrape().sum("heliograph_log_suppressed_total");
    // Each refusal would be two lines: what was refused, and which change was not made.
    let unsaid = outcome.did as f64 * 2.0 - lines;
    assert!(
        (suppressed - unsaid).abs() < 0.5,
        "{suppressed} of {unsaid} were counted"
    );
}

#[test]
fn no_change_is_made_without_its_audit_line() {
    let (mut broker, mut pipe) = Broker::into_pipe(&DEV, 2);
    let mut pair = HealthyPair::new(&broker);
    let arn = create(broker.plain, "audited", 60);
    let mut caller = Connection::open_from(ATTACKER, broker.plain);
    let body = json!({"ChannelARN": arn, "MediaStorageConfiguration": {"Status": "DISABLED"}});
    let change = request("/updateMediaStorageConfiguration", &body.to_string());
    let (mut made, mut refused) = (1, 0); // the channel itself was the first
    while refused == 0 {
        assert!(made < CHANGES_MAX, "the queue has no end");
        caller.send(&change.repeat(PIPELINED));
        for _ in 0..PIPELINED {
            let answer = caller.answer().expect("an answer");
            match answer.status {
                200 => made += 1,
                _ => {
                    let text = answer.refused(503, "ServiceUnavailable");
                    assert!(text.contains("audit"), "{text}");
                    refused += 1;
                }
            }
        }
    }
    assert!(made >= QUEUED, "{made} changes had their places");
    let counted = broker.scrape().sum("heliograph_audit_refused_total");
    assert!(
        (counted - f64::from(refused)).abs() < 0.5,
        "{counted} of {refused} counted"
    );
    pair.relay(); // nobody waits for the log
    let reader = thread::spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).expect("the log is UTF-8");
        text
    });
    until("a change while the log is read", || {
        caller.send(&change);
        match caller.answer().expect("an answer").status {
            200 => Some(()),
            other => {
                assert_eq!(other, 503);
                None
            }
        }
    });
    made += 1;
    drop((pair, caller));
    broker.signal("TERM");
    assert!(broker.ended_within(Duration::from_secs(25)).success());
    let log = reader.join().expect("the reader");
    let audits = log
        .lines()
        .filter(|line| line.contains("audit") && line.contains("outcome=\"ok\""));
    assert_eq!(audits.count(), made, "a line for each change that was made");
}

#[test]
fn changes_of_one_account_take_no_places_of_anothers() {
    let file = fresh_directory().join("credentials.toml");
    fs::write(&file, credentials()).expect("a file under target/");
    let file = file.to_str().expect("a path in UTF-8");
    let signed = ["--auth", "sigv4", "--listen", "http://127.0.0.1:0"];
    let arguments = [&signed[..], &["--credentials", file]].concat();
    let (broker, pipe) = Broker::into_pipe(&arguments, 2);
    let mut caller = Connection::open_from(ATTACKER, broker.plain);
    let (tenant, neighbour) = (Signer::new("admin"), Signer::new("neighbour"));
    let create = |signer: &Signer, number: usize| {
        let body = json!({"ChannelName": format!("c-{number}")});
        let call = Call::api(&broker, "/createSignalingChannel", &body);
        signer.sign(call).bytes()
    };
    let (mut made, mut refused) = (0, 0);
    while refused == 0 {
        assert!(made < CHANGES_MAX, "the account's share has no end");
        let creates = (made..made + PIPELINED).map(|number| create(&tenant, number));
        caller.send(&creates.collect::<Vec<_>>().concat());
        for _ in 0..PIPELINED {
            let answer = caller.answer().expect("an answer");
            match answer.status {
                200 => made += 1,
                _ => {
                    answer.refused(503, "ServiceUnavailable");
                    refused += 1;
                }
            }
        }
    }
    for number in 0..OWN {
        caller.send(&create(&neighbour, number));
        caller.answer().expect("an answer").ok();
    }
    // An account that has more than its share gets none of the places that are left.
    caller.send(&create(&tenant, made));
    caller
        .answer()
        .expect("an answer")
        .refused(503, "ServiceUnavailable");
    drop(pipe);
}
