//! Broken configurations of every kind, and all that is said of each: `serve` and `check-config` refuse the same with
//! the same words.

use super::{Directory, broker, run, stderr, stdout};
use broker::config::Cpus;
use rcgen::{CertificateParams, DnType, KeyPair};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, SystemTime};

#[test]
fn serve_and_check_config_refuse_the_same_with_the_same_words() {
    assert!(BROKEN.len() >= 60);
    let workers = 4;
    let faults = std::thread::scope(|scope| {
        let part = |nth| BROKEN.iter().skip(nth).step_by(workers);
        let start = |nth| scope.spawn(move || part(nth).flat_map(refused).collect::<Vec<_>>());
        let threads: Vec<_> = (0..workers).map(start).collect();
        let ended = threads.into_iter().map(|thread| thread.join().unwrap());
        ended.flatten().collect::<Vec<_>>()
    });
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// What is right by itself is taken, so that the fixtures of the table are not what is refused.
#[test]
fn the_fixtures_of_the_corpus_are_right_by_themselves() {
    let directory = fixtures();
    let text = "{keys}|[tls]|cert = 'own.pem'|key = 'own.key'|client_ca = 'own.pem'|[admin]|token_file = 'good.token'|\
                [[ice]]|urls = ['turn:a']|secret_file = 'turn.secret'";
    write(&directory, text, "{one}");
    let output = run(broker(&["check-config", "c.toml"]).current_dir(&directory.0));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("principal   a, account"));
}

/// Flags complete a file for the check as they do for the start.
#[test]
fn check_config_takes_the_flags_of_serve() {
    let directory = fixtures();
    write(&directory, "listen = ['https://127.0.0.1:0']", "{one}");
    let check = |flags: &[&str]| {
        run(broker(&[&["check-config", "c.toml"][..], flags].concat()).current_dir(&directory.0))
    };
    assert_eq!(check(&[]).status.code(), Some(2));
    let given = [
        "--credentials",
        "keys.toml",
        "--tls-cert",
        "own.pem",
        "--tls-key",
        "own.key",
    ];
    let output = check(&given);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(check(&["--dev"]).status.code(), Some(0));
    let output = check(&["--dev", "--tls-cert", "absent.pem", "--tls-key", "own.key"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).starts_with("--tls-cert absent.pem: allowed a PEM file"));
    let output = check(&["--config", "c.toml"]);
    assert_eq!(output.status.code(), Some(2));
}

