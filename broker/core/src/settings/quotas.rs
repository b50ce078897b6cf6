//! Rates of clients, channels and accounts.

use crate::quota::Rate;
use codec::control::Operation;

/// Rates that clients may use up. Source: KVS WebRTC service quotas; the burst is five seconds of the rate.
/// `default()` is all zeros: the defaults of the configuration are those of [`Settings::new`](crate::settings::Settings::new).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quotas {
    /// No rate is limited.
    pub off: bool,
    /// ConnectAsMaster per channel.
    pub connect_master: Rate,
    /// ConnectAsViewer per channel.
    pub connect_viewer: Rate,
    /// SDP_OFFER per connection, and SDP_ANSWER separately.
    pub sdp: Rate,
    /// ICE_CANDIDATE per connection.
    pub ice: Rate,
    /// DescribeSignalingChannel per channel.
    pub describe: Rate,
    /// SendAlexaOfferToMaster per channel.
    pub alexa: Rate,
    /// GetIceServerConfig per channel.
    pub ice_server_config: Rate,
    /// Each operation that changes a channel, and the reading of its tags, per channel.
    pub change: Rate,
    /// CreateSignalingChannel per account.
    pub account_create: Rate,
    /// DescribeSignalingChannel per account.
    pub account_describe: Rate,
    /// GetSignalingChannelEndpoint per account.
    pub account_endpoint: Rate,
    /// ListSignalingChannels per account.
    pub account_list: Rate,
    /// Each operation that changes a channel, and the reading of its tags, per account.
    pub account_change: Rate,
    /// UpdateMediaStorageConfiguration per account.
    pub account_media_storage: Rate,
    /// SendAlexaOfferToMaster per account.
    pub account_alexa: Rate,
    /// Calls of STS that issue keys, per account.
    pub account_federation: Rate,
}

impl Quotas {
    /// The rate of an operation per account; `None` where there is none.
    pub(crate) fn account_rate(&self, operation: Operation) -> Option<Rate> {
        let rate = match operation {
            Operation::CreateSignalingChannel => self.account_create,
            Operation::DescribeSignalingChannel => self.account_describe,
            Operation::GetSignalingChannelEndpoint => self.account_endpoint,
            Operation::ListSignalingChannels => self.account_list,
            Operation::SendAlexaOfferToMaster => self.account_alexa,
            Operation::UpdateMediaStorageConfiguration => self.account_media_storage,
            Operation::UpdateSignalingChannel
            | Operation::DeleteSignalingChannel
            | Operation::TagResource
            | Operation::UntagResource
            | Operation::ListTagsForResource
            | Operation::DescribeMediaStorageConfiguration => self.account_change,
            Operation::GetIceServerConfig
            | Operation::DescribeMappedResourceConfiguration
            | Operation::JoinStorageSession
            | Operation::JoinStorageSessionAsViewer => return None,
        };
        (!self.off && rate.rate > 0).then_some(rate)
    }
}
