//! `POST /try/session`: issues credentials that let a page act as one master or one viewer of one channel for 15
//! minutes.
//!
//! The keys are temporary credentials like those returned by GetFederationToken. They are sealed rather than stored,
//! and act on behalf of the first principal in the credentials file that is permitted to connect in this way. They
//! never permit more than that principal may do, and become invalid when the principal does.

use crate::edge::turn::calendar;
use crate::limits::TRY_SESSIONS_PER_MINUTE;
use crate::side::admin::access::Access;
use crate::side::admin::connections::Seat;
use crate::side::admin::http::{Fault, SILENT, host_name, is_json, rfc3339};
use crate::side::{admin::account_sessions, inspector::Inspector, shared_state::Running};
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{ConnectInfo, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::{Extension, Json};
use broker_core::auth::{Credentials, Grant, Nonces, SessionKeys, Temporary};
use broker_core::control::{ice, web_socket_url};
use broker_core::id::{Account, Identity};
use broker_core::journal::{Audit, AuditCaller, Entry, Journal};
use broker_core::shard::{Question, Reply};
use broker_core::{settings::Settings, time::Wall};
use codec::identifiers::{ChannelArn, ClientId};
use codec::policy::{Action, Policy, PolicyError, Request};
use codec::signal::Role;
use codec::sigv4::signer::{Keys, Signer, Upgrade};
use serde_json::{Map, Value, json as value};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, watch};

/// The channel that `/try` suggests, and the issuer of the page's sessions.
#[derive(Default)]
pub struct Tries {
    /// The name of the channel that the page suggests.
    pub channel: String,
    /// The issuer of sessions. `None` if requests need not be signed.
    pub lender: Option<Mutex<Lender>>,
}

/// The current credentials, for threads other than shards.
pub type InForce = watch::Receiver<Arc<Credentials>>;

/// Issues sessions, but only a few per minute.
pub struct Lender {
    credentials: InForce,
    session_keys: Arc<SessionKeys>,
    nonces: Nonces,
    journal: Box<dyn Journal>,
    given: VecDeque<Instant>,
}

struct Session {
    keys: Temporary,
    expires_s: u64,
    request_id: String,
}

#[derive(Clone)]
pub(crate) struct TrySessions {
    pub(crate) tries: Arc<Tries>,
    pub(crate) access: Access,
    pub(crate) inspector: Inspector,
    pub(crate) running: Running,
}

/// Returns credentials, a presigned URL and the ICE servers.
pub(crate) async fn session(
    State(it): State<TrySessions>,
    ConnectInfo(seat): ConnectInfo<Seat>,
    account: Option<Extension<account_sessions::Account>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<impl IntoResponse, Fault> {
    let too_large = "the body is too large, or was cut off";
    let body = body.map_err(|rejection| Fault::new(rejection.status(), too_large))?;
    let Some(lender) = &it.tries.lender else {
        return Err(Fault::conflict(
            "requests are not signed here: connect without a session",
        ));
    };
    if !it.access.wants_token() {
        return Err(Fault::new(
            StatusCode::FORBIDDEN,
            "sessions need [admin] token_file",
        ));
    }
    if account.is_none() && it.access.borne(&headers).is_none() {
        return Err(Fault::new(
            StatusCode::UNAUTHORIZED,
            "Authorization: Bearer <token> is missing or wrong",
        ));
    }
    is_json(&headers)?;
    let wanted = SessionRequest::of(&body)?;
    let query = query.unwrap_or_default();
    let identity = it.inspector.identity(&wanted.channel, &query)?;
    let arn = arn_of(&it.inspector, identity).await?;
    let (now, remote) = (calendar(), seat.remote());
    let mut lender = lender.lock().await;
    let session = lender.lend(&wanted, &arn, now.0 / 1000, Instant::now(), remote)?;
    let (settings, host) = (it.running.settings(), host_name(&headers));
    let answer = answer(&settings, &wanted, &arn, &session, host, now);
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(answer)))
}

