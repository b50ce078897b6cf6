//! A broker and runs of loadgen against it.

use serde_json::Value;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;
use testkit::{Directory, Program, Running, ended_within, until_within};

const PROGRAM: Program = Program::new(env!("CARGO_BIN_EXE_loadgen"), env!("CARGO_TARGET_TMPDIR"));

/// A broker that answers. Dropping it kills it and removes its directory; when the test failed, its log is printed
/// first.
pub(crate) struct Broker {
    pub(crate) running: Running,
    /// Removed when the process has ended.
    directory: Directory,
    flags: String,
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
        Self::start(directory(), &format!("--dev {listeners}"))
    }

    /// A broker without signatures, with the rates of production.
    pub(crate) fn with_quotas() -> Self {
        let directory = directory();
        let config = directory.file("broker.toml", "[quotas]\noff = false\n");
        let flags = "--dev --listen http://127.0.0.1:0 --config";
        let flags = format!("{flags} {}", config.display());
        Self::start(directory, &flags)
    }

    /// A broker that checks signatures, and payloads and channels as the real service does; quotas are off.
    pub(crate) fn signed() -> Self {
        let directory = directory();
        let principal = format!(
            "[[principal]]\nname = \"driver\"\naccess_key_id = \"{KEY_ID}\"\nsecret_access_key = \"{SECRET}\"\n\
             policies = [\"all\"]\n{POLICY}"
        );
        let credentials = directory.file("credentials", &principal);
        let config = directory.file("broker.toml", "[quotas]\noff = true\n");
        let flags = format!(
            "--auth sigv4 --profile strict --listen http://127.0.0.1:0 --credentials {} --config {}",
            credentials.display(),
            config.display()
        );
        Self::start(directory, &flags)
    }

    /// Kills the broker with SIGKILL and starts it again at once, with the same flags and directory.
    pub(crate) fn kill_and_start_again(self) -> Self {
        let Self {
            mut running,
            directory,
            flags,
        } = self;
        running.kill();
        Self::start(directory, &flags)
    }

    pub(crate) fn start(directory: Directory, flags: &str) -> Self {
        let mut command = PROGRAM.command();
        command
            .arg("serve")
            .args(flags.split(' '))
            .args(["--admin", "127.0.0.1:0", "--shards", "2", "--data-dir"])
            .arg(directory.path("data"));
        Self {
            running: Running::start(&mut command, &directory.path("log")),
            directory,
            flags: flags.to_owned(),
        }
    }

    /// The word of the ready line that begins so, without its beginning.
    pub(crate) fn word(&self, begins: &str) -> &str {
        self.running.word(begins)
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
        self.directory.path("system.pem")
    }

    /// `loadgen run` with these flags and this secret key, for a bounded time.
    pub(crate) fn loadgen(&self, flags: &str, secret: &str) -> End {
        let json = self.directory.path("report.json");
        let stderr = self.directory.path("stderr");
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
        let status = ended_within(&mut child, RUN_WITHIN)
            .unwrap_or_else(|| panic!("{flags}: still there after {RUN_WITHIN:?}"));
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
        let what = format!("{received} messages and no connections");
        until_within(SETTLED_WITHIN, &what, || {
            let scrape = self.running.scrape();
            let all = scrape.sum("heliograph_messages_received_total");
            if scrape.sum("heliograph_connections") > 0.0 || all < received {
                return None;
            }
            let text = scrape.text();
            let waiting = scrape.sum("heliograph_pending_messages")
                + scrape.sum("heliograph_outbox_messages");
            let found = scrape.sum("heliograph_messages_total") + waiting;
            assert_eq!(found, all, "the conservation law in\n{text}");
            assert_eq!(waiting, 0.0, "{text}");
            let found = scrape.sum_with("heliograph_messages_total", "outcome=\"delivered\"");
            assert_eq!(found, all, "not delivered in\n{text}");
            Some(all)
        })
    }

    /// This many channels were made by API since the start, as many removed, and none is left.
    pub(crate) fn assert_channels_made_and_removed(&self, channels: f64) {
        let scrape = self.running.scrape();
        for operation in ["CreateSignalingChannel", "DeleteSignalingChannel"] {
            let label = format!("operation=\"{operation}\",status=\"200\"");
            let done = scrape.sum_with("heliograph_http_requests_total", &label);
            assert_eq!(done, channels, "{operation} in\n{}", scrape.text());
        }
        assert_eq!(self.channels(), 0);
    }

    /// The number of channels, as far as one page has them.
    pub(crate) fn channels(&self) -> usize {
        let page: Value = serde_json::from_str(&self.running.page("/channels")).unwrap();
        page["channels"].as_array().unwrap().len()
    }

    /// Messages that were received since the start.
    pub(crate) fn received(&self) -> f64 {
        let scrape = self.running.scrape();
        scrape.sum("heliograph_messages_received_total")
    }
}

/// A directory of a test's own under target/.
pub(crate) fn directory() -> Directory {
    PROGRAM.directory()
}

const KEY_ID: &str = "AKIDLOADGEN";
pub(crate) const SECRET: &str = "a-secret-of-the-driver";
const POLICY: &str = r#"
[policy.all]
document = '{"Statement": [{"Effect": "Allow", "Action": "kinesisvideo:*", "Resource": "*"}]}'
"#;

/// Longest run of loadgen: its load takes a second, its patience twenty.
const RUN_WITHIN: Duration = Duration::from_secs(60);
const SETTLED_WITHIN: Duration = Duration::from_secs(10);
