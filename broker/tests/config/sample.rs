//! `deploy/broker.toml` against the code: it has every key that the configuration knows and no other, each with its
//! default, what it may be, and its default under `--profile strict` and `--dev`.
//!
//! Keys are those of the table, and of entries those that the reader lists when it meets one that it does not know.
//! When a key is added or a default changes, these tests fail and say which line of the file to write.

#![expect(clippy::unwrap_used, reason = "support code of tests")]

use super::{flags, machine};
use broker::config::{ConfigError, ServeFlags, json, load_text};
use broker_core::settings::value::ConfigSpan;
use broker_core::settings::{KEYS, Key, Kind, Profile, Settings};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const SAMPLE: &str = include_str!("../../../deploy/broker.toml");

/// Samples of earlier versions, of their fixtures.
const EARLIER: &[(&str, &str)] = &[("0.1.0", include_str!("../data/0.1.0/sample.toml"))];

/// The keys of the table are compared with their lines below.
#[test]
fn the_sample_has_every_key_of_an_entry_with_what_it_may_be() {
    let entries = [
        ("[[hook]]\n", "hook"),
        ("[[ice]]\n", "ice"),
        ("[clients.doorbell]\n", "clients.doorbell"),
    ];
    let is_of = |path: &str, name: &str| path.split('.').next() == Some(name);
    for name in names("") {
        let is_known = KEYS.iter().any(|key| is_of(key.path, &name))
            || entries.iter().any(|(_, table)| is_of(table, &name));
        assert!(is_known, "{name} is in no table of this test");
    }
    let lines = lines();
    for (header, table) in entries {
        for name in names(header) {
            let path = format!("{table}.{name}");
            let line = lines.iter().find(|line| line.path == path);
            let line = line.unwrap_or_else(|| panic!("deploy/broker.toml has no line for {path}"));
            for phrase in phrases(&rule_of(header, &name, "[[]]")) {
                assert!(
                    line.text.contains(&phrase),
                    "deploy/broker.toml: the comment on {path} lacks `{phrase}`, which is what the code allows: {}",
                    line.text
                );
            }
        }
    }
    // Rates are explained at the head of their section.
    let head = SAMPLE.lines().find(|line| line.starts_with("[quotas]"));
    for name in names("[quotas.sdp]\n") {
        for phrase in phrases(&rule_of("[quotas.sdp]\n", &name, "[[]]")) {
            let phrase = format!("{name} {phrase}");
            assert!(head.is_some_and(|head| head.contains(&phrase)), "{phrase}");
        }
    }
}

/// A file that an earlier version accepted is accepted, or says what to use instead.
#[test]
fn every_key_of_an_earlier_version_is_known_or_named_as_removed() {
    let known: BTreeSet<_> = lines().into_iter().map(|line| line.path).collect();
    for (version, sample) in EARLIER {
        load(sample, Profile::Default, false)
            .unwrap_or_else(|error| panic!("the sample of {version}: {error}"));
        for line in lines_of(sample) {
            let (table, key) = line.path.rsplit_once('.').unwrap_or(("", &line.path));
            let header = format!("[{table}]\n");
            let header = if table.is_empty() { "" } else { &header };
            let is_known =
                known.contains(&line.path) || rule_of(header, key, "1").starts_with("removed in ");
            assert!(is_known, "{} of {version}", line.path);
        }
    }
}

#[test]
fn no_key_is_in_the_sample_twice() {
    let mut seen = BTreeMap::new();
    for line in lines() {
        if let Some(first) = seen.insert(line.path.clone(), line.number) {
            panic!(
                "deploy/broker.toml has {} in the lines {first} and {}: remove one",
                line.path, line.number
            );
        }
    }
}

#[test]
fn the_unchanged_sample_gives_the_defaults() {
    let settings = load(SAMPLE, Profile::Default, false)
        .unwrap_or_else(|error| panic!("deploy/broker.toml does not load: {error}"));
    let expected = expected(Profile::Default, false);
    let (found, wanted) = (json(&settings), json(&expected));
    for path in paths(&wanted) {
        assert_eq!(
            at(&found, &path),
            at(&wanted, &path),
            "deploy/broker.toml: {path} is not the default of the code, which is on the right: set it right there"
        );
    }
    assert_eq!(settings, expected);
}

