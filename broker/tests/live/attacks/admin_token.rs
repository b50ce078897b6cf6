//! The token of the admin listener: asked for on every address, by whom it is brought, and what is shown without it.

use crate::accounts::browser::read_to_end;
use crate::http::{Answer, admin, exchange, get, get_with};
use crate::peer::tcp;
use crate::process::{Broker, command, directory};
use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;
use testkit::{Directory, until_true};

const TOKEN: &str = "a-token-of-32-characters-or-more";
const BEARER: &str = "Authorization: Bearer a-token-of-32-characters-or-more\r\n";

/// Pages that show something of the service, or do something.
#[rustfmt::skip] // a list
const GUARDED: [&str; 20] = [
    "GET /metrics", "GET /config", "GET /channels", "GET /channels/cam", "GET /channels/cam/trace", "GET /overview",
    "GET /cluster", "GET /refusals", "GET /presence", "GET /usage", "GET /hooks", "GET /try/settings",
    "GET /dev/environment", "GET /nothing", "POST /channels/cam/disconnect", "POST /ice/reconnect", "POST /import",
    "POST /cluster/rebalance", "POST /backup", "POST /try/session",
];

/// Pages that probes and browsers get before anybody has a token.
#[rustfmt::skip] // a list
const OPEN: [&str; 6] = ["/live", "/ready", "/", "/try", "/assets/main.js", "/assets/try/try.js"];

/// A token file, and a broker under `--dev` that is configured with it.
struct Guarded {
    directory: Directory,
    token: PathBuf,
    broker: Broker,
}

impl Guarded {
    /// `more` is part of `[admin]`.
    fn start(more: &str) -> Self {
        let directory = directory();
        let token = directory.join("admin.token");
        fs::write(&token, format!("{TOKEN}\n")).expect("a file under target/");
        let text = format!("[admin]\ntoken_file = {token:?}\n{more}");
        let broker = Broker::configured(&text, 1);
        Self {
            directory,
            token,
            broker,
        }
    }

    /// A command that asks it, with these arguments and this variable of the environment.
    fn asked_by(&self, words: &[&str], variable: Option<&Path>) -> (Option<i32>, String) {
        let mut command = command();
        command.args(words).current_dir(&self.directory);
        match variable {
            Some(path) => command.env("HELIOGRAPH_ADMIN_TOKEN_FILE", path),
            None => command.env_remove("HELIOGRAPH_ADMIN_TOKEN_FILE"),
        };
        let Output {
            status,
            stdout,
            stderr,
        } = command.output().expect("the command runs");
        let text = [stdout, stderr].concat();
        (status.code(), String::from_utf8_lossy(&text).into_owned())
    }
}

fn ask(to: SocketAddr, line: &str, headers: &str) -> Answer {
    let json = "Content-Type: application/json\r\nContent-Length: 0";
    let request = format!("{line} HTTP/1.1\r\nHost: {to}\r\n{json}\r\n{headers}\r\n");
    exchange(to, request.as_bytes())
}

#[test]
fn a_configured_token_is_asked_for_on_loopback_too() {
    let guarded = Guarded::start("");
    let to = guarded.broker.admin;
    for path in OPEN {
        assert_eq!(get(to, path).status, 200, "{path}");
    }
    for line in GUARDED {
        for headers in [
            "",
            "Authorization: Bearer a-token-of-32-characters-or-mor\r\n",
        ] {
            let answer = ask(to, line, headers);
            assert_eq!(answer.status, 401, "{line}");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{line}");
        }
    }
    for line in GUARDED.iter().filter(|line| **line != "POST /backup") {
        assert_ne!(ask(to, line, BEARER).status, 401, "{line}");
    }
    let import = ask(to, "POST /import", BEARER);
    assert!(import.text().contains("contains no document"), "{import:?}");
    assert_eq!(get_with(to, "/config", BEARER).status, 200);
    // A stream is refused before it begins.
    assert_eq!(get(to, "/events?topics=log").status, 401);
}

