//! The validated configuration as plain data: written once at startup and read-only afterwards.
//!
//! Defaults depend on only two switches: the [`Profile`] determines the numbers, and `--dev` determines the listeners,
//! the authentication and the rate limits. A key that is set in the file or by a flag overrides both. The table
//! [`KEYS`] lists the keys with their ranges and defaults.

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

/// Declares the struct and its constructor `blank`, in which every field is empty or 0, ready to receive the defaults
/// of the table.
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
/// The complete configuration; one per process, shared by all threads as `Arc<Settings>`.
///
/// Source: Heliograph's command line contract, kept in `deploy/broker.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// AWS region in the ARNs of created channels, such as `us-west-2`.
    pub region: String,
    /// AWS account of created channels: 12 digits.
    pub account_id: String,
    /// Client listeners, in the order of `--listen`; at least one.
    pub listen: Vec<Listen>,
    /// The admin listener.
    pub admin: Admin,
    /// Path of the configuration file, if one was used; kept because parts of it can be reloaded.
    pub config: Option<PathBuf>,
    /// Number of shards, from 1 to [`SHARDS_MAX`](crate::limits::SHARDS_MAX).
    pub shards: usize,
    /// Whether to start fewer shards if there is not enough locked memory for all of them: under `--dev` without an
    /// explicit number of shards.
    pub fewer_shards: bool,
    /// Kernel interface used by shards; resolved to a concrete one at startup.
    pub engine: EngineChoice,
    /// CPUs to which shards are pinned in turn; at least one. See [`Settings::cpu`].
    pub cpus: Vec<usize>,
    /// The profile that determines the default numbers.
    pub profile: Profile,
    /// How callers must authenticate.
    pub auth: Auth,
    /// Whether permissions of open connections are rechecked when the credentials or the tags of their channel change.
    pub auth_recheck: bool,
    /// Development mode: accepts any region and account, and creates an unknown channel when a client connects to it.
    pub dev: bool,
    /// Origins of pages, in addition to loopback origins, that may use a server without signatures, in the form that
    /// browsers send. Empty if requests are signed, since any origin is then permitted.
    pub dev_origins: Vec<String>,
    /// Whether listeners on other than loopback addresses are allowed without signatures (`--dev` only).
    pub allow_remote: bool,
    /// Whether clients connect through published ports of a container (`--dev` only). If so, the port used by the
    /// client is taken from `Host`, and access to the admin listener requires a token generated at startup.
    pub container: bool,
    /// Names and addresses, in addition to loopback, by which clients reach a development server. The server's
    /// certificate includes them, and pages served under them may use the server.
    pub dev_hosts: Vec<String>,
    /// Local network address of this machine, by which devices reach the server and its pages (`--dev` only).
    pub lan: Option<Ipv4Addr>,
    /// Whether to open the page for trying the service in a browser once the server is up (`--dev` only).
    pub open_try: bool,
    /// Whether to accept the state in etcd even if it contradicts the state recorded in the data directory; can only be
    /// set by a flag.
    pub accept_etcd: bool,
    /// Whether to keep copies of messages for `/dev/messages` (`--dev` only).
    pub dev_capture: bool,
    /// Whether endpoints returned by discovery use the scheme and port of the request (`--dev` only).
    pub plain: bool,
    /// File to which the contents of the ready line are written once all listeners accept connections.
    pub ready_file: Option<PathBuf>,
    /// Directory for the files of the process.
    pub data_dir: PathBuf,
    /// Whether to delete `data_dir` when the process exits.
    pub data_dir_ends: bool,
    /// Format of log lines on stderr.
    pub log_format: LogFormat,
    /// Minimum level of log entries, unless overridden by the environment.
    pub log_level: LogLevel,
    /// Credentials file used with `--auth sigv4`.
    pub credentials: Option<PathBuf>,
    /// The operator's certificate. If it is `None` and there is a TLS listener, the development certificate is used
    /// (`--dev` only).
    pub tls: Option<TlsFiles>,
    /// Endpoints returned by discovery.
    pub advertise: Advertise,
    /// Reverse proxies in front of the broker.
    pub proxy: Proxy,
    /// Limits on sizes and counts.
    pub limits: Limits,
    /// Timeouts and other durations.
    pub timeouts: Timeouts,
    /// Rate limits of clients.
    pub quotas: Quotas,
    /// Which clients receive notices from the service.
    pub signaling: Signaling,
    /// Limits of client programs, by `User-Agent`.
    pub clients: Vec<Client>,
    /// Settings of the shards' flight recorder.
    pub recorder: RecorderSettings,
    /// Retention of data that identifies people or devices.
    pub privacy: Privacy,
    /// Settings for players without an SDK.
    pub whep: Whep,
    /// Extensions beyond the AWS service.
    pub options: Options,
    /// Settings of the cluster, if this node belongs to one.
    pub cluster: ClusterSettings,
    /// Presence settings common to all hooks.
    pub presence: PresenceRules,
    /// Receivers of channel events; empty if none is configured.
    pub hooks: Vec<Hook>,
    /// STUN and TURN servers, in the order returned by GetIceServerConfig; empty if none is configured.
    pub ice: Vec<Ice>,
    /// Files from which secrets of the ICE servers were read.
    pub ice_files: Vec<PathBuf>,
}
}

