//! JoinStorageSession, `/joinStorageSession`, and JoinStorageSessionAsViewer, `/joinStorageSessionAsViewer`.
//!
//! On AWS they make the service itself call the master or a viewer. Here they have no response to write: the answer to
//! a permitted caller is [`crate::control::MEDIA_STORAGE_REFUSED`]. Their members begin with a small letter, unlike all
//! others.

use crate::aws::ChannelArn;
use crate::control::constraint::{BodyRules, arn, client_id, required};
use crate::control::error::ApiError;
use crate::control::owned::OwnedClientId;
use crate::json::value::Object;

/// Asks that the service connect to a channel's master, to store what it sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinStorageSession {
    /// Which channel.
    pub arn: ChannelArn,
}

impl JoinStorageSession {
    pub(crate) fn parse(object: Object<'_, '_>, rules: &BodyRules) -> Result<Self, ApiError> {
        let [channel] = object.members(["channelArn"])?;
        let arn = arn("channelArn", channel.text()?, rules)?;
        Ok(Self { arn })
    }
}

/// Asks that the service connect to a viewer of a channel whose master is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinStorageSessionAsViewer {
    /// Which channel.
    pub arn: ChannelArn,
    /// Which viewer.
    pub client_id: OwnedClientId,
}

impl JoinStorageSessionAsViewer {
    pub(crate) fn parse(object: Object<'_, '_>, rules: &BodyRules) -> Result<Self, ApiError> {
        let [channel, client] = object.members(["channelArn", "clientId"])?;
        let (channel, client) = (channel.text()?, client.text()?);

        let arn = arn("channelArn", channel, rules)?;
        let client_id = client_id("clientId", required("clientId", client)?)?;
        Ok(Self { arn, client_id })
    }
}
