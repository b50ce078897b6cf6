//! The validated configuration as plain data, written once at startup.
//!
//! Defaults depend on just two switches: the [`Profile`] determines the numbers, and `--dev` determines the listeners,
//! the authentication and the rate limits. A key in the file or a flag overrides either. [`KEYS`] lists all keys with
//! their ranges and defaults.

mod changes;
mod clients;
mod cluster;
mod hooks;
mod keys;
mod limits;
mod table;
pub mod value;

use crate::auth::SignatureRules;
pub use crate::quota::Rate;
pub use changes::{Applied, SettingChanges};
pub use clients::{CLIENTS_MAX, Client, Program, Reader};
pub use cluster::{ClusterSettings, Etcd};
use codec::sigv4::CLOCK_TOLERANCE_S;
pub use hooks::{Glob, HOOKS_MAX, Hook, PresenceRules, mask_of};
use ipnet::IpNet;
pub use keys::{Field, Flag, Key, Kind, RATE_MAX, Value};
pub use limits::{Limits, Quotas, Timeouts, channels_per_account_strict};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use strum::{Display, EnumString, IntoStaticStr, VariantNames};
pub use table::KEYS;

/// Declares the struct and its constructor `blank`, which leaves every field empty or 0 until the table's defaults are
/// filled in.
macro_rules! with_blank {
    ($(#[$about:meta])* pub struct $name:ident { $($(#[$doc:meta])* pub $field:ident: $type:ty,)+ }) => {
        $(#[$about])*
        pub struct $name {
            $($(#[$doc])* pub $field: $type,)+
        }

        impl $name {
            fn blank() -> Self {
                Self {
                    $($field: <$type>::default(),)+
                }
            }
        }
    };
}

with_blank! {
/// The complete configuration. All threads of a process share it as `Arc<Settings>`. Documented in
/// `deploy/broker.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The AWS region in the ARNs of created channels, for example `us-west-2`.
    pub region: String,
    /// The AWS account (12 digits) that owns created channels.
    pub account_id: String,
    /// Listeners for clients, in the order of the `--listen` flags. There is at least one.
    pub listen: Vec<Listen>,
    /// The admin listener.
    pub admin: Admin,
    /// Path of the configuration file, parts of which can be reloaded.
    pub config: Option<PathBuf>,
    /// Number of shards, from 1 to [`SHARDS_MAX`](crate::limits::SHARDS_MAX).
    pub shards: usize,
    /// Whether to start fewer shards if too little memory can be locked. Only under `--dev`, and only without an
    /// explicit number of shards.
    pub fewer_shards: bool,
    /// The kernel interface that shards use, determined at startup.
    pub engine: EngineChoice,
    /// The CPUs to which shards are pinned in turn. There is at least one. See [`Settings::cpu`].
    pub cpus: Vec<usize>,
    /// The profile that determines the default numbers.
    pub profile: Profile,
    /// How callers must authenticate.
    pub auth: Auth,
    /// Whether to recheck the permissions of open connections when the credentials or their channel's tags change.
    pub auth_recheck: bool,
    /// Whether development mode is on. It accepts any region and account, and creates an unknown channel when a client
    /// connects to it.
    pub dev: bool,
    /// Origins, other than loopback, whose pages may use a server without signatures, in the form that browsers send.
    /// Empty if requests are signed, because then any origin is permitted.
    pub dev_origins: Vec<String>,
    /// Whether listeners without signatures may use addresses other than loopback. Only under `--dev`.
    pub allow_remote: bool,
    /// Whether clients connect through a container's published ports. Only under `--dev`. Endpoints returned to a
    /// client then use the port in its `Host` header, and the admin listener requires a token generated at startup.
    pub container: bool,
    /// Names and addresses, other than loopback, under which clients reach a development server. They are included in
    /// the server's certificate, and pages loaded from them may use the server.
    pub dev_hosts: Vec<String>,
    /// The local network address under which devices reach the server and its pages. Only under `--dev`.
    pub lan: Option<Ipv4Addr>,
    /// Whether to open `/try` in a browser at startup. Only under `--dev`.
    pub open_try: bool,
    /// Whether to accept etcd's state even if it contradicts the data directory. Only a flag can set this.
    pub accept_etcd: bool,
    /// Whether to keep copies of messages for `/dev/messages`. Only under `--dev`.
    pub dev_capture: bool,
    /// Whether endpoints returned by discovery use the scheme and port of the request. Only under `--dev`.
    pub plain: bool,
    /// The file that receives the server's ready line once all listeners accept connections.
    pub ready_file: Option<PathBuf>,
    /// Directory for the process's files.
    pub data_dir: PathBuf,
    /// Whether to delete the data directory when the process exits.
    pub data_dir_ends: bool,
    /// The format of log lines on stderr.
    pub log_format: LogFormat,
    /// The minimum level of log entries, which an environment variable may override.
    pub log_level: LogLevel,
    /// The credentials file used with `--auth sigv4`.
    pub credentials: Option<PathBuf>,
    /// The operator's certificate. Without one, TLS listeners present the development certificate, but only under
    /// `--dev`.
    pub tls: Option<TlsFiles>,
    /// The endpoints that discovery returns.
    pub advertise: Advertise,
    /// Reverse proxies in front of the broker.
    pub proxy: Proxy,
    /// Limits on sizes and counts.
    pub limits: Limits,
    /// Timeouts and other durations.
    pub timeouts: Timeouts,
    /// Rate limits for clients.
    pub quotas: Quotas,
    /// How clients are notified, and how deliveries are confirmed.
    pub signaling: Signaling,
    /// The limits of client programs, which the broker recognizes by their `User-Agent`.
    pub clients: Vec<Client>,
    /// Settings for the shards' flight recorders.
    pub recorder: RecorderSettings,
    /// How long data that identifies people or devices is kept.
    pub privacy: Privacy,
    /// Settings for players without an SDK.
    pub whep: Whep,
    /// Extensions beyond the AWS service.
    pub options: Options,
    /// The cluster that this node belongs to, if any.
    pub cluster: ClusterSettings,
    /// Presence settings that apply to all hooks.
    pub presence: PresenceRules,
    /// Receivers of channel events.
    pub hooks: Vec<Hook>,
    /// STUN and TURN servers, in the order in which GetIceServerConfig returns them.
    pub ice: Vec<Ice>,
    /// The files that the ICE servers' secrets were read from.
    pub ice_files: Vec<PathBuf>,
}
}

impl Default for Settings {
    /// Returns the settings for an empty configuration file, with one shard and without `--dev`.
    fn default() -> Self {
        Self::new(Profile::Default, false)
    }
}

impl Settings {
    /// Returns `true` if connections to the client listener with this index start with a PROXY protocol header.
    #[must_use]
    pub fn awaits_proxy(&self, listener: u16) -> bool {
        let proxy = &self.proxy;
        let listen = self.listen.get(usize::from(listener));
        !proxy.protocol_from.is_empty()
            && listen
                .is_some_and(|it| proxy.protocol_on.is_empty() || proxy.protocol_on.contains(it))
    }

    /// Returns the defaults of `profile`, with or without `--dev`, for a single shard pinned to CPU 0.
    #[must_use]
    pub fn new(profile: Profile, dev: bool) -> Self {
        let mut settings = Self {
            shards: 1,
            cpus: vec![0],
            dev,
            clients: Client::built_in(),
            ..Self::blank()
        };
        for key in KEYS {
            if let Some(default) = key.default_of(profile, dev) {
                let texts: Vec<_> = default.split_whitespace().collect();
                let stored = key.put(&mut settings, &texts);
                assert!(stored.is_ok(), "the default of {} is {stored:?}", key.path);
            }
        }
        settings.profile = profile;
        settings
    }

    /// Returns the CPU for `shard` (counted from 0). If there are more shards than CPUs, they share the CPUs in turn.
    #[must_use]
    pub fn cpu(&self, shard: usize) -> Option<usize> {
        self.cpus.get(shard % self.cpus.len().max(1)).copied()
    }

    /// Returns the rules for checking signatures. Under `--dev`, any region is accepted. The strict profile tolerates
    /// only as much clock skew as AWS does.
    #[must_use]
    pub fn signature_rules(&self) -> SignatureRules {
        let tolerance_s = self.timeouts.clock_tolerance_ms.div_ceil(1000);
        SignatureRules {
            region: (!self.dev).then(|| self.region.as_str().into()),
            clock_tolerance_s: if self.strict() {
                CLOCK_TOLERANCE_S
            } else {
                tolerance_s
            },
            strict: self.strict(),
        }
    }

    /// Returns `true` if the strict profile is selected.
    #[must_use]
    pub fn strict(&self) -> bool {
        self.profile == Profile::Strict
    }

    /// Returns the configured port of the first listener with `scheme`.
    #[must_use]
    pub fn port(&self, scheme: Scheme) -> Option<u16> {
        self.listen
            .iter()
            .find(|listen| listen.scheme == scheme)
            .map(|listen| listen.addr.port())
    }
}

/// A client listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Whether the listener uses plain text or TLS.
    pub scheme: Scheme,
    /// Address and port. Port 0 in the configuration means any free port, and shards receive the actual one.
    pub addr: SocketAddr,
}

impl fmt::Display for Listen {
    /// Formats the listener as in the configuration file, for example `https://127.0.0.1:8443`.
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(to, "{scheme}://{}", self.addr)
    }
}

/// The protocol of a listener. Listeners of either kind serve the HTTP API and WebSockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Plain text: HTTP API and `ws`.
    Http,
    /// TLS: HTTPS API and `wss`.
    Https,
}

