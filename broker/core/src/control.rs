//! Responses to API calls that need more than a channel's record: endpoints and ICE servers. All functions are pure, so
//! the result depends only on configuration, request and time.

use crate::settings::{Ice, IceCredential, Listen, Scheme, Settings};
use crate::{id::Identity, machine::Peer, time::Wall};
use aws_lc_rs::hmac;
use codec::control::{IceServer, Protocol};
use codec::signal::Role;
use codec::sigv4::MASTER_PATH;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

// GetSignalingChannelEndpoint; see codec/PROTOCOL.md, EP.

/// The parts of a GetSignalingChannelEndpoint request that determine the response.
#[derive(Clone, Copy, Debug)]
pub struct EndpointRequest<'a> {
    /// The requested protocols, without duplicates.
    pub protocols: &'a [Protocol],
    /// The role that the client will connect in.
    pub role: Role,
    /// The `Host` header of the request.
    pub host: &'a str,
    /// The connection that the request arrived on.
    pub peer: Peer,
    /// Whether a proxy reported the client's scheme. If so, `peer` has this scheme, and the port in `host` is kept.
    pub proxied: bool,
    /// Whether to add a path to the master's endpoint when both roles use the same host (CON-2).
    pub role_path: bool,
}

/// Writes the body of the response to GetSignalingChannelEndpoint.
pub fn endpoint(
    out: &mut Vec<u8>,
    settings: &Settings,
    asked: &EndpointRequest<'_>,
    identity: &Identity,
) {
    let urls: Vec<(Protocol, String)> = asked
        .protocols
        .iter()
        .map(|&protocol| (protocol, url(settings, asked, identity, protocol)))
        .collect();
    let pairs: Vec<(Protocol, &str)> = urls
        .iter()
        .map(|(protocol, url)| (*protocol, url.as_str()))
        .collect();
    codec::control::endpoint(out, &pairs);
}

/// Returns a channel's WebSocket endpoint, without a path, for a client that reaches this machine as `host`.
#[must_use]
pub fn web_socket_url(settings: &Settings, role: Role, host: &str, identity: &Identity) -> String {
    let port = settings.listen.first().map_or(0, |own| own.addr.port());
    let asked = EndpointRequest {
        protocols: &[],
        role,
        host: &format!("{host}:{port}"),
        peer: Peer {
            remote: (Ipv4Addr::LOCALHOST, 0).into(),
            listener: 0,
            tls: false,
            inner: false,
        },
        proxied: false,
        role_path: false,
    };
    url(settings, &asked, identity, Protocol::Wss)
}

fn url(
    settings: &Settings,
    asked: &EndpointRequest<'_>,
    identity: &Identity,
    protocol: Protocol,
) -> String {
    let web_socket = protocol == Protocol::Wss;
    let advertise = &settings.advertise;
    let fixed = if web_socket {
        &advertise.wss
    } else {
        &advertise.https
    };
    let named = advertise.domain.as_ref().map(|domain| {
        let label = match (web_socket, asked.role) {
            (false, _) => "r",
            (true, Role::Master) => "m",
            (true, Role::Viewer) => "v",
        };
        let named = settings.cluster.direct_node();
        let hex = named.map_or_else(|| host_label(&identity.text()), host_label);
        format!("{label}-{hex}.{domain}")
    });
    // In production, these names refer to a service on port 443. In development, there is no proxy in front of the
    // server.
    if let Some(named) = named.as_ref().filter(|_| !settings.dev) {
        let scheme = if web_socket { "wss" } else { "https" };
        return format!("{scheme}://{named}");
    }
    // A viewer is recognized by its client id, so only the master's endpoint needs to state the role. The path is left
    // out if the host name states the role, because some clients treat everything after `wss://` as the host.
    let says_role = web_socket && asked.role_path && named.is_none();
    let path = match asked.role {
        Role::Master if says_role => MASTER_PATH,
        Role::Master | Role::Viewer => "",
    };
    if let Some(fixed) = fixed {
        return [fixed, path].concat();
    }
    if asked.proxied {
        let scheme = match (asked.peer.tls, web_socket) {
            (true, true) => "wss",
            (true, false) => "https",
            (false, true) => "ws",
            (false, false) => "http",
        };
        let host = named.as_deref().unwrap_or(asked.host);
        return [scheme, "://", host, path].concat();
    }
    let own = settings.listen.get(usize::from(asked.peer.listener));
    let used = own.copied().filter(|_| settings.plain);
    let listener = used.unwrap_or_else(|| listener(settings, asked.peer));
    let (scheme, default_port) = match (listener.scheme, web_socket) {
        (Scheme::Https, true) => ("wss", 443),
        (Scheme::Https, false) => ("https", 443),
        (Scheme::Http, true) => ("ws", 80),
        (Scheme::Http, false) => ("http", 80),
    };
    let host = named.as_deref().unwrap_or_else(|| host_name(asked.host));
    // In a container, the only published port that the broker knows is the one that the client used.
    let known = settings.container && own.is_some_and(|own| own.scheme == listener.scheme);
    let port = if known {
        port_of(asked.host).unwrap_or(default_port)
    } else {
        listener.addr.port()
    };
    if port == default_port {
        [scheme, "://", host, path].concat()
    } else {
        [scheme, "://", host, ":", &port.to_string(), path].concat()
    }
}

