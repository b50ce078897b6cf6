//! The mailboxes of shards: their entries, how these are taken out, and that each question has exactly one answer.

use crate::sim::store::trouble;
use crate::sim::world::{Cause, World};
use broker_core::id::{CallRef, ChannelKey, ShardId};
use broker_core::machine::Input;
use broker_core::shard::{Letter, Parcel, Shard};
use broker_core::{machine::Machine, registry::StoreError};
use std::collections::BTreeMap;

use crate::sim::socket::ConnId;

/// A change that a store keeps later, or not.
#[derive(Clone)]
pub(crate) struct Change {
    pub(crate) key: ChannelKey,
    pub(crate) name: String,
    pub(crate) number: u64,
    pub(crate) kept: bool,
}

/// An entry of a mailbox.
pub(crate) enum Post {
    /// A letter from another shard, or of the operator.
    Letter(Letter),
    /// The store has reported a change.
    Committed(Change),
    /// A connection.
    Handover(Box<Parcel>, ConnId),
}

/// Shard, session and serial of a call, and the shard that is asked.
type Asked = (u16, u64, u32, usize);

/// Questions between shards without an answer, and calls that wait on another shard than their caller's.
#[derive(Default)]
pub(crate) struct OpenLetters {
    questions: BTreeMap<Asked, u32>,
    calls: BTreeMap<Asked, Call>,
}

/// How far an Alexa call of another shard has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Waits,
    Withdrawn,
    Answered,
}

fn asked(caller: &CallRef, home: usize) -> Asked {
    let session = caller.session.pack();
    (caller.shard.0, session, caller.serial, home)
}

impl OpenLetters {
    /// A shard posts a letter to another one.
    ///
    /// # Panics
    /// When it answers what nobody asked, or says something twice.
    fn posted(&mut self, from: usize, to: usize, letter: &Letter) {
        match letter {
            Letter::Query(caller, _) => {
                assert_eq!(caller.shard.index(), from, "whose question");
                *self.questions.entry(asked(caller, to)).or_default() += 1;
            }
            Letter::Answer(home, caller, _) => {
                assert_eq!((home.index(), caller.shard.index()), (from, to));
                self.answered(asked(caller, from));
            }
            Letter::CallTaken(home, caller) => {
                assert_eq!((home.index(), caller.shard.index()), (from, to));
                self.answered(asked(caller, from));
                let twice = self.calls.insert(asked(caller, from), Call::Waits);
                assert_eq!(twice, None, "a call is taken once");
            }
            Letter::CallWithdrawn(caller) => {
                let call = self.calls.get_mut(&asked(caller, to));
                let call = call.expect("it waits there");
                assert_ne!(*call, Call::Withdrawn, "it hangs up once");
                if *call == Call::Waits {
                    *call = Call::Withdrawn;
                }
            }
            Letter::CallAnswer(_, caller, _) => {
                let call = self.calls.get_mut(&asked(caller, from));
                let before = call.map(|call| std::mem::replace(call, Call::Answered));
                let waited = matches!(before, Some(Call::Waits | Call::Withdrawn));
                assert!(waited, "a call is answered once: {before:?}");
            }
            Letter::CallOver(caller) => {
                let before = self.calls.remove(&asked(caller, to));
                assert_eq!(before, Some(Call::Answered), "it is over once answered");
            }
            other => panic!("no shard posts {other:?}"),
        }
    }

    fn answered(&mut self, asked: Asked) {
        let left = self.questions.get_mut(&asked);
        let left = left.expect("an answer to a question");
        *left -= 1;
        if *left == 0 {
            self.questions.remove(&asked);
        }
    }

    /// Nothing is open.
    pub(crate) fn are_closed(&self) -> bool {
        self.questions.is_empty() && self.calls.is_empty()
    }
}

impl World {
    /// A letter is posted, or finds no room and comes back.
    pub(crate) fn post(&mut self, from: usize, to: ShardId, letter: Letter) -> Option<Letter> {
        let to = to.index();
        self.letters.posted(from, to, &letter);
        if Shard::refusable(&letter) && self.plan.refuses(&mut self.random) {
            if let Letter::Query(caller, _) = &letter {
                self.letters.answered(asked(caller, to));
            }
            return Some(letter);
        }
        self.hit("letter posted");
        self.mail[to].push_back(Post::Letter(letter));
        None
    }

    /// A letter found no room at its home.
    pub(crate) fn refuse(&mut self, shard: usize, letter: Letter) {
        self.hit("fault: letter refused");
        self.handle(shard, Input::Refused(letter), Cause::Letter);
    }

    /// A shard takes the oldest letter out of its mailbox.
    pub(crate) fn take_some_letter(&mut self) {
        let shard = self.random.usize(0..self.shards.len());
        self.take_letter(shard);
    }

    pub(crate) fn take_letter(&mut self, shard: usize) {
        match self.mail[shard].pop_front() {
            None => {}
            Some(Post::Handover(parcel, conn)) => self.adopt(shard, parcel, conn),
            Some(Post::Letter(letter)) => {
                self.trace(shard, &letter);
                if let Letter::Drain(within) = &letter {
                    let ends = self.now + within;
                    self.drains[shard].get_or_insert((self.now, ends));
                }
                self.handle(shard, Input::Letter(letter), Cause::Letter);
            }
            Some(Post::Committed(change)) => {
                self.trace(shard, &("committed", &change.name, change.kept));
                self.records.committed(&change.name, change.kept, self.step);
                let result: Result<(), StoreError> = match change.kept {
                    true => Ok(()),
                    false => Err(trouble(change.number)),
                };
                let letter = Letter::Committed(change.key, result);
                self.handle(shard, Input::Letter(letter), Cause::Letter);
            }
        }
    }

    /// A store reports its oldest changes, up to this many.
    pub(crate) fn commit_some(&mut self) {
        let shard = self.random.usize(0..self.shards.len());
        let most = self.random.usize(1..4);
        self.commit(shard, most);
    }

    pub(crate) fn commit(&mut self, shard: usize, most: usize) {
        let many = most.min(self.changes[shard].len());
        for change in self.changes[shard].drain(..many).collect::<Vec<_>>() {
            self.mail[shard].push_back(Post::Committed(change));
        }
    }
}
