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
        /// The file
        file: PathBuf,
        /// Flags of serve.
        #[command(flatten)]
        flags: Box<ServeFlags>,
    },
    /// Look for what keeps a broker from running here
    Doctor(DoctorFlags),
    /// Print a signed URL of a WebSocket or a player
    Presign(PresignFlags),
    /// Copy a running broker's data directory
    Backup(BackupFlags),
    /// Pack what somebody who helps needs to know
    Bundle(BundleFlags),
    /// Move channels in and out, as the AWS CLI's JSON
    Channels(ChannelsFlags),
    /// Look after devices that sign in with certificates
    #[command(subcommand)]
    Things(ThingsCommand),
    /// Show what happened on a channel
    Trace(TraceFlags),
    /// Print figures, causes and marks of last night
    Report(ReportFlags),
    /// Say why a request was refused
    Why(WhyFlags),
    /// Erase what a running broker remembers of somebody
    Forget(ForgetFlags),
    /// Print refusals and warnings as they come
    Tail(TailFlags),
    /// Show load, refusals and problems on one screen
    Top(TopFlags),
    /// Ask the policies of a credentials file
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Send a test event to the receiver of a hook
    HookTest(HookTestFlags),
    /// Print the environment for clients of a --dev broker
    Env(EnvFlags),
    /// Look after the cluster of a configuration file
    Cluster(ClusterFlags),
    /// Print the seccomp profile that a container needs
    SeccompProfile(SeccompFlags),
    /// Print the completions of a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the version and what it was built from
    Version(VersionFlags),
}

/// The flags of `heliograph seccomp-profile`.
#[derive(Args, Clone, Debug)]
pub struct SeccompFlags {
    /// File to write instead of stdout; one that is there with another content is left as it is [default: none]
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// The flags of `heliograph version`.
#[derive(Args, Clone, Debug)]
pub struct VersionFlags {
    /// As JSON: version, commit, dirty, target, profile, rustc
    #[arg(long)]
    pub json: bool,
}

/// The flags of `heliograph cluster`.
#[derive(Args, Clone, Debug)]
pub struct ClusterFlags {
    /// Configuration file (TOML) of one of the nodes, with [cluster] etcd; needed
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
    /// Remove a node that does not run from the members
    Remove {
        /// Its name
        #[arg(value_name = "NODE")]
        node: String,
        /// Also one that owns slots, since its host is lost forever
        #[arg(long)]
        lost: bool,
    },
    /// Have a node give its slots to others and end
    Drain {
        /// Its name
        #[arg(value_name = "NODE")]
        node: String,
    },
    /// Give each node an equal part of the slots
    Rebalance,
    /// Raise the lowest inner version, as an upgrade's last step
    FinishUpgrade,
    /// Put channels of a directory or files into etcd
    Import {
        /// The data directory, or the files
        #[arg(value_name = "DIR|FILE", required = true)]
        from: Vec<PathBuf>,
        /// With a directory: remove the channels that are in etcd first
        #[arg(long)]
        replace: bool,
    },
    /// Write a data directory with every channel of etcd
    Export {
        /// The directory to write, absent or empty
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
}

/// The flags of `heliograph channels`.
#[derive(Args, Clone, Debug)]
pub struct ChannelsFlags {
    /// The data directory of a broker that does not run; import creates it if absent
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
    /// Put channels of files into the data directory
    #[command(mut_arg("admin", |it| it.help(IMPORTS_INTO)))]
    Import {
        /// Files of JSON of list- and describe-signaling-channel, and {"ChannelARN": ARN, "Tags": {KEY: VALUE}}
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
        /// Only say how many channels would be created, how many are there, and what is wrong
        #[arg(long)]
        dry_run: bool,
        /// The broker that runs, for --admin: the channels go there in place of a directory.
        #[command(flatten)]
        asked: AdminFlags,
    },
    /// Print the channels in the data directory
    Export,
}

/// The flags of each command that asks a running broker.
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
    /// The broker to look at if it runs; without --config that of `serve --dev`.
    #[command(flatten)]
    pub asked: AdminFlags,
    /// Print what was found as JSON
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
    /// The form: for a shell to evaluate, a file of variables, JSON, or the file $GITHUB_ENV
    #[arg(long, value_name = "FORM", value_enum, default_value = "sh")]
    pub format: EnvFormat,
}

/// Forms of the environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EnvFormat {
    /// `export NAME='value'`.
    Sh,
    /// `NAME="value"`.
    Dotenv,
    /// One object.
    Json,
    /// `NAME=value`.
    Github,
}

