//! Callers that asked for the endpoint of a channel's master last: what tells a master that names a client id from a
//! viewer (codec/PROTOCOL.md, CON-2).

use crate::id::CallerId;
use crate::limits::MASTER_REQUESTS_MAX;
use crate::settings::Program;

/// The callers whose last request for the channel's endpoint was one for the master's, the newest first, each with its
/// program. When there are more, the oldest goes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MasterRequests([Option<(CallerId, Program)>; MASTER_REQUESTS_MAX]);

impl MasterRequests {
    /// A caller asked for an endpoint: for the master's by this program, or for a viewer's.
    pub(crate) fn note(&mut self, caller: CallerId, as_master: Option<Program>) {
        let others = self
            .0
            .into_iter()
            .flatten()
            .filter(|(other, _)| *other != caller);
        let mut all = as_master
            .map(|program| (caller, program))
            .into_iter()
            .chain(others);
        self.0 = std::array::from_fn(|_| all.next());
    }

    /// The program by which a caller asked for the master's endpoint, if that was its last request.
    pub(crate) fn of(&self, caller: CallerId) -> Option<Program> {
        let mut all = self.0.iter().flatten();
        all.find(|(other, _)| *other == caller)
            .map(|(_, program)| *program)
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
        let mut requests = MasterRequests::default();
        requests.note(one, Some(program));
        requests.note(two, Some(program));
        requests.note(one, Some(wss));
        assert_eq!(
            (requests.of(one), requests.of(two)),
            (Some(wss), Some(program))
        );
        requests.note(three, Some(program));
        assert_eq!((requests.of(one), requests.of(two)), (Some(wss), None));
        requests.note(one, None);
        assert_eq!(
            (requests.of(one), requests.of(three)),
            (None, Some(program))
        );
    }
}
