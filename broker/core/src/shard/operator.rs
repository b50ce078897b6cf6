//! Operators' queries and requests to a shard, and its replies. They cover channels, connections, connection history
//! and the import of channels.

use crate::channel::{Channel, Life, Towards};
use crate::id::{ChannelKey, Identity, SessionKey};
use crate::limits::{
    DISPLACED_MS, DISPLACED_TOLD_MAX, IMPORTED_MAX, INSPECTED_SLOTS_PER_STEP, RECONNECTS_PER_STEP,
};
use crate::record::{Holding, Record};
use crate::shard::context::Context;
use crate::shard::dev::{Reset, ResetStep, SharedRule, StrictFinding};
use crate::shard::state::State;
use crate::shard::todo::Each;
use crate::shard::trace::{self, Forget, TracePlace, TraceStep};
use crate::shard::usage::UsageTable;
use crate::shard::{Directory, Sockets};
use crate::time::{Moment, Wall};
use crate::{journal::EndReason, placement::Home, presence::Presence, registry::StoreError};
use crate::{session::Session, shard::operator_requests};
use codec::signal::Action;
use codec::{control::ErrorKind, identifiers::ChannelArn};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::ops::Bound;
use std::sync::Arc;

/// An operator's query or request.
#[derive(Clone, Debug)]
pub enum Question {
    /// Lists channels, sorted by name and then by identity.
    Page {
        /// Prefix that channel names must have.
        prefix: Box<str>,
        /// The last channel of the previous page; `None` for the first page.
        after: Option<Identity>,
        /// Maximum number of channels to list, at most [`LIST_PAGE_MAX`](crate::limits::LIST_PAGE_MAX).
        limit: usize,
        /// Client id. If set, [`ChannelLine::has_viewer`] tells which of the channels have a viewer with this id.
        viewer: Option<Box<str>>,
        /// Whether to fill in [`ChannelLine::presence`] and [`ChannelLine::credential`].
        presence: bool,
    },
    /// Returns the details of one channel.
    Channel(Identity),
    /// Lists a channel's events, newest first.
    Trace {
        /// The channel whose events are listed.
        identity: Identity,
        /// Position at which to continue. `None` in the first step; afterwards, the position that the previous step
        /// returned.
        from: Option<TracePlace>,
        /// Maximum number of events to return.
        limit: usize,
    },
    /// Finds a connection's channel and client id. The second field is the position at which to continue, or `None` in
    /// the first step.
    Session(SessionKey, Option<NonZeroU64>),
    /// Sends RECONNECT_ICE_SERVER to all current connections, or only to the connections of one channel. Connections
    /// that do not support this message are closed instead.
    ReconnectIce {
        /// The channel whose connections are notified; `None` for all channels.
        channel: Option<Identity>,
        /// Table position at which to continue. Each reply contains the position for the next step.
        from: usize,
    },
    /// Closes connections of one channel, including superseded ones.
    Disconnect {
        /// The channel whose connections to close.
        channel: Identity,
        /// The connections to close.
        which: Connections,
    },
    /// Imports channels. Each shard reserves the names it owns, provided that they are free.
    Import(Arc<[Record]>),
    /// Releases the names that were reserved for an import.
    ImportWithdrawn(Arc<[Record]>),
    /// Lists connections that are still open although a newer connection has replaced them.
    Displaced,
    /// Returns the usage per account. The field is the table position at which to continue, as returned by the previous
    /// step.
    Usage(usize),
    /// Adds a fault on behalf of a test. Available only with `--dev`.
    AddFault(SharedRule),
    /// Removes everything that a test has created. Has no effect without `--dev`.
    Reset(Reset),
    /// Lists the findings: requests that the strict profile would have refused. Empty without `--dev`.
    Parity,
    /// Erases flight recorder notes. The second field is the position at which to continue, or `None` in the first
    /// step.
    Forget(Forget, Option<NonZeroU64>),
}

