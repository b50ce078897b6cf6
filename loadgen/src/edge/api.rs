//! Calls of the control plane before and after a run: channels made, and removed again.
//!
//! One call after the other on one connection, blocking: nothing is measured here.

use super::signal;
use super::tls::{Client, Stream};
use crate::address::Target;
use crate::plan::Plan;
use crate::visit::answer::Answer;
use crate::visit::write_call;
use codec::aws::sigv4::signer::{Call, Signer};
use serde_json::{Value, json};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Why a call failed. Told to the operator.
#[derive(Debug)]
pub(super) enum ApiError {
    /// The service's answer: status, error type, text.
    Refused(u16, String, String),
    /// No answer.
    Io(io::Error),
}

impl fmt::Display for ApiError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(status, kind, text) => write!(out, "{status} {kind}: {text}"),
            Self::Io(error) => error.fmt(out),
        }
    }
}

impl From<io::Error> for ApiError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The channels of a share that were made for a run, or were there already.
#[derive(Debug, Default)]
pub(super) struct Channels {
    /// By their place in the share.
    pub(super) arns: Vec<String>,
    /// Those that were made, to be removed.
    made: Vec<String>,
}

/// The control plane of a target.
pub(super) struct Api<'a> {
    target: &'a Target,
    tls: Option<&'a Client>,
    signer: Option<Signer<'a>>,
    stream: Option<Stream>,
}

impl<'a> Api<'a> {
    /// The control plane behind this target; nothing is connected yet.
    pub(super) fn new(plan: &'a Plan, tls: Option<&'a Client>) -> Self {
        Self {
            target: &plan.target,
            tls,
            signer: plan.signer(),
            stream: None,
        }
    }

    /// Makes the channels of the plan's share; one that is there already is used and kept.
    ///
    /// # Errors
    /// The first call that fails, with the channel's name. What was made is in `channels`, to be removed.
    pub(super) fn create(&mut self, plan: &Plan, channels: &mut Channels) -> Result<(), String> {
        for channel in plan.share.channels(plan.channels) {
            if signal::stopped() {
                return Err("--create-channels: stopped".into());
            }
            let name = plan.naming.name(channel);
            let about = |error: ApiError| format!("--create-channels: {name}: {error}");
            let body = json!({ "ChannelName": name });
            let (answer, made) = match self.call("/createSignalingChannel", &body) {
                Ok(answer) => (answer, true),
                Err(ApiError::Refused(_, kind, _)) if kind == "ResourceInUseException" => {
                    let answer = self
                        .call("/describeSignalingChannel", &body)
                        .map_err(about)?;
                    (
                        answer.get("ChannelInfo").cloned().unwrap_or_default(),
                        false,
                    )
                }
                Err(error) => return Err(about(error)),
            };
            let arn = answer.get("ChannelARN").and_then(Value::as_str);
            let arn = arn.ok_or_else(|| {
                format!("--create-channels: {name}: the answer names no ChannelARN")
            })?;
            channels.arns.push(arn.to_owned());
            if made {
                channels.made.push(arn.to_owned());
            }
        }
        Ok(())
    }

    /// Removes the channels that were made; gives how many could not be removed, and why the last of them.
    pub(super) fn delete(&mut self, channels: &Channels) -> Option<(usize, ApiError)> {
        let mut failed = None;
        for arn in &channels.made {
            if let Err(error) = self.call("/deleteSignalingChannel", &json!({ "ChannelARN": arn }))
            {
                let count = failed.map_or(1, |(count, _)| count + 1);
                failed = Some((count, error));
            }
        }
        failed
    }

    /// One call; one that is over the service's rate is repeated with back-off.
    fn call(&mut self, path: &str, body: &Value) -> Result<Value, ApiError> {
        let body = body.to_string();
        let mut patience = PATIENCE;
        for _ in 0..ATTEMPTS {
            let kept = self.stream.is_some();
            match self.try_call(path, &body) {
                Err(ApiError::Refused(400, kind, _)) if kind == "ClientLimitExceededException" => {
                    thread::sleep(patience);
                    patience = (patience * 2).min(PATIENCE_MAX);
                }
                // A connection that was kept may have been closed meanwhile.
                Err(ApiError::Io(_)) if kept => self.stream = None,
                other => return other,
            }
        }
        self.try_call(path, &body)
    }

    fn try_call(&mut self, path: &str, body: &str) -> Result<Value, ApiError> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let mut request = Vec::new();
        let call = Call {
            host: &self.target.authority,
            path,
            body,
            now_s: now.as_secs(),
        };
        write_call(&mut request, &call, self.signer.as_mut());
        if self.stream.is_none() {
            let socket = connect(self.target)?;
            socket.set_read_timeout(Some(TIMEOUT))?;
            socket.set_write_timeout(Some(TIMEOUT))?;
            socket.set_nodelay(true)?;
            self.stream = Some(Stream::new(socket, self.tls)?);
        }
        let Some(stream) = &mut self.stream else {
            return Err(io::Error::other("no connection").into());
        };
        stream.write_all(&request)?;
        stream.flush()?;
        let answer = read_answer(stream)?;
        if answer.closes {
            self.stream = None;
        }
        let content: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        if answer.status == 200 {
            return Ok(content);
        }
        let text = ["Message", "message"]
            .into_iter()
            .find_map(|name| content.get(name));
        let text = text.and_then(Value::as_str).unwrap_or_default().to_owned();
        Err(ApiError::Refused(answer.status, answer.error_type, text))
    }
}

/// A connection to the first address at which somebody listens.
fn connect(target: &Target) -> io::Result<TcpStream> {
    let mut addresses = target.addresses().peekable();
    loop {
        let Some(address) = addresses.peek() else {
            return Err(io::Error::other("no address"));
        };
        match TcpStream::connect_timeout(address, TIMEOUT) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) if target.addresses().last() != Some(*address) => drop(addresses.next()),
            connected => return connected,
        }
    }
}

fn read_answer(stream: &mut Stream) -> io::Result<Answer> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let count = match stream.read(&mut piece) {
            // Also without a signal: the end of an earlier ring may interrupt the thread that had it.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(piece.get(..count).unwrap_or_default());
        if let Some(answer) = Answer::parse(&bytes).map_err(io::Error::other)? {
            return Ok(answer);
        }
        if bytes.len() > ANSWER_BYTES_MAX {
            return Err(io::Error::other("the answer is too long"));
        }
    }
}

/// How long each step of a call may take.
const TIMEOUT: Duration = Duration::from_secs(20);
/// How often a call is tried, and how long the first and the longest pause is.
const ATTEMPTS: u32 = 30;
const PATIENCE: Duration = Duration::from_millis(100);
const PATIENCE_MAX: Duration = Duration::from_secs(2);
/// Longest answer that is taken in.
const ANSWER_BYTES_MAX: usize = 1 << 20;
