//! The letters of an Alexa call that waits on another shard than its caller's.

use crate::world::{Tag, World};
use broker_core::id::{CallRef, ShardId};
use broker_core::shard::Letter;

impl World {
    /// Such a letter is posted as predicted.
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
