//! Converts keys and values in etcd to the core's types and back.

use crate::config::{InnerAddress, NodeConfig};
use crate::limits::ADDRESS_BYTES_MAX;
use crate::names::{self, Name, Names, TooManyNodes};
use crate::rpc::generated::{self, KeyValue, RangeRequest, RequestOp, ResponseHeader, TxnRequest};
use crate::schema::{
    self, Keys, MetaValue, OrderValue, OwnerValue, RegistrationRecord, RegistrationValue,
    RosterValue, SlotValue, ValueError, WatchedSubject,
};
use broker_core::cluster::message::{ExpectedRevision, Transaction};
use broker_core::cluster::secret::{ProofKeys, Registrant};
use broker_core::cluster::types::{
    Change, EtcdId, Incarnation, Key, LeaseId, NodeId, Owner, Revision, Snapshot, Value,
};
use std::collections::BTreeMap;
use thiserror::Error;

/// Cluster data that the core does not have: the names and addresses of nodes, and the meta key.
#[derive(Debug)]
pub(crate) struct Translator {
    pub(crate) keys: Keys,
    pub(crate) names: Names,
    /// Id of the cluster, once the meta key has been read.
    cluster: Option<Box<str>>,
    /// Key of the hash that maps channels to slots. Valid once the meta key has been read.
    slot_key: [u8; 16],
    proofs: ProofKeys,
    build: (Box<str>, u64),
    me: Name,
    inner: InnerAddress,
    peers: Box<str>,
    addresses: BTreeMap<NodeId, (InnerAddress, Box<str>)>,
    registrations: BTreeMap<NodeId, RegistrationRecord>,
    /// Whether any address has changed since this was last reset.
    pub(crate) moved: bool,
    /// The last order for this node, with its revision.
    pub(crate) order: Option<(Revision, OrderValue)>,
    /// Highest minimum inner version (inter-node protocol version) seen in the meta key so far.
    pub(crate) lowest: u32,
    /// Presence epochs written to etcd must be higher than this.
    presence: u64,
}

/// The error returned if this version recognizes a key but cannot parse its value. The whole response is then
/// discarded.
#[derive(Debug, Error)]
#[error("the key {key} of etcd: {why}")]
pub(crate) struct Unreadable {
    key: String,
    why: Why,
}

