//! The addresses in a load test: the target's addresses, and the local addresses to connect from.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use thiserror::Error;

/// The service under test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The address of the first connection.
    pub address: SocketAddr,
    /// Further addresses to connect to, in rotation. If one of them refuses a connection, the next one is tried.
    pub others: Vec<SocketAddr>,
    /// Whether to connect over TLS.
    pub tls: bool,
    /// The host name for which the certificate must be valid.
    pub host: String,
    /// The `Host` header: the host name, followed by the port unless it is the scheme's default port.
    pub authority: String,
}

/// A service address as given in a URL, before its host name is resolved.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Whether to connect over TLS.
    pub tls: bool,
    /// The host name for which the certificate must be valid.
    pub host: String,
    /// The port in the URL, or the default port of the scheme.
    pub port: u16,
    /// The `Host` header: the host name, followed by the port unless it is the scheme's default port.
    pub authority: String,
}

/// An invalid target or address range. The error is shown to the operator, and the program exits with code 2.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AddressError {
    /// The target is not a URL with the scheme `http`, `https`, `ws` or `wss`, a host and an optional port.
    #[error(
        "--target {0}: expected http://HOST[:PORT], https://…, ws://… or wss://…, without a path{1}"
    )]
    Target(String, String),
    /// The host name does not resolve to any address.
    #[error("--target: {0} has no address")]
    Unresolved(String),
    /// The target is not a loopback address, and the operator has not confirmed that they own it.
    #[error(
        "--target: {0} is not a loopback address; load on a machine that is not yours is an attack. If it is yours, \
         say so with --i-own-this-target"
    )]
    NotLoopback(IpAddr),
    /// The range is not in the form `A.B.C.D/N` or `A.B.C.D-A.B.C.E`, or it is empty or too large.
    #[error(
        "--source-addresses {0}: expected ADDRESS/BITS or FIRST-LAST of IPv4, with at most {SOURCES_MAX} addresses"
    )]
    Sources(String),
}

impl Target {
    /// Parses a URL and resolves its host name. Rejects any address that is not a loopback address, unless `owned` is
    /// set.
    pub fn parse(url: &str, owned: bool) -> Result<Self, AddressError> {
        Endpoint::parse(url)?.look_up(owned, AddressFamily::Any)
    }

    /// Returns the target's URL without a path: the scheme (`http` or `https`) and the authority.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.authority)
    }

    /// Returns all of the target's addresses.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        std::iter::once(self.address).chain(self.others.iter().copied())
    }

    /// Returns the address to use for connection `number`.
    #[must_use]
    pub fn address_of(&self, number: usize) -> SocketAddr {
        let place = number % (1 + self.others.len());
        self.addresses().nth(place).unwrap_or(self.address)
    }

    /// Returns whether every address is a loopback address.
    #[must_use]
    pub fn is_near(&self) -> bool {
        self.addresses().all(|address| address.ip().is_loopback())
    }

    /// Drops the target's IPv6 addresses. Returns `None` if it has no IPv4 address.
    #[must_use]
    pub fn of_v4(self) -> Option<Self> {
        let mut addresses = self.addresses().filter(SocketAddr::is_ipv4);
        let address = addresses.next()?;
        let others = addresses.collect();
        Some(Self {
            address,
            others,
            ..self
        })
    }
}

/// The IP versions that a host name is resolved to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressFamily {
    /// IPv4 and IPv6.
    Any,
    /// IPv4 only, for runs that use IPv4 source addresses.
    V4,
}

