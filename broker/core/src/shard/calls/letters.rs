//! The messages that shards send to each other: connections that move to the shard that owns their channel, queries
//! about channels, and the answers. Also contains the types for listing the channels of all nodes.

use crate::auth::provider::Keyring;
use crate::auth::{Caller, Credentials};
use crate::catalog::SharedCatalog;
use crate::channel::{players::Played, rates::Metered};
use crate::cluster::slot_maps::{SlotMap, SlotSet};
use crate::id::{CallRef, ChannelKey, Identity, ShardId};
use crate::record::{Holding, ListedChannel, Record};
use crate::session::Forwarded;
use crate::session::http::{Admission, Onward};
use crate::settings::{Program, Settings};
use crate::time::Now;
use crate::wire::at_most;
use crate::{limits::LIST_PAGE_MAX, machine::Peer, refusal::Refusal, registry::StoreError};
use codec::control::{ChannelStatus, CreateSignalingChannel, ErrorKind, Operation, Tag};
use codec::{identifiers::ChannelArn, policy::Action, signal::Role};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

/// A message between shards.
#[derive(Debug)]
pub enum Letter {
    /// A query that a call sends to the shard that owns its channel.
    Query(CallRef, Box<Query>),
    /// The answer to a query, and the shard that sends it. Every query gets exactly one answer, even if its caller is
    /// gone.
    Answer(ShardId, CallRef, Box<Answer>),
    /// Reports that an Alexa call is pending, in place of a [`Letter::Answer`]. The final answer follows in a
    /// [`Letter::CallAnswer`], which must be acknowledged with a [`Letter::CallOver`].
    CallTaken(ShardId, CallRef),
    /// Withdraws a pending Alexa call whose caller has hung up. Has no effect if the call has already ended. Sent at
    /// most once per [`Letter::CallTaken`].
    CallWithdrawn(CallRef),
    /// The final answer to a pending Alexa call, and the shard that sends it. Sent exactly once per
    /// [`Letter::CallTaken`], even if the caller is gone.
    CallAnswer(ShardId, CallRef, Box<Answer>),
    /// Acknowledges a [`Letter::CallAnswer`]. Sent exactly once per answer.
    CallOver(CallRef),
    /// The result of storing a change to a channel.
    Committed(ChannelKey, Result<(), StoreError>),
    /// Signals that slot orders, or answers merged from all nodes, are ready to be fetched; see
    /// [`crate::shard::SlotOrders`]. At most one such message is in flight to each shard.
    Slots,
    /// Replaces the principals and their credentials.
    Credentials(Arc<Credentials>),
    /// Replaces the OpenID providers' keys.
    Keyring(Arc<Keyring>),
    /// Replaces the settings; see [`Settings::updated`].
    Settings(Arc<Settings>),
    /// Starts shutting down the process, which must complete within this many milliseconds.
    Drain(u64),
}

impl Letter {
    /// Returns whether this message may be rejected if the recipient's mailbox is full. For all other messages,
    /// mailboxes reserve capacity.
    #[must_use]
    pub fn is_refusable(&self) -> bool {
        match self {
            Self::Query(..) => true,
            Self::Answer(..) | Self::CallTaken(..) | Self::CallAnswer(..) => false,
            Self::CallWithdrawn(_) | Self::CallOver(_) | Self::Committed(..) => false,
            Self::Slots | Self::Credentials(_) | Self::Keyring(_) => false,
            Self::Settings(_) | Self::Drain(_) => false,
        }
    }
}

/// A query from one shard to another, and the operation that the client requested.
#[derive(Debug)]
pub struct Query {
    /// The operation that the caller requested. The shard that owns the channel counts it towards the operation's rate
    /// limit.
    pub operation: Operation,
    /// The number and total size of the account's channels on other nodes, if those nodes were asked.
    pub elsewhere: Holding,
    /// The caller, or `None` if the query does not count towards a channel's rate limit. If the request specifies the
    /// channel without an ARN, the shard that owns the channel authorizes this caller.
    pub caller: Option<Caller>,
    /// The client id specified in the call. Needed by policies that the shard that owns the channel evaluates.
    pub client_id: Option<Box<str>>,
    /// When a player's request was received, or `None` for an API call.
    pub posted: Option<Now>,
    /// The role and client program, if the call requests a channel endpoint.
    pub endpoint: Option<(Role, Program)>,
    /// The client's IP address, for the flight recorder's notes about the channel.
    pub remote: Option<IpAddr>,
    /// The query itself.
    pub kind: QueryKind,
}

impl Query {
    /// Returns the rights that the caller needs.
    pub(crate) fn rights(&self) -> impl Iterator<Item = Right> + use<> {
        let calls = !matches!(self.kind, QueryKind::Offer { arn: None, .. });
        let call = Right {
            action: self.operation.policy_action(),
            denied: self.operation.denied(),
        };
        let both = [self.posted.map(|_| CONNECT), calls.then_some(call)];
        both.into_iter().flatten()
    }

    /// Returns the event to be counted for the query's channel.
    pub(crate) fn metered(&self) -> Metered {
        match (self.posted, &self.kind) {
            (Some(_), QueryKind::Offer { .. }) => Metered::ConnectAsViewer,
            (_, _) => Metered::Call(self.operation),
        }
    }
}

