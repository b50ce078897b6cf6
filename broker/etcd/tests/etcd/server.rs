//! Runs the program `etcd` from Debian's package `etcd-server`. `deploy/ci/check.sh` installs the package as root. If
//! etcd is missing, the test fails when run as root. Otherwise, the test is skipped with a message.

use broker_etcd::Options;
use rustix::fs::statvfs;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Returns whether etcd is installed. Panics if it is not and the test runs as root.
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

/// A directory that is removed when this value is dropped.
#[derive(Debug)]
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("etcd-test-{}-{number}-{name}", std::process::id());
        let path = quick_directory().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Returns a directory in memory if there is enough space, since etcd waits for the disk at each write and a disk that
/// other programs use can take a hundred times longer. A member takes 128 MiB for its log.
fn quick_directory() -> PathBuf {
    const ROOM: u64 = 4 << 30;
    let memory = Path::new("/dev/shm");
    match statvfs(memory) {
        Ok(found) if found.f_bavail * found.f_frsize >= ROOM => memory.to_owned(),
        Ok(_) | Err(_) => std::env::temp_dir(),
    }
}

/// The host of a member: its address, and the command prefix that runs a program there.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) ip: Ipv4Addr,
    pub(crate) within: Vec<String>,
}

impl Host {
    fn loopback() -> Self {
        let (ip, within) = (Ipv4Addr::LOCALHOST, Vec::new());
        Self { ip, within }
    }
}

/// A member of etcd. It ends when this value is dropped, or with the thread that started it.
#[derive(Debug)]
pub(crate) struct Etcd {
    child: Option<Child>,
    scratch: Scratch,
    name: String,
    /// `http` or `https`.
    scheme: &'static str,
    host: Host,
    client: u16,
    peer: u16,
    /// Port of the health page, without TLS.
    health: u16,
    /// The list of all members, in etcd's format.
    members: String,
    extra: Vec<String>,
}

impl Etcd {
    /// Starts a member with an empty directory, and waits until it responds.
    pub(crate) fn start() -> Self {
        Self::start_with("http", &[])
    }

    /// Starts etcd if the program is installed.
    pub(crate) fn found() -> Option<Self> {
        is_installed().then(Self::start)
    }

    /// Like [`Self::start`], with this scheme for clients and with additional arguments.
    pub(crate) fn start_with(scheme: &'static str, extra: &[&str]) -> Self {
        // Another process may take a port after it has been chosen and before etcd starts.
        for _ in 0..10 {
            let mut etcd = Self::new("one", scheme, Host::loopback(), extra);
            etcd.members = etcd.member();
            etcd.launch();
            if etcd.comes_up() {
                return etcd;
            }
        }
        panic!("etcd does not start");
    }

    /// Starts an etcd with three members, and waits until all of them respond.
    pub(crate) fn start_three() -> [Self; 3] {
        for _ in 0..10 {
            let hosts = [(); 3].map(|()| Host::loopback());
            if let Some(all) = Self::try_three(hosts, &[]) {
                return all;
            }
        }
        panic!("etcd does not start");
    }

    /// Starts an etcd with three members on these hosts, with additional arguments. The ports of the hosts must be
    /// free.
    pub(crate) fn start_three_on(hosts: [Host; 3], extra: &[&str]) -> [Self; 3] {
        Self::try_three(hosts, extra).expect("etcd starts")
    }

    fn try_three(hosts: [Host; 3], extra: &[&str]) -> Option<[Self; 3]> {
        let mut names = ["one", "two", "three"].into_iter();
        let mut all = hosts.map(|host| {
            let name = names.next().expect("three names");
            Self::new(name, "http", host, extra)
        });
        let members = all.each_ref().map(Self::member).join(",");
        for etcd in &mut all {
            etcd.members.clone_from(&members);
            etcd.launch();
        }
        all.iter_mut().all(Self::comes_up).then_some(all)
    }

    fn new(name: &str, scheme: &'static str, host: Host, extra: &[&str]) -> Self {
        let is_loopback = host.ip == Ipv4Addr::LOCALHOST;
        let port = |of_host| if is_loopback { free_port() } else { of_host };
        Self {
            child: None,
            scratch: Scratch::new("server"),
            name: name.to_owned(),
            scheme,
            host,
            client: port(2_379),
            peer: port(2_380),
            health: port(2_381),
            members: String::new(),
            extra: extra.iter().map(|text| (*text).to_owned()).collect(),
        }
    }

    fn member(&self) -> String {
        format!("{}=http://{}:{}", self.name, self.host.ip, self.peer)
    }

    /// Returns the options with which a node connects to this member.
    pub(crate) fn options(&self) -> Options {
        Options {
            endpoints: vec![self.endpoint().into()],
            ..Options::default()
        }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("{}://{}:{}", self.scheme, self.host.ip, self.client)
    }

    pub(crate) fn client_port(&self) -> u16 {
        self.client
    }

