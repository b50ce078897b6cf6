//! The command line.

use crate::config::KeyFlags;
use broker_core::settings::value;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use codec::identifiers::{ChannelArn, ChannelName, ClientId};
use codec::policy::Action;
use codec::sigv4::PLAYER_EXPIRES_S_MAX;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

/// A signaling service for WebRTC that speaks the wire protocol of Amazon Kinesis Video Streams.
#[derive(Clone, Debug, Parser)]
#[command(name = "heliograph", version, arg_required_else_help = true)]
pub struct Arguments {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands of the binary.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run the broker
    Serve(Box<ServeFlags>),
    /// Check a configuration file and the files it names
    CheckConfig {
        /// Path of the configuration file
        file: PathBuf,
        /// Flags of serve.
        #[command(flatten)]
        flags: Box<ServeFlags>,
    },
    /// Check for problems that prevent a broker from running here
    Doctor(DoctorFlags),
    /// Print a signed URL of a WebSocket or a player
    Presign(PresignFlags),
    /// Copy a running broker's data directory
    Backup(BackupFlags),
    /// Collect diagnostics for a support request
    Bundle(BundleFlags),
    /// Import and export channels as JSON of the AWS CLI
    Channels(ChannelsFlags),
    /// Manage devices that sign in with certificates
    #[command(subcommand)]
    Things(ThingsCommand),
    /// Show what happened on a channel
    Trace(TraceFlags),
    /// Summarize recent activity: figures, causes and marks
    Report(ReportFlags),
    /// Explain why a request was refused
    Why(WhyFlags),
    /// Erase what a running broker stores about a client
    Forget(ForgetFlags),
    /// Print refusals and warnings as they occur
    Tail(TailFlags),
    /// Show load, refusals and problems on one screen
    Top(TopFlags),
    /// Test the policies of a credentials file
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Send a test event to the receiver of a hook
    HookTest(HookTestFlags),
    /// Print the environment for clients of a --dev broker
    Env(EnvFlags),
    /// Manage the cluster of a configuration file
    Cluster(ClusterFlags),
    /// Print the seccomp profile that a container needs
    SeccompProfile(SeccompFlags),
    /// Print the completions of a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print version and build details
    Version(VersionFlags),
}