/// The admin listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admin {
    /// The listener's address; `None` for `off`.
    pub listen: Option<SocketAddr>,
    /// Additional origins from which the console may be used, for a proxy that terminates TLS.
    pub origins: Vec<String>,
    /// The file with the bearer token that every request must carry, wherever it comes from.
    pub token_file: Option<PathBuf>,
    /// Whether `/metrics` can be read without the bearer token.
    pub metrics_open: bool,
    /// Whether `/try` is served without `--dev`.
    pub try_page: bool,
    /// OpenID sign-in for the console, with which accounts of the provider may use the console without the token.
    pub oidc: Option<Oidc>,
}

/// The profile: a set of default numbers.
#[derive(
    Clone, Copy, Debug, Default, Display, EnumString, IntoStaticStr, PartialEq, Eq, VariantNames,
)]
#[strum(serialize_all = "lowercase")]
pub enum Profile {
    /// Suits current browsers, with payloads of up to 32 KiB.
    #[default]
    Default,
    /// Only the limits and rates that AWS documents, without extensions.
    Strict,
}

/// The kernel interface that shards use for I/O.
#[derive(
    Clone, Copy, Debug, Default, Display, EnumString, IntoStaticStr, PartialEq, Eq, VariantNames,
)]
#[strum(serialize_all = "snake_case")]
pub enum EngineChoice {
    /// `io_uring` if all shards can use it; otherwise, `epoll`.
    #[default]
    Auto,
    /// `io_uring`. Startup fails if it is unavailable.
    IoUring,
    /// `epoll`. Available on every Linux system.
    Epoll,
}

