//! The open loop: sessions and storms.

use crate::run::program::{Live, run};
use crate::run::service::{serve_on, serve_with_stall, service};
use crate::support::Fault;
use std::net::TcpListener;
use std::time::Duration;

/// Sessions over a sound service: all of them complete, whatever the arrival, in one process and in several.
#[test]
fn sessions_go_all_the_way() {
    let target = format!("http://{}", service(Fault::Nothing));
    for (flags, sessions) in [
        ("--rate 100 --channels 3", 30),
        (
            "--rate 100 --channels 3 --arrival poisson --hold 0.1 --candidates 0 --cores 0",
            30,
        ),
        (
            "--sessions 20 --channels 4 --processes 2 --arrival ramp --sdp-payload 2000",
            20,
        ),
        ("--sessions 20 --channels 4 --part 2/4 --payload 400", 5),
        ("--rate 100 --channels 3 --discover", 30),
    ] {
        let (code, report) = run(&target, flags);
        assert_eq!(code, Some(0), "{flags}: {report}");
        assert_eq!(
            report["sessions"]["scheduled"], sessions,
            "{flags}: {report}"
        );
        assert_eq!(report["sessions"]["completed"], sessions);
        let candidates = if flags.contains("--candidates 0") {
            0
        } else {
            4
        };
        assert_eq!(
            report["messages"]["received"],
            sessions * 2 * (candidates + 1)
        );
        for name in ["upgrade", "offer_answer", "setup"] {
            assert_eq!(report["latency_us"][name]["count"], sessions, "{name}");
        }
        // Its API calls have a connection of their own.
        let connects = if flags.contains("--discover") { 2 } else { 1 };
        assert_eq!(
            report["latency_us"]["connect"]["count"],
            sessions * connects
        );
        assert!(report["schedule_lag_us"]["p99"].is_number());
    }
}

/// A faulty service spoils sessions: what is missing is waited for, named, and ends in its exit code.
#[test]
fn faults_in_sessions_end_in_exit_code_1() {
    for (fault, name) in [
        (Fault::Duplicates, "duplicated"),
        (Fault::Corrupts, "corrupted"),
    ] {
        let target = format!("http://{}", service(fault));
        let (code, report) = run(&target, "--rate 60 --channels 2 --payload 400 --patience 1");
        assert_eq!(code, Some(1), "{fault:?} {report}");
        assert!(report["messages"][name].as_u64().unwrap() > 0, "{name}");
    }
}

#[test]
fn a_storm_comes_back_until_everybody_is_there() {
    // The service is not there when the storm begins.
    let place = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = place.local_addr().unwrap();
    drop(place);
    let flags = "--mode storm --channels 2 --viewers-per-channel 3 --duration 12";
    let mut run = Live::start(&format!("--target http://{address} {flags}"));
    let has_failed = |line: String| {
        let failures = line.split_once("  failed: ");
        line.starts_with("measuring ")
            && failures.is_some_and(|(_, kinds)| kinds.contains(" refused"))
    };
    assert!(run.progress.any(|line| has_failed(line.unwrap())));
    let listener = TcpListener::bind(address).unwrap();
    serve_on(listener, Fault::Nothing);
    let (code, report) = run.end();
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["sessions"]["completed"], 6, "{report}");
    assert!(report["errors"]["connect_refused"].as_u64().unwrap() > 0);
    // All attempts count into what a viewer waited.
    assert!(report["latency_us"]["setup"]["p50"].as_u64().unwrap() > 100_000);
}

/// Latency counts from the moment that was due: a service that stalls shows in every session that was due meanwhile.
#[test]
fn a_stall_shows_in_all_sessions_that_were_due() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("http://{}", listener.local_addr().unwrap());
    serve_with_stall(listener, Duration::from_millis(400));
    let (code, report) = run(
        &target,
        "--rate 100 --duration 1 --channels 1 --candidates 0",
    );
    assert_eq!(code, Some(0), "{report}");
    let setup = &report["latency_us"]["setup"];
    assert_eq!(setup["count"], 100);
    assert!(setup["max"].as_u64().unwrap() > 300_000, "{setup}");
    assert!(
        setup["p90"].as_u64().unwrap() > 100_000,
        "about a third of them waited: {setup}"
    );
}
