//! The keys of a cluster in etcd.
//!
//! ```text
//!  /heliograph/<cluster>/c/<slot>/<region:account:name>   a channel's record          never watched
//!  /heliograph/<cluster>/live/<node>                      a registration, leased      ┐
//!  /heliograph/<cluster>/meta                             the format, the slot key    │
//!  /heliograph/<cluster>/order/<node>                     what an operator asks of it │ one range:
//!  /heliograph/<cluster>/report/<node>                    its answer to that          │ read and watched
//!  /heliograph/<cluster>/roster/<node>                    a member                    │
//!  /heliograph/<cluster>/s/<slot>                         a slot's owner              ┘
//!  /heliograph/<cluster>/w/<node>/<lane>                  the last batch of records   never watched
//! ```
//! A slot is three hexadecimal digits.

use crate::names::Name;
use broker_core::cluster::limits::SLOTS;
use broker_core::cluster::types::Slot;

/// Writes and reads the keys of one cluster.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    prefix: Box<str>,
}

/// The subject of a watched key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Watched {
    Slot(Slot),
    Registration(Name),
    Roster(Name),
    /// An order of an operator for a node.
    Order(Name),
    /// A node's report about its last order.
    Report(Name),
    Meta,
}

impl Keys {
    pub(crate) fn new(cluster: &Name) -> Self {
        Self {
            prefix: format!("/heliograph/{cluster}/").into(),
        }
    }

    pub(crate) fn slot(&self, slot: Slot) -> String {
        format!("{}s/{:03x}", self.prefix, slot.0)
    }

    pub(crate) fn registration(&self, node: &Name) -> String {
        format!("{}live/{node}", self.prefix)
    }

    pub(crate) fn roster(&self, node: &Name) -> String {
        format!("{}roster/{node}", self.prefix)
    }

    pub(crate) fn order(&self, node: &Name) -> String {
        format!("{}order/{node}", self.prefix)
    }

    pub(crate) fn report(&self, node: &Name) -> String {
        format!("{}report/{node}", self.prefix)
    }

    pub(crate) fn meta(&self) -> String {
        format!("{}meta", self.prefix)
    }

    pub(crate) fn lane(&self, node: &Name, lane: usize) -> String {
        format!("{}w/{node}/{lane}", self.prefix)
    }

    pub(crate) fn record(&self, slot: Slot, identity: &str) -> String {
        format!("{}c/{:03x}/{identity}", self.prefix, slot.0)
    }

    /// The range of all registrations, the meta key, members and slots: first key, and the first beyond the last.
    pub(crate) fn watched(&self) -> (String, String) {
        (
            format!("{}live/", self.prefix),
            format!("{}s0", self.prefix),
        )
    }

    /// The range of the records of one slot; the first key is the prefix of all of them.
    pub(crate) fn records(&self, slot: Slot) -> (String, String) {
        let start = format!("{}c/{:03x}/", self.prefix, slot.0);
        let end = format!("{}c/{:03x}0", self.prefix, slot.0);
        (start, end)
    }

    /// The range of the records of all slots.
    pub(crate) fn all_records(&self) -> (String, String) {
        (format!("{}c/", self.prefix), format!("{}c0", self.prefix))
    }

    /// The range of all registrations.
    pub(crate) fn registrations(&self) -> (String, String) {
        (
            format!("{}live/", self.prefix),
            format!("{}live0", self.prefix),
        )
    }

    /// The range of all reports.
    pub(crate) fn reports(&self) -> (String, String) {
        (
            format!("{}report/", self.prefix),
            format!("{}report0", self.prefix),
        )
    }

    /// The ranges between those of this version, except among the watched ones: what others have put below the prefix.
    pub(crate) fn of_others(&self) -> [(String, String); 4] {
        let prefix = &self.prefix;
        let end = prefix.strip_suffix('/').unwrap_or(prefix);
        let (_, watched_end) = self.watched();
        [
            (prefix.to_string(), format!("{prefix}c/")),
            (format!("{prefix}c0"), format!("{prefix}live/")),
            (watched_end, format!("{prefix}w/")),
            (format!("{prefix}w0"), format!("{end}0")),
        ]
    }

    /// The subject of a key; nothing for one that is not of this format.
    pub(crate) fn parse(&self, key: &[u8]) -> Option<Watched> {
        let key = std::str::from_utf8(key).ok()?;
        let key = key.strip_prefix(&*self.prefix)?;
        if key == "meta" {
            return Some(Watched::Meta);
        }
        let (kind, rest) = key.split_once('/')?;
        match kind {
            "s" => slot_of(rest).map(Watched::Slot),
            "live" => Name::new(rest).map(Watched::Registration),
            "roster" => Name::new(rest).map(Watched::Roster),
            "order" => Name::new(rest).map(Watched::Order),
            "report" => Name::new(rest).map(Watched::Report),
            _ => None,
        }
    }
}

