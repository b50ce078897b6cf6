//! Flags and subcommands: help, what is allowed, `presign`.

use crate::cli::support::{broker, directory};
use testkit::run;

#[test]
fn without_a_command_the_help_is_shown_and_the_exit_code_is_2() {
    let output = run(&mut broker(&[]));
    assert_eq!(output.code, Some(2));
    assert!(output.stderr.contains("check-config"), "{}", output.stderr);
    for help in [&["--help"][..], &["serve", "--help"]] {
        let output = run(&mut broker(help));
        assert_eq!(output.code, Some(0));
        testkit::assert_has(&output.stdout, &["Usage: heliograph"]);
    }
}

#[test]
fn the_version_tells_the_build_to_people_and_to_programs() {
    let version = env!("CARGO_PKG_VERSION");
    let output = run(&mut broker(&["--version"]));
    assert_eq!(output.stdout, format!("heliograph {version}\n"));
    let output = run(&mut broker(&["version"]));
    let begin = format!("heliograph {version} (");
    assert!(output.stdout.starts_with(&begin), "{}", output.stdout);
    let output = run(&mut broker(&["version", "--json"]));
    let document: serde_json::Value =
        serde_json::from_str(&output.stdout).expect("one JSON document");
    let document = document.as_object().expect("an object");
    let keys: Vec<&str> = document.keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        ["commit", "dirty", "profile", "rustc", "target", "version"]
    );
    assert_eq!(document["version"], version);
    assert!(
        document["rustc"]
            .as_str()
            .is_some_and(|text| text.starts_with("rustc "))
    );
}

#[test]
fn the_seccomp_profile_is_printed_or_written_and_no_other_file_is_lost() {
    let shipped = include_str!("../../../deploy/seccomp.json");
    let output = run(&mut broker(&["seccomp-profile"]));
    assert_eq!(output.stdout, shipped);
    let directory = directory();
    let file = directory.path("seccomp.json");
    let write = || run(broker(&["seccomp-profile", "--output"]).arg(&file));
    for _ in 0..2 {
        let output = write();
        assert_eq!((output.code, output.stdout), (Some(0), String::new()));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), shipped);
    }
    std::fs::write(&file, "{}").unwrap();
    let output = write();
    assert_eq!(output.code, Some(2));
    testkit::assert_has(&output.stderr, &["another content"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "{}");
}

#[test]
fn words_of_other_programs_have_a_hint() {
    for (line, hint) in [
        (
            &["serve", "--port", "8080"][..],
            "tip: the port is a part of --listen",
        ),
        (&["serve", "--dve"], "tip: the nearest is --dev"),
        (&["sevre"], "tip: the nearest is serve"),
        (&["channels", "list"], "tip: a running broker lists them"),
        (&["logs"], "tip: heliograph tail prints"),
        (&["status"], "tip: heliograph top shows"),
    ] {
        let output = run(&mut broker(line));
        assert_eq!(output.code, Some(2), "{line:?}");
        assert!(output.stderr.contains(hint), "{line:?}: {}", output.stderr);
    }
}

