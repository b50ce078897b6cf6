//! Names and texts that users and scripts see, against the files of `tests/data/golden/`: a line that is lost, added or
//! changed fails. `deploy/ci/golden.sh` writes them anew when that is intended.
//!
//! What other files hold is not repeated: defaults, ranges and explanations of keys (`deploy/broker.toml`, by
//! `tests/config/sample.rs`), errors at start (`tests/cli/corpus/`), lines of the log (`deploy/log-schema.json`), the
//! wire (`codec/tests/`).

use crate::accounts::browser::Console;
use crate::deploy::promql::matchers;
use crate::dev::messages::OFFER;
use crate::http::{Answer, admin, call, get};
use crate::operator::events::Watcher;
use crate::peer::{HealthyPair, Peer, candidate, offer};
use crate::process::{Broker, DEV, arn, command, directory};
use crate::things::fleet::Fleet;
use broker_core::settings::KEYS;
use data_encoding::BASE64;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread;
use testkit::{assert_golden, help, run, until_true};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/golden");

#[test]
fn the_help_of_every_command() {
    assert_golden(GOLDEN, "heliograph.txt", &help("heliograph", command));
}

/// Every key with the text that refuses a value which it may not have, as `check-config` prints it.
#[test]
fn the_keys_of_the_configuration_and_of_the_credentials_file() {
    let keys = KEYS.iter().map(|key| format!("{} = [[]]\n", key.path));
    let mut lines = refusals("broker.toml", &keys.collect::<String>());
    for (file, tables) in [
        ("broker.toml", OF_BROKER),
        ("credentials.toml", OF_CREDENTIALS),
    ] {
        let unknown = |table: &&str| format!("{table}\nunknown = 1\n");
        let known = refusals(file, &tables.iter().map(unknown).collect::<String>());
        let lists = known
            .iter()
            .filter_map(|line| line.split_once("unknown key, expected "));
        let wrong = |(table, (_, names)): (&&str, (&str, &str))| {
            let keys = names.split(", ").map(|name| format!("{name} = [[]]\n"));
            format!("{table}\n{}", keys.collect::<String>())
        };
        let wrong: String = tables.iter().zip(lists).map(wrong).collect();
        lines.extend(refusals(file, &wrong));
        lines.extend(known);
    }
    assert_lines("keys.txt", lines);
}

/// Tables whose keys are no rows of the table of keys.
const OF_BROKER: &[&str] = &["[[ice]]", "[[hook]]", "[clients.one]"];
#[rustfmt::skip] // a list
const OF_CREDENTIALS: &[&str] = &[
    "[[principal]]", "[policy.one]", "[role.one]", "[oidc_provider.\"one.example\"]", "[role_alias.one]", "[things]",
];

/// The lines with which `check-config` refuses a file, in their order, without file, line and column.
fn refusals(file: &str, text: &str) -> Vec<String> {
    let directory = directory();
    fs::write(
        directory.join("broker.toml"),
        "credentials = 'credentials.toml'\n",
    )
    .expect("written");
    let path = directory.join(file);
    fs::write(&path, text).expect("a file under target/");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("our file");
    let exit = run(command()
        .args(["check-config", "broker.toml"])
        .current_dir(&directory));
    assert_eq!(exit.code, Some(2), "{text}{}", exit.stderr);
    let lines = exit.stderr.lines().map(|line| {
        let placed = line
            .strip_prefix(file)
            .and_then(|rest| rest.split_once(": "));
        placed.map_or(line, |(_, fault)| fault).to_owned()
    });
    lines.collect()
}

/// Every metric with its type, its help and the values of its labels.
#[test]
fn the_metrics_of_brokers() {
    let plain = Broker::dev(2);
    let hooks = crate::hooks::unheard();
    let signed = crate::signed::web_identity::silent_provider();
    let fleet = Fleet::start(1);
    let of = |broker: &Broker| metrics(&broker.page("/metrics").text());
    let servers = [
        ("a server with a certificate", of(&plain)),
        ("a server with hooks", of(&hooks)),
        ("a server with a provider", of(&signed.broker)),
        ("a server with devices", of(&fleet.service.broker)),
    ];
    let all = servers.iter().map(|(_, all)| all.clone());
    let everywhere = all.reduce(|some, all| &some & &all).expect("servers");
    let mut text = section("every server", &everywhere);
    for (server, all) in &servers {
        text += &section(server, all.difference(&everywhere));
    }
    fleet.end();
    // A log would hide the difference.
    drop((plain, hooks, signed));
    assert_golden(GOLDEN, "metrics.txt", &text);
}

fn section<'l>(server: &str, lines: impl IntoIterator<Item = &'l String>) -> String {
    let lines = lines.into_iter().map(|line| format!("{line}\n"));
    format!("# {server}\n{}", lines.collect::<String>())
}