fn slot_of(digits: &str) -> Option<Slot> {
    let is_plain = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if digits.len() != 3 || !digits.bytes().all(is_plain) {
        return None;
    }
    let number = u16::from_str_radix(digits, 16).ok()?;
    (number < SLOTS).then_some(Slot(number))
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn keys_are_read_as_they_are_written() {
        let keys = Keys::new(&Name::new("prod").unwrap());
        let node = Name::new("n1").unwrap();
        let text = keys.slot(Slot(4_095));
        assert_eq!(text, "/heliograph/prod/s/fff");
        assert_eq!(
            keys.parse(text.as_bytes()),
            Some(Watched::Slot(Slot(4_095)))
        );
        let live = keys.registration(&node);
        assert_eq!(live, "/heliograph/prod/live/n1");
        assert_eq!(
            keys.parse(live.as_bytes()),
            Some(Watched::Registration(node.clone()))
        );
        let roster = keys.roster(&node);
        assert_eq!(
            keys.parse(roster.as_bytes()),
            Some(Watched::Roster(node.clone()))
        );
        let order = keys.order(&node);
        assert_eq!(order, "/heliograph/prod/order/n1");
        assert_eq!(
            keys.parse(order.as_bytes()),
            Some(Watched::Order(node.clone()))
        );
        let report = keys.report(&node);
        assert_eq!(keys.parse(report.as_bytes()), Some(Watched::Report(node)));
        assert_eq!(keys.parse(keys.meta().as_bytes()), Some(Watched::Meta));
        let record = keys.record(Slot(10), "eu-1:1:channel/x");
        assert_eq!(record, "/heliograph/prod/c/00a/eu-1:1:channel/x");
    }

    #[test]
    fn keys_of_others_are_passed_over() {
        let keys = Keys::new(&Name::new("prod").unwrap());
        for text in [
            "/heliograph/prod2/s/000",
            "/heliograph/prod/s/00",
            "/heliograph/prod/s/0000",
            "/heliograph/prod/s/+00",
            "/heliograph/prod/s/00A",
            "/heliograph/prod/live/",
            "/heliograph/prod/live/a/b",
            "/heliograph/prod/metadata",
            "/heliograph/prod/other/x",
            "",
        ] {
            assert_eq!(keys.parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(keys.parse(b"\xff"), None);
    }

    #[test]
    fn one_range_holds_what_is_watched_and_no_record() {
        let keys = Keys::new(&Name::new("prod").unwrap());
        let node = Name::new("n1").unwrap();
        let (first, end) = keys.watched();
        let inside = |key: &str| first.as_str() <= key && key < end.as_str();
        for key in [
            keys.slot(Slot(0)),
            keys.slot(Slot(4_095)),
            keys.registration(&node),
            keys.roster(&node),
            keys.order(&node),
            keys.report(&node),
            keys.meta(),
        ] {
            assert!(inside(&key), "{key}");
        }
        assert!(!inside(&keys.record(Slot(0), "eu-1:1:channel/x")));
        assert!(!inside(&keys.lane(&node, 0)));
        let (first, end) = keys.records(Slot(255));
        let inside = |key: &str| first.as_str() <= key && key < end.as_str();
        assert!(inside(&keys.record(Slot(255), "\u{10ffff}")));
        assert!(!inside(&keys.record(Slot(256), "a")));
        assert!(!inside(&keys.record(Slot(254), "a")));
    }

    #[test]
    fn keys_of_others_are_between_ours() {
        let keys = Keys::new(&Name::new("prod").unwrap());
        let node = Name::new("n1").unwrap();
        let is_of_others = |key: &str| {
            let mut ranges = keys.of_others().into_iter();
            ranges.any(|(first, end)| first.as_str() <= key && key < end.as_str())
        };
        for name in [
            "",
            "a",
            "c",
            "c0",
            "d/x",
            "s0",
            "t/1",
            "w",
            "w0",
            "x",
            "\u{10ffff}",
        ] {
            assert!(is_of_others(&format!("/heliograph/prod/{name}")), "{name}");
        }
        for key in [
            keys.record(Slot(0), "eu-1:1:channel/x"),
            keys.record(Slot(4_095), "\u{10ffff}"),
            keys.registration(&node),
            keys.roster(&node),
            keys.meta(),
            keys.slot(Slot(4_095)),
            keys.lane(&node, 1),
            "/heliograph/prod".into(),
            "/heliograph/prod0".into(),
            "/heliograph/prod2/x".into(),
        ] {
            assert!(!is_of_others(&key), "{key}");
        }
    }
}
