//! Lines of the log: each refusal, change and end of a connection has its own, and says what the wire has shown.

use crate::sim::records::name_of;
use crate::sim::requests::{Request, changes, subject};
use crate::sim::socket::{ConnId, Role};
use crate::sim::wire::Response;
use crate::sim::words::Piece;
use crate::sim::world::World;
use broker_core::check::Check;
use broker_core::journal::{
    Audit, ConnectionEnd, EndReason, Entry, Refused, Superseded, UnacceptedMessage,
};
use broker_core::machine::Machine;
use codec::signal::Role as OnWire;
use std::net::SocketAddr;

/// An answer that was queued in this step, and what the log is to say of it.
pub(crate) struct Answered {
    conn: ConnId,
    id: String,
    status: u16,
    error: String,
    /// Whether the response is to a call that changes something.
    changes: bool,
    subject: Option<String>,
    check: Option<Check>,
    /// Lines about it: of its refusal, and of its change.
    refused: bool,
    audited: bool,
}

impl World {
    /// An answer was queued.
    pub(crate) fn note_answer(
        &mut self,
        conn: ConnId,
        response: &Response,
        request: &Request,
        check: Option<Check>,
    ) {
        let changes = matches!(&request.piece, Piece::Body(call) if changes(call));
        let subject = subject(&request.piece).map(str::to_owned);
        self.answers.push(Answered {
            conn,
            id: response.request_id.clone(),
            status: response.status,
            error: response.error.clone(),
            changes,
            subject,
            check,
            refused: false,
            audited: false,
        });
    }

    fn conn_at(&self, remote: SocketAddr) -> ConnId {
        let conn = usize::from(remote.port()) - 1024;
        assert_eq!(self.sockets[conn].remote, remote, "an address of a client");
        conn
    }

    /// After a step: its lines.
    pub(crate) fn read_log(&mut self, shard: usize) {
        let before = self.gauges[shard].suppressed;
        for entry in self.journals[shard].try_iter().collect::<Vec<_>>() {
            match entry {
                Entry::Refused(refused) => self.refused_line(shard, &refused),
                Entry::Audit(audit) => self.audit_line(&audit),
                Entry::ConnectionEnd(end) => self.end_line(shard, &end),
                Entry::Superseded(line) => self.superseded_line(&line),
                Entry::Unaccepted(line) => self.unaccepted_line(&line),
                Entry::Suppressed { refusals, counts } => {
                    let sum: u64 = counts.iter().map(|count| count.refusals).sum();
                    assert_eq!(sum, refusals, "{counts:?}");
                }
                Entry::StoreTrouble { error } => assert!(error.contains("is not kept")),
                Entry::EndsSuppressed { .. } => {}
                Entry::Forbidden(_) | Entry::NodeTrouble { .. } => panic!("{entry:?}"),
            }
        }
        if self.gone.take().is_some() {
            self.gauges[shard].ends_unlogged += 1; // too many of one second
        }
        let after = self.shards[shard].snapshot().counters.log_suppressed;
        let left_out = after - before;
        let refused = |one: &&Answered| one.status >= 400 && !one.refused;
        let missing = self.answers.iter().filter(refused).count();
        let missing = missing + self.answers.iter().filter(|one| one.lacks_audit()).count();
        let fine = missing as u64 <= left_out;
        assert!(fine, "{missing} lines are missing, {left_out} left out");
        self.gauges[shard].suppressed = after;
        self.answers.clear();
    }

    /// The answer with a request id.
    fn answer_of(&mut self, id: &str, remote: SocketAddr) -> &mut Answered {
        let conn = self.conn_at(remote);
        let answer = self.answers.iter_mut().find(|answer| answer.id == id);
        let answer = answer.unwrap_or_else(|| panic!("{conn} got no answer {id}"));
        assert_eq!(answer.conn, conn, "whose answer");
        answer
    }

    fn refused_line(&mut self, shard: usize, line: &Refused) {
        let says = self.id_says(&line.request_id);
        let says = says.expect("the id of a refusal says why");
        let told = (usize::from(says.shard.0), says.at, says.status, says.check);
        assert_eq!(told, (shard, line.at, line.status, line.check), "{line:?}");
        let purpose = (says.purpose.word(), says.purpose.action());
        assert_eq!(purpose, (line.what, line.action), "{line:?}");
        let fault = line.fault.is_some();
        let answer = self.answer_of(&line.request_id, line.remote);
        let found = (answer.status, &*answer.error);
        assert_eq!(found, (line.status, line.error_type));
        let fine = !std::mem::replace(&mut answer.refused, true);
        assert!(fine, "twice: {line:?}");
        let channel = line.claims.channel.as_deref();
        let fine = channel.is_none() || channel == answer.subject.as_deref();
        assert!(fine, "{line:?}");
        assert!(!fault || self.is_scripted(), "{line:?}");
    }

