//! Messages of sessions that are over.

use crate::visit::book::{Arrival, Book};
use crate::visit::crew::Crew;

impl Crew {
    /// A message of a session that is over: it came twice, or too late, or its session is forgotten.
    pub(crate) fn of_ended(
        &mut self,
        session: u32,
        number: u64,
        book: impl Fn(&mut (u32, Book, Book)) -> &mut Book,
    ) {
        let found = self
            .ended
            .iter_mut()
            .rev()
            .find(|(ended, _, _)| *ended == session);
        match found.map(|ended| book(ended).arrive(number)) {
            Some(Arrival::Again) => self.desk.tally.duplicated += 1,
            Some(Arrival::InOrder | Arrival::Late | Arrival::Unknown) | None => {
                self.desk.errors.count("message_of_an_ended_session");
            }
        }
    }
}