/// Selects some of a channel's connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Connections {
    /// All connections of the channel.
    All,
    /// Connections of masters.
    Masters,
    /// Connections of viewers.
    Viewers,
    /// All viewer connections with this client id.
    Viewer(Box<str>),
}

/// The reply to a [`Question`].
#[derive(Clone, Debug)]
pub enum Reply {
    /// The channels of the page, and whether more channels follow.
    Page(Vec<ChannelLine>, bool),
    /// The details of the channel, or `None` if the channel is not on this shard.
    Channel(Option<Box<ChannelView>>),
    /// A step of the channel's trace, or `None` if the channel is not on this shard.
    Trace(Option<Box<TraceStep>>),
    /// The result of one step of a connection lookup.
    Session(Box<SessionStep>),
    /// The number of connections notified by this step, and the position at which to continue, or `None` if no
    /// connections are left.
    Reconnected(u64, Option<usize>),
    /// Number of connections being closed, or `None` if the channel is not on this shard.
    Disconnected(Option<u64>),
    /// The shard's part of the import.
    Import(Box<ImportPart>),
    /// Connections that are still open although they were replaced, grouped by channel. At most [`DISPLACED_TOLD_MAX`]
    /// are listed.
    Displaced(Vec<DisplacedLine>),
    /// The usage of the accounts found by this step, and the position at which to continue, or `None` if no connections
    /// are left.
    Usage(Box<UsageTable>, Option<usize>),
    /// The request was carried out. There is nothing to return.
    Done,
    /// The result of this reset step.
    Reset(ResetStep),
    /// The findings.
    Findings(Vec<StrictFinding>),
    /// The number of events erased by this step, and the position at which to continue, or `None` if no events are
    /// left.
    Forgotten(u64, Option<NonZeroU64>),
}

// Answers operators' requests: lists channels, shows a channel's details, and makes clients refetch their ICE servers.
//
// Replies are copies made between turns. Pages and steps are bounded so that no turn takes long.

/// Sends RECONNECT_ICE_SERVER to all connections of a channel.
pub(crate) fn reconnect_all(shard: &mut State, of: &Identity) -> Reply {
    let (sockets, directory, cx, _) = shard.parts();
    let key = directory.key_of(of);
    let members = key.map(|key| directory.members(key));
    let notified = members.unwrap_or_default().into_iter();
    let notified = notified.filter(|key| sockets.reconnect(cx, *key));
    Reply::Reconnected(notified.count() as u64, None)
}

/// Sends RECONNECT_ICE_SERVER to a limited number of connections, starting at table position `from`.
pub(crate) fn reconnect_some(sockets: &mut Sockets, cx: &mut Context, from: usize) -> Reply {
    let slots = sockets.places();
    let end = from.saturating_add(INSPECTED_SLOTS_PER_STEP).min(slots);
    let (mut notified, mut next) = (0, from);
    while next < end && notified < RECONNECTS_PER_STEP {
        let session = sockets.session_at(next);
        notified += usize::from(session.is_some_and(|key| sockets.reconnect(cx, key)));
        next += 1;
    }
    Reply::Reconnected(notified as u64, (next < slots).then_some(next))
}

/// Closes the selected connections of a channel. Returns their number, or `None` if the channel is not on this shard.
pub(crate) fn disconnect(shard: &mut State, of: &Identity, which: &Connections) -> Option<u64> {
    let (sockets, directory, cx, _) = shard.parts();
    let mut meant = directory.members(directory.key_of(of)?);
    meant.retain(|key| {
        let session = sockets.session(*key);
        let role = session
            .and_then(|session| session.open())
            .map(|it| &it.role);
        role.is_some_and(|role| match which {
            Connections::All => true,
            Connections::Masters => role.client_id().is_none(),
            Connections::Viewers => role.client_id().is_some(),
            Connections::Viewer(id) => role.client_id() == Some(&**id),
        })
    });
    let closed = meant.len() as u64;
    cx.todo.each(Each::close(meant, EndReason::Operator));
    Some(closed)
}

