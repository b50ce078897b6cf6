//! Requests of operators to a shard: its channels, one channel in detail, and making clients fetch ICE servers again.
//!
//! Answers are copies, made between two turns; a page and a step are bounded, so that no turn takes long.

mod channels;
mod question;

pub use channels::{ChannelLine, ChannelView, PeerView, PendingView};
pub use question::{Connections, Question, Reply};

use super::trace;
use crate::id::{Identity, SessionKey};
use crate::journal::EndReason;
use crate::limits::{INSPECTED_SLOTS_PER_STEP, LIST_PAGE_MAX, RECALL_STEP_MS, RECONNECTS_PER_STEP};
use crate::shard::PageQuestion;
use crate::shard::books::Books;
use crate::shard::dev::reset::{self, ResetStep};
use crate::shard::dev::{faults, parity};
use crate::shard::directory::Directory;
use crate::shard::end::leave;
use crate::shard::operator::connection_lookup;
use crate::shard::road::frames;
use crate::shard::sockets::{Sockets, outboxes};
use crate::time::Moment;
use channels::view;
use codec::signal::RECONNECT_ICE_SERVER;

/// Answers a question, or takes one step of what it asks for.
pub(in crate::shard) fn answer_operator(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    question: Question,
    at: Moment,
) -> Reply {
    match question {
        Question::Page {
            prefix,
            after,
            limit,
        } => directory.inspect_page(&prefix, after.as_ref(), limit.min(LIST_PAGE_MAX)),
        Question::Part(question) => {
            let limit = question.limit.min(LIST_PAGE_MAX);
            let question = PageQuestion { limit, ..question };
            Reply::Part(Box::new(directory.part(&question, at.now)))
        }
        Question::Count(tenant) => Reply::Count(directory.holdings.of_tenant(&tenant)),
        Question::Channel(identity) => {
            let key = directory.names.get(&identity);
            Reply::Channel(
                key.and_then(|key| view(sockets, directory, *key, at))
                    .map(Box::new),
            )
        }
        Question::Trace {
            identity,
            from,
            limit,
        } => {
            let recorder = &books.recorder;
            let step = trace::step(sockets, directory, recorder, &identity, from, limit, at);
            Reply::Trace(step.map(Box::new))
        }
        Question::Session(session, before) => {
            let recorder = &books.recorder;
            let step = connection_lookup::step(sockets, directory, recorder, session, before);
            Reply::Session(Box::new(step))
        }
        Question::ReconnectIce {
            channel: Some(identity),
            from: _,
        } => reconnect_channel(sockets, directory, books, &identity, at),
        Question::ReconnectIce {
            channel: None,
            from,
        } => reconnect_some(sockets, books, from, at),
        Question::Reset(reset) if sockets.settings.dev => {
            Reply::Reset(reset::step(sockets, directory, books, reset, at))
        }
        Question::Parity => {
            let findings = sockets
                .dev
                .parity
                .as_deref_mut()
                .map(parity::Parity::findings);
            Reply::Findings(findings.unwrap_or_default())
        }
        Question::Reset(_) => Reply::Reset(ResetStep::default()),
        Question::AddFault(rule) => {
            faults::add_fault(sockets, directory, books, rule, at);
            Reply::Done
        }
        Question::Disconnect { channel, which } => {
            Reply::Disconnected(disconnect(sockets, directory, books, &channel, &which, at))
        }
    }
}

fn reconnect_channel(
    sockets: &mut Sockets,
    directory: &Directory,
    books: &mut Books,
    identity: &Identity,
    at: Moment,
) -> Reply {
    let key = directory.names.get(identity).copied();
    let channel = key.and_then(|key| directory.channels.get(key));
    let members = channel
        .and_then(|channel| channel.live())
        .map_or_else(Vec::new, |live| live.members.all());
    let notified = members
        .into_iter()
        .filter(|key| reconnect(sockets, books, *key, at))
        .count();
    Reply::Reconnected(notified as u64, None)
}

fn reconnect_some(sockets: &mut Sockets, books: &mut Books, from: usize, at: Moment) -> Reply {
    let slots = sockets.sessions.slots();
    let end = from.saturating_add(INSPECTED_SLOTS_PER_STEP).min(slots);
    let (mut notified, mut next) = (0, from);
    while next < end && notified < RECONNECTS_PER_STEP {
        let session = sockets.sessions.at(next);
        notified += usize::from(session.is_some_and(|key| reconnect(sockets, books, key, at)));
        next += 1;
    }
    Reply::Reconnected(notified as u64, (next < slots).then_some(next))
}

/// Notifies one connection, or closes it to come back; false when it is no current one, or does not read.
///
/// Each connection that comes back costs up to four calls and an upgrade, so they are closed one after the other,
/// [`RECALL_STEP_MS`] apart.
pub(in crate::shard) fn reconnect(
    sockets: &mut Sockets,
    books: &mut Books,
    key: SessionKey,
    at: Moment,
) -> bool {
    let has_room = frames::has_control_room(sockets, books, key);
    let Some(web_socket) = sockets.web_socket(key).filter(|it| !it.superseded) else {
        return false;
    };
    if web_socket.takes_notices() {
        if has_room {
            outboxes::push_control(sockets, books, key, |out| {
                out.extend_from_slice(RECONNECT_ICE_SERVER)
            });
        }
        return has_room;
    }
    let moment = sockets.ends.recalled.after(RECALL_STEP_MS).max(at.now);
    sockets.ends.recalled = moment;
    if let Some(web_socket) = sockets.web_socket(key) {
        web_socket.recall(moment);
    }
    sockets.arm_open(key, at.now);
    true
}

fn disconnect(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    identity: &Identity,
    which: &Connections,
    at: Moment,
) -> Option<u64> {
    let key = directory.names.get(identity).copied()?;
    let channel = directory.channels.get(key)?;
    let members = channel
        .live()
        .map_or_else(Vec::new, |live| live.members.all());
    let mut closed = 0;
    for key in members {
        let session = sockets.sessions.get(key);
        let role = session
            .and_then(|session| session.open())
            .map(|it| &it.role);
        let meant = role.is_some_and(|role| match which {
            Connections::All => true,
            Connections::Masters => role.client_id().is_none(),
            Connections::Viewers => role.client_id().is_some(),
            Connections::Viewer(id) => role.client_id() == Some(&**id),
        });
        if meant {
            leave::close_web_socket(sockets, directory, books, key, EndReason::Operator, at);
            closed += 1;
        }
    }
    Some(closed)
}
