//! Classifies each complete request head or body as a call, a form or an upgrade, and refuses everything else.

use crate::event::{Purpose, Requested};
use crate::id::{Identity, SessionKey};
use crate::machine::{Output, Shown};
use crate::record::Holding;
use crate::session::Session;
use crate::session::http::{Admission, HttpStage, PendingBody, PendingCall, Target};
use crate::shard::calls::responses::{self, PLAYER_OPTIONS, RATE_EXCEEDED, refuse, shutting_down};
use crate::shard::calls::role_alias::{self, DeviceRequest};
use crate::shard::calls::sts::answer_sts;
use crate::shard::calls::whep::{self, BegunOffer, PlayerStep};
use crate::shard::calls::{self, BegunCall, wake};
use crate::shard::connect::upgrades::{self, refuse_upgrade};
use crate::shard::connect::{admission, ends_with, public_pages};
use crate::shard::dev::{self, observations};
use crate::shard::evidence::Evidence;
use crate::shard::sockets::Step;
use crate::shard::state::State;
use crate::shard::{Sockets, onward};
use crate::{auth::Caller, check::Check, placement::Home, refusal::Refusal};
use codec::control::{ErrorKind, Operation};
use codec::http::{Body, CONTINUE, Head, Meta, Upgrade, UpgradeError, preflight, upgrade};
use codec::signal::Role;
use codec::sigv4::Parameter;
use codec::sts;

/// A complete request head.
struct Request<'a> {
    key: SessionKey,
    head: Head<'a>,
    text: &'a [u8],
    /// The bytes that follow the head.
    after: &'a [u8],
    /// The WebSocket upgrade that the head requests, if any.
    asked: Option<Upgrade<'a>>,
}

/// Handles a complete request head. A call then waits for its body; any other request is answered, refused or admitted.
pub(crate) fn take_head(shard: &mut State, key: SessionKey, bytes: &[u8], after: &[u8]) -> Step {
    let sockets = &mut shard.sockets;
    sockets.note_method(key, bytes);
    // The head is large, so avoid moving it.
    let mut request = Request {
        key,
        head: match Head::parse(bytes, &sockets.rules().head) {
            Ok(head) => head,
            Err(error) => {
                let evidence = Evidence::of(key, Purpose::Unknown);
                return refuse_step(shard, &evidence, error.into());
            }
        },
        text: bytes,
        after,
        asked: None,
    };
    sockets.note_forwarded(key, &request.head);
    if let Some(shown) = sockets.requests.shown(key) {
        return answer_provider(shard, &request, &shown);
    }
    if let Some((check, text)) = sockets.rules().origins.refusal(&request.head) {
        let refusal = Refusal::of_head(check, 403, text);
        let purpose = match request.head.header("upgrade") {
            Some(_) => upgrade_of(&request.head),
            None => Purpose::Unknown,
        };
        let evidence = Evidence::of_head(key, purpose, &request.head);
        return refuse_step(shard, &evidence, refusal);
    }
    let takes_key = match sockets.settings().strict() {
        true => codec::ws::valid_key,
        false => codec::ws::usable_key,
    };
    match upgrade(&request.head, takes_key) {
        Ok(None) => {}
        Ok(asked) => {
            request.asked = asked;
            return answer_upgrade(shard, &request);
        }
        Err(error) => return refuse_handshake(shard, &request, error),
    }
    if is_wake(&request.head) && sockets.settings().presence.wake_poll {
        return answer_upgrade(shard, &request);
    }
    if public_pages::is_admin_page(sockets, key, &request.head) {
        let whole = [request.text, request.after].concat();
        return public_pages::pass_on_admin_page(shard, key, whole);
    }
    if request.head.method() == "POST" {
        return begin_call(shard, &request);
    }
    if whep::asked(sockets.settings(), &request.head).is_some() {
        return answer_player(shard, &request);
    }
    if role_alias::alias_of(&request.head).is_some()
        && sockets.session(key).is_some_and(Session::has_tls)
    {
        return refuse_stranger(shard, &request);
    }
    answer_head(shard, &request)
}