/// A key that is written out has a default, and a key behind a hash has none.
#[test]
fn only_keys_without_a_default_are_behind_a_hash() {
    let defaults = json(&Settings::default());
    for line in lines() {
        let in_ice = line.path.starts_with("ice.");
        let of_the_machine = ["shards", "cpus"].contains(&line.path.as_str());
        let default = at(&defaults, &line.path);
        let has_default = !default.is_null() && !in_ice && !of_the_machine;
        assert_eq!(
            has_default, line.is_written,
            "line {} of deploy/broker.toml: the default of {} is {default}: a key with a default is written, one \
             without is \
             behind a hash",
            line.number, line.path
        );
    }
}

/// Each key behind a hash does something when the hash is taken away.
#[test]
fn what_is_behind_a_hash_is_an_example_that_loads() {
    let folder = std::env::temp_dir().join(format!("heliograph-sample-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let secret = folder.join("turn.secret");
    std::fs::write(&secret, "the-secret\n").unwrap();
    let mut without_effect: BTreeSet<_> = lines()
        .into_iter()
        .filter(|line| !line.is_written)
        .map(|line| line.path)
        .collect();
    for round in 0..3 {
        let (text, active) = uncommented(round, &secret);
        let settings = load(&text, Profile::Default, false)
            .unwrap_or_else(|error| panic!("deploy/broker.toml without its hashes: {error}"));
        let (found, defaults) = (json(&settings), json(&expected(Profile::Default, false)));
        let changed = |path: &str| {
            let top = path.split('.').next().unwrap();
            ["hook", "ice", "shards"].contains(&top) || at(&found, path) != at(&defaults, path)
        };
        without_effect.retain(|path| !(active.contains(path) && changed(path)));
    }
    std::fs::remove_dir_all(&folder).unwrap();
    // The machine of this test has these very CPUs, and credentials are given to every load.
    without_effect.retain(|path| path != "cpus" && path != "credentials");
    assert!(
        without_effect.is_empty(),
        "examples of deploy/broker.toml that change nothing: {without_effect:?}"
    );
}

/// The whole comment of each key: range, defaults that differ, explanation.
#[test]
fn the_comment_on_each_key_is_that_of_the_table() {
    let lines = lines();
    for key in KEYS {
        let line = lines.iter().find(|line| line.path == key.path);
        let line =
            line.unwrap_or_else(|| panic!("deploy/broker.toml has no line for {}", key.path));
        let below = SAMPLE.lines().skip(line.number);
        let below = below.map_while(|text| {
            text.starts_with(' ')
                .then(|| text.trim_start_matches([' ', '#']))
        });
        let written: Vec<_> = [line.comment].into_iter().chain(below).collect();
        assert_eq!(
            written.join(" "),
            comment(key),
            "deploy/broker.toml: the comment on {} is not the one of the table, which is on the right",
            key.path
        );
    }
}

/// The sample's comment on a key.
fn comment(key: &Key) -> String {
    let range = match &key.kind {
        Kind::Number(_, range) => Some(format!("{} to {}", range.start(), range.end())),
        Kind::Duration(_, range) => {
            let or_off = if *range.start() == 0 {
                " or \"off\""
            } else {
                ""
            };
            let (from, to) = (
                ConfigSpan((*range.start()).max(1)),
                ConfigSpan(*range.end()),
            );
            Some(format!("{from} to {to}{or_off}"))
        }
        Kind::Text { .. } => words(key),
        Kind::Cpus { .. }
        | Kind::List { .. }
        | Kind::Path { .. }
        | Kind::Paths { .. }
        | Kind::Rate(_)
        | Kind::Switch(_) => None,
    };
    let differs = |text: &Option<&'static str>| text.filter(|text| Some(*text) != key.default);
    let strict = differs(&key.strict).map(|text| format!("strict: {}", written(key, text)));
    let dev = differs(&key.dev).map(|text| format!("dev: {}", written(key, text)));
    let doc = Some(key.doc.to_owned()).filter(|doc| !doc.is_empty());
    let parts: Vec<_> = [range, strict, dev, doc].into_iter().flatten().collect();
    parts.join("; ")
}

/// The words of an enumeration, unless the explanation has them all.
fn words(key: &Key) -> Option<String> {
    let rule = key.check("").unwrap_err();
    let words = rule
        .strip_prefix("expected ")
        .filter(|words| words.starts_with('"'))?;
    let explained = words.split(", ").all(|word| key.doc.contains(word));
    Some(words.to_owned()).filter(|_| !explained)
}

/// A default as the file has it.
fn written(key: &Key, text: &str) -> String {
    match &key.kind {
        Kind::Number(..) | Kind::Switch(_) => text.to_owned(),
        Kind::Rate(_) => format!("{{ rate = {} }}", text.replace(':', ", burst = ")),
        Kind::List { .. } => format!("{:?}", text.split(' ').collect::<Vec<_>>()),
        Kind::Duration(..)
        | Kind::Text { .. }
        | Kind::Path { .. }
        | Kind::Paths { .. }
        | Kind::Cpus { .. } => {
            format!("{text:?}")
        }
    }
}

/// The sample lacks credentials, and nothing else.
#[test]
fn the_sample_is_refused_for_its_credentials_alone() {
    let error = load_text(
        Path::new("broker.toml"),
        SAMPLE,
        &ServeFlags::default(),
        &machine(),
    );
    let error = error.expect_err("credentials are needed");
    let keys: Vec<_> = error.faults().iter().map(|fault| &fault.key).collect();
    assert_eq!(keys, ["auth"], "{error}");
}

/// One `key = value` of the sample.
struct Line {
    /// From 1.
    number: usize,
    /// With its table, such as `limits.head_bytes`.
    path: String,
    /// Not behind a hash.
    is_written: bool,
    text: &'static str,
    comment: &'static str,
}

fn lines() -> Vec<Line> {
    lines_of(SAMPLE)
}

fn lines_of(sample: &'static str) -> Vec<Line> {
    let mut table = String::new();
    let mut lines = Vec::new();
    for (nth, text) in sample.lines().enumerate() {
        let bare = text.strip_prefix('#').unwrap_or(text);
        let header = bare.strip_prefix('[');
        if let Some(header) = header {
            let name = header.trim_start_matches('[').split(']').next().unwrap();
            table = format!("{name}.");
        } else if bare.starts_with(|letter: char| letter.is_ascii_lowercase()) {
            let (key, rest) = bare.split_once(" = ").unwrap_or_else(|| {
                panic!(
                    "line {} of deploy/broker.toml is no `key = value`: {text}",
                    nth + 1
                )
            });
            let begin = text.len() - rest.len();
            let end = begin + value_bytes(rest);
            lines.push(Line {
                number: nth + 1,
                path: format!("{table}{key}"),
                is_written: bare.len() == text.len(),
                text,
                comment: text[end..].trim_start_matches([' ', '#']),
            });
        }
    }
    lines
}

/// The length of the value that a text begins with: up to the hash of its comment.
fn value_bytes(text: &str) -> usize {
    let mut quoted = false;
    let comment = text.char_indices().find(|(_, letter)| {
        quoted ^= *letter == '"';
        !quoted && *letter == '#'
    });
    let end = comment.map_or(text.len(), |(at, _)| at);
    text[..end].trim_end().len()
}

/// The keys that the reader knows below a header: it answers an unknown key with all of them.
fn names(header: &str) -> Vec<String> {
    let names = rule_of(header, "zzz", "1");
    let names = names.strip_prefix("unknown key, expected ").unwrap();
    names.split(", ").map(str::to_owned).collect()
}

fn rule_of(header: &str, key: &str, value: &str) -> String {
    let error = load(&format!("{header}{key} = {value}"), Profile::Default, false);
    let error = error.expect_err("no key may be this");
    let fault = error
        .faults()
        .iter()
        .find(|fault| fault.key == key || fault.key.ends_with(&format!(".{key}")));
    fault
        .unwrap_or_else(|| panic!("{header}{key}: {error}"))
        .rule
        .clone()
}

/// The phrases of a rule that a comment must contain: the range of a number or a duration, the words of an enumeration.
fn phrases(rule: &str) -> Vec<String> {
    let rule = rule.strip_prefix("expected ").unwrap_or(rule);
    let rule = rule.strip_suffix(", in quotes").unwrap_or(rule);
    if let Some(span) = rule.strip_prefix("a duration from ") {
        let (span, off) = match span.strip_suffix(", or \"off\"") {
            Some(span) => (span, " or \"off\""),
            None => (span, ""),
        };
        return vec![format!("{}{off}", span.replace('"', ""))];
    }
    if rule.starts_with('"') {
        return rule.split(", ").map(str::to_owned).collect();
    }
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    match rule.split_once(" to ") {
        Some((from, to)) if is_number(from) && is_number(to) => vec![rule.to_owned()],
        Some(_) | None => Vec::new(),
    }
}

/// The sample without the hashes before its keys, except those that exclude each other: of these, the ones of this
/// round; and the keys that became active.
fn uncommented(round: usize, secret: &Path) -> (String, BTreeSet<String>) {
    #[rustfmt::skip] // a list
    let etcd = [
        "cluster.advertise", "cluster.etcd", "cluster.etcd_ca", "cluster.etcd_cert", "cluster.etcd_key",
        "cluster.etcd_user", "cluster.etcd_password_file",
    ];
    #[rustfmt::skip] // a table, a case per row
    let alternatives: [&[&[&str]]; 3] = [
        &[&["cluster.map_file"], &etcd],
        &[&["advertise.domain"], &["advertise.wss", "advertise.https"]],
        &[&["ice.secret"], &["ice.secret_file"], &["ice.username", "ice.password"]],
    ];
    // Hooks are of a broker without a cluster.
    let is_of_round = |path: &str| match path.split('.').next() {
        Some("hook") => round == 2,
        Some("cluster") => round != 2,
        Some(_) | None => true,
    };
    let chosen = |path: &str| {
        is_of_round(path)
            && alternatives.iter().all(|ways| {
                let ways_of = |way: &&[&str]| way.contains(&path);
                !ways.iter().any(ways_of) || ways_of(&ways[round % ways.len()])
            })
    };
    let hook = if round == 2 { "\n[[hook" } else { "\n#[[hook" };
    let mut text: Vec<String> = SAMPLE
        .replace("\n#[[ice", "\n[[ice")
        .replace("\n#[clients", "\n[clients")
        .replace("\n#[[hook", hook)
        .lines()
        .map(str::to_owned)
        .collect();
    let mut active = BTreeSet::new();
    for line in lines() {
        if !line.is_written && chosen(&line.path) {
            text[line.number - 1].remove(0);
            active.insert(line.path);
        }
    }
    let secret = secret.to_str().unwrap();
    (text.join("\n").replace("turn.secret", secret), active)
}

fn load(text: &str, profile: Profile, dev: bool) -> Result<Settings, ConfigError> {
    let profile = profile.to_string();
    let words = ["--profile", &profile, "--credentials", CREDENTIALS];
    let flags = flags(&[&words[..], &["--dev"][..usize::from(dev)]].concat());
    load_text(Path::new("deploy/broker.toml"), text, &flags, &machine())
}

fn expected(profile: Profile, dev: bool) -> Settings {
    Settings {
        shards: 2,
        fewer_shards: dev,
        cpus: vec![0, 1],
        credentials: Some(CREDENTIALS.into()),
        config: Some("deploy/broker.toml".into()),
        ..Settings::new(profile, dev)
    }
}

/// Without them no file without `--dev` loads.
const CREDENTIALS: &str = "keys.toml";

/// The paths of all values that are no tables.
fn paths(value: &Value) -> Vec<String> {
    let Some(table) = value.as_object() else {
        return vec![String::new()];
    };
    let below = |(key, value): (&String, &Value)| {
        let tails = paths(value).into_iter();
        let join = |tail: String| format!("{key}.{tail}").trim_end_matches('.').to_owned();
        tails.map(join).collect::<Vec<_>>()
    };
    table.iter().flat_map(below).collect()
}

fn at(value: &Value, path: &str) -> Value {
    let pointer = format!("/{}", path.replace('.', "/"));
    value.pointer(&pointer).cloned().unwrap_or(Value::Null)
}
