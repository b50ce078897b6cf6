//! An HTTP client for servers that the operator configures: hook receivers and OpenID providers. It follows no
//! redirects, uses no proxies, and contacts only permitted addresses. It limits lookups, response heads and bodies, and
//! durations.

use crate::limits::LOOKUPS_MAX;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderValue, Request, Response, header};
use codec::limits::beginning;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::client::WantsClientCert;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};
use std::error::Error;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{io, vec};
use tokio::sync::Semaphore;
use tower_service::Service;

/// The connections to one server, shared by all clones.
#[derive(Clone)]
pub(crate) struct Outbound {
    pool: Pool<HttpsConnector<HttpConnector<Lookups>>, Body>,
    bounds: OutboundBounds,
}

#[derive(Clone, Copy)]
pub(crate) struct OutboundBounds {
    pub(crate) reach: Reach,
    pub(crate) timeout: Duration,
    /// Maximum number of bytes read from a response body.
    pub(crate) answer_bytes: usize,
    pub(crate) idle_connections: usize,
}

/// Creates a TLS configuration that trusts the given CAs. Fails with the TLS library's error.
pub(crate) fn tls(
    roots: RootCertStore,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(tls
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots))
}

impl Outbound {
    /// Creates a client that uses TLS, except for addresses configured as plain HTTP.
    pub(crate) fn new(tls: ClientConfig, bounds: OutboundBounds) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(Lookups {
            places: Arc::new(Semaphore::new(LOOKUPS_MAX)),
            reach: bounds.reach,
        });
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(bounds.timeout));
        tcp.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls);
        let connector = match bounds.reach {
            Reach::AsWritten => connector.https_or_http(),
            Reach::Public | Reach::PublicAndLoopback | Reach::Any => connector.https_only(),
        };
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(bounds.idle_connections)
            .http1_max_buf_size(HEAD_BYTES_MAX)
            .build(connector.enable_http1().wrap_connector(tcp));
        Self { pool, bounds }
    }

    /// Sends a request and returns the response. Its body is `None` if it is incomplete or too long. If there is no
    /// response, the error explains why to the operator.
    pub(crate) async fn send(
        &self,
        mut request: Request<Body>,
    ) -> Result<Response<Option<Bytes>>, String> {
        // An IP address in the URL needs no lookup.
        let host = request.uri().host().unwrap_or_default();
        let literal: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
        if literal.is_some_and(|address| !self.bounds.reach.has(address)) {
            return Err(NOT_REACHED.into());
        }
        let agent = HeaderValue::from_static(concat!("heliograph/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert(header::USER_AGENT, agent);
        let answer = async {
            let answer = self.pool.request(request).await;
            let (head, body) = answer.map_err(|error| shortest(&error))?.into_parts();
            // Reading a short body to its end allows the connection to be reused.
            let body = to_bytes(Body::new(body), self.bounds.answer_bytes).await;
            Ok(Response::from_parts(head, body.ok()))
        };
        let answer = tokio::time::timeout(self.bounds.timeout, answer).await;
        answer.unwrap_or_else(|_| Err("no answer in time".into()))
    }
}

/// Returns an error's innermost cause. Unlike the outer errors, it contains no address.
fn shortest(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    beginning(&cause.to_string(), ERROR_BYTES_MAX).to_owned()
}

/// Resolves host names to permitted addresses. Limits concurrent lookups, since each one occupies a thread, possibly
/// for a long time.
#[derive(Clone)]
struct Lookups {
    places: Arc<Semaphore>,
    reach: Reach,
}

impl Service<Name> for Lookups {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (places, reach) = (Arc::clone(&self.places), self.reach);
        Box::pin(async move {
            let place = places.acquire_owned().await.map_err(io::Error::other)?;
            let look_up = move || {
                let found = (name.as_str(), 0).to_socket_addrs();
                drop(place);
                found
            };
            let found = tokio::task::spawn_blocking(look_up).await;
            let found = found.map_err(io::Error::other)??;
            let found: Vec<_> = found.filter(|found| reach.has(found.ip())).collect();
            if found.is_empty() {
                return Err(io::Error::other(NOT_REACHED));
            }
            Ok(found.into_iter())
        })
    }
}

