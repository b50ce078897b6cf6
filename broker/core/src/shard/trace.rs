//! Traces: everything that the flight recorder knows about one channel, for operators. Each step reads a limited number
//! of notes, from newest to oldest.
//!
//! A step returns events, newest first, and the position at which the next step continues. When a connection leaves,
//! its name is stored just before the note about its departure. Since notes are read from newest to oldest, the name is
//! known before any other note about the connection is read. The first step also lists the connected peers.

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

/// The position at which the next step of a trace continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TracePlace {
    /// The channel's key, as looked up by the first step. A channel that is deleted and created again gets a different
    /// key.
    channel: ChannelKey,
    /// Serial number of the next note to read, plus one. The type keeps operator queries small, because their size
    /// determines the size of every message between shards.
    before: NonZeroU64,
}

/// One step of a trace.
#[derive(Clone, Debug)]
pub struct TraceStep {
    /// When the notes were read, as wall-clock time and in microseconds since startup.
    pub read: (Wall, u64),
    /// Time of the oldest note that is still available, in microseconds since startup. `None` if recording is off.
    pub since_us: Option<u64>,
    /// How long, in milliseconds, a new master must have been connected before it is sent the offers that a former
    /// master did not answer. `None` if offers are not sent again.
    pub repeats_after_ms: Option<u64>,
    /// The connected peers, including those that were replaced. Listed only by the first step.
    pub connected: Vec<TracePeer>,
    /// The events, newest first.
    pub events: Vec<TraceEvent>,
    /// The position at which the next step continues, or `None` if there is nothing more to read.
    pub next: Option<TracePlace>,
}

/// A connection in a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracePeer {
    /// The connection's key.
    pub session: SessionKey,
    /// The viewer's client id, or `None` for a master.
    pub client_id: Option<Box<str>>,
    /// Hash of the client id. It also appears in events that do not identify a connection; see [`TraceKind::Message`].
    pub mark: Option<u64>,
    /// The peer's address.
    pub remote: SocketAddr,
    /// Hash of the IP address. It also appears in [`TraceKind::ApiCall`].
    pub address: u64,
    /// When the connection was admitted, in microseconds since startup, accurate to a millisecond.
    pub opened_us: u64,
    /// Whether a message sent some time ago is still unconfirmed. Always `false` if the connection has left.
    pub unconfirmed: bool,
    /// Whether messages are confirmed by TCP, that is, by the host at the other end of the TCP connection. Always
    /// `false` if the connection has left.
    pub by_tcp: bool,
    /// The master to which this viewer's offer will be sent next, if another master received it but did not answer.
    pub offer: Option<AwaitedMaster>,
}

/// An event in a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceEvent {
    /// Serial number of the event's note on this shard. Later events have greater numbers.
    pub serial: u64,
    /// When the event happened, in microseconds since startup.
    pub at_us: u64,
    /// The kind of event.
    pub kind: TraceKind,
}

/// The event that a note describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TraceKind {
    /// A connection was admitted. The last field tells how its role was determined.
    Joined(SessionKey, Role, RoleBy),
    /// A connection left its channel. Contains the reason, if it is known.
    Left(Box<TracePeer>, Option<EndReason>),
    /// The second connection replaced the first. The flag is set if the second is a master whose request did not
    /// specify a role.
    Superseded(SessionKey, SessionKey, bool),
    /// GO_AWAY was sent on the connection.
    ToldToGo(SessionKey),
    /// A client made one of the API calls that precede connecting.
    ApiCall {
        /// The operation that was called.
        operation: Operation,
        /// The role specified in the call.
        role: Option<Role>,
        /// Hash of the caller's IP address.
        address: u64,
        /// Hash of the client id specified in the call.
        client: Option<u64>,
    },
    /// Something happened to a message.
    Message {
        /// The action of the message; `None` if the message was malformed.
        action: Option<Action>,
        /// The direction of the message.
        towards: Towards,
        /// The message lifecycle event.
        passage: Passage,
        /// Length of the frame sent to the recipient, or 0 if there is none. If the payload is too long, the payload
        /// length instead.
        bytes: usize,
        /// The maximum payload length, if the payload exceeds it. Otherwise 0.
        most: usize,
        /// Number of candidates in an offer or answer, or `None` if the message was not parsed.
        candidates: Option<usize>,
        /// The connection that sent the message, if this event is its arrival.
        from: Option<SessionKey>,
        /// The connection that received the message, or whose outbox contained it.
        to: Option<SessionKey>,
        /// Hash of the client id of the viewer that sent the message or to which it is addressed, if it was recorded.
        mark: Option<u64>,
        /// The client id to which a master addressed the message.
        viewer: Option<Box<str>>,
    },
}

