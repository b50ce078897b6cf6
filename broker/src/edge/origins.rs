//! Where the TLS handshakes under way come from, so that one address cannot have them all.
//!
//! An address is an IPv4 address, or the /64 network of an IPv6 one: whoever has one address of it has them all.

use ahash::AHashMap;
use std::net::IpAddr;

/// Handshakes under way by origin. One per shard; it holds at most as many entries as handshakes may be under way.
pub(super) struct Origins {
    /// Handshakes of one origin at a time; 0 for no limit, and then nothing is kept.
    most: usize,
    under_way: AHashMap<Origin, usize>,
}

/// Whom a handshake under way is charged to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Origin {
    V4(u32),
    V6(u64),
}

impl Origin {
    /// The origin of an address. An IPv4 address in IPv6 clothes is one of IPv4.
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::V6(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
            }
        }
    }
}

impl Origins {
    /// With this many handshakes of one origin at a time; 0 for no limit.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            under_way: AHashMap::new(),
        }
    }

    /// Charges one more to where it comes from.
    ///
    /// # Errors
    /// That origin has as many as it may have.
    pub(super) fn enter(&mut self, address: IpAddr) -> Result<Option<Origin>, Full> {
        if self.most == 0 {
            return Ok(None);
        }
        let origin = Origin::of(address);
        let count = self.under_way.entry(origin).or_default();
        if *count >= self.most {
            return Err(Full);
        }
        *count += 1;
        Ok(Some(origin))
    }

    /// What was charged, if anything was, is over, whatever its outcome.
    pub(super) fn leave(&mut self, origin: Option<Origin>) {
        let Some(origin) = origin else {
            return;
        };
        let left = self.under_way.get_mut(&origin).map(|count| {
            *count -= 1;
            *count
        });
        debug_assert!(left.is_some(), "it has entered");
        if left == Some(0) {
            self.under_way.remove(&origin);
        }
    }
}

/// The origin has as many handshakes under way as it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_origin_has_so_many_and_gets_them_back() {
        let mut origins = Origins::new(2);
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        let first = origins.enter(one).unwrap();
        origins.enter(one).unwrap();
        assert_eq!(origins.enter(one), Err(Full));
        let second = origins.enter(other).unwrap();
        origins.leave(first);
        origins.enter(one).unwrap();
        assert_eq!(origins.enter(one), Err(Full));
        for origin in [first, first, second] {
            origins.leave(origin);
        }
        assert!(origins.under_way.is_empty(), "nothing is kept of who left");
    }

    #[test]
    fn one_network_of_ipv6_is_one_origin() {
        let origin = |text| Origin::of(address(text));
        assert_eq!(origin("2001:db8:0:1::1"), origin("2001:db8:0:1:ffff::2"));
        assert_ne!(origin("2001:db8:0:1::1"), origin("2001:db8:0:2::1"));
        assert_eq!(origin("::ffff:192.0.2.1"), origin("192.0.2.1"));
        assert_ne!(origin("192.0.2.1"), origin("192.0.2.2"));
        assert_ne!(origin("0.0.0.1"), origin("0:0:0:1::"));
    }

    #[test]
    fn without_a_limit_nothing_is_kept() {
        let mut origins = Origins::new(0);
        for _ in 0..1000 {
            assert_eq!(origins.enter(address("192.0.2.1")), Ok(None));
        }
        assert!(origins.under_way.is_empty());
    }
}
