//! Questions of operators, and what tests make under `--dev`.

use crate::limits::LIST_PAGE_MAX;
use crate::shard::dev::faults;
use crate::shard::dev::parity::Parity;
use crate::shard::dev::reset::{Reset, ResetStep};
use crate::shard::operator::inspect::channels::view;
use crate::shard::operator::inspect::{self, Question, Reply};
use crate::shard::operator::{connection_lookup, trace};
use crate::shard::{PageQuestion, Shard};
use crate::time::Moment;

impl Shard {
    /// Answers a question of an operator, or takes one step of what it asks for.
    pub(in crate::shard) fn answer_operator(&mut self, question: Question, at: Moment) -> Reply {
        let (sockets, directory, books, _, todo) = self.parts();
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
                let step = trace::step(sockets, directory, recorder, &identity, from, limit, at);
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
            Question::Reset(reset) if sockets.settings().dev => Reply::Reset(self.reset(reset, at)),
            Question::Reset(_) => Reply::Reset(ResetStep::default()),
            Question::Parity => {
                let parity = sockets.dev.parity.as_deref_mut();
                let findings = parity.map(Parity::findings);
                Reply::Findings(findings.unwrap_or_default())
            }
            Question::AddFault(rule) => {
                if sockets.add_fault(rule, at) {
                    self.disturb_sessions(at);
                }
                Reply::Done
            }
            Question::Disconnect { channel, which } => {
                let closed = inspect::disconnect(sockets, directory, todo, &channel, &which);
                Reply::Disconnected(closed)
            }
        }
    }

    /// A fault about sessions acts on those that are open.
    fn disturb_sessions(&mut self, at: Moment) {
        for slot in 0..self.sockets.places() {
            let (sockets, directory, books, _, todo) = self.parts();
            let Some(key) = sockets.session_at(slot) else {
                continue;
            };
            let channel = sockets.web_socket(key).map(|it| it.channel);
            let channel = channel.and_then(|key| directory.channel(key));
            let name = channel.map(|channel| channel.record.arn.name());
            faults::on_session(sockets, books, todo, key, name, at);
            self.settle(at);
        }
    }

    /// Ends channels that a test has used, a bounded number.
    fn reset(&mut self, mut reset: Reset, at: Moment) -> ResetStep {
        let mut done = ResetStep::default();
        let (sockets, directory, books, _, todo) = self.parts();
        reset.begin(sockets, books, todo, at);
        let channels = reset.channels(directory);
        self.settle(at);
        for identity in channels {
            let (sockets, directory, books, _, todo) = self.parts();
            if let Some(key) = done.end(sockets, directory, todo, identity) {
                sockets.withdraw_held(books, key);
            }
            self.settle(at);
        }
        done.deleting = reset.deleting(&self.directory);
        done
    }
}
