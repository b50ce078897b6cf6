//! The part of a stream that a client has yet to read, looked at again and again.

use crate::sim::wire::{self, Item, Placed};
use std::rc::Rc;

/// A stream as far as it was looked at the last time. What is looked at again is compared, and only what has changed is
/// read.
#[derive(Default)]
pub(crate) struct Reader {
    /// The bytes behind what the client has read, and where the first of them is.
    bytes: Vec<u8>,
    begin: usize,
    things: Rc<Vec<Placed>>,
}

impl Reader {
    /// Everything from `at` on, of which `taken` has left the machine and `unsent` has not. It must end at the end of a
    /// thing: the machine queues whole ones only. `upgraded`: frames begin there, not responses.
    pub(crate) fn read(
        &mut self,
        at: usize,
        taken: &[u8],
        unsent: &[u8],
        upgraded: bool,
    ) -> Rc<Vec<Placed>> {
        self.forget(at);
        let length = taken.len() + unsent.len();
        let (first, second) = self.bytes.split_at(taken.len().min(self.bytes.len()));
        let same = if first != taken {
            common(first, taken)
        } else if second == unsent && self.bytes.len() == length {
            return self.things.clone();
        } else {
            first.len() + common(second, unsent)
        };
        self.bytes.truncate(same);
        if same < taken.len() {
            self.bytes.extend_from_slice(&taken[same..]);
        }
        let rest = self.bytes.len() - taken.len();
        self.bytes.extend_from_slice(&unsent[rest..]);
        let things = Rc::make_mut(&mut self.things);
        let whole = match things.first() {
            Some(first) if first.begin == at => {
                things.partition_point(|placed| placed.end <= at + same)
            }
            Some(_) | None => 0,
        };
        things.truncate(whole);
        let upgraded = things
            .iter()
            .fold(upgraded, |upgraded, placed| match &placed.item {
                Item::Response(response) => response.status == 101,
                _ => upgraded,
            });
        let from = things.last().map_or(at, |last| last.end);
        let fresh = wire::read(&self.bytes, from - at, upgraded).into_iter();
        things.extend(fresh.map(|placed| Placed {
            begin: placed.begin + at,
            end: placed.end + at,
            item: placed.item,
        }));
        self.things.clone()
    }

    /// The same, when nothing has changed since.
    pub(crate) fn things(&mut self, at: usize) -> Rc<Vec<Placed>> {
        self.forget(at);
        self.things.clone()
    }

    /// The client has read what is before `at`.
    fn forget(&mut self, at: usize) {
        let read = at - self.begin;
        if read > 0 {
            self.bytes.drain(..read.min(self.bytes.len()));
            let things = Rc::make_mut(&mut self.things);
            let gone = things.partition_point(|placed| placed.begin < at);
            things.drain(..gone);
            self.begin = at;
        }
    }
}

/// The number of bytes that are the same at the beginning of both.
fn common(one: &[u8], other: &[u8]) -> usize {
    if other.starts_with(one) {
        return one.len();
    }
    let pairs = one.iter().zip(other);
    pairs.take_while(|(one, other)| one == other).count()
}