/// The flags of `heliograph backup`.
#[derive(Args, Clone, Debug)]
pub struct BackupFlags {
    /// The directory to write, absent or empty. It will contain secrets; only its owner may enter it
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
    /// File to write, absent [default: heliograph-bundle-TIME.tar]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The broker to query.
    #[command(flatten)]
    pub asked: AdminFlags,
}

/// The flags of `heliograph report`.
#[derive(Args, Clone, Debug)]
pub struct ReportFlags {
    /// Since when: yesterday, a span such as -24h, or a moment such as 2026-01-02T03:04:05Z
    #[arg(
        long,
        value_name = "MOMENT",
        default_value = "-24h",
        allow_hyphen_values = true
    )]
    pub since: String,
    /// Times in UTC, not in local time
    #[arg(long)]
    pub utc: bool,
    /// The broker to query.
    #[command(flatten)]
    pub asked: AdminFlags,
    /// Print the listener's answer as JSON
    #[arg(long)]
    pub json: bool,
}

/// The flags of `heliograph trace`.
#[derive(Args, Clone, Debug)]
pub struct TraceFlags {
    /// The channel's name
    #[arg(value_name = "CHANNEL", value_parser = channel_name)]
    pub channel: String,
    /// Only the viewer of this client id [default: all]
    #[arg(long, value_name = "ID", value_parser = client_id)]
    pub client: Option<String>,
    /// Each event on a line of its own: else candidates that follow each other are one
    #[arg(long)]
    pub events: bool,
    /// Go on, and print what is new every second
    #[arg(long)]
    pub follow: bool,
    /// The broker to query.
    #[command(flatten)]
    pub asked: AdminFlags,
    /// Print the listener's answer as JSON; with --follow a line each time that something changed
    #[arg(long)]
    pub json: bool,
}

/// The flags of `heliograph tail`.
#[derive(Args, Clone, Debug)]
pub struct TailFlags {
    /// Only what names this channel [default: all]
    #[arg(long, value_name = "NAME", value_parser = channel_name)]
    pub channel: Option<String>,
    /// Only refusals by this check, such as signature_expired [default: all]
    #[arg(long, value_name = "CHECK")]
    pub check: Option<String>,
    /// The least level; refusals are as warnings [default: warn, with --verbose info]
    #[arg(long, value_name = "LEVEL", value_enum)]
    pub level: Option<TailLevel>,
    /// Whole lines, as the broker writes them, and all about each refusal
    #[arg(short, long)]
    pub verbose: bool,
    /// The broker to query.
    #[command(flatten)]
    pub asked: AdminFlags,
}

/// Levels of log lines, the gravest first.
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
    /// The name of the hook
    #[arg(value_name = "NAME")]
    pub name: String,
    /// The broker to ask.
    #[command(flatten)]
    pub asked: AdminFlags,
}

/// The flags of `heliograph forget`.
#[derive(Args, Clone, Debug)]
pub struct ForgetFlags {
    /// The client id, address, subject of a token, or thing
    #[arg(value_name = "TEXT")]
    pub text: String,
    /// The broker to ask.
    #[command(flatten)]
    pub asked: AdminFlags,
}

/// The flags of `heliograph why`.
#[derive(Args, Clone, Debug)]
pub struct WhyFlags {
    /// The request id of the answer (x-amzn-RequestId), or a channel, its ARN, a client id, an access key id or an
    /// address [default: none]
    #[arg(value_name = "WHAT", conflicts_with_all = ["channel", "client", "key", "remote", "text"])]
    pub what: Option<String>,
    /// Requests that named this channel, by its name or ARN; API calls with a wrong signature name none [default: any]
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
    /// Requests that did not pass this check, such as signature_expired [default: any]
    #[arg(long, value_name = "CHECK")]
    pub check: Option<String>,
    /// Requests with this text in a name: of a thing, certificate, issuer, subject, role or session, or in the reason
    /// [default: any]
    #[arg(long, value_name = "TEXT")]
    pub text: Option<String>,
    /// Requests since this moment, such as 2026-01-02T03:04:05Z [default: any]
    #[arg(long, value_name = "MOMENT")]
    pub since: Option<String>,
    /// By check and channel: how many, from when to when, and the newest of each
    #[arg(long)]
    pub group: bool,
    /// Number of requests or groups at most, the newest first
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
    /// Print the listener's answer as JSON
    #[arg(long)]
    pub json: bool,
}