/// A required right, and the error for callers that lack it.
#[derive(Clone, Copy)]
pub(crate) struct Right {
    pub(crate) action: Action,
    pub(crate) denied: ErrorKind,
}

/// The right that a player needs to connect to a channel.
const CONNECT: Right = Right {
    action: Action::ConnectAsViewer,
    denied: ErrorKind::AccessDenied,
};

/// A query from a call to the shard that owns the channel.
#[derive(Debug)]
pub enum QueryKind {
    /// Looks up a channel's record. If an ARN is specified, the channel must still have that ARN.
    Look(Identity, Option<ChannelArn>),
    /// Creates a channel.
    Create(Identity, CreateSignalingChannel),
    /// Changes a channel.
    Change(ChannelArn, Alteration),
    /// Sends an offer from Alexa or a player to the master. The answer may take as long as the channel's message
    /// lifetime.
    Offer {
        /// The channel whose master is to receive the offer.
        identity: Identity,
        /// The channel's ARN, if the call contains one.
        arn: Option<ChannelArn>,
        /// Client id of the sender.
        sender: Box<str>,
        /// The offer, base64-encoded.
        payload: Box<str>,
    },
}

impl QueryKind {
    /// Returns the identity of the channel that the query concerns.
    pub(crate) fn identity(&self) -> Cow<'_, Identity> {
        match self {
            Self::Look(identity, _) | Self::Create(identity, _) | Self::Offer { identity, .. } => {
                Cow::Borrowed(identity)
            }
            Self::Change(arn, _) => Cow::Owned(Identity::of(arn)),
        }
    }
}

/// A change to an existing channel.
#[derive(Debug)]
pub enum Alteration {
    /// Sets the message lifetime in seconds if the specified version is current.
    Update(Box<str>, u32),
    /// Sets tags.
    Tag(Vec<Tag>),
    /// Removes the tags with these keys.
    Untag(Vec<Box<str>>),
    /// Deletes the channel if the specified version is current or no version is specified.
    Delete(Option<Box<str>>),
}

/// The answer to a query.
#[derive(Debug)]
pub enum Answer {
    /// The channel's record and its status.
    Record(Arc<Record>, ChannelStatus),
    /// A page of channels, sorted by name, and whether more channels follow.
    Page(Vec<ListedChannel>, bool),
    /// Success without a result.
    Done,
    /// The number and total size of an account's channels on other nodes.
    Holding(Holding),
    /// The master's answer, or `None` if none arrived in time.
    Answer(Option<Box<str>>),
    /// The master's answer to a player.
    Played(Box<Played>),
    /// The query was refused.
    Refusal(Refusal),
}

/// Changes to a channel that are queued behind the change in progress, in order.
pub(crate) type WaitingQueries = VecDeque<(CallRef, Box<Query>)>;

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        Self::Refusal(refusal)
    }
}

/// A connection that is being handed over to another shard, to another node or to the side thread.
#[derive(Debug)]
pub struct Parcel {
    /// The connection's peer.
    pub(crate) peer: Peer,
    /// The client, if a trusted proxy has reported one.
    pub(crate) forwarded: Option<Box<Forwarded>>,
    /// The request that is handed over with the connection.
    pub load: ParcelLoad,
}

impl Parcel {
    /// Returns the client that a trusted proxy has reported, or the peer if there is no report.
    pub(crate) fn client(&self) -> Peer {
        let says = self.forwarded.as_deref();
        let client = says.map(|it| (it.client, it.tls.unwrap_or(self.peer.tls)));
        let (remote, tls) = client.unwrap_or((self.peer.remote, self.peer.tls));
        Peer {
            remote,
            tls,
            ..self.peer
        }
    }
}

/// A request that is handed over with its connection.
#[derive(Debug)]
pub enum ParcelLoad {
    /// An upgrade to be admitted by another shard.
    Upgrade {
        /// The parameters parsed from the request head.
        admission: Admission,
        /// Bytes received after the request head: the first WebSocket frames.
        unread: Vec<u8>,
    },
    /// A request that another node will answer.
    Onward(Onward),
    /// A request for an admin page, with all bytes received after it.
    Admin(Vec<u8>),
}

// Pages that list the channels of all nodes, if slots move between nodes. Each node contributes a part of the page and
// states which slots it covers. A page is complete once its parts cover every slot.
//
// Each node lists the channels of the slots that it serves. While a slot is moving, both nodes may claim to serve it,
// or neither. If both do, two parts contain the slot's channels, but the page lists them once.

/// A request for a page of one account's channels, sorted by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageQuestion {
    /// `region:account:` followed by the name prefix.
    pub prefix: Box<str>,
    /// The last channel of the previous page, as `region:account:name`.
    pub after: Option<Box<str>>,
    /// Maximum number of channels per page.
    pub limit: usize,
}

