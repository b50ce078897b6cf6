//! Connections without a session in the state machine: links, and the clients on them. Each connection is identified by
//! a number, which can be reused after the connection is closed.

use crate::edge::connection::{Connection, Deadlines, NEVER};
use crate::edge::links::PLACES;
use broker_core::time::Now;

/// A table of connections, indexed by reusable numbers ("places"). A number becomes free once its connection has no
/// operation in flight.
pub(crate) struct Places<T> {
    places: Vec<Option<Box<T>>>,
    free: Vec<u32>,
    len: usize,
    /// Connections to serve at the end of this loop iteration, without duplicates.
    touched: Vec<u32>,
    /// The time by which each connection must be served, even if no event arrives for it.
    due: Deadlines<u32>,
}

impl<T> Default for Places<T> {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
            len: 0,
            touched: Vec::new(),
            due: Deadlines::default(),
        }
    }
}

impl<T: AsMut<Connection>> Places<T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Reserves a free number for [`Self::put`]. Returns `None` if all numbers are in use.
    pub(crate) fn claim(&mut self) -> Option<u32> {
        let place = match self.free.pop() {
            Some(place) => place,
            None => {
                let place = u32::try_from(self.places.len()).ok()?;
                if u64::from(place) >= PLACES {
                    return None;
                }
                self.places.push(None);
                place
            }
        };
        self.len += 1;
        Some(place)
    }

    /// Adds a connection under a reserved number.
    pub(crate) fn put(&mut self, place: u32, thing: T) {
        if let Some(slot) = self.places.get_mut(place as usize) {
            *slot = Some(Box::new(thing));
        }
    }

    /// Removes a connection and frees its number.
    pub(crate) fn remove(&mut self, place: u32) -> Option<T> {
        let mut thing = *self.places.get_mut(place as usize)?.take()?;
        self.due.set(place, thing.as_mut(), NEVER);
        self.free.push(place);
        self.len -= 1;
        Some(thing)
    }

    /// Returns the connection with this number.
    pub(crate) fn get(&self, place: u32) -> Option<&T> {
        self.places.get(place as usize)?.as_deref()
    }

    pub(crate) fn get_mut(&mut self, place: u32) -> Option<&mut T> {
        self.places.get_mut(place as usize)?.as_deref_mut()
    }

    /// Returns the numbers of all connections.
    pub(crate) fn all(&self) -> Vec<u32> {
        let places = (0..).zip(&self.places);
        let used = places.filter(|(_, thing)| thing.is_some());
        used.map(|(place, _)| place).collect()
    }

    /// Schedules a connection to be served at the end of the iteration.
    pub(crate) fn touch(&mut self, place: u32) {
        if let Some(thing) = self.get_mut(place)
            && !std::mem::replace(&mut thing.as_mut().dirty, true)
        {
            self.touched.push(place);
        }
    }

    /// Takes the list of connections to serve, including up to `most` connections whose deadline has passed.
    pub(crate) fn take_touched(&mut self, now: Now, most: usize) -> Vec<u32> {
        for _ in 0..most {
            let Some((_, place)) = self.due.next().filter(|(due, _)| *due <= now) else {
                break;
            };
            self.serve_by(place, NEVER);
            self.touch(place);
        }
        std::mem::take(&mut self.touched)
    }

    /// Puts the list back after its connections have been served, so that its allocation is reused.
    pub(crate) fn keep_touched(&mut self, touched: Vec<u32>) {
        crate::edge::connections::keep(&mut self.touched, touched);
    }

    /// Returns whether any connection is waiting to be served.
    pub(crate) fn has_work(&self) -> bool {
        !self.touched.is_empty()
    }

    /// Sets the time by which a connection must be served even without an event.
    pub(crate) fn serve_by(&mut self, place: u32, due: Now) {
        if let Some(Some(thing)) = self.places.get_mut(place as usize) {
            self.due.set(place, (**thing).as_mut(), due);
        }
    }

    /// Returns the earliest time by which a connection must be served.
    pub(crate) fn next_due(&self) -> Option<Now> {
        self.due.next().map(|(due, _)| due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use broker_core::id::SessionKey;
    use std::fs::File;

    struct Thing(Connection);

    impl AsMut<Connection> for Thing {
        fn as_mut(&mut self) -> &mut Connection {
            &mut self.0
        }
    }

    #[test]
    fn a_place_is_used_again_when_it_is_free_and_served_when_it_is_due() {
        let thing = || {
            let socket = File::open("/dev/null").unwrap().into();
            Thing(Connection::new(SessionKey::unpack(0), socket, None))
        };
        let mut places = Places::default();
        let one = places.claim().unwrap();
        places.put(one, thing());
        let two = places.claim().unwrap();
        assert_eq!((one, two, places.len(), places.all()), (0, 1, 2, vec![0]));
        places.put(two, thing());
        for due in [5, 9, 7] {
            places.serve_by(one, Now(due));
        }
        places.touch(two);
        places.touch(two);
        assert_eq!(places.take_touched(Now(6), 9), [two]);
        assert_eq!(places.next_due(), Some(Now(7)));
        assert!(places.take_touched(Now(7), 0).is_empty());
        assert_eq!(places.take_touched(Now(7), 1), [one]);
        assert_eq!(places.next_due(), None);
        places.serve_by(one, Now(8));
        assert!(places.remove(one).is_some() && places.remove(one).is_none());
        assert_eq!((places.next_due(), places.len()), (None, 1));
        assert_eq!((places.claim(), places.len()), (Some(one), 2));
    }
}
