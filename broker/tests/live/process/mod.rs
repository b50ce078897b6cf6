//! A broker process of its own: started on free ports, ended on drop.

mod run;
mod stopped;

pub(crate) use run::{
    SERVE_IN, TURN_CPU, beside, binary, command, directory, fresh_directory, run_to_end,
};
pub(crate) use testkit::{Scrape, until_within};

use crate::http::Answer;
use run::measured;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::Duration;
use testkit::{Directory, Exit, Running, until};

/// The account and region of `--dev`.
const CHANNELS: &str = "arn:aws:kinesisvideo:us-west-2:123456789012:channel";

/// Under `--dev` on free ports, plain and over TLS.
#[rustfmt::skip] // a list
pub(crate) const DEV: [&str; 5] = ["--dev", "--listen", "http://127.0.0.1:0", "--listen", "https://127.0.0.1:0"];

/// Long enough for what follows an answer: a line of the log, the end of a connection.
const SETTLED_WITHIN: Duration = Duration::from_secs(10);

/// A broker that answers, with the addresses of its ready line. Dropping it kills it and removes its data directory;
/// when the test failed, its log is printed first.
pub(crate) struct Broker {
    running: Running,
    /// Removed when the process has ended; `None` where it belongs to the test that started it, for another start.
    _directory: Option<Directory>,
    /// The ready line, whole.
    pub(crate) ready: String,
    /// The address of plain HTTP and `ws`.
    pub(crate) plain: SocketAddr,
    /// The address of HTTPS and `wss`; the plain address again for a broker without TLS.
    pub(crate) tls: SocketAddr,
    /// The admin listener.
    pub(crate) admin: SocketAddr,
    /// Its number of shards.
    pub(crate) shards: u16,
    /// The development certificate's authority, to be trusted by clients of [`Broker::tls`].
    pub(crate) authority: Option<PathBuf>,
    /// The token that the admin listener asks for.
    token: Option<String>,
}

pub(crate) type Scenario = fn(&Broker);

/// Plays scenarios on a development server of this many shards, one after the other; after each the counters must
/// balance, and a reset leaves nothing of it.
pub(crate) fn on_one_broker(shards: u16, scenarios: &[(&str, Scenario)]) {
    let broker = Broker::dev(shards);
    for (name, scenario) in scenarios {
        eprintln!("scenario {name}");
        scenario(&broker);
        broker.assert_balanced();
        let reset = crate::http::admin(broker.admin, "POST", "/dev/reset", "{}");
        assert_eq!(reset.status, 200, "{}", reset.text());
    }
}

impl Broker {
    /// `heliograph serve --dev` with a plain and a TLS listener.
    pub(crate) fn dev(shards: u16) -> Self {
        Self::start(&DEV, shards)
    }

    /// `heliograph serve --auth none` without `--dev`: unknown channels are refused. Plain only: there is no
    /// certificate.
    pub(crate) fn strict_channels(shards: u16) -> Self {
        Self::start(
            &["--auth", "none", "--listen", "http://127.0.0.1:0"],
            shards,
        )
    }

    /// `heliograph serve --dev` that checks every signature against a credentials file.
    pub(crate) fn signed(credentials: &Path, shards: u16) -> Self {
        let file = credentials.to_str().expect("a path in UTF-8");
        let checked = ["--auth", "sigv4", "--credentials", file];
        Self::start(&[&DEV[..], &checked].concat(), shards)
    }

    /// `heliograph serve` with these arguments, a free admin port and a fresh data directory.
    pub(crate) fn start(arguments: &[&str], shards: u16) -> Self {
        Self::launch(command(), arguments, shards)
    }

    /// The same, with everything in its log that any part of it has to say.
    pub(crate) fn talkative(arguments: &[&str], shards: u16) -> Self {
        let mut command = command();
        command.env("RUST_LOG", "trace");
        Self::launch(command, arguments, shards)
    }

    /// `heliograph serve --dev` with a configuration file of this text.
    pub(crate) fn configured(text: &str, shards: u16) -> Self {
        Self::configured_as(text, &DEV, shards)
    }

    /// `heliograph serve` with these arguments and a configuration file of this text.
    pub(crate) fn configured_as(text: &str, arguments: &[&str], shards: u16) -> Self {
        let directory = run::directory();
        let file = directory.join("broker.toml");
        fs::write(&file, text).expect("a file under target/");
        let path = file.to_str().expect("a path in UTF-8");
        let arguments = [arguments, &["--config", path]].concat();
        let mut broker = Self::launch_in(&directory, command(), &arguments, shards);
        broker._directory = Some(directory);
        broker
    }