/// A line for each metric and for each value of each of its labels.
fn metrics(text: &str) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    let mut help = "";
    for line in text.lines() {
        if let Some(about) = line.strip_prefix("# HELP ") {
            help = about.split_once(' ').expect("a help").1;
        } else if let Some(about) = line.strip_prefix("# TYPE ") {
            lines.insert(format!("{about}: {help}"));
        } else if let Some((series, _)) = line.split_once("} ") {
            let (name, labels) = series.split_once('{').expect("labels");
            for (label, _, value) in matchers(labels) {
                // That of `--dev` is made beside the start, and may not be there yet.
                if &*value == "listener_rsa" {
                    continue;
                }
                let value = if OPEN_LABELS.contains(&&*label) {
                    "…"
                } else {
                    &*value
                };
                lines.insert(format!("{name}{{{label}=\"{value}\"}}"));
            }
        }
    }
    lines
}

/// Labels whose values are no closed set: names that operators give, numbers of shards, the build.
#[rustfmt::skip] // a list
const OPEN_LABELS: [&str; 10] = [
    "account", "authority", "commit", "engine", "hook", "key", "provider", "sha256", "shard", "version",
];

/// The ready line, and the file of the same content.
#[test]
fn the_ready_line_and_its_file() {
    let directory = directory();
    let file = directory.join("ready.json");
    let path = file.to_str().expect("a path in UTF-8");
    let broker = Broker::start(&[&DEV[..], &["--ready-file", path]].concat(), 1);
    let authority = broker.authority.as_ref().and_then(|file| file.parent());
    let mut line = broker.ready.clone();
    let engine = line.rsplit('=').next().unwrap_or_default().to_owned();
    for (name, value) in [
        ("ENGINE", engine),
        ("PLAIN", broker.plain.to_string()),
        ("TLS", broker.tls.to_string()),
        ("ADMIN", broker.admin.to_string()),
        (
            "DATA",
            authority.expect("a certificate").display().to_string(),
        ),
    ] {
        line = line.replace(&value, name);
    }
    let text = fs::read_to_string(&file).expect("a file");
    let mut lines = vec![line];
    shape(
        &serde_json::from_str(&text).expect("JSON"),
        "ready.json ",
        TYPES,
        &mut lines,
    );
    drop(broker);
    assert_lines("ready.txt", lines);
}

/// Every route of the admin listener but `/metrics` and the stream of `POST /backup`: pages with the members of their
/// JSON; requests that change something, with an empty body.
#[test]
fn the_pages_of_the_admin_listener() {
    // With a hook, so that its page and the configuration have one.
    let broker = crate::hooks::unheard();
    let fault = r#"{"on":"message","do":"drop","match":{"channel":"none"}}"#;
    assert_eq!(
        admin(broker.admin, "POST", "/dev/faults", fault).status,
        201
    );
    let _pair = HealthyPair::new(&broker);
    let mut alone = Peer::viewer(&broker, &arn("alone"), "early");
    alone.send(&offer(&"A".repeat(LONG)));
    let mut late = Peer::viewer(&broker, &arn("late"), "late");
    late.send(&offer(OFFER));
    late.send(&candidate(&BASE64.encode(CANDIDATE)));
    late.close();
    let absent = json!({ "ChannelName": "absent" });
    let refused = call(broker.plain, "/describeSignalingChannel", &absent);
    let id = refused
        .header("x-amzn-requestid")
        .expect("an id")
        .to_owned();
    settle(&broker);
    let trace = broker.page("/channels/healthy/trace").json();
    let session = trace["viewers"][0]["connection"].to_string();
    let shard = broker.page("/channels/healthy").json()["shard"].to_string();
    let path = |pattern: &str| {
        let named = pattern.replace("{name}", "healthy").replace("{id}", &id);
        named
            .replace("{shard}", &shard)
            .replace("{connection}", &session)
    };

    let mut lines = Vec::new();
    for pattern in PAGES.split_whitespace() {
        let page = get(broker.admin, &path(pattern));
        show(&page, &format!("GET {pattern}"), &mut lines);
    }
    for (topic, event) in TOPICS {
        let mut watcher = Watcher::open(broker.admin, topic);
        assert_eq!(watcher.status(), 200, "{topic}");
        let place = format!("GET /events?topics={topic} {event} ");
        shape(&watcher.event(event), &place, TYPES, &mut lines);
    }
    show(&called(&broker), "GET /try/wake/{name}", &mut lines);
    for (method, patterns) in CHANGES {
        for pattern in patterns.split_whitespace() {
            let answer = admin(broker.admin, method, &path(pattern), "");
            show(&answer, &format!("{method} {pattern}"), &mut lines);
        }
    }
    // Members that only a console with accounts and signatures has.
    let console = Console::start(&json!({}));
    let mut add = |value: &Value, place: &str| shape(value, place, TYPES, &mut lines);
    let page = |path: &str| console.service.broker.page(path).json();
    add(&console.signed_in().account(), "GET /account 200 ");
    add(&page("/config")["admin"], "GET /config 200 .admin");
    add(
        &page("/overview")["now"]["credentials"],
        "GET /overview 200 .now.credentials",
    );
    console.end();
    drop(broker);
    assert_lines("admin.txt", lines);
}

