//! The promises of [`Sockets`] between two inputs: its tables agree with each other and with the sessions.

use crate::event::CONNECTION_ROLES;
use crate::id::SessionKey;
use crate::session::http::{Expected, HttpStage};
use crate::session::web_socket::Role;
use crate::session::{Session, SessionState};
use crate::shard::shares::admitted::Standing;
use crate::shard::sockets::Sockets;
use crate::shard::sockets::timer::{Owner, Timer};

/// Sums over all sessions.
#[derive(Default)]
struct Sums {
    places: [u64; CONNECTION_ROLES],
    web_sockets: usize,
    /// Bytes that wait for connections that are behind, and the number of those whose channel is in the backlog.
    weight: usize,
    behind: usize,
    /// Bytes that wait for connections that were cut off.
    cut: usize,
    /// Connections that bytes of requests are charged to.
    charged: usize,
    /// Connections whose requests wait for a turn.
    queued: usize,
    without_owner: usize,
    offers_out: usize,
}

impl Sockets {
    /// Checks that the tables of this part agree: each gauge is the number or the sum of what it counts, each index
    /// leads to a session that leads back, and nothing is kept of sessions that are gone.
    ///
    /// Takes time in the number of sessions, and allocates nothing.
    ///
    /// # Panics
    /// When they do not.
    pub(crate) fn invariants(&self) {
        let mut sums = Sums::default();
        let keys = (0..self.places()).filter_map(|place| self.session_at(place));
        for key in keys {
            let session = self.session(key).expect("a place that is taken");
            self.agrees(key, session, &mut sums);
        }
        assert_eq!(sums.places, self.census.places, "connections by role");
        assert_eq!(sums.web_sockets, self.census.web_sockets, "WebSockets");
        let (bytes, entries) = self.backlog.invariants();
        assert_eq!(sums.behind, entries, "connections that are behind");
        assert_eq!(sums.weight, bytes, "bytes that are behind");
        assert_eq!(sums.cut, self.backlog.cut, "bytes that were cut off");
        let charges = self.requests.held.invariants();
        assert_eq!(sums.charged, charges, "a charge of a session that is gone");
        let waiting = self.requests.turns.waiting.iter();
        let waiting = waiting.filter(|key| self.session(**key).is_some_and(is_queued));
        assert_eq!(sums.queued, waiting.count(), "a place in two turns");
        let goes_on = self.requests.turns.answered.is_empty();
        assert!(goes_on, "a request is left behind an answer");
        let waiters = self.requests.without_owner.len();
        assert_eq!(sums.without_owner, waiters, "a waiter that is gone");
        assert_eq!(sums.offers_out, self.shards.offers_out, "offers elsewhere");
        self.tunnels.invariants();
        for (is_viewer, key) in self.ends.closings.waiting() {
            let open = self.session(key).and_then(Session::open);
            let found = open.map(|it| it.role.client_id().is_some());
            assert_eq!(found, Some(is_viewer), "{key:?} is to be closed again");
        }
    }

    /// Checks what is known of one session elsewhere, and adds it to the sums.
    fn agrees(&self, key: SessionKey, session: &Session, sums: &mut Sums) {
        if let Some(gauge) = sums.places.get_mut(session.place.index()) {
            *gauge += 1;
        }
        if session.timer.place().is_some() {
            let owner = self.wheel.entry(&session.timer).map(Timer::owner);
            assert_eq!(owner, Some(Owner::Session(key)), "the timer of {key:?}");
        }
        self.weighs(key, session, sums);
        self.is_charged(key, session, sums);
        if session.channel().is_some() {
            sums.web_sockets += 1;
        }
        match &session.state {
            SessionState::Http(http) => match &http.stage {
                HttpStage::AwaitOwner(_) => {
                    let waits = self.requests.without_owner.contains(&key);
                    assert!(waits, "{key:?} waits for an owner uncounted");
                }
                HttpStage::AwaitReply(_, Expected::Answer(_, true)) => sums.offers_out += 1,
                HttpStage::AwaitTls
                | HttpStage::AwaitHead
                | HttpStage::AwaitBody(_)
                | HttpStage::AwaitReply(..)
                | HttpStage::AwaitWake(_)
                | HttpStage::AwaitHandover(..)
                | HttpStage::AwaitTunnel(_)
                | HttpStage::AwaitAdmin(_) => {}
            },
            SessionState::Open(web_socket) => {
                let standing = match web_socket.role {
                    _ if web_socket.superseded => Standing::Superseded,
                    Role::Master => Standing::Master,
                    Role::Viewer(_) => Standing::Viewer,
                };
                let has = self.admitted.standing(key);
                assert_eq!(has, Some(standing), "the place of {key:?}");
            }
            SessionState::AwaitCloseEcho(..) | SessionState::AwaitGone(_) => {
                let has = self.admitted.standing(key);
                let ends = has.is_none_or(|standing| standing == Standing::Ending);
                assert!(ends, "{key:?} has left, and has a place as {has:?}");
            }
        }
    }