/// Refuses an invalid WebSocket handshake.
fn refuse_handshake(shard: &mut State, request: &Request<'_>, error: UpgradeError) -> Step {
    let head = &request.head;
    let mut keys = head
        .headers()
        .filter(|(name, _)| name.eq_ignore_ascii_case(KEY));
    let length = keys.next().map_or(0, |(_, value)| value.len());
    let ground = match keys.next() {
        None => format!("{KEY} has {length} bytes"),
        Some(_) => format!("{KEY} is repeated"),
    };
    let ground = (error == UpgradeError::BadKey).then(|| ground.into());
    let refusal = Refusal::from(error).by_policy(ground);
    let evidence = Evidence::of_head(request.key, upgrade_of(head), head);
    refuse_step(shard, &evidence, refusal)
}

const KEY: &str = "Sec-WebSocket-Key";

/// Responds to a request that is neither an upgrade nor a call.
fn answer_head(shard: &mut State, request: &Request<'_>) -> Step {
    let State { sockets, cx, .. } = shard;
    let key = request.key;
    match request.head.method() {
        "OPTIONS" if public_pages::is_preflight(&request.head) => {
            answer_preflight(shard, request, "POST", "")
        }
        _ if public_pages::is_probe(&request.head) => {
            let close = ends_with(&request.head);
            public_pages::answer_probe(sockets, cx, key, close);
            next(request, close)
        }
        _ if is_wake(&request.head) => unknown_operation(shard, request),
        "GET" if upgrades::names(&request.head, Parameter::ChannelArn) => {
            let message = "This request must ask for a WebSocket: Upgrade: websocket.";
            let refusal = Refusal::of_head(Check::NotWebsocket, 400, message);
            let evidence = Evidence::of_head(key, upgrade_of(&request.head), &request.head);
            refuse_step(shard, &evidence, refusal)
        }
        "GET" | "HEAD" if public_pages::is_visit(sockets.settings(), &request.head) => {
            let close = ends_with(&request.head);
            public_pages::answer_visit(shard, key, &request.head, close);
            next(request, close)
        }
        _ => unknown_operation(shard, request),
    }
}

/// Handles an upgrade or a device's poll. If another shard or node owns the channel, moves the connection there.
fn answer_upgrade(shard: &mut State, request: &Request<'_>) -> Step {
    let key = request.key;
    if shard.sockets.http(key).is_some_and(|http| http.ended) {
        // The peer left while its upgrade waited for a turn. Nobody would use the WebSocket.
        shard.sockets.finish(&mut shard.cx, key);
        return Step::Over;
    }
    if shard.interposer.is_some() {
        let purpose = upgrade_of(&request.head);
        observations::on_signed(shard, key, &request.head, purpose, None);
    }
    let State { sockets, cx, .. } = shard;
    // Close without a response, so that the forwarding node contacts the channel's next owner.
    if sockets.drains() && sockets.is_inner(key) && sockets.owners_change() {
        sockets.close_when_sent(key, cx.at);
        return Step::Over;
    }
    let Some(admission) = read_upgrade(shard, request) else {
        return Step::Over;
    };
    let State { sockets, cx, .. } = shard;
    // The peer has left. A poll would wait in vain, and a WebSocket would supersede one whose peer is still there.
    if sockets.http(key).is_some_and(|http| http.ends_behind) {
        sockets.close_when_sent(key, cx.at);
        return Step::Over;
    }
    if request.asked.is_none() {
        sockets.output(Output::KeepAlive(key));
    }
    let identity = Identity::of(&admission.arn);
    match sockets.placement().home(&identity, cx.at.now) {
        Home::Here(owner) if owner == sockets.shard() => {
            if request.asked.is_none() {
                wake::begin(shard, key, &admission);
                return Step::Used(request.text.len());
            }
            if admission::enter(shard, key, admission) {
                return Step::Frames(request.text.len());
            }
        }
        Home::Here(owner) => {
            let stage = HttpStage::AwaitHandover(Box::new(admission), request.after.to_vec());
            sockets.announce(key, stage, Output::HandOver(key, owner), cx.at);
        }
        home @ (Home::There(_) | Home::Nobody) => {
            let whole = [request.text, request.after].concat();
            let agent = request.head.header("user-agent");
            let onward = onward::of_upgrade(sockets, admission, whole, agent);
            onward::pass_on(shard, key, home, onward);
        }
    }
    Step::Over
}

