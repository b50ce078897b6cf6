//! The settings as JSON under the names of the configuration file, without secrets: what `/config` shows.

use super::check::url;
use super::value::Span;
use broker_core::settings::{
    Admin, Advertise, Ice, IceCredential, Limits, Options, Quotas, Rate, Settings, Timeouts,
};
use serde_json::{Value, json};
use std::path::Path;

/// Every setting. Secrets are `<redacted>`; files that hold some are named, not read.
#[must_use]
pub fn json(settings: &Settings) -> Value {
    // Taken apart without `..`: a setting that is added is shown, or left out, on purpose.
    let Settings {
        region,
        account_id,
        listen,
        admin,
        shards,
        fewer_shards: _,
        cpus,
        profile,
        auth,
        dev,
        dev_origins,
        data_dir,
        log_format,
        credentials,
        tls,
        advertise,
        limits: bounds,
        timeouts: spans,
        quotas: rates,
        signaling,
        options,
        ice: servers,
    } = settings;
    let Admin {
        listen: admin,
        token_file,
    } = admin;
    let Advertise { domain, wss, https } = advertise;
    let Options { master_offers } = options;
    let tls = tls.as_ref().map(|files| {
        let client_ca = files.client_ca.as_deref().map(path);
        json!({ "cert": path(&files.cert), "key": path(&files.key), "client_ca": client_ca })
    });
    json!({
        "region": region,
        "account_id": account_id,
        "listen": listen.iter().map(url).collect::<Vec<_>>(),
        "admin": {
            "listen": admin.map_or_else(|| "off".to_owned(), |addr| addr.to_string()),
            "token_file": token_file.as_deref().map(path),
        },
        "shards": shards,
        "cpus": cpus,
        "profile": <&str>::from(profile),
        "auth": <&str>::from(auth),
        "dev": dev,
        "dev_origins": dev_origins,
        "data_dir": path(data_dir),
        "log_format": <&str>::from(log_format),
        "credentials": credentials.as_deref().map(path),
        "tls": tls,
        "advertise": { "domain": domain, "wss": wss, "https": https },
        "limits": limits(bounds),
        "timeouts": timeouts(spans),
        "quotas": quotas(rates),
        "signaling": { "go_away": <&str>::from(signaling.go_away) },
        "options": { "master_offers": master_offers },
        "ice": servers.iter().map(ice).collect::<Vec<_>>(),
    })
}

fn limits(limits: &Limits) -> Value {
    let Limits {
        viewers_per_channel,
        channels_per_account,
        payload_bytes,
        message_bytes,
        head_bytes,
        header_lines,
        body_bytes,
        request_bytes,
        outbox_bytes,
        outbox_bytes_total,
        outbox_bytes_per_shard,
        pending_bytes_per_channel,
        pending_bytes_total,
        pending_bytes_per_shard,
        connections,
        handshakes_per_shard,
        handshakes_per_address,
    } = limits;
    json!({
        "viewers_per_channel": viewers_per_channel,
        "channels_per_account": channels_per_account,
        "payload_bytes": payload_bytes,
        "message_bytes": message_bytes,
        "head_bytes": head_bytes,
        "header_lines": header_lines,
        "body_bytes": body_bytes,
        "request_bytes": request_bytes,
        "outbox_bytes": outbox_bytes,
        "outbox_bytes_total": outbox_bytes_total,
        "outbox_bytes_per_shard": outbox_bytes_per_shard,
        "pending_bytes_per_channel": pending_bytes_per_channel,
        "pending_bytes_total": pending_bytes_total,
        "pending_bytes_per_shard": pending_bytes_per_shard,
        "connections": connections,
        "handshakes_per_shard": handshakes_per_shard,
        "handshakes_per_address": handshakes_per_address,
    })
}