    /// A connection that is behind is in the backlog, with the bytes that wait for it.
    fn weighs(&self, key: SessionKey, session: &Session, sums: &mut Sums) {
        let (weight, waiting) = (session.weight as usize, session.outbox.bytes());
        let expected = if session.behind { waiting } else { 0 };
        assert_eq!(weight, expected, "the weight of {key:?}");
        sums.weight += weight;
        if session.cut {
            sums.cut += waiting;
        }
        let channel = session.channel().filter(|_| weight > 0);
        if let Some(channel) = channel.filter(|channel| self.backlog.has(*channel)) {
            let listed = self.backlog.lists(channel, session.weight, key);
            assert!(listed, "{key:?} is behind unlisted");
            sums.behind += 1;
        }
    }

    /// A connection is charged for the bytes that it holds, and its turn is in the queue.
    fn is_charged(&self, key: SessionKey, session: &Session, sums: &mut Sums) {
        let charge = self.requests.held.charges.get(&key);
        sums.charged += usize::from(charge.is_some());
        if !matches!(session.state, SessionState::AwaitGone(_)) {
            let charge = charge.copied().unwrap_or(0);
            assert_eq!(charge, session.held(), "the charge of {key:?}");
        }
        if is_queued(session) {
            let waits = self.requests.turns.waiting.contains(&key);
            assert!(waits, "{key:?} waits for a turn that does not come");
            sums.queued += 1;
        }
        let waits = self.requests.without_owner.contains(&key);
        sums.without_owner += usize::from(waits);
    }
}

