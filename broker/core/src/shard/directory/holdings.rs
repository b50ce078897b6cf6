//! The channels of each account, counted, with the bytes of their records.
//!
//! A channel counts with the bytes of its record, or of the one that is to replace it, whichever are more: what a
//! change that is under way will need is there when it is durable. What was stored earlier, or comes with a slot, is
//! counted and never refused, so that the sum may be above what it may be; only growth is refused then.

use crate::record::Holding;
use std::collections::BTreeMap;

/// The channels of a shard's accounts. An account without channels is not kept.
#[derive(Debug)]
pub(crate) struct Holdings {
    /// By `region:account:`.
    tenants: BTreeMap<Box<str>, Holding>,
    bytes: u64,
    most: u64,
    /// That they are more than they may be was noted.
    noted: bool,
}

impl Holdings {
    /// None yet, of at most this many bytes.
    pub(crate) fn of(most: usize) -> Self {
        Self {
            tenants: BTreeMap::new(),
            bytes: 0,
            most: most as u64,
            noted: false,
        }
    }

    /// Those of an account in a region.
    pub(crate) fn of_tenant(&self, tenant: &str) -> Holding {
        self.tenants.get(tenant).copied().unwrap_or_default()
    }

    /// The accounts that have channels, by `region:account:`, in order.
    pub(crate) fn tenants(&self) -> impl Iterator<Item = &str> {
        self.tenants.keys().map(|tenant| &**tenant)
    }

    /// All bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The bytes and what they may be, when they have become more than that since this was asked last.
    pub(crate) fn exceeded(&mut self) -> Option<(u64, u64)> {
        let is_over = self.bytes > self.most;
        let was_noted = std::mem::replace(&mut self.noted, is_over);
        (is_over && !was_noted).then_some((self.bytes, self.most))
    }

    /// Whether this many more fit.
    pub(crate) fn has_room(&self, more: usize) -> bool {
        self.bytes.saturating_add(more as u64) <= self.most
    }

    /// A channel of an account is there.
    pub(crate) fn came(&mut self, tenant: &str, bytes: usize) {
        let came = Holding {
            channels: 1,
            bytes: bytes as u64,
        };
        self.bytes += came.bytes;
        match self.tenants.get_mut(tenant) {
            Some(held) => *held = held.and(came),
            None => drop(self.tenants.insert(tenant.into(), came)),
        }
    }

    /// It is gone.
    pub(crate) fn went(&mut self, tenant: &str, bytes: usize) {
        self.change(tenant, bytes, 0);
        if let Some(held) = self.tenants.get_mut(tenant) {
            held.channels -= 1;
            if held.channels == 0 {
                self.tenants.remove(tenant);
            }
        }
    }

    /// One that counted with `before` bytes counts with `after`.
    pub(crate) fn change(&mut self, tenant: &str, before: usize, after: usize) {
        if let Some(held) = self.tenants.get_mut(tenant) {
            let changed = |bytes: u64| (bytes + after as u64).saturating_sub(before as u64);
            held.bytes = changed(held.bytes);
            self.bytes = changed(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn too_many_bytes_are_noted_once_each_time() {
        let mut holdings = Holdings::of(100);
        holdings.came("a:1:", 100);
        assert_eq!(holdings.exceeded(), None);
        holdings.came("a:1:", 1);
        assert_eq!(
            (holdings.exceeded(), holdings.exceeded()),
            (Some((101, 100)), None)
        );
        holdings.went("a:1:", 1);
        assert_eq!(holdings.exceeded(), None);
        holdings.came("a:1:", 9);
        assert_eq!(holdings.exceeded(), Some((109, 100)));
    }

    #[test]
    fn sums_are_those_of_the_channels_whatever_comes_and_goes() {
        let mut random = fastrand::Rng::with_seed(11);
        let mut holdings = Holdings::of(50_000);
        let mut channels: Vec<(&str, usize)> = Vec::new();
        for _ in 0..20_000 {
            let (tenant, bytes) = (
                ["a:1:", "a:2:", "b:1:"][random.usize(..3)],
                random.usize(1..900),
            );
            match random.u8(..4) {
                0 | 1 => {
                    holdings.came(tenant, bytes);
                    channels.push((tenant, bytes));
                }
                2 if !channels.is_empty() => {
                    let (tenant, bytes) = channels.swap_remove(random.usize(..channels.len()));
                    holdings.went(tenant, bytes);
                }
                _ if !channels.is_empty() => {
                    let at = random.usize(..channels.len());
                    let (tenant, before) = channels[at];
                    holdings.change(tenant, before, bytes);
                    channels[at] = (tenant, bytes);
                }
                _ => {}
            }
            if random.u8(..200) == 0 {
                channels
                    .drain(..)
                    .for_each(|(tenant, bytes)| holdings.went(tenant, bytes));
            }
            let all: usize = channels.iter().map(|(_, bytes)| bytes).sum();
            assert_eq!(holdings.bytes(), all as u64);
            assert_eq!(holdings.has_room(bytes), all + bytes <= 50_000);
            for tenant in ["a:1:", "a:2:", "b:1:"] {
                let own = channels.iter().filter(|(of, _)| *of == tenant);
                let held = holdings.of_tenant(tenant);
                let count = own.clone().count();
                assert_eq!(held.channels, count as u64);
                assert_eq!(held.bytes, own.map(|(_, bytes)| *bytes as u64).sum::<u64>());
                assert_eq!(holdings.tenants().any(|of| of == tenant), count > 0);
            }
        }
    }
}
