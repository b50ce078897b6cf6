//! Handles requests for channels owned by other nodes: finds the owner, forwards the request, and responds to the
//! client if the owner does not.
//!
//! The signature is verified by the node that accepted the connection, for two reasons. A call by name refers to a
//! channel in the caller's account, so the caller must be known. Also, clients must authenticate before they can make
//! nodes connect to each other. The owner receives the request unchanged and makes all other decisions. To prevent
//! loops, a forwarded request is never forwarded again. Only this one request is forwarded, and the session on the
//! owner ends after the response (`calls/responses.rs`). The client's next request is again handled by the node to
//! which the client is connected.

use crate::cluster::leads::Lead;
use crate::event::Purpose;
use crate::id::{Identity, NodeId, SessionKey};
use crate::limits::{OWNER_LOOK_MS, OWNER_RETRY_MS, OWNER_WAIT_MS, OWNER_WAITERS_MAX};
use crate::machine::{FailedPass, Output, PassFailure, PassedOn, StreamHome};
use crate::session::http::{Admission, HttpStage, Onward, PendingCall};
use crate::shard::Sockets;
use crate::shard::admitted::{Holder, Member, Standing};
use crate::shard::calls::responses::{self, no_place, no_room, nobody, shutting_down};
use crate::shard::evidence::Evidence;
use crate::shard::state::State;
use crate::shard::{Parcel, ParcelLoad, calls::BegunCall, calls::wake};
use crate::{check::Check, placement::Home, refusal::Refusal};
use codec::control::{Call, Operation};
use codec::http::{HeadScanner, ends_connection};
use codec::link::Kind;
use codec::signal::Role;

/// Prepares an upgrade for forwarding to another node. `bytes` contains the request head and all bytes that follow it.
pub(crate) fn of_upgrade(
    sockets: &Sockets,
    admission: Admission,
    bytes: Vec<u8>,
    user_agent: Option<&str>,
) -> Onward {
    let settings = sockets.settings();
    let identity = Identity::of(&admission.arn);
    Onward {
        purpose: admission.purpose(),
        home: stream_home(sockets, &identity),
        identity,
        until: None,
        channel: admission.arn.name().into(),
        client_id: admission.client_id,
        caller: admission.caller,
        bytes,
        call: None,
        record_bytes: settings.record_bytes(settings.program(user_agent)),
        failed: None,
        counted: sockets.requests.onward.clone(),
    }
}

/// Returns `true` if this node must answer a call. Otherwise, forwards or refuses the call. `whole` is the request as
/// received.
pub(crate) fn call_is_here(shard: &mut State, begun: &BegunCall, whole: Vec<u8>) -> bool {
    let (sockets, directory, ..) = shard.parts();
    let BegunCall { key, asked, call } = begun;
    let (key, caller) = (*key, &asked.caller);
    let named = || Some(directory.named(caller, call.channel_name()?));
    let identity = call.arn().map(Identity::of).or_else(named);
    let Some(identity) = identity else {
        // Any node can list all channels if the nodes can query each other.
        let is_here = !matches!(call, Call::List(_)) || sockets.owners_change();
        if !is_here {
            let refusal = Refusal::unavailable(Check::ListIncomplete, LIST);
            let evidence = Evidence {
                caller: Some(caller),
                ..Evidence::of(key, Purpose::Api(call.operation()))
            };
            responses::refuse(shard, &evidence, &refusal);
        }
        return is_here;
    };
    let purpose = Purpose::Api(asked.operation);
    is_here(shard, key, purpose, asked, &identity, whole)
}