/// The flags of `heliograph seccomp-profile`.
#[derive(Args, Clone, Debug)]
pub struct SeccompFlags {
    /// File to write instead of stdout; an existing file with different content is left unchanged [default: none]
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// The flags of `heliograph version`.
#[derive(Args, Clone, Debug)]
pub struct VersionFlags {
    /// Print JSON: version, commit, dirty, target, profile, rustc
    #[arg(long)]
    pub json: bool,
}

/// The flags of `heliograph cluster`.
#[derive(Args, Clone, Debug)]
pub struct ClusterFlags {
    /// Configuration file (TOML) of one of the nodes, with [cluster] etcd; required
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// The command.
    #[command(subcommand)]
    pub command: ClusterCommand,
}

/// The operations of `heliograph cluster`.
#[derive(Clone, Debug, Subcommand)]
pub enum ClusterCommand {
    /// Print nodes, their slots, and the members of etcd
    Status,
    /// Check etcd, the secret, clocks, links and names
    Check,
    /// Remove a stopped node from the members
    Remove {
        /// Name of the node
        #[arg(value_name = "NODE")]
        node: String,
        /// Remove the node even if it owns slots, because its host is permanently lost
        #[arg(long)]
        lost: bool,
    },
    /// Hand a node's slots over to others, then stop it
    Drain {
        /// Name of the node
        #[arg(value_name = "NODE")]
        node: String,
    },
    /// Distribute the slots equally among the nodes
    Rebalance,
    /// Raise the minimum inner version, as an upgrade's last step
    FinishUpgrade,
    /// Import the channels of a directory or files into etcd
    Import {
        /// Data directory or files to import
        #[arg(value_name = "DIR|FILE", required = true)]
        from: Vec<PathBuf>,
        /// With a directory: first remove the channels in etcd
        #[arg(long)]
        replace: bool,
    },
    /// Write a data directory with all channels in etcd
    Export {
        /// Directory to write; must be absent or empty
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
}

/// The flags of `heliograph channels`.
#[derive(Args, Clone, Debug)]
pub struct ChannelsFlags {
    /// Data directory of a stopped broker; import creates it if it is absent
    #[arg(long, value_name = "DIR", default_value = "heliograph-data")]
    #[arg(global = true)]
    pub data_dir: PathBuf,
    /// The command.
    #[command(subcommand)]
    pub command: ChannelsCommand,
}

/// The operations of `heliograph channels`.
#[derive(Clone, Debug, Subcommand)]
pub enum ChannelsCommand {
    /// Import channels from files into the data directory
    #[command(mut_arg("admin", |it| it.help(IMPORTS_INTO)))]
    Import {
        /// JSON files with the output of list-signaling-channels and describe-signaling-channel, and {"ChannelARN":
        /// ARN, "Tags": {KEY: VALUE}}
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
        /// Only report how many channels would be created, how many exist already, and any faults
        #[arg(long)]
        dry_run: bool,
        /// The running broker, for --admin: the channels are imported there instead of into a directory.
        #[command(flatten)]
        asked: AdminFlags,
    },
    /// Print the channels in the data directory
    Export,
}

/// The flags of every command that queries a running broker.
#[derive(Args, Clone, Debug)]
pub struct AdminFlags {
    /// The admin listener of the broker: http://HOST:PORT [default: that of --config, else http://127.0.0.1:8090]
    #[arg(long, value_name = "URL", value_parser = admin_url)]
    pub admin: Option<String>,
    /// File with the token of that listener [default: $HELIOGRAPH_ADMIN_TOKEN_FILE, else that of --config]
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Configuration file (TOML) of the broker, for its [admin] listen and token_file [default: none]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// The flags of `heliograph doctor`.
#[derive(Args, Clone, Debug)]
pub struct DoctorFlags {
    /// The broker to check, if it is running. If `--config` is not given, this is a broker started by `serve --dev`.
    #[command(flatten)]
    pub asked: AdminFlags,
    /// Print the findings as JSON
    #[arg(long, conflicts_with = "ready")]
    pub json: bool,
    /// Only ask the running broker whether it is ready: exit with 0 if it is, else with 1
    #[arg(long)]
    pub ready: bool,
}

/// The flags of `heliograph env`.
#[derive(Args, Clone, Debug)]
pub struct EnvFlags {
    /// The broker to query.
    #[command(flatten)]
    pub asked: AdminFlags,
    /// Output format: export statements for a shell, a file of variables, JSON, or lines for the file $GITHUB_ENV
    #[arg(long, value_name = "FORM", value_enum, default_value = "sh")]
    pub format: EnvFormat,
}

/// Output formats of the environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EnvFormat {
    /// `export NAME='value'`.
    Sh,
    /// `NAME="value"`.
    Dotenv,
    /// A single object.
    Json,
    /// `NAME=value`.
    Github,
}

/// The flags of `heliograph backup`.
#[derive(Args, Clone, Debug)]
pub struct BackupFlags {
    /// Directory to write; must be absent or empty. It will contain secrets; only its owner may enter it
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// The broker to query.
    #[command(flatten)]
    pub asked: AdminFlags,
    /// Copy the data directory of a stopped broker instead [default: none]
    #[arg(long, value_name = "DIR", conflicts_with_all = ["admin", "token_file", "config"])]
    pub data_dir: Option<PathBuf>,
    /// Leave out session.key; a restore then ends the temporary credentials issued so far
    #[arg(long)]
    pub without_session_key: bool,
    /// Print the summary as JSON
    #[arg(long)]
    pub json: bool,
}

/// The flags of `heliograph bundle`.
#[derive(Args, Clone, Debug)]
pub struct BundleFlags {
    /// File to write; must not exist [default: heliograph-bundle-TIME.tar]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The broker to query.
    #[command(flatten)]
    pub asked: AdminFlags,
}

/// The flags of `heliograph report`.
#[derive(Args, Clone, Debug)]
pub struct ReportFlags {
    /// Start of the report: yesterday, a span such as -24h, or a time such as 2026-01-02T03:04:05Z
    #[arg(
        long,
        value_name = "MOMENT",
        default_value = "-24h",
        allow_hyphen_values = true
    )]
    pub since: String,
    /// Show times in UTC instead of local time
    #[arg(long)]
    pub utc: bool,
    /// The broker to query.
    #[command(flatten)]
    pub asked: AdminFlags,
    /// Print the listener's response as JSON
    #[arg(long)]
    pub json: bool,
}

