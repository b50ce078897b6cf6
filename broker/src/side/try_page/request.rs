//! The body of a request for a session: one channel, role and client id, and the policy that allows just these.

use crate::side::admin::answer::Fault;
use codec::identifiers::ClientId;
use codec::policy::{Action, Policy, PolicyError};
use codec::signal::Role;
use serde_json::{Map, Value, json as value};

/// A request for a session: its channel, role and client id.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SessionRequest {
    pub(crate) channel: String,
    pub(crate) role: Role,
    pub(crate) client_id: Option<String>,
}

impl SessionRequest {
    /// `{"channel","role","clientId"}`.
    pub(crate) fn of(body: &[u8]) -> Result<Self, Fault> {
        let members: Map<String, Value> = serde_json::from_slice(body).map_err(|_| BAD_BODY)?;
        let is_known = |key: &&String| ["channel", "role", "clientId"].contains(&key.as_str());
        if let Some(other) = members.keys().find(|key| !is_known(key)) {
            return Err(format!("{other}: allowed are channel, role and clientId").into());
        }
        let text = |key| members.get(key).and_then(Value::as_str);
        let channel = text("channel").ok_or(BAD_CHANNEL)?;
        let role = match text("role") {
            Some("master") => Role::Master,
            Some("viewer") => Role::Viewer,
            Some(_) | None => return Err(BAD_ROLE),
        };
        let client_id = match (role, members.get("clientId")) {
            (Role::Master, None | Some(Value::Null)) => None,
            (Role::Master, Some(_)) => return Err(MASTER_HAS_ID),
            (Role::Viewer, id) => {
                let id = id
                    .and_then(Value::as_str)
                    .and_then(|id| ClientId::parse(id).ok());
                Some(id.ok_or(BAD_ID)?.as_str().to_owned())
            }
        };
        Ok(Self {
            channel: channel.to_owned(),
            role,
            client_id,
        })
    }

    pub(crate) fn action(&self) -> Action {
        match self.role {
            Role::Master => Action::ConnectAsMaster,
            Role::Viewer => Action::ConnectAsViewer,
        }
    }

    /// Exactly one channel, role and client id.
    pub(crate) fn policy(&self, arn: &str) -> Result<Policy, PolicyError> {
        let mut statement = value!({
            "Effect": "Allow",
            "Action": [self.action().as_str(), Action::GetIceServerConfig.as_str()],
            "Resource": arn,
        });
        if let Some(id) = &self.client_id {
            statement["Condition"] = value!({ "StringEquals": { "kinesisvideo:ClientId": id } });
        }
        let document = value!({ "Version": "2012-10-17", "Statement": [statement] });
        Policy::parse_session(&document.to_string())
    }
}

const BAD_BODY: Fault = Fault::bad("the body must be a JSON object");
const BAD_CHANNEL: Fault = Fault::bad("channel: must be the name of a channel");
const BAD_ROLE: Fault = Fault::bad("role: allowed \"master\" and \"viewer\"");
const MASTER_HAS_ID: Fault = Fault::bad("clientId: allowed for viewers only");
const BAD_ID: Fault = Fault::bad("clientId: allowed 1 to 256 of the characters a-z A-Z 0-9 _ . -");