/// What is wrong with how a case is refused.
fn refused((text, keys, expected): &(&str, &str, &[&str])) -> Vec<String> {
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
        let output = run(broker(command).current_dir(&directory.0));
        let said = stderr(&output);
        let said = said
            .trim_end()
            .trim_end_matches("\nTo try it: broker serve --dev");
        let lines: Vec<_> = said.lines().collect();
        let as_wanted =
            lines.len() == expected.len() && lines.iter().copied().zip(*expected).all(fits);
        if output.status.code() != Some(2) || !as_wanted || !output.stdout.is_empty() {
            let wanted = expected.join("\n");
            let code = output.status.code();
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
    let directory = Directory::new();
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
    for (name, text) in [
        ("empty", ""),
        ("file", "text\n"),
        ("good.token", "token-with-enough-letters\n"),
        ("short.token", "short\n"),
        (
            "two.token",
            "token-with-enough-letters\nand-another-line-too\n",
        ),
        ("turn.secret", "secret\n"),
        (
            "bad.json",
            "{\"Statement\": {\n \"Effect\": \"allow\",\n \"NotResource\": \"*\"\n } }\n",
        ),
    ] {
        directory.file(name, text);
    }
    fs::write(directory.0.join("binary"), [0xFF]).unwrap();
    fs::create_dir(directory.0.join("folder")).unwrap();
    symlink("nowhere/at/all", directory.0.join("link")).unwrap();
    directory
}

/// The lines of a principal that is right.
const ONE: &str =
    "[[principal]]|name = 'a'|access_key_id = 'A'|secret_access_key = '0123456789abcdef'";

/// The configuration, the credentials file beside it, and each line that is said; `…` at its end stands for the rest
/// of a line.
const BROKEN: &[(&str, &str, &[&str])] = &[
    (
        "region = ",
        "",
        &["c.toml:1:10: string values must be quoted, expected literal string"],
    ),
    (
        "[limits|region = 'a'",
        "",
        &["c.toml:1:8: unclosed table, expected `]`"],
    ),
    (
        "region = 'a'|region = 'b'",
        "",
        &["c.toml:2:1: duplicate key"],
    ),
    (
        "",
        "",
        &[
            "auth = sigv4 (default): allowed with a credentials file: --credentials FILE, or credentials in the file; \
             else --dev, or none with every listener on loopback",
        ],
    ),
    (
        "auth = 'sigv4'",
        "",
        &[
            "c.toml:1:8: auth = sigv4: allowed with a credentials file: --credentials FILE, or credentials in the \
             file; else --dev, or none with every listener on loopback",
        ],
    ),
    (
        "auth = 'sigv4'|credentials = ''",
        "",
        &["c.toml:2:15: credentials = '': allowed a text that is not empty"],
    ),
    (
        "credentials = 'absent.toml'",
        "",
        &[
            "c.toml:1:15: credentials = absent.toml: allowed a file that can be read: No such file or directory (os \
             error 2)",
        ],
    ),
    (
        "credentials = 'folder'",
        "",
        &["c.toml:1:15: credentials = folder: allowed a regular file"],
    ),
    (
        "credentials = 'binary'",
        "",
        &[
            "c.toml:1:15: credentials = binary: allowed a file that can be read: stream did not contain valid UTF-8",
        ],
    ),
    (
        "auth = 'none'|credentials = 'absent.toml'",
        "",
        &[
            "c.toml:2:15: credentials = absent.toml: allowed a file that can be read: No such file or directory (os \
             error 2)",
        ],
    ),
    (
        "auth = 'none'|listen = ['http://0.0.0.0:0']",
        "",
        &[
            "c.toml:2:10: listen = http://0.0.0.0:0: allowed loopback addresses only, since auth none lets everybody \
             in",
        ],
    ),
    (
        "auth = 'none'|listen = ['http://[::]:0', 'http://127.0.0.1:0', 'http://10.0.0.1:0']",
        "",
        &[
            "c.toml:2:10: listen = http://[::]:0: allowed loopback addresses only, since auth none lets everybody in",
            "c.toml:2:10: listen = http://10.0.0.1:0: allowed loopback addresses only, since auth none lets everybody \
             in",
        ],
    ),
    (
        "{keys}|shards = 0|limit = 1",
        "{one}",
        &[
            "c.toml:2:10: shards = 0: allowed 1 to 256",
            "c.toml:3:1: limit = 1: unknown key, allowed region, …",
        ],
    ),
    (
        "{keys}|shards = 257|cpus = '1-0'",
        "{one}",
        &[
            "c.toml:2:10: shards = 257: allowed 1 to 256",
            "c.toml:3:8: cpus = '1-0': allowed a list of CPU numbers and ranges, such as 0-3,6, none twice",
        ],
    ),
    (
        "{keys}|cpus = [8000, 8001]",
        "{one}",
        &["c.toml:2:8: cpus = [8000, 8001]: allowed the CPUs that this process may use: {cpus}"],
    ),
    (
        "{keys}|profile = 'lax'|log_format = 'xml'",
        "{one}",
        &[
            "c.toml:2:11: profile = 'lax': allowed \"default\", \"strict\"",
            "c.toml:3:14: log_format = 'xml': allowed \"text\", \"json\"",
        ],
    ),
    (
        "{keys}|region = 'US'|account_id = 1",
        "{one}",
        &[
            "c.toml:2:10: region = 'US': allowed 1 to 32 of the characters a-z 0-9 -",
            "c.toml:3:14: account_id = 1: allowed 12 digits, in quotes",
        ],
    ),
    (
        "{keys}|listen = ['127.0.0.1:80']",
        "{one}",
        &[
            "c.toml:2:10: listen = ['127.0.0.1:80']: allowed http://ADDR:PORT or https://ADDR:PORT, such as \
             https://127.0.0.1:8443",
        ],
    ),
    (
        "{keys}|listen = ['http://127.0.0.1:80', 'http://127.0.0.1:80']",
        "{one}",
        &["c.toml:2:10: listen = http://127.0.0.1:80: allowed each address and port once"],
    ),
    (
        "{keys}|[limits]|connections = 0|head_bytes = 1",
        "{one}",
        &[
            "c.toml:3:15: limits.connections = 0: allowed 1 to 16777216",
            "c.toml:4:14: limits.head_bytes = 1: allowed 1024 to 65536",
        ],
    ),
    (
        "{keys}|[limits]|payload_bytes = 65536",
        "{one}",
        &[
            "limits.message_bytes = 65536 (default): allowed at least 65902: limits.payload_bytes and 366 for what is \
             around it",
        ],
    ),
    (
        "{keys}|[limits]|outbox_bytes_per_shard = 65536|pending_bytes_per_shard = 16384",
        "{one}",
        &[
            "c.toml:3:26: limits.outbox_bytes_per_shard = 65536: allowed at least 1048576, which is \
             limits.outbox_bytes",
            "c.toml:4:27: limits.pending_bytes_per_shard = 16384: allowed at least 524288, which is \
             limits.pending_bytes_per_channel",
        ],
    ),
    (
        "{keys}|[timeouts]|head = 10|drain = 'off'",
        "{one}",
        &[
            "c.toml:3:8: timeouts.head = 10: allowed a duration from \"1ms\" to \"1h\", in quotes",
            "c.toml:4:9: timeouts.drain = 'off': allowed a duration from \"1ms\" to \"1h\"",
        ],
    ),
    (
        "{keys}|[timeouts]|connection_age = '1m'|ping = '1h'",
        "{one}",
        &[
            "c.toml:4:8: timeouts.ping = 1h: allowed less than timeouts.idle, which is 10m, or off",
            "timeouts.go_away_grace = 1m (default): allowed less than timeouts.connection_age, which is 1m",
        ],
    ),
    (
        "{keys}|[quotas]|ice = 5|sdp = { rate = -1, bursts = 2 }",
        "{one}",
        &[
            "c.toml:3:7: quotas.ice = 5: allowed a table: [quotas.ice]",
            "c.toml:4:16: quotas.sdp.rate = -1: allowed 0 to 1000000",
            "c.toml:4:20: quotas.sdp.bursts = 2: unknown key, allowed rate, burst",
        ],
    ),
    (
        "{keys}|[advertise]|domain = 'a.example'|wss = 'wss://b.example/x'",
        "{one}",
        &[
            "c.toml:4:7: advertise.wss = 'wss://b.example/x': allowed wss://HOST or wss://HOST:PORT, without a path",
        ],
    ),
    (
        "{keys}|[options]|master_offers = 'yes'",
        "{one}",
        &["c.toml:3:17: options.master_offers = 'yes': allowed true, false"],
    ),
    (
        "{keys}|[unknown]|key = 1",
        "{one}",
        &["c.toml:2:2: unknown = [unknown]: unknown key, allowed region, …"],
    ),
    (
        "{keys}|data_dir = ''",
        "{one}",
        &["c.toml:2:12: data_dir = '': allowed a text that is not empty"],
    ),
    (
        "{keys}|data_dir = 'file'",
        "{one}",
        &[
            "c.toml:2:12: data_dir = file: allowed a directory that can be made and written: not a directory",
        ],
    ),
    (
        "{keys}|data_dir = 'file/below'",
        "{one}",
        &[
            "c.toml:2:12: data_dir = file/below: allowed a directory that can be made and written: Not a directory (os \
             error 20)",
        ],
    ),
    (
        "{keys}|data_dir = 'link'",
        "{one}",
        &[
            "c.toml:2:12: data_dir = link: allowed a directory that can be made and written: No such file or directory \
             (os error 2)",
        ],
    ),
    (
        "{keys}|data_dir = '/proc/nowhere'",
        "{one}",
        &[
            "c.toml:2:12: data_dir = /proc/nowhere: allowed a directory that can be made and written: No such file or \
             directory (os error 2)",
        ],
    ),
    (
        "{keys}|[admin]|listen = '9090'",
        "{one}",
        &["c.toml:3:10: admin.listen = '9090': allowed ADDR:PORT, such as 127.0.0.1:9090, or off"],
    ),
    (
        "{keys}|[admin]|listen = '0.0.0.0:9090'",
        "{one}",
        &[
            "c.toml:3:10: admin.listen = 0.0.0.0:9090: allowed loopback addresses, or others with admin.token_file",
        ],
    ),
    (
        "{keys}|[admin]|listen = '0.0.0.0:9090'|token_file = 'absent.token'",
        "{one}",
        &[
            "c.toml:4:14: admin.token_file = absent.token: allowed a file that can be read: No such file or directory \
             (os error 2)",
        ],
    ),
    (
        "{keys}|[admin]|listen = '0.0.0.0:9090'|token_file = 'short.token'",
        "{one}",
        &[
            "c.toml:4:14: admin.token_file = short.token: allowed one line of at least 16 printable ASCII characters",
        ],
    ),
    (
        "{keys}|[admin]|listen = '0.0.0.0:9090'|token_file = 'two.token'",
        "{one}",
        &[
            "c.toml:4:14: admin.token_file = two.token: allowed one line of at least 16 printable ASCII characters",
        ],
    ),
    (
        "{keys}|[admin]|token_file = 'folder'",
        "{one}",
        &[
            "c.toml:3:14: admin.token_file = folder: allowed a file that can be read: Is a directory (os error 21)",
        ],
    ),
    (
        "{keys}|[admin]|listen = '127.0.0.1:8080'",
        "{one}",
        &[
            "c.toml:3:10: admin.listen = 127.0.0.1:8080: allowed an address and port that no other listener has",
        ],
    ),
    (
        "{keys}|listen = ['https://127.0.0.1:0']",
        "{one}",
        &[
            "c.toml:2:10: listen = https://127.0.0.1:0: allowed with a certificate: --tls-cert FILE --tls-key FILE, or \
             [tls] cert and key in the file; --dev makes one of its own",
        ],
    ),
    (
        "{keys}|[tls]|cert = 'own.pem'",
        "{one}",
        &["c.toml:2:1: tls = { … }: allowed cert and key together"],
    ),
    (
        "{keys}|[tls]|client_ca = 'own.pem'",
        "{one}",
        &["c.toml:2:1: tls = { … }: allowed client_ca together with cert and key"],
    ),
    (
        "{keys}|[tls]|cert = 'absent.pem'|key = 'absent.key'|client_ca = 'absent.ca'",
        "{one}",
        &[
            "c.toml:3:8: tls.cert = absent.pem: allowed a PEM file with one certificate or a chain, the leaf first: it \
             cannot be read: No such file or directory (os error 2)",
            "c.toml:4:7: tls.key = absent.key: allowed a PEM file with an unencrypted private key: it cannot be read: \
             No such file or directory (os error 2)",
            "c.toml:5:13: tls.client_ca = absent.ca: allowed a PEM file with the certificates of authorities: it \
             cannot be read: No such file or directory (os error 2)",
        ],
    ),
    (
        "{keys}|listen = ['https://127.0.0.1:0']|[tls]|cert = 'own.pem'|key = 'other.key'",
        "{one}",
        &[
            "c.toml:5:7: tls.key = other.key: allowed the private key of the first certificate in own.pem (own): it is \
             the key of another one",
        ],
    ),
    (
        "{keys}|[tls]|cert = 'own.key'|key = 'own.pem'",
        "{one}",
        &[
            "c.toml:3:8: tls.cert = own.key: allowed a PEM file with one certificate or a chain, the leaf first: there \
             is no `-----BEGIN CERTIFICATE-----` in it, but a private key: are cert and key swapped?",
            "c.toml:4:7: tls.key = own.pem: allowed a PEM file with an unencrypted private key: there is no \
             `-----BEGIN PRIVATE KEY-----` in it, but a certificate: are cert and key swapped?",
        ],
    ),
    (
        "{keys}|[tls]|cert = 'expired.pem'|key = 'expired.key'",
        "{one}",
        &[
            "c.toml:3:8: tls.cert = expired.pem: allowed a PEM file with one certificate or a chain, the leaf first: \
             certificate 1 (expired) has expired: it ended 2023-11-15 22:13:20 UTC, and this machine's clock says …",
        ],
    ),
    (
        "{keys}|[tls]|cert = 'future.pem'|key = 'future.key'",
        "{one}",
        &[
            "c.toml:3:8: tls.cert = future.pem: allowed a PEM file with one certificate or a chain, the leaf first: \
             certificate 1 (future) is not yet valid: it begins 2286-11-20 17:46:40 UTC, and this machine's clock says \
             …",
        ],
    ),
    (
        "{keys}|[tls]|cert = 'empty'|key = 'folder'|client_ca = 'file'",
        "{one}",
        &[
            "c.toml:3:8: tls.cert = empty: allowed a PEM file with one certificate or a chain, the leaf first: it is \
             empty",
            "c.toml:4:7: tls.key = folder: allowed a PEM file with an unencrypted private key: it is not a file",
            "c.toml:5:13: tls.client_ca = file: allowed a PEM file with the certificates of authorities: there is no \
             `-----BEGIN CERTIFICATE-----` in it",
        ],
    ),
    (
        "{keys}|[tls]|cert = 'half.pem'|key = 'half.key'",
        "{one}",
        &[
            "c.toml:3:8: tls.cert = half.pem: allowed a PEM file with one certificate or a chain, the leaf first: a \
             section in it has no end: was it written whole?",
            "c.toml:4:7: tls.key = half.key: allowed a PEM file with an unencrypted private key: a section in it has \
             no end: was it written whole?",
        ],
    ),
    (
        "{keys}|[[ice]]|ttl = '10s'",
        "{one}",
        &[
            "c.toml:3:1: ice[0] = { … }: allowed entries with urls",
            "c.toml:3:7: ice[0].ttl = '10s': allowed a duration from …",
        ],
    ),
    (
        "{keys}|[[ice]]|urls = ['http://a']|username = 'u'",
        "{one}",
        &[
            "c.toml:3:1: ice[0] = { … }: allowed one of username with password, secret, secret_file",
            "c.toml:3:8: ice[0].urls = ['http://a']: allowed stun:, turn: or turns: URLs of at most 127 characters",
        ],
    ),
    (
        "{keys}|[[ice]]|urls = ['turn:a']",
        "{one}",
        &[
            "c.toml:3:1: ice[0] = { … }: allowed without username and password, secret or secret_file for stun: URLs \
             only",
        ],
    ),
    (
        "{keys}|[[ice]]|urls = ['turn:a']|secret = 'se cret'|ttl = 5",
        "{one}",
        &[
            "c.toml:4:10: ice[0].secret = <redacted>: allowed 1 to 256 printable ASCII characters without space, \" \
             and \\",
            "c.toml:5:7: ice[0].ttl = 5: allowed a duration from …",
        ],
    ),
    (
        "{keys}|[[ice]]|urls = ['turn:a']|secret_file = 'absent.secret'|[[ice]]|urls = ['turn:a']|secret_file = \
         'empty'",
        "{one}",
        &[
            "c.toml:4:15: ice[0].secret_file = 'absent.secret': allowed a file that can be read (No such file or \
             directory (os error 2))",
            "c.toml:7:15: ice[1].secret_file = 'empty': allowed a file with one secret a line",
        ],
    ),
    (
        "{keys}|[[ice]]|urls = ['turn:a']|secret = 'secret'|username = 'u'|password = 'p'",
        "{one}",
        &["c.toml:3:1: ice[0] = { … }: allowed one of username with password, secret, secret_file"],
    ),
    (
        "{keys}|ice = 5",
        "{one}",
        &["c.toml:2:7: ice = 5: allowed a list of tables: [[ice]]"],
    ),
    (
        "{keys}|[[ice]]|urls = ['stun:a']|[[ice]]|urls = ['stun:a']|[[ice]]|urls = ['stun:a']|[[ice]]|urls = \
         ['stun:a']|[[ice]]|urls = ['stun:a']|[[ice]]|urls = ['stun:a']|",
        "{one}",
        &["c.toml:2:1: ice = 6 entries: allowed at most 5 entries"],
    ),
    (
        "{keys}",
        "[[principal",
        &["keys.toml:1:12: unclosed array table, expected `]]`"],
    ),
    (
        "{keys}",
        "principal = 5",
        &["keys.toml:1:13: principal = 5: allowed a list of tables: [[principal]]"],
    ),
    (
        "{keys}",
        "[[principal]]",
        &[
            "keys.toml:1:1: principal[0] = { … }: name and access_key_id needed",
            "keys.toml:1:1: principal[0] = { … }: allowed with either secret_access_key or secret_access_key_file",
        ],
    ),
    (
        "{keys}",
        "{one}|sesion_token = 'hidden'",
        &["keys.toml:5:1: principal[0].sesion_token = <redacted>: unknown key, allowed name, …"],
    ),
    (
        "{keys}",
        "{one}|{one}",
        &[
            "keys.toml:6:8: principal[1].name = \"a\": allowed once; principal[0] has it as well",
            "keys.toml:7:17: principal[1].access_key_id = \"A\": allowed once; principal[0] has it as well",
        ],
    ),
    (
        "{keys}",
        "{one}|account = '1'|expires = 'soon'|clock_tolerance = '25h'|policies = ['p']",
        &[
            "keys.toml:5:11: principal[0].account = '1': allowed 12 digits",
            "keys.toml:6:11: principal[0].expires = 'soon': allowed a date and time with its offset, such as \
             2027-01-01T00:00:00Z",
            "keys.toml:7:19: principal[0].clock_tolerance = '25h': allowed a duration from \"1s\" to \"1d\"",
            "keys.toml:8:12: principal[0].policies = ['p']: there is no [policy.p], nor any other",
        ],
    ),
    (
        "{keys}",
        "[[principal]]|name = 'a b'|access_key_id = 'A-1'|secret_access_key = 'short'",
        &[
            "keys.toml:2:8: principal[0].name = 'a b': allowed 1 to 64 of the characters A-Z a-z 0-9 _ + = , . @ -",
            "keys.toml:3:17: principal[0].access_key_id = 'A-1': allowed 1 to 128 of the characters A-Z a-z 0-9 _",
            "keys.toml:4:21: principal[0].secret_access_key = <redacted>: allowed 16 to 128 visible ASCII characters",
        ],
    ),
    (
        "{keys}",
        "[[principal]]|name = 'a'|access_key_id = 'A'|secret_access_key_file = 'absent.secret'|[[principal]]|name = \
         'b'|access_key_id = 'B'|secret_access_key_file = 'short.token'",
        &[
            "keys.toml:4:26: principal[0].secret_access_key_file = 'absent.secret': absent.secret: cannot be read: No \
             such file or directory (os error 2)",
            "keys.toml:8:26: principal[1].secret_access_key_file = 'short.token': short.token: the content: allowed 16 \
             to 128 visible ASCII characters",
        ],
    ),
    (
        "{keys}",
        "{one}|policies = ['p', 'q']|[policy.p]|file = 'absent.json'|[policy.q]|document = '{}'|[policy.r]",
        &[
            "keys.toml:7:8: policy.p.file = 'absent.json': absent.json: cannot be read: No such file or directory (os \
             error 2)",
            "keys.toml:9:12: policy.q.document = '{}': the document is no policy: line 1, column 2: the document needs \
             Statement, with at least one statement",
            "keys.toml:10:1: policy.r = { … }: allowed with either file or document",
        ],
    ),
    (
        "{keys}",
        "{one}|policies = ['p', 'q']|[policy.p]|file = 'bad.json'|[policy.q]|document = '{\"Statement\": {\"Effect\": \
         1, \"Action\": \"x\"}}'",
        &[
            "keys.toml:7:8: policy.p.file = 'bad.json': bad.json:2:18: Effect \"allow\": allowed \"Allow\", \"Deny\"",
            "keys.toml:7:8: policy.p.file = 'bad.json': bad.json:3:14: \"NotResource\": not evaluated here, allowed …",
            "keys.toml:7:8: policy.p.file = 'bad.json': bad.json:4:2: the statement lacks Action, Resource",
            "keys.toml:9:12: policy.q.document = '{\"Statement\": {\"Effect\": 1, \"Action\": \"x\"}}': the document \
             is no policy: line 1, column 26: invalid type: integer `1`, expected Effect: a string",
            "keys.toml:9:12: policy.q.document = '{\"Statement\": {\"Effect\": 1, \"Action\": \"x\"}}': the document \
             is no policy: line 1, column 41: action \"x\": allowed …",
            "keys.toml:9:12: policy.q.document = '{\"Statement\": {\"Effect\": 1, \"Action\": \"x\"}}': the document \
             is no policy: line 1, column 42: the statement lacks Resource",
        ],
    ),
    (
        "shards = 0|data_dir = 'file'|{keys}|unknown = 1|[tls]|cert = 'absent.pem'|key = 'other.key'|[admin]|listen = \
         '0.0.0.0:9090'|token_file = 'short.token'|[limits]|head_bytes = 1|[timeouts]|idle = 'x'|[[ice]]|urls = \
         ['turn:a']|secret_file = 'absent.secret'",
        "[[principal]]|name = 'a'|access_key_id = 'A'|secret_access_key_file = 'absent.secret'|policies = \
         ['q']|[policy.p]|file = 'absent.json'",
        &[
            "c.toml:1:10: shards = 0: allowed 1 to 256",
            "c.toml:2:12: data_dir = file: allowed a directory that can be made and written: not a directory",
            "c.toml:4:1: unknown = 1: unknown key, allowed region, …",
            "c.toml:6:8: tls.cert = absent.pem: allowed a PEM file with one certificate or a chain, the leaf first: it \
             cannot be read: No such file or directory (os error 2)",
            "c.toml:10:14: admin.token_file = short.token: allowed one line of at least 16 printable ASCII characters",
            "c.toml:12:14: limits.head_bytes = 1: allowed 1024 to 65536",
            "c.toml:14:8: timeouts.idle = 'x': allowed a duration from \"1ms\" to \"7d\"",
            "c.toml:17:15: ice[0].secret_file = 'absent.secret': allowed a file that can be read (No such file or \
             directory (os error 2))",
            "keys.toml:4:26: principal[0].secret_access_key_file = 'absent.secret': absent.secret: cannot be read: No \
             such file or directory (os error 2)",
            "keys.toml:5:12: principal[0].policies = ['q']: there is no [policy.q], allowed p",
            "keys.toml:7:8: policy.p.file = 'absent.json': absent.json: cannot be read: No such file or directory (os \
             error 2)",
        ],
    ),
];
