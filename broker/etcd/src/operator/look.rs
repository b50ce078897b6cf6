//! The nodes of a cluster at one revision, as commands see them that ask nodes for something; and how they ask.

use crate::limits::PUTS_PER_BATCH;
use crate::names::Name;
use crate::operator::{Why, answer};
use crate::rpc::generated::{Compare, KeyValue, RangeRequest, RequestOp, TxnRequest};
use crate::rpc::lines::Lines;
use crate::schema::keys::{Keys, Watched};
use crate::schema::values::{
    self, MetaValue, OrderValue, OrderWord, Process, RegistrationValue, ReportValue, RosterValue,
    RosterWord, SlotValue,
};
use std::collections::BTreeMap;

/// The contents of the watched keys.
#[derive(Debug, Default)]
pub(crate) struct Picture {
    /// The meta key as it is written, with its revision.
    pub(crate) meta: Option<(MetaValue, Vec<u8>, i64)>,
    pub(crate) nodes: BTreeMap<Name, Seen>,
}

/// One node.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Whether the roster expects it to run; nothing if it is no member.
    pub(crate) is_here: Option<bool>,
    pub(crate) registered: Option<Registered>,
    /// The last order for it.
    pub(crate) order: Option<OrderWord>,
    pub(crate) report: Option<ReportValue>,
    /// The slots of each of its processes.
    slots: Vec<(Process, usize)>,
}

/// A registration.
#[derive(Clone, Debug)]
pub(crate) struct Registered {
    pub(crate) process: Process,
    pub(crate) inner: u32,
    /// The revision at which it was written.
    pub(crate) at: i64,
    lease: i64,
}

impl Seen {
    /// Whether it runs and is expected to.
    pub(crate) fn runs(&self) -> bool {
        self.is_here == Some(true) && self.registered.is_some()
    }

    /// The number of slots that a process of it owns.
    pub(crate) fn slots_of(&self, process: Process) -> usize {
        let mut slots = self.slots.iter();
        let found = slots.find(|(owner, _)| *owner == process);
        found.map_or(0, |(_, count)| *count)
    }

    /// The number of slots that its registered process owns.
    pub(crate) fn slots(&self) -> usize {
        let registered = self.registered.as_ref();
        registered.map_or(0, |found| self.slots_of(found.process))
    }
}

/// Reads the watched keys. One of ours that cannot be read is an error: what it would say is unknown.
pub(crate) async fn look(lines: &Lines, keys: &Keys) -> Result<Picture, Why> {
    let read = answer(lines.range(RangeRequest::range(keys.watched()))).await?;
    let mut picture = Picture::default();
    for row in read.kvs {
        let taken = picture.take(keys, &row);
        taken.map_err(|why| format!("the key {}: {why}", String::from_utf8_lossy(&row.key)))?;
    }
    Ok(picture)
}

impl Picture {
    fn take(&mut self, keys: &Keys, row: &KeyValue) -> Result<(), values::ValueError> {
        match keys.parse(&row.key) {
            None => {}
            Some(Watched::Order(node)) => {
                let value: Option<OrderValue> = values::read(&row.value).ok();
                self.node(node).order = value.map(|value| value.order);
            }
            Some(Watched::Meta) => {
                let meta = values::read(&row.value)?;
                self.meta = Some((meta, row.value.clone(), row.mod_revision));
            }
            Some(Watched::Roster(node)) => {
                let value: RosterValue = values::read(&row.value)?;
                self.node(node).is_here = Some(value.state == RosterWord::Here);
            }
            Some(Watched::Registration(node)) => {
                let value: RegistrationValue = values::read(&row.value)?;
                self.node(node).registered = Some(Registered {
                    process: value.process,
                    inner: value.inner,
                    at: row.mod_revision,
                    lease: row.lease,
                });
            }
            Some(Watched::Report(node)) => {
                // One of a later version is as if it were not there.
                self.node(node).report = values::read(&row.value).ok();
            }
            Some(Watched::Slot(_)) => {
                let value: SlotValue = values::read(&row.value)?;
                let owner = value.owner;
                if let Some((node, process)) =
                    owner.and_then(|owner| Some((Name::new(&owner.node)?, owner.process)))
                {
                    self.node(node).count(process);
                }
            }
        }
        Ok(())
    }

    fn node(&mut self, name: Name) -> &mut Seen {
        self.nodes.entry(name).or_default()
    }

    /// The nodes that run and are expected to.
    pub(crate) fn running(&self) -> impl Iterator<Item = (&Name, &Seen)> {
        self.nodes.iter().filter(|(_, node)| node.runs())
    }
}

impl Seen {
    fn count(&mut self, process: Process) {
        match self.slots.iter_mut().find(|(owner, _)| *owner == process) {
            Some((_, count)) => *count += 1,
            None => self.slots.push((process, 1)),
        }
    }
}

/// Gives an order to nodes, as they are registered. Returns the revision of the first, which reports name; nothing when
/// one of them is not registered as it was.
pub(crate) async fn order(
    lines: &Lines,
    keys: &Keys,
    nodes: &[(Name, Registered)],
    word: OrderWord,
) -> Result<Option<u64>, Why> {
    let mut first = None;
    for some in nodes.chunks(PUTS_PER_BATCH) {
        let compares = some
            .iter()
            .map(|(node, registered)| Compare::unchanged(keys.registration(node), registered.at));
        let puts = some.iter().map(|(node, registered)| {
            let value = values::write(&OrderValue::new(registered.process, word));
            RequestOp::put_under(registered.lease, keys.order(node), value)
        });
        let orders = TxnRequest {
            compare: compares.collect(),
            success: puts.collect(),
            failure: Vec::new(),
        };
        let outcome = answer(lines.txn(orders)).await?;
        if !outcome.succeeded {
            return Ok(None);
        }
        let revision = outcome.header.map_or(0, |header| header.revision);
        first = first.or_else(|| u64::try_from(revision).ok());
    }
    Ok(first)
}
