//! The flags of `heliograph policy`.

use clap::{Args, Subcommand};
use codec::policy::Action;
use std::net::IpAddr;
use std::path::PathBuf;

/// The flags of `heliograph policy`.
#[derive(Args, Clone, Debug)]
pub struct PolicyFlags {
    /// The command.
    #[command(subcommand)]
    pub command: PolicyCommand,
}

/// The operations of `heliograph policy`.
#[derive(Clone, Debug, Subcommand)]
pub enum PolicyCommand {
    /// Say whether a principal, or a session of a role, may do something by a credentials file, and which statement
    /// decides; exit with 0 when it may, with 1 when not, with 2 when the question or the file is wrong. With a thing
    /// or a claim, also say whether the role lets that one sign in. Whether the channel exists is not looked at
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
