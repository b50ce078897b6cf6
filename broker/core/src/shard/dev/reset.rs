//! The end of channels that a test has used, under `--dev`: connections are closed, what was kept is withdrawn, names
//! are free.

use super::faults;
use crate::channel::Life;
use crate::id::{ChannelKey, Identity, SessionKey};
use crate::journal::EndReason;
use crate::limits::RESET_CHANNELS_PER_STEP;
use crate::session::Session;
use crate::shard::books::Books;
use crate::shard::changes;
use crate::shard::directory::Directory;
use crate::shard::end::leave;
use crate::shard::sockets::Sockets;
use crate::time::Moment;

/// What a shard is to end.
#[derive(Clone, Debug)]
pub struct Reset {
    /// Channels whose names begin with this.
    pub prefix: Box<str>,
    /// Only these, which an earlier step has left; `None` in the first step.
    pub only: Option<Vec<Identity>>,
}

/// What a step has done.
#[derive(Clone, Debug, Default)]
pub struct ResetStep {
    /// Connections that are being closed.
    pub connections: u64,
    /// Channels that are being deleted.
    pub channels: u64,
    /// Channels that the next step has to look at: changes of them were under way, or there were many.
    pub left: Vec<Identity>,
    /// Channels whose deletion is not durable yet.
    pub deleting: u64,
}

/// Ends channels, a bounded number.
pub(in crate::shard) fn step(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    reset: Reset,
    at: Moment,
) -> ResetStep {
    let mut done = ResetStep::default();
    if reset.only.is_none() && reset.prefix.is_empty() {
        end_mute_requests(sockets, directory, books, at);
    }
    let prefix = &*reset.prefix;
    if let Some(parity) = &mut sockets.dev.parity {
        parity.forget(prefix);
    }
    let all = || {
        let names = directory.names.keys();
        let meant = names.filter(|identity| identity.name().starts_with(prefix));
        meant.cloned().collect()
    };
    for identity in reset.only.unwrap_or_else(all) {
        if done.channels >= RESET_CHANNELS_PER_STEP {
            done.left.push(identity);
            continue;
        }
        let Some(key) = directory.names.get(&identity).copied() else {
            continue;
        };
        done.connections += close_all(sockets, directory, books, key, at);
        faults::withdraw(sockets, books, key);
        if changes::delete(sockets, directory, books, key, at) {
            done.channels += 1;
        } else {
            done.left.push(identity);
        }
    }
    let deleting = directory.names.iter().filter(|(identity, key)| {
        let channel = directory.channels.get(**key);
        identity.name().starts_with(prefix)
            && channel.is_some_and(|channel| channel.state == Life::Deleting)
    });
    done.deleting = deleting.count() as u64;
    done
}

/// Closes every connection of a channel; returns how many.
fn close_all(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    key: ChannelKey,
    at: Moment,
) -> u64 {
    let live = directory.channels.get(key).and_then(|it| it.live());
    let members: Vec<SessionKey> = live.map_or_else(Vec::new, |live| live.members.all());
    for session in &members {
        sockets.forget_faults(*session); // else one that a fault keeps silent would not get its close frame
        sockets.touch(*session);
        let reason = EndReason::ChannelDeleted;
        leave::close_web_socket(sockets, directory, books, *session, reason, at);
    }
    members.len() as u64
}

/// Ends requests that a fault leaves without an answer.
fn end_mute_requests(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    at: Moment,
) {
    for slot in 0..sockets.sessions.slots() {
        let Some(key) = sockets.sessions.at(slot) else {
            continue;
        };
        let channel = sockets.sessions.get(key).and_then(Session::channel);
        if channel.is_none() && sockets.stands_still(key) {
            sockets.forget_faults(key);
            leave::abort(sockets, directory, books, key, at);
        }
    }
}
