//! Candidates that are said one after the other, as browsers find them.

use crate::visit::crew::{Crew, Party, Person, sessions};
use crate::visit::{Stage, Viewer};

impl Crew {
    /// A line whose session has had its answer since the last call, and has candidates to trickle.
    pub fn answered(&mut self) -> Option<u32> {
        self.answered.pop()
    }

    /// The next candidate of the viewer on a line.
    pub fn trickle(&mut self, line: u32, out: &mut Vec<u8>) {
        let desk = &mut self.desk;
        if let Some(viewer) = trickling(&mut self.people, line, desk.terms.candidates)
            && viewer.to_master.sent() <= u64::from(desk.terms.candidates)
            && let Some(number) = viewer.to_master.compose()
        {
            sessions::write_to_master(desk, viewer.session, number, out);
        }
    }

    /// The next candidate of the master to the viewer on `line`, for the line of [`Crew::master_line`].
    pub fn trickle_back(&mut self, line: u32, out: &mut Vec<u8>) {
        let desk = &mut self.desk;
        if let Some(viewer) = trickling(&mut self.people, line, desk.terms.candidates)
            && viewer.to_viewer.sent() <= u64::from(desk.terms.candidates)
            && let Some(number) = viewer.to_viewer.compose()
        {
            sessions::write_to_viewer(desk, viewer.session, number, out);
        }
    }

    /// The line of the open master of the session on `line`.
    #[must_use]
    pub fn master_line(&self, line: u32) -> Option<u32> {
        let Party::Viewer(viewer) = self.party(line) else {
            return None;
        };
        let place = self.share.index(self.channel_of(viewer.session));
        self.masters.get(place)?.map(|(_, line)| line)
    }

    /// Whether the session on a line has candidates left to trickle.
    pub fn has_more(&mut self, line: u32) -> bool {
        trickling(&mut self.people, line, self.desk.terms.candidates).is_some()
    }
}

/// The session on a line, if it has its answer and the sides have not said all of their candidates.
fn trickling(people: &mut [Person], line: u32, candidates: u32) -> Option<&mut Viewer> {
    let Party::Viewer(viewer) = &mut people.get_mut(line as usize)?.party else {
        return None;
    };
    let left = |sent: u64| sent <= u64::from(candidates);
    let is_left = left(viewer.to_master.sent()) || left(viewer.to_viewer.sent());
    (is_left && viewer.stage == Stage::AwaitRest).then_some(viewer)
}
