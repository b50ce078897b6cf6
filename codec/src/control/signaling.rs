//! Operations on a channel's own endpoint: ICE servers and Alexa offers.

use crate::base64::{self, Alphabet};
use crate::control::constraint::{BodyRules, OwnedClientId, channel_arn, client_id, required};
use crate::control::{ApiError, json};
use crate::identifiers::ChannelArn;
use crate::json::{Object, write::string};
use std::ops::RangeInclusive;

/// A request for STUN and TURN servers and the credentials for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetIceServerConfig {
    /// The channel for which servers are requested.
    pub arn: ChannelArn,
    /// Client id of the caller, if the request contains one.
    pub client_id: Option<OwnedClientId>,
    /// Requested user name for the credentials, which must match the pattern for client ids.
    pub username: Option<OwnedClientId>,
}

impl GetIceServerConfig {
    /// Returns the user name for the credentials: the requested user name if there is one, otherwise the client id,
    /// otherwise `kvs`.
    #[must_use]
    pub fn credential_name(&self) -> &str {
        self.username
            .as_ref()
            .or(self.client_id.as_ref())
            .map_or("kvs", OwnedClientId::as_str)
    }

    pub(crate) fn parse(object: Object<'_, '_>, rules: &BodyRules) -> Result<Self, ApiError> {
        let [arn, client, service, username] =
            object.members(["ChannelARN", "ClientId", "Service", "Username"])?;
        let (arn, client) = (arn.text()?, client.text()?);
        let (service, username) = (service.text()?, username.text()?);

        let arn = channel_arn(arn, rules)?;
        let client = client.map(|text| client_id("ClientId", text)).transpose()?;
        if service.is_some_and(|service| service != "TURN") {
            return Err(ApiError::invalid("Service must be TURN."));
        }
        let username = username
            .map(|text| client_id("Username", text))
            .transpose()?;
        Ok(Self {
            arn,
            client_id: client,
            username,
        })
    }
}

/// An ICE server in the response. The C SDK accepts at most 5 servers, up to 4 URIs of 127 characters per server, and
/// credentials of up to 256 characters. The lifetime must be longer than 30 s. The C SDK fails if any of the four
/// members is missing.
#[derive(Clone, Copy, Debug)]
pub struct IceServer<'a> {
    /// Password of the credential.
    pub password: &'a str,
    /// Lifetime of the credential, in seconds.
    pub ttl_seconds: u32,
    /// URIs with the scheme `stun:`, `turn:` or `turns:`. There must be at least one.
    pub uris: &'a [String],
    /// User name of the credential. Must contain a `:`, because the GStreamer client splits the name there.
    pub username: &'a str,
}

/// Appends the response to an ICE server request. Servers are written in the given order, and members in the order that
/// AWS uses.
pub fn ice(out: &mut Vec<u8>, servers: &[IceServer<'_>]) {
    json::member(out, b'{', "IceServerList");
    json::array(out, servers, |out, server| {
        json::member(out, b'{', "Password");
        string(out, server.password);
        json::member(out, b',', "Ttl");
        out.extend(server.ttl_seconds.to_string().bytes());
        json::member(out, b',', "Uris");
        json::array(out, server.uris, |out, uri| string(out, uri));
        json::member(out, b',', "Username");
        string(out, server.username);
        out.push(b'}');
    });
    out.push(b'}');
}

/// Valid length of `MessagePayload`, in characters. Source: API Reference, "SendAlexaOfferToMaster".
const PAYLOAD_CHARS: RangeInclusive<usize> = 1..=10_000;

/// A request to send an offer to the master and wait for its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendAlexaOfferToMaster {
    /// The channel whose master receives the offer.
    pub arn: ChannelArn,
    /// Client id of the sender. The master addresses its answer to this id.
    pub sender: OwnedClientId,
    /// The offer: 1 to 10,000 characters of `[a-zA-Z0-9+/=]`, forwarded without being decoded.
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

/// Appends the response to an Alexa offer: the master's answer, or `null` if no answer arrived in time.
pub fn alexa(out: &mut Vec<u8>, answer: Option<&str>) {
    match answer {
        Some(answer) => json::strings(out, &[("Answer", answer)]),
        None => out.extend_from_slice(br#"{"Answer":null}"#),
    }
}
