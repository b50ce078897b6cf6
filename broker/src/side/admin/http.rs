//! Response formats (JSON documents, refusals, dates and ids), and request parsers shared by several pages.

use axum::Json;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use broker_core::time::Wall;
use codec::http::{decode, encode, pairs};
use serde_json::{Value, json as value};
use std::borrow::Cow;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub(crate) type Answer = Result<Json<Value>, Fault>;

/// A refused request: the status code, and a message for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault(pub(crate) StatusCode, pub(crate) Cow<'static, str>);

impl Fault {
    pub(crate) const fn new(code: StatusCode, text: &'static str) -> Self {
        Self(code, Cow::Borrowed(text))
    }

    pub(crate) const fn bad(text: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    pub(crate) const fn not_found(text: &'static str) -> Self {
        Self::new(StatusCode::NOT_FOUND, text)
    }

    pub(crate) const fn conflict(text: &'static str) -> Self {
        Self::new(StatusCode::CONFLICT, text)
    }

    pub(crate) const fn unavailable(text: &'static str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, text)
    }
}

impl From<String> for Fault {
    fn from(text: String) -> Self {
        Self(StatusCode::BAD_REQUEST, text.into())
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        (self.0, Json(value!({ "error": self.1 }))).into_response()
    }
}

pub(crate) fn fault_id(number: u64) -> String {
    format!("f{number}")
}

pub(crate) fn rfc3339(at: Wall) -> String {
    codec::calendar::rfc3339(at.0)
}

pub(crate) const SILENT: Fault = Fault::unavailable("a shard does not answer");

pub(crate) const JSON: &str = "application/json";

/// Percent-encodes a text for the path or the query of a URL.
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::new();
    encode(&mut out, text);
    out
}

// Request parsers shared by several pages.

/// Returns the first parameter with this name, decoded. An empty value counts as absent.
pub(crate) fn parameter(query: &str, name: &str) -> Result<Option<String>, Fault> {
    let found = pairs(query).find(|(other, _)| *other == name);
    let text = found.map(|(_, text)| decode(text)).transpose();
    let text = text.map_err(|_| Fault::bad("the query is not percent-encoded UTF-8"))?;
    Ok(text.map(String::from).filter(|text| !text.is_empty()))
}

/// Parses an RFC 3339 time in UTC, such as `2026-01-02T03:04:05Z`. Fractions of seconds are optional.
pub(crate) fn moment(text: &str) -> Option<Wall> {
    let text = text.strip_suffix(['Z', 'z'])?;
    let moment = OffsetDateTime::parse(&format!("{text}Z"), &Rfc3339).ok()?;
    let ms = u64::try_from(moment.unix_timestamp_nanos() / 1_000_000);
    ms.ok().map(Wall)
}

/// Parses a time parameter: either a time in UTC, or a span before now such as `-24h`.
pub(crate) fn time(query: &str, name: &str, now_ms: u64) -> Result<Option<Wall>, Fault> {
    let text = parameter(query, name)?;
    text.map(|text| time_of(name, &text, now_ms)).transpose()
}

pub(crate) fn time_of(name: &str, text: &str, now_ms: u64) -> Result<Wall, Fault> {
    let found = match text.strip_prefix('-') {
        Some(span) => seconds(span).map(|it| Wall(now_ms.saturating_sub(it * 1000))),
        None => moment(text),
    };
    found.ok_or_else(|| unusable(name, MOMENT, text))
}

/// Parses the number of requested entries, which must be between 1 and `most`.
pub(crate) fn limit(query: &str, default: usize, most: usize) -> Result<usize, Fault> {
    let Some(text) = parameter(query, "limit")? else {
        return Ok(default);
    };
    let limit = text.parse().ok().filter(|it| (1..=most).contains(it));
    limit.ok_or_else(|| format!("limit: expected 1 to {most}").into())
}

fn seconds(span: &str) -> Option<u64> {
    let (number, unit) = span.split_at_checked(span.len().checked_sub(1)?)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    let number: u32 = number.parse().ok()?;
    Some(u64::from(number) * unit)
}

pub(crate) fn unusable(name: &str, expected: &str, found: &str) -> Fault {
    let found: String = found.chars().take(40).collect();
    format!("{name}: expected {expected}; found {found:?}").into()
}

const MOMENT: &str =
    "a moment in UTC such as 2026-01-02T03:04:05Z, or a span before now such as -24h (s, m, h, d)";

/// Checks that the content type is JSON. Browsers let a page of another origin send JSON only after a CORS preflight.
pub(crate) fn is_json(headers: &HeaderMap) -> Result<(), Fault> {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Fault::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "Content-Type: expected application/json",
    ))
}

pub(crate) fn host_name(headers: &HeaderMap) -> &str {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    // A host in a content security policy must not contain characters that end the directive.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    let host = host.filter(|host| host.bytes().all(is_plain) && host.parse::<Authority>().is_ok());
    host.map_or("localhost", |host| match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    })
}

#[cfg(test)]
mod request_tests {
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
    fn moments_are_read_in_utc_or_not_at_all() {
        for (text, ms) in [
            ("1970-01-01T00:00:01Z", 1000),
            ("2026-11-20T12:00:01Z", 1_795_176_001_000),
            ("2026-11-20t12:00:01z", 1_795_176_001_000),
            ("2026-11-20 12:00:01Z", 1_795_176_001_000),
            ("2026-11-20T12:00:01.5Z", 1_795_176_001_500),
            ("2026-11-20T12:00:01.1234567Z", 1_795_176_001_123),
        ] {
            assert_eq!(moment(text), Some(Wall(ms)), "{text}");
        }
        let large = i64::MAX;
        for text in [
            "",
            "Z",
            "2026-02-30T12:00:01Z",
            "2026-11-20T24:00:00Z",
            "2026-11-20T12:00:01",
            "2026-11-20T12:00:01+01:00",
            "2026-11-20T12:00:01+01:00Z",
            "2026-11-20T12:00:01.5é0Z",
            "2026-1-20T12:00:0001Z",
            "1969-12-31T23:59:59Z",
            "99999999-1-1T0:0:0Z",
            "1-1-1T1:1:99999999Z",
            &format!("{large}-01-01T00:00:00Z"),
            &format!("2026-01-01T{large}:00:00Z"),
            &format!("2026-{large}-{large}T00:{large}:{large}Z"),
        ] {
            assert_eq!(moment(text), None, "{text}");
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
