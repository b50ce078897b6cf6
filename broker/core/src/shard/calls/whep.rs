//! Serves players without an SDK over WHEP. An offer sent over HTTP becomes a call to the channel's master, like an
//! Alexa call. The response is delayed until the candidates that follow the master's answer have arrived. See
//! codec/PROTOCOL.md, WHEP.
//!
//! ```text
//!  POST /whep/NAME ── read_head: type, token, client id ── read_offer ── begin ──► the channel's shard
//!  201, application/sdp ◄── conclude ◄────────────────────────── the answer with its candidates (`calls/home.rs`)
//! ```

use crate::control::ice_links;
use crate::event::{PlayerOutcome, Purpose};
use crate::id::SessionKey;
use crate::record::Holding;
use crate::session::http::{Expected, PendingCall, PlayerHead, PlayerOffer};
use crate::shard::calls::answers::AnsweredCall;
use crate::shard::calls::responses::{
    self, PLAYER_FIELDS, PLAYER_OPTIONS, Response, internal_failure,
};
use crate::shard::connect::ends_with;
use crate::shard::connect::upgrades::viewer_id;
use crate::shard::evidence::Evidence;
use crate::shard::state::State;
use crate::shard::{Answer, Query, QueryKind, Sockets};
use crate::time::Moment;
use crate::{check::Check, limits::REPLY_MS_MAX, refusal::Refusal, settings::Settings};
use crate::{id::Identity, settings::Program};
use codec::control::Operation;
use codec::http::Head;
use codec::whep::{self, Fault, Target};
use std::fmt::Write as _;

/// Returns the channel and call that a player's request addresses. Returns `None` if WHEP is disabled or the path is
/// not a WHEP path.
pub(crate) fn asked<'a>(settings: &Settings, head: &Head<'a>) -> Option<Target<'a>> {
    let is_on = head.path().starts_with(whep::PATH) && settings.whep.on && !settings.strict();
    is_on.then(|| Target::parse(head.path()))?
}

// Request heads.

/// Parses the head of an offer request: its content type, token and client id.
pub(crate) fn read_head(
    shard: &mut State,
    key: SessionKey,
    head: &Head<'_>,
) -> Result<PlayerHead, Refusal> {
    let target = asked(shard.sockets.settings(), head).filter(|target| target.call.is_none());
    let Some(target) = target else {
        return Err(no_method());
    };
    let content_type = head.header("content-type").unwrap_or_default();
    let (media_type, _) = content_type.split_once(';').unwrap_or((content_type, ""));
    if !media_type.trim().eq_ignore_ascii_case(whep::CONTENT_TYPE) {
        let message = "The offer must have Content-Type: application/sdp.";
        return Err(Refusal::of_head(Check::WhepType, 415, message));
    }
    authenticated(shard, key, head, target)
}

