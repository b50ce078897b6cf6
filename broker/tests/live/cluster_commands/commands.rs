//! The commands `status`, `check` and `remove`, on given contents of etcd.

use crate::cluster_commands::support::{Place, fresh, registration};
use crate::cluster_etcd::server::{self, Etcd};
use std::time::Duration;
use testkit::until_within;

const META: &str = "/heliograph/prod/meta";

/// Puts a value.
fn put(etcd: &Etcd, key: &str, value: &str) {
    etcd.ctl(&["put", &format!("/heliograph/prod/{key}"), value]);
}

/// A cluster of two members: `n2` is registered and owns two slots, of which one is of its process before; `n3` is not
/// and owns one; one slot was released.
pub(crate) fn cluster(etcd: &Etcd) {
    let meta = r#"{"format":1,"id":"00112233","slots":4096,"slot_key":"000102030405060708090a0b0c0d0e0f"}"#;
    put(etcd, "meta", meta);
    for (node, address) in [("n2", "127.0.0.2:7443"), ("n3", "127.0.0.3:7443")] {
        let value =
            format!(r#"{{"format":1,"address":"{address}","peers":"{address}","state":"here"}}"#);
        put(etcd, &format!("roster/{node}"), &value);
    }
    put(etcd, "live/n2", &registration());
    for (slot, node, start) in [("000", "n2", 3), ("001", "n2", 2), ("fff", "n3", 1)] {
        let owner = format!(r#""owner":{{"node":"{node}","directory":7,"start":{start}}}"#);
        put(
            etcd,
            &format!("s/{slot}"),
            &format!(r#"{{"format":1,{owner}}}"#),
        );
    }
    put(etcd, "s/002", r#"{"format":1}"#);
}

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it needs etcd"]
fn status_has_members_registrations_slots_and_etcd() {
    let Some((etcd, place)) = fresh() else { return };
    let empty = place.well(&["status"]);
    let founded = "cluster prod: not founded: its first node does that, or an import\n";
    assert!(empty.starts_with(founded), "{empty}");
    assert!(empty.contains("slots: 0 have an owner, 0 were released, 4096 were never owned\n"));
    cluster(&etcd);
    let text = place.well(&["status"]);
    for line in [
        "cluster prod: id 00112233, 4096 slots",
        "slots: 3 have an owner, 1 were released, 4092 were never owned",
        "node  address         member  registered      answers  slots",
        "n2    127.0.0.2:7443  here    0.1.0, start 3  -        2, 1 of a process that is not registered",
        "n3    127.0.0.3:7443  here    no              -        1, 1 of a process that is not registered",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line:?} in\n{text}"
        );
    }
    let member = text.lines().last().unwrap();
    assert!(member.starts_with(&etcd.endpoint()), "{text}");
    assert!(
        member.contains("  leader  ") && member.contains(" of 2 GiB, "),
        "{text}"
    );
}

fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    until_within(Duration::from_secs(8), what, || is_so().then_some(()));
}

/// A line that begins like this and has these words.
fn found(text: &str, begin: &str, words: &str) {
    let mut lines = text.lines();
    let is = lines.any(|line| line.starts_with(begin) && line.contains(words));
    assert!(is, "{begin} … {words} in\n{text}");
}

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it needs etcd"]
fn check_warns_and_finds_errors() {
    let Some(etcd) = Etcd::found() else { return };
    let domain = "[advertise]\ndomain = 'absent.invalid'";
    let place = Place::with(&etcd.endpoint(), domain);
    cluster(&etcd);
    // A node that somebody wrote into etcd, and that does not run.
    let silent = |words: &[&str]| {
        let said = place.run(words);
        let expected = (Some(1), "1 error\n");
        assert_eq!((said.code, said.stderr.as_str()), expected, "{said:?}");
        found(
            &said.stdout,
            "error    n2 is registered, and does not answer",
            "hangs",
        );
        said.stdout
    };
    let text = silent(&["check"]);
    found(
        &text,
        "warning  n3 is a member that is expected to run",
        "not registered",
    );
    found(&text, "ok       cluster.secret_file = ", "secret");
    // The quota is etcd's default, and no test starts etcd with compaction.
    found(
        &text,
        "warning  http://",
        "of 2 GiB: start it with --quota-backend-bytes",
    );
    found(
        &text,
        "ok       revision ",
        "--auto-compaction-retention 1h",
    );
    found(&text, "ok       cluster: id 00112233", "4096 slots");
    found(
        &text,
        "warning  m-00000000.absent.invalid does not resolve",
        "",
    );
    put(&etcd, "other/x", "1");
    put(&etcd, "live", "1");
    let text = silent(&["check"]);
    found(&text, "warning  key /heliograph/prod/other/x: ", "prefix");
    found(&text, "warning  key /heliograph/prod/live: ", "prefix");
}

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it needs etcd"]
fn check_finds_keys_that_cannot_be_read_and_a_secret_that_is_gone() {
    let Some((etcd, place)) = fresh() else { return };
    cluster(&etcd);
    etcd.ctl(&["put", META, r#"{"format":2}"#]);
    put(&etcd, "s/003", "{");
    std::fs::remove_file(place.path("secret")).unwrap();
    let said = place.run(&["check"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert_eq!(said.stderr.as_str(), "3 errors\n", "{said:?}");
    found(
        &said.stdout,
        "error    key /heliograph/prod/meta: ",
        "format 2",
    );
    found(
        &said.stdout,
        "error    key /heliograph/prod/s/003: ",
        "cannot be read",
    );
    found(
        &said.stdout,
        "warning  the nodes cannot be asked: the key ",
        "/meta: ",
    );
    found(
        &said.stdout,
        "error    cluster.secret_file = ",
        "must be a readable file",
    );
}

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it needs etcd"]
fn a_clock_that_is_off_by_an_hour_and_a_link_that_is_cut_are_errors() {
    let Some((etcd, place)) = fresh() else { return };
    cluster(&etcd);
    let live = r#"{"format":1,"directory":9,"start":1,"version":"0.1.0"}"#;
    put(&etcd, "live/n3", live);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.unwrap().as_millis();
    // As nodes answer: of an order that is newer than any.
    for (node, unix_ms, reaches) in [("n2", now, r#""n3""#), ("n3", now - 3_600_000, "")] {
        let report = format!(
            r#"{{"format":1,"order":1000000000,"unix_ms":{unix_ms},"waiting":0,"reaches":[{reaches}]}}"#
        );
        put(&etcd, &format!("report/{node}"), &report);
    }
    let said = place.run(&["check"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    for words in [
        "error    n3: its clock is 360",
        " s behind this machine's: signatures are refused from 300 s on\n",
        "error    n3: its clock is 3",
        " s behind that of n2",
        "error    n3 gets no answer from n2: ",
    ] {
        assert!(said.stdout.contains(words), "{words} in\n{}", said.stdout);
    }
    assert!(
        !said.stdout.contains("n2 gets no answer"),
        "{}",
        said.stdout
    );
}

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it needs etcd"]
fn a_full_quota_is_an_error_and_old_revisions_that_were_removed_are_well() {
    if !server::is_installed() {
        return;
    }
    let etcd = Etcd::start_with("http", &["--quota-backend-bytes", "1000000"]);
    let place = Place::of(&etcd);
    cluster(&etcd);
    etcd.ctl(&["compaction", "2"]);
    let large = "x".repeat(100_000);
    while etcd.try_ctl(&["put", "filler", &large]).is_ok() {}
    let said = place.run(&["check"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    testkit::assert_has(
        &said.stdout,
        &["old ones are removed", "more than 80 %", "NOSPACE"],
    );
    assert!(place.well(&["status"]).contains("NOSPACE"));
}

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it needs etcd"]
fn only_a_node_that_does_not_run_is_removed() {
    let Some((etcd, place)) = fresh() else { return };
    cluster(&etcd);
    let roster = || etcd.ctl(&["get", "--prefix", "--keys-only", "/heliograph/prod/roster/"]);
    let refused = |words: &[&str], rule: &str| {
        let before = roster();
        let said = place.run(words);
        assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "{said:?}");
        assert!(said.stderr.contains(rule), "{said:?}");
        assert_eq!(roster(), before);
    };
    refused(&["remove", "n9"], "n9: it is not a member of the cluster");
    refused(
        &["remove", "n/3"],
        "n/3: expected 1 to 63 of the characters",
    );
    refused(
        &["remove", "n2", "--lost"],
        "n2: it is registered: stop it first",
    );
    refused(&["remove", "n3"], "n3: it owns 1 slots: ");
    let text = place.well(&["remove", "n3", "--lost"]);
    assert_eq!(text, "n3 is removed; the other nodes take its 1 slots\n");
    assert!(!roster().contains("n3") && roster().contains("n2"));
    refused(&["remove", "n3", "--lost"], "n3: it is not a member");
    etcd.ctl(&["del", "/heliograph/prod/live/n2"]);
    etcd.ctl(&["del", "--prefix", "/heliograph/prod/s/"]);
    assert_eq!(place.well(&["remove", "n2"]), "n2 is removed\n");
}

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it needs etcd"]
fn an_upgrade_is_finished_when_all_nodes_have_the_newer_version() {
    let Some((etcd, place)) = fresh() else { return };
    let refused = |rule: &str| {
        let said = place.run(&["finish-upgrade"]);
        assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "{said:?}");
        assert!(said.stderr.contains(rule), "{said:?}");
    };
    refused("no node is registered: start the nodes first");
    cluster(&etcd);
    refused(
        "n3 is a member that is expected to run, and is not registered: start it, or remove it",
    );
    let register = |node: &str, inner: u32| {
        let value =
            format!(r#"{{"format":1,"directory":7,"start":3,"version":"9","inner":{inner}}}"#);
        put(&etcd, &format!("live/{node}"), &value);
    };
    register("n3", 8);
    refused("n2 has inner version 7, and another node 8: upgrade it first");
    register("n2", 8);
    let meta = || etcd.ctl(&["get", "--print-value-only", META]);
    let before = meta();
    let text = place.well(&["finish-upgrade"]);
    assert_eq!(
        text,
        "the lowest inner version was raised from 0 to 8: older programs no longer start\n"
    );
    assert!(
        !before.contains("lowest") && meta().contains(r#""lowest":8"#),
        "{}",
        meta()
    );
    for word in ["format", "id", "slots", "slot_key"] {
        assert!(
            meta().contains(&format!("\"{word}\":")),
            "{word} stays: {}",
            meta()
        );
    }
    let text = place.well(&["finish-upgrade"]);
    testkit::assert_begins(&text, "nothing to finish: all nodes have inner version 8");
    register("n2", 7);
    refused("n2 has inner version 7");
}

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it needs etcd"]
fn a_node_is_asked_to_drain_only_where_another_one_runs_and_etcd_takes_changes() {
    if !server::is_installed() {
        return;
    }
    let etcd = Etcd::start_with("http", &["--quota-backend-bytes", "1000000"]);
    let place = Place::of(&etcd);
    cluster(&etcd);
    let refused = |words: &[&str], code: i32, rule: &str| {
        let said = place.run(words);
        let end = (said.code, said.stdout.as_str());
        assert_eq!(end, (Some(code), ""), "{said:?}");
        assert!(said.stderr.contains(rule), "{said:?}");
    };
    refused(&["drain", "n9"], 2, "n9: it is not a member of the cluster");
    refused(
        &["drain", "n3"],
        2,
        "n3: it is not registered: start it first",
    );
    refused(
        &["drain", "n2"],
        2,
        "n2: no other node runs to take its slots",
    );
    let orders = || etcd.ctl(&["get", "--prefix", "--keys-only", "/heliograph/prod/order/"]);
    assert_eq!(orders().trim(), "");
    for slot in ["010", "011"] {
        let owner = r#"{"format":1,"owner":{"node":"n2","directory":7,"start":3}}"#;
        put(&etcd, &format!("s/{slot}"), owner);
    }
    put(
        &etcd,
        "live/n3",
        r#"{"format":1,"directory":9,"start":1,"version":"0.1.0"}"#,
    );
    let order = || etcd.ctl(&["get", "--print-value-only", "/heliograph/prod/order/n2"]);
    let is_drain = || order().contains(r#""order":"drain""#);
    let said = std::thread::scope(|scope| {
        let drain = scope.spawn(|| place.run(&["drain", "n2"]));
        wait_for("the order", is_drain);
        // Another command asks the node for something at the same time.
        put(
            &etcd,
            "order/n2",
            r#"{"format":1,"directory":7,"start":3,"order":"report"}"#,
        );
        wait_for("the order again", is_drain);
        drain.join().unwrap()
    });
    assert_eq!(said.code, Some(1), "{said:?}");
    testkit::assert_begins(
        &said.stdout,
        "n2: 3 slots left, has not answered yet, 0 s\n",
    );
    testkit::assert_has(&said.stderr, &["n2: it does not answer: it hangs"]);
    let large = "x".repeat(100_000);
    while etcd.try_ctl(&["put", "filler", &large]).is_ok() {}
    refused(
        &["drain", "n2"],
        1,
        "n2: etcd takes no changes, since its quota is used up: compact",
    );
    let said = place.run(&["rebalance"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    let rule = "etcd takes no changes, since its quota is used up";
    assert!(said.stderr.contains(rule), "{said:?}");
}

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it needs etcd"]
fn without_etcd_every_command_ends_and_says_so() {
    let Some((mut etcd, place)) = fresh() else {
        return;
    };
    cluster(&etcd);
    std::fs::create_dir(place.path("data")).unwrap();
    let commands: [&[&str]; 7] = [
        &["drain", "n2"],
        &["rebalance"],
        &["finish-upgrade"],
        &["status"],
        &["check"],
        &["remove", "n3"],
        &["export", "copy"],
    ];
    let domain = Place::with(&etcd.endpoint(), "[advertise]\ndomain = 'cams.example'");
    let all = || {
        for words in commands {
            let said = domain.run(words);
            assert_eq!(said.code, Some(1), "{words:?}: {said:?}");
            let text = format!("{}{}", said.stdout, said.stderr);
            assert!(text.contains("etcd: "), "{words:?}: {said:?}");
            assert!(!domain.path("copy").exists(), "{words:?}");
        }
    };
    etcd.freeze();
    all();
    etcd.thaw();
    etcd.kill();
    all();
}

#[test]
fn a_configuration_without_etcd_or_with_a_wrong_file_is_refused() {
    let place = Place::with("https://127.0.0.1:1", "etcd_ca = 'absent'");
    let said = place.run(&["status"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    let rule = "cluster.etcd_ca = absent: must be a readable file";
    assert!(said.stderr.contains(rule), "{said:?}");
    let text = std::fs::read_to_string(place.path("broker.toml")).unwrap();
    let other = text.replace(
        "etcd = ['https://127.0.0.1:1']\netcd_ca = 'absent'",
        "map_file = 'm'",
    );
    std::fs::write(place.path("broker.toml"), other).unwrap();
    let said = place.run(&["status"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.stderr.contains("cluster.etcd"), "{said:?}");
}
