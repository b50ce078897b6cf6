//! The keys and values of a cluster in etcd. `translate.rs` converts them to and from the core's types.

use crate::names::{Name, shown};
use crate::{
    config::InnerAddress,
    limits::{REPORTED_LINKS_MAX, VALUE_BYTES_MAX},
};
use broker_core::cluster::limits::{INNER_VERSION, SLOTS};
use broker_core::cluster::link::{LinkFigures, LinkTable};
use broker_core::cluster::secret::{ProofKeys, Registrant};
use broker_core::cluster::types::{Incarnation, Kinship, ParcelId, RosterState, Slot};
use data_encoding::HEXLOWER;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use thiserror::Error;

// The keys of a cluster in etcd.
//
// ```text
//  /heliograph/<cluster>/c/<slot>/<region:account:name>   a channel's record          never watched
//  /heliograph/<cluster>/live/<node>                      a registration, leased      ┐
//  /heliograph/<cluster>/meta                             the format, the slot key    │
//  /heliograph/<cluster>/order/<node>                     an operator's order         │ one range:
//  /heliograph/<cluster>/report/<node>                    the report on it            │ read and watched
//  /heliograph/<cluster>/roster/<node>                    a member                    │
//  /heliograph/<cluster>/s/<slot>                         a slot's owner              ┘
//  /heliograph/<cluster>/w/<node>/<lane>                  the last batch of records   never watched
// ```
// A slot is written as three hexadecimal digits.

