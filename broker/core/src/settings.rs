//! The validated configuration as plain data, written once at startup.
//!
//! Defaults depend on only two switches: the [`Profile`] determines the numbers, and `--dev` the listeners, the
//! authentication and the rate limits. A key in the file or a flag overrides both. The table [`KEYS`] lists the keys
//! with their ranges and defaults.

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

/// Declares the struct and its constructor `blank`, in which every field is empty or 0, to be filled from the table's
/// defaults.
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
/// The complete configuration. One per process, shared by all threads as `Arc<Settings>`; documented in
/// `deploy/broker.toml`.
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
    /// Path of the configuration file, parts of which can be reloaded.
    pub config: Option<PathBuf>,
    /// Number of shards, from 1 to [`SHARDS_MAX`](crate::limits::SHARDS_MAX).
    pub shards: usize,
    /// Whether to start fewer shards if too little memory can be locked; only under `--dev` without an explicit number.
    pub fewer_shards: bool,
    /// Kernel interface of the shards, resolved at startup.
    pub engine: EngineChoice,
    /// CPUs to which shards are pinned in turn; at least one. See [`Settings::cpu`].
    pub cpus: Vec<usize>,
    /// Profile of the default numbers.
    pub profile: Profile,
    /// How callers must authenticate.
    pub auth: Auth,
    /// Whether permissions of open connections are rechecked when the credentials or the tags of their channel change.
    pub auth_recheck: bool,
    /// Development mode: accepts any region and account, and creates an unknown channel when a client connects to it.
    pub dev: bool,
    /// Origins, besides loopback, whose pages may use a server without signatures, in the form that browsers send.
    /// Empty if requests are signed, since any origin is then permitted.
    pub dev_origins: Vec<String>,
    /// Whether listeners without signatures may have addresses other than loopback (`--dev` only).
    pub allow_remote: bool,
    /// Whether clients connect through published ports of a container (`--dev` only). `Host` then contains the client's
    /// port, and the admin listener requires a token generated at startup.
    pub container: bool,
    /// Names and addresses, besides loopback, by which clients reach a development server. The server's certificate
    /// includes them, and pages served under them may use the server.
    pub dev_hosts: Vec<String>,
    /// Address on the local network by which devices reach the server and its pages (`--dev` only).
    pub lan: Option<Ipv4Addr>,
    /// Whether to open the page `/try` in a browser at startup (`--dev` only).
    pub open_try: bool,
    /// Whether to accept etcd's state even if it contradicts the data directory; set only by a flag.
    pub accept_etcd: bool,
    /// Whether to keep copies of messages for `/dev/messages` (`--dev` only).
    pub dev_capture: bool,
    /// Whether endpoints returned by discovery use the scheme and port of the request (`--dev` only).
    pub plain: bool,
    /// File that receives the ready line once all listeners accept connections.
    pub ready_file: Option<PathBuf>,
    /// Directory for the files of the process.
    pub data_dir: PathBuf,
    /// Whether to delete `data_dir` at exit.
    pub data_dir_ends: bool,
    /// Format of log lines on stderr.
    pub log_format: LogFormat,
    /// Minimum level of log entries; the environment may override it.
    pub log_level: LogLevel,
    /// Credentials file used with `--auth sigv4`.
    pub credentials: Option<PathBuf>,
    /// The operator's certificate. If there is none, TLS listeners present the development certificate (`--dev` only).
    pub tls: Option<TlsFiles>,
    /// Endpoints that discovery returns.
    pub advertise: Advertise,
    /// Reverse proxies in front of the broker.
    pub proxy: Proxy,
    /// Limits on sizes and counts.
    pub limits: Limits,
    /// Timeouts and other durations.
    pub timeouts: Timeouts,
    /// Rate limits of clients.
    pub quotas: Quotas,
    /// Notices to clients, and confirmation of deliveries.
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
    /// This node's cluster, if any.
    pub cluster: ClusterSettings,
    /// Presence settings of all hooks.
    pub presence: PresenceRules,
    /// Receivers of channel events.
    pub hooks: Vec<Hook>,
    /// STUN and TURN servers, in the order of GetIceServerConfig.
    pub ice: Vec<Ice>,
    /// Files that the ICE servers' secrets were read from.
    pub ice_files: Vec<PathBuf>,
}
}

impl Default for Settings {
    /// Returns the settings of an empty configuration file without `--dev`, with one shard.
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

    /// CPU of `shard` (counted from 0). If there are more shards than CPUs, they share the CPUs in turn.
    #[must_use]
    pub fn cpu(&self, shard: usize) -> Option<usize> {
        self.cpus.get(shard % self.cpus.len().max(1)).copied()
    }

