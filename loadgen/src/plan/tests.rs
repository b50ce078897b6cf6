use super::*;
use crate::options::{CommandLine, LoadCommand};
use clap::Parser;

/// Returns the plan of a run against this machine, unless the flags name a target.
pub(crate) fn plan(flags: &str) -> Result<Plan, String> {
    let target = match flags.contains("--target ") {
        true => "",
        false => "--target http://127.0.0.1:1 ",
    };
    let words = format!("loadgen run {target}{flags}");
    let words = words.split_ascii_whitespace();
    let line = CommandLine::try_parse_from(words).map_err(|error| error.to_string())?;
    let LoadCommand::Run(options) = line.command else {
        return Err("not a run".into());
    };
    options.plan(1, |_| None).map_err(|error| error.to_string())
}

#[test]
fn defaults_make_a_plan() {
    let relay = plan("--mode relay").unwrap();
    assert_eq!((relay.connections(), relay.threads()), (200, vec![None]));
    assert_eq!(relay.trust, CertificateTrust::NotNeeded);
    let sessions = |flags: &str| plan(flags).unwrap().schedule.unwrap().sessions();
    assert_eq!(sessions(""), 100, "ten a second for ten seconds");
    assert_eq!(sessions("--duration 3"), 30);
    assert_eq!(sessions("--sessions 7"), 7);
}

#[test]
fn who_is_trusted_and_whether_discovery_may_lead_abroad() {
    let (http, https) = (
        "--target http://127.0.0.1:1",
        "--target https://127.0.0.1:1",
    );
    let authority = || CertificateTrust::Authority("x".into());
    let owned = "--i-own-this-target";
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        (http.to_owned(), CertificateTrust::NotNeeded, false),
        (https.to_owned(), CertificateTrust::System, false),
        (format!("{https} --tls-ca x"), authority(), false),
        (format!("{http} --tls-ca x"), CertificateTrust::NotNeeded, false),
        (format!("--discover {http}"), CertificateTrust::System, false),
        (format!("--discover --tls-ca x {owned}"), authority(), true),
        (format!("--discover --insecure {owned}"), CertificateTrust::Anyone, true),
        (format!("--discover --rate 101 {owned}"), CertificateTrust::System, false),
        (format!("--discover --rate 101 --yes {owned}"), CertificateTrust::System, true),
        ("--discover --rate 101 --yes".into(), CertificateTrust::System, false),
        ("--discover --mode relay".into(), CertificateTrust::NotNeeded, false),
    ];
    for (flags, trust, abroad) in cases {
        let plan = plan(&flags).unwrap();
        assert_eq!((plan.trust, plan.abroad), (trust, abroad), "{flags}");
    }
}

#[test]
fn only_relays_are_paced() {
    let pace = |flags: &str| plan(flags).unwrap().pace;
    assert_eq!(pace("--mode relay"), None);
    assert_eq!(pace("--mode relay --rate 2000"), Some(2_000.0));
    assert_eq!(pace("--mode sessions --rate 2000"), None);
}

#[test]
fn who_connects() {
    let count = |flags: &str| plan(flags).unwrap().connections();
    let idle = "--mode idle --channels 900 --viewers-per-channel 9";
    assert_eq!(count(idle), 9_000);
    assert_eq!(count("--mode connect --channels 50"), 50);
    let found = count("--mode connect --channels 50 --viewers-per-channel 0");
    assert_eq!(found, 50);
}

#[test]
fn a_storm_refuses_what_it_would_ignore() {
    #[rustfmt::skip] // a list
    let all = [
        "--sessions 5", "--rate 5", "--arrival ramp", "--hold 1", "--window 2",
    ];
    for flags in all {
        let error = plan(&format!("--mode storm {flags}")).unwrap_err();
        let flag = flags.split(' ').next().unwrap();
        assert!(error.starts_with(flag), "{flags}: {error}");
        let others = plan(&format!("--duration 9 --rate 5 {flags}"));
        assert!(flag == "--sessions" || others.is_ok(), "{flags}");
    }
    assert!(plan("--mode storm --candidates 2 --trickle 5").is_ok());
}

/// Checks that each of these flags is rejected with a text that contains the given word.
#[test]
fn faults_name_the_flag_and_what_is_allowed() {
    for (flags, word) in [
        ("--rate 0", "expected 1 to"),
        ("--presign", "AWS_ACCESS_KEY_ID"),
        ("--rate 1 --sessions 99 --duration 9", "contradict"),
        ("--candidates 32", "0 to 31"),
        ("--part 1/101", "as many parts as"),
        ("--part 3/2", "K/N"),
        ("--sdp-payload 70", "--sdp-payload"),
        ("--p99-below 0", "--p99-below: expected 0.001 to"),
        ("--max-below NaN", "--max-below: expected 0.001 to"),
        ("--failed-below 101", "expected 0.000001 to 100"),
        ("--tls-percent 5", "--tls-target"),
        ("--mode fast", "relay"),
        ("--mode relay --payload 70", "multiple of 4"),
        ("--mode relay --payload 201", "multiple of 4"),
        ("--mode relay --viewers-per-channel 0", "1 to 1000 in"),
        ("--mode relay --rate 0", "--rate: expected 0.1"),
        (
            "--mode relay --rate 5 --window 2",
            "expected 1 in --mode relay with --rate",
        ),
        ("--mode idle --channels 0", "--channels"),
        ("--mode idle --window 0", "--window"),
        ("--mode idle --duration 0", "--duration"),
        ("--mode idle --duration NaN", "--duration"),
        ("--mode idle --cores 1-", "CPU numbers"),
        ("--mode idle --cores 9-1", "CPU numbers"),
        ("--mode idle --source-addresses x", "FIRST-LAST"),
        ("--mode idle --account-id 7", "twelve digits"),
        ("--mode idle --channel-prefix a/b", "--channel-prefix"),
        ("--insecure --tls-ca x", "--tls-ca"),
    ] {
        let error = plan(flags).unwrap_err();
        assert!(error.contains(word), "{flags}: {error}");
    }
    let owned = "--i-own-this-target --target http://192.0.2.1:1";
    let detour = "--tls-target https://192.0.2.1:2 --tls-percent 5";
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        ("--target http://192.0.2.1:1".into(), "loopback"),
        (format!("{owned} --rate 101"), "--yes"),
        (format!("{owned} --mode relay"), "--yes"),
        (format!("{owned},https://192.0.2.1:1 --mode idle --insecure"), "--insecure"),
        (format!("{detour} --insecure --i-own-this-target"), "--insecure"),
        ("--target http://[::1]:1 --source-addresses 127.0.1.1/24".into(), "an IPv4"),
    ];
    for (flags, word) in cases {
        let error = plan(&flags).unwrap_err();
        assert!(error.contains(word), "{flags}: {error}");
    }
}