impl Default for Settings {
    /// Returns the settings for an empty configuration file without `--dev`, with one shard.
    fn default() -> Self {
        Self::new(Profile::Default, false)
    }
}

impl Settings {
    /// Whether connections to the client listener with this index begin with a PROXY protocol header.
    #[must_use]
    pub fn awaits_proxy(&self, listener: u16) -> bool {
        let Proxy {
            protocol_from,
            protocol_on,
            ..
        } = &self.proxy;
        let listen = self.listen.get(usize::from(listener));
        !protocol_from.is_empty()
            && listen.is_some_and(|it| protocol_on.is_empty() || protocol_on.contains(it))
    }

    /// Returns the defaults of `profile`, with or without `--dev`, with one shard pinned to CPU 0.
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

    /// CPU to which `shard` (counted from 0) is pinned; if there are more shards than CPUs, CPUs are assigned in turn.
    #[must_use]
    pub fn cpu(&self, shard: usize) -> Option<usize> {
        self.cpus.get(shard % self.cpus.len().max(1)).copied()
    }

    /// Requirements for signatures: `--dev` accepts any region; the strict profile accepts only the clock tolerance of
    /// AWS.
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

    /// Whether the strict profile is selected.
    #[must_use]
    pub fn strict(&self) -> bool {
        self.profile == Profile::Strict
    }

    /// Port of the first listener with `scheme`, as configured.
    #[must_use]
    pub fn port(&self, scheme: Scheme) -> Option<u16> {
        self.listen
            .iter()
            .find(|listen| listen.scheme == scheme)
            .map(|listen| listen.addr.port())
    }
}

/// A client listener: its address and whether it uses TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Plain or TLS.
    pub scheme: Scheme,
    /// Address and port. In the configuration, port 0 means any free port; the settings passed to shards contain the
    /// actual port.
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

/// Protocol of a listener. Both kinds serve the HTTP API and WebSocket.
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
    /// Address of the listener, or `None` for `off`.
    pub listen: Option<SocketAddr>,
    /// Origins from which the console may be used, in addition to the listener's own, if it is behind a proxy that
    /// terminates TLS.
    pub origins: Vec<String>,
    /// File that contains the bearer token, which every request must carry, regardless of the address at which it
    /// arrives.
    pub token_file: Option<PathBuf>,
    /// Whether `/metrics` can be accessed without the bearer token.
    pub metrics_open: bool,
    /// Whether `/try` is served without `--dev`.
    pub try_page: bool,
    /// OpenID provider whose accounts may use the console, as an alternative to the token.
    pub oidc: Option<Oidc>,
}

/// Profile: a set of default values for the numbers in the configuration.
#[derive(
    Clone, Copy, Debug, Default, Display, EnumString, IntoStaticStr, PartialEq, Eq, VariantNames,
)]
#[strum(serialize_all = "lowercase")]
pub enum Profile {
    /// Suited to current browsers, with payloads up to 32 KiB.
    #[default]
    Default,
    /// Every number as documented by AWS, and no extensions.
    Strict,
}

/// Kernel interface that shards use for I/O.
#[derive(
    Clone, Copy, Debug, Default, Display, EnumString, IntoStaticStr, PartialEq, Eq, VariantNames,
)]
#[strum(serialize_all = "snake_case")]
pub enum EngineChoice {
    /// `io_uring` if it is available to all shards; otherwise `epoll`.
    #[default]
    Auto,
    /// `io_uring`; startup fails if it is not available.
    IoUring,
    /// `epoll`, available on every Linux.
    Epoll,
}

/// How callers must authenticate.
#[derive(Clone, Copy, Debug, Default, Display, EnumString, PartialEq, Eq, VariantNames)]
#[strum(serialize_all = "lowercase")]
pub enum Auth {
    /// AWS Signature Version 4.
    #[default]
    Sigv4,
    /// No signature is required. Permitted on loopback only.
    None,
}

/// Format of log lines.
#[derive(Clone, Copy, Debug, Default, Display, EnumString, PartialEq, Eq, VariantNames)]
#[strum(serialize_all = "lowercase")]
pub enum LogFormat {
    /// Human-readable text.
    #[default]
    Text,
    /// A single JSON object per line.
    Json,
}

