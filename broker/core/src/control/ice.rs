//! GetIceServerConfig: the configured servers with credentials. See codec/PROTOCOL.md, ICE.

use crate::control::endpoint::host_name;
use crate::settings::{Ice, IceCredential};
use crate::time::Wall;
use aws_lc_rs::hmac;
use codec::control::IceServer;

/// Writes the response body: one entry per configured server, or the STUN entry that clients need in order to start at
/// all.
pub fn ice(out: &mut Vec<u8>, servers: &[Ice], host: &str, name: &str, wall: Wall) {
    let entries: Vec<Entry> = if servers.is_empty() {
        vec![Entry::placeholder(
            vec![format!("stun:{}:3478", host_name(host))],
            TTL_SECONDS_MAX,
        )]
    } else {
        servers
            .iter()
            .map(|server| Entry::of(server, name, wall))
            .collect()
    };
    let servers: Vec<IceServer<'_>> = entries.iter().map(Entry::borrow).collect();
    codec::control::ice(out, &servers);
}

struct Entry {
    uris: Vec<String>,
    username: String,
    password: String,
    ttl_seconds: u32,
}

impl Entry {
    fn of(server: &Ice, name: &str, wall: Wall) -> Self {
        let (uris, ttl_seconds) = (server.urls.clone(), server.ttl_seconds);
        match &server.credential {
            IceCredential::None => Self::placeholder(uris, ttl_seconds),
            IceCredential::Fixed { username, password } => Self {
                uris,
                username: username.clone(),
                password: password.clone(),
                ttl_seconds,
            },
            IceCredential::Secrets(secrets) => {
                let username = format!("{}:{name}", wall.0 / 1000 + u64::from(ttl_seconds));
                let password = password(secrets.first().map_or("", String::as_str), &username);
                Self {
                    uris,
                    username,
                    password,
                    ttl_seconds,
                }
            }
        }
    }

    /// An entry without credentials. They are written all the same: the C SDK refuses an entry that lacks them, and
    /// another client splits the username at its colon.
    fn placeholder(uris: Vec<String>, ttl_seconds: u32) -> Self {
        Self {
            uris,
            username: "0:none".into(),
            password: "none".into(),
            ttl_seconds,
        }
    }

    fn borrow(&self) -> IceServer<'_> {
        let Self {
            uris,
            username,
            password,
            ttl_seconds,
        } = self;
        IceServer {
            uris,
            username,
            password,
            ttl_seconds: *ttl_seconds,
        }
    }
}

/// The password of a time-limited user name (draft-uberti-behave-turn-rest-00 section 2.2): base64(HMAC-SHA1(secret,
/// name)).
fn password(secret: &str, username: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
    let tag = hmac::sign(&key, username.as_bytes());
    let mut text = Vec::new();
    codec::base64::encode(&mut text, tag.as_ref());
    text.into_iter().map(char::from).collect()
}

/// The longest Ttl of the service's model, in seconds.
const TTL_SECONDS_MAX: u32 = 86_400;

#[cfg(test)]
mod tests {

    use super::*;

    fn body(servers: &[Ice]) -> serde_json::Value {
        let mut out = Vec::new();
        ice(
            &mut out,
            servers,
            "localhost:8080",
            "v1",
            Wall(1_700_000_000_000),
        );
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn with_nothing_configured_there_is_one_usable_entry() {
        let entry = &body(&[])["IceServerList"][0];
        assert_eq!(entry["Uris"][0], "stun:localhost:3478");
        assert_eq!(
            (entry["Username"].as_str(), entry["Ttl"].as_u64()),
            (Some("0:none"), Some(86_400))
        );
    }

    #[test]
    fn a_shared_secret_mints_what_turn_servers_check() {
        let urls = vec!["turn:turn.example:3478?transport=udp".to_string()];
        let secrets = IceCredential::Secrets(vec!["north".into(), "old".into()]);
        let entry = &body(&[Ice {
            urls,
            credential: secrets,
            ttl_seconds: 300,
        }])["IceServerList"][0];
        assert_eq!(entry["Username"], "1700000300:v1");
        // printf '1700000300:v1' | openssl dgst -sha1 -hmac north -binary | base64
        assert_eq!(entry["Password"], "EnU2n6SDaCtcvZUq0gaSoPPxsBs=");
    }

    #[test]
    fn fixed_credentials_are_passed_on() {
        let credential = IceCredential::Fixed {
            username: "u".into(),
            password: "p".into(),
        };
        let entry = &body(&[Ice {
            urls: vec!["turns:t:443".into()],
            credential,
            ttl_seconds: 60,
        }])["IceServerList"][0];
        assert_eq!(
            (entry["Username"].as_str(), entry["Password"].as_str()),
            (Some("u"), Some("p"))
        );
    }
}
