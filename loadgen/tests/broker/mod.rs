//! Every mode against the real broker: what the report says, and what the broker's own books say of the same run.
//!
//! The broker is the binary beside loadgen's. Each test starts one of its own, on free ports.
#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps nothing fails, as it should"
)]

mod nodes;
pub(crate) mod process;

use process::{Broker, SECRET};
use serde_json::Value;
use std::fs;

/// Plain, over TLS, both mixed, and with API calls of their own: all sessions go all the way.
#[test]
fn sessions() {
    let broker = Broker::dev();
    let (plain, tls) = (broker.url("http://"), broker.url("https://"));
    let authority = broker.word("ca=");
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        (format!("--target {plain}"), 30, 0),
        (format!("--target {tls} --tls-ca {authority}"), 30, 30),
        (
            format!(
                "--target {plain} --tls-target {tls} --tls-percent 100 --tls-ca {authority} --arrival poisson \
                 --hold 0.1 --cores 0 --sdp-payload 2000"
            ),
            30,
            30,
        ),
        // It sends them to its TLS listener, for the second call and for messages.
        (format!("--target {plain} --discover --tls-ca {authority}"), 90, 60),
        // Both calls go over one connection where the target is what it names.
        (format!("--target {tls} --discover --tls-ca {authority}"), 60, 60),
        (format!("--target {plain} --processes 2 --arrival ramp"), 30, 0),
    ];
    for (flags, connects, handshakes) in cases {
        let report = broker.run(&format!(
            "{flags} --sessions 30 --duration 1 --channels 3 --candidates 2"
        ));
        assert_sessions(&report, 30, 3);
        assert_eq!(report["connections"]["opened"], 33, "{flags}: {report}");
        assert_eq!(count(&report, "connect"), connects, "{flags}");
        assert_eq!(count(&report, "tls"), handshakes, "{flags}");
    }
}

/// The server's figures come from its admin listener, which may want a token.
#[test]
fn figures_of_an_admin_listener_with_a_token() {
    let directory = process::directory();
    let token = directory.file("admin.token", "a-token-of-32-characters-or-more\n");
    let config = directory.file("broker.toml", &format!("[admin]\ntoken_file = {token:?}\n"));
    let flags = format!(
        "--dev --listen http://127.0.0.1:0 --config {}",
        config.display()
    );
    let broker = Broker::start(directory, &flags);
    let (target, admin) = (broker.url("http://"), broker.word("admin="));
    let run = format!("--target {target} --sessions 5 --duration 1 --channels 1 --admin {admin}");
    let refused = broker.loadgen(&run, SECRET);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    let fine = refused.stderr.contains("401") && refused.stderr.contains("--token-file");
    assert!(fine, "{refused:?}");
    let end = broker.loadgen(&format!("{run} --token-file {}", token.display()), SECRET);
    assert_eq!(end.code, Some(0), "{end:?}");
    let fine = end.report["cpu"]["server_s"].as_f64().unwrap() > 0.0;
    assert!(fine, "{}", end.report);
    let absent = broker.loadgen(&format!("{run} --token-file absent.token"), SECRET);
    assert_eq!(absent.code, Some(2), "{absent:?}");
    let fine = absent
        .stderr
        .contains("--token-file absent.token: must be a readable file");
    assert!(fine, "{absent:?}");
}

/// Without --tls-ca the system's authorities count, for the target and for what discovery names.
#[test]
fn the_authorities_of_the_system_are_trusted() {
    let broker = Broker::dev();
    let (plain, tls) = (broker.url("http://"), broker.url("https://"));
    let few = "--sessions 5 --duration 0.5 --channels 1";
    let end = broker.loadgen(&format!("--target {tls} {few}"), SECRET);
    assert_eq!(end.code, Some(2), "{end:?}");
    assert!(end.stderr.contains("--tls-ca"), "{end:?}");
    // The channel is created by its master's connect, which finds nothing to discover yet and connects to the target.
    let discovered = format!("--target {plain} --discover {few}");
    let end = broker.loadgen(&discovered, SECRET);
    assert_eq!(end.code, Some(3), "{end:?}");
    let fine = end.report["errors"].to_string().contains("--tls-ca");
    assert!(fine, "{end:?}");
    assert_eq!(broker.settled(0.0), 0.0);

    fs::copy(broker.word("ca="), broker.system_authorities()).unwrap();
    assert_sessions(&broker.run(&format!("--target {tls} {few}")), 5, 5);
    assert_sessions(&broker.run(&discovered), 5, 5);
}

