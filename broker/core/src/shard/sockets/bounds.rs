//! The configured connection limits in the codec's representation. Also determines which web pages may connect to a
//! server that does not require signatures.

use crate::check::Check;
use crate::limits::MESSAGE_BOUNDS_MAX;
use crate::session::web_socket::BoundsPlace;
use crate::settings::{Auth, Program, Reader, Settings, host_text};
use codec::http::{Head, HeadLimits};
use codec::{signal::MessageRules, ws::FrameRules};
use std::net::IpAddr;
use std::sync::Arc;

/// The configured limits in the codec's representation.
#[derive(Debug)]
pub(crate) struct Bounds {
    pub(crate) head: HeadLimits,
    pub(crate) calls: codec::control::BodyRules,
    /// The shard's share of `limits.request_bytes`.
    pub(crate) request_bytes: usize,
    pub(crate) origins: Origins,
    /// Maximum number of bytes queued for this shard's connections.
    pub(crate) outbox_bytes: usize,
    /// Maximum number of unconfirmed bytes on this shard's connections.
    pub(crate) unconfirmed_bytes: usize,
    /// URL of the page that explains a refusal, without the refusal's id. `None` without `--dev` or without an admin
    /// listener.
    pub(crate) why_url: Option<Box<str>>,
}

impl Bounds {
    pub(crate) fn of(settings: &Settings) -> Self {
        let limits = &settings.limits;
        let strict = settings.strict();
        let admin = settings.admin_url("localhost").filter(|_| settings.dev);
        Self {
            head: HeadLimits {
                head_bytes: limits.head_bytes,
                header_lines: limits.header_lines,
            },
            calls: codec::control::BodyRules { strict },
            request_bytes: settings.request_bytes_per_shard(),
            origins: Origins::of(settings),
            outbox_bytes: settings.outbox_bytes_of_shard(),
            unconfirmed_bytes: settings.unconfirmed_bytes_of_shard(),
            why_url: admin.map(|url| format!("{url}/#/why/").into()),
        }
    }
}

// Message limits. A reload may change them, but each connection keeps the limits with which it was admitted.

/// The message limits of one version of the settings.
#[derive(Debug)]
pub(crate) struct MessageBounds {
    pub(crate) frames: FrameRules,
    pub(crate) messages: MessageRules,
    /// The settings that define these limits and the limits of each client program.
    settings: Arc<Settings>,
}

/// The current message limits, and earlier ones that still apply to open connections. There are at most
/// [`MESSAGE_BOUNDS_MAX`] versions.
#[derive(Debug)]
pub(crate) struct AllMessageBounds {
    all: Vec<MessageBounds>,
    in_force: BoundsPlace,
}

impl MessageBounds {
    fn of(settings: &Arc<Settings>) -> Self {
        Self {
            frames: FrameRules {
                message_bytes: settings.limits.message_bytes,
                fragments: crate::limits::FRAGMENTS_PER_MESSAGE_MAX,
            },
            messages: MessageRules {
                payload_bytes: settings.limits.payload_bytes,
                url_safe: !settings.strict(),
                master_offers: settings.options.master_offers,
            },
            settings: Arc::clone(settings),
        }
    }

    /// Returns a client program's message limits.
    #[inline]
    pub(crate) fn reader(&self, program: Program) -> Reader {
        self.settings.reader(program)
    }
}

impl AllMessageBounds {
    pub(crate) fn of(settings: &Arc<Settings>) -> Self {
        Self {
            all: vec![MessageBounds::of(settings)],
            in_force: BoundsPlace(0),
        }
    }

    /// Makes the limits of new settings the current ones. Has no effect if there are too many versions, but the process
    /// never creates that many.
    pub(crate) fn replace(&mut self, settings: &Arc<Settings>) {
        let known = self
            .all
            .iter()
            .position(|of| of.settings.bounds_messages_as(settings));
        let place = known.unwrap_or(self.all.len());
        if place < MESSAGE_BOUNDS_MAX {
            if known.is_none() {
                self.all.push(MessageBounds::of(settings));
            }
            self.in_force = BoundsPlace(u8::try_from(place).unwrap_or_default());
        }
    }

    /// Returns the index of the limits that apply to connections admitted from now on.
    pub(crate) fn in_force(&self) -> BoundsPlace {
        self.in_force
    }

