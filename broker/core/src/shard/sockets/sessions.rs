//! The sessions of a shard: added, looked up, moved from state to state, and removed with all that the part keeps for
//! them.

use crate::auth::Caller;
use crate::channel::Channel;
use crate::cluster::maps::tunnels::{Cause, Lead};
use crate::event::{CONNECTION_ROLES, ConnectionRole};
use crate::id::{ChannelKey, SessionKey};
use crate::journal::EndReason;
use crate::limits::TUNNELS_PER_TICK;
use crate::machine::{Output, Peer, Shown};
use crate::session::http::Http;
use crate::session::web_socket::WebSocket;
use crate::session::{Ending, NEVER, Session, SessionState};
use crate::settings::Settings;
use crate::shard::shares::admitted::{Holder, Member, Standing};
use crate::shard::sockets::Sockets;
use crate::time::{Moment, Now};
use std::iter;
use std::sync::Arc;

impl Sockets {
    #[inline]
    pub(crate) fn session(&self, key: SessionKey) -> Option<&Session> {
        self.sessions.get(key)
    }

    /// A session's HTTP state, while it speaks HTTP.
    #[inline]
    pub(crate) fn http(&mut self, key: SessionKey) -> Option<&mut Http> {
        self.sessions.get_mut(key).and_then(Session::http_mut)
    }

    /// A session's open WebSocket, while it is one.
    #[inline]
    pub(crate) fn web_socket(&mut self, key: SessionKey) -> Option<&mut WebSocket> {
        self.sessions.get_mut(key).and_then(Session::open_mut)
    }

    /// The same with the configuration, by which its deadlines and rates are measured.
    #[inline]
    pub(crate) fn web_socket_and_settings(
        &mut self,
        key: SessionKey,
    ) -> Option<(&mut WebSocket, &Settings)> {
        let session = self.sessions.get_mut(key)?;
        Some((session.open_mut()?, &self.settings))
    }

    /// A session's WebSocket, while the peer's close frame is awaited.
    pub(crate) fn closing_web_socket(&mut self, key: SessionKey) -> Option<&mut WebSocket> {
        match &mut self.sessions.get_mut(key)?.state {
            SessionState::AwaitCloseEcho(web_socket, _) => Some(web_socket),
            SessionState::Http(_) | SessionState::Open(_) | SessionState::AwaitGone(_) => None,
        }
    }

    /// Whether one more session fits.
    pub(crate) fn has_room(&self) -> bool {
        self.sessions.has_room()
    }

    /// The number of places that sessions have had so far: the end for [`Sockets::session_at`].
    pub(crate) fn places(&self) -> usize {
        self.sessions.slots()
    }

    /// The session in a place, for walks over all of them in pieces.
    pub(crate) fn session_at(&self, place: usize) -> Option<SessionKey> {
        self.sessions.at(place)
    }

    /// Connections by [`ConnectionRole`].
    pub(crate) fn connections(&self) -> [u64; CONNECTION_ROLES] {
        self.census.places
    }
}

impl Sockets {
    pub(crate) fn open_session(
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

    pub(crate) fn add_session(&mut self, session: Session, anyway: bool) -> Option<SessionKey> {
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

    /// Takes a session out, with its timer, its places, and what was charged for it.
    pub(crate) fn remove_session(&mut self, key: SessionKey) -> Option<Session> {
        self.discharge(key);
        self.requests.without_owner.remove(&key);
        self.requests.shown.remove(&key);
        let mut session = self.sessions.remove(key)?;
        self.wheel.forget(&mut session.timer);
        self.count_place(session.place, false);
        if session.cut {
            self.cut_shrinks(session.outbox.bytes());
        }
        if session.channel().is_some() {
            self.census.web_sockets = self.census.web_sockets.saturating_sub(1);
            self.admitted.leave(key);
        }
        Some(session)
    }

    /// A connection to the credentials provider began with this.
    pub(crate) fn showed(&mut self, key: SessionKey, shown: Shown) {
        if self.sessions.get_mut(key).is_some() {
            self.requests.shown.insert(key, Arc::new(shown));
        }
    }

    /// The name and the certificate that it began with; `None` for any other connection.
    pub(crate) fn shown(&self, key: SessionKey) -> Option<Arc<Shown>> {
        self.requests.shown.get(&key).cloned()
    }

    /// A channel is out of the tables: its timer goes, and what is known of its connections that are behind.
    pub(crate) fn channel_went(&mut self, key: ChannelKey, channel: &mut Channel) {
        self.wheel.forget(&mut channel.timer);
        self.backlog.withdraw(key);
    }

    /// Moves a session from one gauge to another.
    pub(crate) fn place(&mut self, key: SessionKey, place: ConnectionRole) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let old = std::mem::replace(&mut session.place, place);
        self.count_place(old, false);
        self.count_place(place, true);
    }

    fn count_place(&mut self, place: ConnectionRole, comes: bool) {
        if let Some(gauge) = self.census.places.get_mut(place.index()) {
            *gauge = if comes {
                *gauge + 1
            } else {
                gauge.saturating_sub(1)
            };
        }
    }
}

/// The states of a session, one after the other.
impl Sockets {
    /// A connection is admitted: it is a WebSocket from here on.
    pub(crate) fn begin_web_socket(&mut self, key: SessionKey, web_socket: WebSocket) {
        if let Some(session) = self.sessions.get_mut(key) {
            session.state = SessionState::Open(web_socket);
            self.census.web_sockets += 1;
        }
        self.charge(key);
    }

