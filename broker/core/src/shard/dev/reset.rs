//! The end of channels that a test has used, under `--dev`: connections are closed, what was kept is withdrawn, names
//! are free.

use crate::channel::Life;
use crate::id::{ChannelKey, Identity};
use crate::journal::EndReason;
use crate::limits::RESET_CHANNELS_PER_STEP;
use crate::shard::directory::Directory;
use crate::shard::sockets::Sockets;
use crate::shard::todo::TodoList;
use crate::shard::todo::each::Each;

/// The channels that a shard is to end.
#[derive(Clone, Debug)]
pub struct Reset {
    /// Channels whose names begin with this.
    pub prefix: Box<str>,
    /// Only these, which an earlier step has left; `None` in the first step.
    pub only: Option<Vec<Identity>>,
}

/// The result of a step.
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

impl Reset {
    /// The channels that it is about.
    pub(crate) fn channels(&mut self, directory: &Directory) -> Vec<Identity> {
        self.only.take().unwrap_or_else(|| {
            let names = directory.names().map(|(identity, _)| identity);
            let meant = names.filter(|identity| identity.name().starts_with(&*self.prefix));
            meant.cloned().collect()
        })
    }

    /// Its first step: what is not about single channels.
    pub(crate) fn begin(&self, sockets: &mut Sockets, todo: &mut TodoList) {
        if self.only.is_none() && self.prefix.is_empty() {
            end_mute_requests(sockets, todo);
        }
        if let Some(parity) = &mut sockets.dev_mut().parity {
            parity.forget(&self.prefix);
        }
    }

    /// The channels that it is about whose deletion is not durable yet.
    pub(crate) fn deleting(&self, directory: &Directory) -> u64 {
        let deleting = directory.names().filter(|(identity, key)| {
            let channel = directory.channel(*key);
            identity.name().starts_with(&*self.prefix)
                && channel.is_some_and(|channel| channel.state == Life::Deleting)
        });
        deleting.count() as u64
    }
}

impl ResetStep {
    /// Ends a channel, if the step may end one more.
    pub(crate) fn end(
        &mut self,
        sockets: &mut Sockets,
        directory: &mut Directory,
        todo: &mut TodoList,
        identity: Identity,
    ) -> Option<ChannelKey> {
        if self.channels >= RESET_CHANNELS_PER_STEP {
            self.left.push(identity);
            return None;
        }
        let key = directory.key_of(&identity)?;
        let members = directory.members(key);
        self.connections += members.len() as u64;
        for session in &members {
            sockets.forget_faults(*session); // else one that a fault keeps silent would not get its close frame
            sockets.touch(*session);
        }
        todo.each(Each::close(members, EndReason::ChannelDeleted));
        if directory.delete(todo, key) {
            self.channels += 1;
        } else {
            self.left.push(identity);
        }
        Some(key)
    }
}

/// Ends requests that a fault leaves without an answer.
fn end_mute_requests(sockets: &mut Sockets, todo: &mut TodoList) {
    let mut mute = Vec::new();
    for slot in 0..sockets.places() {
        let Some(key) = sockets.session_at(slot) else {
            continue;
        };
        let session = sockets.session(key);
        if session.is_some_and(|it| it.channel().is_none() && it.stands_still()) {
            sockets.forget_faults(key);
            mute.push(key);
        }
    }
    todo.each(Each::abort(mute, None));
}