/// The flags of `heliograph trace`.
#[derive(Args, Clone, Debug)]
pub struct TraceFlags {
    /// Name of the channel
    #[arg(value_name = "CHANNEL", value_parser = channel_name)]
    pub channel: String,
    /// Show only the viewer with this client id [default: all]
    #[arg(long, value_name = "ID", value_parser = client_id)]
    pub client: Option<String>,
    /// Show each event on a separate line instead of merging consecutive candidates
    #[arg(long)]
    pub events: bool,
    /// Keep running, and print new events every second
    #[arg(long)]
    pub follow: bool,
    /// The broker to query.
    #[command(flatten)]
    pub asked: AdminFlags,
    /// Print the listener's response as JSON; with --follow one line per change
    #[arg(long)]
    pub json: bool,
}

/// The flags of `heliograph tail`.
#[derive(Args, Clone, Debug)]
pub struct TailFlags {
    /// Show only lines that mention this channel [default: all]
    #[arg(long, value_name = "NAME", value_parser = channel_name)]
    pub channel: Option<String>,
    /// Show only refusals by this check, such as signature_expired [default: all]
    #[arg(long, value_name = "CHECK")]
    pub check: Option<String>,
    /// Minimum level; refusals count as warnings [default: warn, with --verbose info]
    #[arg(long, value_name = "LEVEL", value_enum)]
    pub level: Option<TailLevel>,
    /// Print log lines verbatim, and all details of each refusal
    #[arg(short, long)]
    pub verbose: bool,
    /// The broker to query.
    #[command(flatten)]
    pub asked: AdminFlags,
}

/// Levels of log lines, most severe first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum TailLevel {
    /// `ERROR`.
    Error,
    /// `WARN`.
    Warn,
    /// `INFO`.
    Info,
    /// `DEBUG` and `TRACE`.
    Debug,
}

/// The flags of `heliograph top`.
#[derive(Args, Clone, Debug)]
pub struct TopFlags {
    /// The broker to query.
    #[command(flatten)]
    pub asked: AdminFlags,
}

/// The flags of `heliograph hook-test`.
#[derive(Args, Clone, Debug)]
pub struct HookTestFlags {
    /// Name of the hook
    #[arg(value_name = "NAME")]
    pub name: String,
    /// The broker to query.
    #[command(flatten)]
    pub asked: AdminFlags,
}

/// The flags of `heliograph forget`.
#[derive(Args, Clone, Debug)]
pub struct ForgetFlags {
    /// Client id, address, token subject or thing name
    #[arg(value_name = "TEXT")]
    pub text: String,
    /// The broker to query.
    #[command(flatten)]
    pub asked: AdminFlags,
}