/// A channel as listed in a page.
#[derive(Clone, Debug)]
pub struct ChannelLine {
    /// Identity of the channel.
    pub identity: Identity,
    /// ARN of the channel.
    pub arn: ChannelArn,
    /// Whether a master is connected.
    pub master_connected: bool,
    /// Number of connected viewers.
    pub viewers: usize,
    /// Number of pending messages.
    pub pending: usize,
    /// Whether the viewer with the client id in the query is connected.
    pub has_viewer: bool,
    /// The channel's presence. Set if the query asks for it and at least one client is connected or waiting.
    pub presence: Option<Box<Presence>>,
    /// The name and access key of the principal used by the connected master. Set if the query asks for presence and
    /// the master has a principal.
    pub credential: Option<(Box<str>, Box<str>)>,
}

/// The details of a channel.
#[derive(Clone, Debug)]
pub struct ChannelView {
    /// The channel's record.
    pub record: Arc<Record>,
    /// The connected master, if any.
    pub master: Option<PeerView>,
    /// The connected viewers, sorted by client id.
    pub viewers: Vec<PeerView>,
    /// Messages that are pending for absent peers, in the order in which the channel accepted them.
    pub pending: Vec<PendingView>,
    /// Number of connections that are still open although a newer connection replaced them.
    pub superseded: usize,
    /// Number of pending Alexa and player calls.
    pub waiting_calls: usize,
    /// The channel's presence, or `None` while the channel's slot is moving.
    pub presence: Option<Presence>,
}

/// A connected peer, as shown to operators.
#[derive(Clone, Debug)]
pub struct PeerView {
    /// The client id, or `None` for a master.
    pub client_id: Option<Box<str>>,
    /// When the connection was admitted.
    pub connected_at: Wall,
    /// The peer's address.
    pub remote: SocketAddr,
    /// Whether the connection uses TLS.
    pub tls: bool,
    /// Number of messages received from the peer, including refused ones.
    pub messages_in: u32,
    /// Number of messages that were sent to the peer in full.
    pub messages_out: u32,
    /// Milliseconds since bytes were last received from the peer.
    pub last_frame_age_ms: u64,
    /// Number of bytes queued for the peer.
    pub outbox_bytes: usize,
    /// Number of message bytes that were sent to the peer but are not yet confirmed.
    pub unconfirmed_bytes: usize,
}

/// A pending message, as shown to operators.
#[derive(Clone, Debug)]
pub struct PendingView {
    /// The direction of the message.
    pub towards: Towards,
    /// The viewer that sent the message or to which it is addressed.
    pub viewer: Box<str>,
    /// The action of the message.
    pub action: Action,
    /// Length of the message's frame, in bytes.
    pub bytes: usize,
    /// Milliseconds since the message was accepted. This is derived from its expiry time, so the value is wrong if the
    /// channel's MessageTtlSeconds has changed in the meantime.
    pub age_ms: u64,
}

/// Lists the first `limit` channels after `after`, by merging the sorted name lists of all accounts and regions.
pub(crate) fn inspect_page(
    directory: &mut Directory,
    prefix: &str,
    after: Option<&Identity>,
    limit: usize,
    viewer: Option<&str>,
) -> Reply {
    let mut lists = Vec::new();
    let mut firsts = BinaryHeap::new();
    for group in directory.tenants() {
        let first = start(group, prefix, after);
        let list = directory.names_from(first.as_ref().map(Identity::key));
        let bound = Identity::from_text(&format!("{group}{prefix}"));
        let mut list = list.take_while(move |(arn, _)| arn.identity().starts_with(bound.key()));
        if let Some((arn, key)) = list.next() {
            firsts.push(Reverse((arn.name(), arn.identity(), key, lists.len())));
            lists.push(list);
        }
    }
    let mut lines = Vec::new();
    while lines.len() < limit
        && let Some(Reverse((_, _, key, place))) = firsts.pop()
    {
        lines.extend(line(directory, key, viewer));
        if let Some((arn, key)) = lists.get_mut(place).and_then(Iterator::next) {
            firsts.push(Reverse((arn.name(), arn.identity(), key, place)));
        }
    }
    let more = !firsts.is_empty();
    let read = lines.len() + lists.len();
    drop(lists);
    directory.pages.records += read as u64;
    Reply::Page(lines, more)
}

