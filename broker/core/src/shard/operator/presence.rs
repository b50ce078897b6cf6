//! The presence of watched channels, told when an input was worked off.

use crate::channel::{Channel, Live};
use crate::id::SessionKey;
use crate::limits::WAITERS_TOLD_MAX;
use crate::presence::{Cause, Master, Presence, Waiter};
use crate::session::WebSocket;
use crate::settings::Settings;
use crate::shard::Shard;
use crate::shard::directory::Directory;
use crate::shard::directory::calls::wait_ms;
use crate::shard::sockets::Sockets;
use crate::time::{Moment, Now, Wall};
use codec::signal::Action;

impl Shard {
    /// Tells those who watch what has changed.
    #[inline]
    pub(in crate::shard) fn tell_presence(&mut self, at: Moment) {
        if self.directory.news().is_due(at.now) {
            self.tell_changed(at);
        }
    }

    #[cold]
    fn tell_changed(&mut self, at: Moment) {
        let mut news = std::mem::take(self.directory.news_mut());
        let (sockets, directory) = (&self.sockets, &self.directory);
        news.tell(at, |key, (cause, reason), sequence| {
            let channel = directory.channel(key)?;
            let presence = presence(sockets, directory, channel, (cause, at))?;
            Some(Box::new(Presence {
                reason,
                sequence,
                ..presence
            }))
        });
        *self.directory.news_mut() = news;
    }
}

/// The presence of a channel; `None` when there is nothing to send of it.
fn presence(
    sockets: &Sockets,
    directory: &Directory,
    channel: &Channel,
    (cause, at): (Cause, Moment),
) -> Option<Presence> {
    if channel.hooks == 0 {
        return None;
    }
    let wall = |now: Now| Wall(at.wall.0.saturating_sub(at.now.since(now)));
    let mut presence = Presence::nobody(&channel.record, channel.hooks, cause);
    presence.at = at.wall;
    let Some(live) = channel.live() else {
        return Some(presence);
    };
    let master = |session: SessionKey| {
        let session = sockets.session(session)?;
        let since = session.open().map(WebSocket::opened);
        Some(Master {
            since: wall(since.unwrap_or(at.now)),
            remote: session.remote(),
        })
    };
    presence.master = live.members.master().and_then(master);
    presence.viewers = u32::try_from(live.members.viewers()).unwrap_or(u32::MAX);
    let mut waiting = waiting(live, channel, directory.settings(), at);
    if cause == Cause::Waiting && waiting.is_empty() {
        return None;
    }
    presence.more = u32::try_from(waiting.len().saturating_sub(WAITERS_TOLD_MAX)).ok()?;
    waiting.truncate(WAITERS_TOLD_MAX);
    presence.waiting = waiting;
    Some(presence)
}

/// Those who wait for a master, oldest first.
fn waiting(live: &Live, channel: &Channel, settings: &Settings, at: Moment) -> Vec<Waiter> {
    let ttl = u64::from(channel.record.ttl_seconds) * 1000;
    let kept_ms = if channel.hooks & settings.waking_hooks() == 0 {
        ttl
    } else {
        ttl.max(settings.presence.wake_ttl_ms)
    };
    let called_ms = wait_ms(
        channel.record.ttl_seconds,
        settings.timeouts.alexa_wait_max_ms,
    );
    let waiter = |client_id: &str, (action, caller), expires: Now, for_ms: u64| {
        let until = Wall(at.wall.0 + expires.since(at.now));
        Waiter {
            client_id: client_id.into(),
            action,
            caller,
            since: Wall(until.0.saturating_sub(for_ms)),
            until,
        }
    };
    let kept = live.pending.for_master().map(|kept| {
        let what = (kept.message.action, kept.caller);
        waiter(kept.viewer, what, kept.message.expires, kept_ms)
    });
    // A master that had an offer before has it still.
    let master = live.members.master();
    let has = |had: &[SessionKey]| master.is_some_and(|master| had.contains(&master));
    let calls = live.calls.iter();
    let calls = calls.filter(|call| call.given.is_none() && !has(&call.had));
    let calls = calls.map(|call| {
        let what = (Action::SdpOffer, None);
        waiter(&call.sender, what, call.expires, called_ms)
    });
    let mut all: Vec<_> = kept.chain(calls).collect();
    all.sort_by_key(|waiter| waiter.since);
    all
}