/// How callers must authenticate.
#[derive(Clone, Copy, Debug, Default, Display, EnumString, PartialEq, Eq, VariantNames)]
#[strum(serialize_all = "lowercase")]
pub enum Auth {
    /// AWS Signature Version 4.
    #[default]
    Sigv4,
    /// No signature required. Permitted only on loopback.
    None,
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, Display, EnumString, PartialEq, Eq, VariantNames)]
#[strum(serialize_all = "lowercase")]
pub enum LogFormat {
    /// Human-readable text.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// The minimum level of log lines.
#[derive(
    Clone, Copy, Debug, Default, Display, EnumString, IntoStaticStr, PartialEq, Eq, VariantNames,
)]
#[strum(serialize_all = "lowercase")]
pub enum LogLevel {
    /// Log conditions that an operator must act on.
    Error,
    /// Also log conditions that an operator may have to act on.
    Warn,
    /// Also log events that affect the process as a whole.
    #[default]
    Info,
    /// Also log details of the process.
    Debug,
    /// Also log individual messages.
    Trace,
}

/// The operator's certificates: a single one, or one per key type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM files with the leaf certificates, each followed by its chain.
    pub cert: Vec<PathBuf>,
    /// PEM files with the private key of each leaf certificate, in the same order.
    pub key: Vec<PathBuf>,
    /// PEM file with the authorities for client certificates.
    pub client_ca: Option<PathBuf>,
    /// How an expired certificate is handled.
    pub expired: Expired,
}

/// How an expired certificate is handled. Files with any other defect are always rejected.
#[derive(Clone, Copy, Debug, Default, Display, EnumString, PartialEq, Eq, VariantNames)]
#[strum(serialize_all = "lowercase")]
pub enum Expired {
    /// Present the certificate anyway and log an error. Clients that do not verify it, and clients of plain listeners,
    /// can still connect.
    #[default]
    Serve,
    /// Reject the files.
    Refuse,
}

