//! The place of a browser when it asks: one of the operator's https origins, or loopback.

use crate::side::admin::access::{CALLBACK, the_host};
use axum::http::HeaderMap;
use axum::http::uri::Authority;
use std::net::IpAddr;

/// The place of a request, with the names of its cookies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// As browsers write it in `Origin`.
    pub(crate) origin: String,
    /// Whether cookies go over TLS only.
    pub(crate) secure: bool,
    /// The port on loopback, where all ports share their cookies.
    port: u16,
}

impl Place {
    /// The place of a request by its `Host`; `None` for one at which nobody signs in.
    pub(crate) fn of(headers: &HeaderMap, origins: &[String]) -> Option<Self> {
        let host = the_host(headers)?.to_str().ok()?;
        let is_named = |origin: &&String| origin.strip_prefix("https://") == Some(host);
        if let Some(origin) = origins.iter().find(is_named) {
            return Some(Self {
                origin: origin.clone(),
                secure: true,
                port: 0,
            });
        }
        let authority: Authority = host.parse().ok()?;
        if host.contains('@') || !is_loopback(authority.host()) {
            return None;
        }
        Some(Self {
            origin: format!("http://{}", host.to_ascii_lowercase()),
            secure: false,
            port: authority.port_u16().unwrap_or(80),
        })
    }

    /// The address to which the provider sends the browser back.
    pub(crate) fn callback(&self) -> String {
        format!("{}{CALLBACK}", self.origin)
    }

    /// The name of the cookie of a session. `__Host-`: browsers take it from this very host alone, over TLS.
    pub(crate) fn session_cookie(&self) -> String {
        match self.secure {
            true => "__Host-heliograph-session".into(),
            false => format!("heliograph-session-{}", self.port),
        }
    }

    /// The name of the cookie of a sign-in, which is for one path: `__Secure-` is what such a cookie can have.
    pub(crate) fn state_cookie(&self) -> String {
        match self.secure {
            true => "__Secure-heliograph-state".into(),
            false => format!("heliograph-state-{}", self.port),
        }
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost")
        || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {

    use super::*;
    use axum::http::HeaderValue;

    fn place(hosts: &[&'static str]) -> Option<Place> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append("host", HeaderValue::from_static(host));
        }
        let origins = ["https://ops.example.com", "http://plain.example.com"];
        Place::of(&headers, &origins.map(str::to_owned))
    }

    #[test]
    fn people_sign_in_at_https_origins_and_on_loopback() {
        for (host, origin, secure) in [
            ("ops.example.com", "https://ops.example.com", true),
            ("localhost:8090", "http://localhost:8090", false),
            ("LocalHost", "http://localhost", false),
            ("127.0.0.1:8090", "http://127.0.0.1:8090", false),
            ("[::1]:8090", "http://[::1]:8090", false),
        ] {
            let place = place(&[host]).unwrap();
            assert_eq!((&*place.origin, place.secure), (origin, secure), "{host}");
            assert_eq!(place.callback(), format!("{origin}/account/callback"));
        }
        for host in [
            "plain.example.com",
            "ops.example.com:444",
            "ops.example.com.evil.example",
            "evil.example",
            "localhost.evil.example",
            "user@127.0.0.1",
            "192.0.2.7:8090",
            "",
        ] {
            assert_eq!(place(&[host]), None, "{host}");
        }
        assert_eq!(place(&["localhost", "ops.example.com"]), None);
        assert_eq!(place(&[]), None);
    }

    #[test]
    fn cookies_of_other_ports_of_loopback_are_others() {
        let names = |host| {
            let place = place(&[host]).unwrap();
            [place.session_cookie(), place.state_cookie()]
        };
        assert_eq!(
            names("localhost:8090"),
            ["heliograph-session-8090", "heliograph-state-8090"]
        );
        assert_eq!(
            names("ops.example.com"),
            ["__Host-heliograph-session", "__Secure-heliograph-state"]
        );
    }
}
