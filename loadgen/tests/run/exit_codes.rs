//! The exit codes of the program, and the texts that go with them.

use crate::run::program::{Live, loadgen, run};
use crate::run::service::service;
use crate::support::Fault;
use std::net::TcpListener;
use std::process::Command;

#[test]
fn a_target_that_is_not_there_is_exit_code_3() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    for mode in ["relay", "idle", "connect", "sessions --rate 10"] {
        let (code, report) = run(&target, &format!("--mode {mode} --channels 2"));
        assert_eq!(code, Some(3), "{mode} {report}");
        assert!(report["errors"]["connect_refused"].as_u64().unwrap() > 0);
    }
}

#[test]
fn ctrl_c_ends_gently_with_the_report() {
    let target = format!("http://{}", service(Fault::Nothing));
    let flags = format!("--target {target} --mode relay --channels 3 --duration 60");
    let mut run = Live::start(&flags);
    assert!(run.progress.any(|line| line.unwrap() == "measuring"));
    let pid = run.child.id().to_string();
    let killed = Command::new("kill").args(["-INT", &pid]).status();
    assert!(killed.unwrap().success());
    let (code, report) = run.end();
    assert_eq!(code, Some(130));
    assert_eq!(report["messages"]["lost"], 0, "{report}");
    assert!(report["messages"]["sent"].as_u64().unwrap() > 0);
}

/// A missed threshold is named in the first line; the exit code is that of the run, unless it is to be of thresholds.
#[test]
fn thresholds_are_named_and_change_the_exit_code_where_they_are_to() {
    let target = service(Fault::Nothing);
    let flags = format!(
        "--target http://{target} --mode relay --channels 1 --duration 0.3 --p50-below 0.001 \
         --max-below 3600000 --failed-below 1"
    );
    let (code, report) = run(
        &format!("http://{target}"),
        "--mode relay --channels 1 --duration 0.3 --p50-below 0.001 --fail-on-threshold",
    );
    assert_eq!(code, Some(4));
    assert_eq!(report["ok"], true, "it is of messages alone");
    assert_eq!(report["thresholds_met"], false);
    assert_eq!(report["thresholds"][0]["name"], "p50_below");
    let output = loadgen(&flags);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    let verdict = text.lines().last().unwrap();
    for part in [
        "Threshold missed: message p50 is ",
        "wanted below 1 µs. Thresholds met: message max is ",
        "; 0 of 2 connections failed, below 1 %.",
    ] {
        assert!(verdict.contains(part), "{part}: {verdict}");
    }
}

/// Quiet runs say nothing if all is well, and in one line why it is not.
#[test]
fn quiet_runs_say_why_they_failed() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = gone.local_addr().unwrap();
    drop(gone);
    let flags = "--mode idle --channels 2 --duration 0.3 --quiet";
    #[rustfmt::skip] // a table, a case per row
    let rows = [
        (service(Fault::Nothing), 0, ""),
        (closed, 3, "loadgen: The target failed: 4 connections failed.\n"),
    ];
    for (target, code, words) in rows {
        let output = loadgen(&format!("--target http://{target} {flags}"));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.as_str()), (Some(code), words));
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn wrong_usage_is_exit_code_2_with_what_is_allowed() {
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        ("", "--target"),
        ("--target https://127.0.0.1:1 --mode idle --tls-ca /nowhere", "/nowhere"),
        ("--target http://127.0.0.1:1 --mode idle --channels 1000000", "descriptors"),
        ("--target http://127.0.0.1:1 --mode idle --server-pid 4294967295", "--server-pid"),
        ("--target http://127.0.0.1:1 --mode storm --rate 5", "--rate: not supported by --mode storm"),
        ("--target http://127.0.0.1:1 --mode idle --cores 1023", "--cores"),
    ];
    for (flags, word) in cases {
        let output = loadgen(flags);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{flags}: {error}");
        assert!(error.contains(word), "{flags}: {error}");
    }
}

#[test]
fn plans_and_reports_need_no_target() {
    let tell = |words: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
            .args(words.split(' '))
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, text) = tell("plan --target http://127.0.0.1:1 --rate 10 --duration 5");
    assert_eq!(code, Some(0), "{text}");
    let fine = text.contains("50 over all parts") && text.contains("this machine allows it");
    assert!(fine, "{text}");
    let (code, text) = tell(
        "plan --target http://127.0.0.1:1 --mode idle --channels 1000000 --viewers-per-channel 1000",
    );
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("ulimit -Hn"), "{text}");
    let (code, text) = tell("report /nowhere.json");
    assert_eq!(code, Some(2));
    assert!(text.contains("/nowhere.json"), "{text}");
}