/// Two lines are a rotation: both let in until one is taken out, and with it go the streams that it opened.
#[test]
fn a_token_is_replaced_while_the_broker_runs() {
    const NEXT: &str = "the-next-token-of-32-characters-";
    let guarded = Guarded::start("");
    let to = guarded.broker.admin;
    let lets_in = |token: &str| {
        let bearer = format!("Authorization: Bearer {token}\r\n");
        get_with(to, "/config", &bearer).status == 200
    };
    let stream = |token: &str| {
        let mut stream = tcp(to);
        let request = format!(
            "GET /events?topics=overview HTTP/1.1\r\nHost: {to}\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).expect("a request");
        let mut begin = [0; 12];
        stream.read_exact(&mut begin).expect("a status line");
        assert_eq!(&begin, b"HTTP/1.1 200");
        stream
    };
    let reload_ok = |token: &str| {
        let bearer = format!("Authorization: Bearer {token}\r\n");
        let text = get_with(to, "/metrics", &bearer).text();
        text.contains("heliograph_reload_ok{what=\"admin token\"} 1\n")
    };
    assert!(lets_in(TOKEN) && !lets_in(NEXT) && reload_ok(TOKEN));
    let former = stream(TOKEN);
    fs::write(&guarded.token, format!("{NEXT}\n{TOKEN}\n")).expect("written");
    until_true("both", || lets_in(TOKEN) && lets_in(NEXT));
    let kept = stream(NEXT);
    // A file that cannot be one changes nothing.
    fs::write(&guarded.token, format!("{NEXT}\n\n{TOKEN}\n")).expect("written");
    #[rustfmt::skip] // a list
    guarded.broker.logged(
        &["the admin token stays as it was", "or two while it is replaced"],
        1,
    );
    assert!(lets_in(TOKEN) && lets_in(NEXT) && !reload_ok(NEXT));
    let log = guarded.broker.log();
    assert!(!log.contains(TOKEN) && !log.contains(NEXT), "{log}");
    fs::write(&guarded.token, NEXT).expect("written");
    guarded.broker.signal("HUP");
    until_true("the next one alone", || !lets_in(TOKEN));
    assert!(lets_in(NEXT) && reload_ok(NEXT));
    read_to_end(former);
    kept.set_read_timeout(Some(Duration::from_secs(3)))
        .expect("a socket");
    (&kept).read_exact(&mut [0; 64]).expect("it goes on");
    // Commands bring the first line.
    fs::write(&guarded.token, format!("{TOKEN}\n{NEXT}\n")).expect("written");
    until_true("both again", || lets_in(TOKEN));
    let token = guarded.token.to_str().expect("UTF-8");
    let (code, text) = guarded.asked_by(
        &[
            "why",
            "--admin",
            &format!("http://{to}"),
            "--token-file",
            token,
        ],
        None,
    );
    assert_eq!(code, Some(1), "{text}");
    testkit::assert_begins(&text, "no matching refusal");
}

#[test]
fn metrics_may_be_shown_without_the_token_and_nothing_else() {
    let guarded = Guarded::start("metrics_open = true\n");
    let to = guarded.broker.admin;
    let scraped = get(to, "/metrics");
    assert_eq!(scraped.status, 200);
    assert!(scraped.text().contains("heliograph_status"));
    let by_name = b"GET /metrics HTTP/1.1\r\nHost: broker:8090\r\n\r\n";
    assert_eq!(exchange(to, by_name).status, 200, "as Prometheus names it");
    for line in GUARDED.iter().filter(|line| **line != "GET /metrics") {
        assert_eq!(ask(to, line, "").status, 401, "{line}");
    }
    assert_eq!(get(to, "/config").status, 401);
    assert_eq!(admin(to, "POST", "/metrics", "").status, 401);
}

/// The flag counts more than the variable, and that more than the configuration.
#[test]
fn commands_bring_the_token_of_flag_variable_or_configuration() {
    let guarded = Guarded::start("");
    let to = guarded.broker.admin;
    let url = format!("http://{to}");
    let token = guarded.token.to_str().expect("UTF-8");
    let (wrong, config) = (
        guarded.directory.join("wrong.token"),
        guarded.directory.join("b.toml"),
    );
    fs::write(&wrong, "another-token-of-this-length").expect("a file under target/");
    // A fault beyond [admin] is a matter of flags that serve has.
    let of_config = |token: &Path| {
        let text =
            format!("credentials = 'absent'\n[admin]\nlisten = \"{to}\"\ntoken_file = {token:?}\n");
        fs::write(&config, text).expect("a file under target/");
    };
    of_config(&guarded.token);
    crate::http::create(guarded.broker.plain, "cam", 60);
    let (flag, file) = (["--token-file", token], config.to_str().expect("UTF-8"));
    for words in [
        &["why"][..],
        &["trace", "cam"],
        &["env"],
        &["backup", "copy"],
    ] {
        let run = |more: &[&str], variable| {
            let _ = fs::remove_dir_all(guarded.directory.join("copy"));
            guarded.asked_by(&[words, more].concat(), variable)
        };
        let admin = ["--admin", &*url];
        // Nothing is refused on this broker, which `why` reports with 1.
        let well = |(code, text): (Option<i32>, String)| {
            let found = code == Some(0) || text.contains("no matching refusal since");
            assert!(found, "{words:?}: {code:?} {text}");
        };
        well(run(&[&admin[..], &flag].concat(), None));
        well(run(&[&admin[..], &flag].concat(), Some(&wrong)));
        well(run(&admin, Some(&guarded.token)));
        well(run(&["--config", file], None));
        of_config(&wrong);
        well(run(&["--config", file], Some(&guarded.token)));
        of_config(&guarded.token);
        for (more, variable) in [(&admin[..], None), (&admin, Some(&*wrong))] {
            let (code, text) = run(more, variable);
            assert_eq!(code, Some(1), "{text}");
            #[rustfmt::skip] // a list
            let cases = ["refuses: 401", "--token-file FILE", "HELIOGRAPH_ADMIN_TOKEN_FILE"];
            for part in cases {
                assert!(text.contains(part), "{words:?}: {text}");
            }
        }
    }
}

#[test]
fn a_token_file_that_cannot_be_used_is_named_with_who_names_it() {
    let guarded = Guarded::start("");
    let config = guarded.directory.join("b.toml");
    let off = guarded.directory.join("off.toml");
    fs::write(&config, "[admin]\ntoken_file = 'absent.token'\n").expect("a file under target/");
    fs::write(&off, "[admin]\nlisten = 'off'\n").expect("a file under target/");
    let rule = "absent.token: must be a readable file: No such file";
    let absent = Path::new("absent.token");
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        (&["--token-file", "absent.token"][..], None, format!("--token-file {rule}")),
        (&[], Some(absent), format!("HELIOGRAPH_ADMIN_TOKEN_FILE = {rule}")),
        (&["--config", "b.toml"], None, format!("b.toml: admin.token_file = {rule}")),
        (&["--config", "off.toml"], None, "off.toml: admin.listen = off".into()),
        (&["--config", "none.toml"], None, "none.toml: cannot be read".into()),
    ];
    for (more, variable, said) in cases {
        let (code, text) = guarded.asked_by(&[&["why"], more].concat(), variable);
        assert_eq!(code, Some(2), "{text}");
        testkit::assert_begins(&text, &said);
    }
}

/// The environment of other programs names the file that this command was given: an answer could name any.
#[test]
fn the_environment_carries_the_file_of_the_token() {
    let guarded = Guarded::start("");
    let url = format!("http://{}", guarded.broker.admin);
    #[rustfmt::skip] // a list
    let words = ["env", "--format", "github", "--token-file", "admin.token", "--admin", &url];
    let (code, text) = guarded.asked_by(&words, None);
    let line = format!("HELIOGRAPH_ADMIN_TOKEN_FILE={}\n", guarded.token.display());
    assert_eq!(code, Some(0), "{text}");
    testkit::assert_has(&text, &[&line, &format!("HELIOGRAPH_ADMIN={url}\n")]);
    let shown = guarded.broker.page("/dev/environment").text();
    assert!(!shown.contains("TOKEN"), "{shown}");
}
