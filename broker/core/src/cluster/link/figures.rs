//! Link metrics: the number of links, buffered bytes and round-trip times.

use crate::cluster::link::{Link, Role};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Metrics for one end of a set of links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkFigures {
    /// Number of open links.
    pub links: u64,
    /// Number of suspect links. A link is suspect if its other side is silent. No streams are opened on it.
    pub doubtful: u64,
    /// Number of streams, one per client.
    pub streams: u64,
    /// Bytes for the other node that have not been written yet, or that may have to be retried at another node.
    pub waiting_bytes: u64,
    /// Bytes from the other node that the local sides (mostly clients) have not read.
    pub held_bytes: u64,
    /// Bytes for the other node that have not been acknowledged, including those not written yet. On an owner, these
    /// are the bytes that clients have not acknowledged. Sessions delay their acknowledgements, so even an idle stream
    /// may account for up to half a window of such bytes on the client's node.
    pub unconfirmed_bytes: u64,
    /// The highest of the links' latest round-trip times, in milliseconds; `None` before the first measurement.
    pub round_trip_ms: Option<u64>,
}

/// The links between this node and one other node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerLinks {
    /// Links that this node opened for its clients.
    pub to: LinkFigures,
    /// Links that the other node opened for its clients.
    pub from: LinkFigures,
}

/// The links of a shard or node, keyed by the name of the other node.
pub type LinkTable = BTreeMap<Arc<str>, PeerLinks>;

impl LinkFigures {
    /// Adds the metrics of other links.
    pub fn add(&mut self, other: &Self) {
        self.links += other.links;
        self.doubtful += other.doubtful;
        self.streams += other.streams;
        self.waiting_bytes += other.waiting_bytes;
        self.held_bytes += other.held_bytes;
        self.unconfirmed_bytes += other.unconfirmed_bytes;
        self.round_trip_ms = self.round_trip_ms.max(other.round_trip_ms);
    }
}

impl PeerLinks {
    /// Adds the metrics of other links.
    pub fn add(&mut self, other: &Self) {
        self.to.add(&other.to);
        self.from.add(&other.from);
    }

    /// Adds the metrics of a single link.
    pub fn add_link(&mut self, link: &Link) {
        match link.streams.role {
            Role::Front => self.to.add(&link.figures()),
            Role::Owner => self.from.add(&link.figures()),
        }
    }

    /// Returns the sum of both directions.
    #[must_use]
    pub fn both(&self) -> LinkFigures {
        let mut both = self.to;
        both.add(&self.from);
        both
    }
}

/// Sums the tables of several shards.
#[must_use]
pub fn sum_of<'a>(tables: impl IntoIterator<Item = &'a LinkTable>) -> LinkTable {
    let mut sum = LinkTable::new();
    for (peer, links) in tables.into_iter().flatten() {
        sum.entry(Arc::clone(peer)).or_default().add(links);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::link::tests::client;
    use crate::time::Now;
    use codec::link::Kind;

    /// Delivers the output of one end to the other.
    fn pass(source: &mut Link, target: &mut Link, now: Now) {
        let mut bytes = Vec::new();
        source.tick(now);
        source.write(&mut bytes, now);
        target.read(&bytes, now);
    }

    #[test]
    fn the_figures_of_both_ends_are_added_by_node() {
        let mut front = Link::new(Role::Front, 1000, Now(0));
        let mut owner = Link::new(Role::Owner, 1000, Now(0));
        assert!(front.open(&client(Kind::Upgrade), vec![1; 7], 0).is_ok());
        pass(&mut front, &mut owner, Now(0));
        pass(&mut front, &mut owner, Now(1_000)); // sends a PING
        owner.streams.push(1, &[2; 5], true);
        pass(&mut owner, &mut front, Now(1_040));
        owner.streams.push(1, &[2; 3], true);
        let mut table = LinkTable::new();
        for end in [&front, &owner, &owner] {
            table.entry("n2".into()).or_default().add_link(end);
        }
        let sum = sum_of([&table, &table]);
        let PeerLinks { to, from } = sum["n2"];
        let expected = LinkFigures {
            links: 2,
            streams: 2,
            held_bytes: 2 * 5,
            unconfirmed_bytes: 2 * 7,
            round_trip_ms: Some(40),
            ..LinkFigures::default()
        };
        assert_eq!(to, expected);
        let expected = LinkFigures {
            links: 4,
            streams: 4,
            waiting_bytes: 4 * 3,
            held_bytes: 4 * 7,
            unconfirmed_bytes: 4 * 8,
            ..LinkFigures::default()
        };
        assert_eq!(from, expected);
        assert_eq!(sum["n2"].both().links, 6);
        let later = Now(1_040 + 3_000);
        owner.write(&mut Vec::new(), Now(1_040));
        owner.tick(later);
        assert_eq!(owner.figures().doubtful, 1);
    }
}
