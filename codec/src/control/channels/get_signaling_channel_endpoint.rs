//! GetSignalingChannelEndpoint, `/getSignalingChannelEndpoint`.

use crate::aws::ChannelArn;
use crate::control::constraint::{BodyRules, channel_arn};
use crate::control::error::ApiError;
use crate::control::member::Member;
use crate::json::value::Object;
use crate::signal::Role;
use std::ops::RangeInclusive;

/// The number of protocols that may be asked for. Source: API Reference, "SingleMasterChannelEndpointConfiguration".
const PROTOCOLS: RangeInclusive<usize> = 1..=5;

/// Returns where to connect. The answer grants nothing: permission is checked at connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetSignalingChannelEndpoint {
    /// Which channel.
    pub arn: ChannelArn,
    /// Each protocol once, in the order asked; at least one. `[WSS]` when the caller names none.
    pub protocols: Vec<Protocol>,
    /// The role that the endpoint is for; viewer when the caller does not say.
    pub role: Role,
}

/// The protocol of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "UPPERCASE")]
pub enum Protocol {
    /// Signaling over WebSocket.
    Wss,
    /// ICE configuration and Alexa offers over HTTPS.
    Https,
}

impl Protocol {
    /// The protocol's AWS name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl GetSignalingChannelEndpoint {
    pub(crate) fn parse(object: Object<'_, '_>, rules: &BodyRules) -> Result<Self, ApiError> {
        let [arn, configuration] =
            object.members(["ChannelARN", "SingleMasterChannelEndpointConfiguration"])?;
        let arn = arn.text()?;
        let (protocols, role) = read_configuration(configuration)?;

        let arn = channel_arn(arn, rules)?;
        let protocols = match protocols {
            Some(protocols) => check_protocols(&protocols)?,
            None => vec![Protocol::Wss],
        };
        let role = match role {
            Some("MASTER") => Role::Master,
            Some("VIEWER") | None => Role::Viewer,
            Some(_) => return Err(ApiError::invalid("Role must be MASTER or VIEWER.")),
        };
        Ok(Self {
            arn,
            protocols,
            role,
        })
    }
}

/// Appends the response: one entry per protocol asked, in that order.
pub fn endpoint(out: &mut Vec<u8>, endpoints: &[(Protocol, &str)]) {
    crate::control::write::member(out, b'{', "ResourceEndpointList");
    out.push(b'[');
    for (position, (protocol, url)) in endpoints.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        crate::control::write::member(out, b'{', "Protocol");
        crate::json::write::string(out, protocol.as_str());
        crate::control::write::member(out, b',', "ResourceEndpoint");
        crate::json::write::string(out, url);
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
}

/// `Protocols` and `Role` with their JSON types known.
type RawConfiguration<'b> = (Option<Vec<&'b str>>, Option<&'b str>);

fn read_configuration<'b>(configuration: Member<'_, 'b>) -> Result<RawConfiguration<'b>, ApiError> {
    let Some(configuration) = configuration.object()? else {
        return Ok((None, None));
    };
    let [protocols, role] = configuration.members(["Protocols", "Role"])?;
    Ok((protocols.texts()?, role.text()?))
}

fn check_protocols(asked: &[&str]) -> Result<Vec<Protocol>, ApiError> {
    if !PROTOCOLS.contains(&asked.len()) {
        return Err(ApiError::invalid("Protocols must have 1 to 5 entries."));
    }
    let mut protocols = Vec::with_capacity(2);
    for &name in asked {
        let protocol = match name {
            "WSS" => Protocol::Wss,
            "HTTPS" => Protocol::Https,
            "WEBRTC" => {
                return Err(ApiError::invalid(
                    "Protocols must not contain WEBRTC: the channel has no media storage configuration.",
                ));
            }
            _ => return Err(ApiError::invalid("Protocols must be WSS or HTTPS.")),
        };
        if !protocols.contains(&protocol) {
            protocols.push(protocol);
        }
    }
    Ok(protocols)
}
