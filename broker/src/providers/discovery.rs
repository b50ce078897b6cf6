//! A provider's discovery document, which contains the address of its keys and its sign-in endpoints.

use axum::http::Uri;
use broker_core::auth::provider::Provider;
use serde::Deserialize;

#[derive(Deserialize)]
struct Document {
    issuer: String,
    jwks_uri: String,
}

pub(crate) fn address(provider: &Provider) -> Result<Uri, String> {
    let issuer = provider.url();
    let issuer = issuer.trim_end_matches('/');
    let address = format!("{issuer}/.well-known/openid-configuration");
    address
        .parse()
        .map_err(|_| "the issuer is not a valid URL".to_owned())
}

/// Returns the keys' address from the discovery document. Fails if the document belongs to another issuer, or if keys
/// may not be fetched from this address.
pub(crate) fn keys_address(
    document: &[u8],
    provider: &Provider,
    hosts: &[Box<str>],
) -> Result<Uri, String> {
    let document: Document = serde_json::from_slice(document).map_err(|_| {
        "the discovery document is not a JSON object with issuer and jwks_uri".to_owned()
    })?;
    if document.issuer != provider.url() {
        return Err("the discovery document names another issuer".to_owned());
    }
    let uri = secure(&document.jwks_uri).ok_or("jwks_uri is not an https URL")?;
    if is_allowed(&uri, provider, hosts) {
        return Ok(uri);
    }
    Err("jwks_uri is on a host that is neither the issuer's nor in jwks_hosts".to_owned())
}

pub(crate) fn secure(text: &str) -> Option<Uri> {
    let uri: Uri = text.parse().ok()?;
    let is_fine = uri.scheme_str() == Some("https") && !uri.authority()?.as_str().contains('@');
    is_fine.then_some(uri)
}

/// Returns whether an address is on the issuer's host or on one of `hosts`.
pub(crate) fn is_allowed(uri: &Uri, provider: &Provider, hosts: &[Box<str>]) -> bool {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let hosts = hosts.iter().map(|host| &**host);
    let mut hosts = hosts.chain([provider.host()]);
    // A missing port means the HTTPS default port.
    let bare = |it: &str| it.strip_suffix(":443").unwrap_or(it).to_ascii_lowercase();
    hosts.any(|host| bare(host) == bare(authority))
}

// A provider's sign-in endpoints, from its discovery document.

/// A provider's endpoints for the authorization code flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignInEndpoints {
    /// The page that the browser is redirected to, without a fragment.
    pub authorization: Uri,
    pub(crate) token: Uri,
    /// Whether the client secret is sent in the form because the provider does not accept it in a header.
    pub(crate) takes_form: bool,
    /// Whether the authorization page names the issuer in every response (RFC 9207).
    pub names_issuer: bool,
}

/// The members of the document. Source: OpenID Connect Discovery 1.0, section 3; RFC 9207, section 3.
#[derive(Deserialize)]
struct EndpointsDocument {
    authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    code_challenge_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

impl SignInEndpoints {
    /// Reads the endpoints from a document whose issuer has been verified. The code and the secret may be sent only to
    /// the issuer's host or to another configured host. The error explains to the operator why users cannot sign in.
    pub(crate) fn read(
        document: &[u8],
        provider: &Provider,
        hosts: &[Box<str>],
    ) -> Result<Self, String> {
        let document: EndpointsDocument = serde_json::from_slice(document)
            .map_err(|_| "its discovery document has members of a wrong type")?;
        let page = document.authorization_endpoint.as_deref();
        let page = page.filter(|page| !page.contains('#'));
        let authorization = page.and_then(secure);
        let authorization = authorization.ok_or("authorization_endpoint is not an https URL")?;
        let token = document.token_endpoint.as_deref().and_then(secure);
        let token = token.ok_or("token_endpoint is not an https URL")?;
        if !is_allowed(&token, provider, hosts) {
            let rule = "token_endpoint is on a host that is neither the issuer's nor in jwks_hosts";
            return Err(rule.into());
        }
        let is_listed = |list: &Option<Vec<String>>, word: &str| {
            let mut list = list.iter().flatten();
            list.any(|one| one == word)
        };
        let challenges = &document.code_challenge_methods_supported;
        if challenges.is_some() && !is_listed(challenges, "S256") {
            return Err("the provider does not support PKCE with S256".into());
        }
        // If there is no list, the default is to send the secret in the header. Source: OpenID Connect Discovery 1.0,
        // section 3.
        let methods = &document.token_endpoint_auth_methods_supported;
        let takes_form =
            is_listed(methods, "client_secret_post") && !is_listed(methods, "client_secret_basic");
        Ok(Self {
            authorization,
            token,
            takes_form,
            names_issuer: document.authorization_response_iss_parameter_supported,
        })
    }
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
        #[rustfmt::skip] // a table, a case per row
        let cases = [
            ("id.example.com", "https://id.example.com/.well-known/openid-configuration"),
            ("id.example.com/a/b", "https://id.example.com/a/b/.well-known/openid-configuration"),
            ("id.example.com/", "https://id.example.com/.well-known/openid-configuration"),
            ("127.0.0.1:8443/x", "https://127.0.0.1:8443/x/.well-known/openid-configuration"),
        ];
        for (issuer, wanted) in cases {
            assert_eq!(address(&provider(issuer)).unwrap().to_string(), wanted);
        }
    }