/// Minimum level of log lines.
#[derive(
    Clone, Copy, Debug, Default, Display, EnumString, IntoStaticStr, PartialEq, Eq, VariantNames,
)]
#[strum(serialize_all = "lowercase")]
pub enum LogLevel {
    /// Conditions that require action by an operator.
    Error,
    /// In addition, conditions that may require action by an operator.
    Warn,
    /// In addition, events that concern the process as a whole.
    #[default]
    Info,
    /// In addition, detailed events of the process.
    Debug,
    /// In addition, individual messages.
    Trace,
}

/// The operator's certificates: either a single one, or one per key type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM files: the leaf certificate first, followed by its chain.
    pub cert: Vec<PathBuf>,
    /// PEM files: the private key of each leaf certificate, in the same order.
    pub key: Vec<PathBuf>,
    /// PEM file: certificate authorities for client certificates.
    pub client_ca: Option<PathBuf>,
    /// How an expired certificate is handled.
    pub expired: Expired,
}

/// How an expired certificate is handled. Files with any other defect are rejected.
#[derive(Clone, Copy, Debug, Default, Display, EnumString, PartialEq, Eq, VariantNames)]
#[strum(serialize_all = "lowercase")]
pub enum Expired {
    /// Present the certificate and log an error; clients that do not verify it, and clients of plain listeners, are
    /// still served.
    #[default]
    Serve,
    /// Reject the files.
    Refuse,
}

/// Networks of the reverse proxies that are trusted to report their clients' addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxy {
    /// Networks of proxies that begin each connection with a PROXY protocol header.
    pub protocol_from: Vec<IpNet>,
    /// Client listeners on which these proxies use the PROXY protocol; if empty, all listeners.
    pub protocol_on: Vec<Listen>,
    /// Networks of proxies whose `Forwarded` or `X-Forwarded-For` header is trusted.
    pub forwarded_from: Vec<IpNet>,
}

/// Endpoints returned by discovery; if all three fields are absent, the host of the request is returned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advertise {
    /// Domain below which hosts are named, with a separate host name per channel and role.
    pub domain: Option<String>,
    /// WebSocket endpoint, such as `wss://signaling.example.com`, without a trailing slash.
    pub wss: Option<String>,
    /// HTTPS endpoint, such as `https://signaling.example.com`, without a trailing slash.
    pub https: Option<String>,
}

/// Which clients receive notices from the service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signaling {
    /// Which clients receive GO_AWAY and RECONNECT_ICE_SERVER.
    pub go_away: GoAway,
    /// How the delivery of a message to its recipient is confirmed.
    pub proof: Proof,
    /// Time in milliseconds for which a master's connection must have been open before it is sent the offers that a
    /// previous connection left unanswered; 0 disables this.
    pub repeat_offers_ms: u64,
}

/// How the delivery of a message to the recipient's machine is confirmed.
#[derive(Clone, Copy, Debug, Default, Display, EnumString, PartialEq, Eq, VariantNames)]
#[strum(serialize_all = "lowercase")]
pub enum Proof {
    /// By TCP acknowledgements from the machine that terminates the connection.
    #[default]
    Tcp,
    /// By the pong that answers a ping sent after the message, for connections terminated by a proxy (RFC 6455 section
    /// 5.5.3).
    Pong,
}

/// Which clients receive GO_AWAY and RECONNECT_ICE_SERVER. Other clients are closed with 1001 instead.
#[derive(Clone, Copy, Debug, Default, Display, EnumString, PartialEq, Eq, VariantNames)]
#[strum(serialize_all = "lowercase")]
pub enum GoAway {
    /// All clients except those whose `[clients]` row disables it and those that offered the subprotocol `wss`: the C
    /// SDK, whose receiving thread deadlocks waiting for itself after either message (observed with 1.16; the code has
    /// been the same since 1.7.3).
    #[default]
    Auto,
    /// All clients, as in the cloud service.
    Always,
    /// No clients.
    Never,
}

/// Settings of the flight recorder, in which shards keep notes about events on their channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecorderSettings {
    /// Number of notes per shard, a power of two; 0 disables the recorder. See [`Settings::recorder_notes_of_shard`].
    pub notes: usize,
}

/// Retention of data that identifies people or devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Privacy {
    /// Age at which refusals, troubled sessions, log lines, recorder notes, and the marks and causes in the history are
    /// erased, in milliseconds; 0 means never.
    pub keep_ms: u64,
}

/// Settings for players without an SDK, which POST their offer to `/whep/NAME`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Whep {
    /// Whether `/whep/` is served; never under the strict profile.
    pub on: bool,
    /// Time without a candidate after which the camera is assumed to have sent all its candidates, in milliseconds.
    pub quiet_ms: u64,
    /// Maximum time from the camera's first message to the end of a call, in milliseconds.
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

// The URLs under which people find the pages of the admin listener.

