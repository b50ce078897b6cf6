//! A page of channels, and one channel in detail: copies, made between two turns.

use crate::channel::{Channel, Life, Towards};
use crate::id::{ChannelKey, Identity};
use crate::presence::Presence;
use crate::record::Record;
use crate::session::Session;
use crate::shard::directory::Directory;
use crate::shard::operator::inspect::question::Reply;
use crate::shard::operator::presence;
use crate::shard::sockets::Sockets;
use crate::time::{Moment, Wall};
use codec::identifiers::ChannelArn;
use codec::signal::Action;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::ops::Bound;

/// One channel in a page.
#[derive(Clone, Debug)]
pub struct ChannelLine {
    /// Its identity.
    pub identity: Identity,
    /// Its ARN.
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
}

/// One channel in full.
#[derive(Clone, Debug)]
pub struct ChannelView {
    /// Its record.
    pub record: Record,
    /// Its master, if connected.
    pub master: Option<PeerView>,
    /// Its viewers by client id.
    pub viewers: Vec<PeerView>,
    /// The messages that are kept for absent peers, in the order of acceptance.
    pub pending: Vec<PendingView>,
    /// Connections that lost their place to a newer one.
    pub superseded: usize,
    /// Alexa calls without an answer.
    pub waiting_calls: usize,
    /// Its presence; `None` while its slot is on the way.
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
            let read = presence::read(sockets, directory, key, at);
            line.presence = read.filter(Presence::has_anybody).map(Box::new);
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
    let presence = presence::read(sockets, directory, key, at);
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
    })
}

#[cfg(test)]
mod tests;