    /// Returns whether this member is the leader.
    pub(crate) fn leads(&self) -> bool {
        let status = self.status();
        number_in(&status, r#""leader":"#) == number_in(&status, r#""member_id":"#)
    }

    /// Returns the term known to this member, and the id of the leader in that term, or 0 if there is none.
    pub(crate) fn term_and_leader(&self) -> (u64, u64) {
        let status = self.status();
        let term = number_in(&status, r#""raftTerm":"#);
        (term, number_in(&status, r#""leader":"#))
    }

    fn status(&self) -> String {
        self.ctl(&["endpoint", "status", "--write-out", "json"])
    }

    /// Kills the member with SIGKILL. Its directory is preserved.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts the member again with its directory and ports, after [`Self::kill`].
    pub(crate) fn restart(&mut self) {
        self.launch();
        assert!(self.comes_up(), "etcd does not start again: {}", self.log());
    }

    /// Restores the directories of these members from a snapshot file that one of them has written. The members must
    /// not be running.
    pub(crate) fn restore(all: &mut [Self], snapshot: &Path) {
        for etcd in all {
            etcd.empty();
            let data = etcd.data();
            let (snapshot, data) = (snapshot.to_str().unwrap(), data.to_str().unwrap());
            etcd.ctl(&[
                "snapshot",
                "restore",
                snapshot,
                "--name",
                &etcd.name,
                "--initial-cluster",
                &etcd.members,
                "--initial-cluster-token",
                "restored",
                "--initial-advertise-peer-urls",
                &format!("http://{}:{}", etcd.host.ip, etcd.peer),
                "--data-dir",
                data,
            ]);
        }
    }

    /// Starts these members again together, since each of them waits for the others.
    pub(crate) fn restart_all(all: &mut [Self]) {
        all.iter_mut().for_each(Self::launch);
        for etcd in all {
            assert!(etcd.comes_up(), "etcd does not start again: {}", etcd.log());
        }
    }

    /// Removes everything that the member has stored, as if it had never been started.
    pub(crate) fn empty(&mut self) {
        self.kill();
        fs::remove_dir_all(self.data()).unwrap();
    }

    /// Stops all threads of the process, which takes time on a busy machine, and waits until they have stopped.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
        let child = self.child.as_ref().expect("it runs");
        let threads = format!("/proc/{}/task", child.id());
        let until = Instant::now() + FROZEN_WITHIN;
        while !stand_still(&threads) {
            assert!(Instant::now() < until, "its threads do not stand still");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Resumes the process.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Runs `etcdctl`, which must succeed. Returns its output.
    pub(crate) fn ctl(&self, arguments: &[&str]) -> String {
        self.try_ctl(arguments)
            .unwrap_or_else(|said| panic!("etcdctl {arguments:?}: {said}"))
    }

    /// Like [`Self::ctl`], but returns the output as an error if the command fails. If the last argument has more than
    /// 64 KiB, it is passed on standard input instead.
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

    /// Starts the program. Until other members of its etcd run, it may not respond.
    pub(crate) fn launch(&mut self) {
        let ip = self.host.ip;
        let (client, peer) = (self.endpoint(), format!("http://{ip}:{}", self.peer));
        let health = format!("http://{ip}:{}", self.health);
        let log = fs::File::create(self.scratch.0.join("log")).unwrap();
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .args(&self.host.within)
            .args(["etcd", "--name", &self.name])
            .args(["--log-outputs", "stderr", "--listen-metrics-urls", &health])
            .args(["--listen-client-urls", &client])
            .args(["--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer])
            .args(["--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &self.members])
            .arg("--data-dir")
            .arg(self.data())
            .args(&self.extra)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.child = Some(child.expect("setpriv, of the package util-linux"));
    }

    /// Waits until the member responds. Returns `false` if it exits first.
    fn comes_up(&mut self) -> bool {
        let until = Instant::now() + Duration::from_secs(60);
        while !answers((self.host.ip, self.health).into()) {
            let child = self.child.as_mut().expect("it was launched");
            if child.try_wait().unwrap().is_some() {
                self.child = None;
                return false;
            }
            let fine = Instant::now() < until;
            assert!(fine, "etcd does not answer: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        true
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

/// Returns whether all of these threads have been stopped or have ended.
fn stand_still(threads: &str) -> bool {
    let threads = fs::read_dir(threads).expect("the threads of a process");
    threads.flatten().all(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        let state = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.chars().next());
        state.is_none_or(|state| state == 'T')
    })
}

/// Returns whether the member reports that it is healthy, which means that it has a leader.
fn answers(address: SocketAddr) -> bool {
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

/// Returns the number that follows `name` in `text`, or 0 if there is none.
fn number_in(text: &str, name: &str) -> u64 {
    let digits = text.split(name).nth(1).unwrap_or_default();
    let end = digits.find(|c: char| !c.is_ascii_digit());
    digits[..end.unwrap_or(digits.len())].parse().unwrap_or(0)
}

/// Timeout for stopping all threads of a process, which takes a while on a busy machine.
const FROZEN_WITHIN: Duration = Duration::from_secs(10);
