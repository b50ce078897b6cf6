//! The addresses that providers may have.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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
mod tests {

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