/// Networks of reverse proxies that are trusted to report the addresses of their clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxy {
    /// Networks of proxies that start each connection with a PROXY protocol header.
    pub protocol_from: Vec<IpNet>,
    /// The client listeners on which proxies use the PROXY protocol. Empty means all listeners.
    pub protocol_on: Vec<Listen>,
    /// Networks of proxies whose `Forwarded` or `X-Forwarded-For` header is trusted.
    pub forwarded_from: Vec<IpNet>,
}

/// The endpoints that discovery returns. If none is configured, discovery returns the host of the request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advertise {
    /// The domain for the host names that discovery returns. Every combination of channel and role has its own host
    /// name in this domain.
    pub domain: Option<String>,
    /// The WebSocket endpoint without a trailing slash, for example `wss://signaling.example.com`.
    pub wss: Option<String>,
    /// The HTTPS endpoint without a trailing slash, for example `https://signaling.example.com`.
    pub https: Option<String>,
}

/// How clients are notified, and how deliveries are confirmed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signaling {
    /// Which clients receive GO_AWAY and RECONNECT_ICE_SERVER.
    pub go_away: GoAway,
    /// How the broker confirms that a message has reached its recipient.
    pub proof: Proof,
    /// How long a master's connection must have been open, in milliseconds, before it receives the offers that the
    /// master's previous connection left unanswered. 0 disables redelivery.
    pub repeat_offers_ms: u64,
}

/// How the broker confirms that a message has reached its recipient's machine.
#[derive(Clone, Copy, Debug, Default, Display, EnumString, PartialEq, Eq, VariantNames)]
#[strum(serialize_all = "lowercase")]
pub enum Proof {
    /// By the TCP acknowledgements from the machine that terminates the connection.
    #[default]
    Tcp,
    /// By the pong to a ping that is sent after the message (RFC 6455 section 5.5.3). For connections that a proxy
    /// terminates.
    Pong,
}

/// Which clients receive GO_AWAY and RECONNECT_ICE_SERVER. The connections of all other clients are closed with 1001
/// instead.
#[derive(Clone, Copy, Debug, Default, Display, EnumString, PartialEq, Eq, VariantNames)]
#[strum(serialize_all = "lowercase")]
pub enum GoAway {
    /// All clients, except those whose row in `[clients]` disables the messages and those that offered the subprotocol
    /// `wss`. Clients that offer `wss` are C SDK clients, whose receiving thread deadlocks after either message. This
    /// was observed with version 1.16, in code that has not changed since 1.7.3.
    #[default]
    Auto,
    /// All clients, as in the cloud service.
    Always,
    /// No clients.
    Never,
}

/// Settings for each shard's flight recorder, which keeps notes about events on channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecorderSettings {
    /// Number of notes per shard, a power of two. 0 disables the recorder. See [`Settings::recorder_notes_of_shard`].
    pub notes: usize,
}

/// How long data that identifies people or devices is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Privacy {
    /// Age in milliseconds at which refusals, sessions with problems, log lines, recorder notes, and the marks and
    /// causes in the history are erased. 0 means never.
    pub keep_ms: u64,
}

/// Settings for players that have no SDK and POST their offer to `/whep/NAME`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Whep {
    /// Whether to serve `/whep/`. Never served under the strict profile.
    pub on: bool,
    /// How long the camera must have sent no further candidate, in milliseconds, before its candidates are considered
    /// complete.
    pub quiet_ms: u64,
    /// Maximum time in milliseconds from the camera's first message to the end of the call.
    pub gather_max_ms: u64,
    /// Maximum duration of a call, in milliseconds.
    pub wait_ms: u64,
}

/// Extensions beyond the AWS service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether a master may send SDP_OFFER to a viewer.
    pub master_offers: bool,
}

// URLs of the pages on the admin listener.

impl Settings {
    /// Returns the admin listener's URL, without a trailing slash, for a client that reaches this machine as `host`.
    #[must_use]
    pub fn admin_url(&self, host: &str) -> Option<String> {
        let addr = self.admin.listen?;
        Some(if addr.ip().is_unspecified() && !host.is_empty() {
            format!("http://{host}:{}", addr.port())
        } else {
            format!("http://{addr}")
        })
    }

    /// Returns `true` if `/try` is served.
    #[must_use]
    pub fn has_try_page(&self) -> bool {
        self.dev || self.admin.try_page
    }