/// Parses an upgrade or refuses it. The protocol defines the order of the checks: duplicate parameters, the signature,
/// the parameters, the policy, and whether the channel can exist for this caller.
fn read_upgrade(shard: &mut State, request: &Request<'_>) -> Option<Admission> {
    let (sockets, _, cx, gate) = shard.parts();
    let (key, head, asked) = (request.key, &request.head, request.asked.as_ref());
    let purpose = asked.map_or(Purpose::Wake, |_| upgrade_of(head));
    let evidence = Evidence::of_head(key, purpose, head);
    if sockets.drains() {
        refuse(shard, &evidence, &shutting_down());
        return None;
    }
    let peer = sockets.session(key)?.peer();
    let found = match upgrades::single(head) {
        Ok(found) => found,
        Err(refusal) => {
            refuse(shard, &evidence, &refusal);
            return None;
        }
    };
    let (caller, path) = match gate.authenticate_upgrade(head, peer, cx.at) {
        Ok(signed) => signed,
        Err(refusal) => {
            let evidence = Evidence::of_signature(key, purpose, Some(head));
            refuse(shard, &evidence, &refusal);
            return None;
        }
    };
    let target = upgrades::target(sockets.settings(), head, path, asked, &found);
    let ((arn, client_id, role_by), asks) = match target {
        Ok(target) => target,
        Err(refusal) => {
            let caller = Some(&caller);
            refuse(shard, &Evidence { caller, ..evidence }, &refusal);
            return None;
        }
    };
    let mut admission = Admission {
        arn,
        client_id,
        role_by,
        caller,
        asks,
    };
    if let Err(refusal) = upgrades::permitted(cx, &mut admission) {
        let caller = Some(&admission.caller);
        let evidence = Evidence { caller, ..evidence };
        refuse_upgrade(shard, &evidence, &admission, &refusal);
        return None;
    }
    Some(admission)
}

/// Answers a player's request other than an offer.
fn answer_player(shard: &mut State, request: &Request<'_>) -> Step {
    let head = &request.head;
    if head.method() == "OPTIONS" && public_pages::is_preflight(head) {
        // Pages request ICE servers with `OPTIONS`. The bearer token makes browsers send a preflight request first.
        let methods = "POST, DELETE, OPTIONS";
        return answer_preflight(shard, request, methods, PLAYER_OPTIONS);
    }
    let goes_on = match whep::answer(shard, request.key, head) {
        PlayerStep::Answered(goes_on) => goes_on,
        PlayerStep::Asks(begun) => {
            let clustered = shard.sockets.placement().cluster().is_some();
            let goes_on = !begun.asked.close;
            begin_offer(shard, *begun, clustered.then(|| request.text.into()));
            goes_on
        }
    };
    next(request, !goes_on)
}

/// Starts a player's call if this node owns the channel. Otherwise, forwards or refuses the request in `whole`.
fn begin_offer(shard: &mut State, begun: BegunOffer, whole: Option<Vec<u8>>) {
    let directory = &mut shard.directory;
    let name = begun.asked.channel.as_deref().unwrap_or_default();
    let identity = directory.named(&begun.asked.caller, name);
    let (key, asked) = (begun.key, &begun.asked);
    let purpose = Purpose::Whep;
    if whole.is_none_or(|whole| onward::is_here(shard, key, purpose, asked, &identity, whole)) {
        whep::begin(shard, begun, identity);
    }
}

