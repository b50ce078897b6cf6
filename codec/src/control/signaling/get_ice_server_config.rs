//! GetIceServerConfig, `/v1/get-ice-server-config`.

use crate::aws::ChannelArn;
use crate::control::constraint::{BodyRules, channel_arn, client_id};
use crate::control::error::ApiError;
use crate::control::owned::OwnedClientId;
use crate::json::value::Object;

/// Hands out STUN and TURN servers with credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetIceServerConfig {
    /// Which channel.
    pub arn: ChannelArn,
    /// The caller's client id, if given.
    pub client_id: Option<OwnedClientId>,
    /// The name wanted in the credentials. Its pattern is that of a client id.
    pub username: Option<OwnedClientId>,
}

impl GetIceServerConfig {
    /// The name that goes into the credentials: the username asked for, else the client id, else `kvs`.
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

/// One ICE server of the response. The C SDK takes at most 5 of them with 4 URIs of 127 characters each, credentials of
/// at most 256 characters, and a lifetime above 30 s; an entry without any of the four members stops it altogether.
#[derive(Clone, Copy, Debug)]
pub struct IceServer<'a> {
    /// The credential.
    pub password: &'a str,
    /// The life of the credential, in seconds.
    pub ttl_seconds: u32,
    /// `stun:`, `turn:` and `turns:` URIs, at least one.
    pub uris: &'a [String],
    /// The user; must contain a `:`, where the GStreamer client splits.
    pub username: &'a str,
}

/// Appends the response: the servers in their order, members in the order that AWS sends.
pub fn ice(out: &mut Vec<u8>, servers: &[IceServer<'_>]) {
    crate::control::write::member(out, b'{', "IceServerList");
    out.push(b'[');
    for (position, server) in servers.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        crate::control::write::member(out, b'{', "Password");
        crate::json::write::string(out, server.password);
        crate::control::write::member(out, b',', "Ttl");
        crate::control::write::number(out, u64::from(server.ttl_seconds));
        crate::control::write::member(out, b',', "Uris");
        uris(out, server.uris);
        crate::control::write::member(out, b',', "Username");
        crate::json::write::string(out, server.username);
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
}

fn uris(out: &mut Vec<u8>, uris: &[String]) {
    out.push(b'[');
    for (position, uri) in uris.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        crate::json::write::string(out, uri);
    }
    out.push(b']');
}
