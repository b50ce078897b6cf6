//! Labels of the counters of clients: upgrades, HTTP requests, signatures and policies. Their sets are closed.

use codec::control::Operation;
use codec::sigv4;
use strum::{EnumCount, VariantNames};

/// The role that an upgrade asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumCount, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum UpgradeRole {
    /// As the device: no client id was given.
    Master,
    /// As a watcher.
    Viewer,
}

/// The number of roles.
pub const UPGRADE_ROLES: usize = UpgradeRole::COUNT;

impl UpgradeRole {
    /// The labels in the order of [`UpgradeRole::index`].
    pub const LABELS: &'static [&'static str] = Self::VARIANTS;

    /// The role's place in a table of counters.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// The outcome of an upgrade. Exactly one of these for each request that asks for a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumCount, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum UpgradeOutcome {
    /// 101.
    Accepted,
    /// It breaks a rule of HTTP, of WebSocket or of its parameters: 400, 405, 426.
    Invalid,
    /// The signature is missing or wrong: 403.
    Unauthenticated,
    /// The policy does not allow it: 403.
    Forbidden,
    /// Its channel is not there: 404.
    NotFound,
    /// A limit or rate is used up: 400.
    Limited,
    /// The server has no room: 503.
    Unavailable,
    /// The server is about to end, and another one or its next process serves the client: 503.
    Draining,
}

/// The number of outcomes.
pub const UPGRADE_OUTCOMES: usize = UpgradeOutcome::COUNT;

impl UpgradeOutcome {
    /// The labels in the order of [`UpgradeOutcome::index`].
    pub const LABELS: &'static [&'static str] = Self::VARIANTS;

    /// The outcome's place in a table of counters.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Why a request was not authorized, as `heliograph_auth_failures_total{reason}` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthFailure {
    /// The signature.
    Signature(sigv4::Reason),
    /// The signature is good, the policy says no.
    Policy,
}

/// The number of failures.
pub const AUTH_FAILURES: usize = sigv4::Reason::ALL.len() + 1;

impl AuthFailure {
    /// The labels in the order of [`AuthFailure::index`].
    #[must_use]
    pub fn labels() -> [&'static str; AUTH_FAILURES] {
        let mut labels = ["policy"; AUTH_FAILURES];
        for (label, reason) in labels.iter_mut().zip(sigv4::Reason::ALL) {
            *label = reason.as_str();
        }
        labels
    }

    /// The failure's place in a table of counters.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Signature(reason) => reason as usize,
            Self::Policy => AUTH_FAILURES - 1,
        }
    }
}

/// The purpose of an HTTP request, as `heliograph_http_requests_total{operation}` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requested {
    /// An operation of the service.
    Api(Operation),
    /// STS GetFederationToken.
    FederationToken,
    /// STS GetCallerIdentity.
    CallerIdentity,
    /// STS AssumeRole.
    AssumeRole,
    /// STS GetSessionToken.
    SessionToken,
    /// STS AssumeRoleWithWebIdentity.
    WebIdentity,
    /// Keys for a certificate, by a role alias.
    RoleAlias,
    /// `GET /wake` of a device.
    Wake,
    /// `/ping` of a load balancer.
    Ping,
    /// Anything else: no such path, or no head that could be understood.
    Unknown,
}

/// The number of purposes.
pub const REQUESTED: usize = Operation::ALL.len() + 9;

/// Requests that sign somebody in, by what `heliograph_signins_total{kind}` calls them.
const SIGN_INS: [(&str, Requested); 5] = [
    ("federation", Requested::FederationToken),
    ("session", Requested::SessionToken),
    ("role", Requested::AssumeRole),
    ("web", Requested::WebIdentity),
    ("certificate", Requested::RoleAlias),
];