fn timeouts(timeouts: &Timeouts) -> Value {
    let span = |ms: &u64| Span(*ms).to_string();
    let Timeouts {
        head_ms,
        tls_ms,
        body_ms,
        idle_ms,
        connection_age_ms,
        go_away_grace_ms,
        ping_ms,
        pong_ms,
        tcp_user_ms,
        keep_alive_ms,
        answer_ms,
        close_ms,
        drain_ms,
        alexa_wait_max_ms,
        clock_tolerance_ms,
    } = timeouts;
    json!({
        "head": span(head_ms),
        "tls": span(tls_ms),
        "body": span(body_ms),
        "idle": span(idle_ms),
        "connection_age": span(connection_age_ms),
        "go_away_grace": span(go_away_grace_ms),
        "ping": span(ping_ms),
        "pong": span(pong_ms),
        "tcp_user": span(tcp_user_ms),
        "keep_alive": span(keep_alive_ms),
        "answer": span(answer_ms),
        "close": span(close_ms),
        "drain": span(drain_ms),
        "alexa_wait_max": span(alexa_wait_max_ms),
        "clock_tolerance": span(clock_tolerance_ms),
    })
}

fn quotas(quotas: &Quotas) -> Value {
    let rate = |Rate { rate, burst }: &Rate| json!({ "rate": rate, "burst": burst });
    let Quotas {
        off,
        connect_master,
        connect_viewer,
        sdp,
        ice,
        describe,
        alexa,
        ice_server_config,
        change,
        account_create,
        account_describe,
        account_endpoint,
        account_list,
        account_change,
        account_media_storage,
        account_alexa,
    } = quotas;
    json!({
        "off": off,
        "connect_master": rate(connect_master),
        "connect_viewer": rate(connect_viewer),
        "sdp": rate(sdp),
        "ice": rate(ice),
        "describe": rate(describe),
        "alexa": rate(alexa),
        "ice_server_config": rate(ice_server_config),
        "change": rate(change),
        "account_create": rate(account_create),
        "account_describe": rate(account_describe),
        "account_endpoint": rate(account_endpoint),
        "account_list": rate(account_list),
        "account_change": rate(account_change),
        "account_media_storage": rate(account_media_storage),
        "account_alexa": rate(account_alexa),
    })
}

fn ice(server: &Ice) -> Value {
    let Ice {
        urls,
        credential,
        ttl_seconds,
    } = server;
    let ttl = Span(u64::from(*ttl_seconds) * 1000).to_string();
    match credential {
        IceCredential::None => json!({ "urls": urls, "ttl": ttl }),
        IceCredential::Fixed {
            username,
            password: _,
        } => {
            json!({ "urls": urls, "ttl": ttl, "username": username, "password": REDACTED })
        }
        IceCredential::Secrets(_) => {
            json!({ "urls": urls, "ttl": ttl, "secret": REDACTED })
        }
    }
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

const REDACTED: &str = "<redacted>";

#[cfg(test)]
mod tests {
    use super::*;
    use broker_core::settings::Profile;

    #[test]
    fn secrets_are_not_shown_and_all_else_is() {
        let mut settings = Settings::new(Profile::Strict, true);
        let server = |credential| Ice {
            urls: vec!["turn:turn.example.com".into()],
            credential,
            ttl_seconds: 300,
        };
        settings.ice = vec![
            server(IceCredential::None),
            server(IceCredential::Fixed {
                username: "someone".into(),
                password: "planted-password".into(),
            }),
            server(IceCredential::Secrets(vec![
                "planted-secret".into(),
                "planted-older-secret".into(),
            ])),
        ];
        settings.credentials = Some("credentials.toml".into());
        let shown = json(&settings);
        let text = shown.to_string();
        assert!(!text.contains("planted"), "{text}");
        assert_eq!(shown["ice"][1]["username"], "someone");
        assert_eq!(shown["ice"][2]["secret"], "<redacted>");
        assert_eq!(shown["credentials"], "credentials.toml");
        assert_eq!(shown["timeouts"]["connection_age"], "1h");
        assert_eq!(shown["limits"]["payload_bytes"], 10_240);
        assert_eq!(shown["listen"][1], "https://127.0.0.1:8443");
        assert_eq!(shown["quotas"]["ice"]["burst"], 100);
    }
}