/// Responds to a browser's preflight request with these methods and additional header lines.
fn answer_preflight(shard: &mut State, request: &Request<'_>, methods: &str, fields: &str) -> Step {
    let State { sockets, cx, .. } = shard;
    let (key, head) = (request.key, &request.head);
    let close = !head.keep_alive();
    let id = cx.telemetry.request_id();
    let asked = head.header("access-control-request-headers");
    let wall_ms = cx.at.wall.0;
    sockets.push_control(cx, key, |out| {
        preflight(
            out,
            &Meta {
                wall_ms,
                request_id: &id,
                close,
                fields,
            },
            methods,
            asked,
        )
    });
    cx.telemetry.count_request(Requested::Unknown, 200);
    sockets.next_request(key, close, cx.at);
    // A preflight request has no body. If it announces one, the end of the request may be impossible to find.
    match head.body() {
        Ok(Body::None | Body::Length(0)) => Step::Used(request.text.len()),
        Ok(Body::Length(_)) | Err(_) => {
            sockets.close_when_sent(key, cx.at);
            Step::Over
        }
    }
}

fn unknown_operation(shard: &mut State, request: &Request<'_>) -> Step {
    let close = ends_with(&request.head);
    let message = "There is no such operation: see the path, and that the method is POST.";
    let kind = ErrorKind::UnknownOperation;
    let refusal = Refusal::new(Check::OperationUnknown, kind, message);
    let evidence = Evidence {
        close,
        ..Evidence::of_head(request.key, Purpose::Unknown, &request.head)
    };
    refuse(shard, &evidence, &refusal);
    next(request, close)
}

/// Responds to a request on a connection to the credentials provider.
fn answer_provider(shard: &mut State, request: &Request<'_>, shown: &Shown) -> Step {
    let (sockets, _, cx, _) = shard.parts();
    let close = ends_with(&request.head) || sockets.requests.shown_long_ago(request.key, cx.at.now);
    let device = DeviceRequest {
        key: request.key,
        shown,
        head: &request.head,
        close,
    };
    role_alias::answer(shard, &device);
    next(request, close)
}

/// Refuses a credentials request, because the server did not request a certificate on this connection: the TLS server
/// name was missing or wrong. If the credentials provider is disabled, answers it like any other request.
fn refuse_stranger(shard: &mut State, request: &Request<'_>) -> Step {
    let (sockets, _, _, gate) = shard.parts();
    if !role_alias::is_open(sockets, gate) {
        return answer_head(shard, request);
    }
    let close = ends_with(&request.head);
    role_alias::refuse_stranger(shard, request.key, &request.head, close);
    next(request, close)
}

fn next(request: &Request<'_>, close: bool) -> Step {
    if close {
        Step::Over
    } else {
        Step::Used(request.text.len())
    }
}

