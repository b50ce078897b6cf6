//! Letters between shards: a connection on its way to its channel's shard, a question about a channel, and its reply;
//! pages over all nodes are among the replies.

use crate::auth::provider::Keyring;
use crate::auth::{Caller, Credentials};
use crate::channel::{players::Played, rates::Metered};
use crate::cluster::slot_maps::SlotSet;
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
use std::cmp::Reverse;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

/// A letter to a shard.
#[derive(Debug)]
pub enum Letter {
    /// A call needs something of a channel that lives there.
    Query(CallRef, Box<Query>),
    /// The answer to such a query, and from which shard. Each query gets exactly one, wanted or not.
    Answer(ShardId, CallRef, Box<Answer>),
    /// The query was an Alexa call, which waits from here on: the query is answered, the call will be by a letter of
    /// its own, and an [`Letter::CallOver`] for it is expected. In place of a [`Letter::Answer`].
    CallTaken(ShardId, CallRef),
    /// The caller of an Alexa call that was taken hung up: the call ends, if it still waits. At most one for each
    /// [`Letter::CallTaken`].
    CallWithdrawn(CallRef),
    /// The end of an Alexa call that waited, and from which shard. Exactly one for each [`Letter::CallTaken`], wanted
    /// or not.
    CallAnswer(ShardId, CallRef, Box<Answer>),
    /// Acknowledges the answer. Exactly one for each [`Letter::CallAnswer`].
    CallOver(CallRef),
    /// The store has made the change of a channel durable, or not.
    Committed(ChannelKey, Result<(), StoreError>),
    /// There are orders about slots, or answers of all nodes together: see [`crate::shard::SlotOrders`]. At most one is
    /// under way to each shard.
    Slots,
    /// From here on these are the principals.
    Credentials(Arc<Credentials>),
    /// From here on these are the keys of OpenID providers.
    Keyring(Arc<Keyring>),
    /// From here on these are the settings: [`Settings::updated`].
    Settings(Arc<Settings>),
    /// The process is to end within this many milliseconds.
    Drain(u64),
}

impl Letter {
    /// Whether a full mailbox may refuse it. All others have places kept for them.
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

/// A query from one shard to another, and on behalf of which operation.
#[derive(Debug)]
pub struct Query {
    /// The caller's operation: its rate is counted where the channel lives.
    pub operation: Operation,
    /// Bytes of records that the caller's account has on all shards and nodes, where they were asked; else 0.
    pub held: u64,
    /// The caller; `None` where no channel's rate is counted. One that names the channel without its ARN is judged
    /// where the channel lives.
    pub caller: Option<Caller>,
    /// The client id of the call, for policies that are asked where the channel lives.
    pub client_id: Option<Box<str>>,
    /// When the request of a player was read; `None` of a call of the API.
    pub posted: Option<Now>,
    /// Of a request for the channel's endpoint: in which role, and by which program.
    pub endpoint: Option<(Role, Program)>,
    /// Address of the caller, for the notes of its channel.
    pub remote: Option<IpAddr>,
    /// The question.
    pub kind: QueryKind,
}

impl Query {
    /// A question on behalf of no caller.
    pub(crate) fn of_server(operation: Operation, kind: QueryKind) -> Self {
        Self {
            operation,
            held: 0,
            caller: None,
            client_id: None,
            posted: None,
            endpoint: None,
            remote: None,
            kind,
        }
    }

    /// The rights that its caller needs.
    pub(crate) fn rights(&self) -> impl Iterator<Item = Right> + use<> {
        let calls = !matches!(self.kind, QueryKind::Offer { arn: None, .. });
        let call = Right {
            action: self.operation.policy_action(),
            denied: self.operation.denied(),
        };
        let both = [self.posted.map(|_| CONNECT), calls.then_some(call)];
        both.into_iter().flatten()
    }