/// Returns `true` if the channel of a call, or of a player's request, is on this node. Otherwise, the request is
/// forwarded or refused. `whole` is the request as received.
pub(crate) fn is_here(
    shard: &mut State,
    key: SessionKey,
    purpose: Purpose,
    asked: &PendingCall,
    identity: &Identity,
    whole: Vec<u8>,
) -> bool {
    let (sockets, _, cx, _) = shard.parts();
    let home = sockets.placement().home(identity, cx.at.now);
    let is_here = matches!(home, Home::Here(_));
    if !is_here {
        let onward = Onward {
            purpose,
            home: stream_home(sockets, identity),
            until: None,
            channel: identity.name().into(),
            identity: identity.clone(),
            client_id: asked.client_id.clone(),
            caller: asked.caller.clone(),
            call: Some(whole.len()),
            bytes: whole,
            record_bytes: usize::MAX,
            failed: None,
            counted: sockets.requests.onward.clone(),
        };
        pass_on(shard, key, home, onward);
    }
    is_here
}

/// Forwards a request to the node that owns its channel, once all earlier responses have been sent. Refuses it if there
/// is no capacity for it and nothing can be evicted. If channels can move between nodes, a request whose channel has no
/// owner waits for one. A forwarded request also waits if the two nodes disagree about the owner, since one of
/// them has an outdated map. If channels cannot move, such requests are refused.
pub(crate) fn pass_on(shard: &mut State, key: SessionKey, home: Home, onward: Onward) {
    let (sockets, _, cx, _) = shard.parts();
    let is_inner = sockets.is_inner(key);
    // A failure counts only against the node that failed.
    let failed = onward.failed.filter(|(node, _)| home == Home::There(*node));
    let mut onward = Onward { failed, ..onward };
    let is_later = failed.is_some_and(|(_, again)| cx.at.now < again);
    // During shutdown, a request that has already waited is no longer forwarded.
    let is_over = sockets.drains() && onward.until.is_some();
    let refusal = match home {
        Home::There(node) if !is_inner && !is_later && !is_over => {
            if !sockets.admitted.may_enter(holder(sockets, &onward)) {
                return refuse(shard, key, &onward, &no_place());
            }
            let until = cx.at.now.after(OWNER_WAIT_MS);
            onward.until.get_or_insert(until);
            let stage = HttpStage::AwaitLink(Box::new(onward));
            return sockets.announce(key, stage, Output::PassOn(key, node), cx.at);
        }
        Home::There(_) if is_inner && is_of_next_owner(sockets, &onward) => {
            sockets.close_when_sent(key, cx.at);
            return sockets.charge(key);
        }
        Home::There(_) if failed.is_some() => unreachable_owner(),
        Home::There(_) => Refusal::unavailable(Check::OwnerElsewhere, ELSEWHERE),
        Home::Nobody | Home::Here(_) => nobody(),
    };
    wait_for_owner(shard, key, onward, &refusal);
}

/// Returns whether to close a forwarded upgrade's connection without a response, because the channel's slot has moved
/// away from this node. The forwarding node then contacts the new owner. If the slot has yet to arrive here, the
/// upgrade waits instead. So does a call, because calls must not be repeated.
fn is_of_next_owner(sockets: &Sockets, onward: &Onward) -> bool {
    let map = sockets.placement().cluster();
    let slot = sockets.placement().slot(&onward.identity);
    let has_left = map.zip(slot).is_some_and(|(map, slot)| map.has_left(slot));
    has_left && is_upgrade(onward)
}

/// Returns whether a request is an upgrade to a WebSocket or a device's poll. Such requests can be repeated.
fn is_upgrade(onward: &Onward) -> bool {
    !matches!(onward.purpose, Purpose::Api(_) | Purpose::Whep)
}

