//! The command line from outside: exit codes, what is said where, signals. What a start is refused for is in
//! `live/start.rs` as well; here are the cases that need files or a crippled process.

#![expect(clippy::unwrap_used, reason = "support code of tests")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

#[path = "cli/corpus.rs"]
mod corpus;

#[test]
fn without_a_command_the_help_is_shown_and_the_exit_code_is_2() {
    let output = run(&mut broker(&[]));
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("check-config"),
        "{}",
        stderr(&output)
    );
    for help in [&["--help"][..], &["serve", "--help"]] {
        let output = run(&mut broker(help));
        assert_eq!(output.status.code(), Some(0));
        assert!(
            stdout(&output).contains("Usage: broker"),
            "{}",
            stdout(&output)
        );
    }
}

#[test]
fn a_wrong_flag_tells_what_is_allowed() {
    for (flags, allowed) in [
        (["--shards", "0"], "allowed 1 to 256"),
        (
            ["--listen", "127.0.0.1:1"],
            "allowed http://ADDR:PORT or https://ADDR:PORT",
        ),
        (
            ["--admin", "9090"],
            "allowed ADDR:PORT, such as 127.0.0.1:9090, or off",
        ),
        (["--profile", "lax"], "allowed \"default\", \"strict\""),
        (["--auth", "basic"], "allowed \"sigv4\", \"none\""),
        (["--account-id", "1"], "allowed 12 digits"),
        (["--cpus", "1-0"], "allowed a list of CPU numbers"),
        (["--tls-cert", "a.pem"], "--tls-key"),
    ] {
        let output = run(&mut broker(&[&["serve", "--dev"][..], &flags].concat()));
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
        assert!(
            stderr(&output).contains(allowed),
            "{flags:?}: {}",
            stderr(&output)
        );
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn without_credentials_the_last_line_says_how_to_try_it() {
    let directory = Directory::new();
    let empty = directory.file("empty.toml", "");
    for flags in [&[][..], &["--config", empty.to_str().unwrap()]] {
        let output = run(broker(&[&["serve"][..], flags].concat()).current_dir(&directory.0));
        assert_eq!(output.status.code(), Some(2));
        let text = stderr(&output);
        assert!(text.contains("--credentials FILE"), "{text}");
        assert_eq!(text.lines().last(), Some("To try it: broker serve --dev"));
    }
    // What has nothing to do with credentials does not end so.
    let output = run(&mut broker(&[
        "serve",
        "--auth",
        "none",
        "--listen",
        "http://0.0.0.0:0",
    ]));
    assert_eq!(output.status.code(), Some(2));
    assert!(
        !stderr(&output).contains("To try it"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn check_config_says_what_a_file_amounts_to_or_what_is_wrong_with_it() {
    let directory = Directory::new();
    let good = directory.file(
        "good.toml",
        "auth = 'none'\nshards = 3\n[limits]\nviewers_per_channel = 4\n",
    );
    let output = run(broker(&["check-config"]).arg(&good));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(
        stdout(&output).contains("3 on CPUs") && stdout(&output).contains("4 viewers a channel"),
        "{}",
        stdout(&output)
    );

    let bad = directory.file("bad.toml", "shards = 0\nlimit = 1\nauth = 'none'\n");
    let output = run(broker(&["check-config"]).arg(&bad));
    assert_eq!(output.status.code(), Some(2));
    let expected = format!(
        "{0}:1:10: shards = 0: allowed 1 to 256\n{0}:2:1: limit = 1: unknown key, allowed ",
        bad.display()
    );
    assert!(
        stderr(&output).starts_with(&expected),
        "{}",
        stderr(&output)
    );
    assert!(output.stdout.is_empty());
    let served = run(broker(&["serve", "--dev", "--config"]).arg(&bad));
    assert_eq!(
        (served.status.code(), stderr(&served)),
        (Some(2), stderr(&output))
    );

    let output = run(broker(&["check-config"]).arg(directory.0.join("absent.toml")));
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("absent.toml: cannot be read"),
        "{}",
        stderr(&output)
    );

    let files = directory.file(
        "tls.toml",
        "auth = 'none'\n[tls]\ncert = 'nowhere.pem'\nkey = 'nowhere.key'\n",
    );
    let output = run(broker(&["check-config"]).arg(&files));
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("tls.cert = nowhere.pem: allowed a PEM file"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn check_config_says_who_may_do_what() {
    let directory = Directory::new();
    let keys = directory.file(
        "keys.toml",
        "[[principal]]\nname = 'fleet'\naccess_key_id = 'AKIDEXAMPLE'\nsecret_access_key = \
         '0123456789abcdef'\npolicies = ['p']\n\
         [policy.p]\ndocument = \
         '{\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"kinesisvideo:ConnectAsMaster\",\"Resource\":\"*\"}}'\n",
    );
    let text = format!(
        "auth = 'none'\naccount_id = '210987654321'\ncredentials = '{}'\n",
        keys.display()
    );
    let file = directory.file("c.toml", &text);
    let output = run(broker(&["check-config"]).arg(&file));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let told = "principal   fleet, account 210987654321, key AKIDEXAMPLE: may ConnectAsMaster\n";
    assert!(stdout(&output).contains(told), "{}", stdout(&output));
    assert!(!stdout(&output).contains("0123456789abcdef"));

    fs::write(&keys, "[[principal]]\nname = 'fleet'\n").unwrap();
    let output = run(broker(&["check-config"]).arg(&file));
    assert_eq!(output.status.code(), Some(2));
    let expected = format!(
        "{}:2:1: principal[0] = {{ … }}: access_key_id needed\n",
        keys.display()
    );
    assert!(
        stderr(&output).starts_with(&expected),
        "{}",
        stderr(&output)
    );
}

#[test]
fn presign_prints_a_url_or_says_what_it_lacks() {
    let arn = "arn:aws:kinesisvideo:eu-west-1:123456789012:channel/a/1700000000000";
    let flags = [
        "presign",
        "--endpoint",
        "wss://localhost:8443",
        "--channel-arn",
        arn,
        "--client-id",
        "v",
    ];
    let keys = [
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_SESSION_TOKEN", ""),
    ];
    let output = run(broker(&flags).envs(keys));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let url = stdout(&output);
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
    let output = run(broker(&flags).env_clear());
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("AWS_ACCESS_KEY_ID"),
        "{}",
        stderr(&output)
    );
    let output =
        run(broker(&["presign", "--endpoint", "wss://a/b", "--channel-arn", arn]).envs(keys));
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn the_admin_port_and_the_data_directory_are_checked() {
    let directory = Directory::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let output = run(broker(&[
        "serve",
        "--dev",
        "--listen",
        "http://127.0.0.1:0",
        "--admin",
        &addr,
    ])
    .current_dir(&directory.0));
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(
        stderr(&output).contains(&format!("admin.listen = {addr}: the port is in use")),
        "{}",
        stderr(&output)
    );

    let file = directory.file("no-directory", "");
    let flags = [
        "serve",
        "--dev",
        "--listen",
        "http://127.0.0.1:0",
        "--admin",
        "off",
        "--data-dir",
    ];
    let output = run(broker(&flags).arg(&file));
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("allowed a directory that can be made and written"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn too_few_descriptors_are_told_with_the_remedy() {
    let directory = Directory::new();
    let flags = "serve --dev --listen http://127.0.0.1:0 --admin off --shards 2";
    let script = format!(
        "ulimit -n 60; exec {} {flags}",
        env!("CARGO_BIN_EXE_broker")
    );
    let output = run(Command::new("sh")
        .args(["-c", &script])
        .current_dir(&directory.0));
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("limit of open files is 60")
            && stderr(&output).contains("ulimit -n"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn too_little_locked_memory_is_told_with_the_remedy() {
    let directory = Directory::new();
    let flags = "serve --dev --listen http://127.0.0.1:0 --admin off --shards 1";
    let script = format!(
        "ulimit -l 64; exec {} {flags}",
        env!("CARGO_BIN_EXE_broker")
    );
    let output = run(Command::new("sh")
        .args(["-c", &script])
        .current_dir(&directory.0));
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("ulimit -l"), "{}", stderr(&output));
}

#[test]
fn the_ready_line_follows_the_flags_and_nothing_else_is_said_on_stdout() {
    let directory = Directory::new();
    let flags = [
        "--listen",
        "https://127.0.0.1:0",
        "--listen",
        "http://[::1]:0",
        "--listen",
        "http://127.0.0.1:0",
    ];
    let mut server = Server::start(
        &directory.0,
        &[&flags[..], &["--admin", "off", "--log-format", "json"]].concat(),
    );
    let words: Vec<_> = server.ready.split(' ').collect();
    assert_eq!(words.len(), 6, "{}", server.ready);
    assert!(
        words[0] == "ready" && words[1].starts_with("https://127.0.0.1:"),
        "{}",
        server.ready
    );
    assert!(
        words[2].starts_with("http://[::1]:") && words[3].starts_with("http://127.0.0.1:"),
        "{}",
        server.ready
    );
    assert_eq!(
        words[4..],
        ["admin=off", "ca=heliograph-data/dev-ca.pem"],
        "{}",
        server.ready
    );
    server.signal("TERM");
    assert_eq!(server.code(), Some(0));
    let mut rest = String::new();
    server.stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
    for name in ["dev-ca.pem", "dev-cert.pem", "dev-key.pem"] {
        assert!(
            directory.0.join("heliograph-data").join(name).is_file(),
            "{name}"
        );
    }
}

/// A developer does not wait for an idle client, and the log says how to stop at once.
#[test]
fn a_drain_takes_a_second_under_dev_and_says_how_to_stop_now() {
    let directory = Directory::new();
    let config = directory.file("written.toml", "[timeouts]\ndrain = '1100ms'\n");
    let config = config.to_str().unwrap();
    for (flags, within) in [
        (&[][..], "within_ms=1000"),
        (&["--config", config][..], "within_ms=1100"),
    ] {
        let mut server = Server::start(&directory.0, &[&LISTEN[..], flags].concat());
        let idle = idle_client(&server);
        server.signal("INT");
        assert_eq!(server.code(), Some(0), "{}", server.log());
        let log = server.log();
        let told = log.lines().find(|line| line.contains("draining"));
        assert!(
            told.is_some_and(
                |line| line.contains("press Ctrl-C again to stop now") && line.contains(within)
            ),
            "{log}"
        );
        drop(idle);
    }
}

/// An idle client keeps a drain going; the second signal does not wait.
#[test]
fn a_second_signal_ends_a_drain_at_once_with_exit_code_1() {
    let directory = Directory::new();
    let config = directory.file("slow.toml", "[timeouts]\ndrain = '20s'\n");
    let flags = ["--config", config.to_str().unwrap()];
    let mut server = Server::start(&directory.0, &[&LISTEN[..], &flags].concat());
    let _idle = idle_client(&server);
    server.signal("INT");
    let ready = until(|| {
        let answer = get(&server.address(2), "/ready");
        answer.contains("draining").then_some(answer)
    });
    assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
    assert!(get(&server.address(2), "/live").starts_with("HTTP/1.1 200"));
    server.signal("TERM");
    assert_eq!(server.code(), Some(1));
}

#[test]
fn a_hangup_reads_the_certificate_again_and_a_bad_one_changes_nothing() {
    let (directory, other) = (Directory::new(), Directory::new());
    let first =
        broker::certificate::development(&directory.0, &[], std::time::SystemTime::now()).unwrap();
    let second =
        broker::certificate::development(&other.0, &[], std::time::SystemTime::now()).unwrap();
    let (cert, key) = (
        first.files.cert.to_str().unwrap(),
        first.files.key.to_str().unwrap(),
    );
    let flags = [
        "--listen",
        "https://127.0.0.1:0",
        "--admin",
        "off",
        "--tls-cert",
        cert,
        "--tls-key",
        key,
    ];
    let server = Server::start(&directory.0, &flags);
    assert!(!server.ready.contains("ca="), "{}", server.ready);
    let ca = fs::read(&first.ca).unwrap();
    assert!(handshake(&server.address(1), &ca));
    assert!(!handshake(
        &server.address(1),
        &fs::read(&second.ca).unwrap()
    ));

    fs::copy(&second.files.cert, &first.files.cert).unwrap(); // without its key: not a pair
    server.signal("HUP");
    until(|| {
        server
            .log()
            .contains("the certificate stays as it was")
            .then_some(())
    });
    assert!(handshake(&server.address(1), &ca));

    fs::copy(&second.files.key, &first.files.key).unwrap();
    server.signal("HUP");
    let second_ca = fs::read(&second.ca).unwrap();
    until(|| handshake(&server.address(1), &second_ca).then_some(()));
}

const LISTEN: [&str; 4] = ["--listen", "http://127.0.0.1:0", "--admin", "127.0.0.1:0"];

/// A master that says nothing, and does not answer a close either.
fn idle_client(server: &Server) -> TcpStream {
    let mut client = TcpStream::connect(server.address(1)).unwrap();
    let request = "GET /?X-Amz-ChannelARN=arn:aws:kinesisvideo:us-west-2:123456789012:channel/a/1700000000000 \
                   HTTP/1.1\r\nHost: localhost\r\n\
                   Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: \
                   dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    client.write_all(request.as_bytes()).unwrap();
    let mut head = [0; 12];
    client.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 101");
    client
}

/// Whether a TLS client that trusts `ca` gets through its handshake.
fn handshake(addr: &str, ca: &[u8]) -> bool {
    use rustls::pki_types::pem::PemObject;
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(rustls::pki_types::CertificateDer::from_pem_slice(ca).unwrap())
        .unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = versions.with_root_certificates(roots).with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let mut connection = rustls::ClientConnection::new(std::sync::Arc::new(config), name).unwrap();
    let mut socket = TcpStream::connect(addr).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    while connection.is_handshaking() {
        if connection.complete_io(&mut socket).is_err() {
            return false;
        }
    }
    true
}

fn get(addr: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Asks again and again, for a bounded time.
fn until<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(began.elapsed() < LIMIT, "it does not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A server in development mode; killed on drop.
struct Server {
    child: Child,
    stdout: BufReader<std::process::ChildStdout>,
    ready: String,
    log: PathBuf,
}

impl Server {
    fn start(directory: &Path, flags: &[&str]) -> Self {
        let log = directory.join("log");
        let mut child = broker(&[&["serve", "--dev"][..], flags].concat())
            .current_dir(directory)
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut ready = String::new();
        stdout.read_line(&mut ready).unwrap();
        assert!(
            ready.ends_with('\n'),
            "no ready line: {}",
            fs::read_to_string(&log).unwrap()
        );
        Self {
            child,
            stdout,
            ready: ready.trim_end().to_owned(),
            log,
        }
    }

    /// The address in the nth word of the ready line.
    fn address(&self, nth: usize) -> String {
        let word = self.ready.split(' ').nth(nth).unwrap();
        word.split_once("://").unwrap().1.to_owned()
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn signal(&self, name: &str) {
        let kill = Command::new("sh")
            .args(["-c", &format!("kill -{name} {}", self.child.id())])
            .status()
            .unwrap();
        assert!(kill.success());
    }

    fn code(&mut self) -> Option<i32> {
        until(|| self.child.try_wait().unwrap()).code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("heliograph-cli-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn broker(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_broker"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .env_remove("RUST_LOG");
    command
}

/// Runs a command that ends by itself; one that does not is ended, and the test fails.
fn run(command: &mut Command) -> Output {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if began.elapsed() > LIMIT {
            let _ = child.kill();
            panic!("{command:?} does not end: {:?}", child.wait_with_output());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const LIMIT: Duration = Duration::from_secs(30);
