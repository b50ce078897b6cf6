//! The program `etcd`, of Debian's package `etcd-server`. `deploy/ci/check.sh` installs it as root: for root its
//! absence is a failure, for anybody else the test is skipped, and says so.

use broker_etcd::Options;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Whether the program is there; for root it must be.
pub(crate) fn is_installed() -> bool {
    let found = Command::new("etcd").arg("--version").output();
    if found.is_ok_and(|found| found.status.success()) {
        return true;
    }
    let root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    assert!(
        !root,
        "no etcd: install the package etcd-server, as deploy/ci/check.sh does"
    );
    eprintln!("skipped: no etcd, of the package etcd-server");
    false
}

/// A directory that is removed with its owner.
#[derive(Debug)]
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("etcd-test-{}-{number}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// One member, which ends with its owner, or with the thread that started it.
#[derive(Debug)]
pub(crate) struct Etcd {
    child: Option<Child>,
    scratch: Scratch,
    client: u16,
    peer: u16,
    extra: Vec<String>,
}

impl Etcd {
    /// Starts a member with an empty directory, and waits until it answers.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same, with more arguments.
    pub(crate) fn start_with(extra: &[&str]) -> Self {
        let mut etcd = Self {
            child: None,
            scratch: Scratch::new("server"),
            client: 0,
            peer: 0,
            extra: extra.iter().map(|text| (*text).to_owned()).collect(),
        };
        // Somebody else may take a port between its choice and etcd's start.
        for _ in 0..10 {
            (etcd.client, etcd.peer) = (free_port(), free_port());
            if etcd.spawn() {
                return etcd;
            }
        }
        panic!("etcd does not start");
    }

    /// How a node reaches it.
    pub(crate) fn options(&self) -> Options {
        Options {
            endpoints: vec![self.endpoint().into()],
            ..Options::default()
        }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.client)
    }

    /// SIGKILL. Its directory stays.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts it again on its directory and ports, after [`Self::kill`].
    pub(crate) fn restart(&mut self) {
        assert!(self.spawn(), "etcd does not start again");
    }

    /// What it has stored is gone: the directory of a member that was never started.
    pub(crate) fn empty(&mut self) {
        self.kill();
        fs::remove_dir_all(self.data()).unwrap();
    }

    /// Stops the process where it is.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Runs `etcdctl`, which must succeed, and returns what it prints.
    pub(crate) fn ctl(&self, arguments: &[&str]) -> String {
        self.try_ctl(arguments)
            .unwrap_or_else(|said| panic!("etcdctl {arguments:?}: {said}"))
    }

    /// The same, or what it prints when it fails. A last argument of more than 64 KiB is its input.
    pub(crate) fn try_ctl(&self, arguments: &[&str]) -> Result<String, String> {
        let (arguments, input) = match arguments.split_last() {
            Some((last, rest)) if last.len() > 64 << 10 => (rest, *last),
            Some(_) | None => (arguments, ""),
        };
        let mut child = Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .arg("--endpoints")
            .arg(self.endpoint())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("etcdctl, of the package etcd-client");
        let mut stdin = child.stdin.take().expect("it is piped");
        stdin.write_all(input.as_bytes()).expect("it reads");
        drop(stdin);
        let output = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            return Err(said);
        }
        Ok(String::from_utf8(output.stdout).unwrap())
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.scratch.0.join("data")
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it runs");
        let pid = Pid::from_raw(child.id().cast_signed()).expect("a process has a number");
        kill_process(pid, signal).unwrap();
    }

    /// False if it has ended before it answered.
    fn spawn(&mut self) -> bool {
        let client = self.endpoint();
        let peer = format!("http://127.0.0.1:{}", self.peer);
        let log = fs::File::create(self.scratch.0.join("log")).unwrap();
        let mut child = Command::new("setpriv")
            .args([
                "--pdeathsig",
                "KILL",
                "etcd",
                "--name",
                "one",
                "--log-outputs",
                "stderr",
            ])
            .args([
                "--listen-client-urls",
                &client,
                "--advertise-client-urls",
                &client,
            ])
            .args([
                "--listen-peer-urls",
                &peer,
                "--initial-advertise-peer-urls",
                &peer,
            ])
            .args(["--initial-cluster", &format!("one={peer}")])
            .arg("--data-dir")
            .arg(self.data())
            .args(&self.extra)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("setpriv, of the package util-linux");
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            if answers(self.client) {
                self.child = Some(child);
                return true;
            }
            if Instant::now() > until {
                let _ = child.kill();
                let _ = child.wait();
                panic!("etcd does not answer: {}", self.log());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn log(&self) -> String {
        let path: &Path = &self.scratch.0.join("log");
        fs::read_to_string(path).unwrap_or_default()
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Whether it says that it is healthy: it has a leader.
fn answers(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) else {
        return false;
    };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let request = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut answer = String::new();
    stream.write_all(request).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.contains(r#""health":"true""#)
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}
