//! Broken configurations of every kind, and every line that is printed for each: `serve` and `check-config` refuse the
//! same with the same words.

use crate::cases::{Case, cases};
use crate::cli::support::{broker, directory};
use broker::config::Cpus;
use rcgen::{CertificateParams, DnType, KeyPair};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, SystemTime};
use testkit::{Directory, run};

#[test]
fn serve_and_check_config_refuse_the_same_with_the_same_words() {
    let broken: Vec<Case> = cases(include_str!("../data/broken_configurations.txt")).collect();
    assert!(broken.len() >= 60);
    let workers = 4;
    let faults = std::thread::scope(|scope| {
        let part = |nth| broken.iter().skip(nth).step_by(workers);
        let start = |nth| scope.spawn(move || part(nth).flat_map(refused).collect::<Vec<_>>());
        let threads: Vec<_> = (0..workers).map(start).collect();
        let ended = threads.into_iter().map(|thread| thread.join().unwrap());
        ended.flatten().collect::<Vec<_>>()
    });
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The fixtures are taken where all else is right, so no case of the table is refused for them.
#[test]
fn the_fixtures_of_the_corpus_are_right_by_themselves() {
    let directory = fixtures();
    let text = "{keys}|[tls]|cert = 'own.pem'|key = 'own.key'|client_ca = 'own.pem'|[admin]|token_file = 'good.token'|\
                [[ice]]|urls = ['turn:a']|secret_file = 'turn.secret'";
    write(&directory, text, "{one}");
    let output = run(broker(&["check-config", "c.toml"]).current_dir(&directory));
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    assert!(output.stdout.contains("principal   a, account"));
}

/// Flags complete a file for the check as they do for the start.
#[test]
fn check_config_takes_the_flags_of_serve() {
    let directory = fixtures();
    write(&directory, "listen = ['https://127.0.0.1:0']", "{one}");
    let check = |flags: &[&str]| {
        run(broker(&[&["check-config", "c.toml"][..], flags].concat()).current_dir(&directory))
    };
    assert_eq!(check(&[]).code, Some(2));
    #[rustfmt::skip] // a list
    let given = ["--credentials", "keys.toml", "--tls-cert", "own.pem", "--tls-key", "own.key"];
    let output = check(&given);
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    assert_eq!(check(&["--dev"]).code, Some(0));
    let output = check(&["--dev", "--tls-cert", "absent.pem", "--tls-key", "own.key"]);
    assert_eq!(output.code, Some(2));
    testkit::assert_begins(&output.stderr, "--tls-cert absent.pem: must be a PEM file");
    let output = check(&["--config", "c.toml"]);
    assert_eq!(output.code, Some(2));
}

/// Returns the faults in how a case is refused.
fn refused((text, keys, expected): &Case) -> Vec<String> {
    let directory = fixtures();
    write(&directory, text, keys);
    let cpus = format!("{:?}", Cpus::of_this_process().allowed);
    let fits = |(line, wanted): (&str, &&str)| match wanted.strip_suffix('…') {
        Some(begin) => line.starts_with(begin),
        None => line == wanted.replace("{cpus}", &cpus),
    };
    let mut faults = Vec::new();
    for command in [
        &["check-config", "c.toml"][..],
        &["serve", "--config", "c.toml"],
    ] {
        let output = run(broker(command).current_dir(&directory));
        let said = output.stderr;
        let said = said
            .trim_end()
            .trim_end_matches("\nTo try it: heliograph serve --dev");
        let lines: Vec<_> = said.lines().collect();
        let as_wanted =
            lines.len() == expected.len() && lines.iter().copied().zip(expected).all(fits);
        if output.code != Some(2) || !as_wanted || !output.stdout.is_empty() {
            let wanted = expected.join("\n");
            let code = output.code;
            faults.push(format!(
                "{command:?} of {text} / {keys}: {code:?}\n{said}\nwanted:\n{wanted}\n"
            ));
        }
    }
    faults
}

/// A `|` in a text is a line break.
fn write(directory: &Directory, text: &str, keys: &str) {
    let whole = |text: &str| {
        let text = text.replace("{keys}", "credentials = 'keys.toml'");
        text.replace("{one}", ONE).replace('|', "\n")
    };
    directory.file("c.toml", &whole(text));
    if !keys.is_empty() {
        let path = directory.file("keys.toml", &whole(keys));
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }
}

/// A directory with files of every kind.
fn fixtures() -> Directory {
    let directory = directory();
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let (now, year) = (SystemTime::now(), Duration::from_secs(365 * 24 * 60 * 60));
    for (name, from, to) in [
        ("own", now - year, now + year),
        ("other", now - year, now + year),
        ("expired", at(1_600_000_000), at(1_700_086_400)),
        ("future", at(10_000_000_000), at(11_000_000_000)),
    ] {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        (params.not_before, params.not_after) = (from.into(), to.into());
        let key = KeyPair::generate().unwrap();
        let cert = params.self_signed(&key).unwrap().pem();
        directory.file(&format!("{name}.pem"), &cert);
        directory.file(&format!("{name}.key"), &key.serialize_pem());
        if name == "own" {
            directory.file("half.pem", &cert[..cert.len() / 2]);
            directory.file("half.key", &key.serialize_pem()[..100]);
        }
    }
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        ("empty", ""),
        ("file", "text\n"),
        ("good.token", "token-with-enough-letters\nand-another-line-too\n"),
        ("short.token", "short\n"),
        ("many.token", "token-with-enough-letters\nand-another-line-too\nand-one-line-too-many\n"),
        ("turn.secret", "secret\n"),
        ("good.secret", SECRET),
        ("good.map", "n1 127.0.0.1:1 0-2047\nn2 127.0.0.1:2 2048-4095\n"),
        ("bad.map", "n1 127.0.0.1:1 0-2047\nn2 127.0.0.1:2 7\n"),
        ("bad.json", "{\"Statement\": {\n \"Effect\": \"allow\",\n \"NotPrincipal\": \"*\"\n } }\n"),
    ];
    for (name, text) in cases {
        directory.file(name, text);
    }
    fs::write(directory.path("binary"), [0xFF]).unwrap();
    fs::create_dir(directory.path("folder")).unwrap();
    symlink("nowhere/at/all", directory.path("link")).unwrap();
    directory
}

/// The secret of a cluster.
const SECRET: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n";

/// The lines of a principal that is right.
const ONE: &str =
    "[[principal]]|name = 'a'|access_key_id = 'A'|secret_access_key = '0123456789abcdef'";
