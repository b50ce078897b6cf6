//! The body of a request for a session: one channel, role and client id, and the policy that allows just these.

use axum::http::StatusCode;
use codec::aws::ClientId;
use codec::aws::policy::{Action, Policy, PolicyError};
use codec::signal::Role;
use serde_json::{Value, json as value};

/// The refusal of a request: a status and a text for the caller.
pub(super) type Fault = (StatusCode, String);

/// A request for a session: its channel, role and client id.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SessionRequest {
    pub(super) channel: String,
    pub(super) role: Role,
    pub(super) client_id: Option<String>,
}

impl SessionRequest {
    /// `{"channel","role","clientId"}`.
    pub(super) fn of(body: &[u8]) -> Result<Self, Fault> {
        let fault = |text: &str| (StatusCode::BAD_REQUEST, text.to_owned());
        let body: Value =
            serde_json::from_slice(body).map_err(|_| fault("the body must be a JSON object"))?;
        let members = body
            .as_object()
            .ok_or_else(|| fault("the body must be a JSON object"))?;
        if let Some(other) = members
            .keys()
            .find(|key| !["channel", "role", "clientId"].contains(&key.as_str()))
        {
            return Err(fault(&format!(
                "{other}: allowed are channel, role and clientId"
            )));
        }
        let text = |key| members.get(key).and_then(Value::as_str);
        let channel =
            text("channel").ok_or_else(|| fault("channel: must be the name of a channel"))?;
        let role = match text("role") {
            Some("master") => Role::Master,
            Some("viewer") => Role::Viewer,
            Some(_) | None => return Err(fault("role: allowed \"master\" and \"viewer\"")),
        };
        let client_id = match (role, members.get("clientId")) {
            (Role::Master, None | Some(Value::Null)) => None,
            (Role::Master, Some(_)) => return Err(fault("clientId: allowed for viewers only")),
            (Role::Viewer, id) => {
                let id = id
                    .and_then(Value::as_str)
                    .and_then(|id| ClientId::parse(id).ok());
                let rule = "clientId: allowed 1 to 256 of the characters a-z A-Z 0-9 _ . -";
                Some(id.ok_or_else(|| fault(rule))?.as_str().to_owned())
            }
        };
        Ok(Self {
            channel: channel.to_owned(),
            role,
            client_id,
        })
    }

    pub(super) fn action(&self) -> Action {
        match self.role {
            Role::Master => Action::ConnectAsMaster,
            Role::Viewer => Action::ConnectAsViewer,
        }
    }

    /// Exactly one channel, role and client id.
    pub(super) fn policy(&self, arn: &str) -> Result<Policy, PolicyError> {
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
