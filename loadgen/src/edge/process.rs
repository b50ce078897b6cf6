//! Measures CPU time and memory. The figures for a local process come from `/proc`. The figures for the service come
//! from `/proc` or from its own metrics.

use crate::edge::http;
use crate::result::words::whole;
use rustix::param::clock_ticks_per_second;
use std::net::SocketAddr;
use std::time::Duration;
use std::{fmt, fs, io};
use ureq::tls::TlsConfig;

/// A process on this machine.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    pid: u32,
}

impl Process {
    /// Finds the process with this id.
    ///
    /// # Errors
    /// Returns an error if there is no such process or this process may not inspect it.
    pub fn find(pid: u32) -> io::Result<Self> {
        let process = Self { pid };
        process.cpu_ns()?;
        Ok(process)
    }

    pub(crate) fn own() -> Self {
        Self {
            pid: std::process::id(),
        }
    }

    /// Returns the CPU time that all threads have spent in user and kernel mode, in nanoseconds.
    ///
    /// Source: the first number in `/proc/PID/task/TID/schedstat`. `/proc/PID/stat` counts in ticks of 10 ms, which is
    /// too coarse for a short run, but it also includes threads that have exited. This function returns whichever value
    /// is larger.
    pub fn cpu_ns(self) -> io::Result<u64> {
        let mut sum = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.pid))? {
            let path = task?.path().join("schedstat");
            // A thread may exit between being listed and being read.
            let Ok(text) = fs::read_to_string(path) else {
                continue;
            };
            let first = text.split_ascii_whitespace().next();
            sum += first
                .and_then(|number| number.parse::<u64>().ok())
                .unwrap_or_default();
        }
        let tick_ns = 1_000_000_000 / clock_ticks_per_second();
        let ticks: u64 = self.ticks()?.iter().sum();
        Ok(sum.max(ticks * tick_ns))
    }

    /// Returns the user and kernel time of all threads in kernel ticks, including threads that have exited. Source:
    /// fields 14 and 15 of `/proc/PID/stat`.
    pub fn ticks(self) -> io::Result<[u64; 2]> {
        let path = format!("/proc/{}/stat", self.pid);
        let stat = fs::read_to_string(&path)?;
        ticks(&stat).ok_or_else(|| io::Error::other(format!("{path} without times: {stat}")))
    }

    /// Returns the resident memory in bytes, including shared pages.
    ///
    /// Source: `Rss` in `/proc/PID/smaps_rollup`, which counts the actual pages; `statm` lags behind. With transparent
    /// huge pages, memory grows in steps of 2 MiB.
    ///
    /// # Errors
    /// Returns an error if the process has exited or belongs to another user.
    pub fn rss_bytes(self) -> io::Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
        let kib = line
            .and_then(|rest| rest.trim().strip_suffix(" kB"))
            .and_then(|number| number.trim().parse::<u64>().ok());
        kib.map(|kib| kib * 1024)
            .ok_or_else(|| io::Error::other("smaps_rollup without Rss"))
    }
}

/// Parses fields 14 and 15 of `/proc/PID/stat`. The second field is a name, which may contain any character.
fn ticks(stat: &str) -> Option<[u64; 2]> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some([next()?, next()?])
}

/// Where to read the service's CPU time and memory from.
#[derive(Clone, Debug)]
pub enum Server {
    /// A process on this machine.
    Process(Process),
    /// An admin listener that serves `/metrics` in the Prometheus text format over plain HTTP.
    Admin(AdminEndpoint),
}

/// The address and token of an admin listener. Debug output hides the token.
#[derive(Clone)]
pub struct AdminEndpoint {
    address: SocketAddr,
    token: Option<String>,
}

impl fmt::Debug for AdminEndpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Admin({})", self.address)
    }
}

impl Server {
    /// Measures the local process with this id.
    ///
    /// # Errors
    /// Returns an error if there is no such process or access to it is denied.
    pub fn process(pid: u32) -> io::Result<Self> {
        Process::find(pid).map(Self::Process)
    }

    /// Measures the service with this admin address. The `token` is needed only if the listener requires one.
    ///
    /// # Errors
    /// Returns an error if the listener does not respond, or if its metrics do not include the CPU time.
    pub fn admin(address: SocketAddr, token: Option<String>) -> io::Result<Self> {
        let server = Self::Admin(AdminEndpoint { address, token });
        server.cpu_ns()?;
        Ok(server)
    }

    /// Returns the CPU time that the service has spent in user and kernel mode, in nanoseconds.
    ///
    /// # Errors
    /// Returns an error if the service has exited or does not respond.
    pub fn cpu_ns(&self) -> io::Result<u64> {
        match self {
            Self::Process(process) => process.cpu_ns(),
            Self::Admin(admin) => {
                metric(admin, "process_cpu_seconds_total").map(|seconds| whole(seconds * 1e9))
            }
        }
    }