#[derive(Debug, Error)]
enum Why {
    #[error(transparent)]
    Value(#[from] ValueError),
    #[error("it has an invalid name of a node")]
    Name,
    #[error("its address has more than {ADDRESS_BYTES_MAX} bytes")]
    Address,
    #[error(transparent)]
    TooMany(#[from] TooManyNodes),
}

impl Translator {
    pub(crate) fn new(config: &NodeConfig, cluster: &Name, me: Name) -> Self {
        Self {
            keys: Keys::new(cluster),
            names: Names::new(me.clone()),
            cluster: None,
            slot_key: [0; 16],
            proofs: config.proofs.clone(),
            build: config.build.clone(),
            me,
            inner: config.inner.clone(),
            peers: config.peers.clone(),
            addresses: BTreeMap::new(),
            registrations: BTreeMap::new(),
            moved: false,
            order: None,
            lowest: 0,
            presence: config.presence,
        }
    }

    /// Stores the meta key, which must be read before all other keys.
    pub(crate) fn founded(&mut self, meta: &MetaValue) {
        self.lowest = self.lowest.max(meta.lowest);
        self.presence = self.presence.max(meta.presence);
        self.cluster = Some(meta.id.clone());
        self.slot_key = meta.slot_key().unwrap_or_default();
    }

    /// Returns the data that the proofs in a node's registration must cover.
    fn registrant<'a>(&'a self, node: &'a Name, incarnation: Incarnation) -> Registrant<'a> {
        Registrant {
            cluster: self.cluster.as_deref().unwrap_or_default(),
            slot_key: &self.slot_key,
            node: node.as_str(),
            incarnation,
        }
    }

    /// Returns the address for messages to a node, as stated in the roster.
    pub(crate) fn peers(&self, node: NodeId) -> Option<&str> {
        self.addresses.get(&node).map(|(_, peers)| &**peers)
    }

    /// Returns the address for client connections forwarded to a node, as stated in the roster.
    pub(crate) fn inner(&self, node: NodeId) -> Option<&InnerAddress> {
        self.addresses.get(&node).map(|(inner, _)| inner)
    }

    pub(crate) fn registration(&self, node: NodeId) -> Option<&RegistrationRecord> {
        self.registrations.get(&node)
    }

    /// Returns all nodes, with their addresses for forwarded client connections.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = (NodeId, &InnerAddress)> {
        let all = self.addresses.iter();
        all.map(|(node, (inner, _))| (*node, inner))
    }

    /// Returns all other nodes' addresses, both for client connections and for messages.
    pub(crate) fn of_others(&self) -> impl Iterator<Item = &str> {
        let others = self.addresses.iter().filter(|(node, _)| **node != OWN);
        others.flat_map(|(_, (inner, peers))| [&*inner.address, &**peers])
    }

    /// Converts all watched keys, as read at one revision. If the meta key belongs to another cluster with the same
    /// name, the result contains a different etcd id. This tells the core that etcd's data has been replaced.
    pub(crate) fn snapshot(
        &mut self,
        header: Option<&ResponseHeader>,
        rows: &[KeyValue],
    ) -> Result<Snapshot, Unreadable> {
        let mut entries = Vec::with_capacity(rows.len());
        for row in rows {
            entries.extend(self.change(row)?);
        }
        let (revision, EtcdId(etcd)) = header_of(header);
        let found = meta(&self.keys, rows)?.map(|meta| meta.id);
        let etcd = EtcdId(if found == self.cluster { etcd } else { !etcd });
        Ok(Snapshot {
            revision,
            etcd,
            entries,
        })
    }

    /// Converts a change to a watched key. Returns `None` for keys that the core does not use, such as the meta key. A
    /// row without a version represents a deletion.
    pub(crate) fn change(&mut self, row: &KeyValue) -> Result<Option<Change>, Unreadable> {
        let Some(watched) = self.keys.parse(&row.key) else {
            return Ok(None);
        };
        let value = (row.version > 0).then_some(&*row.value);
        if watched == WatchedSubject::Order(self.me.clone()) {
            if let Some(order) = value.and_then(|bytes| schema::read(bytes).ok()) {
                self.order = Some((revision_of(row.mod_revision), order));
            }
            return Ok(None);
        }
        let lease = LeaseId(row.lease.cast_unsigned());
        match self.key_and_value(watched, value, lease) {
            Ok(Some((key, value))) => Ok(Some(Change {
                revision: revision_of(row.mod_revision),
                key,
                value,
            })),
            Ok(None) => Ok(None),
            Err(why) => Err(Unreadable {
                key: String::from_utf8_lossy(&row.key).into_owned(),
                why,
            }),
        }
    }

    fn key_and_value(
        &mut self,
        watched: WatchedSubject,
        value: Option<&[u8]>,
        lease: LeaseId,
    ) -> Result<Option<(Key, Option<Value>)>, Why> {
        Ok(Some(match watched {
            // An unreadable meta key is reported by the full read.
            WatchedSubject::Meta => {
                let meta: Option<MetaValue> = value.and_then(|bytes| schema::read(bytes).ok());
                if let Some(meta) = meta {
                    self.lowest = self.lowest.max(meta.lowest);
                    self.presence = self.presence.max(meta.presence);
                }
                return Ok(None);
            }
            WatchedSubject::Order(_) | WatchedSubject::Report(_) => return Ok(None),
            WatchedSubject::Slot(slot) => {
                let value = value.map(|bytes| self.slot_value(bytes)).transpose()?;
                (Key::Slot(slot), value)
            }
            WatchedSubject::Registration(name) => {
                let value = value.map(schema::read::<RegistrationValue>).transpose()?;
                let node = self.names.number(&name)?;
                if let Some(value) = &value {
                    self.registrations.insert(node, value.registration());
                }
                let value = value.map(|value| {
                    let incarnation = value.process;
                    let registrant = self.registrant(&name, incarnation);
                    Value::Registration {
                        incarnation,
                        lease,
                        kinship: value.kinship(&registrant, &self.proofs),
                    }
                });
                (Key::Registration(node), value)
            }
            WatchedSubject::Roster(name) => {
                let value = value.map(schema::read::<RosterValue>).transpose()?;
                let node = self.names.number(&name)?;
                if let Some(value) = &value {
                    if value.address.len().max(value.peers.len()) > ADDRESS_BYTES_MAX {
                        return Err(Why::Address);
                    }
                    let both = (value.inner(), value.peers.clone());
                    self.moved |= self.addresses.get(&node) != Some(&both);
                    self.addresses.insert(node, both);
                }
                let value =
                    value.map(|value| Value::Roster(value.state, names::address(&value.address)));
                (Key::Roster(node), value)
            }
        }))
    }

    fn slot_value(&mut self, bytes: &[u8]) -> Result<Value, Why> {
        let value: SlotValue = schema::read(bytes)?;
        let (parcel, presence) = (value.parcel(), value.presence);
        let owner = match value.owner {
            None => None,
            Some(OwnerValue { node, process }) => {
                let name = Name::new(&node).ok_or(Why::Name)?;
                Some(Owner {
                    node: self.names.number(&name)?,
                    incarnation: process,
                })
            }
        };
        Ok(Value::Slot {
            owner,
            parcel,
            presence,
        })
    }

    /// Converts a core transaction to an etcd transaction. `wall_ms` is the wall-clock time in milliseconds since 1970.
    /// Records are handled by [`crate::writer`].
    pub(crate) fn transaction(&self, transaction: &Transaction, wall_ms: u64) -> TxnRequest {
        let compares = transaction.compares.iter();
        let puts = transaction.puts.iter();
        let mut request = TxnRequest {
            compare: compares.filter_map(|it| self.compare(it)).collect(),
            success: puts
                .filter_map(|(key, it)| self.put(*key, *it, wall_ms))
                .collect(),
            failure: Vec::new(),
        };
        if transaction.reads {
            let read = RequestOp::read(RangeRequest::range(self.keys.watched()));
            request.success.push(read.clone());
            request.failure.push(read);
        }
        request
    }

    fn compare(&self, compare: &ExpectedRevision) -> Option<generated::Compare> {
        let key = self.key(compare.key)?;
        Some(generated::Compare::unchanged(
            key,
            compare.at.0.cast_signed(),
        ))
    }

    fn put(&self, key: Key, value: Value, wall_ms: u64) -> Option<RequestOp> {
        let text = self.key(key)?;
        Some(match value {
            Value::Slot {
                owner,
                parcel,
                presence,
            } => {
                let owner = match owner {
                    None => None,
                    Some(owner) => Some(OwnerValue {
                        node: self.names.name(owner.node)?.as_str().into(),
                        process: owner.incarnation,
                    }),
                };
                let presence = presence.max(self.presence.saturating_add(1)).max(wall_ms);
                RequestOp::put(
                    text,
                    schema::write(&SlotValue::new(owner, parcel, presence)),
                )
            }
            Value::Registration {
                incarnation, lease, ..
            } => {
                let registrant = self.registrant(&self.me, incarnation);
                let value = RegistrationValue::new(&registrant, &self.proofs, &self.build);
                RequestOp::put_under(lease.0.cast_signed(), text, schema::write(&value))
            }
            Value::Roster(state, _) => {
                let value = RosterValue::new(&self.inner, &self.peers, state);
                RequestOp::put(text, schema::write(&value))
            }
            Value::Record => return None,
        })
    }

    fn key(&self, key: Key) -> Option<String> {
        match key {
            Key::Slot(slot) => Some(self.keys.slot(slot)),
            Key::Registration(node) => Some(self.keys.registration(self.names.name(node)?)),
            Key::Roster(node) => Some(self.keys.roster(self.names.name(node)?)),
            Key::Record(..) => None,
        }
    }

    pub(crate) fn me(&self) -> &Name {
        &self.me
    }
}

/// The number of this node within its own process.
const OWN: NodeId = NodeId(0);

pub(crate) fn meta(keys: &Keys, rows: &[KeyValue]) -> Result<Option<MetaValue>, Unreadable> {
    let row = rows
        .iter()
        .find(|row| keys.parse(&row.key) == Some(WatchedSubject::Meta));
    let read = |row: &KeyValue| schema::read(&row.value);
    row.map(read).transpose().map_err(|error| Unreadable {
        key: keys.meta(),
        why: error.into(),
    })
}

pub(crate) fn header_of(header: Option<&ResponseHeader>) -> (Revision, EtcdId) {
    let revision = header.map_or(0, |header| header.revision);
    let cluster = header.map_or(0, |header| header.cluster_id);
    (revision_of(revision), EtcdId(cluster))
}

pub(crate) fn revision_of(number: i64) -> Revision {
    Revision(u64::try_from(number).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    //! Values written by three nodes of earlier versions (`deploy/ci/fixtures.py`) must be readable by this version.

    use super::*;
    use crate::schema::ReportValue;
    use broker_core::cluster::limits::INNER_VERSION;
    use broker_core::cluster::secret::ClusterSecret;
    use broker_core::cluster::slot_maps::slot_of;
    use broker_core::cluster::types::{Kinship, RosterState};
    use broker_core::{id::Identity, registry::decode};
    use std::path::{Path, PathBuf};

    #[test]
    fn slots_members_and_registrations_of_an_earlier_version_are_read() {
        for version in versions() {
            let (mut node, rows) = cluster(&version);
            let meta = meta(&node.keys, &rows).unwrap().expect("a meta key");
            node.founded(&meta);
            let mut owned: BTreeMap<NodeId, u32> = BTreeMap::new();
            let (mut members, mut kin) = (Vec::new(), Vec::new());
            for change in node.snapshot(None, &rows).unwrap().entries {
                match change.value.expect("a value") {
                    Value::Slot { owner, .. } => {
                        *owned.entry(owner.unwrap().node).or_default() += 1;
                    }
                    Value::Roster(state, _) => members.push(state),
                    Value::Registration { kinship, .. } => kin.push(kinship),
                    Value::Record => panic!("records are not watched"),
                }
            }
            assert_eq!((owned.len(), owned.values().sum()), (3, 4_096));
            assert_eq!(members, [RosterState::Here; 3]);
            let inner = node.registration(OWN).expect("its own").inner;
            let is_neighbour = inner.abs_diff(INNER_VERSION) <= 1;
            let expected = [Kinship::OtherVersion(inner), Kinship::Peer];
            assert_eq!(kin, [expected[usize::from(is_neighbour)]; 3]);
            let (_, order) = node.order.take().expect("an order");
            assert_eq!(
                order,
                OrderValue::new(order.process, schema::OrderWord::Report)
            );
            let reports = node.keys.reports();
            let reports = between(&rows, &reports).map(|(_, value)| value);
            let reports: Vec<ReportValue> = reports.map(|it| schema::read(it).unwrap()).collect();
            assert_eq!(reports.len(), 3);
            assert!(reports.iter().all(|report| report.reaches.len() == 2));
        }
    }

    #[test]
    fn channels_of_an_earlier_version_are_read_and_are_in_their_slots() {
        for version in versions() {
            let (node, rows) = cluster(&version);
            let slot_key = meta(&node.keys, &rows).unwrap().unwrap().slot_key();
            let slot_key = slot_key.expect("a key");
            let mut read = Vec::new();
            for (key, value) in between(&rows, &node.keys.all_records()) {
                let identity = key.splitn(6, '/').last().expect("an identity");
                let record = decode(identity, value).unwrap();
                let slot = slot_of(&slot_key, &Identity::of(&record.arn));
                assert_eq!(key, node.keys.record(slot, identity));
                let name = identity.rsplit('/').next().expect("a name").to_owned();
                read.push((name, record.ttl_seconds, record.tags.len()));
                let mut newer = value.to_vec();
                newer[0] += 1;
                let why = decode(identity, &newer).unwrap_err().to_string();
                assert!(why.contains("format 2, and this version reads"), "{why}");
            }
            read.sort();
            let expected = [(0, 30, 2), (1, 90, 2), (2, 32, 1), (4, 34, 2), (5, 35, 2)];
            let expected = expected.into_iter().chain([(6, 36, 2), (7, 37, 2)]);
            let expected = expected.map(|(number, ttl, tags)| (format!("cam-{number}"), ttl, tags));
            assert_eq!(read, expected.collect::<Vec<_>>());
        }
    }

    /// Each order or report is meant for a single process, so the node skips those with a newer format.
    #[test]
    fn a_key_of_a_newer_format_is_refused_by_its_name_and_number() {
        for version in versions() {
            let (mut node, rows) = cluster(&version);
            let mut kinds = std::collections::BTreeSet::new();
            for row in &rows {
                let text = String::from_utf8_lossy(&row.value);
                let newer = text.replacen(r#""format":1"#, r#""format":2"#, 1);
                let key = String::from_utf8_lossy(&row.key).into_owned();
                let kind = key.split('/').nth(3).expect("a kind").to_owned();
                if newer == text || ["order", "report"].contains(&&*kind) {
                    continue;
                }
                let rows = [KeyValue {
                    value: newer.into_bytes(),
                    ..row.clone()
                }];
                let error = match meta(&node.keys, &rows) {
                    Ok(_) => node.change(&rows[0]).expect_err(&key),
                    Err(error) => error,
                };
                let expected = format!(
                    "the key {key} of etcd: it has format 2, and this version reads format 1: use the version that \
                     wrote it"
                );
                assert_eq!(error.to_string(), expected);
                kinds.insert(kind);
            }
            assert_eq!(Vec::from_iter(kinds), ["live", "meta", "roster", "s"]);
        }
    }

    /// Returns a node in the cluster of an earlier version, and all keys of that cluster.
    fn cluster(version: &Path) -> (Translator, Vec<KeyValue>) {
        let mut gzip = std::process::Command::new("gzip");
        let keys = gzip.arg("-dc").arg(version.join("etcd.json.gz")).output();
        let keys: serde_json::Value = serde_json::from_slice(&keys.expect("gzip").stdout).unwrap();
        let row = |row: &serde_json::Value| {
            let bytes = |field: &str| {
                let text = row[field].as_str().expect("a text").as_bytes();
                data_encoding::BASE64.decode(text).expect("base64")
            };
            let number = |field: &str| row[field].as_i64().unwrap_or(0);
            KeyValue {
                key: bytes("key"),
                mod_revision: number("mod_revision"),
                version: number("version"),
                value: bytes("value"),
                lease: number("lease"),
            }
        };
        let rows = keys["kvs"].as_array().expect("keys").iter().map(row);
        let secret = std::fs::read_to_string(version.join("cluster.secret")).unwrap();
        let secret = ClusterSecret::parse(&secret).unwrap();
        let config = NodeConfig {
            cluster: "fixtures".into(),
            node: "n1".into(),
            inner: InnerAddress::new("localhost:1", &[]),
            peers: "localhost:2".into(),
            directory: PathBuf::new(),
            proofs: secret.proof_keys("fixtures"),
            etcd: crate::Options::default(),
            etcd_quota_bytes: 0,
            lease_ms: 5_000,
            presence: 0,
            accept_etcd: false,
            build: ("".into(), 0),
        };
        let [cluster, me] = [&config.cluster, &config.node].map(|name| Name::new(name).unwrap());
        (Translator::new(&config, &cluster, me), rows.collect())
    }

    /// Returns the keys of a range, with their values.
    fn between<'r>(
        rows: &'r [KeyValue],
        (first, end): &'r (String, String),
    ) -> impl Iterator<Item = (&'r str, &'r [u8])> {
        let rows = rows
            .iter()
            .map(|row| (std::str::from_utf8(&row.key).unwrap(), &*row.value));
        rows.filter(move |(key, _)| (first.as_str()..end.as_str()).contains(key))
    }

    /// Returns the directories with data of earlier versions.
    fn versions() -> Vec<PathBuf> {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data");
        let entries = std::fs::read_dir(data).expect("a folder");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        let versions: Vec<_> = paths
            .filter(|path| path.join("etcd.json.gz").exists())
            .collect();
        assert!(!versions.is_empty());
        versions
    }
}
