//! The flight recorder's notes on one channel, for operators. Notes are read backwards, a bounded number per step.
//!
//! A step returns events, newest first, and where the next step continues. The name of a connection that has left is
//! stored with the note of its departure, which is the first note about it when reading backwards; connected peers are
//! listed by the first step.

use crate::channel::{AwaitedMaster, Channel, Life, Towards};
use crate::id::{ChannelKey, Identity, SessionKey};
use crate::journal::{EndReason, Unaccepted};
use crate::limits::{ASK_AFTER_MS, INSPECTED_NOTES_PER_STEP};
use crate::session::{Session, http::RoleBy};
use crate::shard::context::Context;
use crate::shard::flight_recorder::{
    LOW, NAME_BYTES, NOBODY, NOTED_CALLS, NotedMessage, Passage, Recorder, SHIFT, Tag, Words,
    micros, name_and_candidates, reason,
};
use crate::shard::state::State;
use crate::time::Wall;
use codec::control::Operation;
use codec::signal::{Action, Role};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU64;

/// Where a step continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TracePlace {
    /// The channel, as resolved by the first step. A channel that is recreated later with the same name has another
    /// key.
    channel: ChannelKey,
    /// The serial number after the first note to read. Kept separately so that the enum of queries does not grow, since
    /// it determines the size of every message between shards.
    before: NonZeroU64,
}

/// A step of a trace.
#[derive(Clone, Debug)]
pub struct TraceStep {
    /// Time of reading: wall clock time, and microseconds since startup.
    pub read: (Wall, u64),
    /// Time of the oldest available note, in microseconds since startup; `None` if recording is off.
    pub since_us: Option<u64>,
    /// Time in milliseconds for which a master must be open before it is sent the offers that a former master received
    /// but did not answer; `None` if offers are not repeated.
    pub repeats_after_ms: Option<u64>,
    /// The connected peers, including superseded connections; set only by the first step.
    pub connected: Vec<TracePeer>,
    /// The events, newest first.
    pub events: Vec<TraceEvent>,
    /// Where the next step continues, if there is more to read.
    pub next: Option<TracePlace>,
}

/// A connection in a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracePeer {
    /// The connection's key.
    pub session: SessionKey,
    /// The client id of a viewer; `None` for a master.
    pub client_id: Option<Box<str>>,
    /// The hash that replaces the client id in events that do not identify a connection: see [`TraceKind::Message`].
    pub mark: Option<u64>,
    /// The peer's address.
    pub remote: SocketAddr,
    /// The hash that replaces the address in [`TraceKind::ApiCall`].
    pub address: u64,
    /// When the connection was admitted, in microseconds since startup, with millisecond precision.
    pub opened_us: u64,
    /// Whether a message sent long ago is still unconfirmed; unknown for a closed connection.
    pub unconfirmed: bool,
    /// Whether delivery is confirmed by TCP, that is, by the host that terminates the connection. Unknown for a closed
    /// connection.
    pub by_tcp: bool,
    /// For a viewer with an offer that a master received but did not answer, the master to which the offer is repeated.
    pub offer: Option<AwaitedMaster>,
}

/// An event in a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceEvent {
    /// Serial number of the event's note on this shard; unique and increasing in the order of events.
    pub serial: u64,
    /// Time of the event, in microseconds since startup.
    pub at_us: u64,
    /// The kind of event.
    pub kind: TraceKind,
}

