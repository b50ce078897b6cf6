//! The checked configuration as plain data: written once at start, then only read.
//!
//! Defaults depend on two switches alone: the [`Profile`] sets the numbers, `--dev` the listeners, the authentication
//! and the rates. Every key that is written, in the file or as a flag, wins over both. The keys with their ranges and
//! defaults are the table [`KEYS`].

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

/// Declares the struct, and `blank`: every field empty or 0, for the table's defaults to be stored in.
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
/// Everything that may be configured; one per process, shared by all threads as `Arc<Settings>`.
///
/// Source: Heliograph's command line contract, kept in `deploy/broker.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The AWS region that ARNs of created channels carry, such as `us-west-2`.
    pub region: String,
    /// The AWS account of created channels: 12 digits.
    pub account_id: String,
    /// The listeners for clients, in the order of `--listen`; at least one.
    pub listen: Vec<Listen>,
    /// The admin listener.
    pub admin: Admin,
    /// The file that all of this was read from, if any: parts of it are read again.
    pub config: Option<PathBuf>,
    /// Number of shards: 1 to [`SHARDS_MAX`](crate::limits::SHARDS_MAX).
    pub shards: usize,
    /// Whether fewer shards will do when locked memory has no room for all: `--dev` with no number of them written.
    pub fewer_shards: bool,
    /// Interface of the kernel that shards use; after the start one of the two.
    pub engine: EngineChoice,
    /// The CPUs that shards are pinned to, in turn; at least one. See [`Settings::cpu`].
    pub cpus: Vec<usize>,
    /// Which set of numbers the defaults come from.
    pub profile: Profile,
    /// The proof of identity that callers must give.
    pub auth: Auth,
    /// Whether open connections are asked again whether they may be open, when the credentials or the tags of their
    /// channel change.
    pub auth_recheck: bool,
    /// Development mode: any region and account, unknown channels are created by a connect.
    pub dev: bool,
    /// Origins of pages that may use a server without signatures beside those of loopback, as browsers write them;
    /// empty where requests are signed, since there any may.
    pub dev_origins: Vec<String>,
    /// Whether listeners off loopback are allowed although no signature is asked for (`--dev` only).
    pub allow_remote: bool,
    /// Whether clients come through published ports of a container (`--dev` only): the port that they use is that of
    /// their `Host`, and the admin listener has a token that is made at the start.
    pub container: bool,
    /// Names and addresses by which clients reach a development server beside loopback: they enter its certificate, and
    /// its pages may use it.
    pub dev_hosts: Vec<String>,
    /// The address of this machine in the local network that devices reach it at, and find its pages at
    /// (`--dev` only).
    pub lan: Option<Ipv4Addr>,
    /// Whether a browser is started with the page to try the service, once it serves (`--dev` only).
    pub open_try: bool,
    /// Etcd is accepted as it is, whatever the data directory remembers of it; only a flag sets this.
    pub accept_etcd: bool,
    /// Whether copies of messages are kept for `/dev/messages`, under `--dev`.
    pub dev_capture: bool,
    /// Whether endpoints that discovery returns have the scheme and port of the request (`--dev` only).
    pub plain: bool,
    /// Written with what the ready line says, once every listener accepts.
    pub ready_file: Option<PathBuf>,
    /// The directory of the process's files.
    pub data_dir: PathBuf,
    /// Whether that directory ends with the process.
    pub data_dir_ends: bool,
    /// The form of log lines on stderr.
    pub log_format: LogFormat,
    /// The least level of log lines, unless the environment says otherwise.
    pub log_level: LogLevel,
    /// The credentials file of `--auth sigv4`.
    pub credentials: Option<PathBuf>,
    /// The operator's certificate; `None` with a TLS listener means the development certificate (`--dev` only).
    pub tls: Option<TlsFiles>,
    /// Which endpoints discovery returns.
    pub advertise: Advertise,
    /// The proxies in front.
    pub proxy: Proxy,
    /// Bounds in bytes and pieces.
    pub limits: Limits,
    /// Spans of time.
    pub timeouts: Timeouts,
    /// Rates that clients may use up.
    pub quotas: Quotas,
    /// The recipients of notices of the service.
    pub signaling: Signaling,
    /// Bounds of the programs of clients, by `User-Agent`.
    pub clients: Vec<Client>,
    /// The flight recorder of the shards.
    pub recorder: RecorderSettings,
    /// Retention of what names people and devices.
    pub privacy: Privacy,
    /// Players without an SDK.
    pub whep: Whep,
    /// Extensions that AWS does not have.
    pub options: Options,
    /// Whether this node is one of several.
    pub cluster: ClusterSettings,
    /// The rules for all hooks.
    pub presence: PresenceRules,
    /// Receivers of events of channels; empty when none is configured.
    pub hooks: Vec<Hook>,
    /// STUN and TURN servers, in the order of GetIceServerConfig; empty when none is configured.
    pub ice: Vec<Ice>,
    /// The files that their secrets were read from.
    pub ice_files: Vec<PathBuf>,
}
}

