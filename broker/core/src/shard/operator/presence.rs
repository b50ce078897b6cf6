//! The presence of watched channels, told when an input was worked off.

use crate::channel::{Channel, Live};
use crate::id::{CallerId, ChannelKey, Identity, SessionKey};
use crate::limits::WAITERS_TOLD_MAX;
use crate::presence::{Cause, Master, Presence, Waiter};
use crate::session::web_socket::WebSocket;
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
    pub(crate) fn tell_presence(&mut self, at: Moment) {
        if self.directory.news().is_due(at.now) {
            self.tell_changed(at);
        }
    }

    #[cold]
    fn tell_changed(&mut self, at: Moment) {
        let mut news = std::mem::take(self.directory.news_mut());
        let is_read = news.is_watched(0);
        let (sockets, directory) = (&self.sockets, &self.directory);
        news.tell(at, |key, (cause, reason), sequence| {
            let channel = directory.channel(key)?;
            if channel.hooks == 0 && !is_read {
                return None;
            }
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

/// The presence of a channel as it is now. Its sequence is greater than those of all states before; it has no cause of
/// its own.
pub(crate) fn read(
    sockets: &Sockets,
    directory: &mut Directory,
    key: ChannelKey,
    at: Moment,
) -> Option<Presence> {
    let sequence = directory.news_mut().next_sequence();
    let channel = directory.channel(key)?;
    let presence = presence(sockets, directory, channel, (Cause::Watched, at))?;
    Some(Presence {
        sequence,
        ..presence
    })
}

/// The presence of a channel; `None` when there is nothing to send of it.
fn presence(
    sockets: &Sockets,
    directory: &Directory,
    channel: &Channel,
    (cause, at): (Cause, Moment),
) -> Option<Presence> {
    let wall = |now: Now| Wall(at.wall.0.saturating_sub(at.now.since(now)));
    let mut presence = Presence::nobody(&channel.record, channel.hooks, cause);
    let identity = Identity::of(&channel.record.arn);
    (presence.slot, presence.epoch) = directory.presence_epoch(&identity)?;
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
    let waiting = waiting(live, channel, directory.settings());
    if cause == Cause::Waiting && waiting.is_empty() {
        return None;
    }
    presence.more = u32::try_from(waiting.len().saturating_sub(WAITERS_TOLD_MAX)).ok()?;
    let waiting = told(waiting).into_iter();
    presence.waiting = waiting.map(|one| one.waiter(at)).collect();
    Some(presence)
}

/// Somebody who waits for a master.
#[derive(Clone, Copy, Debug)]
struct Waits<'a> {
    client_id: &'a str,
    action: Action,
    caller: Option<CallerId>,
    /// When that was accepted.
    since: Now,
    expires: Now,
    /// Nobody of the same caller waits for less time.
    is_newest: bool,
}

impl Waits<'_> {
    fn waiter(&self, at: Moment) -> Waiter {
        let until = Wall(at.wall.0 + self.expires.since(at.now));
        Waiter {
            client_id: self.client_id.into(),
            action: self.action,
            caller: self.caller,
            since: Wall(until.0.saturating_sub(self.expires.since(self.since))),
            until,
        }
    }
}

/// Those who are named, oldest first: of too many the newest of each caller, then the oldest. So no caller hides from
/// those who watch that another one waits.
fn told(mut all: Vec<Waits<'_>>) -> Vec<Waits<'_>> {
    all.sort_by_key(|one| one.since);
    if all.len() > WAITERS_TOLD_MAX {
        let mut callers = Vec::new();
        for one in all.iter_mut().rev() {
            one.is_newest = !callers.contains(&one.caller);
            if one.is_newest {
                callers.push(one.caller);
            }
        }
        all.sort_by_key(|one| match one.is_newest {
            true => (false, u64::MAX - one.since.0),
            false => (true, one.since.0),
        });
        all.truncate(WAITERS_TOLD_MAX);
        all.sort_by_key(|one| one.since);
    }
    all
}

/// Those who wait for a master.
fn waiting<'a>(live: &'a Live, channel: &Channel, settings: &Settings) -> Vec<Waits<'a>> {
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
    let waits = |client_id, (action, caller), expires: Now, for_ms: u64| Waits {
        client_id,
        action,
        caller,
        since: Now(expires.0.saturating_sub(for_ms)),
        expires,
        is_newest: false,
    };
    let kept = live.pending.for_master().map(|kept| {
        let what = (kept.message.action, kept.caller);
        waits(&**kept.viewer, what, kept.message.expires, kept_ms)
    });
    // A master that had an offer before has it still.
    let master = live.members.master();
    let has = |had: &[SessionKey]| master.is_some_and(|master| had.contains(&master));
    let calls = live.calls.iter();
    let calls = calls.filter(|call| call.given.is_none() && !has(&call.had));
    let calls = calls.map(|call| {
        let what = (Action::SdpOffer, None);
        waits(&*call.sender, what, call.expires, called_ms)
    });
    kept.chain(calls).collect()
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn no_caller_hides_that_another_one_waits() {
        let waits = |since: u64, caller: u64| Waits {
            client_id: "v",
            action: Action::SdpOffer,
            caller: Some(CallerId::of_hash(caller)),
            since: Now(since),
            expires: Now(since + 60),
            is_newest: false,
        };
        let many = (0..40).map(|since| waits(since, 1));
        let all = many.chain([waits(20, 2), waits(41, 3)]).collect();
        let told = told(all);
        let since: Vec<_> = told.iter().map(|one| one.since.0).collect();
        let oldest: Vec<_> = (0..13).chain([20, 39, 41]).collect();
        assert_eq!(since, oldest, "the newest of each, and the oldest");
    }
}
