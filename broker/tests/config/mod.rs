//! The configuration file: its defaults, its errors, and how flags and profiles join in.

mod cluster_files;
mod faults;
mod help;
mod read_files;
mod sample;

use broker::config::{Arguments, Command, ConfigError, Cpus, ServeFlags, load_text, summary};
use broker_core::settings::{Auth, GoAway, IceCredential, Limits, Profile, Quotas, Rate, Settings};
use clap::Parser;
use std::path::Path;

#[test]
fn an_empty_file_gives_the_defaults() {
    let settings = check("").unwrap();
    assert_eq!(
        settings,
        Settings {
            shards: 2,
            cpus: vec![0, 1],
            credentials: Some("keys.toml".into()),
            config: Some("f.toml".into()),
            ..Settings::default()
        }
    );
    assert!(summary(&settings, None).contains("http://127.0.0.1:8080"));
}

/// As nobody can be let in without them, a file is wrong without them, whether it says sigv4 or nothing.
#[test]
fn credentials_are_needed_unless_auth_is_none() {
    let rule = "needs a credentials file: --credentials FILE, or credentials in the file; else --dev, or none \
                with \
                every listener on loopback";
    for (text, place) in [
        ("auth = 'sigv4'", "f.toml:1:8: auth = sigv4"),
        ("", "auth = sigv4 (default)"),
    ] {
        let error = without_flags(text).unwrap_err();
        assert_eq!(error.to_string(), format!("{place}: {rule}"));
    }
    without_flags("auth = 'none'").unwrap();
}

#[test]
fn strict_and_dev_change_defaults_and_what_is_written_wins() {
    let strict = check("profile = 'strict'|[limits]|message_bytes = 40000").unwrap();
    assert_eq!(
        strict.limits,
        Limits {
            message_bytes: 40_000,
            channels_per_account: 10_000, // of us-west-2
            ..Limits::of(Profile::Strict)
        }
    );
    assert_eq!(strict.limits.payload_bytes, 10_240);
    assert_eq!(strict.timeouts.ping_ms, 0);
    assert_eq!(strict.signaling.go_away, GoAway::Always);
    let written = check("profile = 'strict'|[signaling]|go_away = 'never'").unwrap();
    assert_eq!(written.signaling.go_away, GoAway::Never);
    assert_eq!(check("").unwrap().signaling.go_away, GoAway::Auto);
    assert_eq!(
        strict.timeouts,
        Settings::new(Profile::Strict, false).timeouts
    );

    let dev = |text: &str, profile: &[&str]| {
        let flags = flags(&[&["--dev"], profile].concat());
        load_text(
            Path::new("f.toml"),
            &text.replace('|', "\n"),
            &flags,
            &machine(),
        )
    };
    let settings = dev("", &[]).unwrap();
    assert_eq!(settings.auth, Auth::None);
    assert_eq!(settings.listen.len(), 2);
    assert!(settings.quotas.off);
    assert!(!dev("", &["--profile", "strict"]).unwrap().quotas.off);
    assert!(!dev("[quotas]|off = false", &[]).unwrap().quotas.off);
    assert_eq!(
        dev("profile = 'strict'", &[]).unwrap().limits.payload_bytes,
        10_240
    );
    assert_eq!(
        dev("profile = 'strict'", &["--profile", "default"])
            .unwrap()
            .limits
            .payload_bytes,
        32_768
    );
    let error = dev("listen = ['http://0.0.0.0:80']", &[])
        .unwrap_err()
        .to_string();
    assert!(
        error.ends_with("since --dev lets everybody in; --allow-remote permits others"),
        "{error}"
    );
    let error = dev("auth = 'sigv4'", &[]).unwrap_err().to_string();
    testkit::assert_begins(&error, "f.toml:1:8: auth = sigv4: needs a credentials file");
}

#[test]
fn a_development_server_is_no_node_of_a_cluster() {
    let text = "[cluster]\nname = 'prod'\nnode = 'n1'\nsecret_file = 's'\nlisten = '127.0.0.1:0'\n\
                map_file = 'm'";
    let load =
        |arguments: &[&str]| load_text(Path::new("f.toml"), text, &flags(arguments), &machine());
    let error = load(&["--dev"]).unwrap_err().to_string();
    let rule = "expected without --dev, whose channels are created by connecting to any node";
    assert_eq!(error, format!("f.toml:1:1: cluster = {{ … }}: {rule}"));
    assert!(load(&["--auth=none"]).unwrap().cluster.is_whole());
    assert!(!Settings::default().cluster.is_on());
}

#[test]
fn flags_override_the_file_and_are_named_in_faults() {
    #[rustfmt::skip] // a list
    let flags = flags(&["--auth=none", "--listen=https://127.0.0.1:0", "--shards=7", "--region=eu-central-1"]);
    let text = "auth = 'sigv4'\nshards = 3\nregion = 'x'\nlisten = ['http://0.0.0.0:1']\n[tls]\ncert = 'a'\nkey = 'b'";
    let settings = load_text(Path::new("f.toml"), text, &flags, &machine()).unwrap();
    assert_eq!(settings.shards, 7);
    assert_eq!(settings.region.as_str(), "eu-central-1");
    assert_eq!(settings.auth, Auth::None);
    assert_eq!(
        (0..7)
            .map(|shard| settings.cpu(shard).unwrap())
            .collect::<Vec<_>>(),
        [0, 1, 0, 1, 0, 1, 0]
    );

    let error = load_text(Path::new("f.toml"), "", &flags, &machine())
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "--listen https://127.0.0.1:0: needs a certificate: --tls-cert FILE --tls-key FILE, or [tls] cert and \
         key in \
         the file; --dev makes one of its own"
    );
}

#[test]
fn quotas_and_ice_servers_are_read() {
    let settings = check(
        "[quotas]|sdp = { rate = 7 }|ice = { burst = 3 }|[[ice]]|urls = ['stun:a']|[[ice]]|urls = \
                          ['turn:b']|username = 'u'|password = 'p'|ttl = '1h'",
    )
    .unwrap();
    let expected = Quotas {
        sdp: Rate { rate: 7, burst: 35 },
        ice: Rate { rate: 20, burst: 3 },
        ..Settings::default().quotas
    };
    assert_eq!(settings.quotas, expected);
    assert_eq!(settings.ice[0].credential, IceCredential::None);
    assert_eq!(settings.ice[0].ttl_seconds, 300);
    assert_eq!(settings.ice[1].ttl_seconds, 3600);
    assert!(
        !format!("{settings:?}").contains("\"p\""),
        "passwords are never printed"
    );
}

/// The settings of a file's text, without a flag.
fn without_flags(text: &str) -> Result<Settings, ConfigError> {
    let flags = ServeFlags::default();
    load_text(Path::new("f.toml"), text, &flags, &machine())
}

/// The settings of a file that lacks no credentials.
fn check(text: &str) -> Result<Settings, ConfigError> {
    let flags = flags(&["--credentials", "keys.toml"]);
    let text = text.replace('|', "\n");
    load_text(Path::new("f.toml"), &text, &flags, &machine())
}

/// The flags of a command line.
fn flags(words: &[&str]) -> ServeFlags {
    let words = [&["heliograph", "serve"], words].concat();
    let arguments = Arguments::try_parse_from(words).expect("flags");
    let Command::Serve(flags) = arguments.command else {
        panic!("it serves")
    };
    *flags
}

fn machine() -> Cpus {
    Cpus {
        allowed: vec![0, 1],
        count: 2,
    }
}
