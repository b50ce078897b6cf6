//! Quotas of accounts: off but under the strict profile (codec/PROTOCOL.md, RATE-3). A bucket of an account lives on
//! one shard and is asked by a letter before the call is made; channels are counted on all shards, only when one more
//! is to be made.
//!
//! Where several nodes have channels, each allows an equal part of a rate, one call a second at least: the calls of an
//! account go to the nodes that have its channels. Channels of the other nodes are counted too; one that does not
//! answer within half a second is left out, since a lost node is no reason to refuse what the others could make.
//!
//! Creations that are under way at the same time on several shards do not see each other, so an account may get more
//! channels than it may have, by as many as are asked for within the milliseconds that one takes. Later calls see them
//! all.

use super::books::Books;
use super::directory::Directory;
use super::home::RATE_EXCEEDED;
use super::sockets::Sockets;
use super::{Answer, Fault, Query, QueryKind};
use super::{answers, calls};
use crate::check::Check;
use crate::id::{Identity, SessionKey, ShardId};
use crate::session::{Expected, PendingCall};
use crate::settings::{Quotas, Rate};
use crate::time::Moment;
use codec::control::{Call, ErrorKind, Operation};

impl Directory {
    /// Whether a call needs its account's leave.
    pub(super) fn asks_for_permit(&self, operation: Operation) -> bool {
        account_rate(&self.settings.quotas, operation).is_some() || self.counts_channels(operation)
    }
}

/// Asks every shard that knows something of the account for its permit. The call goes on when all have answered.
pub(super) fn ask_for_permit(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    key: SessionKey,
    asked: PendingCall,
    call: Call,
    at: Moment,
) {
    let operation = asked.operation;
    let account = directory.named(&asked.caller, "");
    let shards = if directory.counts_channels(operation) {
        sockets.shards.placement.shards()
    } else {
        0
    };
    let asks_nodes = shards > 0 && directory.slots.is_some();
    let wanted = Expected::Permit {
        missing: 1 + usize::from(shards) + usize::from(asks_nodes),
        channels: 0,
        call: Box::new(call),
    };
    let Some(caller) = sockets.await_reply(key, asked, wanted, at) else {
        return;
    };
    let counts = (0..shards).map(|shard| QueryKind::Count {
        of: ShardId(shard),
        prefix: account.as_str().into(),
    });
    let asks: Vec<QueryKind> = counts.chain([QueryKind::Permit(account.clone())]).collect();
    for ask in asks {
        let home = sockets.home_of(&ask);
        let query = Query {
            operation,
            caller: None,
            kind: ask,
        };
        calls::send_query(sockets, directory, books, home, caller, query, at);
    }
    if asks_nodes {
        let slots = directory.slots.as_mut();
        if !slots.is_some_and(|slots| slots.count(caller, account.as_str())) {
            let answer = calls::too_busy().into();
            answers::take_answer(sockets, directory, books, caller, answer, at);
        }
    }
}

impl Directory {
    /// How fast an account may ask this node for temporary credentials; `None` where that is not limited.
    pub(super) fn federation_rate(&self) -> Option<Rate> {
        let quotas = &self.settings.quotas;
        let rate = quotas.account_federation;
        (!quotas.off && rate.rate > 0).then(|| self.part_of(rate))
    }

    /// This node's part of a rate that all nodes allow together.
    fn part_of(&self, rate: Rate) -> Rate {
        let nodes = self.slots.as_ref().map_or(1, |slots| slots.nodes());
        let part = |whole: u32| (whole / u32::from(nodes.max(1))).max(1);
        Rate {
            rate: part(rate.rate),
            burst: part(rate.burst),
        }
    }

    /// Counts one call of an account, on the shard that does so for all.
    pub(super) fn permit(
        &mut self,
        operation: Operation,
        account: &Identity,
        at: Moment,
    ) -> Answer {
        let Some(rate) = account_rate(&self.settings.quotas, operation) else {
            return Answer::Done;
        };
        let rate = self.part_of(rate);
        let bucket = self
            .account_rates
            .entry((account.clone(), operation))
            .or_default();
        if bucket.take(rate, at.now) {
            Answer::Done
        } else {
            let kind = ErrorKind::ClientLimitExceeded;
            Fault::new(Check::RateAccount, kind, RATE_EXCEEDED).into()
        }
    }

    /// How many channels an account has here in a region, those included that are only being created.
    pub(super) fn count(&self, tenant: &str) -> u64 {
        self.tenants.get(tenant).copied().unwrap_or_default()
    }

    /// Refuses a call whose account has used up what it may have; `answer` is the last one, the refusal of any
    /// before it.
    pub(super) fn over_quota(
        &self,
        operation: Operation,
        channels: u64,
        answer: Answer,
    ) -> Option<Answer> {
        if let Answer::Fault(..) = answer {
            return Some(answer);
        }
        let most = self.settings.limits.channels_per_account;
        (self.counts_channels(operation) && channels >= most as u64).then(|| {
            let message =
                format!("The account has {most} channels, which is as many as it may have.");
            let kind = ErrorKind::AccountChannelLimitExceeded;
            Fault::new(Check::ChannelsFull, kind, message).into()
        })
    }

    fn counts_channels(&self, operation: Operation) -> bool {
        operation == Operation::CreateSignalingChannel
            && self.settings.limits.channels_per_account > 0
    }
}

/// The rate of an operation per account; `None` where there is none.
pub(super) fn account_rate(quotas: &Quotas, operation: Operation) -> Option<Rate> {
    let rate = match operation {
        Operation::CreateSignalingChannel => quotas.account_create,
        Operation::DescribeSignalingChannel => quotas.account_describe,
        Operation::GetSignalingChannelEndpoint => quotas.account_endpoint,
        Operation::ListSignalingChannels => quotas.account_list,
        Operation::SendAlexaOfferToMaster => quotas.account_alexa,
        Operation::UpdateMediaStorageConfiguration => quotas.account_media_storage,
        Operation::UpdateSignalingChannel
        | Operation::DeleteSignalingChannel
        | Operation::TagResource
        | Operation::UntagResource
        | Operation::ListTagsForResource
        | Operation::DescribeMediaStorageConfiguration => quotas.account_change,
        Operation::GetIceServerConfig
        | Operation::DescribeMappedResourceConfiguration
        | Operation::JoinStorageSession
        | Operation::JoinStorageSessionAsViewer => return None,
    };
    (!quotas.off && rate.rate > 0).then_some(rate)
}
