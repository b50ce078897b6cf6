//! Questions of operators about the test double: faults, findings, and the end of a test's channels.

use crate::shard::Shard;
use crate::shard::dev::faults::sessions;
use crate::shard::dev::parity::Parity;
use crate::shard::dev::reset::{Reset, ResetStep};
use crate::shard::operator::inspect::{Question, Reply};
use crate::time::Moment;

impl Shard {
    /// Answers a question about the double, or takes one step of what it asks for. Without `--dev` there is nothing.
    pub(crate) fn ask_double(&mut self, question: Question, at: Moment) -> Reply {
        if let Question::Reset(reset) = question {
            return Reply::Reset(if self.sockets.settings().dev {
                self.reset(reset, at)
            } else {
                ResetStep::default()
            });
        }
        if let Question::AddFault(rule) = question {
            if self.sockets.add_fault(rule, at) {
                self.disturb_sessions(at);
            }
            return Reply::Done;
        }
        let parity = self.sockets.dev_mut().parity.as_deref_mut();
        Reply::Findings(parity.map(Parity::findings).unwrap_or_default())
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
            sessions::on_session(sockets, books, todo, key, name, at);
            self.settle(at);
        }
    }

    /// Ends channels that a test has used, a bounded number.
    fn reset(&mut self, mut reset: Reset, at: Moment) -> ResetStep {
        let mut done = ResetStep::default();
        let (sockets, directory, _, _, todo) = self.parts();
        reset.begin(sockets, todo);
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