    /// Returns the requirements for signatures: `--dev` accepts any region; the strict profile accepts only AWS's clock
    /// tolerance.
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

/// A client listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Plain or TLS.
    pub scheme: Scheme,
    /// Address and port. Port 0 in the configuration means any free port; shards receive the actual one.
    pub addr: SocketAddr,
}

impl fmt::Display for Listen {
    /// Formats the listener as in the configuration file, such as `https://127.0.0.1:8443`.
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(to, "{scheme}://{}", self.addr)
    }
}

/// Protocol of a listener. Both serve the HTTP API and WebSocket.
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
    /// Address of the listener; `None` for `off`.
    pub listen: Option<SocketAddr>,
    /// Origins of the console besides the listener's own, for a proxy that terminates TLS.
    pub origins: Vec<String>,
    /// File with the bearer token that every request must carry, regardless of its address.
    pub token_file: Option<PathBuf>,
    /// Whether `/metrics` can be read without the bearer token.
    pub metrics_open: bool,
    /// Whether `/try` is served without `--dev`.
    pub try_page: bool,
    /// OpenID provider whose accounts may use the console instead of the token.
    pub oidc: Option<Oidc>,
}

/// Profile: the set of default numbers.
#[derive(
    Clone, Copy, Debug, Default, Display, EnumString, IntoStaticStr, PartialEq, Eq, VariantNames,
)]
#[strum(serialize_all = "lowercase")]
pub enum Profile {
    /// Suited to current browsers, with payloads up to 32 KiB.
    #[default]
    Default,
    /// The numbers that AWS documents, and no extensions.
    Strict,
}

/// Kernel interface that shards use for I/O.
#[derive(
    Clone, Copy, Debug, Default, Display, EnumString, IntoStaticStr, PartialEq, Eq, VariantNames,
)]
#[strum(serialize_all = "snake_case")]
pub enum EngineChoice {
    /// `io_uring` if available to all shards; otherwise `epoll`.
    #[default]
    Auto,
    /// `io_uring`; startup fails if unavailable.
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
    /// Log conditions that an operator must act on.
    Error,
    /// Also log conditions that an operator may have to act on.
    Warn,
    /// Also log events that concern the process as a whole.
    #[default]
    Info,
    /// Also log details of the process.
    Debug,
    /// Also log individual messages.
    Trace,
}

/// The operator's certificates: one, or one per key type.
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
    /// Present the certificate and log an error. Clients that do not verify it and clients of plain listeners are still
    /// served.
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
    /// Client listeners on which these proxies use the PROXY protocol; all if empty.
    pub protocol_on: Vec<Listen>,
    /// Networks of proxies whose `Forwarded` or `X-Forwarded-For` header is trusted.
    pub forwarded_from: Vec<IpNet>,
}

/// Endpoints that discovery returns; if none is set, it returns the host of the request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advertise {
    /// Domain of the host names, one per channel and role.
    pub domain: Option<String>,
    /// WebSocket endpoint, such as `wss://signaling.example.com`, without a trailing slash.
    pub wss: Option<String>,
    /// HTTPS endpoint, such as `https://signaling.example.com`, without a trailing slash.
    pub https: Option<String>,
}

/// Notices to clients, and confirmation of deliveries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signaling {
    /// Which clients receive GO_AWAY and RECONNECT_ICE_SERVER.
    pub go_away: GoAway,
    /// How the delivery of a message to its recipient is confirmed.
    pub proof: Proof,
    /// Time in milliseconds for which a master's connection must be open before it receives the offers that a previous
    /// connection left unanswered; 0 disables redelivery.
    pub repeat_offers_ms: u64,
}

/// How a delivery to the recipient's machine is confirmed.
#[derive(Clone, Copy, Debug, Default, Display, EnumString, PartialEq, Eq, VariantNames)]
#[strum(serialize_all = "lowercase")]
pub enum Proof {
    /// By TCP acknowledgements of the machine that terminates the connection.
    #[default]
    Tcp,
    /// By the pong to a ping sent after the message, for connections that a proxy terminates (RFC 6455 section 5.5.3).
    Pong,
}

/// Which clients receive GO_AWAY and RECONNECT_ICE_SERVER. Other clients are closed with 1001 instead.
#[derive(Clone, Copy, Debug, Default, Display, EnumString, PartialEq, Eq, VariantNames)]
#[strum(serialize_all = "lowercase")]
pub enum GoAway {
    /// All clients except those whose `[clients]` row disables it and those that offered the subprotocol `wss`: the C
    /// SDK, whose receiving thread deadlocks after either message (observed with 1.16; the code is unchanged since
    /// 1.7.3).
    #[default]
    Auto,
    /// All clients, as in the cloud service.
    Always,
    /// No clients.
    Never,
}

