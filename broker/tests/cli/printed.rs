//! No command prints a control sequence that stands in a file or in a broker's response.

use crate::cli::support::{broker, directory};
use broker::config::Arguments;
use clap::CommandFactory;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use testkit::run;

/// A window's title, a cleared screen, a line that overwrites its beginning, and text that runs backwards.
const WILD: &str = "\\u001b]0;x\\u0007\\u001b[2J\\r\\u009b1m\\u202e";

/// The commands that read nothing of others.
#[rustfmt::skip] // a list
const OWN: [&str; 5] = ["bundle", "presign", "seccomp-profile", "completions", "version"];

#[test]
fn no_command_prints_what_a_terminal_would_obey() {
    let directory = directory();
    let file = |name: &str, text: &str| directory.file(name, text).display().to_string();
    let config = file(
        "broker.toml",
        &format!("listen = [\"http://{WILD}\"]\n\"key{WILD}\" = 1\nauth = 'none'\n"),
    );
    let credentials = file(
        "credentials.toml",
        &format!("[[principal]]\nname = \"a{WILD}\"\n\"k{WILD}\" = 2\n"),
    );
    let things = file(
        "things.json",
        &format!("{{\"things\": [{{\"thingName\": \"cam{WILD}\"}}]}}"),
    );
    let types = file(
        "types.json",
        &format!("{{\"things\": [{{\"thingName\": \"cam\", \"thingTypeName\": \"x\\n{WILD}\"}}]}}"),
    );
    let channels = file(
        "channels.json",
        &format!(
            "{{\"ChannelInfoList\": [{{\"ChannelName\": \"c{WILD}\", \"ChannelARN\": \"{WILD}\"}}]}}"
        ),
    );
    let hostile = format!("http://{}", answers_wildly());
    let asked = ["--admin", &hostile];
    let id = "00000000-0000-4000-8000-000000000000";
    let data = directory.path("data").display().to_string();
    #[rustfmt::skip] // a list
    let policy = ["--as", "a", "--action", "ConnectAsMaster", "--resource", "*"];
    #[rustfmt::skip] // a table, a case per row
    let cases: Vec<Vec<&str>> = vec![
        vec!["serve", "--config", &config],
        vec!["check-config", &config],
        vec!["doctor", "--config", &config],
        [&["hook-test", "h"][..], &asked].concat(),
        vec!["cluster", "status", "--config", &config],
        vec!["things", "import", &things],
        vec!["things", "import", &types],
        vec!["things", "check", &config, "--credentials", &credentials],
        [&["policy", "test", "--credentials", &credentials][..], &policy].concat(),
        vec!["channels", "import", &channels, "--data-dir", &data],
        [&["why", id][..], &asked].concat(),
        [&["trace", "cam"][..], &asked].concat(),
        [&["forget", "cam"][..], &asked].concat(),
        [&["report"][..], &asked].concat(),
        [&["tail"][..], &asked].concat(),
        [&["top"][..], &asked].concat(),
        [&["env"][..], &asked].concat(),
        [&["backup", &data][..], &asked].concat(),
    ];
    for case in &cases {
        fails_in_plain_words(case);
    }
    assert_all_are_known(&cases);
}

/// Each command is one of the cases, or reads nothing of others.
fn assert_all_are_known(cases: &[Vec<&str>]) {
    for command in Arguments::command().get_subcommands() {
        let name = command.get_name();
        let is_known = OWN.contains(&name) || cases.iter().any(|case| case[0] == name);
        assert!(is_known, "{name} prints texts of others? Add it here");
    }
}

/// The command prints why it fails, and nothing that a terminal would obey.
fn fails_in_plain_words(case: &[&str]) {
    let output = run(&mut broker(case));
    let printed = output.stdout + &output.stderr;
    assert!(
        output.code != Some(0) && !printed.is_empty(),
        "{case:?} reads it"
    );
    let raw = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(!printed.contains(raw), "{case:?}: {printed:?}");
}

/// A server that answers every request with an error in wild words.
fn answers_wildly() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0; 4096]);
            let body = format!("{{\"error\": \"{WILD}\"}}");
            let length = body.len();
            let head = format!(
                "HTTP/1.1 500 \x1b[2J\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
            );
            let _ = stream.write_all((head + &body).as_bytes());
        }
    });
    address
}