const NOT_REACHED: &str =
    "its address is private, link-local or loopback: private = true permits that";

/// How long a connection may be idle before it is closed.
const IDLE_MAX: Duration = Duration::from_secs(60);

const HEAD_BYTES_MAX: usize = 16 * 1024;

const ERROR_BYTES_MAX: usize = 160;

/// The addresses at which a server may be contacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Any address, since the operator has configured it or its host name.
    AsWritten,
    Public,
    /// Public addresses, and this machine's loopback addresses. Used with `--dev`.
    PublicAndLoopback,
    /// Any unicast address. Used with `private = true`.
    Any,
}

impl Reach {
    pub(crate) const fn of(private: bool, dev: bool) -> Self {
        match (private, dev) {
            (true, _) => Self::Any,
            (false, true) => Self::PublicAndLoopback,
            (false, false) => Self::Public,
        }
    }

    pub(crate) fn has(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let is_servers = !address.is_unspecified() && !address.is_multicast();
        match self {
            Self::AsWritten => true,
            Self::Any => is_servers,
            Self::PublicAndLoopback => is_servers && (address.is_loopback() || is_public(address)),
            Self::Public => is_servers && is_public(address),
        }
    }
}

/// Returns whether an address is public. Source: IANA IPv4 and IPv6 Special-Purpose Address Registries.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_broadcast()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a, b, c) == (192, 0, 0)
        || (a == 198 && (b == 18 || b == 19));
    !is_special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, .., y, z] = address.segments();
    let inner = |high: u16, low: u16| {
        let ([p, q], [r, s]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(p, q, r, s))
    };
    let [_, second, third, ..] = address.segments();
    match (a, b) {
        // Packets to a translated or tunneled IPv4 address (RFC 6052, RFC 8215, RFC 3056) reach the embedded IPv4
        // address.
        (0x64, 0xff9b) => inner(y, z),
        (0x2002, _) => inner(second, third),
        _ => {
            let is_special = address.is_loopback()
                || address.is_unique_local()
                || address.is_unicast_link_local()
                || a & 0xffc0 == 0xfec0
                || a == 0;
            !is_special
        }
    }
}

#[cfg(test)]
mod address_tests {
    use super::*;

    #[test]
    fn private_addresses_are_reached_where_that_is_asked_for() {
        for (address, public, dev, any) in [
            ("8.8.8.8", true, true, true),
            ("2606:4700::1111", true, true, true),
            ("127.0.0.1", false, true, true),
            ("127.9.9.9", false, true, true),
            ("::1", false, true, true),
            ("::ffff:127.0.0.1", false, true, true),
            ("10.0.0.1", false, false, true),
            ("172.16.0.1", false, false, true),
            ("172.32.0.1", true, true, true),
            ("192.168.1.1", false, false, true),
            ("169.254.169.254", false, false, true),
            ("::ffff:169.254.169.254", false, false, true),
            ("64:ff9b::a9fe:a9fe", false, false, true),
            ("64:ff9b::808:808", true, true, true),
            ("2002:a00:1::1", false, false, true),
            ("2002:808:808::1", true, true, true),
            ("100.64.0.1", false, false, true),
            ("198.18.0.1", false, false, true),
            ("fd00::1", false, false, true),
            ("fe80::1", false, false, true),
            ("fec0::1", false, false, true),
            ("0.0.0.0", false, false, false),
            ("0.1.2.3", false, false, true),
            ("::", false, false, false),
            ("224.0.0.1", false, false, false),
            ("ff02::1", false, false, false),
            ("255.255.255.255", false, false, true),
        ] {
            let address: IpAddr = address.parse().unwrap();
            let reached = [
                Reach::of(false, false),
                Reach::of(false, true),
                Reach::of(true, false),
            ];
            let reached = reached.map(|reach| reach.has(address));
            assert_eq!(reached, [public, dev, any], "{address}");
        }
    }
}
