//! The service's process: its CPU time and memory, from the kernel if it runs here, or from its admin listener.

use crate::edge::http;
use crate::edge::target::process::Process;
use std::net::SocketAddr;
use std::time::Duration;
use std::{fmt, io};
use ureq::tls::TlsConfig;

/// The source of the figures of the service's process.
#[derive(Clone, Debug)]
pub enum Server {
    /// A process on this machine.
    Process(Process),
    /// An admin listener that serves `/metrics` in the Prometheus text format, as plain HTTP.
    Admin(Admin),
}

/// An admin listener. Shows nothing of its token.
#[derive(Clone)]
pub struct Admin {
    address: SocketAddr,
    token: Option<String>,
}

impl fmt::Debug for Admin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Admin({})", self.address)
    }
}

impl Server {
    /// The process with this id.
    ///
    /// # Errors
    /// There is none, or access is denied.
    pub fn process(pid: u32) -> io::Result<Self> {
        Process::find(pid).map(Self::Process)
    }

    /// The service behind this admin address, which may want a token.
    ///
    /// # Errors
    /// It does not answer, or its metrics lack the CPU time.
    pub fn admin(address: SocketAddr, token: Option<String>) -> io::Result<Self> {
        let server = Self::Admin(Admin { address, token });
        server.cpu_ns()?;
        Ok(server)
    }

    /// CPU time of the process, user and kernel, in nanoseconds.
    ///
    /// # Errors
    /// It has ended, or does not answer.
    pub fn cpu_ns(&self) -> io::Result<u64> {
        match self {
            Self::Process(process) => process.cpu_ns(),
            Self::Admin(admin) => {
                metric(admin, "process_cpu_seconds_total").map(|seconds| whole(seconds * 1e9))
            }
        }
    }

    /// Resident memory in bytes.
    ///
    /// # Errors
    /// It has ended, or does not answer.
    pub fn rss_bytes(&self) -> io::Result<u64> {
        match self {
            Self::Process(process) => process.rss_bytes(),
            Self::Admin(admin) => metric(admin, "process_resident_memory_bytes").map(whole),
        }
    }
}

/// A metric without labels of the admin listener.
fn metric(Admin { address, token }: &Admin, name: &str) -> io::Result<f64> {
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
        return Err(io::Error::other(format!("/metrics answers {status}")));
    }
    let text = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX);
    let text = text.read_to_string().map_err(ureq::Error::into_io)?;
    value(&text, name).ok_or_else(|| io::Error::other(format!("/metrics has no {name}")))
}

/// The value of a metric without labels in a Prometheus text.
fn value(text: &str, name: &str) -> Option<f64> {
    let rest = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    rest?.split(' ').next()?.parse().ok()
}

fn whole(figure: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float casts saturating"
    )]
    let whole = figure as u64;
    whole
}

/// The time that a request may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest answer that is read.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

#[cfg(test)]
mod tests {

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
                assert!(
                    request.contains("authorization: bearer the token\r\n"),
                    "{request}"
                );
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
        assert_eq!(
            value(
                "process_cpu_seconds_total{a=\"b\"} 1",
                "process_cpu_seconds_total"
            ),
            None
        );
    }
}