fn line(directory: &Directory, key: ChannelKey, viewer: Option<&str>) -> Option<ChannelLine> {
    let exists = |channel: &&Channel| channel.state != Life::Creating;
    let channel = directory.channel(key).filter(exists)?;
    let live = channel.live();
    Some(ChannelLine {
        identity: Identity::of(&channel.record.arn),
        arn: channel.record.arn.clone(),
        master_connected: live.is_some_and(|live| live.members.master().is_some()),
        viewers: live.map_or(0, |live| live.members.viewers()),
        pending: live.map_or(0, |live| live.pending.messages().count()),
        has_viewer: live
            .zip(viewer)
            .is_some_and(|(live, id)| live.members.viewer(id).is_some()),
        presence: None,
        credential: None,
    })
}

/// Adds the presence to the listed channels that have connected or waiting clients.
pub(crate) fn read_presence(shard: &mut State, lines: &mut [ChannelLine]) {
    for line in lines {
        let directory = &shard.directory;
        let key = directory.key_of(&line.identity);
        let in_use = |key: &ChannelKey| {
            let channel = directory.channel(*key);
            channel.is_some_and(|channel| channel.live().is_some())
        };
        if let Some(key) = key.filter(in_use) {
            let read = operator_requests::watched_presence(shard, key);
            line.presence = read.filter(Presence::has_anybody).map(Box::new);
            let State {
                sockets, directory, ..
            } = &*shard;
            let live = directory.live(key);
            let master = live.and_then(|live| sockets.session(live.members.master()?)?.open());
            let caller = master.and_then(|master| master.held.caller()?.credential());
            line.credential = caller.map(|(name, key)| (name.into(), key.into()));
        }
    }
}

/// Returns the details of a channel, or `None` while the channel is still being created.
pub(crate) fn view(shard: &mut State, key: ChannelKey) -> Option<ChannelView> {
    let presence = operator_requests::watched_presence(shard, key);
    let (sockets, directory, cx, _) = shard.parts();
    let at = cx.at;
    let exists = |channel: &&Channel| channel.state != Life::Creating;
    let channel = directory.channel(key).filter(exists)?;
    let mut view = ChannelView {
        record: channel.record.clone(),
        master: None,
        viewers: Vec::new(),
        pending: Vec::new(),
        superseded: 0,
        waiting_calls: 0,
        presence,
    };
    let Some(live) = channel.live() else {
        return Some(view);
    };
    for session in live.members.all() {
        let Some(session) = sockets.session(session) else {
            continue;
        };
        let Some(peer) = peer_view(session, at) else {
            view.superseded += 1;
            continue;
        };
        match peer.client_id {
            None => view.master = Some(peer),
            Some(_) => view.viewers.push(peer),
        }
    }
    view.viewers
        .sort_by(|one, other| one.client_id.cmp(&other.client_id));
    let mut pending: Vec<_> = live.pending.messages().collect();
    pending.sort_by_key(|(_, _, message)| message.order);
    let kept = pending.into_iter().map(|(towards, viewer, message)| {
        let lives = channel.expiry(at.now).since(at.now);
        PendingView {
            towards,
            viewer: (**viewer).into(),
            action: message.action,
            bytes: message.frame.len(),
            age_ms: lives.saturating_sub(message.expires.since(at.now)),
        }
    });
    view.pending = kept.collect();
    view.waiting_calls = live.calls.len();
    Some(view)
}

