//! Players without an SDK (WHEP): an offer over HTTP is a call to the channel's master, as Alexa's is, whose answer
//! waits for the candidates that follow it. See codec/PROTOCOL.md, WHEP.
//!
//! ```text
//!  POST /whep/NAME ── read_head: type, token, client id ── read_offer ── begin ──► the channel's home (`calls/home.rs`)
//!  201, application/sdp ◄── conclude ◄──────────────────────────────────── its answer, with what it gathered
//! ```

use crate::control::ice_links;
use crate::event::{PlayerOutcome, Purpose};
use crate::id::SessionKey;
use crate::session::http::{Expected, PendingCall, PlayerHead};
use crate::shard::calls::responses::{self, Response, internal_failure};
use crate::shard::connect::requests::{Request, answer_preflight, next, refuse_step};
use crate::shard::connect::upgrades::viewer_id;
use crate::shard::connect::{Step, ends_with, public_pages};
use crate::shard::context::Context;
use crate::shard::evidence::Evidence;
use crate::shard::gate::Gate;
use crate::shard::state::State;
use crate::shard::{Answer, Query, QueryKind, Sockets, onward};
use crate::time::Moment;
use crate::{check::Check, limits::REPLY_MS_MAX, refusal::Refusal, settings::Settings};
use crate::{id::Identity, settings::Program};
use codec::control::Operation;
use codec::http::Head;
use codec::whep::{self, Fault, Target};
use std::fmt::Write as _;

/// The channel and the call that a request names, if players are served and it is one of theirs.
pub(crate) fn asked<'a>(settings: &Settings, head: &Head<'a>) -> Option<Target<'a>> {
    let is_on = head.path().starts_with(whep::PATH) && settings.whep.on && !settings.strict();
    is_on.then(|| Target::parse(head.path()))?
}

/// Header lines of a refusal of this status.
pub(crate) const fn fields_of(status: u16) -> &'static str {
    match status {
        405 => ALLOWED,
        _ => EXPOSED,
    }
}

const EXPOSED: &str = "Access-Control-Expose-Headers: Location,Link,Retry-After\r\n";
const ALLOWED: &str = "Access-Control-Expose-Headers: Location,Link,Retry-After\r\n\
                       Allow: OPTIONS, POST, GET, HEAD, DELETE\r\n";
const OPTIONS: &str = "Access-Control-Expose-Headers: Location,Link,Retry-After\r\n\
                       Accept-Post: application/sdp\r\n";
/// Methods for pages of any origin, which ask for ICE servers too. With PATCH, players would send candidates later.
const METHODS: &str = "POST, DELETE, OPTIONS";

// The head of a request.

/// Reads the head of an offer: its type, its token, its client id.
pub(crate) fn read_head(
    sockets: &Sockets,
    gate: &mut Gate,
    key: SessionKey,
    head: &Head<'_>,
    at: Moment,
) -> Result<PlayerHead, Refusal> {
    let target = asked(sockets.settings(), head).filter(|target| target.call.is_none());
    let Some(target) = target else {
        return Err(no_method());
    };
    let content_type = head.header("content-type").unwrap_or_default();
    let (media_type, _) = content_type.split_once(';').unwrap_or((content_type, ""));
    if !media_type.trim().eq_ignore_ascii_case(whep::CONTENT_TYPE) {
        let message = "The offer must have Content-Type: application/sdp.";
        return Err(Refusal::of_head(Check::WhepType, 415, message));
    }
    authenticated(sockets, gate, key, (head, target), at)
}

/// Checks the token of a request.
fn authenticated(
    sockets: &Sockets,
    gate: &mut Gate,
    key: SessionKey,
    (head, target): (&Head<'_>, Target<'_>),
    at: Moment,
) -> Result<PlayerHead, Refusal> {
    let peer = sockets.session(key).map(|session| session.peer());
    let peer = peer.ok_or_else(internal_failure)?;
    let caller = gate.authenticate_player(head, peer, at)?;
    let client_id = match whep::client_id(whep::token(head)) {
        None => whep::CLIENT_ID.into(),
        Some(text) => viewer_id(text)
            .map_err(|message| Refusal::invalid(Check::ClientIdMalformed, message))?,
    };
    Ok(PlayerHead {
        channel: target.channel.as_str().into(),
        client_id,
        caller,
    })
}