    #[inline]
    pub(crate) fn at(&self, BoundsPlace(place): BoundsPlace) -> &MessageBounds {
        &self.all[usize::from(place)]
    }
}

// Which browser pages may use a server that does not require signatures.
//
// A browser lets any page send requests and open WebSockets to loopback, and identifies the page in `Origin` (RFC 6454
// section 7). If requests are signed, a page can do nothing without keys, so any page may try, as with AWS. Without
// signatures (`--dev`, auth none), only loopback pages and pages named by the operator are accepted. `Host` is checked
// too: a page whose host name was made to resolve to loopback (DNS rebinding) has our origin, but sends its own name in
// `Host`.

/// Determines which `Origin` and `Host` values are accepted.
#[derive(Debug, Default)]
pub(crate) struct Origins {
    /// Whether these checks are enforced.
    guarded: bool,
    /// Origins configured by the operator, as browsers send them.
    named: Vec<String>,
    /// Host names under which clients may reach this server, in addition to loopback names and IP addresses.
    hosts: Vec<String>,
    /// The `hosts` whose pages may connect from any port. The server's own pages need this, because the admin listener
    /// has a different port.
    own: Vec<String>,
    /// A domain that is accepted as a host, with all of its subdomains, in addition to `hosts`.
    domain: Option<String>,
}

impl Origins {
    pub(crate) fn of(settings: &Settings) -> Self {
        let advertise = &settings.advertise;
        let endpoints = [&advertise.wss, &advertise.https].into_iter().flatten();
        // Pages with other schemes have no host to add.
        let pages = settings.dev_origins.iter();
        let urls = pages
            .filter(|page| web_host(page).is_some())
            .chain(endpoints);
        let hosts =
            urls.filter_map(|url| Some(host_of(url.split_once("://")?.1).to_ascii_lowercase()));
        let own: Vec<String> = settings
            .dev_hosts
            .iter()
            .map(|host| host_text(host))
            .collect();
        Self {
            guarded: settings.auth == Auth::None,
            named: settings.dev_origins.clone(),
            hosts: hosts.chain(own.clone()).collect(),
            own,
            domain: advertise.domain.as_deref().map(str::to_ascii_lowercase),
        }
    }

    /// Returns the check that a request has failed, and the error message. Returns `None` if the request passes all
    /// checks.
    pub(crate) fn refusal(&self, head: &Head<'_>) -> Option<(Check, &'static str)> {
        if !self.guarded {
            return None;
        }
        let is_foreign = match head.header("origin") {
            Some(origin) => !self.takes(origin),
            // Visiting a page is harmless. For anything else, browsers that hide the origin still send
            // `Sec-Fetch-Site`.
            None => {
                let acts = head.method() == "POST" || head.header("upgrade").is_some();
                acts && head.header("sec-fetch-site") == Some("cross-site")
            }
        };
        if is_foreign {
            return Some((Check::OriginForeign, FOREIGN_ORIGIN));
        }
        // A missing `Host` is a different error (RFC 9112 section 3.2).
        let host = head.host().map(host_of);
        host.is_some_and(|host| !self.is_ours(host))
            .then_some((Check::HostForeign, FOREIGN_HOST))
    }

    fn takes(&self, origin: &str) -> bool {
        // Some clients send the URL of their WebSocket as the origin. No web page can have such an origin.
        if let Some(origin) = of_web_socket(origin) {
            return self.takes(&origin);
        }
        if self
            .named
            .iter()
            .any(|named| named.eq_ignore_ascii_case(origin))
        {
            return true;
        }
        web_host(origin).is_some_and(|host| {
            is_loopback(host) || self.own.iter().any(|own| own.eq_ignore_ascii_case(host))
        })
    }

    fn is_ours(&self, host: &str) -> bool {
        // Unlike a name, an address cannot be made to resolve to a different machine.
        if is_loopback(host) || address(host).is_some() {
            return true;
        }
        let host = host.to_ascii_lowercase();
        let below = |domain: &str| {
            host.strip_suffix(domain)
                .is_some_and(|label| label.is_empty() || label.ends_with('.'))
        };
        self.hosts.contains(&host) || self.domain.as_deref().is_some_and(below)
    }
}