/// Whether the requests of a connection wait for a turn.
fn is_queued(session: &Session) -> bool {
    matches!(&session.state, SessionState::Http(http) if http.queued)
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::auth::Caller;
    use crate::crowd::Origin;
    use crate::event::{ConnectionRole, Purpose};
    use crate::id::{Account, ChannelKey, Identity, ShardId, TimerId};
    use crate::limits::REQUEST_BYTES_FREE;
    use crate::machine::Peer;
    use crate::placement::Placement;
    use crate::readiness::Readiness;
    use crate::session::NEVER;
    use crate::session::http::{Onward, Ownerless};
    use crate::session::outbox::Launch;
    use crate::session::web_socket::{Terms, WebSocket};
    use crate::settings::Settings;
    use crate::time::{Moment, Now};
    use ahash::RandomState;
    use codec::signal::Action;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;

    const ACCOUNT: &str = "123456789012";

    fn channel() -> ChannelKey {
        ChannelKey::new(1, 0)
    }

    /// The key of a session that is gone.
    fn gone() -> SessionKey {
        SessionKey::new(0, 9)
    }

    /// A request that waits for its turn, and a master that is behind.
    fn busy() -> (Sockets, SessionKey, SessionKey) {
        let seeds = [1, 2, 3, 4];
        let [a, b, c, d] = seeds;
        let mut sockets = Sockets::new(
            Arc::new(Settings::default()),
            ShardId(0),
            Placement::new(seeds, 2),
            Readiness::ready(),
            100,
            RandomState::with_seeds(a, b, c, d),
        );
        let peer = Peer {
            remote: ([192, 0, 2, 1], 9).into(),
            listener: 0,
            tls: false,
            inner: false,
        };
        let mut open = || sockets.open_session(peer, false, Moment::default());
        let (http, master) = (open().unwrap(), open().unwrap());
        sockets.http(http).unwrap().buffer = vec![0; REQUEST_BYTES_FREE + 1];
        sockets.charge(http);
        sockets.wait_for_turn(http);
        let terms = Terms {
            notices: true,
            wss: false,
            presence: false,
            ends: NEVER,
        };
        let web_socket = WebSocket::new(channel(), Role::Master, terms, Now(0));
        sockets.begin_web_socket(master, web_socket);
        let holder = sockets.holder_of(&Caller::anyone(ACCOUNT), ACCOUNT);
        sockets.enters(master, holder, Standing::Master);
        sockets.place(master, ConnectionRole::Master);
        let launch = Launch {
            action: Action::SdpOffer,
            expires: NEVER,
            order: 0,
            sender_bytes: 0,
            call: false,
            counted: true,
            accepted_us: None,
        };
        sockets.push_kept(master, launch, b"frame");
        sockets.launched(master, 5);
        sockets.begin_behind(master, Some(Account(7)));
        (sockets, http, master)
    }

    /// A way to break a promise, of an HTTP connection and a master.
    type Break = fn(&mut Sockets, SessionKey, SessionKey);

    fn fault_of(breaks: Break) -> Option<String> {
        let (mut sockets, http, master) = busy();
        breaks(&mut sockets, http, master);
        let result = catch_unwind(AssertUnwindSafe(|| sockets.invariants()));
        let panic = result.err()?;
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
    }

    /// Each of them breaks a promise, which is noticed in these words.
    fn are_noticed(breaks: &[(&str, Break)]) {
        for (expected, breaks) in breaks {
            let fault = fault_of(*breaks).unwrap_or_default();
            assert!(fault.contains(expected), "{expected}: {fault:?}");
        }
    }

    #[test]
    fn broken_promises_about_sessions_are_noticed() {
        assert_eq!(fault_of(|_, _, _| {}), None);
        are_noticed(&[
            ("connections by role", |it, _, _| it.census.places[0] += 1),
            ("WebSockets", |it, _, _| it.census.web_sockets = 0),
            ("the timer of", |it, http, master| {
                let place = it.sessions.get(http).unwrap().timer.place().unwrap();
                it.sessions.get_mut(master).unwrap().timer = TimerId::at(place);
            }),
            ("the weight of", |it, _, master| {
                it.sessions.get_mut(master).unwrap().weight += 1;
            }),
            ("bytes that are behind", |it, _, _| it.backlog.bytes += 1),
            ("behind with more than all", |it, _, _| it.backlog.bytes = 0),
            ("is behind unlisted", |it, _, master| {
                it.backlog.change(Some(channel()), master, (5, 6));
            }),
            ("connections that are behind", |it, _, _| {
                it.backlog.change(Some(channel()), gone(), (0, 6));
            }),
            ("bytes that were cut off", |it, _, _| it.backlog.cut = 1),
            ("the place of", |it, _, master| it.admitted.leave(master)),
            ("has left, and has a place", |it, _, master| {
                it.await_gone(master, Now(9));
                it.weigh(master);
            }),
        ]);
    }

    #[test]
    fn broken_promises_about_requests_are_noticed() {
        are_noticed(&[
            ("the charge of", |it, http, _| {
                it.http(http).unwrap().buffer = Vec::new();
            }),
            ("the sum of the charges", |it, _, _| {
                it.requests.held.bytes += 1;
            }),
            ("the shares of the charges", |it, _, _| {
                (it.requests.held.shares).change(Origin::V4(1), gone(), 0, 5);
            }),
            ("a charge of a session that is gone", |it, _, _| {
                it.requests.held.bytes += 5;
                it.requests.held.charges.insert(gone(), 5);
                (it.requests.held.shares).change(Origin::V4(1), gone(), 0, 5);
            }),
            ("a turn that does not come", |it, _, _| {
                it.requests.turns.waiting.clear();
            }),
            ("a place in two turns", |it, http, _| {
                it.requests.turns.waiting.push_back(http);
            }),
            ("left behind an answer", |it, http, _| {
                it.requests_go_on(http);
            }),
            ("a waiter that is gone", |it, _, _| {
                it.requests.without_owner.insert(gone());
            }),
            ("offers elsewhere", |it, _, _| it.shards.offers_out = 1),
            ("waits for an owner uncounted", await_owner),
        ]);
    }

    fn await_owner(sockets: &mut Sockets, http: SessionKey, _: SessionKey) {
        let onward = Onward {
            purpose: Purpose::Unknown,
            identity: Identity::new("us-west-2", ACCOUNT, "demo"),
            until: None,
            channel: "demo".into(),
            client_id: None,
            caller: Caller::anyone(ACCOUNT),
            bytes: Vec::new(),
            call: None,
            counted: sockets.count_onward(),
        };
        let ownerless = Ownerless {
            onward,
            failed: None,
        };
        sockets.http(http).unwrap().stage = HttpStage::AwaitOwner(Box::new(ownerless));
    }
}