async fn arn_of(inspector: &Inspector, identity: Identity) -> Result<ChannelArn, Fault> {
    let reply = inspector
        .shards
        .ask_home(identity.clone(), Question::Channel(identity))
        .await;
    match reply {
        Some((_, Reply::Channel(Some(view)))) => Ok(view.record.arn.clone()),
        Some(_) => Err(Fault::not_found(
            "there is no such channel: create it with CreateSignalingChannel first",
        )),
        None => Err(SILENT),
    }
}

impl Lender {
    /// Creates an issuer. `nonces` must not be shared with any shard.
    #[must_use]
    pub fn new(
        credentials: InForce,
        session_keys: Arc<SessionKeys>,
        nonces: Nonces,
        journal: Box<dyn Journal>,
    ) -> Self {
        Self {
            credentials,
            session_keys,
            nonces,
            journal,
            given: VecDeque::new(),
        }
    }

    fn lend(
        &mut self,
        wanted: &SessionRequest,
        arn: &ChannelArn,
        now_s: u64,
        at: Instant,
        remote: SocketAddr,
    ) -> Result<Session, Fault> {
        self.make_room(at)?;
        let text = arn.to_string();
        let request = Request {
            action: wanted.action(),
            resource: &text,
            client_id: wanted.client_id.as_deref(),
            context: &(),
        };
        let credentials = Arc::clone(&self.credentials.borrow());
        let request_id = self.request_id();
        let parent = credentials
            .first_allowed(arn.account(), &request, now_s)
            .ok_or_else(|| {
                let action = request.action.as_str();
                let text = format!("no principal of the credentials file may {action} on {text}");
                Fault(StatusCode::FORBIDDEN, text.into())
            })?;
        let account = Account::of(arn);
        if !self.journal.keep_place(account) {
            return Err(Fault::unavailable("the log has no room for the audit line"));
        }
        let expires_s = (now_s + SESSION_S).min(parent.expires_s.unwrap_or(u64::MAX));
        let keys = wanted.policy(&text).ok().and_then(|policy| {
            let (parent_id, account) = (&parent.access_key_id, &parent.account);
            let grant = Grant::federated(parent_id, account, NAME, Some(policy), expires_s);
            let nonce = self.nonces.draw();
            let sealed = self
                .session_keys
                .seal(&nonce, &grant, parent.secret.reveal());
            sealed.ok()
        });
        let Some(keys) = keys else {
            self.journal.give_back(account);
            return Err(Fault::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the session cannot be sealed",
            ));
        };
        self.journal.note_kept(
            account,
            Entry::Audit(Audit {
                caller: Some(Box::new(AuditCaller {
                    name: parent.name.as_str().into(),
                    account: parent.account.as_str().into(),
                    key_id: Some(parent.access_key_id.as_str().into()),
                    ..AuditCaller::default()
                })),
                operation: "TrySession",
                channel_arn: Some(text.into()),
                session: None,
                new_key_id: Some(keys.access_key_id.as_str().into()),
                outcome: "ok",
                request_id: request_id.as_str().into(),
                remote,
            }),
        );
        Ok(Session {
            keys,
            expires_s,
            request_id,
        })
    }

    fn make_room(&mut self, at: Instant) -> Result<(), Fault> {
        while self
            .given
            .front()
            .is_some_and(|first| at.duration_since(*first) >= MINUTE)
        {
            self.given.pop_front();
        }
        if self.given.len() >= TRY_SESSIONS_PER_MINUTE {
            let text = format!(
                "try_sessions_per_minute: expected at most {TRY_SESSIONS_PER_MINUTE}; use the sessions given, or wait"
            );
            return Err(Fault(StatusCode::TOO_MANY_REQUESTS, text.into()));
        }
        self.given.push_back(at);
        Ok(())
    }

    /// Generates a request id that has the format of a UUID version 4.
    fn request_id(&mut self) -> String {
        let mut hex =
            data_encoding::HEXLOWER.encode(self.nonces.draw().get(..16).unwrap_or_default());
        hex.replace_range(12..13, "4");
        hex.replace_range(16..17, "a");
        for hyphen in [8, 13, 18, 23] {
            hex.insert(hyphen, '-');
        }
        hex
    }
}

