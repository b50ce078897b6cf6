//! A broker and runs of loadgen against it.

use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

/// A broker that answers. Dropping it kills it and removes its directory; when the test failed, its log is printed
/// first.
pub(crate) struct Broker {
    pub(crate) child: Child,
    directory: PathBuf,
    flags: String,
    /// The ready line: where it listens.
    ready: String,
}

/// The end of a run of loadgen.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) code: Option<i32>,
    /// `Null` if none was written.
    pub(crate) report: Value,
    pub(crate) stderr: String,
}

impl Broker {
    /// A broker without signatures; channels are created by connecting.
    pub(crate) fn dev() -> Self {
        let listeners = "--listen http://127.0.0.1:0 --listen https://127.0.0.1:0";
        Self::start(fresh_directory(), &format!("--dev {listeners}"))
    }

    /// A broker that checks signatures, and payloads and channels as the real service does; quotas are off.
    pub(crate) fn signed() -> Self {
        let directory = fresh_directory();
        let (credentials, config) = (directory.join("credentials"), directory.join("broker.toml"));
        let principal = format!(
            "[[principal]]\nname = \"driver\"\naccess_key_id = \"{KEY_ID}\"\nsecret_access_key = \"{SECRET}\"\n\
             policies = [\"all\"]\n{POLICY}"
        );
        fs::write(&credentials, principal).unwrap();
        fs::write(&config, "[quotas]\noff = true\n").unwrap();
        let flags = format!(
            "--auth sigv4 --profile strict --listen http://127.0.0.1:0 --credentials {} --config {}",
            credentials.display(),
            config.display()
        );
        Self::start(directory, &flags)
    }

    /// Kills the broker with SIGKILL and starts it again at once, with the same flags and directory.
    pub(crate) fn kill_and_start_again(mut self) -> Self {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let (directory, flags) = (
            std::mem::take(&mut self.directory),
            std::mem::take(&mut self.flags),
        );
        Self::start(directory, &flags)
    }

