//! Requests for channels of other nodes: who owns the channel, what goes to that node, and the answer when it does not.
//!
//! The node that accepts a connection checks the signature, since a call by name is for a channel of the caller's
//! account, and since strangers are not to make nodes connect to each other. All else is decided by the owner, which
//! gets the request as it came. What another node passed on stays here, whatever it asks for: no request travels in
//! circles. It is one request, whose answer ends the session (`calls/responses.rs`): the next one is looked at by the
//! node that the client is connected to.

use crate::cluster::leads::Lead;
use crate::event::{Purpose, UpgradeRole};
use crate::id::{Identity, NodeId, SessionKey};
use crate::limits::{OWNER_LOOK_MS, OWNER_RETRY_MS, OWNER_WAIT_MS};
use crate::machine::{Output, PassFailure, PassedOn, StreamHome};
use crate::session::http::{Admission, HttpStage, Onward, Ownerless};
use crate::shard::calls::responses::{self, no_place, no_room, nobody, shutting_down};
use crate::shard::context::Context;
use crate::shard::evidence::Evidence;
use crate::shard::shares::{Holder, Member, Standing};
use crate::shard::{Directory, Sockets};
use crate::shard::{Parcel, ParcelLoad, calls::BegunCall, calls::wake};
use crate::time::Now;
use crate::{check::Check, placement::Home, refusal::Refusal};
use codec::control::{Call, Operation};
use codec::http::{HeadScanner, ends_connection};

/// An upgrade for another node; `bytes`: its head and what followed.
pub(crate) fn of_upgrade(
    sockets: &Sockets,
    admission: Admission,
    bytes: Vec<u8>,
    user_agent: Option<&str>,
) -> Onward {
    let settings = sockets.settings();
    Onward {
        purpose: admission.purpose(),
        identity: Identity::of(&admission.arn),
        until: None,
        channel: admission.arn.name().into(),
        client_id: admission.client_id,
        caller: admission.caller,
        bytes,
        call: None,
        record_bytes: settings.record_bytes(settings.program(user_agent)),
        counted: sockets.count_onward(),
    }
}

/// Whether a call is answered by this node; if not, it is passed on or refused. `whole`: the request as it came.
pub(crate) fn call_is_here(
    sockets: &mut Sockets,
    directory: &Directory,
    cx: &mut Context,
    begun: &BegunCall,
    whole: Vec<u8>,
) -> bool {
    let BegunCall { key, asked, call } = begun;
    let (key, caller) = (*key, &asked.caller);
    let named = || Some(directory.named(caller, call.channel_name()?));
    let identity = call.arn().map(Identity::of).or_else(named);
    let Some(identity) = identity else {
        // All nodes list channels together, where they ask each other.
        let is_here = !matches!(call, Call::List(_)) || sockets.owners_change();
        if !is_here {
            let refusal = Refusal::unavailable(Check::ListIncomplete, LIST);
            let evidence = Evidence {
                caller: Some(caller),
                ..Evidence::of(Purpose::Api(call.operation()))
            };
            responses::refuse(sockets, cx, key, &evidence, &refusal);
        }
        return is_here;
    };
    let home = sockets.placement().home(&identity, cx.at.now);
    if matches!(home, Home::Here(_)) {
        return true;
    }
    let onward = Onward {
        purpose: Purpose::Api(call.operation()),
        identity,
        until: None,
        channel: call.channel_name().unwrap_or_default().into(),
        client_id: None,
        caller: caller.clone(),
        call: Some(whole.len()),
        bytes: whole,
        record_bytes: usize::MAX,
        counted: sockets.count_onward(),
    };
    pass_on(sockets, cx, key, home, onward);
    false
}

/// Passes a request on to the node that owns its channel. Where owners change, one without an owner waits for one, and
/// so does one of another node that knows another owner: one of the two is behind. Else it is refused.
pub(crate) fn pass_on(
    sockets: &mut Sockets,
    cx: &mut Context,
    key: SessionKey,
    home: Home,
    onward: Onward,
) {
    match home {
        Home::There(node) if !sockets.is_inner(key) => {
            announce(sockets, cx, key, node, onward);
        }
        Home::There(_) if is_of_next_owner(sockets, home, &onward) => {
            sockets.close_when_sent(key, cx.at);
            sockets.charge(key);
        }
        Home::There(_) | Home::Nobody | Home::Here(_) => {
            let refusal = without_owner(home);
            wait_for_owner(sockets, cx, key, (onward, None), &refusal);
        }
    }
}