/// Selects which notes to erase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forget {
    /// Notes about connections with this client id or address, and about messages and API calls that contain it.
    Named(Box<str>),
    /// Notes written before this time.
    Before(Wall),
}

/// Number of events erased, and the position at which the next step continues, or `None` if all notes have been
/// checked.
pub(crate) type Forgotten = (u64, Option<NonZeroU64>);

/// Erases the selected notes, a limited number per step. To erase notes by name, reads the notes before `before`, from
/// newest to oldest.
pub(crate) fn forget(cx: &mut Context, meant: &Forget, before: Option<NonZeroU64>) -> Forgotten {
    let (at, recorder) = (cx.at, &mut cx.telemetry.recorder);
    let text = match meant {
        Forget::Named(text) => text,
        Forget::Before(wall) => {
            let age_us = at.wall.0.saturating_sub(wall.0).saturating_mul(1000);
            return forget_old(recorder, micros(at).saturating_sub(age_us));
        }
    };
    let mut serial = before.map_or_else(|| recorder.written(), NonZeroU64::get);
    let mut erased = 0;
    for _ in 0..INSPECTED_NOTES_PER_STEP {
        let Some(note) = recorder.before(serial) else {
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

/// Erases notes written before `least_us`. A note that contains part of a name or an address is erased together with
/// the note that follows it.
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

/// Returns whether a note contains part of a name or an address, and therefore belongs to the note that follows it.
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

/// Reads a limited number of notes about a channel, and returns at most `limit` events. `from` is where to continue;
/// `None` to start with the newest notes. Returns `None` if the channel is not on this shard.
pub(crate) fn step(
    shard: &State,
    identity: &Identity,
    from: Option<TracePlace>,
    limit: usize,
) -> Option<TraceStep> {
    let (directory, at) = (&shard.directory, shard.cx.at);
    let recorder = &shard.cx.telemetry.recorder;
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
        repeats_after_ms: Some(directory.settings().signaling.repeat_offers_ms)
            .filter(|ms| *ms > 0),
        connected,
        events,
        next: left.map(|before| TracePlace {
            channel: key,
            before,
        }),
    })
}

/// Returns the time of the oldest note that is still available. This is 0, the time of startup, if no note has been
/// overwritten or erased, and `None` if recording is off.
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

/// Finds the channel and client id of a connection that has left. Reads a limited number of notes before `before`, from
/// newest to oldest. If none of them is about the connection, returns the position at which to continue.
pub(crate) fn left(
    recorder: &Recorder,
    session: SessionKey,
    before: u64,
) -> Result<(ChannelKey, Option<Box<str>>), u64> {
    let mut serial = before;
    for _ in 0..INSPECTED_NOTES_PER_STEP {
        let Some(note) = recorder.before(serial) else {
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

/// How long a sent message is considered to be in transit, in milliseconds. By the end of that time, the kernel has
/// been queried once for acknowledgements.
const UNCONFIRMED_MS: u64 = 2 * ASK_AFTER_MS;

fn connected(shard: &State, channel: &Channel) -> Vec<TracePeer> {
    let State { sockets, cx, .. } = shard;
    let recorder = &cx.telemetry.recorder;
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

/// Returns up to `most` events before a serial number, and the position at which to continue.
fn notes(recorder: &Recorder, key: ChannelKey, before: u64, most: usize) -> (Vec<TraceEvent>, u64) {
    let mut events = Vec::new();
    let mut serial = before;
    for _ in 0..INSPECTED_NOTES_PER_STEP {
        let note = recorder.before(serial);
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

/// Decodes the event that a note describes. Returns `None` if the note is part of the note that follows it.
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
            let remote = address(recorder.before(serial)?)?;
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

/// Returns whether an event is about a message that was received but not forwarded to a connection.
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

/// Reads a name from the notes before a serial number. Returns `None` if part of the name has been overwritten.
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

/// Returns a note's tag and detail, which are stored in its channel word.
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
