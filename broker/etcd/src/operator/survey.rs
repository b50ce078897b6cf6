//! The state of a cluster in etcd: its members, its registered nodes, and how many slots each of them owns.

use crate::config::{InnerAddress, Options};
use crate::names::{Name, shown};
use crate::operator::member::{self, EtcdMember};
use crate::operator::{ConnectError, answer, block_on, connect};
use crate::rpc::connection::Lines;
use crate::rpc::generated::{KeyValue, RangeRequest};
use crate::schema::{
    self, Keys, MetaValue, OwnerValue, RegistrationRecord, RegistrationValue, RosterValue,
    SlotValue, ValueError, WatchedSubject,
};
use crate::{limits::FOREIGN_KEYS_MAX, translate::meta};
use broker_core::cluster::limits::SLOTS;
use broker_core::cluster::secret::{ProofKeys, Registrant};
use broker_core::cluster::types::{Incarnation, Kinship, RosterState};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::task::spawn_local;

/// The state of a cluster at one revision of etcd.
#[derive(Clone, Debug, Default)]
pub struct ClusterSurvey {
    /// The configured etcd members.
    pub members: Vec<EtcdMember>,
    /// The revision at which the state was read.
    pub revision: i64,
    /// Whether etcd has ever compacted old revisions.
    pub is_compacted: bool,
    /// The cluster's meta key. `None` until the first node has started or an import has been done.
    pub meta: Option<Meta>,
    /// Nodes that are members, are registered or own slots, by name.
    pub nodes: BTreeMap<Box<str>, NodeStatus>,
    /// Number of slots that have no owner because the last owner gave them up.
    pub vacant: usize,
    /// Number of slots that never had an owner.
    pub unclaimed: usize,
    /// Keys that this version recognizes but whose values it cannot parse, each with the reason.
    pub unreadable: Vec<String>,
    /// Keys below the cluster's prefix that this version does not recognize. Contains at most [`FOREIGN_KEYS_MAX`] per
    /// key range.
    pub strangers: Vec<String>,
}

/// The cluster's meta key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Random id, generated when the cluster was created.
    pub id: Box<str>,
    /// Number of slots.
    pub slots: u16,
}

/// The state of a node as stored in etcd.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeStatus {
    /// Address to which other nodes forward client connections. `None` if the node is not a member.
    pub inner: Option<InnerAddress>,
    /// Whether the node is expected to run, because it was not drained.
    pub is_here: bool,
    /// The node's registration, if it is accepted.
    pub registration: Option<RegistrationRecord>,
    /// Why the node's registration is not accepted. `None` if it is accepted or absent.
    pub stranger: Option<Kinship>,
    /// Number of slots that the node owns.
    pub slots: usize,
    /// Number of the node's slots that are owned by an earlier or unregistered process of the same node.
    pub stale: usize,
}

/// Reads the state from etcd. A member that does not respond is not an error as long as another one responds. Without
/// `proofs`, every registration is accepted.
///
/// # Errors
/// Returns the reason why the keys cannot be read, in one line.
pub fn survey(
    options: &Options,
    cluster: &str,
    proofs: Option<&ProofKeys>,
) -> Result<ClusterSurvey, Box<str>> {
    let name = Name::new(cluster).ok_or("the name of the cluster is invalid")?;
    let options = Arc::new(options.clone());
    block_on(async {
        let asked = (0..options.endpoints.len())
            .map(|nth| spawn_local(member::status(Arc::clone(&options), nth)));
        let asked: Vec<_> = asked.collect();
        let read = keys(&options, &Keys::new(&name), proofs).await;
        let mut members = Vec::with_capacity(asked.len());
        for member in asked {
            members.extend(member.await);
        }
        read.map(|survey| ClusterSurvey { members, ..survey })
    })
}