/// Verifies the token of a player's request and determines the player's client id.
fn authenticated(
    shard: &mut State,
    key: SessionKey,
    head: &Head<'_>,
    target: Target<'_>,
) -> Result<PlayerHead, Refusal> {
    let (sockets, _, cx, gate) = shard.parts();
    let peer = sockets.session(key).map(|session| session.peer());
    let peer = peer.ok_or_else(internal_failure)?;
    let caller = gate.authenticate_player(head, peer, cx.at)?;
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

/// The next step for a player's request that is not an offer.
pub(crate) enum PlayerStep {
    /// The request was answered. The flag tells whether the connection stays open.
    Answered(bool),
    /// The request asks for ICE servers. The caller must look them up by calling [`begin`].
    Asks(Box<BegunOffer>),
}

/// Answers a player's request that is neither an offer nor a preflight request.
pub(crate) fn answer(shard: &mut State, key: SessionKey, head: &Head<'_>) -> PlayerStep {
    let Some(target) = asked(shard.sockets.settings(), head) else {
        return PlayerStep::Answered(false);
    };
    let close = ends_with(head);
    let status = match (head.method(), target.call) {
        ("OPTIONS", None) if close != head.keep_alive() => {
            match authenticated(shard, key, head, target) {
                Ok(player) => {
                    let asked = pending(player, Operation::GetIceServerConfig, close);
                    let offer = None;
                    return PlayerStep::Asks(Box::new(BegunOffer { key, asked, offer }));
                }
                Err(_) => 200, // without ICE servers
            }
        }
        ("OPTIONS" | "HEAD", _) | ("DELETE", Some(_)) => 200,
        ("GET", _) => 204,
        _ => {
            let evidence = Evidence::of_head(key, Purpose::Whep, head);
            responses::refuse(shard, &evidence, &no_method());
            return PlayerStep::Answered(false);
        }
    };
    respond(shard, key, status, close, PLAYER_OPTIONS);
    PlayerStep::Answered(!close)
}

fn respond(shard: &mut State, key: SessionKey, status: u16, close: bool, fields: &str) {
    let answer = Response {
        status,
        content_type: "",
        fields,
        ..Response::json(key, Purpose::Whep, b"", close)
    };
    responses::respond(shard, &answer);
}

fn no_method() -> Refusal {
    let message = "POST an offer to /whep/NAME; calls are not changed once they are answered.";
    Refusal::of_head(Check::WhepMethod, 405, message)
}

// Offers and requests for ICE servers.

/// Creates the state of a player's request while it waits for the answer to its call.
fn pending(player: PlayerHead, operation: Operation, close: bool) -> PendingCall {
    PendingCall {
        operation,
        host: "".into(),
        close,
        caller: player.caller,
        program: Program::default(),
        client_id: Some(player.client_id),
        channel: Some(player.channel),
        subject: None,
        place_kept: false,
        elsewhere: Holding::default(),
    }
}

/// A player's request that can now become a call to the channel.
pub(crate) struct BegunOffer {
    pub(crate) key: SessionKey,
    pub(crate) asked: PendingCall,
    /// The call id, the client id to which the master addresses its answer, and the payload. `None` if the request is
    /// not an offer but asks for ICE servers.
    offer: Option<[Box<str>; 3]>,
}

/// Parses an offer. If the offer is invalid, refuses it and returns `None`.
pub(crate) fn read_offer(
    shard: &mut State,
    key: SessionKey,
    close: bool,
    player: PlayerHead,
    sdp: &[u8],
) -> Option<BegunOffer> {
    let (sockets, _, cx, _) = shard.parts();
    let payload = match whep::offer_payload(sdp, sockets.settings().limits.payload_bytes) {
        Ok(payload) => codec::base64::text(&payload).into(),
        Err(fault) => {
            let evidence = Evidence {
                close,
                channel: Some(&player.channel),
                client_id: Some(&player.client_id),
                caller: Some(&player.caller),
                ..Evidence::of(key, Purpose::Whep)
            };
            responses::refuse(shard, &evidence, &no_offer(fault));
            return None;
        }
    };
    // Cameras ignore a second offer from a client id that still has a session, so each call uses its own id.
    let (call, id) = (cx.telemetry.call_id(), &player.client_id);
    let shown = id.get(..CLIENT_ID_BYTES_SHOWN).unwrap_or(id);
    let sender = format!("{shown}-{call}");
    Some(BegunOffer {
        key,
        offer: Some([call.into(), sender.into(), payload]),
        asked: pending(player, Operation::SendAlexaOfferToMaster, close),
    })
}

/// Maximum number of client id bytes that are shown to the camera. The call id is appended to them, and the result must
/// not exceed 256 characters.
const CLIENT_ID_BYTES_SHOWN: usize = 200;

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

/// Starts a call to a channel on this node.
pub(crate) fn begin(shard: &mut State, begun: BegunOffer, identity: Identity) {
    let BegunOffer { key, asked, offer } = begun;
    let (sockets, _, cx, ..) = shard.parts();
    // The caller has already hung up. No EOF will follow, so nothing else would end the offer before its time limit.
    if sockets.http(key).is_some_and(|http| http.ended) {
        return sockets.close_when_sent(key, cx.at);
    }
    let posted = cx.at.now;
    let (wanted, kind) = match offer {
        None => (Expected::PlayerServers, QueryKind::Look(identity, None)),
        Some([call, sender, payload]) => {
            let offer = Some(Box::new(PlayerOffer { posted, call }));
            let wanted = Expected::Answer(identity.clone(), false, offer);
            let kind = QueryKind::Offer {
                identity,
                arn: None,
                sender,
                payload,
            };
            (wanted, kind)
        }
    };
    let query = Query {
        operation: asked.operation,
        elsewhere: Holding::default(),
        caller: Some(asked.caller.clone()),
        client_id: asked.client_id.clone(),
        posted: Some(posted),
        endpoint: None,
        remote: None,
        kind,
    };
    let deadline = posted.after(REPLY_MS_MAX);
    if let Some(caller) = sockets.await_reply(key, asked, wanted, deadline) {
        sockets.send_query(cx, caller, query);
    }
}

// Answers.

/// Sends the response to a player's offer or request for ICE servers.
pub(crate) fn conclude(shard: &mut State, call: &AnsweredCall, answer: Answer) {
    let AnsweredCall { key, asked, wanted } = call;
    let key = *key;
    let (sockets, _, cx, _) = shard.parts();
    cx.telemetry.count_call(asked.account());
    let Expected::Answer(_, _, Some(offer)) = wanted else {
        let mut fields = PLAYER_OPTIONS.to_owned();
        if let Answer::Record(..) = answer {
            push_links(&mut fields, sockets, asked, cx.at);
        }
        return respond(shard, key, 200, asked.close, &fields);
    };
    let refusal = match answer {
        Answer::Played(played) => {
            let name = asked.channel.as_deref().unwrap_or_default();
            let mut fields = PLAYER_FIELDS.to_owned();
            let _ = write!(
                fields,
                "Location: {}{name}/{}\r\n{PRIVATE}",
                whep::PATH,
                offer.call
            );
            if played.has_ice {
                push_links(&mut fields, sockets, asked, cx.at);
            }
            let ms = cx.at.now.since(offer.posted);
            cx.telemetry.count_player(PlayerOutcome::Answered, Some(ms));
            let answer = Response {
                status: 201,
                content_type: whep::CONTENT_TYPE,
                fields: &fields,
                ..Response::json(key, Purpose::Whep, played.sdp.as_bytes(), asked.close)
            };
            return responses::respond(shard, &answer);
        }
        Answer::Refusal(refusal) => refusal,
        Answer::Record(..)
        | Answer::Page(..)
        | Answer::Done
        | Answer::Holding(_)
        | Answer::Answer(_) => internal_failure(),
    };
    let id = (cx.telemetry).refusal_id(&refusal, Purpose::Whep, cx.at.wall);
    if refusal.is_denial()
        && let Some(mut audit) = sockets.audit_of(key, &id, &asked.caller, CONNECT)
    {
        audit.outcome = refusal.error_type(Purpose::Whep);
        cx.telemetry.journal().denied(cx.at.now, audit);
    }
    let evidence = Evidence {
        id: Some(&id),
        purpose: Purpose::Whep,
        client_id: asked.client_id.as_deref(),
        ..Evidence::of_call(key, asked)
    };
    responses::refuse(shard, &evidence, &refusal);
}

/// Adds `Link` headers for the ICE servers, with credentials that are issued for the client id.
fn push_links(fields: &mut String, sockets: &Sockets, asked: &PendingCall, at: Moment) {
    let name = asked.client_id.as_deref().unwrap_or_default();
    ice_links(fields, &sockets.settings().ice, name, at.wall);
}

const PRIVATE: &str = "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n";

/// The action that appears in audit entries.
const CONNECT: &str = "ConnectAsViewer";