    fn audit_line(&mut self, line: &Audit) {
        assert_eq!(line.request_id.len(), 36, "a request id");
        if line.outcome == "unanswered" {
            self.conn_at(line.remote);
            assert!(self.id_says(&line.request_id).is_none(), "{line:?}");
            return self.hit("change noted that was not answered");
        }
        let answer = self.answer_of(&line.request_id, line.remote);
        let wanted = match answer.status {
            200 => "ok",
            _ => &*answer.error,
        };
        assert_eq!(line.outcome, wanted, "{line:?}");
        assert!(answer.changes && !answer.audited, "{line:?}");
        answer.audited = true;
        let about = line.channel_arn.as_deref().expect("a change has a subject");
        let name = if about.contains(':') {
            name_of(about)
        } else {
            about
        };
        assert_eq!(Some(name), answer.subject.as_deref(), "{line:?}");
        self.hit("change noted");
    }

    fn end_line(&mut self, shard: usize, line: &ConnectionEnd) {
        let conn = self.conn_at(line.remote);
        let socket = &self.sockets[conn];
        let ws = socket.ws.as_ref().expect("it was a WebSocket");
        let role = ws
            .viewer
            .as_ref()
            .map_or(OnWire::Master, |_| OnWire::Viewer);
        assert_eq!(line.role, role, "{line:?}");
        assert_eq!(line.client_id.as_deref(), ws.viewer.as_deref(), "{line:?}");
        assert_eq!(line.channel.as_deref(), Some(name_of(&ws.arn)), "{line:?}");
        assert_eq!(line.duration_ms, self.now - ws.opened, "{line:?}");
        assert_eq!(line.messages_out, ws.messages_out, "{line:?}");
        assert!(line.messages_in <= ws.messages_in, "{line:?}");
        assert!(self.gone == Some(conn), "it ends once: {line:?}");
        assert!(self.reason_holds(conn, line.reason), "{line:?}: {ws:?}");
        let gauges = &mut self.gauges[shard];
        gauges.ends[line.reason.index()] += 1;
        self.gone = None;
        self.hit(EndReason::LABELS[line.reason.index()]);
    }

    /// Whether a connection ended for this reason, as the wire has shown.
    fn reason_holds(&self, conn: ConnId, reason: EndReason) -> bool {
        let socket = &self.sockets[conn];
        let ws = socket.ws.as_ref().expect("it was a WebSocket");
        let closed = ws.closed.as_ref();
        let closed = closed.map(|(code, why, _)| (*code, &**why));
        let scripted = self.is_scripted();
        match reason {
            EndReason::PeerClosed => ws.said_goodbye,
            EndReason::PeerGone => {
                closed.is_none() && !ws.said_goodbye && (socket.ended || socket.reset)
            }
            EndReason::SupersededStuck => ws.lost,
            EndReason::Operator => scripted,
            EndReason::Drain => {
                self.drains[socket.shard].is_some()
                    && closed.is_none_or(|closed| closed == reason.close())
            }
            _ => closed == Some(reason.close()),
        }
    }

    fn superseded_line(&mut self, line: &Superseded) {
        let (older, newer) = (self.conn_at(line.remote), self.conn_at(line.by));
        let of = |conn: ConnId| {
            let ws = self.sockets[conn].ws.as_ref().expect("a WebSocket");
            (&ws.arn, &ws.viewer, ws.order)
        };
        let (arn, viewer, order) = of(older);
        let (same_arn, same_viewer, later) = of(newer);
        assert_eq!((arn, viewer), (same_arn, same_viewer), "{line:?}");
        assert!(order < later, "{line:?}");
        assert_eq!(&*line.channel, name_of(arn), "{line:?}");
        assert_eq!(line.client_id.as_deref(), viewer.as_deref(), "{line:?}");
        self.hit("line of a connection superseded");
    }

    fn unaccepted_line(&mut self, line: &UnacceptedMessage) {
        let conn = self.conn_at(line.remote);
        let ws = self.sockets[conn].ws.as_ref().expect("a WebSocket");
        assert_eq!(&*line.channel, name_of(&ws.arn), "{line:?}");
        assert_eq!(line.client_id.as_deref(), ws.viewer.as_deref(), "{line:?}");
        let master = matches!(self.sockets[conn].role, Role::Master(_));
        assert_eq!(line.role == OnWire::Master, master, "{line:?}");
        self.hit("line of a message not accepted");
    }
}

impl Answered {
    /// Whether the line of its change is missing. One that was not answered in time has had its line; others were
    /// refused before it was known what they would change.
    fn lacks_audit(&self) -> bool {
        #[rustfmt::skip] // a list
        let early = [Check::ReplyTimeout, Check::FaultInjected, Check::Draining, Check::BodyTimeout];
        self.changes && !self.audited && !self.check.is_some_and(|check| early.contains(&check))
    }
}
