//! The settings as JSON, as served at `/config`. Members have the same names as in the configuration file. Secrets are
//! omitted.

use crate::config::document::REDACTED;
use crate::hooks::address;
use broker_core::settings::value::ConfigSpan;
use broker_core::settings::{Hook, Ice, IceCredential, KEYS, Settings};
use serde_json::{Value, json};

/// Returns all settings. Secrets are shown as `<redacted>`. Files that contain secrets are named but not read.
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
        "clients": settings.clients.iter().map(|row| (row.name.clone(), json!(row))).collect::<serde_json::Map<_, _>>(),
    });
    for key in KEYS {
        let names = key.path.split('.');
        let place = names.fold(&mut document, |outer, name| &mut outer[name]);
        *place = json!(key.value(settings));
    }
    if settings.tls.is_none() {
        document["tls"] = Value::Null;
    }
    if settings.admin.oidc.is_none() {
        document["admin"]["oidc"] = Value::Null;
    }
    document
}

/// Formats a hook. Its URL is cut off after the host, since the rest may contain a secret.
fn hook(hook: &Hook) -> Value {
    let mut events = vec![];
    events.extend(hook.wakes.then_some("wake"));
    events.extend(hook.presence.then_some("presence"));
    events.extend(hook.problems.then_some("problems"));
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
        "timeout": ConfigSpan(hook.timeout_ms).to_string(),
        "retry_for": ConfigSpan(hook.retry_ms).to_string(),
        "include": {"remote": hook.include_remote, "client_id": hook.include_client_id},
        "allow_plain": hook.allow_plain,
    })
}

fn ice(server: &Ice) -> Value {
    let Ice {
        urls,
        credential,
        ttl_seconds,
    } = server;
    let ttl = ConfigSpan(u64::from(*ttl_seconds) * 1000).to_string();
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
