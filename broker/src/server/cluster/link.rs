//! TLS between the nodes of a cluster.

use crate::edge::LinkTls;
use crate::failure::Failure;
use broker_core::cluster::secret::ClusterSecret;
use broker_core::settings::{Link, Settings};
use link::{Keys, Purpose};
use std::sync::Arc;

/// TLS for connections that are passed on, if links are encrypted.
///
/// # Errors
/// [`Failure::Fatal`] when the system gives no random bytes.
pub(crate) fn tls(
    settings: &Settings,
    secret: &ClusterSecret,
    cluster: &str,
) -> Result<Option<LinkTls>, Failure> {
    match settings.cluster.link() {
        Link::Plain => Ok(None),
        Link::Tls => derive(settings.shards, secret, cluster)
            .map(Some)
            .map_err(|error| {
                Failure::Fatal(format!("TLS between nodes cannot be set up: {error}"))
            }),
    }
}

fn derive(shards: usize, secret: &ClusterSecret, cluster: &str) -> Result<LinkTls, rustls::Error> {
    let keys = Keys::derive(secret, cluster)?;
    let server = keys.server(Purpose::Tunnel)?;
    let clients: Result<Vec<_>, _> = (0..shards)
        .map(|_| keys.client(Purpose::Tunnel).map(Arc::new))
        .collect();
    Ok(LinkTls {
        server: Arc::new(server),
        clients: clients?,
    })
}
