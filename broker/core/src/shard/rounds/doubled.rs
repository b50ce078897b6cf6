//! The steps in which a test double may take part: the shard takes them through its
//! [`Double`](crate::shard::road::double::Double).

use crate::id::SessionKey;
use crate::session::http::Admission;
use crate::shard::Shard;
use crate::shard::calls::BegunCall;
use crate::shard::connect::admission;
use crate::shard::connect::bodies::SignedCall;
use crate::shard::end::recheck;
use crate::shard::nodes::tunnel::{self, NamedCall};
use crate::shard::road::parts::Parts;
use crate::shard::todo::Todo;
use crate::time::Moment;

impl Shard {
    /// Admits a connection to its channel, whose home this is; false when it was refused, or is not answered.
    pub(crate) fn admit(&mut self, key: SessionKey, admission: &Admission, at: Moment) -> bool {
        let (sockets, books) = (&mut self.sockets, &mut self.books);
        let Some(holder) = admission::holder_of(sockets, books, key, admission, at) else {
            return false;
        };
        let admitted = (admission, holder);
        if !self.double.admission(self.road_parts(), key, admitted, at) {
            return false;
        }
        let (sockets, directory, books, gate, todo) = self.parts();
        if recheck::hold(
            sockets,
            directory,
            books,
            gate,
            (key, &admission.caller),
            at,
        ) {
            todo.push(Todo::AskAgain(key));
        }
        true
    }

    /// Begins a call whose signature was checked, unless another node has its channel.
    pub(crate) fn begin_call(&mut self, key: SessionKey, signed: SignedCall, at: Moment) {
        let (sockets, directory, books, ..) = self.parts();
        let SignedCall {
            mut asked,
            call,
            whole,
        } = signed;
        if let Some(whole) = whole {
            let identity = directory.identity_of(&asked.caller, &call);
            let named = NamedCall {
                caller: &asked.caller,
                call: &call,
                identity,
                whole,
            };
            if !tunnel::call_is_here(sockets, books, key, named, at) {
                return;
            }
        }
        asked.channel = call.channel_name().map(Into::into);
        let begun = BegunCall { key, asked, call };
        self.double.call(self.road_parts(), begun, at);
    }

    /// Does what a step left, and what that leaves.
    #[inline]
    pub(crate) fn settle(&mut self, at: Moment) {
        if !self.todo.is_empty() {
            self.settle_all(at);
        }
    }

    fn settle_all(&mut self, at: Moment) {
        while let Some(left) = self.todo.pop() {
            let others = self.todo.len();
            if let Some(left) = self.double.delivery(self.road_parts(), left, at) {
                self.act(left, at);
            }
            self.todo.newest_first(others);
        }
    }

    /// The parts for a step through the double.
    pub(crate) fn road_parts(&mut self) -> Parts<'_> {
        let (sockets, directory, books, _, todo) = self.parts();
        Parts {
            sockets,
            directory,
            books,
            todo,
        }
    }
}
