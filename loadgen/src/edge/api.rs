//! Control-plane calls that create the channels before a run and delete them afterwards. The calls are not measured, so
//! they simply block, one after another.

use crate::edge::{http, signal};
use crate::{address::Target, plan::Plan};
use codec::sigv4::signer::{Call, JSON, Signer};
use serde_json::{Value, json};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use thiserror::Error;
use ureq::Agent;
use ureq::tls::TlsConfig;

#[derive(Debug, Error)]
pub(crate) enum ApiError {
    #[error("{0} {1}: {2}")]
    Refused(u16, String, String),
    #[error(transparent)]
    NoAnswer(#[from] ureq::Error),
}

#[derive(Debug, Default)]
pub(crate) struct Channels {
    pub(crate) arns: Vec<String>,
    /// ARNs of the channels that this run created, and must therefore delete at the end.
    made: Vec<String>,
}

pub(crate) struct Api<'a> {
    client: Agent,
    url: String,
    host: &'a str,
    signer: Option<Signer<'a>>,
}

impl<'a> Api<'a> {
    pub(crate) fn new(plan: &'a Plan, tls: TlsConfig) -> Option<Self> {
        let target = plan.targets.first()?;
        let scheme = if target.tls { "https" } else { "http" };
        let alike =
            |node: &&Target| node.tls == target.tls && (!node.tls || node.host == target.host);
        let nodes = plan.targets.iter().filter(alike);
        Some(Self {
            client: http::client(nodes.flat_map(Target::addresses), tls, TIMEOUT),
            url: format!("{scheme}://{}", target.authority),
            host: &target.authority,
            signer: plan.signer(),
        })
    }

    /// Creates this process's channels. A channel that already exists is used as it is, and kept after the run. Stops
    /// at the first failure and returns an error that names the channel; `channels` lists the channels created up to
    /// that point.
    pub(crate) fn create(&mut self, plan: &Plan, channels: &mut Channels) -> Result<(), String> {
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

    /// Deletes the channels that this run created. Returns the number of failures and the last error, or `None` if
    /// every call succeeded.
    pub(crate) fn delete(&mut self, channels: &Channels) -> Option<(usize, ApiError)> {
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

    /// Makes an API call, retrying with back-off while the service throttles it.
    fn call(&mut self, path: &str, body: &Value) -> Result<Value, ApiError> {
        let body = body.to_string();
        let mut patience = PATIENCE;
        for _ in 0..ATTEMPTS {
            match self.try_call(path, &body) {
                Err(ApiError::Refused(400, kind, _)) if kind == "ClientLimitExceededException" => {
                    thread::sleep(patience);
                    patience = (patience * 2).min(PATIENCE_MAX);
                }
                other => return other,
            }
        }
        self.try_call(path, &body)
    }

    fn try_call(&mut self, path: &str, body: &str) -> Result<Value, ApiError> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let call = Call {
            host: self.host,
            path,
            body,
            now_s: now.as_secs(),
        };
        let mut request = self.client.post(format!("{}{path}", self.url));
        request = request
            .header("Host", self.host)
            .header("Content-Type", JSON);
        if let Some(signer) = &mut self.signer {
            for (name, value) in signer.sign(&call).lines() {
                request = request.header(name, value);
            }
        }
        let mut answer = request.send(body)?;
        let kind = answer.headers().get("x-amzn-ErrorType");
        let kind = kind
            .and_then(|kind| kind.to_str().ok())
            .unwrap_or("unnamed");
        let (status, kind) = (answer.status().as_u16(), kind.to_owned());
        let id = answer.headers().get("x-amzn-RequestId");
        let id = id.and_then(|id| id.to_str().ok()).map(str::to_owned);
        let content = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX);
        let content: Value = serde_json::from_slice(&content.read_to_vec()?).unwrap_or_default();
        if status == 200 {
            return Ok(content);
        }
        let text = ["Message", "message"]
            .into_iter()
            .find_map(|name| content.get(name));
        let text = text.and_then(Value::as_str).unwrap_or_default();
        let text = id.map_or_else(|| text.to_owned(), |id| format!("{text} (request id {id})"));
        Err(ApiError::Refused(status, kind, text))
    }
}

const TIMEOUT: Duration = Duration::from_secs(20);
/// Maximum number of attempts per call.
const ATTEMPTS: u32 = 30;
/// Initial back-off between attempts.
const PATIENCE: Duration = Duration::from_millis(100);
/// Maximum back-off between attempts.
const PATIENCE_MAX: Duration = Duration::from_secs(2);
const ANSWER_BYTES_MAX: u64 = 1 << 20;