/// Converts an origin that was written as a WebSocket URL (`wss://HOST` or `ws://HOST`, optionally with a port) into
/// the corresponding web page's origin.
fn of_web_socket(origin: &str) -> Option<String> {
    let ws = origin
        .strip_prefix("ws://")
        .map(|rest| ("http", rest, ":80"));
    let wss = || (origin.strip_prefix("wss://")).map(|rest| ("https", rest, ":443"));
    let (scheme, rest, usual) = ws.or_else(wss)?;
    let rest = rest.strip_suffix(usual).unwrap_or(rest);
    Some(format!("{scheme}://{rest}"))
}

/// Returns the host of an `http` or `https` origin.
fn web_host(origin: &str) -> Option<&str> {
    let web = ["http://", "https://"];
    let rest = web.iter().find_map(|scheme| origin.strip_prefix(scheme));
    rest.map(host_of)
}

/// Returns the host part of `HOST` or `HOST:PORT`.
fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        Some(_) | None => authority,
    }
}

fn address(host: &str) -> Option<IpAddr> {
    let bracketed = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    match bracketed {
        Some(host) => host.parse().ok().map(IpAddr::V6),
        None => host.parse().ok().map(IpAddr::V4),
    }
}

/// Returns whether a host is a loopback name. Such names always resolve to loopback addresses (RFC 6761 section 6.3).
fn is_loopback(host: &str) -> bool {
    let named = host.to_ascii_lowercase();
    named == "localhost"
        || named.ends_with(".localhost")
        || address(host).is_some_and(|address| address.to_canonical().is_loopback())
}

const FOREIGN_ORIGIN: &str = "A page of this Origin may not use a server without signatures: expected pages of \
                              localhost and \
    loopback addresses. Start the server with --dev-origin ORIGIN to allow this one, or --dev-host NAME for every port \
    of a host.";

const FOREIGN_HOST: &str = "Host must be localhost, an IP address or a name of [advertise]: a foreign page may have \
                            given its own \
    name to this address. Start the server with --dev-host NAME or --dev-origin http://NAME to allow this one.";

#[cfg(test)]
mod origins_tests {
    use super::*;
    use codec::http::HeadLimits;