/// Returns the TLS listener that received the request. For a request on a plain listener, returns the first TLS
/// listener, or the plain listener itself if there is none.
fn listener(settings: &Settings, peer: Peer) -> Listen {
    let own = settings.listen.get(usize::from(peer.listener)).copied();
    let first = settings.listen.iter().copied();
    let secure = own
        .into_iter()
        .chain(first)
        .find(|listen| listen.scheme == Scheme::Https);
    let fallback = || settings.listen.first().copied();
    let nothing = Listen {
        scheme: Scheme::Http,
        addr: ([127, 0, 0, 1], 80).into(),
    };
    secure.or(own).or_else(fallback).unwrap_or(nothing)
}

/// Returns the host without its port. An IPv6 address keeps its brackets.
pub(crate) fn host_name(host: &str) -> &str {
    match host.rfind(':') {
        Some(colon) if !host.get(colon..).unwrap_or_default().contains(']') => {
            host.get(..colon).unwrap_or(host)
        }
        Some(_) | None => host,
    }
}

pub(crate) fn port_of(host: &str) -> Option<u16> {
    let rest = host.strip_prefix(host_name(host))?;
    rest.strip_prefix(':')?.parse().ok()
}

/// Returns the label that identifies a channel in the host names of its endpoints or, if `[cluster] direct` is set, the
/// node that owns it. The label follows the prefix `m-`, `v-` or `r-` and precedes the domain. It consists of the first
/// four bytes of the name's SHA-256 hash in hexadecimal, and is the same after restarts and on all machines.
#[must_use]
pub fn host_label(name: &str) -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, name.as_bytes());
    data_encoding::HEXLOWER.encode(hash.as_ref().get(..4).unwrap_or_default())
}

// GetIceServerConfig returns the configured servers with credentials. See codec/PROTOCOL.md, ICE.

/// Writes the response body, with one entry per configured server. If none is configured, writes a STUN entry, because
/// clients refuse to start with an empty list.
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

/// Writes a `Link` header line for each URI of the configured servers (draft-ietf-wish-whep, "STUN/TURN Server
/// Configuration"). Servers whose credentials are not visible ASCII are omitted.
pub(crate) fn ice_links(out: &mut String, servers: &[Ice], name: &str, wall: Wall) {
    for server in servers {
        let entry = Entry::of(server, name, wall);
        let has_credential = !matches!(server.credential, IceCredential::None);
        let texts = [&entry.username, &entry.password]
            .into_iter()
            .chain(&entry.uris);
        if !texts
            .into_iter()
            .all(|text| text.bytes().all(|byte| matches!(byte, b' '..=b'~')))
        {
            continue;
        }
        let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        for uri in &entry.uris {
            let _ = write!(out, "Link: <{uri}>; rel=\"ice-server\"");
            if has_credential && !uri.starts_with("stun") {
                let (user, password) = (quoted(&entry.username), quoted(&entry.password));
                let _ = write!(
                    out,
                    "; username=\"{user}\"; credential=\"{password}\"; credential-type=\"password\""
                );
            }
            out.push_str("\r\n");
        }
    }
}

