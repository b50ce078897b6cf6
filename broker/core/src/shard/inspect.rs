//! Requests of operators to a shard: its channels, one channel in detail, and making clients fetch ICE servers again.
//!
//! Answers are copies, made between two turns; a page and a step are bounded, so that no turn takes long.

use super::books::Books;
use super::directory::Directory;
use super::faults::{self, SharedRule};
use super::parity::{self, Finding};
use super::reset::{self, Reset, ResetStep};
use super::sockets::Sockets;
use super::trace::{self, TracePlace, TraceStep};
use super::{frames, leave, outboxes};
use crate::channel::{Channel, Life, Towards};
use crate::id::{ChannelKey, Identity, SessionKey};
use crate::journal::EndReason;
use crate::limits::{INSPECTED_SLOTS_PER_STEP, LIST_PAGE_MAX, RECALL_STEP_MS, RECONNECTS_PER_STEP};
use crate::record::Record;
use crate::session::Session;
use crate::time::{Moment, Wall};
use codec::aws::ChannelArn;
use codec::signal::{Action, RECONNECT_ICE_SERVER};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::ops::Bound;

/// A question of the inspector.
#[derive(Clone, Debug)]
pub enum Question {
    /// Channels by name, those of the same name by identity.
    Page {
        /// What their names begin with.
        prefix: Box<str>,
        /// The last channel of the page before.
        after: Option<Identity>,
        /// How many at most; never more than [`LIST_PAGE_MAX`].
        limit: usize,
    },
    /// One channel.
    Channel(Identity),
    /// What happened on one channel, newest first.
    Trace {
        /// The channel.
        identity: Identity,
        /// Where this step begins: where the one before says; `None` for the first.
        from: Option<TracePlace>,
        /// How many events at most.
        limit: usize,
    },
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
    /// A fault that a test makes, under `--dev`.
    AddFault(SharedRule),
    /// The end of what a test has made, under `--dev`; nothing elsewhere.
    Reset(Reset),
    /// What the strict profile would have refused, under `--dev`.
    Parity,
}

/// Some connections of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Connections {
    /// All of them.
    All,
    /// Those of masters.
    Masters,
    /// Those of viewers.
    Viewers,
    /// Those of viewers with this client id.
    Viewer(Box<str>),
}

/// The answer to a [`Question`].
#[derive(Clone, Debug)]
pub enum Reply {
    /// Channels in order, and whether more would follow.
    Page(Vec<ChannelLine>, bool),
    /// The channel, if it lives there.
    Channel(Option<Box<ChannelView>>),
    /// One step of a channel's trace, if the channel lives there.
    Trace(Option<Box<TraceStep>>),
    /// How many connections were notified in this step, and where the next step begins, if any.
    Reconnected(u64, Option<usize>),
    /// The number of connections that are being closed, or `None` when the channel does not live there.
    Disconnected(Option<u64>),
    /// That it is done.
    Done,
    /// What a step of a reset has done.
    Reset(ResetStep),
    /// What it would have refused.
    Findings(Vec<Finding>),
}

/// One channel in a page.
#[derive(Clone, Debug)]
pub struct ChannelLine {
    /// What it is known by.
    pub identity: Identity,
    /// Its ARN.
    pub arn: ChannelArn,
    /// Whether a master is connected.
    pub master_connected: bool,
    /// How many viewers are connected.
    pub viewers: usize,
    /// How many messages are kept.
    pub pending: usize,
}

/// One channel in full.
#[derive(Clone, Debug)]
pub struct ChannelView {
    /// What is known of it.
    pub record: Record,
    /// Its master, if connected.
    pub master: Option<PeerView>,
    /// Its viewers by client id.
    pub viewers: Vec<PeerView>,
    /// What is kept for those who are absent, in the order of acceptance.
    pub pending: Vec<PendingView>,
    /// Connections that lost their place to a newer one.
    pub superseded: usize,
    /// Alexa calls without an answer.
    pub waiting_calls: usize,
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
    /// How long ago the last bytes came from it, in milliseconds.
    pub last_frame_age_ms: u64,
    /// Bytes that wait for its socket.
    pub outbox_bytes: usize,
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
    /// Its frame's length.
    pub bytes: usize,
    /// How long ago it was accepted, in milliseconds, if the channel's MessageTtlSeconds has not changed since.
    pub age_ms: u64,
}