/// The modes that measure what a message, a connection held and a connection made cost.
#[test]
fn relay_idle_and_connect() {
    let broker = Broker::dev();
    let target = format!(
        "--target {} --server-pid {}",
        broker.url("http://"),
        broker.running.id()
    );
    let flags = "--mode relay --channels 3 --viewers-per-channel 2 --window 2 --duration 0.3";
    let report = broker.run(&format!("{target} {flags}"));
    assert_eq!(report["connections"]["opened"], 9, "{report}");
    assert!(report["messages"]["sent"].as_u64().unwrap() > 1000);
    assert!(report["cpu"]["server_us_per_message"].as_f64().unwrap() > 0.0);
    assert!(
        report["latency_us"]["message"]["hdr"].is_string() && report["latency_us"]["tls"].is_null()
    );
    // The load ran before it was measured; the log and the spans are those of the measured time.
    let intervals = report["intervals"].as_array().unwrap().iter();
    let logged: u64 = intervals.map(|one| one["messages"].as_u64().unwrap()).sum();
    assert_eq!(count(&report, "message"), logged, "{report}");
    assert!(report["messages"]["received"].as_u64().unwrap() > logged);

    let report = broker.run(&format!("{target} --mode idle --channels 20 --duration 1"));
    assert_eq!(report["connections"]["opened"], 40, "{report}");
    assert_eq!(report["connections"]["peak"], 40);
    assert_eq!(report["messages"]["sent"], 0);
    assert!(report["memory"]["server_bytes_per_connection"].is_number());

    // Its closed connections stay in TIME_WAIT: they take no ports of the address that other tests connect from.
    let flags =
        "--mode connect --channels 4 --duration 0.3 --source-addresses 127.0.77.1-127.0.77.4";
    let report = broker.run(&format!("{target} {flags}"));
    assert!(report["connections"]["cycles"].as_u64().unwrap() > 4);
    assert_eq!(report["messages"]["sent"], 0);
}

/// Messages on schedule: as many as the rate says, whatever is answered, and how late they were sent is known.
#[test]
fn a_relay_on_schedule() {
    let broker = Broker::dev();
    let report = broker.run(&format!(
        "--target {} --mode relay --rate 500 --channels 3 --viewers-per-channel 2 --duration 1",
        broker.url("http://")
    ));
    assert_eq!(report["connections"]["opened"], 9, "{report}");
    let messages = &report["messages"];
    assert_eq!(messages["sent"], messages["received"]);
    // Two seconds of them, the first of which warms up; a busy machine makes them longer. A closed loop sends a hundred
    // times as many.
    let sent = messages["sent"].as_u64().unwrap();
    assert!((900..=3_000).contains(&sent), "{report}");
    let fine = (450..=2_000).contains(&count(&report, "message"));
    assert!(fine, "{report}");
    assert!(report["schedule_lag_us"]["p99"].is_u64(), "{report}");
}

/// Each connection after the first ones resumes the session of an earlier one.
#[test]
fn sessions_of_tls_are_resumed() {
    let broker = Broker::dev();
    let (tls, authority) = (broker.url("https://"), broker.word("ca="));
    let target = format!("--target {tls} --tls-ca {authority}");
    let flags =
        "--mode connect --channels 4 --duration 0.3 --source-addresses 127.0.78.1-127.0.78.4";
    let resumed = |report: &Value| report["connections"]["resumed"].as_u64().unwrap();
    let report = broker.run(&format!("{target} {flags} --resume"));
    let opened = report["connections"]["opened"].as_u64().unwrap();
    assert!(opened > 8 && resumed(&report) + 4 >= opened, "{report}");
    assert_eq!(resumed(&broker.run(&format!("{target} {flags}"))), 0);
}

/// All at once over TLS: everybody gets in.
#[test]
fn a_storm() {
    let broker = Broker::dev();
    let report = broker.run(&format!(
        "--target {} --tls-ca {} --mode storm --channels 3 --viewers-per-channel 4 --duration 1",
        broker.url("https://"),
        broker.word("ca=")
    ));
    assert_sessions(&report, 12, 5);
    assert_eq!(report["connections"]["opened"], 15, "{report}");
    assert_eq!(report["connections"]["peak"], 15);
    assert_eq!(count(&report, "tls"), 15);
    // Here they were created by connecting, and stay.
    assert_eq!(broker.channels(), 3);
}

/// The first scenario that a newcomer runs leaves no channels behind.
#[test]
fn the_first_minute_leaves_nothing_behind() {
    let broker = Broker::dev();
    let scenario = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/first-minute.toml");
    let target = broker.url("http://");
    let report = broker.run(&format!(
        "{scenario} --target {target} --duration 1 --hold 0"
    ));
    assert!(report["sessions"]["completed"].as_u64().unwrap() > 0);
    broker.assert_channels_made_and_removed(50.0);
}