/// Starts to handle a POST request: determines the operation from the path, then waits for the body.
fn begin_call(shard: &mut State, request: &Request<'_>) -> Step {
    let sockets = &mut shard.sockets;
    let (key, head) = (request.key, &request.head);
    let length = match head.body() {
        Ok(Body::Length(length)) => usize::try_from(length).unwrap_or(usize::MAX),
        Ok(Body::None) => 0, // a POST without any length is an error
        Err(error) => return refuse_unread(shard, request, error.into()),
    };
    if length > sockets.settings().limits.body_bytes {
        let message = "The request body is too large.";
        let refusal = Refusal::of_head(Check::BodyTooLarge, 413, message);
        return refuse_unread(shard, request, refusal);
    }
    let is_form = || head.header("content-type").is_some_and(codec::sts::is_form);
    let target = match Operation::from_path(head.path()) {
        Some(operation) => Target::Api(operation),
        None if head.path() == "/" && is_form() => Target::Sts,
        None if whep::asked(sockets.settings(), head).is_some() => Target::Whep,
        None => return unknown_operation(shard, request),
    };
    let evidence = Evidence::of_head(key, target.purpose(), head);
    if target == Target::Api(Operation::GetSignalingChannelEndpoint) {
        notice_proxy(shard, key, head);
    }
    if shard.sockets.drains() {
        return refuse_step(shard, &evidence, shutting_down());
    }
    let mut player = None;
    if target == Target::Whep {
        match whep::read_head(shard, key, head) {
            Ok(read) => player = Some(Box::new(read)),
            Err(refusal) => return refuse_step(shard, &evidence, refusal),
        }
    }
    let waits = request.after.len() < length;
    let unsigned = unsigned_form(shard, request, target, length);
    let (sockets, _, cx, gate) = shard.parts();
    match unsigned {
        Some(Err(refusal)) => return refuse_step(shard, &evidence, refusal),
        None if waits && player.is_none() => {
            if let Err(refusal) = gate.precheck(head, target, cx.at) {
                // The body is not read, so it is unknown where the next request starts.
                let evidence = Evidence::of_signature(key, target.purpose(), Some(head));
                return refuse_step(shard, &evidence, refusal);
            }
        }
        Some(Ok(())) | None => {}
    }
    // The node that forwarded a request has already sent `100 Continue`.
    if head.expects_continue() && waits && !sockets.is_inner(key) {
        sockets.push_control(cx, key, |out| out.extend_from_slice(CONTINUE));
    }
    let awaited = PendingBody {
        target,
        host: head.host().unwrap_or_default().into(),
        close: !head.keep_alive(),
        length,
        program: sockets.settings().program(head.header("user-agent")),
        head: (gate.credentials().is_some()
            || sockets.placement().cluster().is_some()
            || sockets.settings().dev)
            .then(|| request.text.into()),
        player,
    };
    let deadline = cx.at.now.after(sockets.settings().timeouts.body_ms);
    let Some(http) = sockets.http(key) else {
        return Step::Over;
    };
    http.stage = HttpStage::AwaitBody(Box::new(awaited));
    http.deadline = deadline;
    Step::Used(request.text.len())
}

/// Refuses a POST without reading its body.
fn refuse_unread(shard: &mut State, request: &Request<'_>, refusal: Refusal) -> Step {
    let head = &request.head;
    let asked = whep::asked(shard.sockets.settings(), head);
    let purpose = asked.map_or(Purpose::Unknown, |_| Purpose::Whep);
    let evidence = Evidence::of_head(request.key, purpose, head);
    refuse_step(shard, &evidence, refusal)
}

/// Logs that a client has requested an endpoint through a proxy that is not configured, unless this was logged before.
fn notice_proxy(shard: &mut State, key: SessionKey, head: &Head<'_>) {
    let (sockets, _, cx, _) = shard.parts();
    if !sockets.shows_unknown_proxy(key, head) {
        return;
    }
    let purpose = Purpose::Api(Operation::GetSignalingChannelEndpoint);
    let noticed = Refusal::noticed(Check::EndpointUnadvertised, None);
    let id = cx.telemetry.refusal_id(&noticed, purpose, cx.at.wall);
    let evidence = Evidence {
        id: Some(&id),
        ..Evidence::of_head(key, purpose, head)
    };
    responses::note(shard, &evidence, &noticed);
}

/// Refuses the request and closes the connection.
pub(crate) fn refuse_step(shard: &mut State, evidence: &Evidence<'_>, refusal: Refusal) -> Step {
    refuse(shard, evidence, &refusal);
    Step::Over
}

/// Returns whether a request is a device's poll.
fn is_wake(head: &Head<'_>) -> bool {
    head.method() == "GET" && head.path() == "/wake"
}

/// Returns the role under which a WebSocket request is counted. This only checks whether the query contains a client
/// id.
fn upgrade_of(head: &Head<'_>) -> Purpose {
    Purpose::Upgrade(if upgrades::names(head, Parameter::ClientId) {
        Role::Viewer
    } else {
        Role::Master
    })
}

// Request bodies.

/// Returns the request as received, for forwarding it to another node. Returns `None` outside a cluster.
fn whole(sockets: &Sockets, head: Option<&[u8]>, body: &[u8]) -> Option<Vec<u8>> {
    let clustered = sockets.placement().cluster().is_some();
    clustered.then(|| [head.unwrap_or_default(), body].concat())
}

