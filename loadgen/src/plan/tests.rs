use super::*;
use crate::options::{Command, CommandLine};
use clap::Parser;

fn plan(flags: &str) -> Result<Plan, String> {
    let words = ["loadgen", "run"].into_iter().chain(flags.split(' '));
    let line = CommandLine::try_parse_from(words).map_err(|error| error.to_string())?;
    let Command::Run(options) = line.command else {
        return Err("not a run".into());
    };
    options.plan(1, |_| None).map_err(|error| error.to_string())
}

#[test]
fn defaults_make_a_plan() {
    let plan = plan("--target http://127.0.0.1:8080 --mode relay").unwrap();
    assert_eq!((plan.connections(), plan.threads()), (200, vec![None]));
    assert_eq!(plan.trust, Trust::NotNeeded);
}

#[test]
fn a_target_is_enough_for_a_run() {
    let sessions = |flags: &str| {
        let plan = plan(&format!("--target http://127.0.0.1:8080{flags}")).unwrap();
        plan.schedule.map(|schedule| schedule.sessions())
    };
    assert_eq!(sessions(""), Some(100), "ten a second for ten seconds");
    assert_eq!(sessions(" --duration 3"), Some(30));
    assert_eq!(sessions(" --sessions 7"), Some(7));
}

#[test]
fn who_is_trusted_and_whether_discovery_may_lead_abroad() {
    let authority = || Trust::Authority("x".into());
    for (flags, trust, abroad) in [
        ("http://127.0.0.1:1 --rate 1", Trust::NotNeeded, false),
        ("https://127.0.0.1:1 --rate 1", Trust::System, false),
        (
            "https://127.0.0.1:1 --rate 1 --tls-ca x",
            authority(),
            false,
        ),
        (
            "http://127.0.0.1:1 --rate 1 --tls-ca x",
            Trust::NotNeeded,
            false,
        ),
        (
            "http://127.0.0.1:1 --rate 1 --discover",
            Trust::System,
            false,
        ),
        (
            "http://127.0.0.1:1 --rate 1 --discover --tls-ca x --i-own-this-target",
            authority(),
            true,
        ),
        (
            "http://127.0.0.1:1 --rate 1 --discover --insecure --i-own-this-target",
            Trust::Anyone,
            true,
        ),
        (
            "http://127.0.0.1:1 --rate 101 --discover --i-own-this-target",
            Trust::System,
            false,
        ),
        (
            "http://127.0.0.1:1 --rate 101 --discover --i-own-this-target --yes",
            Trust::System,
            true,
        ),
        (
            "http://127.0.0.1:1 --rate 101 --discover --yes",
            Trust::System,
            false,
        ),
        (
            "http://127.0.0.1:1 --mode relay --discover",
            Trust::NotNeeded,
            false,
        ),
    ] {
        let plan = plan(&format!("--target {flags}")).unwrap();
        assert_eq!((plan.trust, plan.abroad), (trust, abroad), "{flags}");
    }
}

#[test]
fn only_relays_are_paced() {
    let pace = |flags: &str| {
        plan(&format!("--target http://127.0.0.1:1 {flags}"))
            .unwrap()
            .pace
    };
    assert_eq!(pace("--mode relay"), None);
    assert_eq!(pace("--mode relay --rate 2000"), Some(2_000.0));
    assert_eq!(pace("--mode sessions --rate 2000"), None);
}

#[test]
fn who_connects() {
    let count = |flags: &str| {
        plan(&format!("--target http://127.0.0.1:1 {flags}"))
            .unwrap()
            .connections()
    };
    assert_eq!(
        count("--mode idle --channels 900 --viewers-per-channel 9"),
        9_000
    );
    assert_eq!(count("--mode connect --channels 50"), 50);
    assert_eq!(
        count("--mode connect --channels 50 --viewers-per-channel 0"),
        50
    );
}

