//! The rates of accounts.

use crate::settings::{Quotas, Rate};
use codec::control::Operation;

/// The rate of an operation per account; `None` where there is none.
pub(in crate::shard) fn account_rate(quotas: &Quotas, operation: Operation) -> Option<Rate> {
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