/// The flags of `heliograph presign`.
#[derive(Args, Clone, Debug)]
pub struct PresignFlags {
    /// The endpoint that discovery returned: wss://HOST or wss://HOST:PORT; with --whep https:// in place of wss://
    /// [default: with --whep $AWS_ENDPOINT_URL_KINESIS_VIDEO]
    #[arg(long, value_name = "URL", required_unless_present = "whep", value_parser = endpoint)]
    pub endpoint: Option<String>,
    /// The channel
    #[arg(long, value_name = "ARN", required_unless_present = "whep", value_parser = channel_arn)]
    pub channel_arn: Option<ChannelArn>,
    /// The channel, for a URL that players open without an SDK (WHEP)
    #[arg(long, value_name = "NAME", requires = "client_id", value_parser = channel_name)]
    #[arg(conflicts_with_all = ["channel_arn", "expires"])]
    pub whep: Option<String>,
    /// The viewer's id; without it, the URL is the master's
    #[arg(long, value_name = "ID", value_parser = client_id)]
    pub client_id: Option<String>,
    /// The region of the signature [default: the channel's; with --whep $AWS_REGION, else us-west-2]
    #[arg(long, value_name = "NAME", value_parser = value::region)]
    pub region: Option<String>,
    /// Validity of the URL in seconds
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = expires)]
    pub expires: u32,
    /// Validity of a player's URL, up to 365d; anyone who has it may watch, unless a policy denies its client id
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
    /// Development mode, on loopback only: no signatures, any region and account, a channel is created when a client
    /// connects to it, a generated certificate, a drain of one second [default: off]
    #[arg(long)]
    pub dev: bool,
    /// Let a --dev server listen off loopback: every machine that reaches it can use any channel. The admin listener
    /// needs its token there, as in every mode [default: off]
    #[arg(long, requires = "dev")]
    pub allow_remote: bool,
    /// Serve clients through the published ports of a container, off loopback: as --allow-remote, with a token for the
    /// admin listener that is in the printed URL, and everything in memory. Discovery returns the port of the request
    /// [default: off]
    #[arg(long, requires = "dev", conflicts_with = "lan")]
    pub container: bool,
    /// Let phones of the local network in: a --dev server listens with TLS on this machine's address there too, and
    /// serves its pages to devices that are paired by a QR code. Every machine of that network can use any channel
    /// [default: off]
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, require_equals = true, requires = "dev")]
    pub lan: Option<Option<Ipv4Addr>>,
    /// Open the page to try a --dev server in a browser (xdg-open) once it serves [default: off]
    #[arg(long, requires = "dev")]
    pub open: bool,
    /// Log lines below WARN on a terminal as well, where a --dev server shows none; RUST_LOG wins [default: off]
    #[arg(long, requires = "dev")]
    pub verbose: bool,
    /// Endpoints that discovery of a --dev server returns have the scheme and port of the request, not those of the TLS
    /// listener [default: off]
    #[arg(long, requires = "dev")]
    pub plain: bool,
    /// With [cluster] etcd: accept etcd as it is after it was restored from a backup, or emptied; what this node
    /// remembers of it is forgotten [default: off]
    #[arg(long)]
    pub accept_etcd: bool,
    /// File to write, as JSON, with what the ready line says and the environment of clients, once every listener
    /// accepts [default: none]
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
    /// Configuration file (TOML); every key is in deploy/broker.toml [default: none]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Flags that override keys of the file.
    #[command(flatten)]
    pub keys: KeyFlags,
}

/// The help of `--admin` where a data directory is written without it.
const IMPORTS_INTO: &str =
    "The admin listener of a broker that runs: http://HOST:PORT [default: none, into --data-dir]";

fn admin_url(text: &str) -> Result<String, String> {
    value::endpoint(text, ["http", "http"])
}

/// An endpoint, with its role or without; of a player, too.
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
        .map_err(|_| "allowed 1 to 256 of the characters a-z A-Z 0-9 _ . -".into())
}

fn client_id(text: &str) -> Result<String, String> {
    let rule = "allowed 1 to 256 of the characters a-z A-Z 0-9 _ . -";
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
    /// Write certificate and key of a test device
    Issue(ThingsIssueFlags),
    /// Say which thing a certificate stands for
    Check(ThingsCheckFlags),
    /// Make the registry of [things] from the AWS CLI's output
    Import(ThingsImportFlags),
}

/// The flags of `heliograph things issue`.
#[derive(Args, Clone, Debug)]
pub struct ThingsIssueFlags {
    /// The name of the thing
    #[arg(value_name = "NAME")]
    pub name: String,
    /// The data directory of the broker
    #[arg(long, value_name = "DIR", default_value = "heliograph-data")]
    pub data_dir: PathBuf,
    /// The directory for both files
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub out: PathBuf,
    /// The role alias that the device asks for
    #[arg(long, value_name = "ALIAS", default_value = "camera")]
    pub role_alias: String,
}