/// Settings of the flight recorder of each shard, which keeps notes about events on channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecorderSettings {
    /// Number of notes per shard, a power of two; 0 disables the recorder. See [`Settings::recorder_notes_of_shard`].
    pub notes: usize,
}

/// Retention of data that identifies people or devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Privacy {
    /// Age in milliseconds at which these are erased: refusals, troubled sessions, log lines, recorder notes, and the
    /// marks and causes in the history; 0 means never.
    pub keep_ms: u64,
}

/// Settings for players without an SDK, which POST their offer to `/whep/NAME`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Whep {
    /// Whether `/whep/` is served; never under the strict profile.
    pub on: bool,
    /// Time in milliseconds without a further candidate after which the camera's candidates count as complete.
    pub quiet_ms: u64,
    /// Maximum time in milliseconds from the camera's first message to the end of a call.
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

// URLs of the admin listener's pages.

impl Settings {
    /// Returns the admin listener's URL, without a trailing slash, for a client that reached this machine as `host`.
    #[must_use]
    pub fn admin_url(&self, host: &str) -> Option<String> {
        let addr = self.admin.listen?;
        Some(if addr.ip().is_unspecified() && !host.is_empty() {
            format!("http://{host}:{}", addr.port())
        } else {
            format!("http://{addr}")
        })
    }

    /// Whether the page `/try` is served.
    #[must_use]
    pub fn has_try_page(&self) -> bool {
        self.dev || self.admin.try_page
    }

    /// URL of the page `/try` for a browser on this machine; `None` if it is not served.
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
    /// Returns a warning if clients behind a proxy that terminates TLS would receive wrong endpoints because none is
    /// configured.
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

    /// Returns a warning if other machines can reach a development server.
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

    /// TLS listener for devices on the local network, under `--lan`.
    #[must_use]
    pub fn lan_listener(&self) -> Option<&Listen> {
        self.listen.iter().find(|listen| self.is_of_lan(listen))
    }

    /// Whether this listener serves pages to devices on the local network.
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

/// Formats a name or an address as the host of a URL, with brackets around an IPv6 address.
#[must_use]
pub fn host_text(host: &str) -> String {
    match host.parse::<Ipv6Addr>() {
        Ok(address) => format!("[{address}]"),
        Err(_) => host.to_ascii_lowercase(),
    }
}

// Console accounts of an OpenID provider: `[admin.oidc]`.

/// Accounts of an OpenID provider that may use the console. Contains paths of secret files, not the secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Oidc {
    /// Issuer of a provider listed in the credentials file, without `https://`.
    pub provider: String,
    /// Claim of the id token that grants access: a string, or a list of strings.
    pub claim: String,
    /// Value that the claim must equal or, if the claim is a list, contain.
    pub value: String,
    /// Client id of the console at the provider; `None` for the only one in the credentials file.
    pub client_id: Option<String>,
    /// File with the console's client secret; if unset, the console is a public client.
    pub client_secret_file: Option<PathBuf>,
    /// Requested scopes; [`SCOPES`](Self::SCOPES) if empty.
    pub scopes: Vec<String>,
}

impl Oidc {
    /// Default scopes. Source: OpenID Connect Core 1.0, section 5.4.
    pub const SCOPES: [&'static str; 3] = ["openid", "email", "profile"];

    /// Whether the settings specify who may sign in.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        ![&self.provider, &self.claim, &self.value]
            .iter()
            .any(|text| text.is_empty())
    }

    /// Scopes as sent in a request.
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
    /// `stun:`, `turn:` and `turns:` URLs, 1 to 4, in the order of the response.
    pub urls: Vec<String>,
    /// The client's credential for the server.
    pub credential: IceCredential,
    /// Validity of the response: 30 to 86,400 seconds. Source: GetIceServerConfig, `Ttl`.
    pub ttl_seconds: u32,
}

/// A client's credential for a STUN or TURN server. Never shown in logs or debug output.
#[derive(Clone, PartialEq, Eq)]
pub enum IceCredential {
    /// None, for STUN only. The response contains placeholders because clients reject entries without credentials.
    None,
    /// A fixed username and password.
    Fixed {
        /// The username.
        username: String,
        /// The password.
        password: String,
    },
    /// Secrets of time-limited credentials, at least one. The first (coturn's `static-auth-secret`) generates
    /// credentials; the TURN server may accept the others during a rotation.
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

// Conflicts between listening addresses.

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
