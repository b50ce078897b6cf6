//! Questions of operators to a shard and its answers: channels and connections, what happened to them, and channels
//! that are imported.

use crate::channel::{Channel, Life, Towards};
use crate::id::{ChannelKey, Identity, SessionKey};
use crate::limits::{
    DISPLACED_MS, DISPLACED_TOLD_MAX, IMPORTED_MAX, INSPECTED_SLOTS_PER_STEP, RECONNECTS_PER_STEP,
};
use crate::record::{Holding, Record};
use crate::shard::calls::channel_pages::{PagePart, PageQuestion};
use crate::shard::context::Context;
use crate::shard::dev::{Reset, ResetStep, SharedRule, StrictFinding};
use crate::shard::flight_recorder::Recorder;
use crate::shard::todo::Each;
use crate::shard::trace::{self, Forget, TracePlace, TraceStep};
use crate::shard::usage::UsageTable;
use crate::shard::{Directory, Sockets};
use crate::time::{Moment, Wall};
use crate::{journal::EndReason, placement::Home, presence::Presence, registry::StoreError};
use crate::{session::Session, shard::operator_requests};
use codec::signal::{Action, RECONNECT_ICE_SERVER};
use codec::{control::ErrorKind, identifiers::ChannelArn};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::ops::Bound;
use std::sync::Arc;

/// A question of the inspector.
#[derive(Clone, Debug)]
pub enum Question {
    /// Channels by name, those of the same name by identity.
    Page {
        /// The beginning of their names.
        prefix: Box<str>,
        /// The last channel of the page before.
        after: Option<Identity>,
        /// Channels at most; never more than [`LIST_PAGE_MAX`](crate::limits::LIST_PAGE_MAX).
        limit: usize,
        /// A client id: [`ChannelLine::has_viewer`] tells which channels have such a viewer.
        viewer: Option<Box<str>>,
        /// Whether [`ChannelLine::presence`] is wanted.
        presence: bool,
    },
    /// A part of what ListSignalingChannels answers, where several nodes have channels.
    Part(PageQuestion),
    /// The channels of an account on the shard: `region:account:`.
    Count(Box<str>),
    /// One channel.
    Channel(Identity),
    /// The events of one channel, newest first.
    Trace {
        /// The channel.
        identity: Identity,
        /// The beginning of this step, which the one before names; `None` for the first.
        from: Option<TracePlace>,
        /// Events at most.
        limit: usize,
    },
    /// The channel and client of this connection; and the beginning of this step, if it is not the first.
    Session(SessionKey, Option<NonZeroU64>),
    /// RECONNECT_ICE_SERVER to every current connection, or to those of one channel; those that must not get it are
    /// closed.
    ReconnectIce {
        /// The channel, if it is to be one.
        channel: Option<Identity>,
        /// The first slot of this step; the answer names that of the next one.
        from: usize,
    },
    /// The end of connections of one channel, those that lost their place to a newer one included.
    Disconnect {
        /// The channel.
        channel: Identity,
        /// Which of its connections.
        which: Connections,
    },
    /// Channels that an operator brings: each shard keeps the free names of its own.
    Import(Arc<[Record]>),
    /// Names of an import that are free again.
    ImportWithdrawn(Arc<[Record]>),
    /// The connections that lost their slot to a newer one and stay.
    Displaced,
    /// The use of each account; the first slot of this step, as the answer to the one before names it.
    Usage(usize),
    /// A fault that a test makes, under `--dev`.
    AddFault(SharedRule),
    /// The end of what a test has made, under `--dev`; nothing elsewhere.
    Reset(Reset),
    /// The findings of what the strict profile would have refused, under `--dev`.
    Parity,
    /// The end of notes of the recorder; and the beginning of this step, if it is not the first.
    Forget(Forget, Option<NonZeroU64>),
}

/// Some connections of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Connections {
    /// All of them.
    All,
    /// Connections of masters.
    Masters,
    /// Connections of viewers.
    Viewers,
    /// Connections of viewers with this client id.
    Viewer(Box<str>),
}