/// The requests that sign somebody in, by kind: those that were let in, and those that were refused.
pub fn sign_ins(
    requests: &[[u64; STATUSES]; REQUESTED],
) -> impl Iterator<Item = (&'static str, [u64; 2])> + '_ {
    SIGN_INS.into_iter().map(|(kind, requested)| {
        let row = requests.get(requested.index()).into_iter().flatten();
        let mut sums = [0; 2];
        for (status, count) in STATUS.iter().zip(row) {
            let [ok, refused] = &mut sums;
            *(if *status == 200 { ok } else { refused }) += count;
        }
        (kind, sums)
    })
}

impl Requested {
    /// The labels in the order of [`Requested::index`].
    #[must_use]
    pub fn labels() -> [&'static str; REQUESTED] {
        let mut labels = ["unknown"; REQUESTED];
        let names = Operation::ALL.iter().copied().map(Operation::name);
        let names = names.chain([
            "GetFederationToken",
            "GetCallerIdentity",
            "AssumeRole",
            "GetSessionToken",
            "AssumeRoleWithWebIdentity",
            "role-alias",
            "wake",
            "ping",
        ]);
        for (label, name) in labels.iter_mut().zip(names) {
            *label = name;
        }
        labels
    }

    /// The place in a table of counters.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Api(operation) => operation.index(),
            Self::FederationToken => REQUESTED - 9,
            Self::CallerIdentity => REQUESTED - 8,
            Self::AssumeRole => REQUESTED - 7,
            Self::SessionToken => REQUESTED - 6,
            Self::WebIdentity => REQUESTED - 5,
            Self::RoleAlias => REQUESTED - 4,
            Self::Wake => REQUESTED - 3,
            Self::Ping => REQUESTED - 2,
            Self::Unknown => REQUESTED - 1,
        }
    }
}

/// Number of statuses that are distinguished.
pub const STATUSES: usize = 15;

/// Statuses that requests are answered with. Any other is counted as the next lower one, so none is lost.
pub const STATUS: [u16; STATUSES] = [
    200, 204, 400, 401, 403, 404, 405, 408, 409, 411, 413, 426, 431, 500, 503,
];

/// A status's place in [`STATUS`]: its own, else that of the highest one below it.
#[must_use]
pub(crate) fn status_index(status: u16) -> usize {
    STATUS
        .partition_point(|known| *known <= status)
        .saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_at_their_index() {
        for reason in sigv4::Reason::ALL.iter().copied() {
            let failure = AuthFailure::Signature(reason);
            assert_eq!(AuthFailure::labels()[failure.index()], reason.as_str());
        }
        assert_eq!(AuthFailure::labels()[AuthFailure::Policy.index()], "policy");
        for operation in Operation::ALL.iter().copied() {
            let requested = Requested::Api(operation);
            assert_eq!(Requested::labels()[requested.index()], operation.name());
        }
        let others = [
            (Requested::FederationToken, "GetFederationToken"),
            (Requested::CallerIdentity, "GetCallerIdentity"),
            (Requested::AssumeRole, "AssumeRole"),
            (Requested::SessionToken, "GetSessionToken"),
            (Requested::WebIdentity, "AssumeRoleWithWebIdentity"),
            (Requested::RoleAlias, "role-alias"),
            (Requested::Ping, "ping"),
            (Requested::Unknown, "unknown"),
        ];
        for (requested, label) in others {
            assert_eq!(Requested::labels()[requested.index()], label);
        }
        assert_eq!(
            UpgradeOutcome::LABELS[UpgradeOutcome::NotFound.index()],
            "not_found"
        );
        assert_eq!(
            UpgradeOutcome::LABELS[UpgradeOutcome::Unavailable.index()],
            "unavailable"
        );
    }

    #[test]
    fn every_status_has_a_place_and_a_known_one_its_own() {
        for (place, status) in STATUS.into_iter().enumerate() {
            assert_eq!(status_index(status), place);
        }
        assert_eq!(STATUS[status_index(418)], 413);
        assert_eq!(STATUS[status_index(599)], 503);
        assert_eq!(STATUS[status_index(1)], 200);
    }
}
