//! A provider's discovery document: it names the place of the keys.

use axum::http::Uri;
use broker_core::auth::provider::Provider;
use serde::Deserialize;

/// The members that are read.
#[derive(Deserialize)]
struct Document {
    issuer: String,
    jwks_uri: String,
}

/// The address of a provider's document.
pub(crate) fn address(provider: &Provider) -> Result<Uri, String> {
    let issuer = provider.url();
    let issuer = issuer.trim_end_matches('/');
    let address = format!("{issuer}/.well-known/openid-configuration");
    address
        .parse()
        .map_err(|_| "the issuer is no URL".to_owned())
}

/// The address of the keys that the document names.
///
/// # Errors
/// The document is another issuer's, or names a place where the keys may not be.
pub(crate) fn keys_address(
    document: &[u8],
    provider: &Provider,
    hosts: &[Box<str>],
) -> Result<Uri, String> {
    let document: Document = serde_json::from_slice(document).map_err(|_| {
        "the discovery document is no JSON object with issuer and jwks_uri".to_owned()
    })?;
    if document.issuer != provider.url() {
        return Err("the discovery document names another issuer".to_owned());
    }
    let uri = secure(&document.jwks_uri).ok_or("jwks_uri is no https URL")?;
    if is_allowed(&uri, provider, hosts) {
        return Ok(uri);
    }
    Err("jwks_uri is on a host that is neither the issuer's nor in jwks_hosts".to_owned())
}

/// An address of https without a user's name.
pub(crate) fn secure(text: &str) -> Option<Uri> {
    let uri: Uri = text.parse().ok()?;
    let is_fine = uri.scheme_str() == Some("https") && !uri.authority()?.as_str().contains('@');
    is_fine.then_some(uri)
}

/// Whether an address is on the issuer's host or on one of these.
pub(crate) fn is_allowed(uri: &Uri, provider: &Provider, hosts: &[Box<str>]) -> bool {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let hosts = hosts.iter().map(|host| &**host);
    let mut hosts = hosts.chain([provider.host()]);
    hosts.any(|host| is_same(host, authority))
}

/// Whether two hosts are the same; without a port they mean that of https.
fn is_same(one: &str, other: &str) -> bool {
    let bare = |host: &str| {
        host.strip_suffix(":443")
            .unwrap_or(host)
            .to_ascii_lowercase()
    };
    bare(one) == bare(other)
}

#[cfg(test)]
mod tests {

    use super::*;
    use broker_core::auth::provider::{Algorithms, Discovery, KeySource};

    fn provider(issuer: &str) -> Provider {
        Provider {
            account: "123456789012".into(),
            issuer: issuer.into(),
            client_ids: vec!["app".into()],
            algorithms: Algorithms::default(),
            keys: KeySource::Discovery(Discovery::default()),
            claims: Vec::new(),
        }
    }

    #[test]
    fn documents_are_below_the_issuer() {
        for (issuer, wanted) in [
            (
                "id.example.com",
                "https://id.example.com/.well-known/openid-configuration",
            ),
            (
                "id.example.com/a/b",
                "https://id.example.com/a/b/.well-known/openid-configuration",
            ),
            (
                "id.example.com/",
                "https://id.example.com/.well-known/openid-configuration",
            ),
            (
                "127.0.0.1:8443/x",
                "https://127.0.0.1:8443/x/.well-known/openid-configuration",
            ),
        ] {
            assert_eq!(address(&provider(issuer)).unwrap().to_string(), wanted);
        }
    }

    /// As Google, Cognito and Keycloak publish them, without what is not read.
    #[test]
    fn documents_of_known_providers_are_read() {
        for (issuer, host, keys) in [
            (
                "accounts.google.com",
                "www.googleapis.com",
                "https://www.googleapis.com/oauth2/v3/certs",
            ),
            (
                "cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbCdEfGhI",
                "",
                "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbCdEfGhI/.well-known/jwks.json",
            ),
            (
                "id.example.com/realms/home",
                "",
                "https://id.example.com/realms/home/protocol/openid-connect/certs",
            ),
        ] {
            let hosts = [host.into()];
            let document = serde_json::json!({
                "issuer": format!("https://{issuer}"), "jwks_uri": keys, "response_types_supported": ["code"],
            });
            let found = keys_address(document.to_string().as_bytes(), &provider(issuer), &hosts);
            assert_eq!(found.unwrap().to_string(), keys);
        }
    }

    #[test]
    fn keys_are_on_the_issuers_host_or_one_that_is_named() {
        let ours = provider("id.example.com:8443/realms/home");
        let hosts = ["keys.example.com".into()];
        let issuer = "https://id.example.com:8443/realms/home";
        for (issuer, keys, wanted) in [
            (issuer, "https://id.example.com:8443/keys", Ok(())),
            (issuer, "https://ID.example.com:8443/keys", Ok(())),
            (issuer, "https://keys.example.com:443/keys", Ok(())),
            (issuer, "https://id.example.com/keys", Err("neither")),
            (issuer, "https://keys.example.com:8443/keys", Err("neither")),
            (
                issuer,
                "https://keys.example.com.evil.example/keys",
                Err("neither"),
            ),
            (
                issuer,
                "https://keys.example.com@evil.example/keys",
                Err("https"),
            ),
            (issuer, "http://keys.example.com/keys", Err("https")),
            (issuer, "/keys", Err("https")),
            (issuer, "file:///etc/passwd", Err("https")),
            (issuer, "", Err("https")),
            (
                "https://id.example.com:8443/realms/home/",
                "https://keys.example.com/keys",
                Err("another issuer"),
            ),
            (
                "https://ID.example.com:8443/realms/home",
                "https://keys.example.com/keys",
                Err("another issuer"),
            ),
        ] {
            let document = serde_json::json!({"issuer": issuer, "jwks_uri": keys}).to_string();
            let found = keys_address(document.as_bytes(), &ours, &hosts).map(|_| ());
            match (wanted, found) {
                (Ok(()), found) => assert_eq!(found, Ok(()), "{keys}"),
                (Err(word), Err(error)) => assert!(error.contains(word), "{keys}: {error}"),
                (Err(word), Ok(())) => panic!("{issuer} {keys}: {word}"),
            }
        }
        for text in ["", "[]", r#"{"issuer": 1}"#] {
            assert!(keys_address(text.as_bytes(), &ours, &hosts).is_err());
        }
    }
}