/// The calls that make channels trust what the load trusts.
#[test]
fn channels_are_made_over_tls() {
    let broker = Broker::dev();
    let target = format!("--target {}", broker.url("https://"));
    let few = "--sessions 5 --duration 0.5 --channels 2 --create-channels";
    let authority = format!("--tls-ca {}", broker.word("ca="));
    let mut made = 0.0;
    for trust in ["--insecure", &authority] {
        assert_sessions(&broker.run(&format!("{target} {few} {trust}")), 5, 5);
        made += 2.0;
        broker.assert_channels_made_and_removed(made);
    }
    let strangers = Broker::dev();
    let stranger = format!("--tls-ca {}", strangers.word("ca="));
    let end = broker.loadgen(&format!("{target} {few} {stranger}"), SECRET);
    assert_eq!(end.code, Some(3), "{end:?}");
    let fine = end.stderr.contains("--create-channels: loadgen-0: ");
    assert!(fine, "{end:?}");
    broker.assert_channels_made_and_removed(made);
}

/// Unknown channels are refused here, so channels that work were made by API; they are gone afterwards.
#[test]
fn signed_and_with_channels_made_for_the_run() {
    let broker = Broker::signed();
    let target = format!("--target {}", broker.url("http://"));
    let signed = "--presign --create-channels --duration 1 --channels 3";
    let mut made = 0.0;
    for flags in ["--sessions 20", "--sessions 20 --discover"] {
        let report = broker.run(&format!("{target} {signed} {flags}"));
        assert_sessions(&report, 20, 5);
        made += 3.0;
        broker.assert_channels_made_and_removed(made);
    }
    let flags = "--mode storm --viewers-per-channel 3 --discover";
    let report = broker.run(&format!("{target} {signed} {flags}"));
    assert_sessions(&report, 9, 5);
    broker.assert_channels_made_and_removed(made + 3.0);
}

/// A refusal of the strict service ends in exit code 3, with the service's reason; the books balance here, too.
#[test]
fn refused_by_a_strict_service() {
    let broker = Broker::signed();
    let target = format!("--target {}", broker.url("http://"));
    let flags = "--sessions 10 --duration 0.5 --channels 2";
    for (more, reason) in [
        ("", "refused_403_MissingAuthenticationTokenException"),
        ("--presign", "refused_404_ResourceNotFoundException"),
    ] {
        let end = broker.loadgen(&format!("{target} {flags} {more}"), SECRET);
        assert_eq!(end.code, Some(3), "{more}: {end:?}");
        let fine = end.report["errors"][reason].as_u64().unwrap() > 0;
        assert!(fine, "{end:?}");
        assert!(end.report["request_ids"][reason].is_string(), "{end:?}");
        assert_eq!(end.report["sessions"]["completed"], 0);
    }
    let flags = format!("{target} {flags} --presign --create-channels");
    let end = broker.loadgen(&flags, "another-secret");
    assert_eq!(end.code, Some(3), "{end:?}");
    let fine = end.stderr.contains("403 InvalidSignatureException");
    assert!(fine, "{end:?}");
    let fine = !end.stderr.contains("another-secret");
    assert!(fine, "a secret in an error");
    assert_eq!(broker.settled(0.0), 0.0);
    assert_eq!(broker.channels(), 0);
}

/// Messages over the service's rates are answered by it: they are throttled, and not lost.
#[test]
fn throttled_messages_are_not_lost() {
    let broker = Broker::with_quotas();
    let target = format!("--target {}", broker.url("http://"));
    // From the first moment on; and, on schedule, when what may come at once is used up, in the midst of measuring.
    for pace in ["--duration 1", "--duration 3 --rate 400"] {
        let flags = format!("{target} --mode relay --channels 2 {pace}");
        let end = broker.loadgen(&flags, SECRET);
        assert_eq!(end.code, Some(3), "{end:?}");
        let messages = &end.report["messages"];
        assert!(messages["throttled"].as_u64().unwrap() > 0, "{end:?}");
        for fault in ["lost", "duplicated", "refused"] {
            assert_eq!(messages[fault], 0, "{pace}: {end:?}");
        }
    }
}

/// All of `sessions` completed, each with this many messages in each direction.
fn assert_sessions(report: &Value, sessions: u64, messages: u64) {
    let counts = &report["sessions"];
    assert_eq!(counts["scheduled"], sessions, "{report}");
    assert_eq!(counts["completed"], sessions, "{report}");
    assert_eq!(counts["failed"], 0, "{report}");
    let wanted = sessions * messages * 2;
    assert_eq!(report["messages"]["sent"], wanted, "{report}");
    assert_eq!(count(report, "message"), sessions * messages * 2);
    assert!(report["schedule_lag_us"]["p99"].is_number());
    for name in ["offer_answer", "setup"] {
        assert_eq!(count(report, name), sessions, "{name}");
    }
}

/// The number of spans of this kind that were measured.
fn count(report: &Value, name: &str) -> u64 {
    report["latency_us"][name]["count"]
        .as_u64()
        .unwrap_or_default()
}