/// The kinds of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TraceKind {
    /// A connection was admitted; the last value indicates how its role was determined.
    Joined(SessionKey, Role, RoleBy),
    /// A connection left the channel; contains the peer's details.
    Left(Box<TracePeer>, Option<EndReason>),
    /// The first connection lost its slot to the second; the flag is true if the second one's request named no role.
    Superseded(SessionKey, SessionKey, bool),
    /// GO_AWAY was sent to the connection.
    ToldToGo(SessionKey),
    /// An API call that precedes a connection was answered.
    ApiCall {
        /// The operation: one of those that clients call before they connect.
        operation: Operation,
        /// The role named in the call.
        role: Option<Role>,
        /// The hash of the caller's address.
        address: u64,
        /// The hash of the client id named in the call.
        client: Option<u64>,
    },
    /// A message event.
    Message {
        /// The action, or `None` for a malformed message.
        action: Option<Action>,
        /// Direction of the message.
        towards: Towards,
        /// Event in the life of the message.
        passage: Passage,
        /// Length of the message's frame as sent to the recipient, or 0 if there is none. If the payload is too long,
        /// its length.
        bytes: usize,
        /// Maximum payload length if the payload is too long; otherwise 0.
        most: usize,
        /// Number of candidates in an offer or answer, if it was parsed.
        candidates: Option<usize>,
        /// The connection that sent an incoming message.
        from: Option<SessionKey>,
        /// The connection that received the message or whose outbox held it.
        to: Option<SessionKey>,
        /// Hash of the client id of the viewer that the message is from or to, if no connection of that viewer is
        /// given.
        mark: Option<u64>,
        /// The client id that a master addressed.
        viewer: Option<Box<str>>,
    },
}

/// Selects the part of a channel's notes to read.
pub(crate) struct TraceQuestion {
    pub(crate) identity: Identity,
    /// Where an earlier step ended, or `None` to start with the newest notes.
    pub(crate) from: Option<TracePlace>,
    /// Maximum number of notes read in one step.
    pub(crate) limit: usize,
}

/// Selects the notes to erase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forget {
    /// Notes on connections with this client id or address, and on messages for this client id.
    Named(Box<str>),
    /// Notes older than this time.
    Before(Wall),
}

/// Number of events erased, and where the next step continues, if there are notes left to check.
pub(crate) type Forgotten = (u64, Option<NonZeroU64>);

/// Erases the selected notes, one step at a time; when selecting by name, continues backwards from a position.
pub(crate) fn forget(cx: &mut Context, meant: &Forget, before: Option<NonZeroU64>) -> Forgotten {
    let (at, recorder) = (cx.at, cx.telemetry.note());
    let text = match meant {
        Forget::Named(text) => text,
        Forget::Before(wall) => {
            let age_us = at.wall.0.saturating_sub(wall.0).saturating_mul(1000);
            return forget_old(recorder, micros(at).saturating_sub(age_us));
        }
    };
    let (mut erased, mut serial) = (
        0,
        before.map_or_else(|| recorder.written(), NonZeroU64::get),
    );
    for _ in 0..INSPECTED_NOTES_PER_STEP {
        let note = serial
            .checked_sub(1)
            .and_then(|serial| recorder.get(serial));
        let Some(note) = note else {
            return (erased, None);
        };
        serial -= 1;
        if event(recorder, serial, note).is_some_and(|kind| is_about(recorder, &kind, text)) {
            let mut first = serial;
            while first.checked_sub(1).is_some_and(|it| belongs(recorder, it)) {
                first -= 1;
            }
            recorder.erase(first..serial + 1);
            erased += 1;
        }
    }
    (erased, NonZeroU64::new(serial))
}

/// Erases notes older than this time. A note without a time belongs to the next note that has one.
fn forget_old(recorder: &mut Recorder, least_us: u64) -> Forgotten {
    let (mut erased, first) = (0, recorder.oldest());
    let mut kept_from = first;
    for serial in first
        ..recorder
            .written()
            .min(first + INSPECTED_NOTES_PER_STEP as u64)
    {
        let Some(note @ [time, ..]) = recorder.get(serial) else {
            break;
        };
        if belongs(recorder, serial) {
            continue;
        }
        let has_time = tag_of(&note).is_some();
        if has_time && time & LOW >= least_us {
            break;
        }
        erased += u64::from(has_time);
        kept_from = serial + 1;
    }
    recorder.erase_before(kept_from);
    let is_whole_step = kept_from - first >= INSPECTED_NOTES_PER_STEP as u64 / 2;
    (erased, NonZeroU64::new(kept_from).filter(|_| is_whole_step))
}

