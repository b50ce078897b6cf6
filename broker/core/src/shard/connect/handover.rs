//! A connection on its way to its channel's home: announced, packed, and taken in there, or answered here after all.

use crate::event::ConnectionRole;
use crate::id::{SessionKey, ShardId};
use crate::machine::Output;
use crate::session::http::{Admission, HttpStage};
use crate::session::{Session, SessionState};
use crate::shard::books::Books;
use crate::shard::books::evidence::Evidence;
use crate::shard::calls::refusals::too_busy;
use crate::shard::calls::respond::{self, Rejected};
use crate::shard::connect::upgrades;
use crate::shard::connect::welcome::admin_pages;
use crate::shard::sockets::Sockets;
use crate::shard::{Parcel, ParcelLoad};
use crate::time::Moment;

impl Sockets {
    /// Announces that the connection goes to its channel's home; [`release_parcel`] follows.
    ///
    /// It leaves when the answers before it are sent; a peer that does not take them in time is cut off.
    pub(crate) fn hand_over(
        &mut self,
        key: SessionKey,
        home: ShardId,
        admission: Admission,
        unread: &[u8],
        at: Moment,
    ) {
        let deadline = at.now.after(self.settings().timeouts.head_ms);
        let Some(http) = self.http(key) else {
            return;
        };
        http.stage = HttpStage::AwaitHandover(Box::new(admission), unread.to_vec());
        http.deadline = deadline;
        self.charge(key);
        self.output(Output::HandOver(key, home));
        self.arm(key, deadline);
    }

    /// A session for a connection that left and is back, or that comes from another shard.
    pub(crate) fn take_session(&mut self, peer: crate::machine::Peer, at: Moment) -> SessionKey {
        let deadline = at.now.after(self.settings().timeouts.head_ms);
        let mut session = Session::accepted(peer, deadline);
        session.place = ConnectionRole::Http;
        if let SessionState::Http(http) = &mut session.state {
            http.stage = HttpStage::AwaitHead;
        }
        let key = self
            .add_session(session, true)
            .expect("a process has fewer descriptors than a table has slots");
        self.arm(key, deadline);
        key
    }
}

pub(crate) fn release_parcel(
    sockets: &mut Sockets,
    books: &mut Books,
    key: SessionKey,
) -> Box<Parcel> {
    let session = sockets
        .remove_session(key)
        .expect("the edge releases what was just announced");
    books.unload(session.outbox.load());
    let peer = session.peer();
    let SessionState::Http(http) = session.state else {
        unreachable!("only a request is handed over")
    };
    let load = match http.stage {
        HttpStage::AwaitHandover(admission, unread) => ParcelLoad::Upgrade {
            admission: *admission,
            unread,
        },
        HttpStage::AwaitTunnel(mut onward) => {
            onward.bytes.extend_from_slice(&http.buffer); // pipelined behind the request
            ParcelLoad::Onward(*onward)
        }
        HttpStage::AwaitAdmin(mut bytes) => {
            bytes.extend_from_slice(&http.buffer);
            ParcelLoad::Admin(bytes)
        }
        HttpStage::AwaitTls
        | HttpStage::AwaitHead
        | HttpStage::AwaitBody(_)
        | HttpStage::AwaitReply(..)
        | HttpStage::AwaitWake(_)
        | HttpStage::AwaitOwner(_) => unreachable!("its head was read"),
    };
    Box::new(Parcel { peer, load })
}

/// Takes in a connection from another shard: its admission, and what it sent behind the request.
pub(crate) fn adopt_parcel(
    sockets: &mut Sockets,
    parcel: Parcel,
    at: Moment,
) -> (SessionKey, Admission, Vec<u8>) {
    let key = sockets.take_session(parcel.peer, at);
    let ParcelLoad::Upgrade { admission, unread } = parcel.load else {
        unreachable!("what goes to another node passes no other shard")
    };
    (key, admission, unread)
}

pub(crate) fn bounce_parcel(
    sockets: &mut Sockets,
    books: &mut Books,
    parcel: Parcel,
    at: Moment,
) -> SessionKey {
    let key = sockets.take_session(parcel.peer, at);
    match parcel.load {
        ParcelLoad::Upgrade { admission, .. } => {
            let purpose = upgrades::purpose_of(&admission);
            let evidence = Evidence::of_admission(&admission);
            let fault = too_busy();
            let rejected = Rejected::last(purpose, &evidence);
            respond::respond_error(sockets, books, key, &fault, rejected, at);
        }
        ParcelLoad::Admin(_) => admin_pages::refuse(sockets, books, key, at),
        ParcelLoad::Onward(_) => unreachable!("what goes to another node passes no other shard"),
    }
    key
}