    /// Returns the resident memory of the service, in bytes.
    ///
    /// # Errors
    /// Returns an error if the service has exited or does not respond.
    pub fn rss_bytes(&self) -> io::Result<u64> {
        match self {
            Self::Process(process) => process.rss_bytes(),
            Self::Admin(admin) => metric(admin, "process_resident_memory_bytes").map(whole),
        }
    }
}

fn metric(AdminEndpoint { address, token }: &AdminEndpoint, name: &str) -> io::Result<f64> {
    let client = http::client([*address].into_iter(), TlsConfig::default(), TIMEOUT);
    let mut request = client.get(format!("http://{address}/metrics"));
    if let Some(token) = token {
        request = request.header("Authorization", format!("Bearer {token}"));
    }
    let mut answer = request.call().map_err(ureq::Error::into_io)?;
    let status = answer.status().as_u16();
    if status == 401 {
        return Err(io::Error::other(
            "/metrics answers 401: name the file of the token by --token-file FILE or HELIOGRAPH_ADMIN_TOKEN_FILE",
        ));
    }
    if status != 200 {
        return Err(io::Error::other(format!("/metrics returned {status}")));
    }
    let text = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX);
    let text = text.read_to_string().map_err(ureq::Error::into_io)?;
    value(&text, name).ok_or_else(|| io::Error::other(format!("/metrics has no {name}")))
}

fn value(text: &str, name: &str) -> Option<f64> {
    let rest = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    rest?.split(' ').next()?.parse().ok()
}

const TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;
    use std::time::{Duration, Instant};

    #[test]
    fn this_process_has_used_something() {
        let own = Process::own();
        let before = own.cpu_ns().unwrap();
        let mut sum = 0_u64;
        while own.cpu_ns().unwrap() == before {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(own.rss_bytes().unwrap() > 100_000);
        assert!(Process::find(u32::MAX).is_err());
    }

    #[test]
    fn threads_that_have_ended_count() {
        let own = Process::own();
        let before = own.cpu_ns().unwrap();
        let busy = || {
            let begun = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
            let spent =
                || rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime) - begun;
            while Duration::try_from(spent()).unwrap() < BUSY {}
        };
        thread::spawn(busy).join().unwrap();
        let ended = Instant::now();
        // The kernel adds the time of a thread to that of the process shortly after it reports that the thread has
        // exited.
        while Duration::from_nanos(own.cpu_ns().unwrap().saturating_sub(before)) < BUSY / 2 {
            assert!(ended.elapsed() < Duration::from_secs(10));
        }
    }

    #[test]
    fn a_name_does_not_shift_the_fields() {
        let stat = "7 (a) 1 (b) R 1 2 3 4 5 6 7 8 9 10 30 12 13 14";
        assert_eq!(ticks(stat), Some([30, 12]));
        assert_eq!(ticks("7 (a) R 1"), None);
    }

    const BUSY: Duration = Duration::from_millis(200);
}

#[cfg(test)]
mod server_tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    #[test]
    fn metrics_are_read_from_an_admin_listener() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let body = "# HELP process_cpu_seconds_total CPU\nprocess_cpu_seconds_total 1.5\nprocess_resident_memory_bytes \
                    4096 1\n";
        let service = thread::spawn(move || {
            for status in ["200 OK", "200 OK", "200 OK", "401 Unauthorized"] {
                let (mut socket, _) = listener.accept().unwrap();
                let mut request = [0; 1024];
                let read = socket.read(&mut request).unwrap();
                let request = String::from_utf8_lossy(&request[..read]).to_lowercase();
                let fine = request.contains("authorization: bearer the token\r\n");
                assert!(fine, "{request}");
                let answer = format!(
                    "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                socket.write_all(answer.as_bytes()).unwrap();
            }
        });
        let token = Some("the token".to_owned());
        let server = Server::admin(address, token.clone()).unwrap();
        assert!(!format!("{server:?}").contains("token"));
        assert_eq!(server.cpu_ns().unwrap(), 1_500_000_000);
        assert_eq!(server.rss_bytes().unwrap(), 4096);
        let refused = server.cpu_ns().unwrap_err().to_string();
        assert!(refused.contains("401") && refused.contains("--token-file"));
        service.join().unwrap();
        assert!(Server::admin(address, token).is_err(), "nobody listens");
        let found = value(
            "process_cpu_seconds_total{a=\"b\"} 1",
            "process_cpu_seconds_total",
        );
        assert_eq!(found, None);
    }
}
