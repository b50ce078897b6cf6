//! `doctor`: each failure is provoked.

use crate::cli::support::{broker, directory, serve};
use serde_json::Value;
use std::fs::{self, File, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use testkit::{Directory, Exit, install, run};

/// A configuration whose ports are free.
const PORTS: &str =
    "auth = 'none'\nshards = 1\nlisten = ['http://127.0.0.1:0']\n[admin]\nlisten = 'off'\n";

/// Looks at a configuration of this text.
fn doctor(directory: &Directory, text: &str) -> Exit {
    directory.file("broker.toml", text);
    looked(directory, &["doctor", "--config", "broker.toml", "--json"])
}

fn looked(directory: &Directory, arguments: &[&str]) -> Exit {
    run(broker(arguments).current_dir(directory))
}

/// The lines of a check, each with its level and text; the exit code agrees with the worst of all.
fn found(exit: &Exit, check: &str) -> Vec<(String, String)> {
    let document: Value = serde_json::from_str(&exit.stdout).unwrap_or_else(|_| panic!("{exit:?}"));
    let code = match document["level"].as_str().unwrap() {
        "ok" => 0,
        "warn" => 1,
        _ => 2,
    };
    assert_eq!(exit.code, Some(code), "{exit:?}");
    let checks = document["checks"].as_array().unwrap().iter();
    let text = |of: &Value| of.as_str().unwrap().to_owned();
    checks
        .filter(|line| line["check"] == check)
        .map(|line| (text(&line["level"]), text(&line["text"])))
        .collect()
}

/// The only line of a check.
fn one(exit: &Exit, check: &str) -> (String, String) {
    let mut all = found(exit, check);
    assert_eq!(all.len(), 1, "{check}: {exit:?}");
    all.remove(0)
}

/// The level of a check whose text has these parts.
#[track_caller]
fn is(exit: &Exit, check: &str, level: &str, parts: &[&str]) {
    let (found, text) = one(exit, check);
    assert_eq!(found, level, "{check}: {text}");
    for part in parts {
        assert!(text.contains(part), "{check}: {text}");
    }
}

#[test]
fn a_machine_that_can_serve_is_well_and_nothing_is_left_there() {
    let directory = directory();
    let exit = doctor(&directory, PORTS);
    for check in ["kernel", "io_uring", "configuration", "certificate", "cpus"] {
        is(&exit, check, "ok", &[]);
    }
    for check in ["broker", "locked memory", "data_dir"] {
        is(&exit, check, "ok", &[]);
    }
    is(&exit, "fsync", &one(&exit, "fsync").0, &[" ms, "]);
    is(&exit, "ports", "ok", &["127.0.0.1:0 is free"]);
    let left: Vec<_> = fs::read_dir(&directory).unwrap().flatten().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    let plain = looked(&directory, &["doctor", "--config", "broker.toml"]);
    assert_eq!(plain.code, exit.code);
    let first = plain.stdout.lines().next().unwrap();
    assert!(first.starts_with("ok    kernel         Linux "), "{first}");
}

#[test]
fn a_broker_that_runs_is_asked_and_not_disturbed() {
    let directory = directory();
    let ports = ["--listen", "http://127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let server = serve(&directory, &ports);
    let admin = &server.word("admin=").to_owned();
    let exit = looked(&directory, &["doctor", "--admin", admin, "--json"]);
    is(&exit, "broker", "ok", &["ready, version "]);
    // It listens elsewhere than this configuration has it.
    assert!(
        found(&exit, "listen")
            .iter()
            .any(|(level, _)| level == "fail"),
        "{exit:?}"
    );
    assert!(found(&exit, "ports").is_empty(), "{exit:?}");
    let ready = looked(&directory, &["doctor", "--admin", admin, "--ready"]);
    assert_eq!((ready.code, ready.stdout.as_str()), (Some(0), "ready\n"));
    drop(server);
    let gone = looked(&directory, &["doctor", "--admin", admin, "--ready"]);
    assert_eq!(gone.code, Some(1), "{gone:?}");
    assert!(gone.stderr.contains("no broker answers at "), "{gone:?}");
}

#[test]
fn a_configuration_with_faults_has_a_line_for_each() {
    let directory = directory();
    let exit = doctor(&directory, "shards = 0\nlimit = 1\nauth = 'none'\n");
    let faults = found(&exit, "configuration");
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(
        faults[0].1.starts_with("broker.toml:1:10: shards = 0: "),
        "{faults:?}"
    );
    assert!(faults.iter().all(|(level, _)| level == "fail"));
    is(&exit, "kernel", "ok", &[]);
}

#[test]
fn a_port_that_somebody_has_is_named_with_its_owner() {
    let directory = directory();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let text = PORTS.replace("127.0.0.1:0", &addr.to_string());
    let exit = doctor(&directory, &text);
    let owner = format!("(pid {}) has it", std::process::id());
    is(&exit, "ports", "fail", &["the port is in use", &owner]);
}

#[test]
fn a_data_directory_in_use_is_named() {
    let directory = directory();
    fs::create_dir(directory.path("heliograph-data")).unwrap();
    let lock = File::create(directory.path("heliograph-data/lock")).unwrap();
    lock.lock().unwrap();
    let exit = doctor(&directory, PORTS);
    is(&exit, "data_dir", "fail", &["is in use by another process"]);
    drop(lock);
    is(
        &doctor(&directory, PORTS),
        "data_dir",
        "ok",
        &["is free to use"],
    );
    let file = directory.file("no-directory", "");
    let text = format!("data_dir = '{}'\n{PORTS}", file.display());
    is(
        &doctor(&directory, &text),
        "configuration",
        "fail",
        &["must be a directory"],
    );
}

#[test]
fn a_store_and_a_key_that_are_damaged_are_named() {
    let directory = directory();
    fs::create_dir(directory.path("heliograph-data")).unwrap();
    directory.file("heliograph-data/store.redb", "no store");
    directory.file("heliograph-data/session.key", "no key");
    let exit = doctor(&directory, PORTS);
    is(&exit, "store", "fail", &["store.redb", "damaged"]);
    let left = fs::read_dir(directory.path("heliograph-data")).unwrap();
    assert_eq!(left.count(), 2, "it makes no file");
    let key = found(&exit, "data_dir").pop().unwrap();
    assert!(
        key.0 == "fail" && key.1.contains("session.key: it is damaged"),
        "{key:?}"
    );
}

#[test]
fn a_broker_that_says_nothing_is_no_free_port() {
    let directory = directory();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = silent.local_addr().unwrap();
    let text = PORTS.replace("'off'", &format!("'{addr}'"));
    let exit = doctor(&directory, &text);
    is(&exit, "broker", "fail", &["sent no byte for 5 s: it hangs"]);
    assert_eq!(found(&exit, "ports"), []);
    let admin = format!("http://{addr}");
    let ready = looked(&directory, &["doctor", "--admin", &admin, "--ready"]);
    assert_eq!(ready.code, Some(1), "{ready:?}");
    testkit::assert_has(&ready.stderr, &["sent no byte for 5 s: it hangs"]);
    #[rustfmt::skip] // a list
    let token = ["doctor", "--config", "broker.toml", "--json", "--token-file", "absent"];
    is(
        &looked(&directory, &token),
        "broker",
        "fail",
        &["--token-file absent"],
    );
}

#[test]
fn more_shards_than_cpus_are_a_warning() {
    let directory = directory();
    let allowed = std::thread::available_parallelism().unwrap().get();
    let text = PORTS.replace("shards = 1", &format!("shards = {}", allowed + 1));
    let remedy = format!("set shards = {allowed}");
    is(&doctor(&directory, &text), "cpus", "warn", &[&remedy]);
}

#[test]
fn credentials_that_others_may_read_are_a_warning() {
    let directory = directory();
    let keys = directory.file(
        "keys.toml",
        "[[principal]]\nname = 'fleet'\naccess_key_id = 'AKIDEXAMPLE'\nsecret_access_key = '0123456789abcdef'\n\
         policies = ['p']\n[policy.p]\ndocument = \
         '{\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"*\",\"Resource\":\"*\"}}'\n",
    );
    let text = PORTS.replace("auth = 'none'", "auth = 'sigv4'\ncredentials = 'keys.toml'");
    fs::set_permissions(&keys, Permissions::from_mode(0o644)).unwrap();
    is(
        &doctor(&directory, &text),
        "credentials",
        "warn",
        &["chmod 600"],
    );
    fs::set_permissions(&keys, Permissions::from_mode(0o600)).unwrap();
    is(
        &doctor(&directory, &text),
        "credentials",
        "ok",
        &["1 principal"],
    );
}

#[test]
fn a_certificate_is_named_with_its_end() {
    let directory = directory();
    let text = PORTS.replace("http://", "https://") + "[tls]\ncert = 'cert.pem'\nkey = 'key.pem'\n";
    for (year, level, part) in [(2100, "ok", "is valid until 2100-01-01"), (2001, "", "")] {
        let mut wanted = rcgen::CertificateParams::new(["signaling.example".to_owned()]).unwrap();
        wanted.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let cert = wanted.self_signed(&key).unwrap();
        directory.file("cert.pem", &cert.pem());
        directory.file("key.pem", &key.serialize_pem());
        fs::set_permissions(directory.path("key.pem"), Permissions::from_mode(0o600)).unwrap();
        let exit = doctor(&directory, &text);
        match level {
            "" => is(&exit, "configuration", "fail", &["tls.cert = cert.pem"]),
            level => is(&exit, "certificate", level, &["signaling.example", part]),
        }
    }
}

#[test]
fn each_of_two_certificates_is_named_with_its_end() {
    let directory = directory();
    let rsa = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048);
    let keys = [rcgen::KeyPair::generate().unwrap(), rsa.unwrap()];
    for (key, (name, year)) in keys.iter().zip([("ec", 2100), ("rsa", 2099)]) {
        let mut wanted = rcgen::CertificateParams::new([format!("{name}.example")]).unwrap();
        wanted.not_after = rcgen::date_time_ymd(year, 1, 1);
        let cert = wanted.self_signed(key).unwrap();
        directory.file(&format!("{name}.pem"), &cert.pem());
        directory.file(&format!("{name}.key"), &key.serialize_pem());
        let file = directory.path(&format!("{name}.key"));
        fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
    }
    let lists = "[tls]\ncert = ['ec.pem', 'rsa.pem']\nkey = ['ec.key', 'rsa.key']\n";
    let text = PORTS.replace("http://", "https://") + lists;
    let stdout = doctor(&directory, &text).stdout;
    for part in ["ec.example", "2100-01-01", "rsa.example", "2099-01-01"] {
        assert!(stdout.contains(part), "{part}: {stdout}");
    }
}

#[test]
fn the_limits_of_a_process_are_named_with_their_remedies() {
    let directory = directory();
    directory.file("broker.toml", PORTS);
    let limited = |limit: &str| {
        let script = format!(
            "ulimit {limit}; exec {} doctor --config broker.toml --json",
            env!("CARGO_BIN_EXE_heliograph")
        );
        run(Command::new("sh")
            .args(["-c", &script])
            .current_dir(&directory))
    };
    is(&limited("-n 60"), "descriptors", "fail", &["LimitNOFILE="]);
    is(
        &limited("-n 1000"),
        "descriptors",
        "warn",
        &["LimitNOFILE="],
    );
    // Where io_uring cannot be had: the engine that runs then, if one may.
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        ("auto", "warn", ["shards use epoll in its place: ", "LimitMEMLOCK="]),
        ("epoll", "ok", ["it is not needed: ", "engine = \"epoll\""]),
        ("io_uring", "fail", ["is 64 KiB, expected 512 KiB", "LimitMEMLOCK="]),
    ];
    for (engine, level, parts) in cases {
        directory.file("broker.toml", &format!("engine = '{engine}'\n{PORTS}"));
        let exit = limited("-l 64");
        is(&exit, "io_uring", level, &parts);
        let none_is_needed = &["none is needed: 1 shard on epoll"][..];
        match engine {
            "io_uring" => is(&exit, "locked memory", "fail", &["LimitMEMLOCK="]),
            _ => is(&exit, "locked memory", "ok", none_is_needed),
        }
    }
}