/// The part of a page that a single node contributes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PagePart {
    /// The channels, sorted by name.
    #[serde(deserialize_with = "at_most::<_, _, _, LIST_PAGE_MAX>")]
    pub records: Vec<ListedChannel>,
    /// The channel name up to which this part is complete, or `None` if the node has no further channels.
    pub complete_to: Option<Box<str>>,
    /// The slots covered by this part.
    pub slots: SlotSet,
}

impl PagePart {
    /// Creates this node's part of a page from its catalog. Covers only slots that this node was serving both before
    /// and after the catalog was read.
    #[must_use]
    pub fn of_node(
        map: &SlotMap,
        catalog: &dyn SharedCatalog,
        question: &PageQuestion,
        now: Now,
    ) -> Self {
        let mut slots = map.served(now);
        let after = question.after.as_deref();
        let (mut records, more) = catalog.page(&question.prefix, after, question.limit);
        slots.keep(&map.served(now));
        let last = records.last().filter(|_| more);
        let complete_to = last.map(|last| last.arn.name().into());
        records.retain(|listed| {
            let slot = map.slot(&Identity::of(&listed.arn));
            slot.is_some_and(|slot| slots.has(slot))
        });
        Self {
            records,
            complete_to,
            slots,
        }
    }

    /// Merges all nodes' parts into one page.
    #[must_use]
    pub fn of_nodes(parts: Vec<Self>, limit: usize) -> Self {
        let mut slots = SlotSet::default();
        parts.iter().for_each(|part| slots.add(&part.slots));
        let ends = parts.iter().filter_map(|part| part.complete_to.clone());
        let mut complete_to = ends.min();
        let mut records: Vec<ListedChannel> =
            parts.into_iter().flat_map(|part| part.records).collect();
        // If two channels have the same name, the older one no longer exists.
        records.sort_by(|one, other| {
            let key = |listed: &ListedChannel| Reverse(listed.created);
            let names = one.arn.name().cmp(other.arn.name());
            names.then_with(|| key(one).cmp(&key(other)))
        });
        records.dedup_by(|next, kept| next.arn.name() == kept.arn.name());
        if let Some(last) = &complete_to {
            records.truncate(records.partition_point(|listed| listed.arn.name() <= &**last));
        }
        if records.len() > limit {
            records.truncate(limit);
            complete_to = records.last().map(|last| last.arn.name().into());
        }
        Self {
            records,
            complete_to,
            slots,
        }
    }
}

#[cfg(test)]
mod parts_tests {
    use super::*;
    use crate::cluster::types::Slot;
    use crate::record::Version;
    use crate::time::Wall;
    use codec::control::ChannelStatus;
    use codec::identifiers::ChannelArn;

    fn listed(name: &str, created: u64) -> ListedChannel {
        let arn = format!("arn:aws:kinesisvideo:us-west-2:123456789012:channel/{name}/{created}");
        ListedChannel {
            arn: ChannelArn::parse(&arn, true).unwrap(),
            ttl_seconds: 60,
            created: Wall(created),
            version: Version::from_bytes([b'v'; 20]).unwrap(),
            status: ChannelStatus::Active,
        }
    }

    fn part(names: &[&str], complete_to: Option<&str>, slots: &[u16]) -> PagePart {
        let mut set = SlotSet::default();
        slots.iter().for_each(|slot| set.insert(Slot(*slot)));
        PagePart {
            records: names.iter().map(|name| listed(name, 17)).collect(),
            complete_to: complete_to.map(Into::into),
            slots: set,
        }
    }

    fn names(page: &PagePart) -> Vec<&str> {
        page.records
            .iter()
            .map(|listed| listed.arn.name())
            .collect()
    }

    #[test]
    fn a_page_ends_where_the_first_part_ends() {
        let parts = || {
            vec![
                part(&["a", "d"], None, &[1]),
                part(&["b", "c"], Some("c"), &[2]),
            ]
        };
        let page = PagePart::of_nodes(parts(), 10);
        assert_eq!(names(&page), ["a", "b", "c"]);
        assert_eq!(page.complete_to.as_deref(), Some("c"));
        let page = PagePart::of_nodes(parts(), 2);
        assert_eq!(names(&page), ["a", "b"]);
        assert_eq!(page.complete_to.as_deref(), Some("b"));
        let whole = vec![part(&["a"], None, &[1]), part(&["b"], None, &[2])];
        assert_eq!(PagePart::of_nodes(whole, 2).complete_to, None);
    }

    #[test]
    fn a_page_is_of_the_slots_of_all_nodes() {
        let parts = vec![part(&[], None, &[1, 2]), part(&[], None, &[2, 3])];
        let page = PagePart::of_nodes(parts, 1);
        assert_eq!([1, 2, 3].map(|slot| page.slots.has(Slot(slot))), [true; 3]);
    }

    #[test]
    fn a_channel_that_two_nodes_have_is_listed_once_and_the_younger_of_a_name() {
        let mut other = part(&["a", "b"], None, &[2]);
        other.records.push(listed("c", 99));
        let page = PagePart::of_nodes(vec![part(&["a", "b", "c"], None, &[1]), other], 10);
        assert_eq!(names(&page), ["a", "b", "c"]);
        let created = page.records.last().map(|last| last.created);
        assert_eq!(created, Some(Wall(99)));
    }
}
