//! Access checks for requests to the admin listener.
//!
//! ```text
//!  Host          without a token: an address, localhost, or the host of a configured origin (DNS rebinding)
//!  Origin        if present: the listener's own, or a configured one (CWE-1385)
//!  Sec-Fetch-*   no request caused by a page of another site, except a visit to a page of ours
//!  Authorization with a token: the token, except for public pages; else an account's session (`accounts`)
//! ```
//! Arrival on a loopback address proves nothing, since behind a proxy all requests arrive there.

use crate::files::Token;
use crate::side::admin::http::Fault;
use crate::side::admin::tokens::Tokens;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use broker_core::settings;
use std::net::IpAddr;
use std::sync::Arc;

#[derive(Clone, Default)]
pub(crate) struct Access {
    /// The accepted tokens. Every request that is not public must carry one of them.
    tokens: Option<Tokens>,
    metrics_open: bool,
    /// Additional origins from which the listener's pages may be used, such as the origin of a proxy that browsers
    /// connect to.
    origins: Arc<[String]>,
    accounts: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccessRefusal {
    Origin,
    /// The `Host` header contains an unknown name. This may be an attempt at DNS rebinding.
    Host,
    Token,
    /// The request comes from a device on the local network that has no valid pairing code.
    Unpaired,
}

impl AccessRefusal {
    pub(crate) const fn answer(self) -> Fault {
        let (code, text) = match self {
            Self::Origin => (
                StatusCode::FORBIDDEN,
                "a page of another origin may not ask here: see admin.origins",
            ),
            Self::Host => (
                StatusCode::FORBIDDEN,
                "Host must be localhost, an IP address or the host of one of admin.origins: a page may have given our \
                 address a name of its own",
            ),
            Self::Token => (
                StatusCode::UNAUTHORIZED,
                "Authorization: Bearer <token> is missing or wrong",
            ),
            Self::Unpaired => (
                StatusCode::UNAUTHORIZED,
                "this device is not paired: press Open on my phone on /try of the computer that runs the broker",
            ),
        };
        Fault::new(code, text)
    }
}

impl Access {
    pub(crate) fn new(tokens: Option<Tokens>, settings: &settings::Admin) -> Self {
        Self {
            tokens,
            metrics_open: settings.metrics_open,
            origins: settings.origins.as_slice().into(),
            accounts: settings.oidc.is_some(),
        }
    }

    pub(crate) fn wants_token(&self) -> bool {
        self.tokens.is_some()
    }

    /// Returns the token that the request carries, and the token set that contains it.
    pub(crate) fn borne(&self, headers: &HeaderMap) -> Option<(&Tokens, Token)> {
        let tokens = self.tokens.as_ref()?;
        Some((tokens, tokens.borne(headers)?))
    }