/// Returns where the page starts in the list of names for one account and region.
fn start(group: &str, prefix: &str, after: Option<&Identity>) -> Bound<Identity> {
    let Some(after) = after.filter(|after| after.name() >= prefix) else {
        return Bound::Included(Identity::from_text(&format!("{group}{prefix}")));
    };
    let same = Identity::from_text(&format!("{group}{}", after.name()));
    if same > *after {
        Bound::Included(same)
    } else {
        Bound::Excluded(same)
    }
}

/// A connection that is still open although a newer one replaced it. It may send messages but receives none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisplacedLine {
    /// The connection that lost its slot.
    pub session: SessionKey,
    /// The ARN of the channel.
    pub arn: ChannelArn,
    /// The client id, or `None` for a master.
    pub client_id: Option<Box<str>>,
    /// The peer's address.
    pub remote: SocketAddr,
    /// Address of the client that now holds the slot.
    pub by: SocketAddr,
    /// When the connection lost the slot.
    pub since: Wall,
    /// Whether the connection has received any bytes since it was replaced.
    pub sends: bool,
}

/// Lists open connections that were replaced at least [`DISPLACED_MS`] ago.
pub(crate) fn displaced(sockets: &Sockets, directory: &mut Directory, at: Moment) -> Reply {
    let mut lines = Vec::new();
    for channel in directory.displaced() {
        let displaced = channel.live().map(|live| live.members.displaced());
        for (key, since, by) in displaced.into_iter().flatten() {
            let lost_ms = at.now.since(since);
            let (Some(session), Some(by)) = (sockets.session(key), sockets.session(by)) else {
                continue;
            };
            let Some(open) = session.open().filter(|_| lost_ms >= DISPLACED_MS) else {
                continue;
            };
            lines.push(DisplacedLine {
                session: key,
                arn: channel.record.arn.clone(),
                client_id: open.role.client_id().map(Box::from),
                remote: session.remote(),
                by: by.remote(),
                since: Wall(at.wall.0.saturating_sub(lost_ms)),
                sends: open.last_frame() > since,
            });
            if lines.len() >= DISPLACED_TOLD_MAX {
                return Reply::Displaced(lines);
            }
        }
    }
    Reply::Displaced(lines)
}

/// Returns the details of a connection, or `None` if it was replaced or is closing.
fn peer_view(session: &Session, at: Moment) -> Option<PeerView> {
    let web_socket = session.open().filter(|web_socket| !web_socket.superseded)?;
    let age_ms = at.now.since(web_socket.opened());
    Some(PeerView {
        client_id: web_socket.role.client_id().map(Box::from),
        connected_at: Wall(at.wall.0.saturating_sub(age_ms)),
        remote: session.remote(),
        tls: session.peer().tls,
        messages_in: web_socket.tally.messages_in,
        messages_out: web_socket.tally.messages_out,
        last_frame_age_ms: at.now.since(web_socket.last_frame()),
        outbox_bytes: session.outbox.bytes(),
        unconfirmed_bytes: session.outbox.unconfirmed_bytes(),
    })
}

// Looks up a connection's channel and client for operators. An open connection is found through its session, and one
// that has left through the flight recorder's notes. Each step reads a bounded number of notes.

/// The result of one step of a connection lookup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionStep {
    /// The channel, and the client id if the connection belongs to a viewer. `None` if this step did not find the
    /// connection, or if the channel no longer exists.
    pub found: Option<(Identity, Option<Box<str>>)>,
    /// Where the next step continues: it reads the notes before this serial number. `None` if the search is complete.
    pub next: Option<NonZeroU64>,
}