impl Default for Settings {
    /// The settings of an empty configuration file without `--dev`, on one shard.
    fn default() -> Self {
        Self::new(Profile::Default, false)
    }
}

impl Settings {
    /// Whether connections to a client listener, by its place in the list, begin with a header of the PROXY protocol.
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

    /// The defaults of `profile`, with or without `--dev`, on one shard that is pinned to CPU 0.
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

    /// The CPU that `shard` (counted from 0) is pinned to: more shards than CPUs share them in turn.
    #[must_use]
    pub fn cpu(&self, shard: usize) -> Option<usize> {
        self.cpus.get(shard % self.cpus.len().max(1)).copied()
    }

    /// The requirements on signatures: `--dev` takes any region, the strict profile allows no tolerance but AWS's.
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

    /// Whether the strict profile is on.
    #[must_use]
    pub fn strict(&self) -> bool {
        self.profile == Profile::Strict
    }

    /// The port of the first listener of `scheme`, as configured.
    #[must_use]
    pub fn port(&self, scheme: Scheme) -> Option<u16> {
        self.listen
            .iter()
            .find(|listen| listen.scheme == scheme)
            .map(|listen| listen.addr.port())
    }
}

/// A client listener: an address and whether it speaks TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Plain or TLS.
    pub scheme: Scheme,
    /// Address and port. Before the start, port 0 means any free port; the settings of shards have the actual one.
    pub addr: SocketAddr,
}

impl fmt::Display for Listen {
    /// As it is written, such as `https://127.0.0.1:8443`.
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(to, "{scheme}://{}", self.addr)
    }
}

/// The protocol of a listener. Both kinds serve the HTTP API and WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Plain: HTTP API and `ws`.
    Http,
    /// TLS: HTTPS API and `wss`.
    Https,
}

/// The admin listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admin {
    /// Address of the listener, or `None` for `off`.
    pub listen: Option<SocketAddr>,
    /// Origins, beside the listener's own, of the console behind a proxy that ends TLS.
    pub origins: Vec<String>,
    /// A file with the bearer token that requests need, whatever address they come to.
    pub token_file: Option<PathBuf>,
    /// Whether `/metrics` is shown without that token.
    pub metrics_open: bool,
    /// Whether `/try` is there without `--dev`.
    pub try_page: bool,
    /// The accounts of a provider that may use the console, beside the token.
    pub oidc: Option<Oidc>,
}

/// Which numbers the defaults come from.
#[derive(
    Clone, Copy, Debug, Default, Display, EnumString, IntoStaticStr, PartialEq, Eq, VariantNames,
)]
#[strum(serialize_all = "lowercase")]
pub enum Profile {
    /// The needs of today's browsers, payloads up to 32 KiB.
    #[default]
    Default,
    /// Every number as AWS documents it, no extension.
    Strict,
}

/// The interface of the kernel that shards work with.
#[derive(
    Clone, Copy, Debug, Default, Display, EnumString, IntoStaticStr, PartialEq, Eq, VariantNames,
)]
#[strum(serialize_all = "snake_case")]
pub enum EngineChoice {
    /// `io_uring` where all shards can have it, else `epoll`.
    #[default]
    Auto,
    /// The start is refused where it cannot be had.
    IoUring,
    /// Every Linux has it.
    Epoll,
}

/// The proof of identity that callers must give.
#[derive(Clone, Copy, Debug, Default, Display, EnumString, PartialEq, Eq, VariantNames)]
#[strum(serialize_all = "lowercase")]
pub enum Auth {
    /// AWS Signature Version 4.
    #[default]
    Sigv4,
    /// No signature is required. Only on loopback.
    None,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, Display, EnumString, PartialEq, Eq, VariantNames)]
#[strum(serialize_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The least level of log lines.
#[derive(
    Clone, Copy, Debug, Default, Display, EnumString, IntoStaticStr, PartialEq, Eq, VariantNames,
)]
#[strum(serialize_all = "lowercase")]
pub enum LogLevel {
    /// Lines about what needs an operator.
    Error,
    /// Also lines about what may need one.
    Warn,
    /// And what a process does as a whole.
    #[default]
    Info,
    /// And what it does in detail.
    Debug,
    /// And each message.
    Trace,
}

