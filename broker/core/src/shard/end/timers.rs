//! Deadlines that have passed: overdue heads, silent and old connections, expired messages and calls.

use crate::check::Check;
use crate::event::Purpose;
use crate::id::{ChannelKey, SessionKey};
use crate::journal::EndReason;
use crate::limits::PIPELINED_BYTES_MAX;
use crate::machine::Intake;
use crate::session::SessionState;
use crate::session::http::HttpStage;
use crate::session::wait::Wait;
use crate::session::web_socket::Due;
use crate::shard::Fault;
use crate::shard::books::Books;
use crate::shard::books::evidence::Evidence;
use crate::shard::calls::head_fault::HeadFault;
use crate::shard::calls::respond::{self, Rejected, purpose_of};
use crate::shard::calls::wake;
use crate::shard::directory::Directory;
use crate::shard::nodes::tunnel;
use crate::shard::sockets::Sockets;
use crate::shard::todo::each::Each;
use crate::shard::todo::{Todo, TodoList};
use crate::time::Moment;
use codec::control::ErrorKind;
use codec::ws::{self, Opcode};

/// Milliseconds between two looks at a connection that stands still: nothing of it is due meanwhile.
const STILL_LOOK_MS: u64 = 1000;

pub(crate) fn session_due(
    sockets: &mut Sockets,
    books: &mut Books,
    todo: &mut TodoList,
    key: SessionKey,
    at: Moment,
) {
    let Some(session) = sockets.session(key) else {
        return;
    };
    if session.stands_still() {
        return sockets.arm(key, at.now.after(STILL_LOOK_MS));
    }
    match session.waits(&sockets.settings().timeouts, at.now) {
        Wait::Until(later) if later > at.now => return sockets.arm(key, later),
        Wait::Until(_) => {}
        Wait::OwnTurn | Wait::Aborted => return,
    }
    match &session.state {
        SessionState::Http(_) => request_overdue(sockets, books, todo, key, at),
        SessionState::Open(_) => open_due(sockets, books, todo, key, at),
        SessionState::AwaitCloseEcho(..) | SessionState::AwaitGone(_) => {
            sockets.abort(books, todo, key, at)
        }
    }
}

/// A head or body did not come in time: 408 if any of it came, else the connection just ends.
fn request_overdue(
    sockets: &mut Sockets,
    books: &mut Books,
    todo: &mut TodoList,
    key: SessionKey,
    at: Moment,
) {
    let Some(http) = sockets.http(key) else {
        return;
    };
    if http.answer_due <= at.now && !http.awaits_reply() {
        return sockets.abort(books, todo, key, at); // it does not take what it was answered
    }
    match &http.stage {
        HttpStage::AwaitTls => sockets.abort(books, todo, key, at),
        HttpStage::AwaitHead if http.buffer.is_empty() => sockets.close_when_sent(key, at),
        HttpStage::AwaitHead => {
            let message = "The request head did not come in time.";
            let fault = HeadFault::new(Check::HeadTimeout, 408, message);
            let (purpose, evidence) = (Purpose::Unknown, Evidence::default());
            let rejected = Rejected::last(purpose, &evidence);
            respond::refuse_head(sockets, books, key, &fault, rejected, at)
        }
        HttpStage::AwaitBody(awaited) => {
            let message = "The request body did not come in time.";
            let fault = HeadFault::new(Check::BodyTimeout, 408, message);
            let (purpose, evidence) = (purpose_of(awaited.target), Evidence::default());
            let rejected = Rejected::last(purpose, &evidence);
            respond::refuse_head(sockets, books, key, &fault, rejected, at)
        }
        HttpStage::AwaitReply(..) => reply_overdue(sockets, books, todo, key),
        HttpStage::AwaitWake(awaited) => {
            let left_ms = awaited.left_ms;
            wake::due(sockets, books, todo, (key, left_ms), at)
        }
        HttpStage::AwaitHandover(..) | HttpStage::AwaitTunnel(_) | HttpStage::AwaitAdmin(_) => {
            sockets.abort(books, todo, key, at)
        }
        HttpStage::AwaitOwner(_) => tunnel::look_again(sockets, books, key, at),
    }
}

/// A call was not answered in time: its caller gets 503, and a later answer is dropped.
fn reply_overdue(sockets: &mut Sockets, books: &mut Books, todo: &mut TodoList, key: SessionKey) {
    sockets.hang_up(todo, key);
    sockets.note_unanswered(books, key);
    if let Some(caller) = sockets.awaiting(key) {
        todo.push(Todo::Overdue(caller));
    }
}

