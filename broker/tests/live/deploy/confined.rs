//! A broker under the seccomp profile that `deploy/` ships. Wants python3 and libseccomp2, which every Debian has.

use crate::listeners::tls::{BOTH, Identity, ask};
use crate::peer::HealthyPair;
use crate::process::{Broker, DEV, SERVE_IN, binary, directory};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use testkit::until;

/// Puts a profile in force for itself, as container runtimes do, and becomes the program.
const CONFINE: &str = include_str!("../../../../deploy/packages/image/confine.py");

#[test]
fn the_shipped_profile_lets_the_broker_do_all_it_does() {
    let identity = Identity::new("localhost");
    let directory = directory();
    let config = directory.join("broker.toml");
    let text = format!(
        "[tls]\ncert = {:?}\nkey = {:?}\n",
        identity.cert, identity.key
    );
    fs::write(&config, text).expect("a file under target/");
    let config = config.to_str().expect("a path in UTF-8");
    let arguments = [&DEV[..], &["--config", config]].concat();
    let mut broker = Broker::launch(confined(&shipped(), &binary()), &arguments, 2);
    let mut pair = HealthyPair::new(&broker);
    assert!(ask(&broker, &identity.client(BOTH, None)).is_ok());
    let arn = crate::http::create(broker.plain, "kept", 60);
    assert!(arn.contains(":channel/kept/"));
    let next = Identity::new("localhost");
    identity.become_another(&next);
    until("a reload", || ask(&broker, &next.client(BOTH, None)).ok());
    pair.relay();
    drop(pair);
    assert!(broker.scrape().sum("process_resident_memory_bytes") > 0.0);
    broker.signal("TERM");
    assert_eq!(broker.ended_within(Duration::from_secs(20)).code(), Some(0));
}

#[test]
fn the_shipped_profile_is_a_profile() {
    let directory = directory();
    let python = Path::new("/usr/bin/python3");
    let fifo = directory.join("fifo");
    let code = format!("import os; os.mkfifo({:?})", fifo.display().to_string());
    let made = |mut command: Command| {
        let status = command.args(["-c", &code]).stderr(Stdio::null()).status();
        status.expect("python3 runs").success()
    };
    assert!(
        !made(confined(&shipped(), python)),
        "mknod is not the broker's business"
    );
    assert!(
        made(Command::new(python)),
        "but anybody's who is not confined"
    );
}

/// What container runtimes have in force where nobody asks for anything else.
#[test]
fn in_a_plain_container_it_works_on_epoll_and_says_so() {
    let profile = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/default_profile.json");
    works_on_epoll(&profile, "a seccomp filter");
}

/// Refused as by a filter, and as by a kernel that does not know them: io_uring, and all calls that are younger than
/// the oldest kernel (`deploy/INSTALL.md`).
#[test]
fn without_io_uring_and_all_younger_calls_it_works_on_epoll() {
    for (errno, why) in [(1, "a seccomp filter"), (38, "io_uring is absent here")] {
        let text = fs::read_to_string(shipped()).expect("the shipped profile");
        let mut profile: Value = serde_json::from_str(&text).expect("JSON");
        let rules = profile["syscalls"].as_array_mut().expect("rules");
        let refused = YOUNGER
            .iter()
            .filter(|call| errno != 1 || **call != "clone3");
        let refused: Vec<_> = IO_URING.iter().chain(refused).collect();
        for rule in &mut *rules {
            let names = rule["names"].as_array_mut().expect("names");
            names.retain(|name| !refused.iter().any(|call| name == **call));
        }
        rules.retain(|rule| rule["names"] != json!([]));
        // What no rule is for gets EPERM.
        if errno != 1 {
            rules.push(json!({ "action": "SCMP_ACT_ERRNO", "errnoRet": errno, "names": refused }));
        }
        let directory = directory();
        let narrow = directory.join("seccomp.json");
        fs::write(&narrow, profile.to_string()).expect("a file under target/");
        works_on_epoll(&narrow, why);
    }
}

const IO_URING: [&str; 3] = ["io_uring_setup", "io_uring_enter", "io_uring_register"];

/// Calls that the broker or its libraries make where there are any. A filter that answers EPERM to `clone3` leaves the
/// C library without threads: runtimes answer ENOSYS.
#[rustfmt::skip] // a list
const YOUNGER: [&str; 6] = ["clone3", "close_range", "epoll_pwait2", "faccessat2", "openat2", "pidfd_open"];

/// Starts it in a profile, and has it do what it does on more than one shard.
fn works_on_epoll(profile: &Path, why: &str) {
    let directory = directory();
    let arguments = [&DEV[..], &["--engine", "auto"]].concat();
    let command = confined(profile, &binary());
    let mut broker = Broker::launch_in(&directory, command, &arguments, 2);
    assert!(broker.ready.ends_with(" engine=epoll"), "{}", broker.ready);
    let log = broker.log();
    assert_eq!(log.matches("WARN").count(), 1, "{log}");
    #[rustfmt::skip] // a list
    testkit::assert_has(
        &log,
        &["shards use epoll, ", why, "seccomp-profile", "--engine epoll"],
    );
    broker.until_handed_over(|_| {
        let mut pair = HealthyPair::new(&broker);
        pair.relay();
        pair.close();
    });
    let scrape = broker.scrape();
    assert!(scrape.sum_with("heliograph_engine", "engine=\"epoll\"") > 0.0);
    broker.signal("TERM");
    assert_eq!(broker.ended_within(Duration::from_secs(20)).code(), Some(0));
}

#[test]
fn io_uring_that_is_asked_for_and_forbidden_is_the_first_line_with_the_remedy() {
    let rule = |error: u16| {
        let rule = format!("\"names\": [\"io_uring_setup\"], \"errnoRet\": {error}");
        format!("{{ \"action\": \"SCMP_ACT_ERRNO\", {rule} }},")
    };
    // A runtime's profile; one that hides the calls that it forbids, or no io_uring; one that knows no flags of 6.1.
    for (rule, remedy) in [
        (String::new(), "`--security-opt seccomp=seccomp.json`"),
        (rule(38), "`--security-opt seccomp=seccomp.json`"),
        (
            rule(22),
            "is 6.1 or newer: a sandbox or a filter supports only a part of it",
        ),
    ] {
        let directory = directory();
        let text = fs::read_to_string(shipped()).expect("the shipped profile");
        let narrow = directory.join("seccomp.json");
        let text = text.replace("\"io_uring_setup\", ", "");
        let text = text.replace("\"syscalls\": [", &format!("\"syscalls\": [ {rule}"));
        fs::write(&narrow, text).expect("a file under target/");
        let data = directory.join("data");
        let mut command = confined(&narrow, &binary());
        command.args(SERVE_IN).arg(&data);
        let output = command.args(["--engine", "io_uring"]).output();
        let output = output.expect("it runs");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{text}");
        let line = text.lines().next().unwrap_or_default();
        assert!(line.contains(remedy), "{text}");
        let written = fs::read_dir(&data).map_or(0, Iterator::count);
        assert_eq!(written, 0, "{text}");
    }
}

fn confined(profile: &Path, program: &Path) -> Command {
    let mut command = Command::new("python3");
    command.args(["-c", CONFINE]).args([profile, program]);
    command
}

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/seccomp.json")
}