/// Searches the open connections for `of`, and then as many notes as one step may read.
pub(crate) fn look_up(shard: &State, of: SessionKey, before: Option<NonZeroU64>) -> SessionStep {
    let (sockets, directory) = (&shard.sockets, &shard.directory);
    let recorder = &shard.cx.telemetry.recorder;
    let open = sockets.session(of).and_then(Session::open);
    if let Some(web_socket) = open {
        let client_id = web_socket.role.client_id().map(Box::from);
        return found(directory, web_socket.channel, client_id);
    }
    let before = before.map_or_else(|| recorder.written(), NonZeroU64::get);
    match trace::left(recorder, of, before) {
        Ok((channel, client_id)) => found(directory, channel, client_id),
        Err(before) => SessionStep {
            found: None,
            next: NonZeroU64::new(before).filter(|before| before.get() > recorder.oldest()),
        },
    }
}

fn found(directory: &Directory, channel: ChannelKey, client_id: Option<Box<str>>) -> SessionStep {
    let channel = directory.channel(channel);
    let identity = channel.map(|channel| Identity::of(&channel.record.arn));
    SessionStep {
        found: identity.map(|identity| (identity, client_id)),
        next: None,
    }
}

// Channels that an operator imports at runtime. Each shard reserves the names it owns, then the store commits all
// channels at once. Once the store has reported this, the channels are created ([`Directory::committed`]).

/// A shard's part of an import: the channels that this shard owns.
#[derive(Clone, Debug, Default)]
pub struct ImportPart {
    /// Names that are reserved until the store reports that the channels were created. Each element contains the
    /// position in the imported list and the channel's key.
    pub kept: Vec<(usize, ChannelKey)>,
    /// Records of listed channels that already exist.
    pub there: Vec<Arc<Record>>,
    /// Channels that cannot be created now. Each element contains the position in the imported list and the reason.
    pub faults: Vec<(usize, &'static str)>,
}

/// Reserves the names in the imported list that belong to this shard and are free.
pub(crate) fn begin_import(shard: &mut State, records: &[Record]) -> Reply {
    let (sockets, directory, cx, _) = shard.parts();
    let mut part = ImportPart::default();
    for (place, record) in records.iter().enumerate().take(IMPORTED_MAX) {
        let identity = Identity::of(&record.arn);
        if sockets.placement().home(&identity, cx.at.now) != Home::Here(directory.shard()) {
            continue;
        }
        match directory.named_channel(&identity) {
            Some(channel) if channel.state == Life::Active => {
                part.there.push(channel.record.clone());
            }
            Some(_) => part.faults.push((place, CHANGING)),
            None => match keep_name(directory, record, cx.at.wall) {
                Some(key) => part.kept.push((place, key)),
                None => part.faults.push((place, NO_ROOM)),
            },
        }
    }
    Reply::Import(Box::new(part))
}

/// Releases the names that were reserved for an import.
pub(crate) fn withdraw_import(shard: &mut State, records: &[Record]) -> Reply {
    let State { directory, cx, .. } = shard;
    for record in records.iter().take(IMPORTED_MAX) {
        let key = directory.key_of(&Identity::of(&record.arn));
        if let Some(key) = key.filter(|key| directory.changes.is_name_kept(*key)) {
            directory.committed(cx, key, Err(StoreError::Busy));
        }
    }
    Reply::Done
}

/// Inserts an imported channel into the tables, in the creating state, where it remains until the store reports that it
/// was created. Returns `None` if there is no room.
fn keep_name(directory: &mut Directory, record: &Record, at: Wall) -> Option<ChannelKey> {
    let (identity, more) = (Identity::of(&record.arn), record.holding());
    let (elsewhere, kind) = (Holding::default(), ErrorKind::ServiceUnavailable);
    let reserved = directory.reserve(identity.tenant(), more, elsewhere, kind);
    reserved.ok()?;
    let key = directory.insert_channel(record.clone(), Life::Creating)?;
    directory.changes.note_created(record.created.min(at));
    directory.changes.creation_is_kept(key);
    Some(key)
}

const CHANGING: &str = "a channel of this name is being created or deleted: try again";
const NO_ROOM: &str =
    "the registry is full: see [limits] channels, record_bytes_total and record_bytes_per_account";

#[cfg(test)]
mod channels_tests;