pub(super) fn answer_operator(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    question: Question,
    at: Moment,
) -> Reply {
    match question {
        Question::Page {
            prefix,
            after,
            limit,
        } => directory.inspect_page(&prefix, after.as_ref(), limit.min(LIST_PAGE_MAX)),
        Question::Channel(identity) => {
            let key = directory.names.get(&identity);
            Reply::Channel(
                key.and_then(|key| view(sockets, directory, *key, at))
                    .map(Box::new),
            )
        }
        Question::Trace {
            identity,
            from,
            limit,
        } => {
            let recorder = &books.recorder;
            let step = trace::step(sockets, directory, recorder, &identity, from, limit, at);
            Reply::Trace(step.map(Box::new))
        }
        Question::ReconnectIce {
            channel: Some(identity),
            from: _,
        } => reconnect_channel(sockets, directory, books, &identity, at),
        Question::ReconnectIce {
            channel: None,
            from,
        } => reconnect_some(sockets, directory, books, from, at),
        Question::Reset(reset) if sockets.settings.dev => {
            Reply::Reset(reset::step(sockets, directory, books, reset, at))
        }
        Question::Parity => {
            let findings = sockets.parity.as_deref().map(parity::Parity::findings);
            Reply::Findings(findings.unwrap_or_default())
        }
        Question::Reset(_) => Reply::Reset(ResetStep::default()),
        Question::AddFault(rule) => {
            faults::add_fault(sockets, directory, books, rule, at);
            Reply::Done
        }
        Question::Disconnect { channel, which } => {
            Reply::Disconnected(disconnect(sockets, directory, books, &channel, &which, at))
        }
    }
}

impl Directory {
    /// The first `limit` channels after `after`. Names are ordered within each account and region; those are merged.
    fn inspect_page(&mut self, prefix: &str, after: Option<&Identity>, limit: usize) -> Reply {
        let mut lists = Vec::new();
        let mut firsts = BinaryHeap::new();
        for group in self.tenants.keys().map(|tenant| &**tenant) {
            let mut list = self
                .names
                .range((start(group, prefix, after), Bound::Unbounded));
            let wanted = |identity: &Identity| {
                identity
                    .as_str()
                    .strip_prefix(group)
                    .is_some_and(|name| name.starts_with(prefix))
            };
            if let Some((identity, key)) = list.next().filter(|(identity, _)| wanted(identity)) {
                firsts.push(Reverse((identity.name(), identity, *key, lists.len())));
                lists.push((list, group));
            }
        }
        let mut lines = Vec::new();
        while lines.len() < limit
            && let Some(Reverse((_, identity, key, place))) = firsts.pop()
        {
            lines.extend(self.line(identity, key));
            let Some((list, group)) = lists.get_mut(place) else {
                continue;
            };
            let next = list.next().filter(|(identity, _)| {
                let name = identity.as_str().strip_prefix(*group);
                name.is_some_and(|name| name.starts_with(prefix))
            });
            if let Some((identity, key)) = next {
                firsts.push(Reverse((identity.name(), identity, *key, place)));
            }
        }
        let more = !firsts.is_empty();
        self.pages.records_read += lines.len() as u64 + lists.len() as u64;
        Reply::Page(lines, more)
    }

    fn line(&self, identity: &Identity, key: ChannelKey) -> Option<ChannelLine> {
        let exists = |channel: &&Channel| channel.state != Life::Creating;
        let channel = self.channels.get(key).filter(exists)?;
        let live = channel.live();
        Some(ChannelLine {
            identity: identity.clone(),
            arn: channel.record.arn.clone(),
            master_connected: live.is_some_and(|live| live.members.master().is_some()),
            viewers: live.map_or(0, |live| live.members.viewers()),
            pending: live.map_or(0, |live| live.pending.messages().count()),
        })
    }
}

