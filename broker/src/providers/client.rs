//! Requests to one provider: no redirects, no proxy, only addresses that it may have, and a bounded answer.

use crate::files;
use crate::hooks::client::{Lookups, told};
use crate::providers::discovery::{self, Endpoints};
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderValue, Request, Uri, header};
use broker_core::auth::provider::{Discovery, KeySet, Provider};
use broker_core::limits::KEY_SET_BYTES_MAX;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{io, vec};
use tokio::task::spawn_blocking;
use tower_service::Service;
use zeroize::Zeroizing;

/// The keys that a provider answered.
pub(crate) struct Fetched {
    /// As it published them.
    pub(crate) text: Bytes,
    pub(crate) keys: KeySet,
    /// The places at which people sign in, or why they cannot.
    pub(crate) endpoints: Result<Endpoints, String>,
}

/// Fetches a provider's keys: its document, and what that names.
///
/// # Errors
/// Why there are none, in a word for operators.
pub(crate) async fn fetch(
    provider: &Provider,
    discovery: Discovery,
    reach: Reach,
) -> Result<Fetched, String> {
    let hosts = discovery.hosts.clone();
    // The system's authorities are files.
    let client = spawn_blocking(move || Client::new(&discovery, reach)).await;
    let client = client.map_err(|error| error.to_string())??;
    let found = client.get(discovery::address(provider)?).await;
    let found = found.map_err(|error| format!("the discovery document: {error}"))?;
    let address = discovery::keys_address(&found, provider, &hosts)?;
    let text = client.get(address).await;
    let text = text.map_err(|error| format!("the keys: {error}"))?;
    let keys = KeySet::parse(&text).map_err(|fault| format!("the keys: {fault}"))?;
    let endpoints = Endpoints::read(&found, provider, &hosts);
    Ok(Fetched {
        text,
        keys,
        endpoints,
    })
}

/// The way to one provider.
pub(crate) struct Client {
    pool: Pool<HttpsConnector<HttpConnector<Guarded>>, Body>,
    reach: Reach,
}

impl Client {
    pub(crate) fn new(discovery: &Discovery, reach: Reach) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(files::roots(discovery.ca.as_deref())?)
            .with_no_client_auth();
        let lookups = Lookups::default();
        let mut tcp = HttpConnector::new_with_resolver(Guarded { lookups, reach });
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(TIMEOUT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_only()
            .enable_http1()
            .wrap_connector(tcp);
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(0)
            .http1_max_buf_size(HEAD_BYTES_MAX)
            .build(connector);
        Ok(Self { pool, reach })
    }

    async fn get(&self, from: Uri) -> Result<Bytes, String> {
        let request = Request::builder().uri(from).body(Body::empty());
        let request = request.map_err(|error| error.to_string())?;
        match self.ask_in_time(request).await? {
            (200, body) => Ok(body),
            (status, _) => Err(format!("status {status}")),
        }
    }

    /// Sends a form, with the header of who sends it; the status and the body of the answer.
    pub(crate) async fn post(
        &self,
        to: Uri,
        form: Zeroizing<String>,
        authorization: Option<HeaderValue>,
    ) -> Result<(u16, Bytes), String> {
        let mut request = Request::post(to)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(form.as_bytes().to_vec()))
            .map_err(|error| error.to_string())?;
        if let Some(authorization) = authorization {
            let headers = request.headers_mut();
            headers.insert(header::AUTHORIZATION, authorization);
        }
        self.ask_in_time(request).await
    }

    async fn ask_in_time(&self, request: Request<Body>) -> Result<(u16, Bytes), String> {
        // An address in the URL is not looked up.
        let host = request.uri().host().unwrap_or_default();
        let literal: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
        if literal.is_some_and(|address| !self.reach.has(address)) {
            return Err(NOT_REACHED.into());
        }
        match tokio::time::timeout(TIMEOUT, self.ask(request)).await {
            Ok(answer) => answer,
            Err(_) => Err("no answer in time".into()),
        }
    }

    async fn ask(&self, mut request: Request<Body>) -> Result<(u16, Bytes), String> {
        let agent = concat!("heliograph/", env!("CARGO_PKG_VERSION"));
        for (name, value) in [
            (header::ACCEPT, "application/json"),
            (header::USER_AGENT, agent),
        ] {
            let headers = request.headers_mut();
            headers.insert(name, HeaderValue::from_static(value));
        }
        let answer = self.pool.request(request).await;
        let answer = answer.map_err(|error| told(&error))?;
        let status = answer.status().as_u16();
        let body = to_bytes(Body::new(answer.into_body()), KEY_SET_BYTES_MAX).await;
        let body =
            body.map_err(|_| format!("no whole answer of at most {KEY_SET_BYTES_MAX} bytes"))?;
        Ok((status, body))
    }
}

/// Look-ups of hosts that answer only addresses which may be asked.
#[derive(Clone)]
struct Guarded {
    lookups: Lookups,
    reach: Reach,
}

impl Service<Name> for Guarded {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.lookups.poll_ready(context)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let reach = self.reach;
        let found = self.lookups.call(name);
        Box::pin(async move {
            let found: Vec<_> = found.await?.filter(|found| reach.has(found.ip())).collect();
            if found.is_empty() {
                return Err(io::Error::other(NOT_REACHED));
            }
            Ok(found.into_iter())
        })
    }
}

const NOT_REACHED: &str =
    "its address is private, link-local or loopback: private = true permits that";

/// Time for one request.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Longest head of an answer.
const HEAD_BYTES_MAX: usize = 16 * 1024;

// The addresses that providers may have.

/// The addresses at which a provider may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Those of the internet.
    Public,
    /// Those, and this machine: under `--dev`.
    PublicAndLoopback,
    /// Any that a server can have: `private = true`.
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

    /// Whether a server of this address may be asked.
    pub(crate) fn has(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        if address.is_unspecified() || address.is_multicast() {
            return false;
        }
        match self {
            Self::Any => true,
            Self::PublicAndLoopback => address.is_loopback() || is_public(address),
            Self::Public => is_public(address),
        }
    }
}

/// Whether an address is of the internet. Source: IANA IPv4 and IPv6 Special-Purpose Address Registries.
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
        // Translated and tunnelled IPv4 (RFC 6052, RFC 8215, RFC 3056) leads to the address within.
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