fn answer(
    settings: &Settings,
    wanted: &SessionRequest,
    arn: &ChannelArn,
    session: &Session,
    host: &str,
    now: Wall,
) -> Value {
    let identity = Identity::of(arn);
    let endpoint = web_socket_url(settings, wanted.role, host, &identity);
    let (scheme, authority) = endpoint.split_once("://").unwrap_or(("wss", &endpoint));
    let keys = &session.keys;
    let signing = Keys {
        access_key_id: &keys.access_key_id,
        secret_access_key: keys.secret_access_key.reveal(),
        session_token: Some(keys.session_token.reveal()),
    };
    let (arn, life_s) = (
        arn.to_string(),
        session.expires_s.saturating_sub(now.0 / 1000).max(1),
    );
    let upgrade = Upgrade {
        host: authority,
        channel_arn: &arn,
        client_id: wanted.client_id.as_deref(),
        expires_s: u32::try_from(life_s).unwrap_or(1),
        now_s: now.0 / 1000,
    };
    let target = Signer::new(signing, identity.region()).presign(&upgrade);
    value!({
        "credentials": {
            "accessKeyId": keys.access_key_id,
            "secretAccessKey": keys.secret_access_key.reveal(),
            "sessionToken": keys.session_token.reveal(),
            "expiration": rfc3339(Wall(session.expires_s * 1000)),
        },
        "endpoint": endpoint,
        "channelArn": arn,
        "url": format!("{scheme}://{authority}{target}"),
        "iceServers": ice_servers(settings, wanted, now),
        "requestId": session.request_id,
    })
}

fn ice_servers(settings: &Settings, wanted: &SessionRequest, now: Wall) -> Vec<Value> {
    if settings.ice.is_empty() {
        return Vec::new();
    }
    let mut body = Vec::new();
    ice(
        &mut body,
        &settings.ice,
        "",
        wanted.client_id.as_deref().unwrap_or("MASTER"),
        now,
    );
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let servers = body["IceServerList"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let entry = |server: &Value| {
        value!({
            "urls": server["Uris"],
            "username": server["Username"],
            "credential": server["Password"],
        })
    };
    servers.iter().map(entry).collect()
}

const SESSION_S: u64 = 15 * 60;
const MINUTE: Duration = Duration::from_secs(60);
/// The name of the federated user to which all sessions belong, as shown by GetCallerIdentity.
const NAME: &str = "try-page";

// The body of a session request (channel, role and client id), and the policy that permits exactly these.

#[derive(Debug, PartialEq, Eq)]
struct SessionRequest {
    pub(crate) channel: String,
    pub(crate) role: Role,
    pub(crate) client_id: Option<String>,
}

impl SessionRequest {
    pub(crate) fn of(body: &[u8]) -> Result<Self, Fault> {
        let members: Map<String, Value> = serde_json::from_slice(body).map_err(|_| BAD_BODY)?;
        let is_known = |key: &&String| ["channel", "role", "clientId"].contains(&key.as_str());
        if let Some(other) = members.keys().find(|key| !is_known(key)) {
            return Err(format!("{other}: expected channel, role and clientId").into());
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

    /// Creates the policy that permits exactly this channel, role and client id.
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
const BAD_ROLE: Fault = Fault::bad("role: expected \"master\" and \"viewer\"");
const MASTER_HAS_ID: Fault = Fault::bad("clientId: expected for viewers only");
const BAD_ID: Fault = Fault::bad("clientId: expected 1 to 256 of the characters a-z A-Z 0-9 _ . -");
