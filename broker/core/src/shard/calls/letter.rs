//! Letters between shards: a connection on its way to its channel's shard, a question about a channel, and its reply.

use crate::auth::provider::Keyring;
use crate::auth::{Caller, Credentials};
use crate::check::Check;
use crate::id::{CallRef, ChannelKey, Identity, ShardId};
use crate::machine::Peer;
use crate::record::{Holding, Listed, Record};
use crate::registry::StoreError;
use crate::session::http::{Admission, Onward};
use codec::control::{ApiError, ChannelStatus, CreateSignalingChannel, ErrorKind, Operation, Tag};
use codec::identifiers::ChannelArn;
use std::borrow::Cow;
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
    /// That came. Exactly one for each [`Letter::CallAnswer`].
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
            Self::Slots | Self::Credentials(_) | Self::Keyring(_) | Self::Drain(_) => false,
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
    /// The question.
    pub kind: QueryKind,
}

/// A question of a call to a channel's home.
#[derive(Debug)]
pub enum QueryKind {
    /// Its record: by identity alone, or by an ARN that must be the current one.
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
    /// An Alexa offer to the master: the answer may take as long as the channel keeps messages.
    Offer {
        /// The channel.
        arn: ChannelArn,
        /// The sender's id.
        sender: Box<str>,
        /// The offer, base64.
        payload: Box<str>,
    },
}

impl QueryKind {
    /// Whether it is answered only when something is durable.
    pub(crate) fn waits_for_the_store(&self) -> bool {
        match self {
            Self::Create(..) | Self::Change(..) => true,
            Self::Look(..)
            | Self::Page { .. }
            | Self::Permit(_)
            | Self::Count { .. }
            | Self::Offer { .. } => false,
        }
    }
}

/// An alteration of a channel that exists.
#[derive(Debug)]
pub enum Alteration {
    /// Messages are kept for this many seconds, if the version is the current one.
    Update(Box<str>, u32),
    /// These tags are set.
    Tag(Vec<Tag>),
    /// The tags of these keys are taken away.
    Untag(Vec<Box<str>>),
    /// It ends, if the version is the current one or none is given.
    Delete(Option<Box<str>>),
}

/// The answer of the home.
#[derive(Debug)]
pub enum Answer {
    /// The record, and the channel's state.
    Record(Record, ChannelStatus),
    /// Records by name, and whether more would follow.
    Page(Vec<Listed>, bool),
    /// Done.
    Done,
    /// Those of an account.
    Holding(Holding),
    /// The master's answer; `None` when it did not come in time.
    Answer(Option<Box<str>>),
    /// Refused.
    Fault(Fault),
}

/// Why a call or an upgrade is refused: the error that its caller reads, and the check that says why to operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The rule that was not passed.
    pub check: Check,
    /// The error's type.
    pub kind: ErrorKind,
    /// The error's text.
    pub message: Cow<'static, str>,
    /// The policy and the statement that refuse it, for operators alone.
    pub policy: Option<Box<str>>,
}

impl Fault {
    /// A refusal.
    #[must_use]
    pub fn new(check: Check, kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            check,
            kind,
            message: message.into(),
            policy: None,
        }
    }

    /// The same, by this policy and statement.
    #[must_use]
    pub fn by_policy(self, policy: Option<Box<str>>) -> Self {
        Self { policy, ..self }
    }
}

impl From<Fault> for Answer {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<ApiError> for Fault {
    /// The body of a call is not what its operation takes.
    fn from(error: ApiError) -> Self {
        let check = match error.kind {
            ErrorKind::Serialization => Check::BodyMalformed,
            ErrorKind::TagsPerResourceExceededLimit => Check::TagsFull,
            ErrorKind::InvalidArgument
            | ErrorKind::ResourceNotFound
            | ErrorKind::ResourceInUse
            | ErrorKind::VersionMismatch
            | ErrorKind::AccountChannelLimitExceeded
            | ErrorKind::ClientLimitExceeded
            | ErrorKind::AccessDenied
            | ErrorKind::NotAuthorized
            | ErrorKind::UnknownOperation
            | ErrorKind::InternalFailure
            | ErrorKind::ServiceUnavailable => Check::ArgumentInvalid,
        };
        Self::new(check, error.kind, error.message)
    }
}

/// A connection on its way home.
#[derive(Debug)]
pub struct Parcel {
    /// The peer at the other end.
    pub peer: Peer,
    /// Its request.
    pub load: ParcelLoad,
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