/// Makes a request wait until its channel has a reachable owner. Refuses it with `refusal` if channels cannot move
/// between nodes, if it has waited for too long, or if too many requests are waiting. During shutdown, every such
/// request is refused.
fn wait_for_owner(shard: &mut State, key: SessionKey, mut onward: Onward, refusal: &Refusal) {
    let (sockets, _, cx, _) = shard.parts();
    if sockets.drains() {
        return refuse(shard, key, &onward, &shutting_down());
    }
    let until = cx.at.now.after(OWNER_WAIT_MS);
    let until = *onward.until.get_or_insert(until);
    let has_room = sockets.requests.without_owner.len() < OWNER_WAITERS_MAX;
    if !sockets.owners_change() || cx.at.now >= until || !has_room {
        return refuse(shard, key, &onward, refusal);
    }
    sockets.requests.without_owner.insert(key);
    let stage = HttpStage::AwaitOwner(Box::new(onward));
    sockets.wait_in(key, stage, cx.at.now.after(OWNER_LOOK_MS));
}

/// Retries the owner lookup for a waiting request.
pub(crate) fn look_again(shard: &mut State, key: SessionKey) {
    let (sockets, _, cx, _) = shard.parts();
    sockets.requests.without_owner.remove(&key);
    let Some(http) = sockets.http(key) else {
        return;
    };
    let HttpStage::AwaitOwner(onward) = std::mem::replace(&mut http.stage, HttpStage::AwaitHead)
    else {
        return;
    };
    let home = sockets.placement().home(&onward.identity, cx.at.now);
    if let Home::Here(_) = home {
        return ask_again(sockets, key, onward.bytes);
    }
    pass_on(shard, key, home, *onward);
    shard.sockets.charge(key);
}

/// Handles a request as if it had just arrived, because its channel is now on this node.
fn ask_again(sockets: &mut Sockets, key: SessionKey, mut bytes: Vec<u8>) {
    if let Some(http) = sockets.http(key) {
        bytes.append(&mut http.buffer); // pipelined behind the request
        http.buffer = bytes;
        http.scanner = HeadScanner::new();
    }
    sockets.charge(key);
    sockets.wait_for_turn(key);
}

/// Returns the request to hand over to another node or to the side thread. Returns `None` if the connection moves to
/// another shard.
pub(crate) fn passed_on(parcel: &mut Parcel) -> Option<PassedOn> {
    let mut sent = PassedOn {
        peer: parcel.client(),
        bytes: Vec::new(),
        kind: Kind::Call,
        call: None,
        record_bytes: usize::MAX,
        home: None,
    };
    match &mut parcel.load {
        ParcelLoad::Onward(onward) => {
            // An offer may wait for its master for as long as the caller stays connected.
            let waits = matches!(
                onward.purpose,
                Purpose::Api(Operation::SendAlexaOfferToMaster) | Purpose::Whep
            );
            sent.kind = match (is_upgrade(onward), waits) {
                (true, _) => Kind::Upgrade, // the request ends with its connection
                (false, true) => Kind::AlexaCall,
                (false, false) => Kind::Call, // the call may have been executed
            };
            sent.call = onward.call;
            (sent.record_bytes, sent.home) = (onward.record_bytes, onward.home);
            sent.bytes = std::mem::take(&mut onward.bytes);
        }
        ParcelLoad::Admin(bytes) => sent.bytes = std::mem::take(bytes),
        ParcelLoad::Upgrade { .. } => return None,
    }
    Some(sent)
}

/// Reserves capacity for a client to be forwarded to another node. Returns `false` if there is none and no other client
/// can be evicted, or if a WebSocket is requested during shutdown.
pub(crate) fn enters(shard: &mut State, parcel: &Parcel, (place, node): (u32, NodeId)) -> bool {
    let ParcelLoad::Onward(onward) = &parcel.load else {
        return true; // admin pages have their own limit
    };
    let (sockets, _, cx, _) = shard.parts();
    if sockets.drains() && is_upgrade(onward) {
        return false;
    }
    let holder = holder(sockets, onward);
    let enters = sockets.make_room(cx, holder);
    if enters {
        let is_master = onward.purpose == Purpose::Upgrade(Role::Master);
        let standing = if is_master {
            Standing::Master
        } else {
            Standing::Viewer
        };
        sockets
            .admitted
            .enter(Member::OnLink(place), holder, standing);
        if let (Some(home), Some(map)) = (onward.home, sockets.shards.placement.cluster()) {
            let lead = Lead {
                slot: home.slot,
                node,
                is_master,
            };
            sockets.leads.enter(place, lead, map, cx.at.now);
        }
    }
    enters
}