async fn keys(
    options: &Options,
    keys: &Keys,
    proofs: Option<&ProofKeys>,
) -> Result<ClusterSurvey, ConnectError> {
    let lines = connect(options).await?;
    let read = answer(lines.range(RangeRequest::range(keys.watched()))).await?;
    let mut survey = ClusterSurvey {
        revision: read.header.map_or(0, |header| header.revision),
        ..ClusterSurvey::default()
    };
    survey.take(keys, &read.kvs, proofs);
    for place in keys.of_others() {
        let some = RangeRequest {
            limit: FOREIGN_KEYS_MAX,
            keys_only: true,
            ..RangeRequest::range(place)
        };
        let found = answer(lines.range(some)).await?;
        survey.strangers.extend(found.kvs.iter().map(text));
    }
    survey.is_compacted = is_compacted(&lines, keys).await;
    Ok(survey)
}

async fn is_compacted(lines: &Lines, keys: &Keys) -> bool {
    let first = RangeRequest {
        revision: 1,
        keys_only: true,
        ..RangeRequest::key(keys.meta())
    };
    let read = answer(lines.range(first)).await;
    read.is_err_and(|why| why.contains("has been compacted"))
}

impl ClusterSurvey {
    fn take(&mut self, keys: &Keys, rows: &[KeyValue], proofs: Option<&ProofKeys>) {
        let meta = meta(keys, rows).ok().flatten();
        let founded = meta.zip(proofs);
        let mut processes = BTreeMap::new();
        let mut owners = Vec::new();
        let mut known = 0;
        for row in rows {
            let taken = match keys.parse(&row.key) {
                None => {
                    self.strangers.push(text(row));
                    Ok(())
                }
                Some(WatchedSubject::Order(_) | WatchedSubject::Report(_)) => Ok(()),
                Some(WatchedSubject::Meta) => self.meta(row),
                Some(WatchedSubject::Roster(node)) => self.member(&node, row),
                Some(WatchedSubject::Registration(node)) => {
                    let founded = founded.as_ref();
                    let process = self.registration(&node, row, founded);
                    process.map(|process| {
                        processes.insert(node.as_str().to_owned(), process);
                    })
                }
                Some(WatchedSubject::Slot(_)) => schema::read(&row.value).map(|slot: SlotValue| {
                    known += 1;
                    owners.push(slot.owner);
                }),
            };
            if let Err(why) = taken {
                self.unreadable.push(format!("{}: {why}", text(row)));
            }
        }
        self.unclaimed = usize::from(SLOTS).saturating_sub(known);
        for owner in owners {
            self.owner(owner, &processes);
        }
    }

    fn meta(&mut self, row: &KeyValue) -> Result<(), ValueError> {
        let meta: MetaValue = schema::read(&row.value)?;
        let (id, slots) = (meta.id, meta.slots);
        self.meta = Some(Meta { id, slots });
        Ok(())
    }

    fn member(&mut self, node: &Name, row: &KeyValue) -> Result<(), ValueError> {
        let value: RosterValue = schema::read(&row.value)?;
        let status = self.nodes.entry(node.as_str().into()).or_default();
        status.is_here = value.state == RosterState::Here;
        status.inner = Some(value.inner());
        Ok(())
    }

    fn registration(
        &mut self,
        node: &Name,
        row: &KeyValue,
        founded: Option<&(MetaValue, &ProofKeys)>,
    ) -> Result<Incarnation, ValueError> {
        let value: RegistrationValue = schema::read(&row.value)?;
        let status = self.nodes.entry(node.as_str().into()).or_default();
        if let Some((meta, proofs)) = founded {
            let registrant = Registrant {
                cluster: &meta.id,
                slot_key: &meta.slot_key().unwrap_or_default(),
                node: node.as_str(),
                incarnation: value.process,
            };
            let kinship = value.kinship(&registrant, proofs);
            status.stranger = (kinship != Kinship::Peer).then_some(kinship);
        }
        if status.stranger.is_some() {
            return Ok(value.process);
        }
        status.registration = Some(value.registration());
        Ok(value.process)
    }

    fn owner(&mut self, owner: Option<OwnerValue>, processes: &BTreeMap<String, Incarnation>) {
        let Some(OwnerValue { node, process }) = owner else {
            self.vacant += 1;
            return;
        };
        let is_current = processes.get(&*node) == Some(&process);
        let status = self.nodes.entry(shown(&node).into()).or_default();
        status.slots += 1;
        status.stale += usize::from(!is_current);
    }
}

fn text(row: &KeyValue) -> String {
    shown(&String::from_utf8_lossy(&row.key))
}
