//! A blocking HTTP client for requests that are not part of the load: creating and deleting channels, and reading
//! metrics.
//!
//! The API calls that sessions make (`--discover`) are part of the load and do not use this client. Their connections
//! are counted, scheduled and opened from `--source-addresses`. They also share the worker's ring, which must not
//! block. Sessions write these requests with [`crate::visit::write_call`], and parse the responses with
//! [`crate::visit::DiscoveryCalls`].

use std::net::SocketAddr;
use std::time::Duration;
use ureq::Agent;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::tls::TlsConfig;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

/// Creates a client that connects only to the given addresses, whatever host a URL names. `timeout` covers the whole
/// request. The client follows no redirects, uses no proxies, and returns responses with any status as a success.
pub(crate) fn client(
    addresses: impl Iterator<Item = SocketAddr>,
    tls: TlsConfig,
    timeout: Duration,
) -> Agent {
    let config = Agent::config_builder()
        .tls_config(tls)
        .timeout_global(Some(timeout))
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .build();
    let addresses = addresses.take(ADDRESSES_MAX).collect();
    Agent::with_parts(config, DefaultConnector::new(), CheckedAddresses(addresses))
}

/// Addresses that have already been resolved and checked. Unless the operator owns the target, they are all loopback
/// addresses.
#[derive(Debug)]
struct CheckedAddresses(Vec<SocketAddr>);

impl Resolver for CheckedAddresses {
    fn resolve(
        &self,
        _: &Uri,
        _: &Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut found = self.empty();
        self.0.iter().for_each(|address| found.push(*address));
        Ok(found)
    }
}

const ADDRESSES_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    /// Checks that only one request is sent and that it goes to the given address, regardless of the hosts that are
    /// named in the URL and in the response.
    #[test]
    fn requests_go_to_the_given_addresses_alone() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let service = thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                socket.read_exact(&mut byte).unwrap();
                head.extend(byte);
            }
            let away =
                "HTTP/1.1 307 Away\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n";
            socket.write_all(away.as_bytes()).unwrap();
            String::from_utf8(head).unwrap().to_ascii_lowercase()
        });
        let addresses = std::iter::once(address);
        let client = client(addresses, TlsConfig::default(), Duration::from_secs(9));
        let answer = client.get("http://elsewhere.invalid/x").call().unwrap();
        assert_eq!(answer.status(), 307);
        let head = service.join().unwrap();
        assert!(head.contains("\r\nhost: elsewhere.invalid\r\n"), "{head}");
    }
}