#[derive(Clone, Debug)]
pub(crate) struct Keys {
    prefix: Box<str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WatchedSubject {
    Slot(Slot),
    Registration(Name),
    Roster(Name),
    Order(Name),
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

    /// Returns the range of all watched keys, as the first key and the exclusive end.
    pub(crate) fn watched(&self) -> (String, String) {
        (
            format!("{}live/", self.prefix),
            format!("{}s0", self.prefix),
        )
    }

    /// Returns the range of the records in a slot. The first key is also their common prefix.
    pub(crate) fn records(&self, slot: Slot) -> (String, String) {
        let start = format!("{}c/{:03x}/", self.prefix, slot.0);
        let end = format!("{}c/{:03x}0", self.prefix, slot.0);
        (start, end)
    }

    pub(crate) fn all_records(&self) -> (String, String) {
        (format!("{}c/", self.prefix), format!("{}c0", self.prefix))
    }

    pub(crate) fn registrations(&self) -> (String, String) {
        (
            format!("{}live/", self.prefix),
            format!("{}live0", self.prefix),
        )
    }

    pub(crate) fn reports(&self) -> (String, String) {
        (
            format!("{}report/", self.prefix),
            format!("{}report0", self.prefix),
        )
    }

    /// Returns the ranges below the cluster's prefix that this version does not use. Any key in them is foreign.
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

    /// Parses a watched key. Returns `None` for any other key.
    pub(crate) fn parse(&self, key: &[u8]) -> Option<WatchedSubject> {
        let key = std::str::from_utf8(key).ok()?;
        let key = key.strip_prefix(&*self.prefix)?;
        if key == "meta" {
            return Some(WatchedSubject::Meta);
        }
        let (kind, rest) = key.split_once('/')?;
        match kind {
            "s" => slot_of(rest).map(WatchedSubject::Slot),
            "live" => Name::new(rest).map(WatchedSubject::Registration),
            "roster" => Name::new(rest).map(WatchedSubject::Roster),
            "order" => Name::new(rest).map(WatchedSubject::Order),
            "report" => Name::new(rest).map(WatchedSubject::Report),
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

// Values in etcd are JSON, so that operators can read them. Each contains its format number.
//
// Unknown fields are ignored, so a later version may add fields. Values in any other format are rejected.

const FORMAT: u32 = 1;

#[derive(Debug, Error)]
pub(crate) enum ValueError {
    /// The value is in the format of another version.
    #[error(
        "it has format {0}, and this version reads format {FORMAT}: use the version that wrote it"
    )]
    Format(u32),
    /// The value is not valid JSON, or lacks a field.
    #[error("it cannot be read: {}", shown(&.0.to_string()))]
    Json(serde_json::Error),
    /// The value is longer than any value that this program writes.
    #[error(
        "it cannot be read: it has {0} bytes, and values of a cluster have at most {VALUE_BYTES_MAX}"
    )]
    Length(usize),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SlotValue {
    format: u32,
    /// The owner of the slot. Absent if the last owner gave the slot up without a successor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) owner: Option<OwnerValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parcel: Option<ParcelValue>,
    #[serde(default)]
    pub(crate) presence: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OwnerValue {
    pub(crate) node: Box<str>,
    #[serde(flatten)]
    pub(crate) process: Incarnation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ParcelValue {
    #[serde(flatten)]
    giver: Incarnation,
    number: u32,
}

impl SlotValue {
    pub(crate) fn new(owner: Option<OwnerValue>, parcel: Option<ParcelId>, presence: u64) -> Self {
        let parcel = parcel.map(|id| ParcelValue {
            giver: id.giver,
            number: id.number,
        });
        Self {
            format: FORMAT,
            owner,
            parcel,
            presence,
        }
    }

    pub(crate) fn parcel(&self) -> Option<ParcelId> {
        self.parcel.map(|parcel| ParcelId {
            giver: parcel.giver,
            number: parcel.number,
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RegistrationValue {
    format: u32,
    #[serde(flatten)]
    pub(crate) process: Incarnation,
    pub(crate) version: Box<str>,
    #[serde(default)]
    pub(crate) commit: Box<str>,
    /// When the process started, by its own clock, in seconds since 1970.
    #[serde(default)]
    pub(crate) started: u64,
    #[serde(default)]
    pub(crate) inner: u32,
    /// Proofs, in hexadecimal, that the process knows the cluster secret: one for each line of the secret.
    #[serde(default)]
    proof: Vec<Box<str>>,
}

/// The registration of a node, as shown to operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationRecord {
    /// Version of the node's program.
    pub version: Box<str>,
    /// The process's start number, counted in the node's data directory.
    pub start: u64,
    /// Commit from which the node's program was built. Empty if the program does not state it.
    pub commit: Box<str>,
    /// Inter-node protocol version that the program uses. It determines the format of the program's messages.
    pub inner: u32,
    /// When the process started, by its own clock, in seconds since 1970. 0 if unknown.
    pub started: u64,
}

impl RegistrationValue {
    /// Converts the registration for display to operators. Its strings are escaped and truncated.
    pub(crate) fn registration(&self) -> RegistrationRecord {
        RegistrationRecord {
            version: shown(&self.version).into(),
            start: self.process.start,
            commit: shown(&self.commit).into(),
            inner: self.inner,
            started: self.started,
        }
    }

    pub(crate) fn new(
        registrant: &Registrant<'_>,
        keys: &ProofKeys,
        (commit, started): &(Box<str>, u64),
    ) -> Self {
        let proofs = keys.prove(registrant).into_iter();
        let incarnation = registrant.incarnation;
        Self {
            format: FORMAT,
            process: incarnation,
            version: env!("CARGO_PKG_VERSION").into(),
            commit: commit.clone(),
            started: *started,
            inner: INNER_VERSION,
            proof: proofs.map(|proof| HEXLOWER.encode(&proof).into()).collect(),
        }
    }

    /// Determines whether the registered process belongs to the same cluster as a process with these keys. `registrant`
    /// is the data that the registration's proofs must cover.
    pub(crate) fn kinship(&self, registrant: &Registrant<'_>, keys: &ProofKeys) -> Kinship {
        let proofs: Vec<Vec<u8>> = self
            .proof
            .iter()
            .take(PROOFS_MAX)
            .filter_map(|proof| HEXLOWER.decode(proof.as_bytes()).ok())
            .collect();
        keys.kinship(registrant, proofs.iter().map(Vec::as_slice), self.inner)
    }
}

/// Maximum number of proofs checked per registration. A secret has at most two lines.
const PROOFS_MAX: usize = 2;

/// The entry of a member in the roster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RosterValue {
    format: u32,
    /// Address for client connections that other nodes forward to this member.
    pub(crate) address: Box<str>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) ports: Vec<u16>,
    /// Address to which other nodes send their messages.
    #[serde(default)]
    pub(crate) peers: Box<str>,
    pub(crate) state: RosterState,
}

impl RosterValue {
    pub(crate) fn new(inner: &InnerAddress, peers: &str, state: RosterState) -> Self {
        Self {
            format: FORMAT,
            address: inner.address.clone(),
            ports: inner.several(),
            peers: peers.into(),
            state,
        }
    }

    pub(crate) fn inner(&self) -> InnerAddress {
        InnerAddress::new(&self.address, &self.ports)
    }
}

/// The properties of a cluster, written by its first node. Only the minimum inner version (inter-node protocol version)
/// and the presence epoch change later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MetaValue {
    format: u32,
    /// Random id, which distinguishes the cluster from a cluster with the same name in another etcd.
    pub(crate) id: Box<str>,
    pub(crate) slots: u16,
    /// Key of the hash that maps channels to slots: 16 bytes in hexadecimal.
    slot_key: Box<str>,
    /// Minimum inter-node protocol version, raised by operators. Nodes with a lower [`INNER_VERSION`] do not start.
    #[serde(default)]
    pub(crate) lowest: u32,
    /// Last presence epoch of the broker from which channels were imported. All slots start with a higher epoch.
    #[serde(default)]
    pub(crate) presence: u64,
}

impl MetaValue {
    pub(crate) fn new(id: [u8; 8], slots: u16, slot_key: [u8; 16]) -> Self {
        Self {
            format: FORMAT,
            id: HEXLOWER.encode(&id).into(),
            slots,
            slot_key: HEXLOWER.encode(&slot_key).into(),
            lowest: INNER_VERSION,
            presence: 0,
        }
    }

    pub(crate) fn slot_key(&self) -> Option<[u8; 16]> {
        HEXLOWER
            .decode(self.slot_key.as_bytes())
            .ok()?
            .try_into()
            .ok()
    }
}

/// An order from an operator to a process, stored under the lease of the process's registration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OrderValue {
    format: u32,
    /// The process that must carry out the order. A later process of the node ignores it.
    #[serde(flatten)]
    pub(crate) process: Incarnation,
    pub(crate) order: OrderWord,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OrderWord {
    /// Transfer all slots, then shut down.
    Drain,
    /// Transfer the slots that exceed an equal share to other nodes.
    Rebalance,
    /// Only write a report.
    Report,
}

impl OrderValue {
    pub(crate) fn new(process: Incarnation, order: OrderWord) -> Self {
        Self {
            format: FORMAT,
            process,
            order,
        }
    }
}

/// A process's report on its last order, stored under the lease of the process's registration. Updated every second
/// during a drain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReportValue {
    format: u32,
    pub(crate) order: u64,
    /// When the report was written, by the process's clock, in milliseconds since 1970.
    pub(crate) unix_ms: u64,
    /// Number of messages on the node that are still waiting for their recipients.
    pub(crate) waiting: u64,
    /// The nodes that recently answered the reporting node.
    pub(crate) reaches: Vec<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) credentials: Option<Box<str>>,
    /// Links with other nodes in both directions, by node name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) links: BTreeMap<Arc<str>, LinkFigures>,
}

impl ReportValue {
    /// Creates a report. `credentials` is the SHA-256 of the node's credentials files.
    pub(crate) fn new(
        order: u64,
        unix_ms: u64,
        waiting: u64,
        reaches: Vec<Box<str>>,
        credentials: Option<[u8; 32]>,
        links: &LinkTable,
    ) -> Self {
        let links = links.iter().take(REPORTED_LINKS_MAX);
        let links = links.map(|(peer, links)| (Arc::clone(peer), links.both()));
        Self {
            format: FORMAT,
            order,
            unix_ms,
            waiting,
            reaches,
            credentials: credentials.map(|sha256| HEXLOWER.encode(&sha256).into()),
            links: links.collect(),
        }
    }
}

#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

pub(crate) fn read<V: DeserializeOwned>(bytes: &[u8]) -> Result<V, ValueError> {
    if bytes.len() > VALUE_BYTES_MAX {
        return Err(ValueError::Length(bytes.len()));
    }
    let FormatOnly { format } = serde_json::from_slice(bytes).map_err(ValueError::Json)?;
    if format != FORMAT {
        return Err(ValueError::Format(format));
    }
    serde_json::from_slice(bytes).map_err(ValueError::Json)
}

pub(crate) fn write<V: Serialize>(value: &V) -> Vec<u8> {
    serde_json::to_vec(value).expect("names and numbers are JSON")
}

/// Replaces the number in a field of a serialized value. Preserves any fields added by later versions.
pub(crate) fn with_number(bytes: &[u8], field: &str, number: u64) -> Option<Vec<u8>> {
    let mut value: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    value.as_object_mut()?.insert(field.into(), number.into());
    serde_json::to_vec(&value).ok()
}

#[cfg(test)]
mod keys_tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_are_written() {
        let keys = Keys::new(&Name::new("prod").unwrap());
        let node = Name::new("n1").unwrap();
        let text = keys.slot(Slot(4_095));
        assert_eq!(text, "/heliograph/prod/s/fff");
        assert_eq!(
            keys.parse(text.as_bytes()),
            Some(WatchedSubject::Slot(Slot(4_095)))
        );
        let live = keys.registration(&node);
        assert_eq!(live, "/heliograph/prod/live/n1");
        assert_eq!(
            keys.parse(live.as_bytes()),
            Some(WatchedSubject::Registration(node.clone()))
        );
        let roster = keys.roster(&node);
        assert_eq!(
            keys.parse(roster.as_bytes()),
            Some(WatchedSubject::Roster(node.clone()))
        );
        let order = keys.order(&node);
        assert_eq!(order, "/heliograph/prod/order/n1");
        assert_eq!(
            keys.parse(order.as_bytes()),
            Some(WatchedSubject::Order(node.clone()))
        );
        let report = keys.report(&node);
        assert_eq!(
            keys.parse(report.as_bytes()),
            Some(WatchedSubject::Report(node))
        );
        assert_eq!(
            keys.parse(keys.meta().as_bytes()),
            Some(WatchedSubject::Meta)
        );
        let record = keys.record(Slot(10), "eu-1:1:channel/x");
        assert_eq!(record, "/heliograph/prod/c/00a/eu-1:1:channel/x");
    }

