//! The mailboxes of shards: their entries, and how these are taken out.

use crate::sim::model::{Caller, ConnId, Question, Refusal, Told};
use crate::sim::store::trouble;
use crate::sim::world::World;
use broker_core::check::Check;
use broker_core::id::{CallRef, ChannelKey, ShardId};
use broker_core::machine::Input;
use broker_core::shard::{Letter, Parcel};

/// A change that a store keeps later, or not.
#[derive(Clone)]
pub(crate) struct Change {
    pub(crate) key: ChannelKey,
    pub(crate) channel: usize,
    pub(crate) number: u64,
    pub(crate) kept: bool,
}

/// An entry of a mailbox.
pub(crate) enum Post {
    /// A letter, with what the model knows of it.
    Letter(Letter, Tag),
    /// A connection.
    Handover(Box<Parcel>, ConnId),
}

/// The model's knowledge of a letter.
pub(crate) enum Tag {
    Ask(Caller, Question),
    /// Of which home, like the two that follow.
    Tell(Caller, usize, Told),
    Taken(Caller, usize),
    Answer(Caller, usize, Told),
    Withdraw(Caller),
    Over(Caller),
    Drain(u64),
    /// Of this channel; whether it was kept.
    Committed(usize, bool),
}

impl World {
    /// A shard takes the oldest letter out of its mailbox.
    pub(crate) fn take_letter(&mut self, shard: usize) {
        let Some(post) = self.mail[shard].pop_front() else {
            return;
        };
        self.before(shard);
        if let Post::Letter(letter, _) = &post {
            self.trace(shard, letter);
        }
        match post {
            Post::Handover(parcel, conn) => self.adopt(shard, parcel, conn),
            Post::Letter(letter, tag) => {
                match tag {
                    Tag::Ask(caller, question) => self.model.answer(shard, caller, question),
                    Tag::Tell(caller, home, told) => self.model.heard_back(caller, home, told),
                    Tag::Taken(caller, home) => self.model.taken(caller, home),
                    Tag::Answer(caller, home, told) => {
                        self.model.offer_answered(caller, home, told);
                    }
                    Tag::Withdraw(caller) => self.model.withdrawn(shard, caller),
                    Tag::Over(caller) => self.model.over(shard, caller),
                    Tag::Drain(within) => self.model.drain(shard, within),
                    Tag::Committed(channel, kept) => self.model.committed(channel, kept),
                }
                self.handle(shard, Input::Letter(letter));
            }
        }
    }

    /// A store reports its oldest changes, up to this many.
    pub(crate) fn commit(&mut self, shard: usize, most: usize) {
        let many = most.min(self.changes[shard].len());
        for change in self.changes[shard].drain(..many).collect::<Vec<_>>() {
            let result = if change.kept {
                Ok(())
            } else {
                Err(trouble(change.number))
            };
            let letter = Letter::Committed(change.key, result);
            let tag = Tag::Committed(change.channel, change.kept);
            self.mail[shard].push_back(Post::Letter(letter, tag));
        }
    }

    /// A letter found no room at its home.
    pub(crate) fn refuse(&mut self, shard: usize, letter: Letter, caller: Caller, home: usize) {
        self.hit("fault: letter refused");
        self.before(shard);
        let refusal = Refusal::new(Check::MailboxFull, "ServiceUnavailable");
        let told = Told::Fault(503, refusal);
        self.model.heard_back(caller, home, told);
        self.handle(shard, Input::Refused(letter));
    }

    /// A letter of an Alexa call that waits on another shard than its caller's is posted as predicted.
    pub(crate) fn alexa_letter(&mut self, to: ShardId, letter: &Letter) -> Tag {
        let callers = &self.callers;
        let known = |caller: &CallRef| {
            let reference = (caller.shard.0, caller.session.pack(), caller.serial);
            callers.get(&reference).copied()
        };
        let out = &mut self.model.out;
        match letter {
            Letter::CallTaken(home, caller) => {
                let (predicted, at) = out.takens.pop_front().expect("it takes a call");
                assert_eq!((known(caller), at), (Some(predicted), home.index()));
                assert_eq!(predicted.shard, to.index());
                Tag::Taken(predicted, at)
            }
            Letter::CallAnswer(home, caller, _) => {
                let place =
                    (out.answers.iter()).position(|(whose, ..)| Some(*whose) == known(caller));
                let (predicted, at, told) = place
                    .and_then(|place| out.answers.remove(place))
                    .expect("an Alexa call was to be answered");
                assert_eq!((at, predicted.shard), (home.index(), to.index()));
                Tag::Answer(predicted, at, told)
            }
            Letter::CallWithdrawn(caller) => {
                let place =
                    (out.withdraws.iter()).position(|(whose, _)| Some(*whose) == known(caller));
                let (predicted, home) = place
                    .and_then(|place| out.withdraws.remove(place))
                    .expect("a caller hung up");
                assert_eq!(home, to.index());
                Tag::Withdraw(predicted)
            }
            Letter::CallOver(caller) => {
                let (predicted, home) = out.overs.pop_front().expect("a call is over");
                assert_eq!((known(caller), home), (Some(predicted), to.index()));
                Tag::Over(predicted)
            }
            other => panic!("{other:?} is none of an Alexa call"),
        }
    }
}