#[test]
fn faults_of_schedules_name_the_flag_and_what_is_allowed() {
    refused(&[
        ("--target http://127.0.0.1:1 --rate 0", "allowed are 1 to"),
        (
            "--target http://127.0.0.1:1 --rate 1 --presign",
            "AWS_ACCESS_KEY_ID",
        ),
        (
            "--target http://127.0.0.1:1 --rate 1 --sessions 99 --duration 9",
            "contradict",
        ),
        (
            "--target http://127.0.0.1:1 --rate 1 --candidates 32",
            "0 to 31",
        ),
        (
            "--target http://127.0.0.1:1 --rate 1 --part 1/101",
            "as many parts as",
        ),
        ("--target http://127.0.0.1:1 --rate 1 --part 3/2", "K/N"),
        (
            "--target http://127.0.0.1:1 --rate 1 --sdp-payload 70",
            "--sdp-payload",
        ),
        (
            "--target http://127.0.0.1:1 --rate 1 --p99-below 0",
            "--p99-below: allowed is 0.001 to",
        ),
        (
            "--target http://127.0.0.1:1 --rate 1 --max-below NaN",
            "--max-below: allowed is 0.001 to",
        ),
        (
            "--target http://127.0.0.1:1 --rate 1 --failed-below 101",
            "--failed-below: allowed is 0.000001 to 100",
        ),
        (
            "--target http://127.0.0.1:1 --rate 1 --tls-percent 5",
            "--tls-target",
        ),
        (
            "--target http://127.0.0.1:1 --rate 1 --tls-target https://192.0.2.1:2 --tls-percent 5 --insecure \
             --i-own-this-target",
            "--insecure",
        ),
        (
            "--target http://[::1]:1 --rate 1 --source-addresses 127.0.1.1/24",
            "an IPv4 address",
        ),
        (
            "--target http://192.0.2.1:1 --i-own-this-target --rate 101",
            "--yes",
        ),
        (
            "--target http://192.0.2.1:1 --i-own-this-target --mode relay",
            "--yes",
        ),
    ]);
}

/// Each of these flags is refused with a text that has this word.
fn refused(cases: &[(&str, &str)]) {
    for (flags, word) in cases {
        let error = plan(flags).unwrap_err();
        assert!(error.contains(word), "{flags}: {error}");
    }
}

#[test]
fn a_storm_refuses_what_it_would_ignore() {
    for flags in [
        "--sessions 5",
        "--rate 5",
        "--arrival ramp",
        "--hold 1",
        "--window 2",
    ] {
        let target = "--target http://127.0.0.1:1";
        let error = plan(&format!("{target} --mode storm {flags}")).unwrap_err();
        let flag = flags.split(' ').next().unwrap();
        assert!(error.starts_with(flag), "{flags}: {error}");
        let others = plan(&format!("{target} --duration 9 --rate 5 {flags}"));
        assert!(flag == "--sessions" || others.is_ok(), "{flags}");
    }
    assert!(plan("--target http://127.0.0.1:1 --mode storm --candidates 2 --trickle 5").is_ok());
}

#[test]
fn faults_name_the_flag_and_what_is_allowed() {
    refused(&[
        ("--mode relay", "--target"),
        ("--target http://127.0.0.1:1 --mode fast", "relay"),
        ("--target http://192.0.2.1:1 --mode relay", "loopback"),
        (
            "--target https://127.0.0.1:1 --mode relay --insecure --tls-ca x",
            "--tls-ca",
        ),
        (
            "--target https://192.0.2.1:1 --mode idle --insecure --i-own-this-target",
            "--insecure",
        ),
        (
            "--target http://127.0.0.1:1 --mode relay --payload 70",
            "multiple of 4",
        ),
        (
            "--target http://127.0.0.1:1 --mode relay --payload 201",
            "multiple of 4",
        ),
        (
            "--target http://127.0.0.1:1 --mode relay --viewers-per-channel 0",
            "1 to 1000 in",
        ),
        (
            "--target http://127.0.0.1:1 --mode idle --channels 0",
            "--channels",
        ),
        (
            "--target http://127.0.0.1:1 --mode idle --window 0",
            "--window",
        ),
        (
            "--target http://127.0.0.1:1 --mode relay --rate 0",
            "--rate: allowed is 0.1",
        ),
        (
            "--target http://127.0.0.1:1 --mode relay --rate 5 --window 2",
            "--window: allowed is nothing else than 1",
        ),
        (
            "--target http://127.0.0.1:1 --mode idle --duration 0",
            "--duration",
        ),
        (
            "--target http://127.0.0.1:1 --mode idle --duration NaN",
            "--duration",
        ),
        (
            "--target http://127.0.0.1:1 --mode idle --cores 1-",
            "CPU numbers",
        ),
        (
            "--target http://127.0.0.1:1 --mode idle --cores 9-1",
            "CPU numbers",
        ),
        (
            "--target http://127.0.0.1:1 --mode idle --source-addresses x",
            "FIRST-LAST",
        ),
        (
            "--target http://127.0.0.1:1 --mode idle --account-id 7",
            "twelve digits",
        ),
        (
            "--target http://127.0.0.1:1 --mode idle --channel-prefix a/b",
            "--channel-prefix",
        ),
    ]);
}