    /// Returns the URL of `/try` for a browser on this machine; `None` if the page is not served.
    #[must_use]
    pub fn try_url(&self) -> Option<String> {
        let host = self.dev_hosts.first().map_or("localhost", String::as_str);
        let admin = self
            .admin_url(&host_text(host))
            .filter(|_| self.has_try_page())?;
        Some(format!("{admin}/try"))
    }
}

impl Settings {
    /// Returns a warning if clients would receive wrong endpoints, because a proxy in front of the broker terminates
    /// TLS and no endpoints are configured.
    #[must_use]
    pub fn unadvertised(&self) -> Option<String> {
        let Advertise { domain, wss, https } = &self.advertise;
        let is_told = domain.is_some() || (wss.is_some() && https.is_some());
        let has_tls = self.listen.iter().any(|it| it.scheme == Scheme::Https);
        let listen = self.listen.first()?;
        let is_quiet = self.dev || is_told || has_tls || !self.proxy.forwarded_from.is_empty();
        (!is_quiet).then(|| {
            format!(
                "no listener has TLS, so discovery returns ws://HOST:{}: behind a proxy that terminates TLS set \
                 `[advertise]` wss and https to the proxy's address, or its network in `[proxy] forwarded_from` \
                 (PROXY.md)",
                listen.addr.port()
            )
        })
    }

    /// Returns a warning if a development server can be reached from other machines.
    #[must_use]
    pub fn exposure(&self) -> Option<&'static str> {
        if self.container {
            Some(
                "Started with --container: every machine that reaches its published ports can use any channel.",
            )
        } else if self.allow_remote {
            Some(
                "Started with --allow-remote: every machine that reaches this broker can use any channel.",
            )
        } else if self.lan.is_some() {
            Some("Started with --lan: every machine of the local network can use any channel.")
        } else {
            None
        }
    }

    /// Returns the TLS listener for devices on the local network (`--lan`).
    #[must_use]
    pub fn lan_listener(&self) -> Option<&Listen> {
        self.listen.iter().find(|listen| self.is_of_lan(listen))
    }

    /// Returns `true` if this listener serves pages for devices on the local network.
    #[must_use]
    pub fn has_pages(&self, listener: u16) -> bool {
        let listen = self.listen.get(usize::from(listener));
        listen.is_some_and(|listen| self.is_of_lan(listen))
    }

    /// Returns the base URL of the pages for devices on the local network, for example `https://192.168.1.20:8443`.
    #[must_use]
    pub fn lan_url(&self) -> Option<String> {
        let port = self.lan_listener()?.addr.port();
        self.lan.map(|address| format!("https://{address}:{port}"))
    }

    fn is_of_lan(&self, listen: &Listen) -> bool {
        let covers = |address: Ipv4Addr| {
            let own = listen.addr.ip();
            own == address || own.is_unspecified()
        };
        listen.scheme == Scheme::Https && self.lan.is_some_and(covers)
    }
}

/// Formats a name or address as the host in a URL, with brackets around an IPv6 address.
#[must_use]
pub fn host_text(host: &str) -> String {
    match host.parse::<Ipv6Addr>() {
        Ok(address) => format!("[{address}]"),
        Err(_) => host.to_ascii_lowercase(),
    }
}

// Console accounts from an OpenID provider: `[admin.oidc]`.

/// Which accounts of an OpenID provider may use the console. Contains paths of secret files, but no secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Oidc {
    /// The provider's issuer, without `https://`. The credentials file must list this provider.
    pub provider: String,
    /// The id token claim that grants access: a string or a list of strings.
    pub claim: String,
    /// The value that the claim must have or, for a list, contain.
    pub value: String,
    /// The console's client id at the provider. If `None`, the only one in the credentials file is used.
    pub client_id: Option<String>,
    /// The file with the console's client secret. If `None`, the console is a public client.
    pub client_secret_file: Option<PathBuf>,
    /// The requested scopes; [`SCOPES`](Self::SCOPES) if empty.
    pub scopes: Vec<String>,
}

impl Oidc {
    /// The default scopes. Source: OpenID Connect Core 1.0, section 5.4.
    pub const SCOPES: [&'static str; 3] = ["openid", "email", "profile"];

    /// Returns `true` if the settings are complete, so that they determine who may sign in.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        ![&self.provider, &self.claim, &self.value]
            .iter()
            .any(|text| text.is_empty())
    }

    /// Returns the scopes in the form used in a request.
    #[must_use]
    pub fn scope(&self) -> String {
        if self.scopes.is_empty() {
            Self::SCOPES.join(" ")
        } else {
            self.scopes.join(" ")
        }
    }
}

