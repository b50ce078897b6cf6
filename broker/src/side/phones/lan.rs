//! Access to pages from the local network, under `--lan`: for browsers that redeemed a code, and holders of the admin
//! token.
//!
//! ```text
//!  Host          the address of `--lan`, or a name of --dev-host
//!  Origin        of a change: the listener's own. Else, if there is one, the same
//!  Sec-Fetch-*   no request that a page of another site caused, except a visit to a page of ours
//!  public        the files of the pages, and where a code is redeemed
//!  else          the cookie of a session, or the token
//! ```
//! These requests come through a TLS listener. The admin listener's own rules, by which nothing is asked where no token
//! is configured, are never applied to them.

use crate::side::admin::access::{Refusal, bears, is_of_another_site, is_page, the_host};
use crate::side::admin::door::Visits;
use crate::side::phones::pairing::{PAIR_SESSION_LIFE, Pairing};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use broker_core::settings::{Settings, host_text};
use std::sync::Arc;
use std::time::Instant;

/// The pages for devices of the local network.
pub struct Lan {
    /// Connections for them.
    pub visits: Visits,
    /// Codes and sessions.
    pub pairing: Pairing,
}

/// The rules of access to them.
#[derive(Clone)]
pub(crate) struct LanAccess {
    pub(crate) pairing: Pairing,
    token: Option<Arc<str>>,
    /// Hosts by which browsers reach the listener.
    hosts: Arc<[String]>,
}

impl LanAccess {
    pub(crate) fn new(pairing: Pairing, token: Option<String>, settings: &Settings) -> Self {
        let hosts = settings.dev_hosts.iter().map(|host| host_text(host));
        Self {
            pairing,
            token: token.map(Arc::from),
            hosts: hosts.collect(),
        }
    }

    /// Whether a request may be answered.
    pub(crate) fn check(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        now: Instant,
    ) -> Result<(), Refusal> {
        let Some(host) = the_host(headers).and_then(|host| host.to_str().ok()) else {
            return Err(Refusal::Host);
        };
        if !self.is_our_name(host) {
            return Err(Refusal::Host);
        }
        let reads = *method == Method::GET || *method == Method::HEAD;
        let visit = reads && (is_page(path) || is_of_pairing(path));
        let origin = origin_is(headers, host);
        if origin == Some(false) || is_of_another_site(headers, visit) {
            return Err(Refusal::Origin);
        }
        let bears_token = || {
            let token = self.token.as_ref();
            token.is_some_and(|token| bears(headers, token))
        };
        if (reads && is_public(path)) || bears_token() {
            return Ok(());
        }
        // A request of a browser needs the browser's word that a page of ours caused it.
        if !reads && origin.is_none() {
            return Err(Refusal::Origin);
        }
        if is_of_pairing(path) || session(headers).is_some_and(|it| self.pairing.admits(it, now)) {
            return Ok(());
        }
        Err(Refusal::Unpaired)
    }

    fn is_our_name(&self, host: &str) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            Some(_) | None => host,
        };
        self.hosts.iter().any(|own| own.eq_ignore_ascii_case(name))
    }
}

/// Whether `Origin` is that of the listener; `None` where there is none.
fn origin_is(headers: &HeaderMap, host: &str) -> Option<bool> {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let origin = origins.next()?.as_bytes();
    let ours = origin.strip_prefix(b"https://") == Some(host.as_bytes());
    Some(ours && origins.next().is_none())
}

/// The session that a browser names, unless it names several.
fn session(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter();
    let cookies = cookies.filter_map(|cookies| cookies.to_str().ok());
    let mut named = cookies
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|cookie| cookie.trim().strip_prefix(COOKIE)?.strip_prefix('='));
    named.next().filter(|_| named.next().is_none())
}

/// The cookie of a session. The prefix has browsers take it over TLS from this host alone (RFC 6265bis).
pub(crate) fn cookie(session: &str) -> Option<HeaderValue> {
    let seconds = PAIR_SESSION_LIFE.as_secs();
    let text =
        format!("{COOKIE}={session}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Strict");
    HeaderValue::try_from(text).ok()
}

fn is_of_pairing(path: &str) -> bool {
    path.starts_with("/pair/")
}

/// The same bytes for everybody, or a page that shows nothing of the service.
fn is_public(path: &str) -> bool {
    path.starts_with("/assets/") || is_of_pairing(path)
}

const COOKIE: &str = "__Host-heliograph";

#[cfg(test)]
mod tests {

    use super::*;
    use broker_core::settings::Profile;

    const HOST: &str = "192.168.77.2:8443";
    const OURS: (&str, &str) = ("origin", "https://192.168.77.2:8443");

