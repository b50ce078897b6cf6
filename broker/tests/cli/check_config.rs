//! `check-config`: its summary, or the errors of a file.

use crate::cli::support::{broker, directory};
use std::fs;
use testkit::run;

#[test]
fn check_config_summarises_a_file_or_lists_its_errors() {
    let directory = directory();
    let good = directory.file(
        "good.toml",
        "auth = 'none'\nshards = 3\n[limits]\nviewers_per_channel = 4\n",
    );
    let output = run(broker(&["check-config"]).arg(&good));
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    testkit::assert_has(&output.stdout, &["3 on CPUs", "4 viewers a channel"]);

    let bad = directory.file("bad.toml", "shards = 0\nlimit = 1\nauth = 'none'\n");
    let output = run(broker(&["check-config"]).arg(&bad));
    assert_eq!(output.code, Some(2));
    let expected = format!(
        "{0}:1:10: shards = 0: expected 1 to 256\n{0}:2:1: limit = 1: unknown key, expected ",
        bad.display()
    );
    assert!(output.stderr.starts_with(&expected), "{}", output.stderr);
    assert!(output.stdout.is_empty());
    let served = run(broker(&["serve", "--dev", "--config"]).arg(&bad));
    assert_eq!((served.code, served.stderr), (Some(2), output.stderr));

    let output = run(broker(&["check-config"]).arg(directory.path("absent.toml")));
    assert_eq!(output.code, Some(2));
    testkit::assert_has(&output.stderr, &["absent.toml: cannot be read"]);

    let files = directory.file(
        "tls.toml",
        "auth = 'none'\n[tls]\ncert = 'nowhere.pem'\nkey = 'nowhere.key'\n",
    );
    let output = run(broker(&["check-config"]).arg(&files));
    assert_eq!(output.code, Some(2));
    let wanted = "tls.cert = nowhere.pem: must be a PEM file";
    testkit::assert_has(&output.stderr, &[wanted]);
}

/// What works for most clients, but not for one of those that are known.
#[test]
fn check_config_tells_what_some_client_cannot_read() {
    let directory = directory();
    let file = directory.file(
        "ice.toml",
        "auth = 'none'\n[[ice]]\nurls = ['turns:turn.example.com']\nusername = 'user'\npassword = 'p'\n",
    );
    let output = run(broker(&["check-config"]).arg(&file));
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    for notice in [
        "ice[0].urls = turns:turn.example.com: ",
        "ice[0].username has no `:`",
    ] {
        assert!(output.stderr.contains(notice), "{}", output.stderr);
    }
}

#[test]
fn check_config_summarises_permissions() {
    let directory = directory();
    let keys = directory.file(
        "keys.toml",
        "[[principal]]\nname = 'fleet'\naccess_key_id = 'AKIDEXAMPLE'\nsecret_access_key = \
         '0123456789abcdef'\npolicies = ['p']\n\
         [policy.p]\ndocument = \
         '{\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"kinesisvideo:ConnectAsMaster\",\"Resource\":\"*\"}}'\n",
    );
    let text = format!(
        "auth = 'none'\naccount_id = '210987654321'\ncredentials = '{}'\n",
        keys.display()
    );
    let file = directory.file("c.toml", &text);
    let output = run(broker(&["check-config"]).arg(&file));
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let told = "principal   fleet, account 210987654321, key AKIDEXAMPLE: may ConnectAsMaster\n";
    assert!(output.stdout.contains(told), "{}", output.stdout);
    assert!(!output.stdout.contains("0123456789abcdef"));

    let ended = fs::read_to_string(&keys).unwrap();
    let ended = ended.replace(
        "policies = ['p']",
        "policies = ['p']\nexpires = 2001-02-03T04:05:06Z",
    );
    fs::write(&keys, ended).unwrap();
    let output = run(broker(&["check-config"]).arg(&file));
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let told = "the key of principal fleet expired 20010203T040506Z: requests with it are refused";
    assert!(output.stdout.contains(told), "{}", output.stdout);

    fs::write(&keys, "[[principal]]\nname = 'fleet'\n").unwrap();
    let output = run(broker(&["check-config"]).arg(&file));
    assert_eq!(output.code, Some(2));
    let expected = format!(
        "{}:2:1: principal[0] = {{ … }}: access_key_id needed\n",
        keys.display()
    );
    assert!(output.stderr.starts_with(&expected), "{}", output.stderr);
}