impl Settings {
    /// Returns the URL of the admin listener, without a trailing slash, for a client that reached this machine as
    /// `host`.
    #[must_use]
    pub fn admin_url(&self, host: &str) -> Option<String> {
        let addr = self.admin.listen?;
        Some(if addr.ip().is_unspecified() && !host.is_empty() {
            format!("http://{host}:{}", addr.port())
        } else {
            format!("http://{addr}")
        })
    }

    /// Whether the page for trying the service is served.
    #[must_use]
    pub fn has_try_page(&self) -> bool {
        self.dev || self.admin.try_page
    }

    /// URL of the page for trying the service, for a browser on this machine; `None` if the page is not served.
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
    /// Returns a warning if clients are behind a proxy that terminates TLS and would receive the wrong endpoints
    /// because none is configured.
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

    /// Returns a warning for users of a development server if other machines can reach it.
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

    /// TLS listener to which devices on the local network connect, under `--lan`.
    #[must_use]
    pub fn lan_listener(&self) -> Option<&Listen> {
        self.listen.iter().find(|listen| self.is_of_lan(listen))
    }

    /// Whether the listener with this index serves pages to devices on the local network.
    #[must_use]
    pub fn has_pages(&self, listener: u16) -> bool {
        let listen = self.listen.get(usize::from(listener));
        listen.is_some_and(|listen| self.is_of_lan(listen))
    }

    /// Base URL of the pages for devices on the local network, such as `https://192.168.1.20:8443`.
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

/// Formats a name or an address as the host of a URL; an IPv6 address is enclosed in brackets.
#[must_use]
pub fn host_text(host: &str) -> String {
    match host.parse::<Ipv6Addr>() {
        Ok(address) => format!("[{address}]"),
        Err(_) => host.to_ascii_lowercase(),
    }
}

// People's accounts of an OpenID provider, with which they use the console: `[admin.oidc]`.

/// Accounts of an OpenID provider that may use the console. Contains paths of secret files, not the secrets themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Oidc {
    /// Issuer of a provider listed in the credentials file, without `https://`.
    pub provider: String,
    /// Claim of the id token that grants access: a string, or a list of strings.
    pub claim: String,
    /// Value that the claim must equal or, if it is a list, contain.
    pub value: String,
    /// Client id of the console at the provider; `None` means the only client id listed in the credentials file.
    pub client_id: Option<String>,
    /// File that contains the console's client secret; if absent, the console is a public client.
    pub client_secret_file: Option<PathBuf>,
    /// Scopes to request; if empty, [`SCOPES`](Self::SCOPES) are requested.
    pub scopes: Vec<String>,
}

impl Oidc {
    /// Scopes requested if none are configured. Source: OpenID Connect Core 1.0, section 5.4.
    pub const SCOPES: [&'static str; 3] = ["openid", "email", "profile"];

    /// Whether the settings specify who may sign in.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        ![&self.provider, &self.claim, &self.value]
            .iter()
            .any(|text| text.is_empty())
    }

    /// The scopes, formatted for a request.
    #[must_use]
    pub fn scope(&self) -> String {
        if self.scopes.is_empty() {
            Self::SCOPES.join(" ")
        } else {
            self.scopes.join(" ")
        }
    }
}

// STUN and TURN servers that clients are given.

/// A server listed in the response to GetIceServerConfig.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ice {
    /// `stun:`, `turn:` and `turns:` URLs, in the order returned to clients: 1 to 4.
    pub urls: Vec<String>,
    /// The client's credential for the server.
    pub credential: IceCredential,
    /// Validity of the response: 30 to 86 400 seconds. Source: GetIceServerConfig, `Ttl`.
    pub ttl_seconds: u32,
}

/// Credential that a client presents to a STUN or TURN server. Never shown in logs or debug output.
#[derive(Clone, PartialEq, Eq)]
pub enum IceCredential {
    /// No credential, for STUN only. The response contains placeholders because clients reject entries without
    /// credentials.
    None,
    /// A fixed user name and password.
    Fixed {
        /// The user's name.
        username: String,
        /// The user's password.
        password: String,
    },
    /// Secrets for time-limited credentials, at least one. Credentials are generated with the first secret (coturn's
    /// `static-auth-secret`); the TURN server may still accept the others during a rotation.
    Secrets(Vec<String>),
}

impl fmt::Debug for IceCredential {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => to.write_str("None"),
            Self::Fixed {
                username,
                password: _,
            } => write!(to, "Fixed({username:?}, <redacted>)"),
            Self::Secrets(secrets) => write!(to, "Secrets(<{} redacted>)", secrets.len()),
        }
    }
}

// Whether two addresses can be listened on beside each other.

/// Whether a socket bound to one address prevents binding the other: the addresses are equal, or one is a wildcard.
/// `[::]` includes IPv4 unless the socket is restricted to IPv6.
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