    fn access(token: Option<&str>) -> LanAccess {
        let mut settings = Settings::new(Profile::Default, true);
        settings.dev_hosts = vec!["192.168.77.2".into(), "bench.test".into()];
        LanAccess::new(Pairing::default(), token.map(str::to_owned), &settings)
    }

    fn check(access: &LanAccess, line: &str, headers: &[(&'static str, &str)]) -> Option<Refusal> {
        let (method, path) = line.split_once(' ').unwrap();
        let mut map = HeaderMap::new();
        if headers.iter().all(|(name, _)| *name != "host") {
            map.insert("host", HeaderValue::from_static(HOST));
        }
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let method = method.parse().unwrap();
        access.check(&method, path, &map, Instant::now()).err()
    }

    fn paired(access: &LanAccess) -> String {
        let code = access.pairing.code(Instant::now()).unwrap();
        let session = access.pairing.redeem(&code, Instant::now()).unwrap();
        let cookie = cookie(&session).unwrap();
        let cookie = cookie.to_str().unwrap().split(';').next().unwrap();
        cookie.to_owned()
    }

    #[test]
    fn nothing_but_files_and_pairing_is_open() {
        let access = access(None);
        for line in [
            "GET /assets/try/try.css",
            "GET /pair/CODE",
            "HEAD /pair/CODE",
        ] {
            assert_eq!(check(&access, line, &[]), None, "{line}");
        }
        assert_eq!(check(&access, "POST /pair/CODE", &[OURS]), None);
        for line in [
            "GET /",
            "GET /try",
            "GET /try/settings",
            "GET /overview",
            "GET /events",
            "GET /live",
            "GET /config",
            "GET /pair",
            "GET /assets",
        ] {
            let bearer = ("authorization", "Bearer ");
            assert_eq!(check(&access, line, &[]), Some(Refusal::Unpaired), "{line}");
            assert_eq!(check(&access, line, &[bearer]), Some(Refusal::Unpaired));
        }
        for line in ["POST /try/pair", "DELETE /dev/faults/1", "POST /assets/a"] {
            assert_eq!(check(&access, line, &[OURS]), Some(Refusal::Unpaired));
        }
    }

    #[test]
    fn a_session_reads_and_changes_from_our_pages_alone() {
        let access = access(None);
        let cookie = paired(&access);
        let with = |line, more: &[(&'static str, &str)]| {
            let headers = [&[("cookie", &*cookie)][..], more].concat();
            check(&access, line, &headers)
        };
        assert_eq!(with("GET /try", &[]), None);
        assert_eq!(with("GET /overview", &[OURS]), None);
        assert_eq!(with("POST /channels/a/disconnect", &[OURS]), None);
        assert_eq!(with("POST /dev/clock", &[]), Some(Refusal::Origin));
        for origin in [
            "https://evil.example",
            "http://192.168.77.2:8443",
            "https://192.168.77.2",
            "null",
        ] {
            for line in ["GET /overview", "POST /dev/clock", "POST /pair/CODE"] {
                assert_eq!(
                    with(line, &[("origin", origin)]),
                    Some(Refusal::Origin),
                    "{line} {origin}"
                );
            }
        }
        let other = [("sec-fetch-site", "cross-site")];
        assert_eq!(with("GET /overview", &other), Some(Refusal::Origin));
        assert_eq!(with("GET /overview", &[OURS, OURS]), Some(Refusal::Origin));
    }

    #[test]
    fn another_cookie_is_no_session() {
        let access = access(None);
        let good = paired(&access);
        for cookie in [
            good.to_uppercase(),
            good[..good.len() - 1].to_owned(),
            good.replace("__Host-", ""),
            format!("{good}; {good}"),
            format!("a{good}"),
        ] {
            let refused = check(&access, "GET /try", &[("cookie", &cookie)]);
            assert_eq!(refused, Some(Refusal::Unpaired), "{cookie}");
        }
        let among = format!("theme=dark; {good}");
        assert_eq!(check(&access, "GET /try", &[("cookie", &among)]), None);
    }

    #[test]
    fn a_host_is_one_of_ours() {
        let access = access(Some("the-token"));
        let bearer = ("authorization", "Bearer the-token");
        let with = |host| check(&access, "POST /dev/clock", &[bearer, ("host", host)]);
        assert_eq!(with("192.168.77.2:8443"), None);
        assert_eq!(with("Bench.test:8443"), None);
        for host in ["evil.example", "192.168.77.3:8443", "localhost:8443", ""] {
            assert_eq!(with(host), Some(Refusal::Host), "{host}");
        }
    }
}
