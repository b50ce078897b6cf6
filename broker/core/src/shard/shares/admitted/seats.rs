//! Connections in lists, each in the order in which they came to it: 20 bytes for each slot of the sessions, and for
//! each number of a tunnel.
//!
//! The lists go through the slots: what is before and after a connection is in its own place, so that nothing is
//! allocated for a connection, and nothing is moved or searched when one leaves.

use crate::id::{Key, SessionKey};
use crate::shard::shares::admitted::{Member, Standing};

/// The places of all sessions by slot, and of all tunnels by number. They come in chunks and stay.
#[derive(Debug, Default)]
pub(crate) struct Seats {
    sessions: Chunks,
    tunnels: Chunks,
}

type Chunks = Vec<Box<[Seat]>>;

/// One connection in its list.
#[derive(Clone, Copy, Debug)]
struct Seat {
    generation: u32,
    /// [`NOBODY`] where no connection has the place.
    caller: u32,
    older: u32,
    newer: u32,
    standing: Standing,
}

/// The ends of a list: slots, and numbers of tunnels with [`TUNNEL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct List {
    oldest: u32,
    newest: u32,
}

impl List {
    /// A list without connections.
    pub(crate) const EMPTY: Self = Self {
        oldest: NOBODY,
        newest: NOBODY,
    };
}

/// In place of a slot or a caller: none.
const NOBODY: u32 = u32::MAX;

/// Tells the number of a tunnel from a slot: both are smaller.
const TUNNEL: u32 = 1 << 31;

const CHUNK: usize = 64;

const _: () = assert!(size_of::<Seat>() == 20);

impl Seats {
    /// The caller of a connection and its list, if it has a place.
    pub(crate) fn of(&self, member: Member) -> Option<(u32, Standing)> {
        let (number, generation) = numbers(member);
        let seat = self.seat(number)?;
        let found = seat.generation == generation && seat.caller != NOBODY;
        found.then_some((seat.caller, seat.standing))
    }

    /// The connection that came last.
    pub(crate) fn newest(&self, list: List) -> Option<Member> {
        self.member(list.newest)
    }

    /// The connection that came first.
    pub(crate) fn oldest(&self, list: List) -> Option<Member> {
        self.member(list.oldest)
    }

    /// Puts a connection that has no place at the end of a list.
    pub(crate) fn push(
        &mut self,
        list: &mut List,
        member: Member,
        (caller, standing): (u32, Standing),
    ) {
        let (number, generation) = numbers(member);
        let chunks = match member {
            Member::Session(_) => &mut self.sessions,
            Member::Tunnel(_) => &mut self.tunnels,
        };
        while chunks.len() <= (number & !TUNNEL) as usize / CHUNK {
            let free = Seat {
                generation: 0,
                caller: NOBODY,
                older: NOBODY,
                newer: NOBODY,
                standing,
            };
            chunks.push([free; CHUNK].into());
        }
        let older = std::mem::replace(&mut list.newest, number);
        match self.seat_mut(older) {
            Some(seat) => seat.newer = number,
            None => list.oldest = number,
        }
        if let Some(seat) = self.seat_mut(number) {
            *seat = Seat {
                generation,
                caller,
                older,
                newer: NOBODY,
                standing,
            };
        }
    }

    /// Takes a connection out of its list.
    pub(crate) fn take(&mut self, list: &mut List, member: Member) {
        let (number, _) = numbers(member);
        let Some(seat) = self.seat_mut(number) else {
            return;
        };
        let Seat { older, newer, .. } = *seat;
        seat.caller = NOBODY;
        match self.seat_mut(older) {
            Some(seat) => seat.newer = newer,
            None => list.oldest = newer,
        }
        match self.seat_mut(newer) {
            Some(seat) => seat.older = older,
            None => list.newest = older,
        }
    }

    fn member(&self, number: u32) -> Option<Member> {
        let seat = self.seat(number)?;
        Some(if number & TUNNEL == 0 {
            Member::Session(<SessionKey as Key>::new(number, seat.generation))
        } else {
            Member::Tunnel(number & !TUNNEL)
        })
    }

    fn seat(&self, number: u32) -> Option<&Seat> {
        let chunks = if number & TUNNEL == 0 {
            &self.sessions
        } else {
            &self.tunnels
        };
        let number = (number & !TUNNEL) as usize;
        chunks.get(number / CHUNK)?.get(number % CHUNK)
    }

    fn seat_mut(&mut self, number: u32) -> Option<&mut Seat> {
        let chunks = if number & TUNNEL == 0 {
            &mut self.sessions
        } else {
            &mut self.tunnels
        };
        let number = (number & !TUNNEL) as usize;
        chunks.get_mut(number / CHUNK)?.get_mut(number % CHUNK)
    }
}

/// The number of a place, and the generation of who has it.
fn numbers(member: Member) -> (u32, u32) {
    match member {
        Member::Session(session) => {
            let slot = u32::try_from(session.slot()).unwrap_or(NOBODY);
            (slot, session.generation())
        }
        Member::Tunnel(number) => (number | TUNNEL, 0),
    }
}
