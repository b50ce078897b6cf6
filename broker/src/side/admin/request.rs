//! Parts of requests that several pages read.

use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, header};
use codec::http::{decode, pairs};

/// The refusal of a request: a status and a text for the operator.
pub(in crate::side) type Fault = (StatusCode, &'static str);

/// The first parameter of a name, decoded; an empty one is as good as none.
pub(in crate::side) fn parameter(query: &str, name: &str) -> Result<Option<String>, Fault> {
    let found = pairs(query).find(|(other, _)| *other == name);
    let text = found.map(|(_, text)| decode(text)).transpose();
    let text = text.map_err(|_| {
        let text = "the query is not percent-encoded UTF-8";
        (StatusCode::BAD_REQUEST, text)
    })?;
    Ok(text.map(String::from).filter(|text| !text.is_empty()))
}

/// A page of another origin cannot send this type without being asked whether it may.
pub(in crate::side) fn is_json(headers: &HeaderMap) -> Result<(), Fault> {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err((
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "Content-Type: allowed application/json",
    ))
}

/// The host by which the request names this listener, without its port.
pub(in crate::side) fn host_name(headers: &HeaderMap) -> &str {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    // Text within a policy must not end its directive.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    let host = host.filter(|host| host.bytes().all(is_plain) && host.parse::<Authority>().is_ok());
    host.map_or("localhost", |host| match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(host: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        host_name(&headers).to_owned()
    }

    #[test]
    fn a_host_cannot_end_a_directive() {
        for (host, name) in [
            ("localhost:8090", "localhost"),
            ("bench.test", "bench.test"),
            ("[2001:db8::7]:8090", "[2001:db8::7]"),
            ("a; script-src *", "localhost"),
            ("a,b", "localhost"),
            ("", "localhost"),
        ] {
            assert_eq!(named(host), name, "{host}");
        }
    }

    #[test]
    fn only_json_is_read() {
        let check = |kind: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, kind.parse().unwrap());
            is_json(&headers).is_ok()
        };
        assert!(check("application/json") && check("Application/JSON; charset=utf-8"));
        assert!(!check("text/plain") && !check("application/jsonp"));
        assert!(is_json(&HeaderMap::new()).is_err());
    }
}