/// Sends another node's response to the client, and resumes the requests that were pipelined behind the call.
pub(crate) fn answered(shard: &mut State, key: SessionKey, answer: &[u8], rest: Vec<u8>) {
    let (sockets, _, cx, _) = shard.parts();
    let close = ends_connection(answer) || sockets.drains();
    sockets.push_control(cx, key, |out| out.extend_from_slice(answer));
    sockets.next_request(key, close, cx.at);
    if !close && !rest.is_empty() {
        ask_again(sockets, key, rest);
    }
    sockets.await_rest(key, cx.at);
}

/// Handles a request that another node did not answer, and logs the failure. If `unsent` contains the request, it can
/// be repeated and waits for a node that answers. Otherwise, the client receives a 503 response.
pub(crate) fn bounce(shard: &mut State, mut parcel: Parcel, failed: FailedPass) -> SessionKey {
    let (sockets, _, cx, _) = shard.parts();
    let FailedPass { node, why, unsent } = failed;
    let key = sockets.take_session(&mut parcel, cx.at);
    let ParcelLoad::Onward(mut onward) = parcel.load else {
        unreachable!("only what was to be passed on comes back from there")
    };
    if sockets.drains() {
        if onward.purpose == Purpose::Wake {
            wake::answer_nothing(shard, key, true);
        } else {
            refuse(shard, key, &onward, &shutting_down());
        }
        return key;
    }
    if why == PassFailure::NoRoom {
        refuse(shard, key, &onward, &no_room());
        return key;
    }
    // If the node no longer has the channel, it closed the connection on purpose, so that the next owner is contacted.
    if sockets.placement().home(&onward.identity, cx.at.now) == Home::There(node) {
        let map = sockets.placement().cluster();
        let name = map.map_or("", |map| map.name(node));
        let journal = cx.telemetry.journal();
        journal.node_trouble(cx.at.now, name, why.into());
    }
    let refusal = unreachable_owner();
    if unsent.is_empty() {
        refuse(shard, key, &onward, &refusal);
        return key;
    }
    onward.bytes = unsent;
    onward.failed = Some((node, cx.at.now.after(OWNER_RETRY_MS)));
    wait_for_owner(shard, key, onward, &refusal);
    key
}

fn unreachable_owner() -> Refusal {
    Refusal::unavailable(Check::OwnerUnreachable, UNREACHABLE)
}

fn refuse(shard: &mut State, key: SessionKey, of: &Onward, why: &Refusal) {
    let evidence = Evidence {
        channel: (!of.channel.is_empty()).then_some(&of.channel),
        client_id: of.client_id.as_deref(),
        caller: Some(&of.caller),
        ..Evidence::of(key, of.purpose)
    };
    responses::refuse(shard, &evidence, why);
}

/// Returns the slot and the account that identify a forwarded client's stream on a link. Returns `None` outside a
/// cluster.
fn stream_home(sockets: &Sockets, identity: &Identity) -> Option<StreamHome> {
    let placement = sockets.placement();
    Some(StreamHome {
        slot: placement.slot(identity)?,
        account: placement.caller(identity.account()),
    })
}

/// Returns the caller charged for a forwarded client.
fn holder(sockets: &Sockets, onward: &Onward) -> Holder {
    sockets
        .admitted
        .holder(&onward.caller, onward.identity.account())
}

const UNREACHABLE: &str = "The server that has this channel does not answer. Try again.";
const ELSEWHERE: &str = "The servers do not agree on which of them has this channel. Try again.";
const LIST: &str = "Nodes with a fixed map do not list channels. Describe them by name.";
