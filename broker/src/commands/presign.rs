//! `heliograph presign`: prints a presigned URL for a WebSocket or a player. The keys come from the environment.

use crate::config::PresignFlags;
use crate::devices::unix_s;
use crate::{failure::Failure, hooks::address::is_loopback, terminal::say};
use broker_core::settings::value::{advertised, authority, role_of_path, without_role};
use codec::signal::Role;
use codec::sigv4::EXPIRES_S_MAX;
use codec::sigv4::signer::{Keys, Player, Signer, Upgrade};
use std::time::SystemTime;

/// Signs the URL and returns the line to print.
///
/// # Errors
/// Fails if the environment contains no keys or if flags conflict.
pub fn run(flags: &PresignFlags) -> Result<String, Failure> {
    let (id, secret) = (
        needed("AWS_ACCESS_KEY_ID")?,
        needed("AWS_SECRET_ACCESS_KEY")?,
    );
    let token = variable("AWS_SESSION_TOKEN");
    let now_s = unix_s(SystemTime::now());
    let keys = Keys {
        access_key_id: &id,
        secret_access_key: &secret,
        session_token: token.as_deref(),
    };
    match &flags.whep {
        Some(channel) => player(flags, channel, keys, now_s),
        None => web_socket(flags, keys, now_s),
    }
}

fn web_socket(flags: &PresignFlags, keys: Keys<'_>, now_s: u64) -> Result<String, Failure> {
    let (Some(given), Some(arn)) = (&flags.endpoint, &flags.channel_arn) else {
        return refused("a WebSocket needs --endpoint and --channel-arn");
    };
    // The endpoint's path determines the role. Without a path, the role is viewer if a client id is given, and master
    // otherwise.
    let endpoint = without_role(given);
    let client_id = match role_of_path(given.get(endpoint.len()..).unwrap_or_default()) {
        Some(Role::Master) => None,
        Some(Role::Viewer) if flags.client_id.is_none() => {
            return refused("the endpoint is that of viewers, which need a --client-id");
        }
        Some(Role::Viewer) | None => flags.client_id.as_deref(),
    };
    let (scheme, host) = endpoint.split_once("://").unwrap_or(("wss", endpoint));
    if !matches!(scheme, "wss" | "ws") {
        return refused("the endpoint of a WebSocket is wss://HOST or wss://HOST:PORT");
    }
    let upgrade = Upgrade {
        host,
        channel_arn: arn.as_str(),
        client_id,
        expires_s: flags.expires,
        now_s,
    };
    let region = flags.region.as_deref().unwrap_or_else(|| arn.region());
    let target = Signer::new(keys, region).presign(&upgrade);
    Ok(format!("{scheme}://{host}{target}\n"))
}

fn player(
    flags: &PresignFlags,
    channel: &str,
    keys: Keys<'_>,
    now_s: u64,
) -> Result<String, Failure> {
    let given = flags.endpoint.clone().or_else(|| variable(ENDPOINT));
    let Some(given) = given else {
        return refused(&format!(
            "a player needs --endpoint https://HOST, or {ENDPOINT}"
        ));
    };
    let endpoint = advertised(&given, ["https", "http"]);
    let endpoint = endpoint
        .map_err(|rule| Failure::Configuration(format!("--endpoint of a player: {rule}")))?;
    let host = endpoint.split_once("://").map_or("", |(_, host)| host);
    let expires_s = flags.life_s();
    let is_local = authority(host).is_some_and(|(name, _)| is_loopback(name));
    if expires_s > EXPIRES_S_MAX && endpoint.starts_with("http:") && !is_local {
        return refused(
            "a URL for more than seven days needs https: anybody on its way could keep it",
        );
    }
    if keys.session_token.is_some() {
        say(&"warning: these keys are temporary, and the URL ends with them");
    }
    let region = flags.region.clone().or_else(|| variable("AWS_REGION"));
    let player = Player {
        host,
        channel,
        client_id: flags.client_id.as_deref().unwrap_or(codec::whep::CLIENT_ID),
        expires_s,
        now_s,
    };
    let target = Signer::new(keys, region.as_deref().unwrap_or(REGION)).presign_player(&player);
    Ok(format!("{endpoint}{target}\n"))
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn needed(name: &str) -> Result<String, Failure> {
    let lacks = || Failure::Configuration(format!("the environment lacks {name}"));
    variable(name).ok_or_else(lacks)
}

fn refused(rule: &str) -> Result<String, Failure> {
    Err(Failure::Configuration(rule.into()))
}

const ENDPOINT: &str = "AWS_ENDPOINT_URL_KINESIS_VIDEO";

const REGION: &str = "us-west-2";