/// Whether an upgrade that another node passed on is closed without a byte: its slot was here and is another node's.
/// The one that passed it on asks that one. Where the slot is still to come it waits, and so does a call, which is not
/// repeated.
fn is_of_next_owner(sockets: &Sockets, home: Home, onward: &Onward) -> bool {
    let map = sockets.placement().cluster();
    let slot = sockets.placement().slot(&onward.identity);
    let has_left = map.zip(slot).is_some_and(|(map, slot)| map.has_left(slot));
    matches!(home, Home::There(_)) && has_left && is_upgrade(onward)
}

/// Whether a request begins a WebSocket, or is a device's: it may be repeated.
fn is_upgrade(onward: &Onward) -> bool {
    !matches!(onward.purpose, Purpose::Api(_))
}

/// The refusal of a request that is passed on to nobody.
fn without_owner(home: Home) -> Refusal {
    match home {
        Home::There(_) => Refusal::unavailable(Check::OwnerElsewhere, ELSEWHERE),
        Home::Nobody | Home::Here(_) => nobody(),
    }
}

/// A request waits for a node that has its channel and answers. Where owners do not change, when its time is over, and
/// when too many wait, it is refused: with `refusal`. So is each while the process is about to end.
fn wait_for_owner(
    sockets: &mut Sockets,
    cx: &mut Context,
    key: SessionKey,
    (mut onward, failed): (Onward, Option<(NodeId, Now)>),
    refusal: &Refusal,
) {
    if sockets.drains() {
        return refuse(sockets, cx, key, &onward, &shutting_down());
    }
    let until = *onward
        .until
        .get_or_insert_with(|| cx.at.now.after(OWNER_WAIT_MS));
    if !sockets.owners_change() || cx.at.now >= until || !sockets.may_wait(key) {
        return refuse(sockets, cx, key, &onward, refusal);
    }
    let next = cx.at.now.after(OWNER_LOOK_MS);
    let Some(http) = sockets.http(key) else {
        return;
    };
    http.stage = HttpStage::AwaitOwner(Box::new(Ownerless { onward, failed }));
    http.deadline = next;
    sockets.charge(key);
    sockets.arm(key, next);
}

/// Looks for the owner that a request waits for.
pub(crate) fn look_again(sockets: &mut Sockets, cx: &mut Context, key: SessionKey) {
    sockets.ends_waiting(key);
    let is_inner = sockets.is_inner(key);
    let Some(http) = sockets.http(key) else {
        return;
    };
    let HttpStage::AwaitOwner(ownerless) = std::mem::replace(&mut http.stage, HttpStage::AwaitHead)
    else {
        return;
    };
    let Ownerless { onward, failed } = *ownerless;
    let placement = sockets.placement();
    let home = placement.home(&onward.identity, cx.at.now);
    let failed = failed.filter(|(node, _)| home == Home::There(*node));
    let refusal = match home {
        Home::Here(_) => return ask_again(sockets, key, onward.bytes),
        Home::There(_) if sockets.drains() && !is_inner => shutting_down(),
        Home::There(node) if !is_inner && failed.is_none_or(|(_, again)| cx.at.now >= again) => {
            return announce(sockets, cx, key, node, onward);
        }
        Home::There(_) if is_inner && is_of_next_owner(sockets, home, &onward) => {
            sockets.close_when_sent(key, cx.at);
            return sockets.charge(key);
        }
        Home::There(_) if failed.is_some() => unreachable_owner(),
        Home::There(_) | Home::Nobody => without_owner(home),
    };
    wait_for_owner(sockets, cx, key, (onward, failed), &refusal);
    sockets.charge(key);
}