/// The flags of `heliograph things check`.
#[derive(Args, Clone, Debug)]
pub struct ThingsCheckFlags {
    /// The certificate of a device, with its chain if it has one
    #[arg(value_name = "CERT.pem")]
    pub certificate: PathBuf,
    /// The credentials file
    #[arg(long, value_name = "FILE")]
    pub credentials: PathBuf,
    /// The thing's name that the device sends
    #[arg(long, value_name = "NAME")]
    pub thing: Option<String>,
    /// The region of the server
    #[arg(long, value_name = "REGION", default_value = "us-west-2")]
    pub region: String,
}

/// The flags of `heliograph things import`.
#[derive(Args, Clone, Debug)]
pub struct ThingsImportFlags {
    /// Files of JSON of list-things, list-certificates, and {"thingName": NAME, "principals": [ARN]}; and PEM files
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// The registry to write instead of stdout
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// The operations of `heliograph policy`.
#[derive(Clone, Debug, Subcommand)]
pub enum PolicyCommand {
    /// Say whether somebody may do something, and why
    Test(PolicyTestFlags),
}

/// The flags of `heliograph policy test`.
#[derive(Args, Clone, Debug)]
pub struct PolicyTestFlags {
    /// The credentials file
    #[arg(long, value_name = "FILE")]
    pub credentials: PathBuf,
    /// A principal or a role of that file; role/NAME or user/NAME where both have the name
    #[arg(long = "as", value_name = "NAME")]
    pub who: String,
    /// The action: ConnectAsMaster, kinesisvideo:ConnectAsMaster, sts:AssumeRole
    #[arg(long, value_name = "ACTION", value_parser = action)]
    pub action: Action,
    /// The ARN that it is done to: of a channel, with /* in place of its time to create it; * to list channels
    #[arg(long, value_name = "ARN", value_parser = arn)]
    pub resource: String,
    /// The client id of a viewer [default: none]
    #[arg(long, value_name = "ID")]
    pub client_id: Option<String>,
    /// Tag of the channel; repeatable [default: none]
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub tag: Vec<(String, String)>,
    /// The thing whose certificate signed in, for a role [default: none]
    #[arg(long, value_name = "NAME", conflicts_with = "claim")]
    pub thing: Option<String>,
    /// A PEM file with the thing's certificate and its chain [default: all that the file knows of the thing]
    #[arg(long, value_name = "FILE", requires = "thing")]
    pub cert: Option<PathBuf>,
    /// The role alias that the thing asks for [default: the first of the role]
    #[arg(long, value_name = "NAME", requires = "thing")]
    pub alias: Option<String>,
    /// Claim of the token that signed in, for a role: id.example.com:sub=ada; repeatable [default: none]
    #[arg(long, value_name = "ISSUER:NAME=VALUE", value_parser = claim)]
    pub claim: Vec<(String, String, String)>,
    /// The address of the client
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub source_ip: IpAddr,
    /// The client does not use TLS
    #[arg(long)]
    pub plain: bool,
    /// The region of the server
    #[arg(long, value_name = "NAME", default_value = "us-west-2")]
    pub region: String,
    /// The account of principals and roles without one: 12 digits
    #[arg(long, value_name = "ID", default_value = "123456789012")]
    pub account_id: String,
    /// Answer as JSON: decision, decided_by, who, signs_in, action, resource
    #[arg(long)]
    pub json: bool,
}

fn action(text: &str) -> Result<Action, String> {
    let mut all = Action::ALL.into_iter();
    let found = all.find(|action| action.name() == text || action.as_str() == text);
    found.ok_or_else(|| {
        let names: Vec<_> = Action::ALL.iter().map(|action| action.name()).collect();
        format!("allowed {}", names.join(", "))
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
        "allowed * and an ARN, such as arn:aws:kinesisvideo:us-west-2:123456789012:channel/cam-1/*"
            .into(),
    )
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("allowed KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn claim(text: &str) -> Result<(String, String, String), String> {
    let rule = "allowed ISSUER:NAME=VALUE, the issuer without https://";
    let (key, value) = text.split_once('=').ok_or(rule)?;
    let (issuer, name) = key.rsplit_once(':').ok_or(rule)?;
    if issuer.is_empty() || name.is_empty() || issuer.starts_with("https://") {
        return Err(rule.to_owned());
    }
    Ok((issuer.to_owned(), name.to_owned(), value.to_owned()))
}
