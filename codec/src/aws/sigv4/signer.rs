//! Signs a WebSocket URL as the KVS WebRTC SDK for JavaScript does: for tests by hand.
//!
//! Pure: keys, time and endpoint are arguments. Source: AWS "Signature Version 4", query form; codec/PROTOCOL.md, SIG.

use super::{SigningKey, Stamp};
use aws_lc_rs::digest;
use data_encoding::HEXLOWER;

/// What is signed.
#[derive(Clone, Copy, Debug)]
pub struct Presign<'a> {
    /// `wss` or `ws`.
    pub scheme: &'a str,
    /// The host with its port, as clients send it in `Host`.
    pub host: &'a str,
    /// The channel.
    pub channel_arn: &'a str,
    /// The viewer's id; `None` for the master.
    pub client_id: Option<&'a str>,
    /// The region of the signature's scope.
    pub region: &'a str,
    /// Life of the URL in seconds: 1 to 604 800.
    pub expires: u32,
    /// Seconds since 1970.
    pub now: u64,
}

/// Long-lived or temporary credentials.
#[derive(Clone, Copy)]
pub struct Keys<'a> {
    /// `AKID…` or `ASIA…`.
    pub access_key_id: &'a str,
    /// Its secret.
    pub secret_access_key: &'a str,
    /// The token of a temporary key.
    pub session_token: Option<&'a str>,
}

/// The signed URL.
#[must_use]
pub fn presign(what: &Presign<'_>, keys: &Keys<'_>) -> String {
    let time = Stamp::from_epoch(what.now).to_string();
    let date = time.get(..8).unwrap_or_default();
    let scope = format!("{date}/{}/{SERVICE}/aws4_request", what.region);
    let credential = format!("{}/{scope}", keys.access_key_id);
    let expires = what.expires.to_string();
    // In the order of their names, which is the order that is signed.
    let parameters = [
        ("X-Amz-Algorithm", Some(ALGORITHM)),
        ("X-Amz-ChannelARN", Some(what.channel_arn)),
        ("X-Amz-ClientId", what.client_id),
        ("X-Amz-Credential", Some(&credential)),
        ("X-Amz-Date", Some(&time)),
        ("X-Amz-Expires", Some(&expires)),
        ("X-Amz-Security-Token", keys.session_token),
        ("X-Amz-SignedHeaders", Some("host")),
    ];
    let present = parameters
        .iter()
        .filter_map(|(name, value)| Some((name, (*value)?)));
    let pairs: Vec<_> = present
        .map(|(name, value)| format!("{name}={}", percent_encoded(value)))
        .collect();
    let query = pairs.join("&");

    let request = format!(
        "GET\n/\n{query}\nhost:{}\n\nhost\n{}",
        what.host,
        sha256(b"")
    );
    let to_sign = format!(
        "{ALGORITHM}\n{time}\n{scope}\n{}",
        sha256(request.as_bytes())
    );
    let key = SigningKey::derive(keys.secret_access_key, date, what.region, SERVICE);
    let signature = key.sign(to_sign.as_bytes());
    format!(
        "{}://{}/?{query}&X-Amz-Signature={}",
        what.scheme,
        what.host,
        HEXLOWER.encode(&signature)
    )
}

fn percent_encoded(text: &str) -> String {
    let mut to = String::with_capacity(text.len());
    crate::http::encode(&mut to, text);
    to
}

fn sha256(text: &[u8]) -> String {
    HEXLOWER.encode(digest::digest(&digest::SHA256, text).as_ref())
}

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const SERVICE: &str = "kinesisvideo";

#[cfg(test)]
mod tests {
    use super::*;

    const MASTER: Presign<'_> = Presign {
        scheme: "wss",
        host: "m-0a1b2c3d.kinesisvideo.us-east-1.amazonaws.com",
        channel_arn: "arn:aws:kinesisvideo:us-east-1:123456789012:channel/demo/1700000000123",
        client_id: None,
        region: "us-east-1",
        expires: 299,
        now: 1_767_323_045,
    };
    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

    fn signature(what: Presign<'_>, keys: Keys<'_>) -> String {
        presign(&what, &keys)
            .split_once("&X-Amz-Signature=")
            .unwrap()
            .1
            .to_owned()
    }

    /// The signatures of the JavaScript SDK, botocore and the C SDK for the same URLs (vectors/sigv4.json).
    #[test]
    fn signatures_are_those_of_other_signers() {
        let key = Keys {
            access_key_id: "AKIDEXAMPLE",
            secret_access_key: SECRET,
            session_token: None,
        };
        let token = "FwoGZXIvYXdzEXAMPLE//token+with/odd==chars";
        let temporary = Keys {
            access_key_id: "ASIAEXAMPLE",
            session_token: Some(token),
            ..key
        };
        let js_master = "b9efb52daab942e988f36e5dc151b5cd78a5cccb6c80596011e8f136b6e5f72f";
        assert_eq!(signature(MASTER, key), js_master);
        let js_master_token = "7ff74180623fc6fab2d647c41ca29f310938a4024f95b3554fb79221898abca4";
        assert_eq!(signature(MASTER, temporary), js_master_token);
        let viewer = Presign {
            host: "signaling.example.test:8443",
            client_id: Some("viewer-1.A_b"),
            ..MASTER
        };
        let js_viewer_port = "3971b94a65b123e09d45f71ecb6767989c6438fcf06a25a8b903fdcab54df17b";
        assert_eq!(signature(viewer, temporary), js_viewer_port);
        let localhost = Presign {
            host: "localhost:8443",
            client_id: Some("v"),
            ..MASTER
        };
        let boto_viewer_port = "426ff3787c4b4ecaaaf311c0d43a1ad2dce10b514cd477d69c3c9c92afc0077f";
        assert_eq!(signature(localhost, key), boto_viewer_port);
        let csdk_master = "2bf827c0b1e24620426e245172bbd5bfe9ebb10405a7531545f8a4c921a93a46";
        assert_eq!(
            signature(
                Presign {
                    expires: 604_800,
                    ..MASTER
                },
                key
            ),
            csdk_master
        );
    }
}