/// Whether a note contains a name or an address that belongs to the next note.
fn belongs(recorder: &Recorder, serial: u64) -> bool {
    let note = recorder.get(serial);
    let tag = note.and_then(|note| tag_of(&note));
    matches!(tag, Some(Tag::Name | Tag::Address))
}

fn is_about(recorder: &Recorder, kind: &TraceKind, text: &str) -> bool {
    match kind {
        TraceKind::Left(peer, _) => {
            peer.client_id.as_deref() == Some(text)
                || peer.remote.ip().to_canonical().to_string() == text
        }
        TraceKind::Message { viewer, .. } => viewer.as_deref() == Some(text),
        TraceKind::ApiCall {
            address, client, ..
        } => {
            let of_text = text.parse().ok().map(|it| recorder.address_mark(it));
            *client == Some(recorder.mark(text)) || of_text == Some(*address)
        }
        TraceKind::Joined(..) | TraceKind::Superseded(..) | TraceKind::ToldToGo(_) => false,
    }
}

/// Reads a channel's notes for one step; `None` if the channel is not homed on this shard.
pub(crate) fn step(shard: &State, wanted: &TraceQuestion) -> Option<TraceStep> {
    let State {
        sockets,
        directory,
        cx,
        ..
    } = shard;
    let (recorder, at) = (cx.telemetry.recorder(), cx.at);
    let &TraceQuestion {
        ref identity,
        from,
        limit,
    } = wanted;
    let key = directory.key_of(identity)?;
    let exists = |channel: &&Channel| channel.state != Life::Creating;
    let channel = directory.channel(key).filter(exists)?;
    let before = match from {
        Some(place) if place.channel != key => return None,
        Some(place) => place.before.get(),
        None => recorder.written(),
    };
    let connected = if from.is_none() {
        connected(shard, channel)
    } else {
        Vec::new()
    };
    let (events, before) = notes(recorder, key, before, limit);
    let left = NonZeroU64::new(before).filter(|before| before.get() > recorder.oldest());
    Some(TraceStep {
        read: (at.wall, micros(at)),
        since_us: since(recorder),
        repeats_after_ms: Some(sockets.settings().signaling.repeat_offers_ms).filter(|ms| *ms > 0),
        connected,
        events,
        next: left.map(|before| TracePlace {
            channel: key,
            before,
        }),
    })
}

/// Returns the time of the oldest available note, which is process startup until the first note is overwritten; `None`
/// if recording is off.
pub(crate) fn since(recorder: &Recorder) -> Option<u64> {
    let oldest = recorder.oldest();
    if !recorder.is_on() || oldest == 0 {
        return recorder.is_on().then_some(0);
    }
    let notes = (oldest..recorder.written()).filter_map(|serial| recorder.get(serial));
    let mut timed =
        notes.filter(|note| !matches!(tag_of(note), Some(Tag::Name | Tag::Address) | None));
    Some(timed.next().map_or(0, |[first, ..]| first & LOW))
}

/// Looks for the channel and client id of a connection that has left, in the notes that one step reads backwards from a
/// position. If the notes lack them, returns where the step ended.
pub(crate) fn left(
    recorder: &Recorder,
    session: SessionKey,
    before: u64,
) -> Result<(ChannelKey, Option<Box<str>>), u64> {
    let mut serial = before;
    for _ in 0..INSPECTED_NOTES_PER_STEP {
        let note = serial
            .checked_sub(1)
            .and_then(|serial| recorder.get(serial));
        let Some(note) = note else {
            break;
        };
        serial -= 1;
        let [_, channel, who, _] = note;
        if tag_of(&note) == Some(Tag::Left)
            && who & LOW == session.pack()
            && let Some(TraceKind::Left(peer, _)) = event(recorder, serial, note)
        {
            let channel = ChannelKey::unpack(channel & LOW);
            return Ok((channel, peer.client_id));
        }
    }
    Err(serial)
}