/// The answer to a [`Question`].
#[derive(Clone, Debug)]
pub enum Reply {
    /// Channels in order, and whether more would follow.
    Page(Vec<ChannelLine>, bool),
    /// The part of a page.
    Part(Box<PagePart>),
    /// Count of an account's channels.
    Count(Holding),
    /// The channel, if it lives there.
    Channel(Option<Box<ChannelView>>),
    /// One step of a channel's trace, if the channel lives there.
    Trace(Option<Box<TraceStep>>),
    /// One step of looking for a connection.
    Session(Box<SessionStep>),
    /// The connections that were notified in this step, and the beginning of the next step, if any.
    Reconnected(u64, Option<usize>),
    /// The number of connections that are being closed, or `None` when the channel does not live there.
    Disconnected(Option<u64>),
    /// The shard's part in an import.
    Import(Box<ImportPart>),
    /// Displaced connections, those of one channel beside each other; at most [`DISPLACED_TOLD_MAX`].
    Displaced(Vec<DisplacedLine>),
    /// The part of the use of accounts that this step has found, and the beginning of the next step, if any.
    Usage(Box<UsageTable>, Option<usize>),
    /// Done.
    Done,
    /// The result of a step of a reset.
    Reset(ResetStep),
    /// The findings.
    Findings(Vec<StrictFinding>),
    /// The number of events that this step erased, and the beginning of the next step, if any.
    Forgotten(u64, Option<NonZeroU64>),
}

/// Erases one step of the recorder's notes.
pub(crate) fn forget(cx: &mut Context, meant: &Forget, before: Option<NonZeroU64>) -> Reply {
    let (erased, next) = trace::forget(cx.telemetry.note(), meant, before, cx.at);
    Reply::Forgotten(erased, next)
}

// Requests of operators to a shard: its channels, one channel in detail, and making clients fetch ICE servers again.
//
// Answers are copies, made between two turns; a page and a step are bounded, so that no turn takes long.

impl Sockets {
    /// Notifies these connections; returns how many.
    pub(crate) fn reconnect_members(
        &mut self,
        cx: &mut Context,
        members: Vec<SessionKey>,
    ) -> Reply {
        let notified = members.into_iter();
        let notified = notified.filter(|key| self.reconnect(cx, *key));
        Reply::Reconnected(notified.count() as u64, None)
    }

    /// Notifies connections from this place of the table on, as many as a step may.
    pub(crate) fn reconnect_some(&mut self, cx: &mut Context, from: usize) -> Reply {
        let slots = self.places();
        let end = from.saturating_add(INSPECTED_SLOTS_PER_STEP).min(slots);
        let (mut notified, mut next) = (0, from);
        while next < end && notified < RECONNECTS_PER_STEP {
            let session = self.session_at(next);
            notified += usize::from(session.is_some_and(|key| self.reconnect(cx, key)));
            next += 1;
        }
        Reply::Reconnected(notified as u64, (next < slots).then_some(next))
    }

    /// Notifies one connection, or closes it to come back; false when it is no current one, or does not read.
    ///
    /// Each connection that comes back costs up to four calls and an upgrade, so they are closed one after the other,
    /// [`RECALL_STEP_MS`](crate::limits::RECALL_STEP_MS) apart.
    pub(crate) fn reconnect(&mut self, cx: &mut Context, key: SessionKey) -> bool {
        let has_room = self.has_control_room(cx, key);
        let Some(web_socket) = self.web_socket(key).filter(|it| !it.superseded) else {
            return false;
        };
        if web_socket.takes_notices() {
            if has_room {
                self.push_control(cx, key, |out| out.extend_from_slice(RECONNECT_ICE_SERVER));
            }
            return has_room;
        }
        let moment = self.next_recall(cx.at.now);
        if let Some(web_socket) = self.web_socket(key) {
            web_socket.recall(moment);
        }
        self.arm_open(key, cx.at.now);
        true
    }
}

impl Directory {
    /// The connections of a channel, superseded ones included; `None` when it does not live here.
    pub(crate) fn members_of(&self, identity: &Identity) -> Option<Vec<SessionKey>> {
        Some(self.members(self.key_of(identity)?))
    }
}

