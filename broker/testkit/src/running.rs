//! A broker that has started and printed its ready line.

use crate::program::engine;
use crate::scrape::Scrape;
use crate::wait::{WITHIN, ended_within};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

/// A `heliograph serve` process. It is killed on drop, and its log is printed if the test fails.
#[derive(Debug)]
pub struct Running {
    child: Child,
    /// In a mutex, so that the threads of a test can share the broker.
    stdout: Mutex<Receiver<String>>,
    log: PathBuf,
    ready: String,
}

impl Running {
    /// Starts a complete command with its log in the file `log`, and returns when the broker is ready.
    pub fn start(command: &mut Command, log: &Path) -> Self {
        if let Some(engine) = engine().filter(|_| command.get_args().all(|it| it != "--engine")) {
            command.args(["--engine", &engine]);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(log).expect("a log file"))
            .spawn()
            .expect("the broker starts");
        let output = child.stdout.take().expect("stdout is piped");
        let (lines, stdout) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if lines.send(line).is_err() {
                    return;
                }
            }
        });
        let Ok(ready) = stdout.recv_timeout(WITHIN) else {
            let _ = child.kill();
            let ended = child.wait();
            panic!("no ready line; {ended:?}; log:\n{}", text_of(log));
        };
        Self {
            child,
            stdout: Mutex::new(stdout),
            log: log.to_owned(),
            ready,
        }
    }

    /// Returns the ready line.
    #[must_use]
    pub fn ready(&self) -> &str {
        &self.ready
    }

    /// Returns the first word of the ready line that starts with the prefix `begins`, without the prefix. Prefixes are
    /// `http://`, `admin=http://`, `ca=` and so on.
    #[must_use]
    pub fn find_word(&self, begins: &str) -> Option<&str> {
        let mut words = self.ready.split(' ');
        words.find_map(|word| word.strip_prefix(begins))
    }

    /// Like [`Self::find_word`], but panics if there is no such word.
    #[must_use]
    pub fn word(&self, begins: &str) -> &str {
        let word = self.find_word(begins);
        word.unwrap_or_else(|| panic!("no {begins} in {:?}", self.ready))
    }

    /// Returns the process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns what the broker has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        text_of(&self.log)
    }

    /// Returns the lines that the broker has printed to standard output since the ready line, or since the last call.
    #[must_use]
    pub fn further_output(&self) -> Vec<String> {
        self.lines().try_iter().collect()
    }

    /// Waits for the process to close standard output, and returns the remaining lines printed after the ready line.
    #[must_use]
    pub fn rest_of_output(&self) -> Vec<String> {
        self.lines().iter().collect()
    }

    /// Sends the process a signal, given by name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let script = format!("kill -{name} {}", self.id());
        let sent = Command::new("sh").args(["-c", &script]).status();
        assert!(sent.expect("sh runs").success(), "kill -{name} failed");
    }

    /// Kills the process with SIGKILL and waits for it.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for the process to exit within [`WITHIN`]. If it does not, kills it and panics.
    pub fn ended(&mut self) -> ExitStatus {
        self.ended_within(WITHIN)
    }

    /// Waits for the process to exit within `limit`. If it does not, kills it and panics.
    pub fn ended_within(&mut self, limit: Duration) -> ExitStatus {
        ended_within(&mut self.child, limit)
            .unwrap_or_else(|| panic!("still there after {limit:?}"))
    }

    /// Fetches a page from the admin listener without sending a token, and returns its body. Panics unless the response
    /// has status 200.
    #[must_use]
    pub fn page(&self, path: &str) -> String {
        let answer = page(self.word("admin=http://"), path);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        assert!(head.contains(" 200 "), "{path}: {answer}");
        body.to_owned()
    }

    /// Scrapes all metrics.
    #[must_use]
    pub fn scrape(&self) -> Scrape {
        Scrape::new(self.page("/metrics"))
    }

    fn lines(&self) -> MutexGuard<'_, Receiver<String>> {
        let lines = self.stdout.lock();
        lines.expect("nobody panics while reading")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let ended = self.child.wait();
        if thread::panicking() {
            let log = self.log();
            eprintln!("{}\nbroker ended: {ended:?}; its log:\n{log}", self.ready);
        }
    }
}

/// Sends a GET request for the page `path` and returns the whole response, including its head.
#[must_use]
pub fn page(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("a listener");
    let patience = stream.set_read_timeout(Some(WITHIN));
    patience.expect("a socket with a timeout");
    // In HTTP/1.0, the body is not chunked, and it ends when the connection is closed.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .expect("the request is taken");
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    read.expect("an answer in UTF-8, to its end");
    answer
}

fn text_of(log: &Path) -> String {
    fs::read_to_string(log).unwrap_or_default()
}