/// The flags of `heliograph why`.
#[derive(Args, Clone, Debug)]
pub struct WhyFlags {
    /// Request id of the response (x-amzn-RequestId), or a channel, its ARN, a client id, an access key id or an
    /// address [default: none]
    #[arg(value_name = "WHAT", conflicts_with_all = ["channel", "client", "key", "remote", "text"])]
    pub what: Option<String>,
    /// Requests for this channel, by its name or ARN; API calls with an invalid signature are not attributed to one
    /// [default: any]
    #[arg(long, value_name = "NAME")]
    pub channel: Option<String>,
    /// Requests of this client id [default: any]
    #[arg(long, value_name = "ID")]
    pub client: Option<String>,
    /// Requests signed with this access key id [default: any]
    #[arg(long, value_name = "ID")]
    pub key: Option<String>,
    /// Requests from this IP address [default: any]
    #[arg(long, value_name = "ADDRESS")]
    pub remote: Option<String>,
    /// Requests that failed this check, such as signature_expired [default: any]
    #[arg(long, value_name = "CHECK")]
    pub check: Option<String>,
    /// Requests with this text in the name of a thing, certificate, issuer, subject, role or session, or in the reason
    /// [default: any]
    #[arg(long, value_name = "TEXT")]
    pub text: Option<String>,
    /// Requests since this time, such as 2026-01-02T03:04:05Z [default: any]
    #[arg(long, value_name = "MOMENT")]
    pub since: Option<String>,
    /// Group by check and channel: count, first and last time, and the newest refusal of each
    #[arg(long)]
    pub group: bool,
    /// Maximum number of requests or groups, newest first
    #[arg(
        long,
        value_name = "N",
        default_value_t = 20,
        value_parser = clap::value_parser!(u16).range(1..=1000)
    )]
    pub limit: u16,
    /// The broker to query.
    #[command(flatten)]
    pub asked: AdminFlags,
    /// Print the listener's response as JSON
    #[arg(long)]
    pub json: bool,
}

/// The flags of `heliograph presign`.
#[derive(Args, Clone, Debug)]
pub struct PresignFlags {
    /// Endpoint returned by discovery: wss://HOST or wss://HOST:PORT; with --whep https:// instead of wss:// [default:
    /// with --whep $AWS_ENDPOINT_URL_KINESIS_VIDEO]
    #[arg(long, value_name = "URL", required_unless_present = "whep", value_parser = endpoint)]
    pub endpoint: Option<String>,
    /// The channel
    #[arg(long, value_name = "ARN", required_unless_present = "whep", value_parser = channel_arn)]
    pub channel_arn: Option<ChannelArn>,
    /// The channel, for a URL that a player opens without an SDK (WHEP)
    #[arg(long, value_name = "NAME", requires = "client_id", value_parser = channel_name)]
    #[arg(conflicts_with_all = ["channel_arn", "expires"])]
    pub whep: Option<String>,
    /// Client id of the viewer; without it, the URL is for the master
    #[arg(long, value_name = "ID", value_parser = client_id)]
    pub client_id: Option<String>,
    /// AWS region to sign for [default: the channel's region; with --whep, $AWS_REGION or us-west-2]
    #[arg(long, value_name = "NAME", value_parser = value::region)]
    pub region: Option<String>,
    /// Validity of the URL in seconds
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = expires)]
    pub expires: u32,
    /// Validity of a player's URL, up to 365d; anyone who has the URL can watch, unless a policy denies its client id
    #[arg(long = "for", value_name = "TIME", requires = "whep", default_value = "7d", value_parser = life)]
    life_ms: u64,
}

impl PresignFlags {
    /// Validity of a player's URL in seconds.
    #[must_use]
    pub fn life_s(&self) -> u32 {
        u32::try_from(self.life_ms / 1000).unwrap_or(PLAYER_EXPIRES_S_MAX)
    }
}

/// The flags of `heliograph serve`.
#[derive(Args, Clone, Debug, Default)]
pub struct ServeFlags {
    /// Development mode, on loopback only: no signatures, any region and account, channels created on first connection,
    /// a generated certificate, a drain of one second [default: off]
    #[arg(long)]
    pub dev: bool,
    /// Let a --dev server listen on addresses other than loopback: every machine that reaches it can use any channel.
    /// On such addresses, the admin listener still requires its token [default: off]
    #[arg(long, requires = "dev")]
    pub allow_remote: bool,
    /// Serve clients through the published ports of a container, not only on loopback: like --allow-remote, with an
    /// admin token contained in the printed URL, and all data in memory. Discovery returns the port of the request
    /// [default: off]
    #[arg(long, requires = "dev", conflicts_with = "lan")]
    pub container: bool,
    /// Admit phones on the local network: a --dev server also listens with TLS on this machine's address in that
    /// network, and serves its pages to devices paired by a QR code. Every machine in that network can use any channel
    /// [default: off]
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, require_equals = true, requires = "dev")]
    pub lan: Option<Option<Ipv4Addr>>,
    /// Open the try page of a --dev server in a browser (xdg-open) when it is ready [default: off]
    #[arg(long, requires = "dev")]
    pub open: bool,
    /// Show log lines below WARN on a terminal, which a --dev server omits by default; RUST_LOG takes precedence
    /// [default: off]
    #[arg(long, requires = "dev")]
    pub verbose: bool,
    /// Make discovery of a --dev server return endpoints with the scheme and port of the request instead of those of
    /// the TLS listener [default: off]
    #[arg(long, requires = "dev")]
    pub plain: bool,
    /// With [cluster] etcd: accept the state of an etcd that was restored from a backup or emptied, and discard what
    /// this node stored about it [default: off]
    #[arg(long)]
    pub accept_etcd: bool,
    /// JSON file to write with the content of the ready line and the environment of clients, once all listeners accept
    /// connections [default: none]
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
    /// Configuration file (TOML); all keys are listed in deploy/broker.toml [default: none]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Flags that override keys of the configuration file.
    #[command(flatten)]
    pub keys: KeyFlags,
}

