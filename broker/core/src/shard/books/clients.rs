//! The counters of clients beside their messages: requests, upgrades, refusals, ends of connections, and the work
//! that they cause.

use crate::check::Check;
use crate::event::{AuthFailure, Requested, UpgradeOutcome, UpgradeRole};
use crate::journal::ConnectionEnd;
use crate::shard::books::Books;
use crate::work;
use codec::signal::Role;

impl Books {
    /// An HTTP request was answered with `status`.
    pub(crate) fn count_request(&mut self, requested: Requested, status: u16) {
        self.counters.request(requested, status);
    }

    /// An upgrade was answered.
    pub(crate) fn count_upgrade(&mut self, role: UpgradeRole, outcome: UpgradeOutcome) {
        self.counters.upgrade(role, outcome);
    }

    /// A check refused a request or a connection.
    pub(crate) fn count_refusal(&mut self, check: Check) {
        self.counters.refusals.count(check);
    }

    /// A signature or a policy kept somebody out.
    pub(crate) fn count_auth_failure(&mut self, failure: AuthFailure) {
        self.counters.auth_failure(failure);
    }

    /// A policy was decided in this many steps.
    pub(crate) fn count_policy_steps(&mut self, steps: u64) {
        self.counters.policy_steps += steps;
    }

    /// A WebSocket connection ended.
    pub(crate) fn count_connection_end(&mut self, end: &ConnectionEnd) {
        self.counters.connection_end(end.reason);
        self.counters.sessions.ended(end);
    }

    /// A newer connection took the place of one with this role.
    pub(crate) fn count_superseded(&mut self, role: Role) {
        self.counters.sessions.superseded(role);
    }

    /// A frame was taken in.
    #[inline]
    pub(crate) fn count_frame(&mut self) {
        self.frames += 1;
    }

    /// The work of frames and of policies since the start, in units.
    pub(crate) fn work(&self) -> u64 {
        self.frames * work::FRAME + self.counters.policy_steps * work::POLICY_STEP
    }
}
