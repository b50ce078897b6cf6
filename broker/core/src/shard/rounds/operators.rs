//! Questions of operators.

use crate::limits::LIST_PAGE_MAX;
use crate::shard::operator::inspect::channels::{read_presence, view};
use crate::shard::operator::inspect::{Question, Reply};
use crate::shard::operator::trace::{self, TraceQuestion};
use crate::shard::operator::{connection_lookup, import, inspect};
use crate::shard::{PageQuestion, Shard};
use crate::time::Moment;

impl Shard {
    /// Answers a question of an operator, or takes one step of what it asks for.
    pub(crate) fn answer_operator(&mut self, question: Question, at: Moment) -> Reply {
        let (sockets, directory, books, _, todo) = self.parts();
        match question {
            Question::Page {
                prefix,
                after,
                limit,
                viewer,
                presence,
            } => {
                let limit = limit.min(LIST_PAGE_MAX);
                let after = after.as_ref();
                let mut reply = directory.inspect_page(&prefix, after, limit, viewer.as_deref());
                if let (true, Reply::Page(lines, _)) = (presence, &mut reply) {
                    read_presence(sockets, directory, lines, at);
                }
                reply
            }
            Question::Part(question) => {
                let limit = question.limit.min(LIST_PAGE_MAX);
                let question = PageQuestion { limit, ..question };
                Reply::Part(Box::new(directory.part(&question, at.now)))
            }
            Question::Count(tenant) => Reply::Count(directory.held_by(&tenant)),
            Question::Channel(identity) => {
                let key = directory.key_of(&identity);
                let view = key.and_then(|key| view(sockets, directory, key, at));
                Reply::Channel(view.map(Box::new))
            }
            Question::Trace {
                identity,
                from,
                limit,
            } => {
                let recorder = books.recorder();
                let wanted = TraceQuestion {
                    identity,
                    from,
                    limit,
                };
                let step = trace::step(sockets, directory, recorder, &wanted, at);
                Reply::Trace(step.map(Box::new))
            }
            Question::Session(session, before) => {
                let recorder = books.recorder();
                let step = connection_lookup::step(sockets, directory, recorder, session, before);
                Reply::Session(Box::new(step))
            }
            Question::ReconnectIce {
                channel: Some(identity),
                from: _,
            } => {
                let members = directory.members_of(&identity).unwrap_or_default();
                sockets.reconnect_members(books, members, at)
            }
            Question::ReconnectIce {
                channel: None,
                from,
            } => sockets.reconnect_some(books, from, at),
            Question::Reset(_) | Question::Parity | Question::AddFault(_) => {
                self.ask_double(question, at)
            }
            Question::Import(records) => import::begin(sockets, directory, &records, at),
            Question::ImportWithdrawn(records) => {
                import::withdraw(directory, books, todo, &records, at)
            }
            Question::Disconnect { channel, which } => {
                let closed = inspect::disconnect(sockets, directory, todo, &channel, &which);
                Reply::Disconnected(closed)
            }
        }
    }
}
