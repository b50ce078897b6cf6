//! A broker under the seccomp profile that `deploy/` ships. Wants python3 and libseccomp2, which every Debian has.

use crate::listeners::tls::{BOTH, Identity, ask};
use crate::peer::HealthyPair;
use crate::process::{Broker, SERVE_IN, binary, fresh_directory, until};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Puts a profile in force for itself, as container runtimes do, and becomes the program. The profiles' values by
/// libseccomp's own header, version 2.5.
const CONFINE: &str = r#"
import ctypes, json, os, sys
lib = ctypes.CDLL("libseccomp.so.2", use_errno=True)
lib.seccomp_init.restype = ctypes.c_void_p
class Compare(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]
MASKED_EQ, ALLOW, ERRNO = 7, 0x7FFF0000, 0x00050000
profile = json.load(open(sys.argv[1]))
context = ctypes.c_void_p(lib.seccomp_init(ctypes.c_uint32(ERRNO | profile["defaultErrnoRet"])))
for rule in profile["syscalls"]:
    action = ALLOW if rule["action"] == "SCMP_ACT_ALLOW" else ERRNO | rule["errnoRet"]
    compare = [Compare(a["index"], MASKED_EQ, a["value"], a["valueTwo"]) for a in rule.get("args", [])]
    for name in rule["names"]:
        number = lib.seccomp_syscall_resolve_name(name.encode())
        assert number != -1, name + " is no system call"
        added = lib.seccomp_rule_add_array(context, ctypes.c_uint32(action), number, len(compare), (Compare * len(compare))(*compare))
        assert added == 0 or number < 0, (name, added)
assert lib.seccomp_load(context) == 0, "the profile cannot be loaded"
os.execv(sys.argv[2], sys.argv[2:])
"#;

#[test]
fn the_shipped_profile_lets_the_broker_do_all_it_does() {
    let identity = Identity::new("localhost");
    let directory = fresh_directory();
    let config = directory.join("broker.toml");
    let text = format!(
        "[tls]\ncert = {:?}\nkey = {:?}\n",
        identity.cert, identity.key
    );
    fs::write(&config, text).expect("a file under target/");
    let mut broker = Broker::wrapped(confined(&shipped(), &binary()), &config, 2);
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
    let _ = fs::remove_dir_all(directory);
}

#[test]
fn the_shipped_profile_is_a_profile() {
    let directory = fresh_directory();
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
    let _ = fs::remove_dir_all(directory);
}

#[test]
fn a_profile_without_io_uring_is_reported_with_the_remedy() {
    let directory = fresh_directory();
    let text = fs::read_to_string(shipped()).expect("the shipped profile");
    let narrow = directory.join("seccomp.json");
    fs::write(&narrow, text.replace("\"io_uring_setup\", ", "")).expect("a file under target/");
    let mut command = confined(&narrow, &binary());
    let output = command
        .args(SERVE_IN)
        .arg(&directory)
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("heliograph seccomp-profile") && text.contains("--security-opt seccomp="),
        "{text}"
    );
    let _ = fs::remove_dir_all(directory);
}

fn confined(profile: &Path, program: &Path) -> Command {
    let mut command = Command::new("python3");
    command.args(["-c", CONFINE]).args([profile, program]);
    command
}

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/seccomp.json")
}