    pub(crate) fn check(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<(), AccessRefusal> {
        let reads = *method == Method::GET || *method == Method::HEAD;
        let visit = reads && (is_page(path) || (self.accounts && path == CALLBACK));
        if !self.is_of_our_origin(headers) || is_of_another_site(headers, visit) {
            return Err(AccessRefusal::Origin);
        }
        match &self.tokens {
            None if !self.is_our_name(headers) => Err(AccessRefusal::Host),
            None => Ok(()),
            Some(_) if reads && (is_public(path) || (self.metrics_open && path == METRICS)) => {
                Ok(())
            }
            Some(_) if reads && self.accounts && ACCOUNT_PAGES.contains(&path) => Ok(()),
            Some(tokens) if tokens.borne(headers).is_some() => Ok(()),
            Some(_) => Err(AccessRefusal::Token),
        }
    }

    /// Returns whether the request comes from one of this listener's origins. A request without an `Origin` header is
    /// accepted.
    fn is_of_our_origin(&self, headers: &HeaderMap) -> bool {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let origin = match (origins.next(), origins.next()) {
            (None, _) => return true,
            (Some(origin), None) => origin.as_bytes(),
            (Some(_), Some(_)) => return false,
        };
        let host = sole(headers, header::HOST).map_or(&b""[..], HeaderValue::as_bytes);
        let mut ours = self.origins.iter();
        origin.strip_prefix(b"http://") == Some(host) || ours.any(|it| it.as_bytes() == origin)
    }

    /// Returns whether the `Host` is an address or a configured name. If an attacker's name resolved to our address,
    /// browsers would treat the attacker's pages as same-origin with ours. Such pages do not know the token, so a
    /// request that carries the token is accepted under any name.
    fn is_our_name(&self, headers: &HeaderMap) -> bool {
        let Some(host) = sole(headers, header::HOST).and_then(|host| host.to_str().ok()) else {
            return false;
        };
        let named = |origin: &String| origin.split_once("://").is_some_and(|(_, it)| it == host);
        is_address(host) || self.origins.iter().any(named)
    }
}

/// Returns the header with this name. Returns `None` if there are several, since a browser or proxy may have used any
/// of them.
pub(crate) fn sole(headers: &HeaderMap, name: HeaderName) -> Option<&HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// Returns whether the browser says that a page of another site caused the request. Following a link to one of our
/// pages does not count.
pub(crate) fn is_of_another_site(headers: &HeaderMap, page: bool) -> bool {
    let value = |name| headers.get(name).map_or(&b""[..], |value| value.as_bytes());
    let visit =
        page && value("sec-fetch-mode") == b"navigate" && value("sec-fetch-dest") == b"document";
    !visit && matches!(value("sec-fetch-site"), b"cross-site" | b"same-site")
}

fn is_address(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else {
        return false;
    };
    if host.contains('@') {
        return false; // user information is not allowed in Host (RFC 9110, section 7.2)
    }
    let name = authority.host();
    // The parser accepts any text after the colon.
    let port = host.get(name.len()..).unwrap_or_default();
    let digits = port.strip_prefix(':').unwrap_or_default();
    if !port.is_empty() && (digits.is_empty() || !digits.bytes().all(|it| it.is_ascii_digit())) {
        return false;
    }
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

pub(crate) fn is_page(path: &str) -> bool {
    matches!(path, "/" | "/try")
}

/// Returns whether the path may be requested without a token. Public paths serve static files that are the same for
/// every client, or a one-word status.
fn is_public(path: &str) -> bool {
    is_page(path) || matches!(path, "/live" | "/ready") || path.starts_with("/assets/")
}

const ACCOUNT_PAGES: [&str; 3] = ["/account", "/account/sign-in", CALLBACK];

/// Path to which a provider redirects the browser after a sign-in.
pub(crate) const CALLBACK: &str = "/account/callback";

const METRICS: &str = "/metrics";

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the access rules for this token and these origins.
    fn access(token: Option<&str>, origins: &[&str]) -> Access {
        let origins = origins.iter().map(|&origin| origin.to_owned());
        let settings = settings::Admin {
            origins: origins.collect(),
            ..settings::Admin::default()
        };
        Access::new(token.map(|token| Tokens::fixed(&[token])), &settings)
    }

    fn check(
        access: &Access,
        line: &str,
        headers: &[(&'static str, &str)],
    ) -> Option<AccessRefusal> {
        let (method, path) = line.split_once(' ').unwrap();
        let mut map = HeaderMap::new();
        map.insert("host", HeaderValue::from_static("localhost:8090"));
        for (name, value) in headers {
            map.insert(*name, HeaderValue::from_str(value).unwrap());
        }
        let method = method.parse().unwrap();
        access.check(&method, path, &map).err()
    }

    #[test]
    fn pages_of_other_origins_are_refused() {
        let access = Access::default();
        let asks = |line, headers: &[_]| check(&access, line, headers);
        for (origin, refusal) in [
            ("http://localhost:8090", None),
            ("https://localhost:8090", Some(AccessRefusal::Origin)),
            ("http://localhost", Some(AccessRefusal::Origin)),
            ("http://evil.example", Some(AccessRefusal::Origin)),
            ("null", Some(AccessRefusal::Origin)),
            ("", Some(AccessRefusal::Origin)),
        ] {
            for line in ["GET /config", "POST /ice/reconnect", "GET /live", "GET /"] {
                assert_eq!(
                    asks(line, &[("origin", origin)]),
                    refusal,
                    "{line} {origin}"
                );
            }
        }
    }

    #[test]
    fn origins_behind_a_proxy_are_those_that_are_configured() {
        let access = access(None, &["https://ops.example.com"]);
        let proxied = |origin| {
            let headers = [("host", "ops.example.com"), ("origin", origin)];
            check(&access, "POST /ice/reconnect", &headers)
        };
        assert_eq!(proxied("https://ops.example.com"), None);
        assert_eq!(
            proxied("https://ops.example.com.evil"),
            Some(AccessRefusal::Origin)
        );
        assert_eq!(
            proxied("https://ops.example.co"),
            Some(AccessRefusal::Origin)
        );
        let host = |host| check(&access, "GET /config", &[("host", host)]);
        assert_eq!(host("ops.example.com"), None);
        assert_eq!(host("ops.example.com:1"), Some(AccessRefusal::Host));
    }

    #[test]
    fn pages_of_other_sites_may_only_lead_here() {
        let access = Access::default();
        let visit = [
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
        ];
        #[rustfmt::skip] // a table, a case per row
        let cases = [
            ("GET /config", "same-origin", false, None),
            ("GET /config", "none", true, None),
            ("GET /config", "cross-site", false, Some(AccessRefusal::Origin)),
            ("GET /config", "same-site", true, Some(AccessRefusal::Origin)),
            ("GET /", "cross-site", true, None),
            ("GET /try", "same-site", true, None),
            ("GET /", "cross-site", false, Some(AccessRefusal::Origin)),
            ("POST /", "cross-site", true, Some(AccessRefusal::Origin)),
        ];
        for (line, site, visits, refusal) in cases {
            let mut headers = vec![("sec-fetch-site", site)];
            headers.extend(visit.iter().filter(|_| visits));
            assert_eq!(check(&access, line, &headers), refusal, "{line} {site}");
        }
        let framed = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")];
        let framed = [&framed[..], &[("sec-fetch-site", "cross-site")]].concat();
        assert_eq!(
            check(&access, "GET /", &framed),
            Some(AccessRefusal::Origin)
        );
    }

    #[test]
    fn with_accounts_one_more_path_is_led_to() {
        let mut access = access(Some("t"), &[]);
        let visit = [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
        ];
        let paths = ["/account", "/account/sign-in", "/account/callback"];
        for path in paths {
            let line = format!("GET {path}");
            assert_eq!(
                check(&access, &line, &[]),
                Some(AccessRefusal::Token),
                "{path}"
            );
            assert_eq!(check(&access, &line, &visit), Some(AccessRefusal::Origin));
        }
        access.accounts = true;
        for path in paths {
            let line = format!("GET {path}");
            assert_eq!(check(&access, &line, &[]), None, "{path}");
            let led = (path != CALLBACK).then_some(AccessRefusal::Origin);
            assert_eq!(check(&access, &line, &visit), led, "{path}");
            let line = format!("POST {path}");
            assert_eq!(
                check(&access, &line, &[]),
                Some(AccessRefusal::Token),
                "{path}"
            );
        }
        let framed = [visit[0], visit[1], ("sec-fetch-dest", "iframe")];
        let line = "GET /account/callback";
        assert_eq!(check(&access, line, &framed), Some(AccessRefusal::Origin));
        let out = check(&access, "POST /account/sign-out", &[]);
        assert_eq!(out, Some(AccessRefusal::Token), "a session is needed");
    }

    #[test]
    fn without_a_token_the_listener_goes_by_its_address_alone() {
        let access = Access::default();
        let host = |host| check(&access, "GET /live", &[("host", host)]);
        assert_eq!(host("evil.example"), Some(AccessRefusal::Host));
        assert_eq!(host("localhost.evil.example"), Some(AccessRefusal::Host));
        assert_eq!(host(""), Some(AccessRefusal::Host));
        #[rustfmt::skip] // a list
        let cases = [
            "localhost.", "127.1", "::1", "user@127.0.0.1", "evil.example@localhost", "localhost:anything",
            "localhost:80x", "localhost:", "127.0.0.1:8090.evil.example", "[::1]:x",
        ];
        for other in cases {
            assert_eq!(host(other), Some(AccessRefusal::Host), "{other}");
        }
        for ours in ["127.0.0.1:8090", "[::1]:8090", "LocalHost:9"] {
            assert_eq!(host(ours), None, "{ours}");
        }
        let access = self::access(Some("t"), &[]);
        let bearer = [("host", "any.example"), ("authorization", "Bearer t")];
        assert_eq!(check(&access, "GET /config", &bearer), None);
    }

    #[test]
    fn several_hosts_or_origins_are_none_of_ours() {
        let access = Access::default();
        let mut two = HeaderMap::new();
        two.append("host", HeaderValue::from_static("localhost:8090"));
        let check = |headers: &HeaderMap| access.check(&Method::GET, "/config", headers).err();
        assert_eq!(check(&two), None);
        two.append("host", HeaderValue::from_static("evil.example"));
        assert_eq!(check(&two), Some(AccessRefusal::Host));
        let mut two = HeaderMap::new();
        two.append("host", HeaderValue::from_static("localhost:8090"));
        for origin in ["http://localhost:8090", "http://evil.example"] {
            two.append("origin", HeaderValue::from_static(origin));
        }
        assert_eq!(check(&two), Some(AccessRefusal::Origin));
    }

    #[test]
    fn the_token_is_wanted_for_all_but_what_is_public() {
        let mut access = access(Some("the-token"), &[]);
        #[rustfmt::skip] // a list
        let cases = ["GET /live", "GET /ready", "HEAD /live", "GET /", "GET /try", "GET /assets/a.js"];
        for public in cases {
            assert_eq!(check(&access, public, &[]), None, "{public}");
        }
        #[rustfmt::skip] // a list
        let cases = [
            "GET /config", "GET /metrics", "GET /nothing", "POST /live", "GET /live/", "GET /assets", "POST /try",
        ];
        for line in cases {
            assert_eq!(
                check(&access, line, &[]),
                Some(AccessRefusal::Token),
                "{line}"
            );
            #[rustfmt::skip] // a list
            let cases = ["Bearer the-tokem", "Bearer the-token-and-more", "the-token", "Bearer ", ""];
            for wrong in cases {
                let headers = [("authorization", wrong)];
                assert_eq!(
                    check(&access, line, &headers),
                    Some(AccessRefusal::Token),
                    "{wrong}"
                );
            }
            let right = [("authorization", "Bearer the-token")];
            assert_eq!(check(&access, line, &right), None, "{line}");
        }
        access.metrics_open = true;
        assert_eq!(check(&access, "GET /metrics", &[]), None);
        for line in ["POST /metrics", "GET /metrics/", "GET /config"] {
            assert_eq!(
                check(&access, line, &[]),
                Some(AccessRefusal::Token),
                "{line}"
            );
        }
    }
}
