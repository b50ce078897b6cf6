//! Rates and quotas, judged by what was taken when: a bucket is the list of its takings. See codec/PROTOCOL.md, RATE.

use super::{
    CALLERS, Caller, Channel, ConnId, LIMITED, Model, Permit, Question, Refusal, Stage, Told,
};

use broker_core::check::Check;
use broker_core::settings::Rate;
use codec::control::Operation;
use codec::signal::Action;
use std::collections::BTreeMap;

/// When tokens were taken, by what for.
pub(crate) type Taken = BTreeMap<&'static str, Vec<u64>>;

/// Whether a token is left. For every moment since which tokens were taken: those, with one more, must not exceed a
/// full bucket and what came back since. All in thousandths of tokens.
fn has(taken: &[u64], rate: Rate, now: u64) -> bool {
    let (burst, rate) = (u64::from(rate.burst) * 1000, u64::from(rate.rate));
    let enough = |(later, at): (usize, &u64)| {
        let takings = (taken.len() - later) as u64 + 1;
        takings * 1000 <= burst + (now - at) * rate
    };
    burst >= 1000 && taken.iter().enumerate().all(enough)
}

impl Model {
    fn limited(&self, rate: Rate) -> Option<Rate> {
        (!self.settings.quotas.off && rate.rate > 0).then_some(rate)
    }

    fn rate_of_connect(&self, viewer: bool) -> (&'static str, Option<Rate>) {
        let quotas = &self.settings.quotas;
        if viewer {
            ("ConnectAsViewer", self.limited(quotas.connect_viewer))
        } else {
            ("ConnectAsMaster", self.limited(quotas.connect_master))
        }
    }

    /// Whether a channel's rate lets one more connect.
    pub(crate) fn may_connect(&self, channel: usize, viewer: bool) -> bool {
        let (what, rate) = self.rate_of_connect(viewer);
        let taken = self.channels[channel].taken.get(what);
        rate.is_none_or(|rate| has(taken.map_or(&[], Vec::as_slice), rate, self.now))
    }

    /// One more connects.
    pub(crate) fn count_connect(&mut self, channel: usize, viewer: bool) {
        let (what, rate) = self.rate_of_connect(viewer);
        if rate.is_some() {
            let taken = self.channels[channel].taken.entry(what);
            taken.or_default().push(self.now);
        }
    }

    /// Counts a call against its channel's rate; false when it is over it.
    pub(crate) fn count_call(&mut self, channel: usize, operation: Operation) -> bool {
        let quotas = &self.settings.quotas;
        let rate = match operation.name() {
            "DescribeSignalingChannel" => quotas.describe,
            "GetIceServerConfig" => quotas.ice_server_config,
            "SendAlexaOfferToMaster" => quotas.alexa,
            "CreateSignalingChannel"
            | "ListSignalingChannels"
            | "GetSignalingChannelEndpoint"
            | "JoinStorageSession"
            | "JoinStorageSessionAsViewer"
            | "DescribeMappedResourceConfiguration" => return true,
            _ => quotas.change,
        };
        let Some(rate) = self.limited(rate) else {
            return true;
        };
        let now = self.now;
        let taken = self.channels[channel].taken.entry(operation.name());
        take(taken.or_default(), rate, now)
    }

    /// Counts a message against its connection's rate; false when it is over it.
    pub(crate) fn count_message(&mut self, id: ConnId, action: Action) -> bool {
        let quotas = &self.settings.quotas;
        let rate = match action {
            Action::SdpOffer | Action::SdpAnswer => quotas.sdp,
            Action::IceCandidate => quotas.ice,
        };
        let Some(rate) = self.limited(rate) else {
            return true;
        };
        let now = self.now;
        let ws = self.conns[id].ws.as_mut().expect("open");
        take(ws.taken.entry(action.as_str()).or_default(), rate, now)
    }

    fn account_rate(&self, operation: Operation) -> Option<Rate> {
        let quotas = &self.settings.quotas;
        self.limited(match operation.name() {
            "CreateSignalingChannel" => quotas.account_create,
            "DescribeSignalingChannel" => quotas.account_describe,
            "GetSignalingChannelEndpoint" => quotas.account_endpoint,
            "ListSignalingChannels" => quotas.account_list,
            "SendAlexaOfferToMaster" => quotas.account_alexa,
            "UpdateMediaStorageConfiguration" => quotas.account_media_storage,
            "GetIceServerConfig"
            | "JoinStorageSession"
            | "JoinStorageSessionAsViewer"
            | "DescribeMappedResourceConfiguration" => return None,
            _ => quotas.account_change,
        })
    }