/// Help text of `--admin` for commands that otherwise write a data directory.
const IMPORTS_INTO: &str =
    "The admin listener of a broker that runs: http://HOST:PORT [default: none, into --data-dir]";

fn admin_url(text: &str) -> Result<String, String> {
    value::endpoint(text, ["http", "http"])
}

/// Validates an endpoint: a WebSocket URL with an optional role, or the HTTP URL of a player's endpoint.
fn endpoint(text: &str) -> Result<String, String> {
    let of_player = value::endpoint(text, ["https", "http"]);
    let checked = of_player.or_else(|_| value::endpoint(value::without_role(text), ["wss", "ws"]));
    checked.map(|_| text.to_owned())
}

fn channel_arn(text: &str) -> Result<ChannelArn, String> {
    ChannelArn::parse(text, false).map_err(|error| error.message().to_owned())
}

fn channel_name(text: &str) -> Result<String, String> {
    ChannelName::parse(text)
        .map(|_| text.to_owned())
        .map_err(|_| "expected 1 to 256 of the characters a-z A-Z 0-9 _ . -".into())
}

fn client_id(text: &str) -> Result<String, String> {
    let rule = "expected 1 to 256 of the characters a-z A-Z 0-9 _ . -";
    ClientId::parse(text)
        .map(|id| id.as_str().to_owned())
        .map_err(|_| rule.into())
}

fn life(text: &str) -> Result<u64, String> {
    value::duration(text, 1000..=u64::from(PLAYER_EXPIRES_S_MAX) * 1000)
}

fn expires(text: &str) -> Result<u32, String> {
    let number = value::number(text, &(1..=604_800))?;
    u32::try_from(number).map_err(|_| "too large".into())
}

/// The operations of `heliograph things`.
#[derive(Clone, Debug, Subcommand)]
pub enum ThingsCommand {
    /// Issue a certificate and key for a test device
    Issue(ThingsIssueFlags),
    /// Show which thing a certificate identifies
    Check(ThingsCheckFlags),
    /// Create the registry of [things] from the AWS CLI's output
    Import(ThingsImportFlags),
}

/// The flags of `heliograph things issue`.
#[derive(Args, Clone, Debug)]
pub struct ThingsIssueFlags {
    /// Name of the thing
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Data directory of the broker
    #[arg(long, value_name = "DIR", default_value = "heliograph-data")]
    pub data_dir: PathBuf,
    /// Directory for the certificate and key files
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub out: PathBuf,
    /// Role alias requested by the device
    #[arg(long, value_name = "ALIAS", default_value = "camera")]
    pub role_alias: String,
}

/// The flags of `heliograph things check`.
#[derive(Args, Clone, Debug)]
pub struct ThingsCheckFlags {
    /// Certificate of a device, with its chain if any
    #[arg(value_name = "CERT.pem")]
    pub certificate: PathBuf,
    /// The credentials file
    #[arg(long, value_name = "FILE")]
    pub credentials: PathBuf,
    /// Name of the thing, as sent by the device
    #[arg(long, value_name = "NAME")]
    pub thing: Option<String>,
    /// Region of the server
    #[arg(long, value_name = "REGION", default_value = "us-west-2")]
    pub region: String,
}