/// Waits for notes that are made after an answer, and for the first point of the history.
fn settle(broker: &Broker) {
    let page = |path: &str| broker.page(path).json();
    let entries = |list: &Value| list.as_array().map_or(0, Vec::len);
    until_true("notes of all that happened", || {
        let overview = page("/overview");
        entries(&overview["history"]["t"]) > 0
            && !overview["troubled"][0]["hints"][0].is_null()
            && page("/refusals")["kept"] == 1
            && entries(&page("/dev/messages")["messages"]) == 7
            && entries(&page("/dev/parity")["findings"]) > 0
            && page("/hooks")["hooks"][0]["lastError"].is_string()
    });
}

/// The answer to a page whose sleeping camera is called.
fn called(broker: &Broker) -> Answer {
    let path = "/try/wake/cam";
    let to = broker.admin;
    let waits = thread::spawn(move || get(to, path));
    until_true("the call", || {
        let event = r#"{"type":"channel.wake","data":{"attempt":1}}"#;
        assert_eq!(admin(to, "POST", path, event).status, 204);
        waits.is_finished()
    });
    waits.join().expect("an answer")
}

/// Adds the lines of an answer: its status and type, and its JSON. A refusal and a list of words are shown in full.
fn show(answer: &Answer, place: &str, lines: &mut Vec<String>) {
    let kind = answer.header("content-type").unwrap_or("-");
    let place = format!("{place} {} ", answer.status);
    lines.push(format!("{place}{kind}"));
    if kind == "application/json" {
        let in_full = answer.status >= 400 || place.contains("/allowed");
        let detail = if in_full { VALUES } else { TYPES };
        shape(&answer.json(), &place, detail, lines);
    }
}

/// Adds a line for each value of a document: its path, with `[]` for every entry of a list, and what it is.
fn shape(value: &Value, place: &str, detail: Detail, lines: &mut Vec<String>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, value) in members {
                let place = format!("{place}.{name}");
                match OF_THE_MOMENT.contains(&name.as_str()) {
                    true => lines.push(format!("{place}: …")),
                    false => shape(value, &place, detail, lines),
                }
            }
        }
        Value::Array(entries) if !entries.is_empty() => {
            let place = format!("{place}[]");
            entries
                .iter()
                .for_each(|entry| shape(entry, &place, detail, lines));
        }
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => lines.push(format!("{place}: {}", detail(value))),
    }
}

/// Text for a value without values of its own.
type Detail = fn(&Value) -> String;
const VALUES: Detail = Value::to_string;
const TYPES: Detail = |value| {
    let name = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "[]",
        Value::Object(_) => "{}",
    };
    name.to_owned()
};

/// Compares lines, sorted and each once, with a file.
fn assert_lines(name: &str, lines: Vec<String>) {
    let lines: BTreeSet<String> = lines.into_iter().collect();
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    assert_golden(GOLDEN, name, &lines);
}

/// Members that are numbers or null, or have other members, by what happened within the last second.
#[rustfmt::skip] // a list
const OF_THE_MOMENT: [&str; 9] = [
    "columns", "p50", "p99", "deliveryP50Us", "deliveryP99Us", "setupP50Ms", "setupP99Ms", "refusedPerSecond",
    "silentSeconds",
];

const CANDIDATE: &[u8] = br#"{"candidate":"candidate:1 1 udp 1 192.0.2.1 9 typ host"}"#;
/// Characters of a payload that the default profile takes and the strict one does not: it is found by `/dev/parity`.
const LONG: usize = 12_000;

/// Pages, some of them absent.
const PAGES: &str = "/ /assets/main.js /assets/none /channels /channels/absent /channels/alone /channels/{name} \
    /channels/alone/trace /channels/{name}/trace /cluster /config /dev /dev/clock /dev/connections /dev/environment \
    /dev/faults /dev/faults/allowed /dev/messages /dev/parity /events /history /hooks /live /none /overview \
    /pair/{code} /log?search=absent-text /presence /ready /refusals /refusals/groups /refusals/{id} \
    /sessions/{shard}/{connection} /try /try/settings /usage";

/// Topics of event streams, and the first event of each.
const TOPICS: &[(&str, &str)] = &[
    ("overview", "snapshot"),
    ("troubled", "snapshot"),
    ("refusals", "snapshot"),
    ("log", "snapshot"),
    ("channel:healthy", "channel"),
    ("presence", "resync"),
    ("presence:healthy", "presence"),
];

/// Requests that change something, in this order: the last ones remove what others are about.
#[rustfmt::skip] // a table, a case per row
const CHANGES: &[(&str, &str)] = &[
    (
        "POST",
        "/channels/{name}/disconnect /cluster/rebalance /dev/clock /dev/faults /hooks/home/test /hooks/none/test \
         /ice/reconnect /import /live /pair/{code} /try/pair /try/session /try/wake/ /try/wake/{name}",
    ),
    ("DELETE", "/dev/clock /dev/faults/f1 /dev/faults/f2 /dev/faults"),
    ("POST", "/dev/reset"),
];