    fn counts_channels(&self, operation: Operation) -> bool {
        operation == Operation::CreateSignalingChannel
            && self.settings.limits.channels_per_account > 0
    }

    /// Whether all shards are asked for the bytes of the account's records: where there may be few, they always are.
    fn counts_bytes(&self, operation: Operation) -> bool {
        let grows = matches!(operation.name(), "CreateSignalingChannel" | "TagResource");
        grows && self.settings.limits.record_bytes_per_account < 1 << 20
    }

    /// Whether the caller's account may have this many bytes more, as far as is known: by the sum when it was asked
    /// for, and by what it has here.
    pub(crate) fn has_bytes(&mut self, home: usize, caller: Caller, more: u64) -> bool {
        let here = |channel: &&Channel| {
            channel.alive && channel.home == home && channel.account == CALLERS
        };
        let here: u64 = (self.channels.iter().filter(here))
            .map(Channel::record_bytes)
            .sum();
        let held = self.held.get(&caller).copied().unwrap_or(0).max(here);
        let has = held + more <= self.settings.limits.record_bytes_per_account as u64;
        if !has {
            self.met("change refused: bytes of the account");
        }
        has
    }

    /// The permission of its account that a call needs before it is made, if any.
    pub(crate) fn permit_for(&self, operation: Operation) -> Option<Permit> {
        let counts = self.counts_channels(operation) || self.counts_bytes(operation);
        let needed = counts || self.account_rate(operation).is_some();
        needed.then(|| Permit {
            missing: 1 + if counts { self.shards.len() } else { 0 },
            channels: 0,
            bytes: 0,
        })
    }

    /// Asks for it: all shards for their channels, then the account's own for a token.
    pub(crate) fn ask_for_permit(&mut self, caller: Caller, operation: Operation) {
        if self.counts_channels(operation) || self.counts_bytes(operation) {
            for shard in 0..self.shards.len() {
                self.ask(caller, shard, Question::Count);
            }
        }
        let account = (self.home)("");
        self.ask(caller, account, Question::Permit);
    }

    /// Counts a call of the account.
    pub(crate) fn permit(&mut self, operation: Operation) -> Told {
        let Some(rate) = self.account_rate(operation) else {
            return Told::Done;
        };
        let now = self.now;
        let taken = self.account_taken.entry(operation.name()).or_default();
        if take(taken, rate, now) {
            Told::Done
        } else {
            Told::Fault(400, Refusal::new(Check::RateAccount, LIMITED))
        }
    }

    /// An answer to such a question. `None` when the call goes on, or others are missing; else its refusal.
    pub(crate) fn permit_told(&mut self, caller: Caller, told: Told) -> Option<Told> {
        let limit = self.settings.limits.channels_per_account;
        let Stage::AwaitReply(reply) = &mut self.conns[caller.conn].stage else {
            panic!("it awaits a permit")
        };
        let permit = reply.permit.as_mut().expect("it awaits a permit");
        match told {
            Told::Fault(..) => {
                self.met("call refused: rate of the account");
                return Some(told);
            }
            Told::Holding(channels, bytes) => {
                permit.channels += channels;
                permit.bytes += bytes;
            }
            Told::Done => {}
            other => panic!("{other:?} is no permit"),
        }
        permit.missing -= 1;
        if permit.missing > 0 {
            return None;
        }
        let (channels, bytes) = (permit.channels, permit.bytes);
        let (call, place_kept) = (reply.call.clone(), reply.place_kept);
        self.held.insert(caller, bytes);
        if self.counts_channels(call.operation()) && channels >= limit {
            self.met("call refused: channels of the account");
            let error = "AccountChannelLimitExceededException";
            return Some(Told::Fault(400, Refusal::new(Check::ChannelsFull, error)));
        }
        self.permitted(caller, call, place_kept);
        self.answered.push_back(caller.conn);
        None
    }
}

fn take(taken: &mut Vec<u64>, rate: Rate, now: u64) -> bool {
    let has = has(taken, rate, now);
    if has {
        taken.push(now);
    }
    has
}