/// The operator's certificates: one, or one for each kind of key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM: the leaf certificate first, then its chain.
    pub cert: Vec<PathBuf>,
    /// PEM: the private key of each leaf, in the same order.
    pub key: Vec<PathBuf>,
    /// PEM: authorities of client certificates.
    pub client_ca: Option<PathBuf>,
    /// The treatment of a certificate that has expired.
    pub expired: Expired,
}

/// The treatment of a certificate that has expired. Any other fault of the files is refused.
#[derive(Clone, Copy, Debug, Default, Display, EnumString, PartialEq, Eq, VariantNames)]
#[strum(serialize_all = "lowercase")]
pub enum Expired {
    /// Present the certificate and log an error: clients that do not check it, and plain listeners, are served.
    #[default]
    Serve,
    /// Refuse the files.
    Refuse,
}

/// The proxies in front whose word on their clients counts, by their networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxy {
    /// Networks of proxies that begin each connection with a header of the PROXY protocol.
    pub protocol_from: Vec<IpNet>,
    /// The listeners that they connect to, of those for clients; all of them, if none is named.
    pub protocol_on: Vec<Listen>,
    /// Networks of proxies whose `Forwarded` or `X-Forwarded-For` counts.
    pub forwarded_from: Vec<IpNet>,
}

/// Which endpoints discovery returns; with all three absent, the host of the request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advertise {
    /// Hosts below this domain, a name of its own per channel and role.
    pub domain: Option<String>,
    /// WebSocket endpoint, such as `wss://signaling.example.com`; no slash at the end.
    pub wss: Option<String>,
    /// HTTPS endpoint, such as `https://signaling.example.com`; no slash at the end.
    pub https: Option<String>,
}

/// The recipients of notices of the service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signaling {
    /// The recipients of GO_AWAY and RECONNECT_ICE_SERVER.
    pub go_away: GoAway,
    /// How it is known that a message has reached its recipient.
    pub proof: Proof,
    /// How long a master's connection has been open when it gets the offers that a former one did not answer; 0: never.
    pub repeat_offers_ms: u64,
}

/// How it is known that a message has reached its recipient's machine.
#[derive(Clone, Copy, Debug, Default, Display, EnumString, PartialEq, Eq, VariantNames)]
#[strum(serialize_all = "lowercase")]
pub enum Proof {
    /// By the acknowledgements of TCP: from the machine that ends the connection.
    #[default]
    Tcp,
    /// By the answer to a ping behind it, where a proxy ends the connection (RFC 6455 section 5.5.3).
    Pong,
}

/// The recipients of GO_AWAY and RECONNECT_ICE_SERVER. A connection that gets neither is closed with 1001 where another
/// one gets them.
#[derive(Clone, Copy, Debug, Default, Display, EnumString, PartialEq, Eq, VariantNames)]
#[strum(serialize_all = "lowercase")]
pub enum GoAway {
    /// All but those whose row of `[clients]` says no, and those that offered the subprotocol `wss`: the C SDK, whose
    /// receiving thread waits for itself forever after either of the two messages (seen with 1.16, the same code since
    /// 1.7.3).
    #[default]
    Auto,
    /// Everybody, as AWS does.
    Always,
    /// Nobody.
    Never,
}

/// The flight recorder: notes that shards keep of events on their channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecorderSettings {
    /// Notes of one shard, a power of two; 0 is off. See [`Settings::recorder_notes_of_shard`].
    pub notes: usize,
}

/// Retention of what names people and devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Privacy {
    /// The age at which refusals, troubled sessions, lines of the log, notes of the recorder, and marks and causes of
    /// the history are erased, in milliseconds; 0 is never.
    pub keep_ms: u64,
}

/// Players without an SDK, which POST their offer to `/whep/NAME`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Whep {
    /// Whether they are served; never under the strict profile.
    pub on: bool,
    /// Time without a candidate after which a call has all that its camera sends, in milliseconds.
    pub quiet_ms: u64,
    /// Longest time from the camera's first message to the end of a call, in milliseconds.
    pub gather_max_ms: u64,
    /// Longest time of a call, in milliseconds.
    pub wait_ms: u64,
}

/// Extensions that AWS does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether a master may send SDP_OFFER to a viewer.
    pub master_offers: bool,
}

// The URLs under which people find the pages of the admin listener.