    /// The close frame of an open WebSocket is queued: the peer's is awaited until `deadline`.
    pub(crate) fn await_close_echo(&mut self, key: SessionKey, deadline: Now) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let state = std::mem::replace(
            &mut session.state,
            SessionState::AwaitGone(Box::new(Ending {
                deadline,
                was: None,
                tally: None,
                reason: None,
                refused_by: None,
                peer_is_done: false,
            })),
        );
        if let SessionState::Open(web_socket) = state {
            session.state = SessionState::AwaitCloseEcho(Box::new(web_socket), deadline);
        }
        self.arm(key, deadline);
    }

    /// Moves to the last state; false when it was there before.
    pub(crate) fn await_gone(&mut self, key: SessionKey, deadline: Now) -> bool {
        let Some(session) = self.sessions.get_mut(key) else {
            return false;
        };
        if let SessionState::AwaitGone(ending) = &mut session.state {
            ending.deadline = deadline;
            return false;
        }
        let (tally, reason) = (session.tally().copied(), session.reason());
        let refused_by = session.take_refused();
        let peer_is_done = session.peer_is_done();
        let ending = |was| {
            SessionState::AwaitGone(Box::new(Ending {
                deadline,
                was,
                tally,
                reason,
                refused_by: None,
                peer_is_done,
            }))
        };
        session.state = match std::mem::replace(&mut session.state, ending(None)) {
            SessionState::Open(web_socket) => ending(Some((web_socket.channel, web_socket.role))),
            SessionState::AwaitCloseEcho(web_socket, _) => {
                ending(Some((web_socket.channel, web_socket.role)))
            }
            SessionState::Http(_) => ending(None),
            SessionState::AwaitGone(before) => SessionState::AwaitGone(before),
        };
        if let SessionState::AwaitGone(ending) = &mut session.state {
            ending.refused_by = refused_by;
        }
        self.charge(key);
        true
    }

    /// Puts the end off of a connection that the edge has to close. False when it is none, or was aborted.
    pub(crate) fn put_off_end(&mut self, key: SessionKey, deadline: Now) -> bool {
        let Some(session) = self.sessions.get_mut(key) else {
            return false;
        };
        match &mut session.state {
            SessionState::AwaitGone(ending) if ending.deadline != NEVER => {
                ending.deadline = deadline;
                self.arm(key, deadline);
                true
            }
            SessionState::AwaitGone(_)
            | SessionState::Http(_)
            | SessionState::Open(_)
            | SessionState::AwaitCloseEcho(..) => false,
        }
    }

    /// Notes why a connection ends, unless that is known.
    pub(crate) fn because(&mut self, key: SessionKey, reason: EndReason) {
        if let Some(session) = self.sessions.get_mut(key) {
            session.because(reason);
        }
    }
}

/// The places of WebSockets and tunnels: see [`Admitted`](crate::shard::shares::admitted::Admitted).
impl Sockets {
    /// The holder of the places of a caller's connections to channels of an account.
    pub(crate) fn holder_of(&self, caller: &Caller, account: &str) -> Holder {
        self.admitted.holder(caller, account)
    }

    /// Whether this number of places is free for one more of the holder, or another one makes room.
    pub(crate) fn may_enter(&self, holder: Holder, places: usize) -> bool {
        self.admitted.may_enter(holder, places)
    }

    /// Whether this number of places is free.
    pub(crate) fn has_places(&self, places: usize) -> bool {
        self.admitted.has(places)
    }

    /// Takes the places of one that makes room for one more of this holder; `None` when there is room, or nobody does.
    pub(crate) fn take_places(&mut self, holder: Holder, places: usize) -> Option<Member> {
        self.admitted.make_room(holder, places)
    }

    /// Notes that one that made room is being closed, and returns the one before that is not waited for any more.
    pub(crate) fn awaits_end_of(&mut self, session: SessionKey) -> Option<SessionKey> {
        self.admitted.closes(session)
    }

    /// A connection of this holder is admitted.
    pub(crate) fn enters(&mut self, member: impl Into<Member>, holder: Holder, standing: Standing) {
        self.admitted.enter(member, holder, standing);
    }

    /// A connection is something else to its channel from here on.
    pub(crate) fn becomes(&mut self, session: SessionKey, standing: Standing) {
        self.admitted.becomes(session, standing);
    }

    /// A session that was opened just now brings one call, and ends with its answer.
    pub(crate) fn bring_one_call(&mut self, key: SessionKey) {
        if let Some(http) = self.http(key) {
            http.one_call = true;
        }
    }

    /// The owner of a channel has greeted a tunnel.
    pub(crate) fn tunnel_leads(&mut self, place: u32, lead: Lead, now: Now) {
        if let Some(map) = self.shards.placement.cluster() {
            self.tunnels.enter(place, lead, map, now);
        }
    }

    /// A tunnel has ended.
    pub(crate) fn tunnel_left(&mut self, place: u32) {
        self.admitted.leave(Member::Tunnel(place));
        self.tunnels.leave(place);
    }

    /// Has tunnels closed whose channel another node has, or that leave since this one ends.
    pub(crate) fn close_tunnels(&mut self, now: Now) {
        if let Some(map) = self.shards.placement.cluster() {
            self.tunnels.follow(map, now);
        }
        let closed: Vec<_> = iter::from_fn(|| self.tunnels.next(now))
            .take(TUNNELS_PER_TICK)
            .collect();
        for (place, cause) in closed {
            self.output(match cause {
                Cause::Lost => Output::LoseOwner(place),
                Cause::Drain => Output::LeaveTunnel(place),
            });
        }
    }

    /// When the next tunnel is to be closed.
    pub(crate) fn next_closed_tunnel(&self) -> Option<Now> {
        self.tunnels.next_due()
    }
}
