//! What outlives a process: `/history`, `heliograph report`, and the archive of `heliograph bundle`.

use crate::durable::Home;
use crate::http::{call, get, get_with};
use crate::peer::HealthyPair;
use crate::process::{Broker, command, directory};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use testkit::{until, until_true};

/// The output of a command that asks this broker.
fn said(broker: &Broker, arguments: &[&str]) -> String {
    let exit = broker.asked(arguments);
    assert_eq!(exit.code, Some(0), "{exit:?}");
    exit.stdout
}

fn history(broker: &Broker) -> Value {
    get(broker.admin, "/history?from=-10m").json()
}

fn kinds(history: &Value) -> Vec<String> {
    let marks = history["marks"].as_array().expect("marks");
    let kind = |mark: &Value| mark["kind"].as_str().expect("a kind").to_owned();
    marks.iter().map(kind).collect()
}

fn sum(history: &Value, column: &str) -> f64 {
    let numbers = history["columns"][column].as_array().expect("a column");
    numbers.iter().filter_map(Value::as_f64).sum()
}

#[test]
fn rows_and_marks_outlive_a_kill_and_an_end_in_order() {
    let home = Home::new();
    let mut broker = home.start_dev(2);
    let mut pair = HealthyPair::new(&broker);
    pair.relay();
    let absent = json!({ "ChannelName": "absent" });
    assert_eq!(
        call(broker.plain, "/describeSignalingChannel", &absent).status,
        404
    );
    let before = until("a row of the load", || {
        let history = history(&broker);
        let is_there = sum(&history, "refused_other") >= 1.0
            && sum(&history, "masters") >= 1.0
            && sum(&history, "connects") >= 2.0;
        is_there.then_some(history)
    });
    assert_eq!(kinds(&before), vec!["start".to_owned()]);
    assert_eq!(before["step"], 2);
    broker.signal("KILL");
    broker.ended_within(Duration::from_secs(10));
    drop(pair);

    let mut broker = home.start_dev(2);
    until_true("the marks", || {
        kinds(&history(&broker)) == ["start", "killed", "start"]
    });
    let after = history(&broker);
    assert_eq!(after["begins"], before["begins"]);
    assert_eq!(after["columns"]["t"][0], before["columns"]["t"][0]);
    assert!(sum(&after, "messages") >= sum(&before, "messages"));
    let hour = &get(broker.admin, "/overview").json()["history"];
    assert!(hour["t"][0].as_u64() > before["columns"]["t"][0].as_u64());
    let csv = get_with(broker.admin, "/history?step=1m", "Accept: text/csv\r\n");
    assert_eq!(csv.header("content-type"), Some("text/csv; charset=utf-8"));
    assert!(csv.text().starts_with("t,masters,"), "{}", csv.text());
    let refused = get(broker.admin, "/history?step=3s");
    assert_eq!(refused.status, 400);

    broker.signal("TERM");
    assert!(broker.ended_within(Duration::from_secs(30)).success());
    let broker = home.start_dev(1);
    until("the mark of the start", || {
        let kinds = kinds(&history(&broker));
        (kinds == ["start", "killed", "start", "drain", "stop", "start"]).then_some(())
    });
    let report = said(&broker, &["report", "--since", "-1h", "--utc"]);
    #[rustfmt::skip] // a list
    let cases = [" UTC\n", "unansw.", "killed  the process", "stop    clean shutdown"];
    for part in cases {
        assert!(report.contains(part), "{part} is not in\n{report}");
    }
    let wide = report.lines().find(|line| line.chars().count() > 80);
    assert_eq!(wide, None);
    let json = said(&broker, &["report", "--since", "yesterday", "--json"]);
    assert!(json.contains("\"mastersLeast\""), "{json}");
    for name in ["history.ring", "history.notes"] {
        let about = fs::metadata(home.data().join(name)).expect("a file of the history");
        assert_eq!(about.permissions().mode() & 0o777, 0o600, "{name}");
        assert!(about.len() < 2 << 20, "{name}");
    }
}

#[test]
fn a_bundle_has_what_helps_and_no_secret() {
    let directory = directory();
    let token = directory.join("token");
    let secret = |name: &str| format!("planted-secret-of-{name}-0123456789abcdef");
    fs::write(&token, secret("admin")).expect("a file under target/");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).expect("our file");
    let config = format!(
        "[admin]\ntoken_file = {token:?}\n[[ice]]\nurls = [\"turn:turn.example.test:3478\"]\nsecret = {:?}\n",
        secret("turn")
    );
    let broker = Broker::configured(&config, 1);
    let archive = directory.join("bundle.tar");
    let file = |path: &Path| path.to_str().expect("a path in UTF-8").to_owned();
    let arguments = [
        "bundle",
        "-o",
        &file(&archive),
        "--token-file",
        &file(&token),
    ];
    let text = said(&broker, &arguments);
    assert!(text.contains("10 files"), "{text}");
    let mode = fs::metadata(&archive)
        .expect("the archive")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let bytes = fs::read(&archive).expect("the archive");
    let all = String::from_utf8_lossy(&bytes);
    #[rustfmt::skip] // a list
    let cases = [
        "/config.json", "/overview.json", "/history.json", "/metrics.txt", "/log.json", "/warnings.json",
        "/version.json", "/doctor.json", "/cluster.json", "turn.example.test", "heliograph_refusals_total",
        "mastersLeast", "serving",
    ];
    for part in cases {
        assert!(all.contains(part), "{part}");
    }
    let data_dir = broker.page("/config").json()["data_dir"].clone();
    let key = Path::new(data_dir.as_str().expect("a path")).join("session.key");
    let key = fs::read_to_string(key).expect("the key");
    for secret in ["planted-secret", key.trim()] {
        assert!(!all.contains(secret), "{secret}");
    }
    let again = command().args(arguments).output().expect("it runs");
    assert_eq!(
        again.status.code(),
        Some(1),
        "a file that is there is left alone"
    );
}