impl Settings {
    /// The URL of the admin listener, without a slash at the end, for a client that reached this machine as `host`.
    #[must_use]
    pub fn admin_url(&self, host: &str) -> Option<String> {
        let addr = self.admin.listen?;
        Some(if addr.ip().is_unspecified() && !host.is_empty() {
            format!("http://{host}:{}", addr.port())
        } else {
            format!("http://{addr}")
        })
    }

    /// Whether the page to try the service is served.
    #[must_use]
    pub fn has_try_page(&self) -> bool {
        self.dev || self.admin.try_page
    }

    /// The page to try the service, for a browser on this machine; `None` when it is off.
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
    /// The warning where a proxy that ends TLS would lead clients astray: nothing says what they are to connect to.
    #[must_use]
    pub fn unadvertised(&self) -> Option<String> {
        let Advertise { domain, wss, https } = &self.advertise;
        let is_told = domain.is_some() || (wss.is_some() && https.is_some());
        let has_tls = self.listen.iter().any(|it| it.scheme == Scheme::Https);
        let listen = self.listen.first()?;
        let is_quiet = self.dev || is_told || has_tls || !self.proxy.forwarded_from.is_empty();
        (!is_quiet).then(|| {
            format!(
                "no listener has TLS, so discovery returns ws://HOST:{}: behind a proxy that ends TLS set \
                 `[advertise]` wss and https to the proxy's address, or its network in `[proxy] \
                 forwarded_from` (PROXY.md)",
                listen.addr.port()
            )
        })
    }

    /// The warning to all who use a development server that other machines reach.
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

    /// The TLS listener that devices of the local network reach, under `--lan`.
    #[must_use]
    pub fn lan_listener(&self) -> Option<&Listen> {
        self.listen.iter().find(|listen| self.is_of_lan(listen))
    }

    /// Whether the listener of this place in the list is one that serves pages to devices of the local network.
    #[must_use]
    pub fn has_pages(&self, listener: u16) -> bool {
        let listen = self.listen.get(usize::from(listener));
        listen.is_some_and(|listen| self.is_of_lan(listen))
    }

    /// The beginning of the URLs of pages for devices of the local network, such as `https://192.168.1.20:8443`.
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

/// A name or an address as the host of a URL: an IPv6 address gets its brackets.
#[must_use]
pub fn host_text(host: &str) -> String {
    match host.parse::<Ipv6Addr>() {
        Ok(address) => format!("[{address}]"),
        Err(_) => host.to_ascii_lowercase(),
    }
}

// People's accounts of an OpenID provider, with which they use the console: `[admin.oidc]`.

/// The accounts that may use the console. What is secret stays in its file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Oidc {
    /// The issuer of a provider of the credentials file, without `https://`.
    pub provider: String,
    /// The claim of an id token that decides: a text, or a list of texts.
    pub claim: String,
    /// The value that the claim must be, or have in its list.
    pub value: String,
    /// The client that the console is to the provider; `None`: the only one that the credentials file names.
    pub client_id: Option<String>,
    /// A file with that client's secret; without, it is a public client.
    pub client_secret_file: Option<PathBuf>,
    /// The scopes that are asked for; empty for [`SCOPES`](Self::SCOPES).
    pub scopes: Vec<String>,
}

impl Oidc {
    /// The scopes that are asked for unless others are written. Source: OpenID Connect Core 1.0, section 5.4.
    pub const SCOPES: [&'static str; 3] = ["openid", "email", "profile"];

    /// Whether it says whom to let in.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        ![&self.provider, &self.claim, &self.value]
            .iter()
            .any(|text| text.is_empty())
    }

    /// The scopes as a request has them.
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

/// One entry of GetIceServerConfig.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ice {
    /// `stun:`, `turn:` and `turns:` URLs in the order in which clients see them: 1 to 4.
    pub urls: Vec<String>,
    /// The client's credential for the server.
    pub credential: IceCredential,
    /// Time for which the answer is valid: 30 to 86 400 seconds. Source: GetIceServerConfig, `Ttl`.
    pub ttl_seconds: u32,
}

/// The credential that a client shows a STUN or TURN server. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub enum IceCredential {
    /// Nothing: STUN only. The answer carries placeholders, since clients refuse entries without credentials.
    None,
    /// A fixed user.
    Fixed {
        /// The user's name.
        username: String,
        /// The user's password.
        password: String,
    },
    /// Time-limited credentials are minted with the first secret (coturn's `static-auth-secret`); the others are those
    /// that the TURN server still takes during a rotation. At least one.
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

/// Whether a socket at one of the addresses keeps others from the other: the same one, or one of them is any. `[::]`
/// takes IPv4 as well, unless its owner asked for IPv6 alone.
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
