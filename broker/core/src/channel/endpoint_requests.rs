//! The latest endpoint request of each caller. Used to distinguish a master that sends a client id from a viewer that
//! sends none (codec/PROTOCOL.md, CON-2).

use crate::id::CallerId;
use crate::limits::{MASTER_REQUESTS_MAX, VIEWER_REQUESTS_MAX};
use crate::settings::Program;

/// The latest endpoint requests for a channel, newest first. If the list is full, the oldest entry is evicted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct EndpointRequests {
    /// Callers that requested the master endpoint or connected as the master.
    masters: [Option<KnownMaster>; MASTER_REQUESTS_MAX],
    /// Callers whose latest request was for the viewer endpoint.
    viewers: [Option<CallerId>; VIEWER_REQUESTS_MAX],
}

#[derive(Clone, Copy, Debug)]
struct KnownMaster {
    caller: CallerId,
    program: Program,
    /// Whether the caller's latest request was for the master endpoint.
    asked_last: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum RequestedEndpoint {
    Master(Program),
    MasterInVain,
    Viewer,
}

impl EndpointRequests {
    pub(crate) fn note(&mut self, caller: CallerId, asked: RequestedEndpoint) {
        let is_viewer = matches!(asked, RequestedEndpoint::Viewer);
        let others = self.viewers.into_iter().flatten();
        let others = others.filter(|other| *other != caller);
        let mut viewers = is_viewer.then_some(caller).into_iter().chain(others);
        self.viewers = std::array::from_fn(|_| viewers.next());
        if let RequestedEndpoint::Viewer = asked {
            let mut all = self.masters.iter_mut().flatten();
            if let Some(known) = all.find(|known| known.caller == caller) {
                known.asked_last = false;
            }
            return;
        }
        let known = match asked {
            RequestedEndpoint::Master(program) => Some(KnownMaster {
                caller,
                program,
                asked_last: true,
            }),
            RequestedEndpoint::MasterInVain | RequestedEndpoint::Viewer => None,
        };
        let others = self.masters.into_iter().flatten();
        let others = others.filter(|other| other.caller != caller);
        let mut masters = known.into_iter().chain(others);
        self.masters = std::array::from_fn(|_| masters.next());
    }

    /// Records a caller that may connect as the master. Does nothing if the caller already has an entry or no entry is
    /// free.
    pub(crate) fn note_master(&mut self, caller: CallerId) {
        if self.is_master(caller) {
            return;
        }
        if let Some(free) = self.masters.iter_mut().find(|place| place.is_none()) {
            *free = Some(KnownMaster {
                caller,
                program: Program::default(),
                asked_last: false,
            });
        }
    }

    fn is_master(&self, caller: CallerId) -> bool {
        let mut masters = self.masters.iter().flatten();
        masters.any(|known| known.caller == caller)
    }

    /// Returns the program of a caller whose latest request was for the master endpoint; `None` for other callers.
    pub(crate) fn as_master(&self, caller: CallerId) -> Option<Program> {
        let mut all = self.masters.iter().flatten();
        all.find(|known| known.caller == caller && known.asked_last)
            .map(|known| known.program)
    }

    /// Returns `true` if a connection without a client id must be refused because its caller last requested the viewer
    /// endpoint.
    ///
    /// Cameras cache an endpoint for hours, and some share credentials with viewers. While no master is connected, a
    /// caller that may be the master is therefore admitted at once, and any other caller is admitted when it retries.
    pub(crate) fn refuses(&mut self, caller: CallerId, has_master: bool) -> bool {
        let is_viewer = self.viewers.contains(&Some(caller));
        if !is_viewer || has_master {
            return is_viewer;
        }
        let is_master = self.is_master(caller);
        if !is_master {
            self.note_master(caller);
            let place = self.viewers.iter_mut().find(|it| **it == Some(caller));
            place.map(Option::take);
        }
        !is_master
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_request_of_a_caller_counts_and_the_oldest_goes() {
        let [one, two, three] = [1, 2, 3].map(CallerId::of_hash);
        let program = Program::default();
        let wss = program.offering_wss(true);
        let mut requests = EndpointRequests::default();
        requests.note(one, RequestedEndpoint::Master(program));
        requests.note(two, RequestedEndpoint::Master(program));
        requests.note(one, RequestedEndpoint::Master(wss));
        let found = (requests.as_master(one), requests.as_master(two));
        assert_eq!(found, (Some(wss), Some(program)));
        requests.note(three, RequestedEndpoint::Master(program));
        let found = (requests.as_master(one), requests.as_master(two));
        assert_eq!(found, (Some(wss), None));
        for asked in [RequestedEndpoint::Viewer, RequestedEndpoint::MasterInVain] {
            requests.note(one, asked);
            let found = (requests.as_master(one), requests.as_master(three));
            assert_eq!(found, (None, Some(program)));
        }
    }

    #[test]
    fn who_asked_for_a_viewer_s_endpoint_does_not_take_the_master_s_place() {
        let [one, two] = [1, 2].map(CallerId::of_hash);
        let mut requests = EndpointRequests::default();
        assert!(!requests.refuses(one, true));
        requests.note(one, RequestedEndpoint::Viewer);
        // While a master is connected, every attempt is refused. Otherwise, only the first attempt is refused.
        let found = [true, true, false, false].map(|has_master| requests.refuses(one, has_master));
        assert_eq!(found, [true, true, true, false]);
        assert!(!requests.refuses(two, true));
        // A former or possible master is admitted at once while no master is connected, even after it requested the
        // viewer endpoint.
        let asks: [fn(&mut EndpointRequests, CallerId); 2] = [
            |requests, caller| requests.note(caller, RequestedEndpoint::Master(Program::default())),
            EndpointRequests::note_master,
        ];
        for asks in asks {
            let mut requests = EndpointRequests::default();
            asks(&mut requests, one);
            requests.note(one, RequestedEndpoint::Viewer);
            assert_eq!(requests.as_master(one), None);
            let found = [true, false].map(|it| requests.refuses(one, it));
            assert_eq!(found, [true, false]);
            requests.note(one, RequestedEndpoint::Master(Program::default()));
            assert!(!requests.refuses(one, true));
        }
    }

    #[test]
    fn the_lists_of_callers_are_bounded() {
        let mut requests = EndpointRequests::default();
        let callers = [1, 2, 3, 4, 5].map(CallerId::of_hash);
        assert_eq!(callers.len(), VIEWER_REQUESTS_MAX + 1);
        for caller in callers {
            requests.note(caller, RequestedEndpoint::Viewer);
        }
        let refused = callers.map(|caller| requests.refuses(caller, true));
        assert_eq!(refused, [false, true, true, true, true]);
        // A caller that may be the master does not evict a caller that has requested the master endpoint.
        let [one, two, three, ..] = callers;
        for caller in [one, two] {
            requests.note(caller, RequestedEndpoint::Master(Program::default()));
        }
        requests.note_master(three);
        assert!(requests.as_master(one).is_some() && requests.as_master(two).is_some());
        let found = [false; 2].map(|it| requests.refuses(three, it));
        assert_eq!(found, [true, false]);
    }
}