struct Entry {
    uris: Vec<String>,
    username: String,
    password: String,
    ttl_seconds: u32,
}

impl Entry {
    fn of(server: &Ice, name: &str, wall: Wall) -> Self {
        let mut entry = Self::placeholder(server.urls.clone(), server.ttl_seconds);
        match &server.credential {
            IceCredential::None => {}
            IceCredential::Fixed { username, password } => {
                (entry.username, entry.password) = (username.clone(), password.clone());
            }
            IceCredential::Secrets(secrets) => {
                let secret = secrets.first().map_or("", String::as_str);
                let ends_s = wall.0 / 1000 + u64::from(server.ttl_seconds);
                entry.username = format!("{ends_s}:{name}");
                entry.password = password(secret, &entry.username);
            }
        }
        entry
    }

    /// Creates an entry with placeholder credentials. The C SDK rejects an entry without credentials, and another
    /// client splits the username at its colon.
    fn placeholder(uris: Vec<String>, ttl_seconds: u32) -> Self {
        Self {
            uris,
            username: "0:none".into(),
            password: "none".into(),
            ttl_seconds,
        }
    }

    fn borrow(&self) -> IceServer<'_> {
        IceServer {
            uris: &self.uris,
            username: &self.username,
            password: &self.password,
            ttl_seconds: self.ttl_seconds,
        }
    }
}

/// Returns the password for a time-limited username: base64(HMAC-SHA1(secret, name)). Source:
/// draft-uberti-behave-turn-rest-00, section 2.2.
fn password(secret: &str, username: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
    data_encoding::BASE64.encode(hmac::sign(&key, username.as_bytes()).as_ref())
}

const TTL_SECONDS_MAX: u32 = 86_400;

#[cfg(test)]
mod endpoint_tests {
    use super::*;
    use crate::settings::Profile;

    fn urls(settings: &Settings, host: &str, listener: u16, role: Role) -> Vec<String> {
        let peer = Peer {
            remote: ([127, 0, 0, 1], 9).into(),
            listener,
            tls: listener == 1,
            inner: false,
        };
        let asked = EndpointRequest {
            protocols: &[],
            role,
            host,
            peer,
            proxied: false,
            role_path: true,
        };
        let identity = Identity::new("us-west-2", "123456789012", "demo");
        [Protocol::Wss, Protocol::Https]
            .map(|protocol| url(settings, &asked, &identity, protocol))
            .to_vec()
    }

    #[test]
    fn without_configuration_it_is_the_host_of_the_request_and_the_tls_port() {
        let mut settings = Settings::new(Profile::Default, true);
        let found = urls(&settings, "localhost:8080", 0, Role::Viewer);
        assert_eq!(found, ["wss://localhost:8443", "https://localhost:8443"]);
        let found = &urls(&settings, "[::1]:8080", 0, Role::Viewer)[0];
        assert_eq!(found, "wss://[::1]:8443");
        let found = &urls(&settings, "cam.example", 1, Role::Viewer)[0];
        assert_eq!(found, "wss://cam.example:8443");
        settings.listen[1].addr.set_port(443);
        let found = urls(&settings, "127.0.0.1:8080", 0, Role::Viewer);
        assert_eq!(found, ["wss://127.0.0.1", "https://127.0.0.1"]);
        settings.listen.truncate(1);
        let wanted = ["ws://localhost:8080/master", "http://localhost:8080"];
        assert_eq!(urls(&settings, "localhost:8080", 0, Role::Master), wanted);
    }