#[test]
fn an_invalid_flag_is_refused_with_what_is_allowed() {
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        (["--shards", "0"], "expected 1 to 256"),
        (["--listen", "127.0.0.1:1"], "expected http://ADDR:PORT or https://ADDR:PORT"),
        (["--admin", "8090"], "expected ADDR:PORT, such as 127.0.0.1:8090, or off"),
        (["--listen", "http://0.0.0.0:0"], "loopback"),
        (["--listen", "http://[::]:0"], "loopback"),
        (["--profile", "lax"], "expected \"default\", \"strict\""),
        (["--auth", "basic"], "expected \"sigv4\", \"none\""),
        (["--account-id", "1"], "expected 12 digits"),
        (["--cpus", "1-0"], "expected a list of CPU numbers"),
        (["--tls-cert", "a.pem"], "--tls-key"),
    ];
    for (flags, allowed) in cases {
        let output = run(&mut broker(&[&["serve", "--dev"][..], &flags].concat()));
        assert_eq!(output.code, Some(2), "{flags:?}");
        assert!(
            output.stderr.contains(allowed),
            "{flags:?}: {}",
            output.stderr
        );
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn without_credentials_the_last_line_is_how_to_try_it() {
    let directory = directory();
    let empty = directory.file("empty.toml", "");
    for flags in [&[][..], &["--config", empty.to_str().unwrap()]] {
        let output = run(broker(&[&["serve"][..], flags].concat()).current_dir(&directory));
        assert_eq!(output.code, Some(2));
        let text = output.stderr;
        assert!(text.contains("--credentials FILE"), "{text}");
        assert_eq!(
            text.lines().last(),
            Some("To try it: heliograph serve --dev")
        );
    }
    // A fault that has nothing to do with credentials does not end so.
    #[rustfmt::skip] // a list
    let output = run(&mut broker(&["serve", "--auth", "none", "--listen", "http://0.0.0.0:0"]));
    assert_eq!(output.code, Some(2));
    assert!(!output.stderr.contains("To try it"), "{}", output.stderr);
}

#[test]
fn presign_prints_a_url_or_names_what_is_missing() {
    let arn = "arn:aws:kinesisvideo:eu-west-1:123456789012:channel/a/1700000000000";
    #[rustfmt::skip] // a list
    let flags = ["presign", "--endpoint", "wss://localhost:8443", "--channel-arn", arn, "--client-id", "v"];
    let keys = [
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_SESSION_TOKEN", ""),
    ];
    let output = run(broker(&flags).envs(keys));
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let url = output.stdout;
    assert!(
        url.starts_with(
            "wss://localhost:8443/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-ChannelARN=arn%3Aaws%3A"
        ),
        "{url}"
    );
    assert!(
        url.contains("%2Feu-west-1%2Fkinesisvideo%2Faws4_request&")
            && url.contains("&X-Amz-Expires=300&"),
        "{url}"
    );
    // An endpoint as discovery returns it.
    for (endpoint, named) in [("/viewer", true), ("/master", false)] {
        let mut flags = flags;
        let endpoint = format!("wss://localhost:8443{endpoint}");
        flags[2] = &endpoint;
        let output = run(broker(&flags).envs(keys));
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        assert!(
            output.stdout.starts_with("wss://localhost:8443/?"),
            "{}",
            output.stdout
        );
        assert_eq!(
            output.stdout.contains("X-Amz-ClientId"),
            named,
            "{endpoint}"
        );
    }
    #[rustfmt::skip] // a list
    let viewers = ["presign", "--endpoint", "wss://a/viewer", "--channel-arn", arn];
    let output = run(broker(&viewers).envs(keys));
    assert_eq!(output.code, Some(2));
    assert!(output.stderr.contains("--client-id"), "{}", output.stderr);
    let output = run(broker(&flags).env_clear());
    assert_eq!(output.code, Some(2));
    testkit::assert_has(&output.stderr, &["AWS_ACCESS_KEY_ID"]);
    let output =
        run(broker(&["presign", "--endpoint", "wss://a/b", "--channel-arn", arn]).envs(keys));
    assert_eq!(output.code, Some(2));
}

/// Keys and places of the client of [`presign_player`].
const PLAYER_ENVIRONMENT: [(&str, &str); 5] = [
    ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
    ("AWS_SECRET_ACCESS_KEY", "secret"),
    ("AWS_SESSION_TOKEN", ""),
    ("AWS_REGION", "eu-west-1"),
    ("AWS_ENDPOINT_URL_KINESIS_VIDEO", "https://a.example"),
];

/// Runs `presign --whep` with these flags and this session token, which may be empty.
fn presign_player(flags: &[&str], token: &str) -> testkit::Exit {
    let player = ["presign", "--whep", "cam-1", "--client-id", "wall-1"];
    let mut command = broker(&[&player, flags].concat());
    run(command
        .envs(PLAYER_ENVIRONMENT)
        .env("AWS_SESSION_TOKEN", token))
}

#[test]
fn presign_prints_the_url_of_a_player() {
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        (&[][..], "https://a.example/whep/cam-1?X-Amz-Algorithm=", "604800"),
        (&["--for", "90d"], "https://a.example/whep/cam-1?", "7776000"),
        (&["--for", "365d", "--endpoint", "http://localhost:8080"], "http://localhost:8080/whep", "31536000"),
        (&["--for", "8d", "--endpoint", "http://[::1]:8080"], "http://[::1]:8080/whep", "691200"),
        (&["--endpoint", "http://B.example:80"], "http://b.example/whep/cam-1?", "604800"),
    ];
    for (flags, start, expires) in cases {
        let output = presign_player(flags, "");
        assert_eq!((output.code, &*output.stderr), (Some(0), ""), "{flags:?}");
        let url = output.stdout;
        assert!(url.starts_with(start) && url.ends_with('\n'), "{url}");
        let expires = format!("&X-Amz-Expires={expires}&");
        #[rustfmt::skip] // a list
        let cases = [&*expires, "&X-Amz-ClientId=wall-1&", "%2Feu-west-1%2Fkinesisvideo%2F"];
        for part in cases {
            assert!(url.contains(part), "{part}: {url}");
        }
    }
    let output = presign_player(&[], "token");
    testkit::assert_has(&output.stdout, &["X-Amz-Security-Token=token&"]);
    testkit::assert_has(&output.stderr, &["the URL ends with them"]);
}

#[test]
fn presign_refuses_what_a_player_cannot_use() {
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        (&["--for", "8d", "--endpoint", "http://a.example"][..], "needs https"),
        (&["--for", "366d"], "365d"),
        (&["--endpoint", "wss://a.example"], "https://HOST"),
        (&["--endpoint", "https://a.example/x"], "without a path"),
        (&["--channel-arn", "arn:aws:kinesisvideo:eu-west-1:123456789012:channel/a/17"], "cannot be used"),
        (&["--expires", "9"], "cannot be used"),
    ];
    for (flags, part) in cases {
        let output = presign_player(flags, "");
        assert_eq!(output.code, Some(2), "{flags:?}");
        assert!(output.stderr.contains(part), "{flags:?}: {}", output.stderr);
    }
    let nobody = run(broker(&["presign", "--whep", "cam-1"]).envs(PLAYER_ENVIRONMENT));
    assert!(nobody.stderr.contains("--client-id"), "{}", nobody.stderr);
    let mut command = broker(&["presign", "--whep", "cam-1", "--client-id", "v"]);
    let nowhere = run(command
        .env_clear()
        .envs(PLAYER_ENVIRONMENT.into_iter().take(3)));
    assert!(nowhere.stderr.contains("--endpoint"), "{}", nowhere.stderr);
}

#[test]
fn the_help_of_clusters_names_their_commands() {
    let help = run(&mut broker(&["cluster", "--help"]));
    assert_eq!(help.code, Some(0));
    for command in ["status", "check", "remove", "import", "export"] {
        assert!(
            help.stdout.contains(&format!("\n  {command} ")),
            "{command}"
        );
    }
}
