//! A load of API calls on persistent connections. Each connection alternates between the two calls that a client makes
//! before it connects, and has one call in flight at a time. All calls are signed.

use crate::compare::run::Terms;
use crate::compare::server::Running;
use crate::relay::{KEY_ID, SECRET};
use codec::sigv4::signer::{self, Keys, Signer};
use loadgen::edge::{self, Server};
use loadgen::result::words;
use loadgen::visit::{Call, write_call};
use serde_json::{Value, json};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Sends calls to a server over `connections` connections. The returned report has the same format as a report of
/// `loadgen`.
///
/// # Errors
/// Returns an error if a connection fails or a response is invalid.
pub(crate) fn drive(server: &Running, connections: usize, terms: &Terms) -> io::Result<Value> {
    let started = SystemTime::now();
    let process = Server::process(server.pid())?;
    let mut caller = Caller::connect(server.port, connections)?;
    caller.create_channel()?;
    let warm_up = if terms.is_small { SHORT } else { WARM_UP };
    caller.run(warm_up)?;
    let (cpu_ns, begun) = (process.cpu_ns()?, Instant::now());
    let calls = caller.run(Duration::from_secs_f64(terms.seconds))?;
    let (cpu_ns, span) = (process.cpu_ns()?.saturating_sub(cpu_ns), begun.elapsed());
    Ok(json!({
        "started": words::rfc3339(started),
        "machine": edge::machine(),
        "duration_s": span.as_secs_f64(),
        "calls": calls,
        "cpu": { "server_us_per_call": cpu_ns as f64 / 1e3 / calls as f64 },
    }))
}

struct Caller {
    sockets: Vec<TcpStream>,
    host: String,
    arn: String,
    signer: Signer<'static>,
    buffer: Vec<u8>,
}

impl Caller {
    fn connect(port: u16, connections: usize) -> io::Result<Self> {
        let connect = |_| {
            let socket = TcpStream::connect(("127.0.0.1", port))?;
            socket.set_nodelay(true)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            Ok(socket)
        };
        let keys = Keys {
            access_key_id: KEY_ID,
            secret_access_key: SECRET,
            session_token: None,
        };
        Ok(Self {
            sockets: (0..connections).map(connect).collect::<io::Result<_>>()?,
            host: format!("127.0.0.1:{port}"),
            arn: String::new(),
            signer: Signer::new(keys, REGION),
            buffer: Vec::new(),
        })
    }

    fn create_channel(&mut self) -> io::Result<()> {
        let body = json!({ "ChannelName": "bench" }).to_string();
        let request = self.signed("/createSignalingChannel", &body)?;
        let Some(socket) = self.sockets.first_mut() else {
            return Ok(());
        };
        socket.write_all(&request)?;
        let body = answer(socket, &mut self.buffer)?;
        let body: Value = serde_json::from_slice(body)?;
        let arn = body["ChannelARN"].as_str();
        arn.ok_or_else(|| io::Error::other(format!("no channel: {body}")))?
            .clone_into(&mut self.arn);
        Ok(())
    }

    /// Makes the two calls alternately on every connection until `span` has passed. Returns the number of responses.
    fn run(&mut self, span: Duration) -> io::Result<u64> {
        let begun = Instant::now();
        let mut calls = 0;
        while begun.elapsed() < span {
            // The time in a signature has a resolution of one second, so each signed request is reused for
            // [`SIGNED_FOR`].
            let endpoint = self.request(Call::Endpoint)?;
            let ice_servers = self.request(Call::IceServers)?;
            let signed = Instant::now();
            while signed.elapsed() < SIGNED_FOR && begun.elapsed() < span {
                for (request, member) in [
                    (&endpoint, &b"\"ResourceEndpointList\""[..]),
                    (&ice_servers, b"\"IceServerList\""),
                ] {
                    for socket in &mut self.sockets {
                        socket.write_all(request)?;
                    }
                    for socket in &mut self.sockets {
                        let body = answer(socket, &mut self.buffer)?;
                        if memchr::memmem::find(body, member).is_none() {
                            let body = String::from_utf8_lossy(body);
                            return Err(io::Error::other(format!("another answer: {body}")));
                        }
                        calls += 1;
                    }
                }
            }
        }
        Ok(calls)
    }

    fn request(&mut self, call: Call) -> io::Result<Vec<u8>> {
        let (path, body) = call.request(&self.arn, Some("viewer"));
        self.signed(path, &body)
    }

    fn signed(&mut self, path: &str, body: &str) -> io::Result<Vec<u8>> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let call = signer::Call {
            host: &self.host,
            path,
            body,
            now_s: now.map_err(io::Error::other)?.as_secs(),
        };
        let mut request = Vec::new();
        write_call(&mut request, &call, Some(&mut self.signer));
        Ok(request)
    }
}

/// Reads one response and returns its body. Returns an error if the status is not a success.
fn answer<'a>(socket: &mut TcpStream, buffer: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
    let mut filled = 0;
    buffer.resize(ANSWER_BYTES_MAX, 0);
    loop {
        let read = socket.read(&mut buffer[filled..])?;
        if read == 0 {
            let text = String::from_utf8_lossy(&buffer[..filled]).into_owned();
            return Err(io::Error::other(format!("ended early: {text}")));
        }
        filled += read;
        let mut lines = [httparse::EMPTY_HEADER; 32];
        let mut response = httparse::Response::new(&mut lines);
        let status = response
            .parse(&buffer[..filled])
            .map_err(io::Error::other)?;
        let httparse::Status::Complete(head) = status else {
            continue;
        };
        let mut length = response
            .headers
            .iter()
            .filter(|line| line.name.eq_ignore_ascii_case("content-length"));
        let length = length
            .next()
            .and_then(|line| std::str::from_utf8(line.value).ok()?.parse().ok());
        let end = head + length.unwrap_or(0_usize);
        if filled < end {
            continue;
        }
        if response.code != Some(200) || filled > end {
            let text = String::from_utf8_lossy(&buffer[..filled]).into_owned();
            return Err(io::Error::other(format!("another answer: {text}")));
        }
        return Ok(&buffer[head..end]);
    }
}

const REGION: &str = "us-west-2";
/// How long the load runs before measurement starts.
const WARM_UP: Duration = Duration::from_secs(1);
const SHORT: Duration = Duration::from_millis(50);
/// How long a signed request is reused.
const SIGNED_FOR: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 16 * 1024;
