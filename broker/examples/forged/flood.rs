//! Requests with wrong signatures, at a steady rate whatever the answers do.

use crate::server::{Server, now_s};
use codec::sigv4::Stamp;
use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// The kind of a request, with the key that signs it; `None` is not signed at all.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    /// A WebSocket, on a connection of its own.
    Upgrade(Option<&'static str>),
    /// A call of the API, on a connection that is kept.
    Call(Option<&'static str>),
    /// AssumeRoleWithWebIdentity by a token of the provider, which another key has signed, on a connection of its own:
    /// the refusal of what is not signed ends it.
    SignIn,
}

/// This many requests a second by this many threads.
pub(crate) struct Flood {
    pub(crate) target: Target,
    pub(crate) rate: u32,
    pub(crate) threads: u32,
    pub(crate) span: Duration,
}

impl Flood {
    /// Asks until the span is over; how many were refused as they should be, and in how many seconds.
    pub(crate) fn run(&self, server: &Server) -> Result<(u32, f64), String> {
        let started = Instant::now();
        let refused = thread::scope(|scope| {
            let threads = (0..self.threads).map(|nth| scope.spawn(move || self.ask(server, nth)));
            let threads: Vec<_> = threads.collect();
            let counts = threads.into_iter().map(|thread| {
                let count = thread.join().map_err(|_| "a thread ended".to_owned())?;
                count.map_err(|error| error.to_string())
            });
            counts.sum::<Result<u32, String>>()
        });
        Ok((refused?, started.elapsed().as_secs_f64()))
    }

    fn ask(&self, server: &Server, thread: u32) -> Result<u32, std::io::Error> {
        let request = self.target.request(server);
        let to: SocketAddr = server.host.parse().map_err(std::io::Error::other)?;
        let step = Duration::from_secs(1) * self.threads / self.rate;
        let started = Instant::now();
        let (mut count, mut kept) = (0, None);
        while started.elapsed() < self.span {
            // Late ones follow at once; how many there were is counted, not hoped for.
            thread::sleep((step * count).saturating_sub(started.elapsed()));
            let mut stream = match kept.take() {
                Some(stream) => stream,
                None => connect(to, thread)?,
            };
            stream.write_all(request.as_bytes())?;
            let answer = read_answer(&mut stream)?;
            if !answer.starts_with(self.target.refusal()) {
                return Err(std::io::Error::other(answer));
            }
            match self.target {
                Target::Upgrade(_) | Target::SignIn => {}
                Target::Call(_) => kept = Some(stream),
            }
            count += 1;
        }
        Ok(count)
    }
}

impl Target {
    /// The beginning of the answer.
    const fn refusal(self) -> &'static str {
        match self {
            Self::Upgrade(_) | Self::Call(_) => "HTTP/1.1 403 ",
            Self::SignIn => "HTTP/1.1 400 ",
        }
    }

    fn request(self, server: &Server) -> String {
        let host = &server.host;
        let (key, forged) = match self {
            Self::Upgrade(key) | Self::Call(key) => (key, "0123456789abcdef".repeat(4)),
            Self::SignIn => (None, String::new()),
        };
        let moment = Stamp::from_epoch(now_s()).to_string();
        let day = moment.get(..8).unwrap_or_default();
        match self {
            Self::Upgrade(_) => {
                let channel =
                    "arn%3Aaws%3Akinesisvideo%3Aus-west-2%3A123456789012%3Achannel%2Fnone%2F1";
                let signed = key.map_or_else(String::new, |key| {
                    format!(
                        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={key}%2F{day}\
                         %2Fus-west-2%2Fkinesisvideo%2Faws4_request&\
                         X-Amz-Date={moment}&X-Amz-Expires=299&X-Amz-Signature={forged}&X-Amz-SignedHeaders=host&"
                    )
                });
                format!(
                    "GET /?{signed}X-Amz-ChannelARN={channel}&X-Amz-ClientId=v HTTP/1.1\r\nHost: {host}\r\nConnection: \
                     Upgrade\r\n\
                     Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: \
                     dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
                )
            }
            Self::Call(_) => {
                let body = r#"{"ChannelName":"none"}"#;
                let signed = key.map_or_else(String::new, |key| {
                    format!(
                        "X-Amz-Date: {moment}\r\nAuthorization: AWS4-HMAC-SHA256 \
                         Credential={key}/{day}/us-west-2/kinesisvideo/aws4_request, \
                         SignedHeaders=host;x-amz-date, Signature={forged}\r\n"
                    )
                });
                format!(
                    "POST /describeSignalingChannel HTTP/1.1\r\nHost: {host}\r\nContent-Type: \
                     application/json\r\n{signed}\
                     Content-Length: {}\r\n\r\n{body}",
                    body.len()
                )
            }
            Self::SignIn => {
                let body = format!(
                    "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleSessionName=app\
                     &RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fapp&WebIdentityToken={}",
                    server.token
                );
                format!(
                    "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
                     Content-Length: {}\r\n\r\n{body}",
                    body.len()
                )
            }
        }
    }
}

/// From an address of the thread's own, so that ports do not run out. Ended by a reset, which leaves nothing behind.
fn connect(to: SocketAddr, thread: u32) -> Result<TcpStream, std::io::Error> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    let own = Ipv4Addr::from_bits(Ipv4Addr::new(127, 0, 1, 1).to_bits() + thread);
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddrV4::new(own, 0).into())?;
    socket.set_linger(Some(Duration::ZERO))?;
    socket.connect(&to.into())?;
    let stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Reads one answer whole.
fn read_answer(stream: &mut TcpStream) -> Result<String, std::io::Error> {
    let (mut buffer, mut have) = ([0; 2048], 0);
    loop {
        let room = buffer.get_mut(have..).unwrap_or_default();
        let read = stream.read(room)?;
        have += read;
        let text = buffer.get(..have).unwrap_or_default();
        let text = std::str::from_utf8(text).map_err(std::io::Error::other)?;
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                let is_length = name.eq_ignore_ascii_case("content-length");
                is_length.then(|| value.parse().ok())?
            });
            if length.is_some_and(|length: usize| body.len() >= length) {
                return Ok(text.to_owned());
            }
        }
        if read == 0 {
            return Err(std::io::Error::other(
                "the connection ended before its answer",
            ));
        }
    }
}