fn view(
    sockets: &Sockets,
    directory: &Directory,
    key: ChannelKey,
    at: Moment,
) -> Option<ChannelView> {
    let exists = |channel: &&Channel| channel.state != Life::Creating;
    let channel = directory.channels.get(key).filter(exists)?;
    let mut view = ChannelView {
        record: channel.record.clone(),
        master: None,
        viewers: Vec::new(),
        pending: Vec::new(),
        superseded: 0,
        waiting_calls: 0,
    };
    let Some(live) = channel.live() else {
        return Some(view);
    };
    for session in live.members.all() {
        let Some(session) = sockets.sessions.get(session) else {
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

fn reconnect_channel(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    identity: &Identity,
    at: Moment,
) -> Reply {
    let key = directory.names.get(identity).copied();
    let channel = key.and_then(|key| directory.channels.get(key));
    let members = channel
        .and_then(|channel| channel.live())
        .map_or_else(Vec::new, |live| live.members.all());
    let told = members
        .into_iter()
        .filter(|key| reconnect(sockets, directory, books, *key, at))
        .count();
    Reply::Reconnected(told as u64, None)
}

fn reconnect_some(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    from: usize,
    at: Moment,
) -> Reply {
    let slots = sockets.sessions.slots();
    let end = from.saturating_add(INSPECTED_SLOTS_PER_STEP).min(slots);
    let (mut told, mut next) = (0, from);
    while next < end && told < RECONNECTS_PER_STEP {
        let session = sockets.sessions.at(next);
        told +=
            usize::from(session.is_some_and(|key| reconnect(sockets, directory, books, key, at)));
        next += 1;
    }
    Reply::Reconnected(told as u64, (next < slots).then_some(next))
}

/// Notifies one connection, or closes it to come back; false when it is no current one, or does not read.
///
/// Each connection that comes back costs up to four calls and an upgrade, so they are closed one after the other,
/// [`RECALL_STEP_MS`] apart.
pub(super) fn reconnect(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    key: SessionKey,
    at: Moment,
) -> bool {
    let has_room = frames::has_control_room(sockets, books, key);
    let Some(web_socket) = sockets.web_socket(key).filter(|it| !it.superseded) else {
        return false;
    };
    if web_socket.takes_notices() {
        if has_room {
            outboxes::push_control(sockets, directory, books, key, |out| {
                out.extend_from_slice(RECONNECT_ICE_SERVER)
            });
        }
        return has_room;
    }
    let moment = sockets.ends.recalled.after(RECALL_STEP_MS).max(at.now);
    sockets.ends.recalled = moment;
    if let Some(web_socket) = sockets.web_socket(key) {
        web_socket.recall(moment);
    }
    sockets.arm_open(key, at.now);
    true
}

fn disconnect(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    identity: &Identity,
    which: &Connections,
    at: Moment,
) -> Option<u64> {
    let key = directory.names.get(identity).copied()?;
    let channel = directory.channels.get(key)?;
    let members = channel
        .live()
        .map_or_else(Vec::new, |live| live.members.all());
    let mut closed = 0;
    for key in members {
        let session = sockets.sessions.get(key);
        let role = session
            .and_then(|session| session.open())
            .map(|it| &it.role);
        let meant = role.is_some_and(|role| match which {
            Connections::All => true,
            Connections::Masters => role.client_id().is_none(),
            Connections::Viewers => role.client_id().is_some(),
            Connections::Viewer(id) => role.client_id() == Some(&**id),
        });
        if meant {
            leave::close_web_socket(sockets, directory, books, key, EndReason::Operator, at);
            closed += 1;
        }
    }
    Some(closed)
}

/// Where a page begins in the list of one account and region.
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

/// `None` for a connection that was superseded, or is closing.
fn peer_view(session: &Session, at: Moment) -> Option<PeerView> {
    let web_socket = session.open().filter(|web_socket| !web_socket.superseded)?;
    let age_ms = at.now.since(web_socket.opened());
    Some(PeerView {
        client_id: web_socket.role.client_id().map(Box::from),
        connected_at: Wall(at.wall.0.saturating_sub(age_ms)),
        remote: session.peer.remote,
        tls: session.peer.tls,
        messages_in: web_socket.tally.messages_in,
        messages_out: web_socket.tally.messages_out,
        last_frame_age_ms: at.now.since(web_socket.last_frame()),
        outbox_bytes: session.outbox.bytes(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ShardId;
    use crate::machine::Machine;
    use crate::placement::Placement;
    use crate::record::Version;
    use crate::settings::{Profile, Settings};
    use crate::shard::{Shard, Start};
    use std::sync::Arc;

    fn record(region: &str, name: &str) -> Record {
        let arn =
            format!("arn:aws:kinesisvideo:{region}:123456789012:channel/{name}/1700000000000");
        Record {
            arn: ChannelArn::parse(&arn, false).unwrap(),
            ttl_seconds: 60,
            created: Wall(0),
            version: Version::draw(&mut fastrand::Rng::with_seed(1)),
            tags: Vec::new(),
        }
    }

    fn shard(channels: &[(&str, &str)]) -> Shard {
        let settings = Arc::new(Settings::new(Profile::Default, true));
        let placement = Placement::new([1, 2, 3, 4], 1);
        let records = channels.iter();
        let start = Start {
            records: records.map(|(region, name)| record(region, name)).collect(),
            ..Start::bare(settings, ShardId(0), placement, [5, 6, 7, 8])
        };
        Shard::new(start)
    }

    /// All pages of `limit` channels, as `region:name`.
    fn pages(shard: &mut Shard, prefix: &str, limit: usize) -> Vec<Vec<String>> {
        let (mut pages, mut after) = (Vec::new(), None);
        loop {
            let question = Question::Page {
                prefix: prefix.into(),
                after: after.take(),
                limit,
            };
            let Reply::Page(lines, more) = shard.inspect(question, Moment::default()) else {
                panic!("a page is answered by a page");
            };
            let shown = |line: &ChannelLine| format!("{}:{}", line.arn.region(), line.arn.name());
            pages.push(lines.iter().map(shown).collect());
            if !more {
                return pages;
            }
            after = lines.last().map(|line| line.identity.clone());
        }
    }

    #[test]
    fn channels_of_several_regions_are_one_list_by_name() {
        let mut shard = shard(&[
            ("us-west-2", "b"),
            ("us-west-2", "a"),
            ("eu-west-1", "c"),
            ("eu-west-1", "a"),
            ("us-west-20", "a"),
            ("us-west-2", "ab"),
        ]);
        let all = [
            "eu-west-1:a",
            "us-west-20:a",
            "us-west-2:a",
            "us-west-2:ab",
            "us-west-2:b",
            "eu-west-1:c",
        ];
        assert_eq!(pages(&mut shard, "", 100), [all]);
        for limit in 1..6 {
            assert_eq!(
                pages(&mut shard, "", limit).concat(),
                all,
                "pages of {limit}"
            );
        }
        assert_eq!(pages(&mut shard, "a", 2).concat(), all[..4]);
        assert_eq!(pages(&mut shard, "ab", 1), [[all[3]]]);
        assert_eq!(pages(&mut shard, "zz", 1).concat(), Vec::<String>::new());
    }

    #[test]
    fn a_page_after_a_channel_that_is_gone_goes_on_behind_it() {
        let mut shard = shard(&[("us-west-2", "a"), ("us-west-2", "c")]);
        let question = Question::Page {
            prefix: "".into(),
            after: Some(Identity::new("us-west-2", "123456789012", "b")),
            limit: 9,
        };
        let Reply::Page(lines, more) = shard.inspect(question, Moment::default()) else {
            panic!("a page is answered by a page");
        };
        assert_eq!((lines.len(), lines[0].arn.name(), more), (1, "c", false));
    }
}
