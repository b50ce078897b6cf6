//! Bytes of requests are charged to connections, and the one with most pays: see
//! [`crate::shard::sockets::request_bytes`].

use crate::check::Check;
use crate::event::Purpose;
use crate::id::SessionKey;
use crate::journal::EndReason;
use crate::limits::PAYERS_PER_INPUT;
use crate::session::http::HttpStage;
use crate::shard::Fault;
use crate::shard::books::Books;
use crate::shard::books::evidence::Evidence;
use crate::shard::calls::respond::{self, Rejected, purpose_of};
use crate::shard::sockets::Sockets;
use crate::shard::todo::TodoList;
use crate::time::Moment;
use codec::control::ErrorKind;

impl Sockets {
    /// Charges a session that has just received, and has somebody pay when that is too much.
    pub(crate) fn charge_received(
        &mut self,
        books: &mut Books,
        todo: &mut TodoList,
        key: SessionKey,
        at: Moment,
    ) {
        self.charge(key);
        for payers in 0.. {
            let Some(payer) = self.payer_for(key) else {
                return;
            };
            let payer = if payers < PAYERS_PER_INPUT {
                payer
            } else {
                key
            };
            self.make_pay(books, todo, payer, at);
            if payer == key {
                return;
            }
        }
    }

    /// Has those with most pay, when answers that are not taken are too much.
    pub(crate) fn hold(&mut self, books: &mut Books, todo: &mut TodoList, at: Moment) {
        for _ in 0..PAYERS_PER_INPUT {
            let Some(payer) = self.largest_payer() else {
                return;
            };
            self.make_pay(books, todo, payer, at);
        }
    }

    /// Frees what a connection holds.
    fn make_pay(&mut self, books: &mut Books, todo: &mut TodoList, key: SessionKey, at: Moment) {
        self.count_payer();
        let Some(session) = self.session(key) else {
            return;
        };
        let answers = session.outbox.in_flight();
        let Some(http) = self.http(key) else {
            // Of a WebSocket that is an unfinished message, which has no part of it that could be given back.
            self.because(key, EndReason::SlowMessage);
            return self.abort_at_once(books, todo, key, at);
        };
        let purpose = match &mut http.stage {
            // Its answer goes out, and is the last: what waits behind it is asked again.
            HttpStage::AwaitReply(asked, _) if !answers || !http.buffer.is_empty() => {
                asked.close = true;
                http.buffer = Vec::new();
                return self.charge(key);
            }
            HttpStage::AwaitWake(awaited) if !answers || !http.buffer.is_empty() => {
                awaited.close = true;
                http.buffer = Vec::new();
                return self.charge(key);
            }
            HttpStage::AwaitBody(awaited) => purpose_of(awaited.target),
            HttpStage::AwaitHead
            | HttpStage::AwaitReply(..)
            | HttpStage::AwaitWake(_)
            | HttpStage::AwaitTls
            | HttpStage::AwaitHandover(..)
            | HttpStage::AwaitTunnel(_)
            | HttpStage::AwaitAdmin(_)
            | HttpStage::AwaitOwner(_) => Purpose::Unknown,
        };
        let asks = matches!(http.stage, HttpStage::AwaitHead | HttpStage::AwaitBody(_));
        if answers || !asks {
            return self.abort_at_once(books, todo, key, at);
        }
        let fault = Fault::new(Check::RequestsFull, ErrorKind::ServiceUnavailable, FULL);
        let evidence = Evidence::default();
        let rejected = Rejected::last(purpose, &evidence);
        respond::respond_error(self, books, key, &fault, rejected, at);
        self.charge(key);
    }

    fn abort_at_once(
        &mut self,
        books: &mut Books,
        todo: &mut TodoList,
        key: SessionKey,
        at: Moment,
    ) {
        self.abort(books, todo, key, at);
        // Its memory is free with the end of its socket, in the next turn.
        self.discharge(key);
    }
}

const FULL: &str = "The server holds as many unfinished requests as it may. Try again.";