    #[test]
    fn behind_published_ports_the_port_is_that_of_the_host_where_the_schemes_agree() {
        let mut settings = Settings::new(Profile::Default, true);
        settings.container = true;
        let mut expect = |plain, host, listener, expected: [&str; 2]| {
            settings.plain = plain;
            let found = urls(&settings, host, listener, Role::Viewer);
            assert_eq!(found, expected, "{host}, listener {listener}");
        };
        for (host, is) in [
            ("localhost:9443", "localhost:9443"),
            ("cam.example", "cam.example"),
            ("[::1]:443", "[::1]"),
            ("[::1]:9", "[::1]:9"),
        ] {
            let wss = format!("wss://{is}");
            expect(false, host, 1, [&wss, &format!("https://{is}")]);
        }
        let other = ["wss://localhost:8443", "https://localhost:8443"];
        expect(false, "localhost:9080", 0, other);
        let same = ["ws://localhost:9080", "http://localhost:9080"];
        expect(true, "localhost:9080", 0, same);
        let identity = Identity::new("us-west-2", "123456789012", "demo");
        let session = web_socket_url(&settings, Role::Viewer, "localhost", &identity);
        assert_eq!(session, "ws://localhost:8080");
    }

    /// A development server has no proxy in front of it, so names below the domain lead to its listener.
    #[test]
    fn names_below_a_domain_have_the_port_of_a_development_server() {
        let mut settings = Settings::new(Profile::Default, true);
        settings.advertise.domain = Some("kvs.localhost".into());
        let [wss, https] = urls(&settings, "x", 0, Role::Viewer).try_into().unwrap();
        assert!(wss.starts_with("wss://v-") && https.starts_with("https://r-"));
        for url in [wss, https] {
            assert!(url.ends_with(".kvs.localhost:8443"), "{url}");
        }
        settings.listen[1].addr.set_port(443);
        let master = &urls(&settings, "x", 0, Role::Master)[0];
        assert!(master.starts_with("wss://m-") && master.ends_with(".kvs.localhost"));
        settings.listen.truncate(1);
        let plain = &urls(&settings, "x", 0, Role::Master)[0];
        assert!(plain.starts_with("ws://m-") && plain.ends_with(".kvs.localhost:8080"));
    }

    #[test]
    fn a_node_may_be_named_in_the_place_of_the_channel() {
        let mut settings = Settings::default();
        settings.advertise.domain = Some("signal.example".into());
        settings.cluster.node = Some("n1".into());
        let of_channel = urls(&settings, "x", 0, Role::Master);
        settings.cluster.direct = true;
        let label = host_label("n1");
        assert_eq!(label.len(), 8);
        let expected = [
            format!("wss://m-{label}.signal.example"),
            format!("https://r-{label}.signal.example"),
        ];
        assert_eq!(urls(&settings, "x", 0, Role::Master), expected);
        assert_ne!(of_channel, expected);
        assert_ne!(host_label("n2"), label);
    }

    #[test]
    fn an_advertised_domain_has_a_name_per_channel_and_role() {
        let mut settings = Settings::default();
        settings.advertise.domain = Some("signal.example".into());
        let (master, viewer) = (
            urls(&settings, "x", 0, Role::Master),
            urls(&settings, "x", 0, Role::Viewer),
        );
        let hex = master[0]
            .strip_prefix("wss://m-")
            .and_then(|rest| rest.strip_suffix(".signal.example"))
            .unwrap();
        assert!(hex.len() == 8 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let wanted = [
            format!("wss://v-{hex}.signal.example"),
            format!("https://r-{hex}.signal.example"),
        ];
        assert_eq!(viewer, wanted);
    }

    #[test]
    fn fixed_endpoints_are_returned_as_they_are() {
        let mut settings = Settings::new(Profile::Default, true);
        settings.advertise.wss = Some("wss://one.example".into());
        let found = urls(&settings, "localhost:8080", 0, Role::Viewer);
        assert_eq!(found, ["wss://one.example", "https://localhost:8443"]);
        let found = &urls(&settings, "localhost:8080", 0, Role::Master)[0];
        assert_eq!(found, "wss://one.example/master");
    }
}

#[cfg(test)]
mod ice_tests {
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
        let found = (entry["Username"].as_str(), entry["Ttl"].as_u64());
        assert_eq!(found, (Some("0:none"), Some(86_400)));
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
        let found = (entry["Username"].as_str(), entry["Password"].as_str());
        assert_eq!(found, (Some("u"), Some("p")));
    }
}