/// The flags of `heliograph things import`.
#[derive(Args, Clone, Debug)]
pub struct ThingsImportFlags {
    /// JSON files with the output of list-things, list-certificates, and {"thingName": NAME, "principals": [ARN]}; and
    /// PEM files
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Registry file to write instead of stdout
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// The operations of `heliograph policy`.
#[derive(Clone, Debug, Subcommand)]
pub enum PolicyCommand {
    /// Show whether a caller may perform an action, and why
    Test(PolicyTestFlags),
}

/// The flags of `heliograph policy test`.
#[derive(Args, Clone, Debug)]
pub struct PolicyTestFlags {
    /// The credentials file
    #[arg(long, value_name = "FILE")]
    pub credentials: PathBuf,
    /// A principal or a role of that file; role/NAME or user/NAME if the name is ambiguous
    #[arg(long = "as", value_name = "NAME")]
    pub who: String,
    /// Action, such as ConnectAsMaster, kinesisvideo:ConnectAsMaster or sts:AssumeRole
    #[arg(long, value_name = "ACTION", value_parser = action)]
    pub action: Action,
    /// ARN of the resource: a channel, with /* in place of its creation time to create it; * to list channels
    #[arg(long, value_name = "ARN", value_parser = arn)]
    pub resource: String,
    /// Client id of a viewer [default: none]
    #[arg(long, value_name = "ID")]
    pub client_id: Option<String>,
    /// Tag of the channel; repeatable [default: none]
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub tag: Vec<(String, String)>,
    /// Thing whose certificate was used to sign in, for a role [default: none]
    #[arg(long, value_name = "NAME", conflicts_with = "claim")]
    pub thing: Option<String>,
    /// PEM file with the thing's certificate and its chain [default: all certificates known for the thing]
    #[arg(long, value_name = "FILE", requires = "thing")]
    pub cert: Option<PathBuf>,
    /// Role alias requested by the thing [default: the role's first alias]
    #[arg(long, value_name = "NAME", requires = "thing")]
    pub alias: Option<String>,
    /// Claim of the token used to sign in, for a role: id.example.com:sub=ada; repeatable [default: none]
    #[arg(long, value_name = "ISSUER:NAME=VALUE", value_parser = claim)]
    pub claim: Vec<(String, String, String)>,
    /// Address of the client
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub source_ip: IpAddr,
    /// The client does not use TLS
    #[arg(long)]
    pub plain: bool,
    /// Region of the server
    #[arg(long, value_name = "NAME", default_value = "us-west-2")]
    pub region: String,
    /// Account of principals and roles that specify none: 12 digits
    #[arg(long, value_name = "ID", default_value = "123456789012")]
    pub account_id: String,
    /// Print JSON: decision, decided_by, who, signs_in, action, resource
    #[arg(long)]
    pub json: bool,
}

fn action(text: &str) -> Result<Action, String> {
    let mut all = Action::ALL.into_iter();
    let found = all.find(|action| action.name() == text || action.as_str() == text);
    found.ok_or_else(|| {
        let names: Vec<_> = Action::ALL.iter().map(|action| action.name()).collect();
        format!("expected {}", names.join(", "))
    })
}

fn arn(text: &str) -> Result<String, String> {
    if text == "*"
        || text
            .strip_prefix("arn:")
            .is_some_and(|rest| rest.split(':').count() >= 5)
    {
        return Ok(text.to_owned());
    }
    Err(
        "expected * and an ARN, such as arn:aws:kinesisvideo:us-west-2:123456789012:channel/cam-1/*"
            .into(),
    )
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn claim(text: &str) -> Result<(String, String, String), String> {
    let rule = "expected ISSUER:NAME=VALUE, the issuer without https://";
    let (key, value) = text.split_once('=').ok_or(rule)?;
    let (issuer, name) = key.rsplit_once(':').ok_or(rule)?;
    if issuer.is_empty() || name.is_empty() || issuer.starts_with("https://") {
        return Err(rule.to_owned());
    }
    Ok((issuer.to_owned(), name.to_owned(), value.to_owned()))
}
