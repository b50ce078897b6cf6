//! SendAlexaOfferToMaster, `/v1/send-alexa-offer-to-master`.

use crate::aws::ChannelArn;
use crate::base64::{self, Alphabet};
use crate::control::constraint::{BodyRules, channel_arn, client_id, required};
use crate::control::error::ApiError;
use crate::control::owned::OwnedClientId;
use crate::json::value::Object;
use std::ops::RangeInclusive;

/// The length that `MessagePayload` may have, in characters. Source: API Reference, "SendAlexaOfferToMaster".
const PAYLOAD_CHARS: RangeInclusive<usize> = 1..=10_000;

/// Brings an offer to the master and waits for the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendAlexaOfferToMaster {
    /// Which channel.
    pub arn: ChannelArn,
    /// The client id of the sender, to which the master answers.
    pub sender: OwnedClientId,
    /// The offer: 1 to 10,000 characters of `[a-zA-Z0-9+/=]`, carried and never decoded.
    pub payload: Box<str>,
}

impl SendAlexaOfferToMaster {
    pub(crate) fn parse(object: Object<'_, '_>, rules: &BodyRules) -> Result<Self, ApiError> {
        let [arn, sender, payload] =
            object.members(["ChannelARN", "SenderClientId", "MessagePayload"])?;
        let (arn, sender, payload) = (arn.text()?, sender.text()?, payload.text()?);

        let arn = channel_arn(arn, rules)?;
        let sender = client_id("SenderClientId", required("SenderClientId", sender)?)?;
        let payload = required("MessagePayload", payload)?;
        if !PAYLOAD_CHARS.contains(&payload.len())
            || base64::alphabet(payload.as_bytes()) != Alphabet::Standard
        {
            return Err(ApiError::invalid(
                "MessagePayload must be 1 to 10000 characters of [a-zA-Z0-9+/=].",
            ));
        }
        Ok(Self {
            arn,
            sender,
            payload: payload.into(),
        })
    }
}

/// Appends the response: the master's answer, or `null` when none came in time.
pub fn alexa(out: &mut Vec<u8>, answer: Option<&str>) {
    crate::control::write::member(out, b'{', "Answer");
    match answer {
        Some(answer) => crate::json::write::string(out, answer),
        None => out.extend_from_slice(b"null"),
    }
    out.push(b'}');
}
