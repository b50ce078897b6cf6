//! The command line.

use super::value;
use broker_core::limits::SHARDS_MAX;
use broker_core::settings::{Auth, Listen, LogFormat, Profile};
use clap::{Args, Parser, Subcommand};
use codec::aws::{ChannelArn, ClientId};
use std::net::SocketAddr;
use std::path::PathBuf;

/// A signaling service for WebRTC that speaks the wire protocol of Amazon Kinesis Video Streams.
#[derive(Clone, Debug, Parser)]
#[command(name = "broker", version, arg_required_else_help = true)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the binary can do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run the service
    Serve(Box<ServeFlags>),
    /// Check a configuration file and the files it names, with the checks of serve and the same flags: print a summary
    /// and exit with 0, or every error with its place and exit with 2
    CheckConfig {
        /// The file
        file: PathBuf,
        /// Flags of serve.
        #[command(flatten)]
        flags: Box<ServeFlags>,
    },
    /// Print a signed WebSocket URL; keys come from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN
    Presign(PresignFlags),
    /// Write a consistent copy of a running broker's data directory
    Backup(BackupFlags),
}

/// The flags of `broker backup`.
#[derive(Args, Clone, Debug)]
pub struct BackupFlags {
    /// The directory to write, absent or empty. It will contain secrets; only its owner may enter it
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// The admin listener of the broker: http://HOST:PORT
    #[arg(
        long,
        value_name = "URL",
        default_value = "http://127.0.0.1:9090",
        value_parser = admin_url,
        conflicts_with = "data_dir"
    )]
    pub admin: String,
    /// File with the token of that listener [default: none]
    #[arg(long, value_name = "FILE", conflicts_with = "data_dir")]
    pub token_file: Option<PathBuf>,
    /// Copy the data directory of a stopped broker instead [default: none]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Leave out session.key; a restore then ends the temporary credentials issued so far
    #[arg(long)]
    pub without_session_key: bool,
    /// Print the summary as JSON
    #[arg(long)]
    pub json: bool,
}

/// The flags of `broker presign`.
#[derive(Args, Clone, Debug)]
pub struct PresignFlags {
    /// The endpoint that discovery returned: wss://HOST or wss://HOST:PORT
    #[arg(long, value_name = "URL", value_parser = web_socket)]
    pub endpoint: String,
    /// The channel
    #[arg(long, value_name = "ARN", value_parser = channel_arn)]
    pub channel_arn: ChannelArn,
    /// The viewer's id; without it, the URL is the master's
    #[arg(long, value_name = "ID", value_parser = client_id)]
    pub client_id: Option<String>,
    /// The region of the signature; the channel's if absent
    #[arg(long, value_name = "NAME", value_parser = value::region)]
    pub region: Option<String>,
    /// How long the URL is valid, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = expires)]
    pub expires: u32,
}

/// The flags of `broker serve`; each overrides the same key of the configuration file.
#[derive(Args, Clone, Debug, Default)]
pub struct ServeFlags {
    /// Development mode, on loopback only: no signatures, any region and account, a channel is created when a client
    /// connects to it, a generated certificate, a drain of one second [default: off]
    #[arg(long)]
    pub dev: bool,
    /// Origin of pages that may use a server without signatures, such as https://app.example:3000; repeatable. Pages of
    /// loopback always may [default: none]
    #[arg(long, value_name = "ORIGIN", value_parser = value::dev_origin)]
    pub dev_origin: Vec<String>,
    /// Configuration file (TOML); every key is in deploy/broker.toml [default: none]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where clients connect: http://ADDR:PORT or https://ADDR:PORT, repeatable; port 0 picks one
    /// [default: http://127.0.0.1:8080; with --dev also https://127.0.0.1:8443]
    #[arg(long, value_name = "URL", value_parser = value::listen)]
    pub listen: Vec<Listen>,
    /// Where operators connect: ADDR:PORT or off [default: 127.0.0.1:9090]
    #[arg(long, value_name = "ADDR:PORT", value_parser = admin)]
    pub admin: Option<AdminFlag>,
    /// Number of shards [default: one per CPU that the process may use; with --dev fewer if locked memory is short]
    #[arg(long, value_name = "N", value_parser = shards)]
    pub shards: Option<usize>,
    /// The CPUs that shards are pinned to, such as 0-3,6 [default: those that the process may use]
    #[arg(long, value_name = "LIST", value_parser = cpus)]
    pub cpus: Option<CpuList>,
    /// Set of defaults: default (for current browsers) or strict (the numbers that AWS documents)
    /// [default: default]
    #[arg(long, value_name = "NAME", value_parser = value::word::<Profile>)]
    pub profile: Option<Profile>,
    /// Authentication of requests: sigv4 or none (loopback only) [default: sigv4; with --dev none]
    #[arg(long, value_name = "NAME", value_parser = value::word::<Auth>)]
    pub auth: Option<Auth>,
    /// Directory for the broker's files [default: heliograph-data]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// The AWS region of created channels [default: us-west-2]
    #[arg(long, value_name = "NAME", value_parser = value::region)]
    pub region: Option<String>,
    /// The AWS account of created channels: 12 digits [default: 123456789012]
    #[arg(long, value_name = "ID", value_parser = value::account_id)]
    pub account_id: Option<String>,
    /// Credentials file (TOML) of --auth sigv4 [default: none]
    #[arg(long, value_name = "FILE")]
    pub credentials: Option<PathBuf>,
    /// Certificate chain (PEM), the leaf first [default: none; with --dev a generated one]
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the certificate (PEM) [default: none; with --dev a generated one]
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Log lines on stderr: text or json [default: text]
    #[arg(long, value_name = "FORM", value_parser = value::word::<LogFormat>)]
    pub log_format: Option<LogFormat>,
}

/// The value of `--admin`; a type of its own, since an option within an option means something else to clap.
#[derive(Clone, Copy, Debug)]
pub struct AdminFlag(pub Option<SocketAddr>);

/// The value of `--cpus`; a type of its own, since a list means a repeatable flag to clap.
#[derive(Clone, Debug)]
pub struct CpuList(pub Vec<usize>);

fn admin_url(text: &str) -> Result<String, String> {
    value::endpoint(text, ["http", "http"])
}

fn web_socket(text: &str) -> Result<String, String> {
    value::endpoint(text, ["wss", "ws"])
}

fn channel_arn(text: &str) -> Result<ChannelArn, String> {
    ChannelArn::parse(text, false).map_err(|error| error.message().to_owned())
}

fn client_id(text: &str) -> Result<String, String> {
    let rule = "allowed 1 to 256 of the characters a-z A-Z 0-9 _ . -";
    ClientId::parse(text)
        .map(|id| id.as_str().to_owned())
        .map_err(|_| rule.into())
}

fn expires(text: &str) -> Result<u32, String> {
    let number = value::number(text, 1..=604_800)?;
    u32::try_from(number).map_err(|_| "too large".into())
}

fn admin(text: &str) -> Result<AdminFlag, String> {
    value::admin(text).map(AdminFlag)
}

fn cpus(text: &str) -> Result<CpuList, String> {
    value::cpus(text).map(CpuList)
}

fn shards(text: &str) -> Result<usize, String> {
    let number = value::number(text, 1..=SHARDS_MAX as u64)?;
    usize::try_from(number).map_err(|_| "too large".into())
}