    /// The event that is counted for its channel.
    pub(crate) fn metered(&self) -> Metered {
        match (self.posted, &self.kind) {
            (Some(_), QueryKind::Offer { .. }) => Metered::ConnectAsViewer,
            (_, _) => Metered::Call(self.operation),
        }
    }
}

/// A right, and the error without it.
#[derive(Clone, Copy)]
pub(crate) struct Right {
    pub(crate) action: Action,
    pub(crate) denied: ErrorKind,
}

/// Right of a player.
const CONNECT: Right = Right {
    action: Action::ConnectAsViewer,
    denied: ErrorKind::AccessDenied,
};

/// A question of a call to a channel's home.
#[derive(Debug)]
pub enum QueryKind {
    /// Record by identity alone, or by an ARN that must be the current one.
    Look(Identity, Option<ChannelArn>),
    /// A new channel.
    Create(Identity, CreateSignalingChannel),
    /// A change of a channel.
    Change(ChannelArn, Alteration),
    /// The shard's records of one account whose names begin with the first text and come after the second, by name.
    Page {
        /// The shard that is asked: no channel determines it.
        of: ShardId,
        /// `region:account:` and the prefix of the name.
        prefix: Box<str>,
        /// The last name of the page before, if any.
        after: Option<Box<str>>,
        /// Most records wanted.
        limit: usize,
    },
    /// One more call of this account, counted by one shard for all (strict profile).
    Permit(Identity),
    /// The channels of one account on the shard.
    Count {
        /// The shard that is asked: no channel determines it.
        of: ShardId,
        /// `region:account:`.
        prefix: Box<str>,
    },
    /// An offer to the master, of Alexa or of a player: the answer may take as long as the channel keeps messages.
    Offer {
        /// The channel.
        identity: Identity,
        /// ARN, where the call names that.
        arn: Option<ChannelArn>,
        /// The sender's id.
        sender: Box<str>,
        /// The offer, base64.
        payload: Box<str>,
    },
}

impl QueryKind {
    /// Whether it is answered only when something is durable.
    pub(crate) fn waits_for_the_store(&self) -> bool {
        matches!(self, Self::Create(..) | Self::Change(..))
    }
}

/// An alteration of a channel that exists.
#[derive(Debug)]
pub enum Alteration {
    /// Messages are kept for this many seconds, if the version is the current one.
    Update(Box<str>, u32),
    /// Sets tags.
    Tag(Vec<Tag>),
    /// The tags of these keys are taken away.
    Untag(Vec<Box<str>>),
    /// Deletes the channel, if the version is the current one or none is given.
    Delete(Option<Box<str>>),
}

/// The answer of the home.
#[derive(Debug)]
pub enum Answer {
    /// The record, and the channel's state.
    Record(Record, ChannelStatus),
    /// Records by name, and whether more would follow.
    Page(Vec<ListedChannel>, bool),
    /// Done.
    Done,
    /// Channels of an account.
    Holding(Holding),
    /// The master's answer; `None` when it did not come in time.
    Answer(Option<Box<str>>),
    /// The master's answer, for a player.
    Played(Box<Played>),
    /// Refused.
    Refusal(Refusal),
}

/// Changes of one channel that wait for the one under way, in order.
pub(crate) type WaitingQueries = VecDeque<(CallRef, Box<Query>)>;

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        Self::Refusal(refusal)
    }
}

/// A connection on its way home.
#[derive(Debug)]
pub struct Parcel {
    /// The peer at the other end.
    pub(crate) peer: Peer,
    /// Client of a proxy, as the proxy names it.
    pub(crate) forwarded: Option<Box<Forwarded>>,
    /// Request, as it came.
    pub load: ParcelLoad,
}

impl Parcel {
    /// The client: the peer, or what it says of one.
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

/// The request of a connection on its way home.
#[derive(Debug)]
pub enum ParcelLoad {
    /// To be admitted by another shard.
    Upgrade {
        /// The contents of its request head.
        admission: Admission,
        /// Bytes received after the head: the first frames.
        unread: Vec<u8>,
    },
    /// Something that another node answers.
    Onward(Onward),
    /// A page of the admin listener: the request as it came, and what followed it.
    Admin(Vec<u8>),
}

// Pages over all nodes, where slots go from one node to another: each node sends a part, and says which slots it is
// of. A page is whole when the parts are of every slot.
//
// The channels of a slot are listed by a node that serves it. While a slot goes from one node to another, neither may
// say so, or both: then its channels are in two parts, and listed once.

/// Which channels of one account are wanted, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageQuestion {
    /// `region:account:` and what the names begin with.
    pub prefix: Box<str>,
    /// The last channel of the page before, as `region:account:name`.
    pub after: Option<Box<str>>,
    /// Channels at most.
    pub limit: usize,
}

/// A part of a page.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PagePart {
    /// The channels, by name.
    #[serde(deserialize_with = "at_most::<_, _, _, LIST_PAGE_MAX>")]
    pub records: Vec<ListedChannel>,
    /// There are more behind this name. `None`: these are all.
    pub complete_to: Option<Box<str>>,
    /// The slots whose channels these are.
    pub slots: SlotSet,
}

impl PagePart {
    /// The part of a node, of those of its shards: of the slots that all of them serve.
    #[must_use]
    pub fn of_node(parts: Vec<Self>, limit: usize) -> Self {
        let mut slots = SlotSet::all();
        parts.iter().for_each(|part| slots.keep(&part.slots));
        merge(parts, slots, limit)
    }

    /// The page, of the parts of nodes.
    #[must_use]
    pub fn of_nodes(parts: Vec<Self>, limit: usize) -> Self {
        let mut slots = SlotSet::default();
        parts.iter().for_each(|part| slots.add(&part.slots));
        merge(parts, slots, limit)
    }
}

fn merge(parts: Vec<PagePart>, slots: SlotSet, limit: usize) -> PagePart {
    let ends = parts.iter().filter_map(|part| part.complete_to.clone());
    let mut complete_to = ends.min();
    let mut records: Vec<ListedChannel> = parts.into_iter().flat_map(|part| part.records).collect();
    // Of two channels of one name the younger: the other one ended meanwhile.
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
    PagePart {
        records,
        complete_to,
        slots,
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
    fn a_node_answers_for_the_slots_of_all_its_shards_and_a_page_for_those_of_any_node() {
        let parts = || vec![part(&[], None, &[1, 2]), part(&[], None, &[2, 3])];
        let has = |page: &PagePart| [1, 2, 3].map(|slot| page.slots.has(Slot(slot)));
        assert_eq!(has(&PagePart::of_node(parts(), 1)), [false, true, false]);
        assert_eq!(has(&PagePart::of_nodes(parts(), 1)), [true, true, true]);
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
