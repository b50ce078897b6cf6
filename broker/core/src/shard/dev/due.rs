//! The due work of faults: messages and ends of connections that they held back.

use crate::journal::EndReason;
use crate::limits::FAULTS_DUE_PER_TICK;
use crate::shard::Shard;
use crate::shard::dev::faults::held::Later;
use crate::shard::dev::faults::messages;
use crate::shard::road::parts::Parts;
use crate::time::Moment;

impl Shard {
    /// Goes on with what faults held back until now, a bounded number.
    pub(crate) fn double_due(&mut self, at: Moment) {
        for _ in 0..FAULTS_DUE_PER_TICK {
            let (sockets, directory, books, _, todo) = self.parts();
            match sockets.take_held(at) {
                Some(Later::Message(message)) => {
                    let parts = Parts {
                        sockets,
                        directory,
                        books,
                        todo,
                    };
                    messages::release(parts, message, at);
                }
                Some(Later::Close {
                    session,
                    code,
                    reason,
                }) => {
                    let ending = (EndReason::Operator, code, &*reason);
                    sockets.close_with(books, todo, session, ending, at);
                }
                None => break,
            }
            self.settle(at);
        }
        self.sockets.unmute_due(at);
    }
}