    pub(crate) fn start(directory: PathBuf, flags: &str) -> Self {
        let binary = Path::new(env!("CARGO_BIN_EXE_loadgen")).with_file_name("heliograph");
        assert!(
            binary.exists(),
            "{}: build it first with cargo build -p broker (same profile, same target directory), or test the whole \
             workspace",
            binary.display()
        );
        let mut child = Command::new(binary)
            .arg("serve")
            .args(flags.split(' '))
            .args(["--admin", "127.0.0.1:0", "--shards", "2", "--data-dir"])
            .arg(directory.join("data"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(directory.join("log")).unwrap())
            .spawn()
            .unwrap();
        let output = child.stdout.take().unwrap();
        let (send, ready) = channel();
        thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            lines.for_each(|line| drop(send.send(line)));
        });
        // From here on the drop ends it.
        let mut broker = Self {
            child,
            directory,
            flags: flags.to_owned(),
            ready: String::new(),
        };
        broker.ready = ready.recv_timeout(READY_WITHIN).unwrap();
        broker
    }

    /// The word of the ready line that begins so, without its beginning.
    pub(crate) fn word(&self, begins: &str) -> &str {
        let mut words = self.ready.split(' ');
        words.find_map(|word| word.strip_prefix(begins)).unwrap()
    }

    /// The listener of this scheme.
    pub(crate) fn url(&self, scheme: &str) -> String {
        format!("{scheme}{}", self.word(scheme))
    }

    /// A run that must end well, with nothing lost, and as many messages in the broker's books as in the report;
    /// returns the report.
    pub(crate) fn run(&self, flags: &str) -> Value {
        let before = self.settled(0.0);
        let end = self.loadgen(flags, SECRET);
        assert_eq!(end.code, Some(0), "{flags}: {end:?}");
        let report = &end.report;
        assert_eq!(report["schema"], 1, "{flags}: {end:?}");
        assert_eq!(report["ok"], true, "{flags}: {report}");
        assert_eq!(report["errors"], serde_json::json!({}), "{flags}");
        let messages = &report["messages"];
        assert_eq!(messages["sent"], messages["received"], "{flags}: {report}");
        for fault in ["lost", "duplicated", "reordered", "corrupted", "misrouted"] {
            assert_eq!(messages[fault], 0, "{flags}: {fault}");
        }
        assert_eq!(report["connections"]["failed"], 0, "{flags}: {report}");
        let sent = messages["sent"].as_f64().unwrap();
        let after = self.settled(before + sent);
        assert_eq!(
            after - before,
            sent,
            "{flags}: messages in the broker's books and in the report"
        );
        end.report
    }

    /// The file that loadgen takes for the authorities that this system trusts; not there unless a test writes it.
    pub(crate) fn system_authorities(&self) -> PathBuf {
        self.directory.join("system.pem")
    }

    /// `loadgen run` with these flags and this secret key, for a bounded time.
    pub(crate) fn loadgen(&self, flags: &str, secret: &str) -> End {
        let (json, stderr) = (
            self.directory.join("report.json"),
            self.directory.join("stderr"),
        );
        let _ = fs::remove_file(&json);
        let mut child = Command::new(env!("CARGO_BIN_EXE_loadgen"))
            .args(["run", "--quiet", "--json"])
            .arg(&json)
            .args(flags.split_ascii_whitespace())
            .env("AWS_ACCESS_KEY_ID", KEY_ID)
            .env("AWS_SECRET_ACCESS_KEY", secret)
            .env_remove("AWS_SESSION_TOKEN")
            .env("SSL_CERT_FILE", self.system_authorities())
            .env_remove("SSL_CERT_DIR")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&stderr).unwrap())
            .spawn()
            .unwrap();
        let until = Instant::now() + RUN_WITHIN;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > until {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("{flags}: still there after {RUN_WITHIN:?}");
            }
            thread::sleep(POLL_EVERY);
        };
        let text = fs::read_to_string(&json).unwrap_or_default();
        End {
            code: status.code(),
            report: serde_json::from_str(&text).unwrap_or_default(),
            stderr: fs::read_to_string(&stderr).unwrap(),
        }
    }

    /// Waits until every connection is gone and at least this many messages have been received since the start. Asserts
    /// that each of them was delivered and none is kept; returns how many there were.
    pub(crate) fn settled(&self, received: f64) -> f64 {
        let until = Instant::now() + SETTLED_WITHIN;
        loop {
            let text = self.get("/metrics");
            let sum = |name: &str, label: &str| sum(&text, name, label);
            let all = sum("heliograph_messages_received_total", "");
            if sum("heliograph_connections", "") == 0.0 && all >= received {
                let waiting =
                    sum("heliograph_pending_messages", "") + sum("heliograph_outbox_messages", "");
                assert_eq!(
                    sum("heliograph_messages_total", "") + waiting,
                    all,
                    "the conservation law in\n{text}"
                );
                assert_eq!(waiting, 0.0, "{text}");
                assert_eq!(
                    sum("heliograph_messages_total", "outcome=\"delivered\""),
                    all,
                    "not delivered in\n{text}"
                );
                return all;
            }
            assert!(
                Instant::now() < until,
                "{received} messages and no connections do not come in\n{text}"
            );
            thread::sleep(POLL_EVERY);
        }
    }

    /// This many channels were made by API since the start, as many removed, and none is left.
    pub(crate) fn assert_channels_made_and_removed(&self, channels: f64) {
        let text = self.get("/metrics");
        for operation in ["CreateSignalingChannel", "DeleteSignalingChannel"] {
            let label = format!("operation=\"{operation}\",status=\"200\"");
            let done = sum(&text, "heliograph_http_requests_total", &label);
            assert_eq!(done, channels, "{operation} in\n{text}");
        }
        assert_eq!(self.channels(), 0);
    }

    /// The number of channels, as far as one page has them.
    pub(crate) fn channels(&self) -> usize {
        let page: Value = serde_json::from_str(&self.get("/channels")).unwrap();
        page["channels"].as_array().unwrap().len()
    }

    /// Messages that were received since the start.
    pub(crate) fn received(&self) -> f64 {
        sum(
            &self.get("/metrics"),
            "heliograph_messages_received_total",
            "",
        )
    }

    /// The body of a page of the admin listener.
    fn get(&self, path: &str) -> String {
        let address: SocketAddr = self.word("admin=http://").parse().unwrap();
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(SETTLED_WITHIN)).unwrap();
        write!(socket, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(" 200 "), "{path}: {answer}");
        body.to_owned()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if self.directory.as_os_str().is_empty() {
            return; // it was started again
        }
        let _ = self.child.kill();
        let ended = self.child.wait();
        if thread::panicking() {
            let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
            eprintln!("{}\nbroker ended: {ended:?}; its log:\n{log}", self.ready);
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The sum of the series of this metric whose labels hold this text.
fn sum(metrics: &str, name: &str, label: &str) -> f64 {
    let is_wanted = |line: &&str| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['{', ' ']) && rest.contains(label))
    };
    let series: Vec<f64> = metrics
        .lines()
        .filter(is_wanted)
        .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
        .collect();
    assert!(!series.is_empty(), "no {name} with {label:?} in\n{metrics}");
    series.iter().sum()
}

/// A directory of this test's own under target/.
pub(crate) fn fresh_directory() -> PathBuf {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    let name = format!("broker-{}-{number}", std::process::id());
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&directory).unwrap();
    directory
}

const KEY_ID: &str = "AKIDLOADGEN";
pub(crate) const SECRET: &str = "a-secret-of-the-driver";
const POLICY: &str = r#"
[policy.all]
document = '{"Statement": [{"Effect": "Allow", "Action": "kinesisvideo:*", "Resource": "*"}]}'
"#;

/// Long enough for a start on a busy machine: the certificate is made and every shard listens.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Longest run of loadgen: its load takes a second, its patience twenty.
const RUN_WITHIN: Duration = Duration::from_secs(60);
const SETTLED_WITHIN: Duration = Duration::from_secs(10);
pub(crate) const POLL_EVERY: Duration = Duration::from_millis(20);