/// Handles a complete request body. Refuses the request if it is not authenticated.
pub(crate) fn take_body(shard: &mut State, key: SessionKey, body: &mut [u8]) {
    if shard.interposer.is_some() {
        observations::on_body(shard, key, body);
    }
    let (sockets, _, cx, gate) = shard.parts();
    let peer = sockets.session(key).map(Session::peer);
    let http = sockets.http(key);
    let stage = http.map(|http| std::mem::replace(&mut http.stage, HttpStage::AwaitHead));
    let (Some(peer), Some(HttpStage::AwaitBody(mut awaited))) = (peer, stage) else {
        return;
    };
    let (target, close) = (awaited.target, awaited.close);
    if let Some(player) = awaited.player.take() {
        let whole = whole(sockets, awaited.head.as_deref(), body);
        if let Some(begun) = whep::read_offer(shard, key, close, *player, body) {
            begin_offer(shard, begun, whole);
        }
        return;
    }
    match gate.authenticate(awaited.head.as_deref(), body, (target, peer), cx.at) {
        Ok(caller) => take_call(shard, key, *awaited, caller, body),
        Err(refusal)
            if target == Target::Sts
                && refusal.is_unsigned()
                && gate.takes_unsigned(body.len())
                && sts::is_web_identity(body) =>
        {
            answer_sts(shard, key, body, close, None);
        }
        Err(refusal) => {
            let head = awaited.head.as_deref();
            let head = head.and_then(|text| gate.reread(text));
            let evidence = Evidence {
                close,
                ..Evidence::of_signature(key, target.purpose(), head.as_ref())
            };
            refuse(shard, &evidence, &refusal);
        }
    }
}

/// Starts an API call, or answers an STS call. If another node owns the channel of an API call, forwards or refuses the
/// call instead.
fn take_call(shard: &mut State, key: SessionKey, of: PendingBody, caller: Caller, body: &mut [u8]) {
    let (sockets, close) = (&shard.sockets, of.close);
    let Target::Api(operation) = of.target else {
        return answer_sts(shard, key, body, close, Some(&caller));
    };
    // Parsing modifies the body, but another node would need it as received.
    let whole = whole(sockets, of.head.as_deref(), body);
    let call = match codec::control::parse(operation, body, &sockets.rules().calls) {
        Ok(call) => call,
        Err(error) => {
            let evidence = Evidence {
                close,
                caller: Some(&caller),
                ..Evidence::of(key, Purpose::Api(operation))
            };
            return refuse(shard, &evidence, &error.into());
        }
    };
    let asked = PendingCall {
        operation,
        host: of.host,
        close,
        caller,
        program: of.program,
        client_id: None,
        channel: call.channel_name().map(Into::into),
        subject: None,
        place_kept: false,
        elsewhere: Holding::default(),
    };
    let begun = BegunCall { key, asked, call };
    if let Some(whole) = whole
        && !onward::call_is_here(shard, &begun, whole)
    {
        return;
    }
    if shard.interposer.is_none() || !dev::answers_call(shard, &begun) {
        calls::begin(shard, begun);
    }
}

// Unsigned STS forms: sign-ins with a provider's token.

/// Decides whether a request may be an unsigned sign-in, before its body is read. Returns a refusal if the client's
/// address has exceeded its rate limit, and `None` if the request cannot be a sign-in.
fn unsigned_form(
    shard: &mut State,
    request: &Request<'_>,
    target: Target,
    length: usize,
) -> Option<Result<(), Refusal>> {
    let (sockets, _, cx, gate) = shard.parts();
    if target != Target::Sts || !gate.takes_unsigned(length) {
        return None;
    }
    if !gate
        .precheck(&request.head, target, cx.at)
        .err()?
        .is_unsigned()
    {
        return None;
    }
    let peer = sockets.session(request.key)?.peer();
    if gate.may_sign_in(peer, cx.at) {
        return Some(Ok(()));
    }
    let error = sts::ErrorKind::Throttling;
    Some(Err(Refusal::new(Check::RateAddress, error, RATE_EXCEEDED)))
}