/// Time in milliseconds after which a message no longer counts as in transit. By then, its acknowledgement has been
/// queried once.
const UNCONFIRMED_MS: u64 = 2 * ASK_AFTER_MS;

fn connected(shard: &State, channel: &Channel) -> Vec<TracePeer> {
    let State { sockets, cx, .. } = shard;
    let recorder = cx.telemetry.recorder();
    let members = channel
        .live()
        .map_or_else(Vec::new, |live| live.members.all());
    let peers = members.into_iter().filter_map(|key| {
        let session = sockets.session(key)?;
        let web_socket = Session::open(session)?;
        let client_id = web_socket.role.client_id();
        Some(TracePeer {
            session: key,
            client_id: client_id.map(Box::from),
            mark: client_id.map(|id| recorder.mark(id)),
            remote: session.remote(),
            address: recorder.address_mark(session.remote().ip()),
            opened_us: web_socket.opened().0.saturating_mul(1000),
            unconfirmed: (session.outbox.unconfirmed_since())
                .is_some_and(|since| cx.at.now.since(since) > UNCONFIRMED_MS),
            by_tcp: sockets.proves_by_tcp(),
            offer: client_id.and_then(|id| channel.live()?.unanswered.awaited(id)),
        })
    });
    peers.collect()
}

/// Returns up to `limit` events before a position, and where the step ended.
fn notes(recorder: &Recorder, key: ChannelKey, before: u64, most: usize) -> (Vec<TraceEvent>, u64) {
    let mut events = Vec::new();
    let mut serial = before;
    for _ in 0..INSPECTED_NOTES_PER_STEP {
        let note = serial
            .checked_sub(1)
            .and_then(|serial| recorder.get(serial));
        let Some(note) = note.filter(|_| events.len() < most) else {
            break;
        };
        serial -= 1;
        let [first, channel, ..] = note;
        if channel & LOW != key.pack() {
            continue;
        }
        let Some(kind) = event(recorder, serial, note) else {
            continue;
        };
        events.push(TraceEvent {
            serial,
            at_us: first & LOW,
            kind,
        });
    }
    (events, serial)
}

/// Decodes the event of a note; `None` for a note that belongs to another.
fn event(recorder: &Recorder, serial: u64, note: Words) -> Option<TraceKind> {
    let [first, channel, who, whom] = note;
    let [_, detail] = upper(channel);
    let session = SessionKey::unpack(who & LOW);
    let other = SessionKey::unpack(whom & LOW);
    let length = usize::try_from(who >> SHIFT | whom >> SHIFT << 16).ok()?;
    let (name_bytes, candidates) = name_and_candidates(first);
    let name_bytes = usize::try_from(name_bytes).ok()?;
    Some(match tag_of(&note)? {
        Tag::Name | Tag::Address => return None,
        Tag::Joined => joined(session, detail)?,
        Tag::Superseded => TraceKind::Superseded(session, other, detail == 1),
        Tag::ToldToGo => TraceKind::ToldToGo(session),
        Tag::ApiCall => api_call(detail, who & LOW, whom & LOW)?,
        Tag::Left => {
            let remote = address(recorder.get(serial.checked_sub(1)?)?)?;
            let client_id = match name_bytes {
                0 => None,
                _ => Some(name(recorder, serial - 1, name_bytes)?),
            };
            let peer = TracePeer {
                session,
                mark: client_id.as_deref().map(|id| recorder.mark(id)),
                client_id,
                remote,
                address: recorder.address_mark(remote.ip()),
                opened_us: (first & LOW).saturating_sub(length as u64 * 1000),
                unconfirmed: false,
                by_tcp: false,
                offer: None,
            };
            TraceKind::Left(Box::new(peer), reason(detail, whom & LOW))
        }
        Tag::Message => {
            let passed = NotedMessage::of_detail(detail, length);
            let came = came(passed.passage);
            let against = matches!(
                passed.passage,
                Passage::Unaccepted(Unaccepted::TooLong | Unaccepted::TooLongForRecipient)
            );
            let most = (whom & LOW) * u64::from(against && name_bytes == 0);
            let (from, to, mark) = if passed.passage == Passage::Relayed {
                (Some(session), Some(other), None)
            } else if came {
                let from = (passed.passage != Passage::Called).then_some(session);
                (from, None, (name_bytes > 0).then_some(whom & LOW))
            } else {
                let known = whom & LOW != NOBODY;
                (None, known.then_some(other), Some(who & LOW))
            };
            TraceKind::Message {
                action: passed.action,
                towards: passed.towards,
                passage: passed.passage,
                bytes: passed.bytes,
                most: usize::try_from(most).ok()?,
                candidates: candidates.and_then(|count| usize::try_from(count).ok()),
                from,
                to,
                mark,
                viewer: mark
                    .filter(|_| came)
                    .and_then(|_| name(recorder, serial, name_bytes)),
            }
        }
    })
}