/// The error for a call that was not answered in time.
pub(crate) fn overdue() -> Fault {
    let message = "The call took too long. Whether it changed anything is not known.";
    Fault::new(Check::ReplyTimeout, ErrorKind::ServiceUnavailable, message)
}

fn open_due(
    sockets: &mut Sockets,
    books: &mut Books,
    todo: &mut TodoList,
    key: SessionKey,
    at: Moment,
) {
    let paused = sockets.intake_of(key) == Intake::Paused;
    let from = sockets.waits_from(at);
    let Some((web_socket, settings)) = sockets.web_socket_and_settings(key) else {
        return;
    };
    if from > at.now {
        web_socket.outlive_silence(from);
    }
    match web_socket.due(&settings.timeouts, at.now) {
        Due::At(next) => return sockets.arm(key, next),
        Due::Ping => {
            web_socket.pinged(from);
            sockets.push_control(books, key, |out| ws::frame(out, Opcode::Ping, &[]));
        }
        // An answer that we did not read ourselves cannot have come: the ping has its whole time again.
        Due::Unanswered if paused || web_socket.stood_still(&settings.timeouts, at.now) => {
            web_socket.pinged(at.now);
        }
        Due::GoAway => sockets.go_away(books, key, at),
        Due::Idle => sockets.close(books, todo, key, EndReason::Idle, at),
        Due::Unanswered => sockets.close(books, todo, key, EndReason::Unanswered, at),
        Due::Old if web_socket.is_asked() => todo.push(Todo::AskAgain(key)),
        Due::Old => {
            let reason = web_socket.end();
            sockets.close(books, todo, key, reason, at);
        }
        Due::SlowMessage => sockets.close(books, todo, key, EndReason::SlowMessage, at),
    }
    sockets.arm_open(key, at.now);
}

impl Directory {
    /// Ends what is due of a channel: kept messages and waiting calls that expire, and connections that end for it.
    pub(crate) fn channel_due(
        &mut self,
        books: &mut Books,
        todo: &mut TodoList,
        key: ChannelKey,
        at: Moment,
    ) {
        if self.channel(key).is_none() {
            return;
        }
        self.expire_kept(books, key, at);
        self.expire_calls(books, todo, key, at);
        // A connection that lost its slot and does not take the rest of a message keeps its successor waiting.
        let stuck = Vec::from_iter(std::iter::from_fn(|| self.take_overdue(key, at.now)));
        todo.each(Each::abort(stuck, Some(EndReason::SupersededStuck)));
        while let Some(older) = self.take_for_vacancy(key, at.now) {
            todo.push(Todo::Close(older, EndReason::SupersededVacant));
        }
        self.rest(key);
        todo.push(Todo::Arm(key));
    }
}

impl Sockets {
    /// Sends GO_AWAY to a client, once, if it may get it.
    pub(crate) fn go_away(&mut self, books: &mut Books, key: SessionKey, at: Moment) {
        let Some(web_socket) = self.web_socket(key) else {
            return;
        };
        if !web_socket.superseded && web_socket.tell_to_go() {
            books.note().told_to_go(at, web_socket.channel, key);
            self.push_control(books, key, |out| {
                out.extend_from_slice(codec::signal::GO_AWAY)
            });
        }
    }

    /// The intake of a session's socket: paused, once or many times.
    pub(crate) fn intake_of(&self, key: SessionKey) -> Intake {
        let Some(session) = self.session(key) else {
            return Intake::Paused;
        };
        match &session.state {
            SessionState::Http(http) => {
                let full = match http.stage {
                    HttpStage::AwaitReply(..) | HttpStage::AwaitWake(_) => {
                        http.buffer.len() >= PIPELINED_BYTES_MAX
                    }
                    HttpStage::AwaitHead => session.answers_wait(),
                    HttpStage::AwaitTls | HttpStage::AwaitBody(_) => false,
                    // Bytes that come are for its next shard or node: the edge keeps them.
                    HttpStage::AwaitHandover(..)
                    | HttpStage::AwaitTunnel(_)
                    | HttpStage::AwaitAdmin(_)
                    | HttpStage::AwaitOwner(_) => true,
                };
                if full || http.queued {
                    Intake::Paused
                } else {
                    Intake::Once
                }
            }
            SessionState::Open(_)
            | SessionState::AwaitCloseEcho(..)
            | SessionState::AwaitGone(_) => Intake::Many,
        }
    }
}
