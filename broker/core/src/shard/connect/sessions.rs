//! Adding and removing sessions and channels: keeps tables, gauges and the timer wheel in step.

use crate::channel::Channel;
use crate::event::ConnectionRole;
use crate::id::{ChannelKey, SessionKey};
use crate::machine::Peer;
use crate::session::Session;
use crate::shard::directory::Directory;
use crate::shard::sockets::Sockets;
use crate::shard::sockets::timer::Timer;
use crate::time::Moment;

impl Sockets {
    /// Moves a session from one gauge to another.
    pub(in crate::shard) fn place(&mut self, key: SessionKey, place: ConnectionRole) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let old = std::mem::replace(&mut session.place, place);
        self.count_place(old, false);
        self.count_place(place, true);
    }

    pub(in crate::shard) fn count_place(&mut self, place: ConnectionRole, comes: bool) {
        if let Some(gauge) = self.census.places.get_mut(place.index()) {
            *gauge = if comes {
                *gauge + 1
            } else {
                gauge.saturating_sub(1)
            };
        }
    }

    /// Takes a session out, with its timer and what was charged for it.
    pub(in crate::shard) fn remove_session(&mut self, key: SessionKey) -> Option<Session> {
        self.discharge(key);
        self.requests.without_owner.remove(&key);
        let mut session = self.sessions.remove(key)?;
        self.wheel.forget(&mut session.timer);
        self.forget_faults(key);
        if let Some(parity) = &mut self.dev.parity {
            parity.forget_session(key);
        }
        Some(session)
    }

    /// A channel is out of the tables: its timer goes, and what is known of its connections that are behind.
    pub(in crate::shard) fn channel_went(&mut self, key: ChannelKey, channel: &mut Channel) {
        self.wheel.forget(&mut channel.timer);
        self.backlog.withdraw(key);
        if let Some(parity) = &self.dev.parity {
            parity.channel_went(channel);
        }
    }

    /// Has the wheel call for a channel when its next kept message or waiting call expires, or its rates can be
    /// forgotten.
    pub(in crate::shard) fn arm_channel(
        &mut self,
        directory: &mut Directory,
        key: ChannelKey,
        at: Moment,
    ) {
        let Some(channel) = directory.channels.get_mut(key) else {
            return;
        };
        match channel.next_due(&self.settings.quotas, at.now) {
            Some(next) => (self.wheel).call_by(&mut channel.timer, next, Timer::channel(key)),
            None => self.wheel.forget(&mut channel.timer),
        }
    }

    pub(in crate::shard) fn open_session(
        &mut self,
        peer: Peer,
        anyway: bool,
        at: Moment,
    ) -> Option<SessionKey> {
        let timeouts = &self.settings.timeouts;
        let deadline = at.now.after(if peer.tls {
            timeouts.tls_ms
        } else {
            timeouts.head_ms
        });
        let key = self.add_session(Session::accepted(peer, deadline), anyway)?;
        self.arm(key, deadline);
        Some(key)
    }

    pub(in crate::shard) fn add_session(
        &mut self,
        session: Session,
        anyway: bool,
    ) -> Option<SessionKey> {
        let place = session.place;
        let added = if anyway {
            self.sessions.insert_anyway(session)
        } else {
            self.sessions.insert(session)
        };
        let key = added.ok()?;
        self.count_place(place, true);
        Some(key)
    }
}