impl Endpoint {
    /// Parses a URL without resolving its host name.
    pub fn parse(url: &str) -> Result<Self, AddressError> {
        let wrong = || {
            // Other programs accept HOST:PORT without a scheme, so suggest adding one.
            let hint = if url.contains("://") {
                String::new()
            } else {
                format!(": http://{url}?")
            };
            AddressError::Target(url.to_owned(), hint)
        };
        let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
        let (tls, standard_port) = match scheme {
            "http" | "ws" => (false, 80),
            "https" | "wss" => (true, 443),
            _ => return Err(wrong()),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = split_port(authority).ok_or_else(wrong)?;
        let port = port.unwrap_or(standard_port);
        let bare = authority.strip_suffix(&format!(":{standard_port}"));
        Ok(Self {
            tls,
            host: host.to_owned(),
            port,
            authority: bare.unwrap_or(authority).to_owned(),
        })
    }

    /// Resolves the host name. This may block for as long as the system resolver does.
    ///
    /// # Errors
    /// Returns an error if the host has no address in this family. Unless the target is `owned`, also returns an error
    /// if any address is not a loopback address.
    pub fn look_up(self, owned: bool, family: AddressFamily) -> Result<Target, AddressError> {
        let unresolved = || AddressError::Unresolved(self.host.clone());
        let found = (self.host.as_str(), self.port).to_socket_addrs();
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for address in found.map_err(|_| unresolved())? {
            let is_of_use = family == AddressFamily::Any || address.is_ipv4();
            if is_of_use && !addresses.contains(&address) && addresses.len() < ADDRESSES_MAX {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            return Err(unresolved());
        }
        let abroad = addresses.iter().find(|address| !address.ip().is_loopback());
        if let Some(address) = abroad.filter(|_| !owned) {
            return Err(AddressError::NotLoopback(address.ip()));
        }
        Ok(Target {
            address: addresses.remove(0),
            others: addresses,
            tls: self.tls,
            host: self.host,
            authority: self.authority,
        })
    }
}

/// A range of local addresses, used in rotation. Each one provides about 28,000 ports per target address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceRange {
    first: Ipv4Addr,
    count: u32,
}

impl SourceRange {
    /// Parses a range: either `127.0.1.1/24`, which extends to the network's last usable address, or
    /// `127.0.1.1-127.0.1.8`.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let wrong = || AddressError::Sources(text.to_owned());
        let (first, last) = if let Some((first, last)) = text.split_once('-') {
            let last: Ipv4Addr = last.parse().map_err(|_| wrong())?;
            (first.parse().map_err(|_| wrong())?, u32::from(last))
        } else {
            let (first, bits) = text.split_once('/').unwrap_or((text, "32"));
            let first: Ipv4Addr = first.parse().map_err(|_| wrong())?;
            let bits: u32 = bits.parse().map_err(|_| wrong())?;
            if !(8..=32).contains(&bits) {
                return Err(wrong());
            }
            let hosts = u32::MAX.checked_shr(bits).unwrap_or_default();
            let broadcast = u32::from(hosts > 1);
            (first, (u32::from(first) | hosts) - broadcast)
        };
        let count = last.wrapping_sub(u32::from(first)).wrapping_add(1);
        if last < u32::from(first) || count > SOURCES_MAX {
            return Err(wrong());
        }
        Ok(Self { first, count })
    }

    /// Returns the number of addresses in the range.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Returns the source address to use for connection number `connection`.
    #[must_use]
    pub fn of(&self, connection: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.first) + connection % self.count)
    }
}

fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, after) = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port = match after.strip_prefix(':') {
        Some(port) => Some(port.parse().ok()?),
        None if after.is_empty() => None,
        None => return None,
    };
    // The host name ends up in a header line, so reject control characters too.
    let known = |byte: u8| byte.is_ascii_graphic() && !b"/?#@".contains(&byte);
    let plain = (1..=HOST_BYTES_MAX).contains(&host.len()) && host.bytes().all(known);
    plain.then_some((host, port))
}

