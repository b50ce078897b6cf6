//! How a load begins: with which engine, processes in step, at a moment.

use crate::run::program::loadgen;
use crate::run::service::{Reception, reception, serve_from};
use crate::support::Fault;
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Processes wait for each other: no session begins before the last master of any of them is open. All the while the
/// whole run is shown.
#[test]
fn processes_start_in_step_and_show_their_progress() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let reception = Arc::new(Reception {
        slow: Some(("loadgen-1%2F", Duration::from_millis(700))),
        ..Reception::default()
    });
    serve_from(listener, Fault::Nothing, Arc::clone(&reception));
    let flags = "--processes 2 --channels 2 --rate 20 --duration 1.5";
    let output = loadgen(&format!("--target http://{address} {flags}"));
    assert_eq!(output.status.code(), Some(0));
    let heads = reception.heads.lock().unwrap();
    let place = |text: &str| heads.iter().position(|head| head.contains(text)).unwrap();
    assert!(place("answered") < place("X-Amz-ClientId"), "{heads:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    let shows = |line: &str| line.starts_with("measuring ") && line.contains(" sessions/s");
    assert!(said.lines().any(shows), "{said}");
    assert_eq!(said.matches("\nmeasuring\n").count(), 1, "{said}");
}

/// Where io_uring cannot be had a load is done with epoll, and one line says so; or it is refused. Every mode works.
#[test]
fn without_io_uring_a_load_is_done_with_epoll() {
    let (address, _) = reception(None);
    let says = "loadgen uses epoll, since io_uring is not available: ";
    let run = |kib: &str, flags: &str| {
        let limited =
            format!("ulimit -l {kib} && exec \"$0\" run --target http://{address} {flags}");
        let mut command = Command::new("bash");
        command.args(["-c", &limited, env!("CARGO_BIN_EXE_loadgen")]);
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap() + "\n";
        let table = String::from_utf8(output.stdout).unwrap();
        (
            output.status.code(),
            said.matches(says).count(),
            table + &said,
        )
    };
    let short = "--channels 2 --duration 0.3";
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        ("64", "--rate 20 --processes 2", (Some(0), 1)),
        ("64", "--mode relay --window 8", (Some(0), 1)),
        ("64", "--mode relay --engine io_uring", (Some(2), 0)),
        ("hard", "--mode idle --engine epoll", (Some(0), 0)),
        ("hard", "--mode storm --engine epoll", (Some(0), 0)),
        ("hard", "--mode connect --engine epoll --viewers-per-channel 4", (Some(0), 0)),
    ];
    for (kib, flags, expected) in cases {
        let (code, lines, text) = run(kib, &format!("{short} {flags}"));
        assert_eq!((code, lines), expected, "{flags}: {text}");
    }
}

#[test]
fn a_load_begins_at_its_moment() {
    let (address, reception) = reception(None);
    let flags = format!("--target http://{address} --sessions 5 --duration 0.3 --channels 1");
    let moment = SystemTime::now() + Duration::from_secs(2);
    let text = loadgen::result::words::rfc3339(moment);
    let output = loadgen(&format!("{flags} --start-at {text}"));
    assert_eq!(output.status.code(), Some(0));
    let first = *reception.viewers.lock().unwrap().iter().min().unwrap();
    // The text has whole seconds.
    let whole = text.parse::<loadgen::schedule::PlannedMoment>().unwrap().0;
    assert!(first >= whole, "{first:?} is before {whole:?}");

    for processes in ["1", "2"] {
        let past = "--start-at 2024-01-01T00:00:00Z --channels 2";
        let output = loadgen(&format!("{flags} {past} --processes {processes}"));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2));
        let fine = said.contains("--start-at: expected a time in the future");
        assert!(fine, "{said}");
    }
}
