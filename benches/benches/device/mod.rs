//! A device that signs in with its certificate, describes its channel, requests its endpoint and ICE servers, and
//! connects as master, each over a separate connection with a full handshake.

use crate::{DEVICES, ORDINARY, exchange};
use codec::sigv4::signer::{Call, Keys, Signer, Upgrade};
use rustls::ClientConfig;
use serde_json::{Value, json};
use std::io;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// A device whose thing has the name of its channel.
pub(crate) struct Device {
    pub(crate) certified: Arc<ClientConfig>,
    pub(crate) plain: Arc<ClientConfig>,
    pub(crate) arn: String,
}

struct Given {
    id: String,
    secret: String,
    token: String,
}

impl Device {
    /// Makes the five connections of the device, one after the other.
    pub(crate) fn come(&self, port: u16) -> io::Result<()> {
        let given = self.sign_in(port)?;
        let keys = Keys {
            access_key_id: &given.id,
            secret_access_key: &given.secret,
            session_token: Some(&given.token),
        };
        let of_channel = json!({ "ChannelARN": self.arn });
        let mut endpoint = of_channel.clone();
        endpoint["SingleMasterChannelEndpointConfiguration"] =
            json!({ "Protocols": ["WSS", "HTTPS"], "Role": "MASTER" });
        for (path, body) in [
            ("/describeSignalingChannel", &of_channel),
            ("/getSignalingChannelEndpoint", &endpoint),
            ("/v1/get-ice-server-config", &of_channel),
        ] {
            call(&self.plain, port, keys, (path, body))?;
        }
        let target = Signer::new(keys, REGION).presign(&Upgrade {
            host: ORDINARY,
            channel_arn: &self.arn,
            client_id: None,
            expires_s: 60,
            now_s: now_s(),
        });
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: {ORDINARY}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        let answer = exchange(&self.plain, (ORDINARY, port), &request)?;
        expect(&answer, "HTTP/1.1 101 ")
    }

    fn sign_in(&self, port: u16) -> io::Result<Given> {
        let request = format!(
            "GET /role-aliases/camera/credentials HTTP/1.1\r\nHost: {DEVICES}\r\n\
             x-amzn-iot-thingname: listed\r\nConnection: close\r\n\r\n"
        );
        let answer = exchange(&self.certified, (DEVICES, port), &request)?;
        expect(&answer, "HTTP/1.1 200 ")?;
        let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        let told: Value = serde_json::from_str(body)?;
        let text = |name: &str| {
            told["credentials"][name]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        Ok(Given {
            id: text("accessKeyId"),
            secret: text("secretAccessKey"),
            token: text("sessionToken"),
        })
    }
}

/// Makes a signed call, which must succeed, and returns the response.
pub(crate) fn call(
    config: &Arc<ClientConfig>,
    port: u16,
    keys: Keys<'_>,
    (path, body): (&str, &Value),
) -> io::Result<String> {
    let body = body.to_string();
    let signed = Signer::new(keys, REGION).sign(&Call {
        host: ORDINARY,
        path,
        body: &body,
        now_s: now_s(),
    });
    let lines = signed
        .lines()
        .map(|(name, value)| format!("{name}: {value}\r\n"));
    let (lines, length) = (lines.collect::<String>(), body.len());
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {ORDINARY}\r\nConnection: close\r\nContent-Type: application/json\r\n{lines}\
         Content-Length: {length}\r\n\r\n{body}"
    );
    let answer = exchange(config, (ORDINARY, port), &request)?;
    expect(&answer, "HTTP/1.1 200 ")?;
    Ok(answer)
}

fn expect(answer: &str, beginning: &str) -> io::Result<()> {
    if answer.starts_with(beginning) {
        return Ok(());
    }
    Err(io::Error::other(format!("not {beginning}: {answer}")))
}

fn now_s() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}

const REGION: &str = "us-west-2";