/// Whether this event concerns a message that came from a connection but was not forwarded to another.
fn came(passage: Passage) -> bool {
    matches!(
        passage,
        Passage::Kept
            | Passage::Unaccepted(_)
            | Passage::AnsweredCall
            | Passage::TooLateForCall
            | Passage::ForCall
            | Passage::Called
            | Passage::Gathered
            | Passage::Late
    )
}

/// Decodes a [`Tag::ApiCall`] note.
fn api_call(detail: u8, address: u64, client: u64) -> Option<TraceKind> {
    Some(TraceKind::ApiCall {
        operation: *NOTED_CALLS.get(usize::from(detail & 3))?,
        role: match detail >> 2 {
            1 => Some(Role::Master),
            2 => Some(Role::Viewer),
            _ => None,
        },
        address,
        client: (client != NOBODY).then_some(client),
    })
}

/// Decodes a [`Tag::Joined`] note.
fn joined(session: SessionKey, detail: u8) -> Option<TraceKind> {
    let by = RoleBy::ALL.get(usize::from(detail >> 1))?;
    let role = match detail & 1 {
        0 => Role::Master,
        _ => Role::Viewer,
    };
    Some(TraceKind::Joined(session, role, *by))
}

/// Reads the name from the notes before a serial number; `None` if part of it has been overwritten.
fn name(recorder: &Recorder, before: u64, bytes: usize) -> Option<Box<str>> {
    let first = before.checked_sub(bytes.div_ceil(NAME_BYTES) as u64)?;
    let mut text = Vec::with_capacity(bytes);
    for serial in first..before {
        let note = recorder.get(serial)?;
        let [one, channel, two, three] = note;
        let [_, length] = upper(channel);
        let words = [one, two, three].map(u64::to_le_bytes);
        text.extend(words.as_flattened().iter().take(usize::from(length)));
    }
    let text = String::from_utf8(text).ok()?;
    (text.len() == bytes).then(|| text.into_boxed_str())
}

fn address([first, channel, low, high]: Words) -> Option<SocketAddr> {
    let [_, kind] = upper(channel);
    let ip = if kind == 4 {
        IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(low).ok()?))
    } else {
        IpAddr::V6(Ipv6Addr::from_bits(
            u128::from(high) << 64 | u128::from(low),
        ))
    };
    Some(SocketAddr::new(ip, u16::try_from(first).ok()?))
}

/// Extracts the tag and detail from a note's channel word.
fn upper(channel: u64) -> [u8; 2] {
    let [.., tag, detail] = channel.to_le_bytes();
    [tag, detail]
}

fn tag_of([_, channel, ..]: &Words) -> Option<Tag> {
    let [tag, _] = upper(*channel);
    let tags = [
        Tag::Name,
        Tag::Address,
        Tag::Joined,
        Tag::Left,
        Tag::Superseded,
        Tag::ToldToGo,
        Tag::Message,
        Tag::ApiCall,
    ];
    tags.get(usize::from(tag.checked_sub(1)?)).copied()
}
