//! `heliograph serve --help` against the code: every flag says its default. And what `deploy/broker.toml` says of a
//! reload.

#![expect(clippy::unwrap_used, reason = "support code of tests")]

use broker::config::{Arguments, json};
use broker_core::settings::{Applied, KEYS, Profile, Settings};
use clap::CommandFactory;
use serde_json::Value;
use std::collections::BTreeSet;

/// Defaults that no setting holds.
#[rustfmt::skip] // a table, a case per row
const IN_WORDS: &[(&str, &str)] = &[
    ("dev", "off"),
    ("config", "none"),
    ("dev_origins", "none"),
    ("allow_remote", "off"),
    ("container", "off"),
    ("lan", "off"),
    ("accept_etcd", "off"),
    ("plain", "off"),
    ("ready_file", "none"),
    ("dev_hosts", "none"),
    ("open", "off"),
    ("verbose", "off"),
    ("shards", "one per CPU that the process may use; with --dev and io_uring fewer if locked memory is short"),
    ("cpus", "those that the process may use"),
    ("credentials", "none"),
    ("cluster.node", "none"),
    ("cluster.listen", "none"),
    ("tls.cert", "none; with --dev generated ones"),
    ("tls.key", "none; with --dev generated ones"),
];

#[test]
fn every_flag_of_serve_says_its_default() {
    let command = Arguments::command();
    let serve = command.find_subcommand("serve").unwrap();
    let defaults = |dev| json(&Settings::new(Profile::Default, dev));
    let (plain, dev) = (defaults(false), defaults(true));
    for flag in serve.get_arguments() {
        let name = flag.get_id().as_str();
        let help = flag.get_help().unwrap().to_string();
        let said = help.split_once("[default: ");
        let said = said.unwrap_or_else(|| panic!("--help of {name} lacks [default: …]: {help}"));
        let said = said.1.trim_end_matches(']');
        let in_words = IN_WORDS.iter().find(|(flag, _)| *flag == name);
        let expected = match in_words {
            Some((_, words)) => (*words).to_owned(),
            None => in_code(name, &plain, &dev),
        };
        assert_eq!(said, expected, "{name}");
    }
}

/// The default of a flag, and what `--dev` makes of it if that is something else.
fn in_code(flag: &str, plain: &Value, dev: &Value) -> String {
    let value = |settings: &Value| match flag {
        "admin.listen" => text(&settings["admin"]["listen"]),
        _ => text(&settings[flag]),
    };
    let (plain, dev) = (value(plain), value(dev));
    match dev.strip_prefix(&plain) {
        Some("") => plain,
        Some(more) => format!("{plain}; with --dev also {}", more.trim_start()),
        None => format!("{plain}; with --dev {dev}"),
    }
}

fn text(value: &Value) -> String {
    match value.as_array() {
        Some(list) => list.iter().map(text).collect::<Vec<_>>().join(" "),
        None => value.as_str().unwrap().to_owned(),
    }
}

/// The head names what SIGHUP applies.
#[test]
fn the_sample_says_what_a_reload_applies() {
    let sample = include_str!("../../../deploy/broker.toml");
    let head: String = sample
        .lines()
        .map_while(|line| line.strip_prefix('#'))
        .collect();
    let (_, list) = head.split_once("SIGHUP applies").unwrap();
    let (list, _) = list.split_once("Everything else").unwrap();
    let written: BTreeSet<_> = list.split('`').skip(1).step_by(2).collect();
    let keys = KEYS.iter().filter(|key| key.applied() == Applied::OnSighup);
    let names = keys.map(|key| match key.table() {
        "quotas" => "quotas",
        _ => key.path,
    });
    let applied: BTreeSet<_> = names.chain(["ice", "hook", "clients"]).collect();
    assert_eq!(written, applied);
}