    fn refused(settings: &Settings, lines: &str) -> Option<&'static str> {
        let text = format!("POST /describeSignalingChannel HTTP/1.1\r\n{lines}\r\n\r\n");
        let limits = HeadLimits {
            head_bytes: 4096,
            header_lines: 64,
        };
        let head = Head::parse(text.as_bytes(), &limits).unwrap();
        let refusal = Origins::of(settings).refusal(&head);
        refusal.map(|(_, text)| text)
    }

    fn dev() -> Settings {
        Settings::new(crate::settings::Profile::Default, true)
    }

    #[test]
    fn pages_of_loopback_may_and_others_may_not() {
        let origin =
            |origin: &str| refused(&dev(), &format!("Host: localhost\r\nOrigin: {origin}"));
        for ours in [
            "http://localhost",
            "https://localhost:3000",
            "http://LOCALHOST:1",
            "http://app.localhost:8080",
            "http://127.0.0.1:5173",
            "https://127.8.9.10",
            "http://[::1]:3000",
            "wss://localhost:8443",
            "ws://127.0.0.1",
        ] {
            assert_eq!(origin(ours), None, "{ours}");
        }
        for foreign in [
            "https://evil.example",
            "wss://evil.example",
            "ws://wss://localhost",
            "wss://",
            "http://localhost.evil.example",
            "http://evillocalhost",
            "http://127.0.0.1.evil.example",
            "http://192.0.2.1",
            "http://[2001:db8::1]",
            "http://localhost@evil.example",
            "http://localhost:x@evil.example:80",
            "http://127.0.0.1:80@evil.example",
            "null",
            "file://",
            "localhost",
        ] {
            assert_eq!(origin(foreign), Some(FOREIGN_ORIGIN), "{foreign}");
        }
    }

    #[test]
    fn a_call_of_another_site_that_hides_its_origin_may_not() {
        let site = |site: &str| {
            refused(
                &dev(),
                &format!("Host: localhost\r\nSec-Fetch-Site: {site}"),
            )
        };
        assert_eq!(site("cross-site"), Some(FOREIGN_ORIGIN));
        for ours in ["same-origin", "same-site", "none"] {
            assert_eq!(site(ours), None, "{ours}");
        }
        let named =
            "Host: localhost\r\nOrigin: http://127.0.0.1:5173\r\nSec-Fetch-Site: cross-site";
        assert_eq!(
            refused(&dev(), named),
            None,
            "a page of another port of loopback"
        );
        let signed = refused(
            &Settings::default(),
            "Host: localhost\r\nSec-Fetch-Site: cross-site",
        );
        assert_eq!(signed, None);
    }

    #[test]
    fn hosts_are_loopback_addresses_or_named() {
        let host = |host: &str| refused(&dev(), &format!("Host: {host}"));
        for ours in [
            "localhost",
            "localhost:8080",
            "m-1.localhost:8443",
            "127.0.0.1:8080",
            "[::1]:8080",
            "192.0.2.7:8080",
        ] {
            assert_eq!(host(ours), None, "{ours}");
        }
        for foreign in [
            "evil.example",
            "evil.example:8080",
            "broker",
            "127.0.0.1.nip.io:80",
        ] {
            assert_eq!(host(foreign), Some(FOREIGN_HOST), "{foreign}");
        }
    }

    #[test]
    fn what_the_operator_names_may() {
        let mut settings = dev();
        settings.dev_origins = vec!["https://app.example:3000".into(), "null".into()];
        settings.advertise.wss = Some("wss://kvs.test:8443".into());
        let check = |lines: &str| refused(&settings, lines);
        for lines in [
            "Host: localhost\r\nOrigin: https://app.example:3000",
            "Host: localhost\r\nOrigin: wss://app.example:3000",
            "Host: localhost\r\nOrigin: null",
            "Host: app.example:8080",
            "Host: KVS.test:8443",
        ] {
            assert_eq!(check(lines), None, "{lines}");
        }
        let foreign = "Host: localhost\r\nOrigin: https://app.example";
        assert_eq!(check(foreign), Some(FOREIGN_ORIGIN), "another port");
        settings.dev_origins.push("capacitor://app.test".into());
        let check = |lines: &str| refused(&settings, lines);
        let page = "Host: localhost\r\nOrigin: capacitor://app.test";
        assert_eq!(check(page), None);
        assert_eq!(
            check("Host: app.test"),
            Some(FOREIGN_HOST),
            "no host of ours"
        );
        settings.advertise.domain = Some("kvs.example".into());
        assert_eq!(refused(&settings, "Host: m-1.kvs.example"), None);
        assert_eq!(refused(&settings, "Host: kvs.example"), None);
        assert_eq!(
            refused(&settings, "Host: evilkvs.example"),
            Some(FOREIGN_HOST)
        );
    }

    #[test]
    fn hosts_of_a_development_server_may_on_every_port() {
        let mut settings = dev();
        settings.dev_hosts = vec![
            "Bench.test".into(),
            "192.0.2.7".into(),
            "2001:db8::7".into(),
        ];
        for host in ["bench.test", "192.0.2.7", "[2001:db8::7]"] {
            for lines in [
                format!("Host: {host}:8080\r\nOrigin: http://{host}:8090"),
                format!("Host: {host}\r\nOrigin: https://{host}"),
            ] {
                assert_eq!(refused(&settings, &lines), None, "{lines}");
            }
        }
        for (lines, refusal) in [
            (
                "Host: localhost\r\nOrigin: http://192.0.2.8:8090",
                FOREIGN_ORIGIN,
            ),
            (
                "Host: localhost\r\nOrigin: http://bench.test.evil.example",
                FOREIGN_ORIGIN,
            ),
            (
                "Host: localhost\r\nOrigin: ftp://bench.test",
                FOREIGN_ORIGIN,
            ),
            ("Host: other.test", FOREIGN_HOST),
        ] {
            assert_eq!(refused(&settings, lines), Some(refusal), "{lines}");
        }
    }

    #[test]
    fn with_signatures_any_page_may_try() {
        let lines = "Host: evil.example\r\nOrigin: https://evil.example";
        assert_eq!(refused(&Settings::default(), lines), None);
        let mut signed = dev();
        signed.auth = Auth::Sigv4;
        assert_eq!(refused(&signed, lines), None);
    }
}