// STUN and TURN servers for clients.

/// A server in the response to GetIceServerConfig.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ice {
    /// The server's URLs (`stun:`, `turn:` and `turns:`), 1 to 4 in the order of the response.
    pub urls: Vec<String>,
    /// The credential with which clients use the server.
    pub credential: IceCredential,
    /// How long the response is valid, from 30 to 86,400 seconds. Source: GetIceServerConfig, `Ttl`.
    pub ttl_seconds: u32,
}

/// A credential with which clients use a STUN or TURN server. Never included in logs or debug output.
#[derive(Clone, PartialEq, Eq)]
pub enum IceCredential {
    /// No credential. Permitted for STUN only. The response contains placeholders, because clients reject entries
    /// without credentials.
    None,
    /// A fixed username and password.
    Fixed {
        /// The username.
        username: String,
        /// The password.
        password: String,
    },
    /// Secrets for time-limited credentials, at least one. The first one (coturn's `static-auth-secret`) generates
    /// credentials. The TURN server accepts the others too during a rotation.
    Secrets(Vec<String>),
}

impl fmt::Debug for IceCredential {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => to.write_str("None"),
            Self::Fixed { username, .. } => write!(to, "Fixed({username:?}, <redacted>)"),
            Self::Secrets(secrets) => write!(to, "Secrets(<{} redacted>)", secrets.len()),
        }
    }
}

// Address conflicts between listeners.

/// Returns `true` if two sockets cannot be bound to these addresses at the same time. This is the case if their ports
/// are equal, and their IP addresses are equal or one is a wildcard. `[::]` includes IPv4, unless the socket is
/// restricted to IPv6.
#[must_use]
pub fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let (a, b) = (one.ip().to_canonical(), other.ip().to_canonical());
    let covers = |any: IpAddr, ip: IpAddr| any.is_unspecified() && (any.is_ipv6() || ip.is_ipv4());
    one.port() == other.port() && (a == b || covers(a, b) || covers(b, a))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_shards_than_cpus_share_them_in_turn() {
        let mut settings = Settings::new(Profile::Default, true);
        settings.cpus = vec![2, 5];
        let pinned: Vec<_> = (0..5).map(|shard| settings.cpu(shard)).collect();
        assert_eq!(pinned, [2, 5, 2, 5, 2].map(Some));
        settings.cpus.clear();
        assert_eq!(settings.cpu(3), None);
    }

    #[test]
    fn without_tls_endpoints_and_a_known_proxy_there_is_a_warning() {
        let warns = |change: &dyn Fn(&mut Settings)| {
            let mut settings = Settings::new(Profile::Default, false);
            settings.listen = vec![Listen {
                scheme: Scheme::Http,
                addr: "0.0.0.0:8080".parse().unwrap(),
            }];
            change(&mut settings);
            settings.unadvertised().is_some()
        };
        let host = || Some("wss://a.test".to_owned());
        assert!(warns(&|_| ()));
        assert!(warns(&|it| it.advertise.wss = host()));
        for quiet in [
            &|it: &mut Settings| (it.advertise.wss, it.advertise.https) = (host(), host()),
            &|it: &mut Settings| it.advertise.domain = Some("a.test".into()),
            &|it: &mut Settings| it.dev = true,
            &|it: &mut Settings| it.proxy.forwarded_from = vec!["10.0.0.0/8".parse().unwrap()],
        ] as [&dyn Fn(&mut Settings); 4]
        {
            assert!(!warns(quiet));
        }
    }

    #[test]
    fn addresses_overlap_where_the_kernel_says_so() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        for (one, other, is) in [
            ("127.0.0.1:1", "127.0.0.1:1", true),
            ("127.0.0.1:1", "127.0.0.1:2", false),
            ("127.0.0.1:1", "127.0.0.2:1", false),
            ("127.0.0.1:1", "0.0.0.0:1", true),
            ("127.0.0.1:1", "[::]:1", true),
            ("[::1]:1", "[::]:1", true),
            ("[::1]:1", "0.0.0.0:1", false),
            ("[::1]:1", "127.0.0.1:1", false),
            ("[::ffff:127.0.0.1]:1", "127.0.0.1:1", true),
        ] {
            assert_eq!(overlap(at(one), at(other)), is, "{one} {other}");
            assert_eq!(overlap(at(other), at(one)), is, "{other} {one}");
        }
    }
}
