//! The settings as JSON under the names of the configuration file, without secrets: what `/config` shows.

use crate::config::document::{A_TABLE, REDACTED};
use crate::hooks::address;
use broker_core::settings::value::Span;
use broker_core::settings::{
    Client, Field, Hook, Ice, IceCredential, KEYS, Key, Kind, Rate, Settings,
};
use serde_json::{Value, json};

/// Every setting. Secrets are `<redacted>`; files that hold some are named, not read.
#[must_use]
pub fn json(settings: &Settings) -> Value {
    let ice: Vec<_> = settings.ice.iter().map(ice).collect();
    let mut document = json!({
        "dev": settings.dev,
        "allow_remote": settings.allow_remote,
        "container": settings.container,
        "lan": settings.lan.map(|address| address.to_string()),
        "ice": ice,
        "hook": settings.hooks.iter().map(hook).collect::<Vec<_>>(),
        "clients": settings.clients.iter().map(client).collect::<serde_json::Map<_, _>>(),
    });
    for key in KEYS {
        let place = match key.table() {
            "" => &mut document[key.name()],
            table => {
                let tables = table.split('.');
                let table = tables.fold(&mut document, |outer, name| &mut outer[name]);
                &mut table[key.name()]
            }
        };
        *place = value(key, settings);
    }
    if settings.tls.is_none() {
        document["tls"] = Value::Null;
    }
    if settings.admin.oidc.is_none() {
        document["admin"]["oidc"] = Value::Null;
    }
    document
}

/// The value of a key as a fault shows it; empty when it is unset. What is no key is a table.
pub(crate) fn shown(path: &str, settings: &Settings) -> String {
    let Some(key) = Key::of(path) else {
        return A_TABLE.into();
    };
    let text = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    let value = value(key, settings);
    match value.as_array() {
        Some(entries) => entries.iter().map(text).collect::<Vec<_>>().join(" "),
        None if value.is_null() => String::new(),
        None => text(&value),
    }
}

fn value(key: &Key, settings: &Settings) -> Value {
    match &key.kind {
        Kind::Number(Field { get, .. }, _) => get(settings).into(),
        Kind::Duration(Field { get, .. }, _) => Span(get(settings)).to_string().into(),
        Kind::Switch(Field { get, .. }) => get(settings).into(),
        Kind::Rate(Field { get, .. }) => {
            let Rate { rate, burst } = get(settings);
            json!({ "rate": rate, "burst": burst })
        }
        Kind::Text { get, .. } => get(settings).into(),
        Kind::List { get, .. } => match get(settings) {
            none if none.is_empty() && key.default.is_none() => Value::Null,
            entries => entries.into(),
        },
        Kind::Path { get, .. } => get(settings).map(|path| path.display().to_string()).into(),
        Kind::Paths { get, .. } => match get(settings) {
            [] => Value::Null,
            [path] => path.display().to_string().into(),
            paths => json!(paths),
        },
        Kind::Cpus { get, .. } => get(settings).into(),
    }
}

/// A hook; its secrets are in files. Of its URL what is behind the host may be one.
fn hook(hook: &Hook) -> Value {
    let mut events = vec![];
    events.extend(hook.wakes.then_some("wake"));
    events.extend(hook.presence.then_some("presence"));
    json!({
        "name": hook.name,
        "url": address::shown(&hook.url),
        "events": events,
        "channels": hook.channels,
        "tag": hook.tag.as_ref().map(|(key, value)| format!("{key}={value}")),
        "secret_file": hook.secret_file,
        "client_cert": hook.client.as_ref().map(|(cert, _)| cert),
        "client_key": hook.client.as_ref().map(|(_, key)| key),
        "ca": hook.ca,
        "timeout": Span(hook.timeout_ms).to_string(),
        "retry_for": Span(hook.retry_ms).to_string(),
        "include": {"remote": hook.include_remote, "client_id": hook.include_client_id},
        "allow_plain": hook.allow_plain,
    })
}

/// A row of the table of clients, by its name.
fn client(row: &Client) -> (String, Value) {
    let columns = json!({
        "user_agent": row.user_agent,
        "frame_bytes": row.frame_bytes,
        "message_bytes": row.message_bytes,
        "go_away": row.go_away,
        "role_path": row.role_path,
    });
    (row.name.clone(), columns)
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
        IceCredential::Secrets(_) => json!({ "urls": urls, "ttl": ttl, "secret": REDACTED }),
    }
}

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