    /// Documents as published by Google, Cognito and Keycloak, without the members that are ignored.
    #[test]
    fn documents_of_known_providers_are_read() {
        #[rustfmt::skip] // a table, a case per row
        let cases = [
            ("accounts.google.com", "www.googleapis.com", "https://www.googleapis.com/oauth2/v3/certs"),
            ("cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbCdEfGhI", "",
                "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbCdEfGhI/.well-known/jwks.json"),
            ("id.example.com/realms/home", "", "https://id.example.com/realms/home/protocol/openid-connect/certs"),
        ];
        for (issuer, host, keys) in cases {
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
        #[rustfmt::skip] // a table, a case per row
        let cases = [
            (issuer, "https://id.example.com:8443/keys", Ok(())),
            (issuer, "https://ID.example.com:8443/keys", Ok(())),
            (issuer, "https://keys.example.com:443/keys", Ok(())),
            (issuer, "https://id.example.com/keys", Err("neither")),
            (issuer, "https://keys.example.com:8443/keys", Err("neither")),
            (issuer, "https://keys.example.com.evil.example/keys", Err("neither")),
            (issuer, "https://keys.example.com@evil.example/keys", Err("https")),
            (issuer, "http://keys.example.com/keys", Err("https")),
            (issuer, "/keys", Err("https")),
            (issuer, "file:///etc/passwd", Err("https")),
            (issuer, "", Err("https")),
            ("https://id.example.com:8443/realms/home/", "https://keys.example.com/keys", Err("another issuer")),
            ("https://ID.example.com:8443/realms/home", "https://keys.example.com/keys", Err("another issuer")),
        ];
        for (issuer, keys, wanted) in cases {
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

#[cfg(test)]
mod endpoints_tests {
    use super::*;
    use broker_core::auth::provider::{Algorithms, Discovery, KeySource};
    use serde_json::{Value, json};

    fn read(changes: &Value) -> Result<SignInEndpoints, String> {
        let provider = Provider {
            account: "123456789012".into(),
            issuer: "id.example.com/realms/home".into(),
            client_ids: vec!["app".into()],
            algorithms: Algorithms::default(),
            keys: KeySource::Discovery(Discovery::default()),
            claims: Vec::new(),
        };
        let mut document = json!({
            "authorization_endpoint": "https://login.example.com/authorize?tenant=a",
            "token_endpoint": "https://id.example.com/token",
        });
        for (name, value) in changes.as_object().unwrap() {
            document[name] = value.clone();
        }
        let hosts = ["oauth2.example.com".into()];
        SignInEndpoints::read(document.to_string().as_bytes(), &provider, &hosts)
    }

    #[test]
    fn codes_go_to_the_issuers_host_or_one_that_is_named() {
        let found = read(&json!({})).unwrap();
        assert_eq!(
            found.authorization.to_string(),
            "https://login.example.com/authorize?tenant=a"
        );
        assert!(!found.takes_form && !found.names_issuer);
        for (token, word) in [
            ("https://oauth2.example.com:443/token", ""),
            ("https://oauth2.example.com.evil.example/token", "neither"),
            ("https://id.example.com@evil.example/token", "https"),
            ("http://id.example.com/token", "https"),
            ("", "https"),
        ] {
            let error = read(&json!({ "token_endpoint": token })).err();
            let error = error.unwrap_or_default();
            assert_eq!(error.is_empty(), word.is_empty(), "{token}: {error}");
            assert!(error.contains(word), "{token}: {error}");
        }
    }

    #[test]
    fn pages_are_https_and_providers_know_the_challenge() {
        for page in ["http://id.example.com/a", "/a", "https://id.example.com/#a"] {
            assert!(
                read(&json!({ "authorization_endpoint": page })).is_err(),
                "{page}"
            );
        }
        let challenges = |list: Value| read(&json!({"code_challenge_methods_supported": list}));
        assert!(challenges(json!(["plain", "S256"])).is_ok() && challenges(json!(null)).is_ok());
        assert!(challenges(json!(["plain"])).is_err());
    }

    #[test]
    fn a_secret_is_sent_as_the_provider_takes_it() {
        for (methods, form) in [
            (json!(["client_secret_basic", "client_secret_post"]), false),
            (json!(["client_secret_post"]), true),
            (json!(["none"]), false),
            (json!(null), false),
        ] {
            let changes = json!({ "token_endpoint_auth_methods_supported": methods });
            assert_eq!(read(&changes).unwrap().takes_form, form, "{methods}");
        }
    }
}