/// A request is taken in again, as if it had just come: its channel is here now.
fn ask_again(sockets: &mut Sockets, key: SessionKey, mut bytes: Vec<u8>) {
    if let Some(http) = sockets.http(key) {
        bytes.append(&mut http.buffer); // pipelined behind the request
        http.buffer = bytes;
        http.scanner = HeadScanner::new();
    }
    sockets.charge(key);
    sockets.wait_for_turn(key);
}

/// Announces that a connection goes to another node; its release follows, when the answers before it are sent. One for
/// which nobody would make room is refused before that.
fn announce(
    sockets: &mut Sockets,
    cx: &mut Context,
    key: SessionKey,
    node: NodeId,
    mut onward: Onward,
) {
    let holder = sockets.holder(&onward);
    if !sockets.may_enter(holder) {
        return refuse(sockets, cx, key, &onward, &no_place());
    }
    let deadline = cx.at.now.after(sockets.settings().timeouts.head_ms);
    onward
        .until
        .get_or_insert_with(|| cx.at.now.after(OWNER_WAIT_MS));
    let Some(http) = sockets.http(key) else {
        return;
    };
    http.stage = HttpStage::AwaitLink(Box::new(onward));
    http.deadline = deadline;
    sockets.charge(key);
    sockets.output(Output::PassOn(key, node));
    sockets.arm(key, deadline);
}

/// The bytes that go to the other node, or to the side thread.
pub(crate) fn passed_on(parcel: &mut Parcel) -> Option<PassedOn> {
    let mut sent = PassedOn {
        peer: parcel.client(),
        bytes: Vec::new(),
        repeats: false,
        call: None,
        waits: false,
        record_bytes: usize::MAX,
    };
    match &mut parcel.load {
        // A call may have been carried out; an upgrade ends with its connection.
        ParcelLoad::Onward(onward) => {
            (sent.repeats, sent.call) = (is_upgrade(onward), onward.call);
            // An offer waits for its master for as long as its caller likes.
            sent.waits = onward.purpose == Purpose::Api(Operation::SendAlexaOfferToMaster);
            sent.record_bytes = onward.record_bytes;
            sent.bytes = std::mem::take(&mut onward.bytes);
        }
        ParcelLoad::Admin(bytes) => sent.bytes = std::mem::take(bytes),
        ParcelLoad::Upgrade { .. } => return None,
    }
    Some(sent)
}

/// Where a stream to the node of its channel belongs.
pub(crate) fn stream_home(sockets: &Sockets, parcel: &Parcel) -> Option<StreamHome> {
    let ParcelLoad::Onward(onward) = &parcel.load else {
        return None;
    };
    let placement = sockets.placement();
    Some(StreamHome {
        slot: placement.slot(&onward.identity)?,
        account: placement.caller(onward.identity.account()),
    })
}

/// Takes the place of a client on a link, if there is one or another makes room. No WebSocket begins while the process
/// is about to end.
pub(crate) fn enters(
    sockets: &mut Sockets,
    cx: &mut Context,
    (parcel, (place, node)): (&Parcel, (u32, NodeId)),
) -> bool {
    let ParcelLoad::Onward(onward) = &parcel.load else {
        return true; // a page of the admin listener, which has places of its own
    };
    if sockets.drains() && is_upgrade(onward) {
        return false;
    }
    let holder = sockets.holder(onward);
    let enters = sockets.make_room(cx, holder);
    if enters {
        let standing = match onward.purpose {
            Purpose::Upgrade(UpgradeRole::Master) => Standing::Master,
            Purpose::Upgrade(UpgradeRole::Viewer)
            | Purpose::Api(_)
            | Purpose::Sts(_)
            | Purpose::Wake
            | Purpose::RoleAlias
            | Purpose::Unknown => Standing::Viewer,
        };
        sockets.enters(Member::OnLink(place), holder, standing);
        if let Some(slot) = sockets.placement().slot(&onward.identity) {
            let is_master = standing == Standing::Master;
            let lead = Lead {
                slot,
                node,
                is_master,
            };
            sockets.leads_to(place, lead, cx.at.now);
        }
    }
    enters
}

