//! A connection on its way to its channel's home: announced, packed, and taken in there, or answered here after all.

use super::Parcel;
use super::books::Books;
use super::directory::Directory;
use super::evidence::Evidence;
use super::sockets::Sockets;
use super::{admission, calls, respond, road, upgrades};
use crate::event::ConnectionRole;
use crate::id::{Identity, SessionKey};
use crate::machine::Output;
use crate::session::{Admission, HttpStage, Session, SessionState};
use crate::time::Moment;

impl Sockets {
    /// Announces that the connection goes to its channel's home; [`release_parcel`] follows.
    ///
    /// It leaves when the answers before it are sent; a peer that does not take them in time is cut off.
    pub(super) fn hand_over(
        &mut self,
        key: SessionKey,
        admission: Admission,
        unread: &[u8],
        at: Moment,
    ) {
        let home = self.shards.placement.home(&Identity::of(&admission.arn));
        let deadline = at.now.after(self.settings.timeouts.head_ms);
        let Some(http) = self.http(key) else {
            return;
        };
        http.stage = HttpStage::AwaitHandover(Box::new(admission), unread.to_vec());
        http.deadline = deadline;
        self.charge(key);
        self.output(Output::HandOver(key, home));
        self.arm(key, deadline);
    }

    fn take_session(&mut self, peer: crate::machine::Peer, at: Moment) -> SessionKey {
        let deadline = at.now.after(self.settings.timeouts.head_ms);
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

pub(super) fn release_parcel(
    sockets: &mut Sockets,
    books: &mut Books,
    key: SessionKey,
) -> Box<Parcel> {
    let session = sockets
        .remove_session(key)
        .expect("the edge releases what was just announced");
    sockets.count_place(session.place, false);
    books.unload(session.outbox.load());
    let SessionState::Http(http) = session.state else {
        unreachable!("only a request is handed over")
    };
    let HttpStage::AwaitHandover(admission, unread) = http.stage else {
        unreachable!("its head was read")
    };
    Box::new(Parcel {
        peer: session.peer,
        admission: *admission,
        unread,
    })
}

pub(super) fn adopt_parcel(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    parcel: Parcel,
    at: Moment,
) -> SessionKey {
    let Parcel {
        peer,
        admission,
        mut unread,
    } = parcel;
    let key = sockets.take_session(peer, at);
    if admission::admit(sockets, directory, books, key, &admission, at) && !unread.is_empty() {
        road::receive(sockets, directory, books, key, &mut unread, at);
    }
    key
}

pub(super) fn bounce_parcel(
    sockets: &mut Sockets,
    books: &mut Books,
    parcel: Parcel,
    at: Moment,
) -> SessionKey {
    let key = sockets.take_session(parcel.peer, at);
    let purpose = upgrades::purpose_of(&parcel.admission);
    let evidence = Evidence::of_admission(&parcel.admission);
    let fault = calls::too_busy();
    respond::respond_error(sockets, books, key, purpose, &fault, &evidence, true, at);
    key
}
