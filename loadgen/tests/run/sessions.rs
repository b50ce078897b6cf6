//! The open loop: sessions and storms.

use crate::run::program::{Live, run};
use crate::run::service::{Reception, serve_from, service};
use crate::support::Fault;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

/// A part of a run has the sessions of its channels, and no others.
#[test]
fn a_part_has_its_sessions() {
    let target = format!("http://{}", service(Fault::Nothing));
    let flags = "--sessions 20 --channels 4 --part 2/4 --payload 400";
    let (code, report) = run(&target, flags);
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["sessions"]["scheduled"], 5, "{report}");
    assert_eq!(report["sessions"]["completed"], 5, "{report}");
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
    serve_from(listener, Fault::Nothing, Arc::default());
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
    let reception = Reception {
        stall: Duration::from_millis(400),
        ..Reception::default()
    };
    serve_from(listener, Fault::Nothing, Arc::new(reception));
    let (code, report) = run(
        &target,
        "--rate 100 --duration 1 --channels 1 --candidates 0",
    );
    assert_eq!(code, Some(0), "{report}");
    let setup = &report["latency_us"]["setup"];
    assert_eq!(setup["count"], 100);
    assert!(setup["max"].as_u64().unwrap() > 300_000, "{setup}");
    let fine = setup["p90"].as_u64().unwrap() > 100_000;
    assert!(fine, "about a third of them waited: {setup}");
}