/// Answers a player's request that is no offer.
pub(crate) fn answer(shard: &mut State, key: SessionKey, request: &Request<'_>) -> Step {
    let (sockets, _, cx, gate) = shard.parts();
    let head = &request.head;
    let Some(target) = asked(sockets.settings(), head) else {
        return Step::Over;
    };
    let status = match (head.method(), target.call) {
        ("OPTIONS", _) if public_pages::is_preflight(head) => {
            return answer_preflight(sockets, cx, key, request, (METHODS, OPTIONS));
        }
        ("OPTIONS", None) => {
            let read = authenticated(sockets, gate, key, (head, target), cx.at);
            if let Ok(player) = read
                && head.keep_alive() == !ends_with(head)
            {
                ask_for_servers(shard, key, request, player);
                return Step::Used(request.bytes);
            }
            200
        }
        ("OPTIONS" | "HEAD", _) | ("DELETE", Some(_)) => 200,
        ("GET", _) => 204,
        _ => {
            let evidence = Evidence::of_head(Purpose::Whep, head);
            return refuse_step(sockets, cx, key, &evidence, no_method());
        }
    };
    let close = ends_with(head);
    respond(sockets, cx, key, (status, close), OPTIONS);
    next(request, close)
}

fn respond(
    sockets: &mut Sockets,
    cx: &mut Context,
    key: SessionKey,
    (status, close): (u16, bool),
    fields: &str,
) {
    let answer = Response {
        status,
        content_type: "",
        fields,
        ..Response::json(Purpose::Whep, b"", close)
    };
    responses::respond(sockets, cx, key, &answer);
}

fn no_method() -> Refusal {
    let message = "POST an offer to /whep/NAME; calls are not changed once they are answered.";
    Refusal::of_head(Check::WhepMethod, 405, message)
}

// Offers, and questions for ICE servers.

/// A request of a player whose token is good.
pub(crate) struct PlayerCall {
    pub(crate) key: SessionKey,
    pub(crate) host: Box<str>,
    pub(crate) close: bool,
    pub(crate) program: Program,
    pub(crate) head: PlayerHead,
}

impl PlayerCall {
    /// What is kept of it while its answer is awaited. `call`: the id of the call that its offer begins.
    fn pending(self, operation: Operation, call: Option<Box<str>>, at: Moment) -> PendingCall {
        PendingCall {
            operation,
            host: self.host,
            close: self.close,
            caller: self.head.caller,
            program: self.program,
            client_id: Some(self.head.client_id),
            channel: Some(self.head.channel),
            subject: None,
            place_kept: false,
            held: 0,
            player: Some((at.now, call)),
        }
    }
}

/// A call that an offer begins.
pub(crate) struct BegunOffer {
    key: SessionKey,
    asked: PendingCall,
    /// Id to which the master answers.
    sender: Box<str>,
    payload: Box<str>,
}

/// Reads an offer, or refuses it.
pub(crate) fn read_offer(
    sockets: &mut Sockets,
    cx: &mut Context,
    from: PlayerCall,
    sdp: &[u8],
) -> Option<BegunOffer> {
    let key = from.key;
    let payload = whep::offer_payload(sdp, sockets.settings().limits.payload_bytes);
    let payload = match payload.map(|payload| codec::base64::text(&payload).into()) {
        Ok(payload) => payload,
        Err(fault) => {
            let evidence = Evidence {
                close: from.close,
                channel: Some(&from.head.channel),
                client_id: Some(&from.head.client_id),
                caller: Some(&from.head.caller),
                ..Evidence::of(Purpose::Whep)
            };
            responses::refuse(sockets, cx, key, &evidence, &no_offer(fault));
            return None;
        }
    };
    let call = cx.telemetry.call_id();
    // Cameras ignore a second offer of an id whose session lives.
    let shown: String = from
        .head
        .client_id
        .chars()
        .take(CLIENT_ID_CHARS_SHOWN)
        .collect();
    Some(BegunOffer {
        key,
        sender: format!("{shown}-{call}").into(),
        payload,
        asked: from.pending(Operation::SendAlexaOfferToMaster, Some(call.into()), cx.at),
    })
}

/// The part of a client id that the camera sees: the id of the call follows, and both fit into 256 characters.
const CLIENT_ID_CHARS_SHOWN: usize = 200;

fn no_offer(fault: Fault) -> Refusal {
    let (check, status, message) = match fault {
        Fault::Malformed => (Check::WhepOffer, 400, "The offer is not an SDP in UTF-8."),
        Fault::NoMedia => (Check::WhepOffer, 400, "The offer has no media: no line m=."),
        Fault::TooLong => (
            Check::BodyTooLarge,
            413,
            "The offer is too long for the camera.",
        ),
    };
    Refusal::of_head(check, status, message)
}

/// Begins the call of an offer, unless another node has its channel.
pub(crate) fn begin(shard: &mut State, begun: BegunOffer, whole: Option<Vec<u8>>) {
    let BegunOffer {
        key,
        asked,
        sender,
        payload,
    } = begun;
    ask(shard, (key, asked), whole, |identity| {
        let wanted = Expected::Answer(identity.clone(), false);
        let kind = QueryKind::Offer {
            identity,
            arn: None,
            sender,
            payload,
        };
        (wanted, kind)
    });
}