    #[test]
    fn keys_of_others_are_passed_over() {
        let keys = Keys::new(&Name::new("prod").unwrap());
        #[rustfmt::skip] // a list
        let cases = [
            "/heliograph/prod2/s/000", "/heliograph/prod/s/00", "/heliograph/prod/s/0000", "/heliograph/prod/s/+00",
            "/heliograph/prod/s/00A", "/heliograph/prod/live/", "/heliograph/prod/live/a/b",
            "/heliograph/prod/metadata", "/heliograph/prod/other/x", "",
        ];
        for text in cases {
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
        #[rustfmt::skip] // a list
        let cases = ["", "a", "c", "c0", "d/x", "s0", "t/1", "w", "w0", "x", "\u{10ffff}"];
        for name in cases {
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

#[cfg(test)]
mod values_tests {
    use super::*;
    use broker_core::cluster::link::PeerLinks;
    use broker_core::cluster::secret::ClusterSecret;

    const INCARNATION: Incarnation = Incarnation {
        directory: 7,
        start: 3,
    };

    #[test]
    fn values_are_these_texts() {
        let owner = OwnerValue {
            node: "n1".into(),
            process: INCARNATION,
        };
        let parcel = ParcelId {
            giver: INCARNATION,
            number: 9,
        };
        let slot = SlotValue::new(Some(owner), Some(parcel), 5);
        let text = String::from_utf8(write(&slot)).unwrap();
        let owner = r#""owner":{"node":"n1","directory":7,"start":3}"#;
        let parcel_text = r#""parcel":{"directory":7,"start":3,"number":9}"#;
        assert_eq!(
            text,
            format!(r#"{{"format":1,{owner},{parcel_text},"presence":5}}"#)
        );
        let again: SlotValue = read(text.as_bytes()).unwrap();
        assert_eq!(again, slot);
        assert_eq!(again.parcel(), Some(parcel));
        let none = write(&SlotValue::new(None, None, 6));
        assert_eq!(none, br#"{"format":1,"presence":6}"#);
        let (address, peers) = ("10.0.0.1:7443", "10.0.0.1:7444");
        let inner = InnerAddress::new(address, &[7443]);
        let roster = write(&RosterValue::new(&inner, peers, RosterState::Away));
        let expected =
            br#"{"format":1,"address":"10.0.0.1:7443","peers":"10.0.0.1:7444","state":"away"}"#;
        assert_eq!(roster, expected);
        let again: RosterValue = read(&roster).unwrap();
        assert_eq!(again.inner(), inner);
        let inner = InnerAddress::new(address, &[7443, 7445]);
        let roster = write(&RosterValue::new(&inner, peers, RosterState::Here));
        let ports = br#"{"format":1,"address":"10.0.0.1:7443","ports":[7443,7445],"#;
        assert!(roster.starts_with(ports));
        let again: RosterValue = read(&roster).unwrap();
        assert_eq!(again.inner(), inner);
        let meta = MetaValue::new([1; 8], 4_096, *b"0123456789abcdef");
        let order = write(&OrderValue::new(INCARNATION, OrderWord::Drain));
        let expected = br#"{"format":1,"directory":7,"start":3,"order":"drain"}"#;
        assert_eq!(order, expected);
        let report =
            |sha256| ReportValue::new(9, 8, 7, vec!["n2".into()], sha256, &LinkTable::new());
        let written = write(&report(None));
        let expected = br#"{"format":1,"order":9,"unix_ms":8,"waiting":7,"reaches":["n2"]}"#;
        assert_eq!(written, expected);
        assert_eq!(read::<ReportValue>(&written).unwrap(), report(None));
        let report = report(Some([0xab; 32]));
        let sha256 = format!(r#","credentials":"{}"}}"#, "ab".repeat(32));
        assert!(write(&report).ends_with(sha256.as_bytes()));
        let again: MetaValue = read(&write(&meta)).unwrap();
        assert_eq!(again.slot_key(), Some(*b"0123456789abcdef"));
        let registrant = Registrant {
            cluster: "0101010101010101",
            slot_key: b"0123456789abcdef",
            node: "n1",
            incarnation: INCARNATION,
        };
        let keys = |digits: &str| {
            let secret = ClusterSecret::parse(&digits.repeat(32)).unwrap();
            secret.proof_keys("prod")
        };
        let written = write(&RegistrationValue::new(&registrant, &keys("0f"), &build()));
        let registration: RegistrationValue = read(&written).unwrap();
        assert_eq!(registration.process, INCARNATION);
        let found = ["0f", "0e"].map(|own| registration.kinship(&registrant, &keys(own)));
        assert_eq!(found, [Kinship::Peer, Kinship::Unproven]);
        let without = br#"{"format":1,"directory":7,"start":3,"version":"1"}"#;
        let registration: RegistrationValue = read(without).unwrap();
        let found = registration.kinship(&registrant, &keys("0f"));
        assert_eq!(found, Kinship::Unproven);
    }

    fn build() -> (Box<str>, u64) {
        ("0123abcd".into(), 7)
    }

    #[test]
    fn a_registration_says_what_its_program_is() {
        let registrant = Registrant {
            cluster: "0101010101010101",
            slot_key: b"0123456789abcdef",
            node: "n1",
            incarnation: INCARNATION,
        };
        let secret = ClusterSecret::parse(&"0f".repeat(32)).unwrap();
        let value = RegistrationValue::new(&registrant, &secret.proof_keys("prod"), &build());
        let again: RegistrationValue = read(&write(&value)).unwrap();
        assert_eq!((again.commit, again.started), build());
    }

    #[test]
    fn a_report_names_the_links_of_some_nodes() {
        let peers = (0..200).map(|peer| (format!("{peer:063}").into(), PeerLinks::default()));
        let report = ReportValue::new(9, 8, 7, Vec::new(), None, &peers.collect());
        let value = write(&report);
        let again: ReportValue = read(&value).unwrap();
        assert_eq!(again.links.len(), REPORTED_LINKS_MAX);
    }

    #[test]
    fn other_formats_and_other_texts_are_refused() {
        let refused = |text: &str| read::<SlotValue>(text.as_bytes()).unwrap_err().to_string();
        assert!(refused(r#"{"format":2,"owner":7}"#).contains("format 2"));
        for text in ["", "{}", "x", r#"{"format":1,"owner":{"node":"n1"}}"#] {
            assert!(refused(text).contains("cannot be read"), "{text}");
        }
        let long = format!(r#"{{"format":1,"more":"{}"}}"#, "x".repeat(VALUE_BYTES_MAX));
        assert!(refused(&long).contains("bytes"));
        let lines = r#"{"format":1,"address":"","state":"a\nb\u001b"}"#;
        let why = read::<RosterValue>(lines.as_bytes()).unwrap_err();
        let why = why.to_string();
        assert!(!why.contains(char::is_control), "{why:?}");
        let later = r#"{"format":1,"added":{"a":[1]}}"#;
        assert!(read::<SlotValue>(later.as_bytes()).is_ok());
    }

    #[test]
    fn fields_that_are_not_known_stay_where_a_number_is_changed() {
        let text = br#"{"format":1,"id":"a","added":{"x":[1]},"lowest":1}"#;
        let changed = with_number(text, "lowest", 2).unwrap();
        let changed: serde_json::Value = serde_json::from_slice(&changed).unwrap();
        let expected = serde_json::json!({"format":1,"id":"a","added":{"x":[1]},"lowest":2});
        assert_eq!(changed, expected);
        assert_eq!(with_number(b"[]", "lowest", 2), None);
    }
}
