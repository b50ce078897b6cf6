//! Exchanges an authorization code for an id token. The request is sent by this server, not by the browser.
//!
//! Source: RFC 6749, section 4.1.3, "Access Token Request", and section 2.3.1; RFC 7636, section 4.5; OpenID Connect
//! Core 1.0, section 3.1.3.

use crate::outbound::Reach;
use crate::providers::client::ProviderClient;
use crate::providers::discovery::SignInEndpoints;
use axum::http::HeaderValue;
use broker_core::auth::provider::Discovery;
use codec::http::encode;
use data_encoding::BASE64;
use serde::Deserialize;
use zeroize::Zeroizing;

/// An authorization code, with the code verifier that proves that this server requested the code.
pub(crate) struct Code<'c> {
    pub(crate) code: &'c str,
    pub(crate) verifier: &'c str,
    pub(crate) redirect_uri: &'c str,
    pub(crate) client_id: &'c str,
    pub(crate) secret: Option<&'c str>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    id_token: Option<String>,
}

#[derive(Deserialize)]
struct TokenRefusal {
    error: String,
}

/// Exchanges a code for an id token, without verifying the token. Does not follow redirects or use proxies. The
/// endpoint's address must be permitted for the provider. If there is no id token, the error explains why to the
/// operator and contains no secrets.
pub(crate) async fn exchange(
    endpoints: &SignInEndpoints,
    discovery: Discovery,
    dev: bool,
    code: Code<'_>,
) -> Result<Zeroizing<String>, String> {
    let reach = Reach::of(discovery.private, dev);
    let client = ProviderClient::new(discovery.ca, reach).await?;
    let (form, authorization) = request(&code, endpoints.takes_form);
    let (status, body) = client
        .post(endpoints.token.clone(), form, authorization)
        .await?;
    let body = Zeroizing::new(body.to_vec());
    if status != 200 {
        let refusal: Option<TokenRefusal> = serde_json::from_slice(&body).ok();
        let word = refusal.map(|it| it.error).filter(|word| is_plain(word));
        return Err(match word {
            Some(word) => format!("status {status}, {word}"),
            None => format!("status {status}"),
        });
    }
    let tokens: TokenAnswer =
        serde_json::from_slice(&body).map_err(|_| "the answer is not a JSON object".to_owned())?;
    let token = tokens.id_token.map(Zeroizing::new);
    token.ok_or_else(|| "the answer has no id_token: is openid among the scopes?".into())
}

fn request(code: &Code<'_>, takes_form: bool) -> (Zeroizing<String>, Option<HeaderValue>) {
    let mut form = Zeroizing::new(String::with_capacity(4096));
    let mut add = |name: &str, value: &str| {
        if !form.is_empty() {
            form.push('&');
        }
        form.push_str(name);
        form.push('=');
        encode(&mut form, value);
    };
    add("grant_type", "authorization_code");
    add("code", code.code);
    add("redirect_uri", code.redirect_uri);
    add("code_verifier", code.verifier);
    let Some(secret) = code.secret else {
        add("client_id", code.client_id);
        return (form, None);
    };
    if takes_form {
        add("client_id", code.client_id);
        add("client_secret", secret);
        return (form, None);
    }
    let mut pair = Zeroizing::new(String::new());
    encode(&mut pair, code.client_id);
    pair.push(':');
    encode(&mut pair, secret);
    let basic = Zeroizing::new(format!("Basic {}", BASE64.encode(pair.as_bytes())));
    let mut header = HeaderValue::try_from(basic.as_str()).ok();
    header
        .iter_mut()
        .for_each(|header| header.set_sensitive(true));
    (form, header)
}

/// Returns whether an error code from a provider is safe to display. Accepts fewer characters than RFC 6749, section
/// 5.2, and limits the length.
fn is_plain(word: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=64).contains(&word.len()) && word.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: Code<'static> = Code {
        code: "a&b c",
        verifier: "v",
        redirect_uri: "https://ops.example.com/account/callback",
        client_id: "con:sole",
        secret: Some("p%ss"),
    };

    #[test]
    fn a_secret_is_in_the_header_or_in_the_form_and_never_in_both() {
        let (form, header) = request(&CODE, false);
        let fields = "grant_type=authorization_code&code=a%26b%20c&redirect_uri=https%3A%2F%2Fops.example.com%2Faccount\
                      %2Fcallback&code_verifier=v";
        assert_eq!(form.as_str(), fields);
        let header = header.unwrap();
        let pair = header.to_str().unwrap().strip_prefix("Basic ").unwrap();
        assert_eq!(
            BASE64.decode(pair.as_bytes()).unwrap(),
            b"con%3Asole:p%25ss"
        );
        assert!(header.is_sensitive());
        let (form, header) = request(&CODE, true);
        let all = format!("{fields}&client_id=con%3Asole&client_secret=p%25ss");
        assert!(header.is_none() && *form == all, "{}", form.as_str());
        let public = Code {
            secret: None,
            ..CODE
        };
        let (form, header) = request(&public, false);
        assert!(header.is_none() && *form == format!("{fields}&client_id=con%3Asole"));
    }

    #[test]
    fn only_words_of_a_refusal_are_repeated() {
        for word in ["invalid_grant", "invalid_client"] {
            assert!(is_plain(word));
        }
        for odd in ["", "a b", "<b>", "a\nb", &"a".repeat(65)] {
            assert!(!is_plain(odd), "{odd}");
        }
    }
}