/// Asks for the ICE servers of a channel: the answer has none unless its caller may have them.
fn ask_for_servers(shard: &mut State, key: SessionKey, request: &Request<'_>, head: PlayerHead) {
    let clustered = shard.sockets.placement().cluster().is_some();
    let whole = clustered.then(|| request.text.into());
    let call = PlayerCall {
        key,
        host: "".into(),
        close: !request.head.keep_alive(),
        program: Program::default(),
        head,
    };
    let asked = call.pending(Operation::GetIceServerConfig, None, shard.cx.at);
    ask(shard, (key, asked), whole, |identity| {
        (Expected::Nothing, QueryKind::Look(identity, None))
    });
}

fn ask(
    shard: &mut State,
    (key, asked): (SessionKey, PendingCall),
    whole: Option<Vec<u8>>,
    question: impl FnOnce(Identity) -> (Expected, QueryKind),
) {
    let (sockets, directory, cx, ..) = shard.parts();
    let name = asked.channel.as_deref().unwrap_or_default();
    let identity = directory.named(&asked.caller, name);
    if let Some(whole) = whole
        && !onward::player_is_here(sockets, cx, (key, &asked), &identity, whole)
    {
        return;
    }
    // A caller that hung up meanwhile does so once: the offer would wait for its whole time.
    if sockets.http(key).is_some_and(|http| http.ended) {
        return sockets.close_when_sent(key, cx.at);
    }
    let (wanted, kind) = question(identity);
    let query = Query {
        operation: asked.operation,
        held: 0,
        caller: Some(asked.caller.clone()),
        client_id: asked.client_id.clone(),
        posted: Some(cx.at.now),
        endpoint: None,
        kind,
    };
    let deadline = cx.at.now.after(REPLY_MS_MAX);
    if let Some(caller) = sockets.await_reply(key, asked, wanted, deadline) {
        sockets.send_query(cx, caller, query);
    }
}

// Answers.

/// Answers a player.
pub(crate) fn conclude(
    sockets: &mut Sockets,
    cx: &mut Context,
    key: SessionKey,
    asked: &PendingCall,
    answer: Answer,
) {
    cx.telemetry.count_call(asked.account());
    let Some((posted, call)) = &asked.player else {
        return;
    };
    let Some(call) = call else {
        let mut fields = OPTIONS.to_owned();
        if let Answer::Record(..) = answer {
            push_links(&mut fields, sockets, asked, cx.at);
        }
        return respond(sockets, cx, key, (200, asked.close), &fields);
    };
    let refusal = match answer {
        Answer::Played(played) => {
            let name = asked.channel.as_deref().unwrap_or_default();
            let mut fields = EXPOSED.to_owned();
            let _ = write!(fields, "Location: {}{name}/{call}\r\n{PRIVATE}", whep::PATH);
            if played.has_ice {
                push_links(&mut fields, sockets, asked, cx.at);
            }
            let ms = cx.at.now.since(*posted);
            cx.telemetry.count_player(PlayerOutcome::Answered, Some(ms));
            let answer = Response {
                status: 201,
                content_type: whep::CONTENT_TYPE,
                fields: &fields,
                ..Response::json(Purpose::Whep, played.sdp.as_bytes(), asked.close)
            };
            return responses::respond(sockets, cx, key, &answer);
        }
        Answer::Refusal(refusal) => refusal,
        Answer::Record(..)
        | Answer::Page(..)
        | Answer::Done
        | Answer::Holding(_)
        | Answer::Answer(_) => internal_failure(),
    };
    let status = refusal.status(Purpose::Whep);
    let telemetry = &mut cx.telemetry;
    let id = telemetry.refusal_id(refusal.check, Purpose::Whep, status, cx.at.wall);
    if refusal.is_denial()
        && let Some(mut audit) = sockets.audit_of(key, &id, &asked.caller, CONNECT)
    {
        audit.outcome = refusal.error_type(Purpose::Whep);
        cx.telemetry.journal().denied(cx.at.now, audit);
    }
    let evidence = Evidence {
        id: Some(&id),
        ..Evidence::of_call(asked)
    };
    responses::refuse(sockets, cx, key, &evidence, &refusal);
}

/// Adds the ICE servers, with credentials in the name of the client id.
fn push_links(fields: &mut String, sockets: &Sockets, asked: &PendingCall, at: Moment) {
    let name = asked.client_id.as_deref().unwrap_or_default();
    ice_links(fields, &sockets.settings().ice, name, at.wall);
}

const PRIVATE: &str = "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n";

/// Action in audit lines.
const CONNECT: &str = "ConnectAsViewer";
