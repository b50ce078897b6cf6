//! Requests to a provider, for its keys and for tokens.

use crate::files;
use crate::outbound::{self, Outbound, OutboundBounds, Reach};
use crate::providers::discovery::{self, SignInEndpoints};
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Request, Uri, header, request};
use broker_core::auth::provider::{Discovery, KeySet, Provider};
use broker_core::limits::KEY_SET_BYTES_MAX;
use std::time::Duration;
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

pub(crate) struct Fetched {
    pub(crate) text: Bytes,
    pub(crate) keys: KeySet,
    pub(crate) endpoints: Result<SignInEndpoints, String>,
}

/// Fetches a provider's discovery document, then its keys. The error explains to the operator why the keys could not be
/// fetched.
pub(crate) async fn fetch(
    provider: &Provider,
    discovery: Discovery,
    reach: Reach,
) -> Result<Fetched, String> {
    let client = ProviderClient::new(discovery.ca, reach).await?;
    let hosts = discovery.hosts;
    let found = client.get(discovery::address(provider)?).await;
    let found = found.map_err(|error| format!("the discovery document: {error}"))?;
    let address = discovery::keys_address(&found, provider, &hosts)?;
    let text = client.get(address).await;
    let text = text.map_err(|error| format!("the keys: {error}"))?;
    let keys = KeySet::parse(&text).map_err(|fault| format!("the keys: {fault}"))?;
    let endpoints = SignInEndpoints::read(&found, provider, &hosts);
    Ok(Fetched {
        text,
        keys,
        endpoints,
    })
}

pub(crate) struct ProviderClient(Outbound);

impl ProviderClient {
    /// Creates a client that trusts servers whose certificates were issued by the given CAs or, if none are given, by
    /// the system's CAs.
    pub(crate) async fn new(ca: Option<Box<[u8]>>, reach: Reach) -> Result<Self, String> {
        // Runs on a blocking thread, since the system's CA certificates are read from files.
        let tls = spawn_blocking(move || outbound::tls(files::roots(ca.as_deref())?)).await;
        let tls = tls.map_err(|error| error.to_string())??;
        let bounds = OutboundBounds {
            reach,
            timeout: TIMEOUT,
            answer_bytes: KEY_SET_BYTES_MAX,
            idle_connections: 0,
        };
        Ok(Self(Outbound::new(tls.with_no_client_auth(), bounds)))
    }

    async fn get(&self, from: Uri) -> Result<Bytes, String> {
        match self.ask(Request::get(from), Body::empty()).await? {
            (200, body) => Ok(body),
            (status, _) => Err(format!("status {status}")),
        }
    }

    /// Posts a form, with the client's authorization header if one is given. Returns the response's status and body.
    pub(crate) async fn post(
        &self,
        to: Uri,
        form: Zeroizing<String>,
        authorization: Option<HeaderValue>,
    ) -> Result<(u16, Bytes), String> {
        let mut request =
            Request::post(to).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some(authorization) = authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        self.ask(request, Body::from(form.as_bytes().to_vec()))
            .await
    }

    async fn ask(&self, request: request::Builder, body: Body) -> Result<(u16, Bytes), String> {
        let request = request
            .header(header::ACCEPT, "application/json")
            .body(body);
        let request = request.map_err(|error| error.to_string())?;
        let answer = self.0.send(request).await?;
        let status = answer.status().as_u16();
        let rule = || format!("the answer is incomplete, or longer than {KEY_SET_BYTES_MAX} bytes");
        Ok((status, answer.into_body().ok_or_else(rule)?))
    }
}

const TIMEOUT: Duration = Duration::from_secs(5);
