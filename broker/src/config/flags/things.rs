//! The flags of `heliograph things`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// The flags of `heliograph things`.
#[derive(Args, Clone, Debug)]
pub struct ThingsFlags {
    /// The command.
    #[command(subcommand)]
    pub command: ThingsCommand,
}

/// The operations of `heliograph things`.
#[derive(Clone, Debug, Subcommand)]
pub enum ThingsCommand {
    /// Write certificate and key of a test device of `serve --dev`, and print the variables of the C SDK for them
    Issue(ThingsIssueFlags),
    /// Say which thing a certificate stands for and which role aliases it may use, or why it is refused
    Check(ThingsCheckFlags),
    /// Make the registry of [things] from what the AWS CLI prints of things and certificates
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