/// Ends some connections of a channel; returns how many.
pub(crate) fn disconnect(
    sockets: &Sockets,
    directory: &Directory,
    cx: &mut Context,
    identity: &Identity,
    which: &Connections,
) -> Option<u64> {
    let mut meant = directory.members_of(identity)?;
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

/// One channel in a page.
#[derive(Clone, Debug)]
pub struct ChannelLine {
    /// Identity.
    pub identity: Identity,
    /// ARN.
    pub arn: ChannelArn,
    /// Whether a master is connected.
    pub master_connected: bool,
    /// The number of connected viewers.
    pub viewers: usize,
    /// The number of kept messages.
    pub pending: usize,
    /// Whether the viewer that was asked for is connected.
    pub has_viewer: bool,
    /// The presence, if that was asked for and anybody is connected or waits.
    pub presence: Option<Box<Presence>>,
    /// Name and key of the connected master's principal, where presence was asked for and it has one.
    pub credential: Option<(Box<str>, Box<str>)>,
}

/// One channel in full.
#[derive(Clone, Debug)]
pub struct ChannelView {
    /// Record.
    pub record: Record,
    /// Master, if connected.
    pub master: Option<PeerView>,
    /// Viewers by client id.
    pub viewers: Vec<PeerView>,
    /// The messages that are kept for absent peers, in the order of acceptance.
    pub pending: Vec<PendingView>,
    /// Connections that lost their place to a newer one.
    pub superseded: usize,
    /// Alexa calls without an answer.
    pub waiting_calls: usize,
    /// Presence; `None` while its slot moves.
    pub presence: Option<Presence>,
}

/// One connection of a channel.
#[derive(Clone, Debug)]
pub struct PeerView {
    /// A viewer's client id.
    pub client_id: Option<Box<str>>,
    /// When it was admitted.
    pub connected_at: Wall,
    /// The peer's address.
    pub remote: SocketAddr,
    /// Whether it is TLS.
    pub tls: bool,
    /// Messages that it sent, refused ones included.
    pub messages_in: u32,
    /// Messages that were handed to it whole.
    pub messages_out: u32,
    /// Milliseconds since the last bytes came from it.
    pub last_frame_age_ms: u64,
    /// Bytes that wait for its socket.
    pub outbox_bytes: usize,
    /// Bytes of messages that were sent to it, and that it has not confirmed.
    pub unconfirmed_bytes: usize,
}

/// One kept message.
#[derive(Clone, Debug)]
pub struct PendingView {
    /// Which way it goes.
    pub towards: Towards,
    /// The viewer at its other end.
    pub viewer: Box<str>,
    /// The action.
    pub action: Action,
    /// Length of its frame.
    pub bytes: usize,
    /// Milliseconds since it was accepted, if the channel's MessageTtlSeconds has not changed since.
    pub age_ms: u64,
}

impl Directory {
    /// The first `limit` channels after `after`. Names are ordered within each account and region; those are merged.
    pub(crate) fn inspect_page(
        &mut self,
        prefix: &str,
        after: Option<&Identity>,
        limit: usize,
        viewer: Option<&str>,
    ) -> Reply {
        let mut lists = Vec::new();
        let mut firsts = BinaryHeap::new();
        for group in self.tenants() {
            let mut list = self.names_from(start(group, prefix, after));
            let wanted = |identity: &Identity| {
                identity
                    .as_str()
                    .strip_prefix(group)
                    .is_some_and(|name| name.starts_with(prefix))
            };
            if let Some((identity, key)) = list.next().filter(|(identity, _)| wanted(identity)) {
                firsts.push(Reverse((identity.name(), identity, key, lists.len())));
                lists.push((list, group));
            }
        }
        let mut lines = Vec::new();
        while lines.len() < limit
            && let Some(Reverse((_, identity, key, place))) = firsts.pop()
        {
            lines.extend(self.line(identity, key, viewer));
            let Some((list, group)) = lists.get_mut(place) else {
                continue;
            };
            let next = list.next().filter(|(identity, _)| {
                let name = identity.as_str().strip_prefix(*group);
                name.is_some_and(|name| name.starts_with(prefix))
            });
            if let Some((identity, key)) = next {
                firsts.push(Reverse((identity.name(), identity, key, place)));
            }
        }
        let more = !firsts.is_empty();
        let read = lines.len() + lists.len();
        drop(lists);
        self.count_read(read);
        Reply::Page(lines, more)
    }

    fn line(
        &self,
        identity: &Identity,
        key: ChannelKey,
        viewer: Option<&str>,
    ) -> Option<ChannelLine> {
        let exists = |channel: &&Channel| channel.state != Life::Creating;
        let channel = self.channel(key).filter(exists)?;
        let live = channel.live();
        Some(ChannelLine {
            identity: identity.clone(),
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
}

/// Puts into the lines of a page who is connected or waits, where there is anybody.
pub(crate) fn read_presence(
    sockets: &Sockets,
    directory: &mut Directory,
    lines: &mut [ChannelLine],
    at: Moment,
) {
    for line in lines {
        let key = directory.key_of(&line.identity);
        let in_use = |key: &ChannelKey| {
            let channel = directory.channel(*key);
            channel.is_some_and(|channel| channel.live().is_some())
        };
        if let Some(key) = key.filter(in_use) {
            let read = operator_requests::watched_presence(sockets, directory, key, at);
            line.presence = read.filter(Presence::has_anybody).map(Box::new);
            let live = directory.channel(key).and_then(Channel::live);
            let master = live.and_then(|live| sockets.session(live.members.master()?)?.open());
            let caller = master.and_then(|master| master.held.caller()?.credential());
            line.credential = caller.map(|(name, key)| (name.into(), key.into()));
        }
    }
}

/// One channel in detail; `None` while it is only being created.
pub(crate) fn view(
    sockets: &Sockets,
    directory: &mut Directory,
    key: ChannelKey,
    at: Moment,
) -> Option<ChannelView> {
    let presence = operator_requests::watched_presence(sockets, directory, key, at);
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

/// The beginning of a page in the list of one account and region.
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

/// A connection that lost its slot to a newer one and stays: it may send, and receives nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisplacedLine {
    /// The connection.
    pub session: SessionKey,
    /// The channel's ARN.
    pub arn: ChannelArn,
    /// The client id of a viewer.
    pub client_id: Option<Box<str>>,
    /// The address of its peer.
    pub remote: SocketAddr,
    /// The address of the peer that has the slot.
    pub by: SocketAddr,
    /// When it lost the slot.
    pub since: Wall,
    /// Whether bytes came from it since.
    pub sends: bool,
}

/// The connections that lost their slot [`DISPLACED_MS`] ago or earlier.
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

/// `None` for a connection that was superseded, or is closing.
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

// The channel and client of a connection's number, for operators: of open connections by their sessions, of those that
// left by the recorder's notes, a bounded number in each step.

/// One step of looking for a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionStep {
    /// Channel, if it exists still, and the client id of a viewer.
    pub found: Option<(Identity, Option<Box<str>>)>,
    /// The note before which the next step looks, if there is more to look at.
    pub next: Option<NonZeroU64>,
}

/// Looks at one step's notes; at the open connections first.
pub(crate) fn look_up_connection(
    sockets: &Sockets,
    directory: &Directory,
    recorder: &Recorder,
    session: SessionKey,
    before: Option<NonZeroU64>,
) -> SessionStep {
    let open = sockets.session(session).and_then(Session::open);
    if let Some(web_socket) = open {
        let client_id = web_socket.role.client_id().map(Box::from);
        return found(directory, web_socket.channel, client_id);
    }
    let before = before.map_or_else(|| recorder.written(), NonZeroU64::get);
    match trace::left(recorder, session, before) {
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

// Channels that an operator brings while the process runs: each shard keeps the names of its own, the store commits
// all of them at once, and its report makes them ([`Directory::committed`]).

/// The part of a shard in an import: of the channels that live there.
#[derive(Clone, Debug, Default)]
pub struct ImportPart {
    /// Names that are kept until the store reports their creation: places in the list, and the keys for the report.
    pub kept: Vec<(usize, ChannelKey)>,
    /// Channels that are there under a name of the list.
    pub there: Vec<Record>,
    /// Channels that cannot be made now: places in the list, and why.
    pub faults: Vec<(usize, &'static str)>,
}

/// Keeps the names of a list that live here and are free.
pub(crate) fn begin_import(
    sockets: &Sockets,
    directory: &mut Directory,
    records: &[Record],
    at: Moment,
) -> Reply {
    let mut part = ImportPart::default();
    for (place, record) in records.iter().enumerate().take(IMPORTED_MAX) {
        let identity = Identity::of(&record.arn);
        if sockets.placement().home(&identity, at.now) != Home::Here(directory.shard()) {
            continue;
        }
        match directory.named_channel(&identity) {
            Some(channel) if channel.state == Life::Active => {
                part.there.push(channel.record.clone());
            }
            Some(_) => part.faults.push((place, CHANGING)),
            None => match directory.keep_name(record, &identity, at) {
                Ok(key) => part.kept.push((place, key)),
                Err(fault) => part.faults.push((place, fault)),
            },
        }
    }
    Reply::Import(Box::new(part))
}

/// Gives free the names that were kept.
pub(crate) fn withdraw_import(
    directory: &mut Directory,
    cx: &mut Context,
    records: &Arc<[Record]>,
) -> Reply {
    for record in records.iter().take(IMPORTED_MAX) {
        let key = directory.key_of(&Identity::of(&record.arn));
        if let Some(key) = key.filter(|key| directory.is_name_kept(*key)) {
            directory.committed(cx, key, Err(StoreError::Busy));
        }
    }
    Reply::Done
}

impl Directory {
    /// Enters a channel of an operator into the tables, to be created when the store reports it.
    fn keep_name(
        &mut self,
        record: &Record,
        identity: &Identity,
        at: Moment,
    ) -> Result<ChannelKey, &'static str> {
        let kind = ErrorKind::ServiceUnavailable;
        self.has_bytes(identity.tenant(), 0, record.bytes(), kind)
            .map_err(|_| NO_ROOM)?;
        let key = self.insert_channel(record.clone(), Life::Creating);
        let key = key.ok_or(NO_ROOM)?;
        self.note_created(record.created.min(at.wall));
        self.creation_is_kept(key);
        Ok(key)
    }
}

const CHANGING: &str = "a channel of this name is being created or deleted: try again";
const NO_ROOM: &str = "there is no room for it: see [limits] channels, record_bytes_total and record_bytes_per_account";

#[cfg(test)]
mod channels_tests;