/// The other node has answered a call: its client gets that, and what it sent behind the call has its turn.
pub(crate) fn answered(
    sockets: &mut Sockets,
    cx: &mut Context,
    parcel: Parcel,
    (answer, rest): (&[u8], Vec<u8>),
) -> SessionKey {
    let key = sockets.take_session(parcel.peer, parcel.forwarded, cx.at);
    let close = ends_connection(answer) || sockets.drains();
    sockets.push_control(cx, key, |out| out.extend_from_slice(answer));
    sockets.next_request(key, close, cx.at);
    if !close && !rest.is_empty() {
        ask_again(sockets, key, rest);
    }
    sockets.await_rest(key, cx.at);
    key
}

/// The other node did not answer, and the log gets a line: the client waits for another one if that got nothing of its
/// request, or nothing that may not be repeated, which is `unsent`; else it gets 503.
pub(crate) fn bounce(
    sockets: &mut Sockets,
    cx: &mut Context,
    parcel: Parcel,
    (node, why): (NodeId, PassFailure),
    unsent: Vec<u8>,
) -> SessionKey {
    let key = sockets.take_session(parcel.peer, parcel.forwarded, cx.at);
    let ParcelLoad::Onward(mut onward) = parcel.load else {
        unreachable!("only what was to be passed on comes back from there")
    };
    if sockets.drains() {
        if onward.purpose == Purpose::Wake {
            wake::answer_nothing(sockets, cx, key, true);
        } else {
            refuse(sockets, cx, key, &onward, &shutting_down());
        }
        return key;
    }
    match why {
        PassFailure::NoRoom => refuse(sockets, cx, key, &onward, &no_room()),
        PassFailure::Connect
        | PassFailure::Timeout
        | PassFailure::Foreign
        | PassFailure::Closed
        | PassFailure::Drain
        | PassFailure::Moved => {
            // One that lost the channel closed the connection so that the next owner is asked.
            if sockets.placement().home(&onward.identity, cx.at.now) == Home::There(node) {
                let map = sockets.placement().cluster();
                let name = map.map_or("", |map| map.name(node));
                cx.telemetry
                    .journal()
                    .node_trouble(cx.at.now, name, why.into());
            }
            let refusal = unreachable_owner();
            if unsent.is_empty() {
                refuse(sockets, cx, key, &onward, &refusal);
                return key;
            }
            onward.bytes = unsent;
            let failed = Some((node, cx.at.now.after(OWNER_RETRY_MS)));
            wait_for_owner(sockets, cx, key, (onward, failed), &refusal);
        }
    }
    key
}

fn unreachable_owner() -> Refusal {
    Refusal::unavailable(Check::OwnerUnreachable, UNREACHABLE)
}

fn refuse(
    sockets: &mut Sockets,
    cx: &mut Context,
    key: SessionKey,
    onward: &Onward,
    refusal: &Refusal,
) {
    let evidence = Evidence {
        channel: (!onward.channel.is_empty()).then_some(&onward.channel),
        client_id: onward.client_id.as_deref(),
        caller: Some(&onward.caller),
        ..Evidence::of(onward.purpose)
    };
    responses::refuse(sockets, cx, key, &evidence, refusal);
}

impl Sockets {
    /// The holder of the place of a client on a link.
    fn holder(&self, onward: &Onward) -> Holder {
        let account = onward.identity.account();
        self.holder_of(&onward.caller, account)
    }

    /// Whether slots go from one node to another.
    pub(crate) fn owners_change(&self) -> bool {
        let map = self.placement().cluster();
        map.is_some_and(|map| !map.is_fixed())
    }

    /// Whether this connection brings one call, and ends with its answer.
    pub(crate) fn brings_one_call(&mut self, key: SessionKey) -> bool {
        self.http(key).is_some_and(|http| http.one_call)
    }

    /// Whether another node passed this connection on.
    pub(crate) fn is_inner(&self, key: SessionKey) -> bool {
        self.session(key)
            .is_some_and(|session| session.peer().inner)
    }
}

const UNREACHABLE: &str = "The server that has this channel does not answer. Try again.";
const ELSEWHERE: &str = "The servers do not agree on which of them has this channel. Try again.";
const LIST: &str = "Nodes with a fixed map do not list channels. Describe them by name.";