#[test]
fn a_clock_that_nobody_sets_is_a_warning() {
    let directory = directory();
    directory.file("broker.toml", PORTS);
    let path = format!(
        "{}:{}",
        directory.path("").display(),
        std::env::var("PATH").unwrap()
    );
    let says = |script: &str| {
        let script = directory.file("script", &format!("#!/bin/sh\n{script}\n"));
        install(&script, &directory.path("timedatectl"));
        let mut command = broker(&["doctor", "--config", "broker.toml", "--json"]);
        run(command.env("PATH", &path).current_dir(&directory))
    };
    is(&says("echo yes"), "clock", "ok", &["is synchronized"]);
    is(
        &says("echo no"),
        "clock",
        "warn",
        &["timedatectl set-ntp true"],
    );
    is(&says("exec sleep 600"), "clock", "ok", &["not known"]);
}

#[test]
fn an_etcd_that_does_not_answer_is_a_failure() {
    let directory = directory();
    directory.file("secret", &"0f".repeat(32));
    let gone = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let text = format!(
        "{PORTS}[cluster]\nname = 'test'\nnode = 'n1'\nlisten = '127.0.0.1:0'\npeers = '127.0.0.1:0'\n\
         secret_file = 'secret'\netcd = ['http://{gone}']\n"
    );
    let exit = doctor(&directory, &text);
    let lines = found(&exit, "cluster");
    let fails = lines
        .iter()
        .any(|(level, text)| level == "fail" && text.starts_with("etcd: "));
    assert!(fails, "{lines:?}");
}
