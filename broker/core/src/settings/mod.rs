//! The checked configuration as plain data: written once at start, then only read.
//!
//! Defaults depend on two switches alone: the [`Profile`] sets the numbers, `--dev` the listeners, the authentication
//! and the rates. Every key that is written, in the file or as a flag, wins over both. The keys with their ranges and
//! defaults are the table [`KEYS`].

mod accounts;
mod cluster;
mod glob;
mod hooks;
mod ice;
mod keys;
mod limits;
mod overlap;
mod pages;
mod parts;
mod quotas;
mod table;
mod timeouts;
pub mod value;

use crate::auth::SignatureRules;
pub use crate::quota::Rate;
pub use accounts::Oidc;
pub use cluster::{Cluster, Etcd, Link};
use codec::sigv4::CLOCK_TOLERANCE_S;
pub use glob::Glob;
pub use hooks::{HOOKS_MAX, Hook, PresenceRules, TELLS_VIEWERS, mask_of};
pub use ice::{Ice, IceCredential};
pub use keys::{Field, Flag, Key, Kind, RATE_MAX};
pub use limits::{Limits, channels_per_account_strict};
pub use overlap::overlap;
pub use pages::host_text;
pub use quotas::Quotas;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use strum::{Display, EnumString, IntoStaticStr, VariantNames};
pub use table::KEYS;
pub use timeouts::Timeouts;

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
    /// The credentials file of `--auth sigv4`.
    pub credentials: Option<PathBuf>,
    /// The operator's certificate; `None` with a TLS listener means the development certificate (`--dev` only).
    pub tls: Option<TlsFiles>,
    /// Which endpoints discovery returns.
    pub advertise: Advertise,
    /// Bounds in bytes and pieces.
    pub limits: Limits,
    /// Spans of time.
    pub timeouts: Timeouts,
    /// Rates that clients may use up.
    pub quotas: Quotas,
    /// The recipients of notices of the service.
    pub signaling: Signaling,
    /// The flight recorder of the shards.
    pub recorder: Recorder,
    /// Extensions that AWS does not have.
    pub options: Options,
    /// Whether this node is one of several.
    pub cluster: Cluster,
    /// The rules for all hooks.
    pub presence: PresenceRules,
    /// Receivers of events of channels; empty when none is configured.
    pub hooks: Vec<Hook>,
    /// STUN and TURN servers, in the order of GetIceServerConfig; empty when none is configured.
    pub ice: Vec<Ice>,
}
}

impl Default for Settings {
    /// The settings of an empty configuration file without `--dev`, on one shard.
    fn default() -> Self {
        Self::new(Profile::Default, false)
    }
}

impl Settings {
    /// The defaults of `profile`, with or without `--dev`, on one shard that is pinned to CPU 0.
    #[must_use]
    pub fn new(profile: Profile, dev: bool) -> Self {
        let mut settings = Self {
            shards: 1,
            cpus: vec![0],
            dev,
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
            own_tolerances: !self.strict(),
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
    /// Its address, or `None` for `off`.
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

/// The operator's certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM: the leaf certificate first, then its chain.
    pub cert: PathBuf,
    /// PEM: the private key of the leaf.
    pub key: PathBuf,
    /// PEM: authorities of client certificates.
    pub client_ca: Option<PathBuf>,
}

/// Which endpoints discovery returns; with all three absent, the host of the request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advertise {
    /// Hosts below this domain, a name of its own per channel and role.
    pub domain: Option<String>,
    /// This WebSocket endpoint, such as `wss://signaling.example.com`; no slash at the end.
    pub wss: Option<String>,
    /// This HTTPS endpoint, such as `https://signaling.example.com`; no slash at the end.
    pub https: Option<String>,
}

/// The recipients of notices of the service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signaling {
    /// The recipients of GO_AWAY and RECONNECT_ICE_SERVER.
    pub go_away: GoAway,
    /// Whether viewers that ask for it are notified when the master comes and goes, on channels with the tag for that.
    pub presence_messages: bool,
}

/// The recipients of GO_AWAY and RECONNECT_ICE_SERVER. A connection that gets neither is closed with 1001 where another
/// one gets them.
#[derive(Clone, Copy, Debug, Default, Display, EnumString, PartialEq, Eq, VariantNames)]
#[strum(serialize_all = "lowercase")]
pub enum GoAway {
    /// All but those that offered the subprotocol `wss`: the C SDK, whose receiving thread waits for itself forever
    /// after either of the two messages (seen with 1.16, the same code since 1.7.3).
    #[default]
    Auto,
    /// Everybody, as AWS does.
    Always,
    /// Nobody.
    Never,
}

/// The flight recorder: notes that shards keep of events on their channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorder {
    /// Notes of one shard, a power of two; 0 is off. See [`Settings::recorder_notes_of_shard`].
    pub notes: usize,
}

/// Extensions that AWS does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether a master may send SDP_OFFER to a viewer.
    pub master_offers: bool,
}