    /// Writes another configuration file for a broker that was started with one, whole or not at all.
    pub(crate) fn configure(&self, text: &str) {
        let directory = self._directory.as_ref().expect("it has one");
        fs::write(directory.join("new"), text).expect("a file under target/");
        fs::rename(directory.join("new"), directory.join("broker.toml")).expect("renamed");
    }

    /// `heliograph serve` whose stderr is a pipe that the caller may read or leave unread.
    pub(crate) fn into_pipe(arguments: &[&str], shards: u16) -> (Self, File) {
        let pipe = fresh_directory().join("stderr");
        let made = Command::new("mkfifo").arg(&pipe).status();
        assert!(made.is_ok_and(|made| made.success()), "mkfifo");
        let mut shell = Command::new("sh");
        let script = "pipe=$0; exec \"$@\" 2> \"$pipe\"";
        shell.arg("-c").arg(script).arg(&pipe).arg(binary());
        // Each end waits for the other to be opened.
        let reader = thread::spawn(move || File::open(pipe).expect("the pipe"));
        let broker = Self::launch(shell, arguments, shards);
        (broker, reader.join().expect("the broker opened it"))
    }

    /// `heliograph serve --dev` that may have this many files open.
    pub(crate) fn with_descriptors(descriptors: u32, shards: u16) -> Self {
        let mut shell = Command::new("sh");
        let script = format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"");
        shell.arg("-c").arg(script).arg(binary());
        Self::launch(shell, &DEV, shards)
    }

    /// `heliograph serve --dev` that measures its turns as CPU time, or by the clock.
    pub(crate) fn measuring(cpu: bool, shards: u16) -> Self {
        let mut command = command();
        if cpu {
            command.env(TURN_CPU, "1");
        } else {
            command.env_remove(TURN_CPU);
        }
        Self::launch(command, &DEV, shards)
    }

    /// `heliograph serve --dev` under a service manager that listens at `socket` and wants a sign of life within
    /// `watchdog`.
    pub(crate) fn supervised(socket: &str, watchdog: Duration) -> Self {
        let mut command = command();
        command
            .env("NOTIFY_SOCKET", socket)
            .env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        Self::launch(command, &DEV, 2)
    }

    /// `heliograph serve --dev --open`, which finds programs in this directory first.
    pub(crate) fn opening(programs: &Path) -> Self {
        let mut command = command();
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", programs.display()));
        Self::launch(command, &[&DEV[..], &["--open"]].concat(), 1)
    }

    /// `heliograph serve` with these arguments and the data of an earlier one: `directory/data`, which outlives it.
    pub(crate) fn again(directory: &Path, arguments: &[&str], shards: u16) -> Self {
        Self::launch_in(directory, command(), arguments, shards)
    }

    /// The same, with everything in its log that any part of it has to say.
    pub(crate) fn talkative_again(directory: &Path, arguments: &[&str], shards: u16) -> Self {
        let mut command = command();
        command.env("RUST_LOG", "trace");
        Self::launch_in(directory, command, arguments, shards)
    }

    /// The same, where `command` is the binary or what becomes it.
    pub(crate) fn launch(command: Command, arguments: &[&str], shards: u16) -> Self {
        let directory = run::directory();
        let mut broker = Self::launch_in(&directory, command, arguments, shards);
        broker._directory = Some(directory);
        broker
    }

    /// The same with the data of an earlier one.
    pub(crate) fn launch_in(
        directory: &Path,
        mut command: Command,
        arguments: &[&str],
        shards: u16,
    ) -> Self {
        if crate::attacks::full() {
            command = measured(&command);
        }
        let admin: &[&str] = match arguments.contains(&"--admin") {
            true => &[],
            false => &["--admin", "127.0.0.1:0"],
        };
        command
            .arg("serve")
            .args(arguments)
            .args(admin)
            .args(["--shards", &shards.to_string(), "--data-dir"])
            .arg(directory.join("data"));
        let running = Running::start(&mut command, &directory.join("log"));
        let listener = |begins: &str| running.find_word(begins)?.parse().ok();
        let ready = running.ready();
        let plain = listener("http://").unwrap_or_else(|| panic!("no plain listener in {ready:?}"));
        Self {
            plain,
            tls: listener("https://").unwrap_or(plain),
            admin: listener("admin=http://")
                .unwrap_or_else(|| panic!("no admin listener in {ready:?}")),
            authority: running.find_word("ca=").map(PathBuf::from),
            token: configured_token(arguments),
            shards,
            ready: ready.to_owned(),
            running,
            _directory: None,
        }
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.running.id()
    }

    /// The names of its threads, without the main thread.
    pub(crate) fn threads(&self) -> Vec<String> {
        let id = self.id();
        let all = fs::read_dir(format!("/proc/{id}/task")).expect("its threads");
        let others = all
            .flatten()
            .filter(|thread| thread.file_name() != *id.to_string());
        let names = others.filter_map(|thread| fs::read_to_string(thread.path().join("comm")).ok());
        names.map(|name| name.trim_end().to_owned()).collect()
    }

    /// Waits for lines in the log that hold all these texts; returns the first `lines` of them.
    pub(crate) fn logged(&self, texts: &[&str], lines: usize) -> Vec<String> {
        let what = format!("{lines} lines with {texts:?}");
        until_within(SETTLED_WITHIN, &what, || {
            let log = self.log();
            let wanted = |line: &&str| texts.iter().all(|text| line.contains(text));
            let found = log.lines().filter(wanted).take(lines);
            let found: Vec<String> = found.map(str::to_owned).collect();
            (found.len() == lines).then_some(found)
        })
    }

    /// A page of the admin listener, asked for with the token if one is configured.
    pub(crate) fn page(&self, path: &str) -> Answer {
        let Some(token) = &self.token else {
            return crate::http::get(self.admin, path);
        };
        crate::http::get_with(
            self.admin,
            path,
            &format!("Authorization: Bearer {token}\r\n"),
        )
    }

    /// Runs a command that asks this broker.
    pub(crate) fn asked(&self, words: &[&str]) -> Exit {
        let admin = format!("http://{}", self.admin);
        testkit::run(command().args(words).args(["--admin", &admin]))
    }

    /// All metrics at one moment. A shard may take too long to answer while the machine is busy, but not for ever.
    pub(crate) fn scrape(&self) -> Scrape {
        until("a scrape", || self.try_scrape())
    }

    /// The same, unless some shard took too long.
    pub(crate) fn try_scrape(&self) -> Option<Scrape> {
        let answer = self.page("/metrics");
        (answer.status == 200).then(|| Scrape::new(answer.text()))
    }

    /// Connects by `connect` until a connection was handed to another shard. Which shard accepts a connection is the
    /// kernel's choice.
    pub(crate) fn until_handed_over(&self, connect: impl FnMut(usize)) {
        let handed = || self.scrape().sum("heliograph_handovers_total") > 0.0;
        assert!((0..64).map(connect).any(|()| handed()), "no hand-over");
    }

    /// Asserts what holds after every scenario: no message was lost or counted twice, and nothing is left of the peers
    /// that are gone.
    pub(crate) fn assert_balanced(&self) {
        let now = self.scrape();
        let received = now.sum("heliograph_messages_received_total");
        let settled = now.sum("heliograph_messages_total");
        let gauges = ["pending", "outbox", "written"];
        let gauges = gauges.map(|it| now.sum(&format!("heliograph_{it}_messages")));
        let waiting: f64 = gauges.iter().sum();
        let books = format!("{received} received, {settled} settled, {waiting} waiting");
        assert!(
            (received - settled - waiting).abs() < 0.5,
            "{books}\n{}",
            now.text()
        );
        let left = || self.scrape().sum("heliograph_connections");
        until_within(SETTLED_WITHIN, "the end of all connections", || {
            (left() < 0.5).then_some(())
        });
    }

    /// Sends a signal by its name, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        self.running.signal(name);
    }

    /// The text that the process has written to stderr.
    pub(crate) fn log(&self) -> String {
        self.running.log()
    }

    /// Waits for the end of the process.
    pub(crate) fn ended_within(&mut self, limit: Duration) -> ExitStatus {
        self.running.ended_within(limit)
    }

    /// The lines that the process wrote to stdout after the ready line: must be none, ever.
    pub(crate) fn further_output(&self) -> Vec<String> {
        self.running.further_output()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.running.kill();
        if !thread::panicking() {
            crate::deploy::log_schema::assert_valid(&self.log());
        }
    }
}

/// The ARN of a channel in the account and region of `--dev`.
pub(crate) fn arn(name: &str) -> String {
    format!("{CHANNELS}/{name}/1700000000123")
}

/// The token of the configuration file among these arguments, if it names one.
fn configured_token(arguments: &[&str]) -> Option<String> {
    let mut words = arguments.iter().skip_while(|word| **word != "--config");
    let text = fs::read_to_string(words.nth(1)?).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("token_file = "))?;
    let path = line.trim_matches(['"', '\'']);
    let token = fs::read_to_string(path).expect("a token file");
    Some(token.trim().to_owned())
}