/// Maximum length of a host name in bytes, without the trailing dot. Source: RFC 1035 section 2.3.4.
const HOST_BYTES_MAX: usize = 253;
/// Maximum number of addresses per host. Name servers usually return only a few.
const ADDRESSES_MAX: usize = 64;
/// Maximum number of source addresses: enough for a network with 16 host bits.
const SOURCES_MAX: u32 = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        let target = Target::parse("wss://localhost:8443/", false).unwrap();
        assert!(target.tls && target.address.ip().is_loopback());
        let found = (target.host.as_str(), target.authority.as_str());
        assert_eq!(found, ("localhost", "localhost:8443"));
        let target = Target::parse("http://127.0.0.1:80", false).unwrap();
        assert_eq!(target.authority, "127.0.0.1");
        assert_eq!(target.address.port(), 80);
        let found = Target::parse("https://[::1]", false)
            .unwrap()
            .address
            .port();
        assert_eq!(found, 443);
        #[rustfmt::skip] // a list
        let cases = [
            "", "127.0.0.1:80", "ftp://127.0.0.1", "http://", "http://127.0.0.1:x", "http://127.0.0.1/path",
            "http://127.0.0.1:99999", "http://[::1", "http://a\r\nX: y",
        ];
        for text in cases {
            let fine = matches!(Target::parse(text, true), Err(AddressError::Target(..)));
            assert!(fine, "{text}");
        }
    }

    #[test]
    fn endpoints_are_not_looked_up_before_they_are_needed() {
        let endpoint = Endpoint::parse("wss://v-1.example.invalid").unwrap();
        assert_eq!((endpoint.port, endpoint.tls), (443, true));
        assert_eq!(endpoint.authority, "v-1.example.invalid");
        assert_eq!(
            endpoint,
            Endpoint::parse("https://v-1.example.invalid:443/").unwrap()
        );
        let six = Endpoint::parse("ws://[::1]").unwrap();
        assert_eq!(six.port, 80);
        let unresolved = AddressError::Unresolved("::1".into());
        assert_eq!(six.look_up(false, AddressFamily::V4), Err(unresolved));
        let long = format!("ws://{}", "a".repeat(HOST_BYTES_MAX + 1));
        assert!(Endpoint::parse(&long).is_err());
    }

    #[test]
    fn connections_are_spread_over_all_addresses() {
        let target = Target {
            others: vec!["[::1]:2".parse().unwrap(), "127.0.0.3:3".parse().unwrap()],
            ..Target::parse("http://127.0.0.1:1", false).unwrap()
        };
        let ports: Vec<u16> = (0..4).map(|n| target.address_of(n).port()).collect();
        assert_eq!(ports, [1, 2, 3, 1]);
        assert!(target.is_near());
        let four = target.of_v4().unwrap();
        let ports: Vec<u16> = four.addresses().map(|address| address.port()).collect();
        assert_eq!(ports, [1, 3]);
        let six = Target::parse("http://[::1]:1", false).unwrap();
        assert_eq!(six.of_v4(), None);
        let mixed = Target {
            others: vec!["192.0.2.1:1".parse().unwrap()],
            ..four
        };
        assert!(!mixed.is_near());
    }

    #[test]
    fn other_machines_are_refused_unless_owned() {
        let url = "http://192.0.2.1:8080";
        let refused = Target::parse(url, false).unwrap_err();
        assert!(refused.to_string().contains("--i-own-this-target"));
        assert!(Target::parse(url, true).is_ok());
        assert!(Target::parse("http://0.0.0.0:1", false).is_err());
    }

    #[test]
    fn sources_are_taken_in_turn() {
        let of = |text: &str, n| SourceRange::parse(text).unwrap().of(n).to_string();
        assert_eq!(of("127.0.1.1/24", 0), "127.0.1.1");
        assert_eq!(of("127.0.1.1/24", 253), "127.0.1.254");
        assert_eq!(of("127.0.1.1/24", 254), "127.0.1.1");
        assert_eq!(of("127.0.1.3-127.0.1.4", 3), "127.0.1.4");
        assert_eq!(of("127.0.1.7", 9), "127.0.1.7");
        assert_eq!(of("127.0.1.7/32", 9), "127.0.1.7");
        #[rustfmt::skip] // a list
        let all = [
            "", "x", "127.0.1.1/33", "127.0.1.1/4", "127.0.1.9-127.0.1.1", "::1/64", "127.0.0.1/8",
        ];
        for text in all {
            assert!(SourceRange::parse(text).is_err(), "{text}");
        }
    }
}
