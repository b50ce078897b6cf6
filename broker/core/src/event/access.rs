//! Labels of the counters for client activity: upgrades, HTTP requests, signatures and policies. Every set of labels is
//! closed.

use codec::control::Operation;
use codec::sigv4;
use strum::{EnumCount, VariantNames};

/// Role requested by an upgrade request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumCount, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum UpgradeRole {
    /// Master; the request has no client id.
    Master,
    /// Viewer.
    Viewer,
}

/// Number of roles.
pub const UPGRADE_ROLES: usize = UpgradeRole::COUNT;

impl UpgradeRole {
    /// Labels in the order of [`UpgradeRole::index`].
    pub const LABELS: &'static [&'static str] = Self::VARIANTS;

    /// Index of the role in tables of counters.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Outcome of an upgrade request; exactly one per WebSocket request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumCount, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum UpgradeOutcome {
    /// Upgraded: 101.
    Accepted,
    /// The request violates HTTP, the WebSocket protocol or the rules for its parameters: 400, 405, 426.
    Invalid,
    /// Missing or invalid signature: 403.
    Unauthenticated,
    /// Denied by policy: 403.
    Forbidden,
    /// Unknown channel: 404.
    NotFound,
    /// A limit or rate limit was exceeded: 400.
    Limited,
    /// The server is full: 503.
    Unavailable,
    /// The server is shutting down, and the client must reconnect to another server or to the successor: 503.
    Draining,
}

/// Number of outcomes.
pub const UPGRADE_OUTCOMES: usize = UpgradeOutcome::COUNT;

impl UpgradeOutcome {
    /// Labels in the order of [`UpgradeOutcome::index`].
    pub const LABELS: &'static [&'static str] = Self::VARIANTS;

    /// Index of the outcome in tables of counters.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Outcome of a player's offer; exactly one per offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumCount, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum PlayerOutcome {
    /// The camera answered: 201.
    Answered,
    /// No camera connected before the timeout: 409.
    NoMaster,
    /// The camera did not answer before the timeout: 504.
    Silent,
    /// The camera supports none of the codecs in the offer: 502.
    NoCodec,
    /// No valid token, or denied by policy: 403.
    Forbidden,
    /// Unknown channel: 404.
    NotFound,
    /// The request is not an offer that can be forwarded: 400, 405, 413, 415.
    Invalid,
    /// A limit or rate limit was exceeded, or the server is full or shutting down: 503.
    Unavailable,
    /// The player disconnected before it received a response.
    HungUp,
}

/// Number of outcomes.
pub const PLAYER_OUTCOMES: usize = PlayerOutcome::COUNT;

impl PlayerOutcome {
    /// Labels in the order of [`PlayerOutcome::index`].
    pub const LABELS: &'static [&'static str] = Self::VARIANTS;

    /// Index of the outcome in tables of counters.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Label value of `heliograph_auth_failures_total{reason}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthFailure {
    /// The signature is missing or invalid.
    Signature(sigv4::Reason),
    /// The signature is valid, but a policy denies the request.
    Policy,
}

/// Number of reasons.
pub const AUTH_FAILURES: usize = sigv4::Reason::ALL.len() + 1;

impl AuthFailure {
    /// Labels in the order of [`AuthFailure::index`].
    #[must_use]
    pub fn labels() -> [&'static str; AUTH_FAILURES] {
        let mut labels = ["policy"; AUTH_FAILURES];
        for (label, reason) in labels.iter_mut().zip(sigv4::Reason::ALL) {
            *label = reason.as_str();
        }
        labels
    }

    /// Index of the reason in tables of counters.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Signature(reason) => reason as usize,
            Self::Policy => AUTH_FAILURES - 1,
        }
    }
}

/// Purpose of an HTTP request in `heliograph_http_requests_total{operation}`.
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
    /// Credentials issued for a certificate through a role alias.
    RoleAlias,
    /// `GET /wake` from a device.
    Wake,
    /// Request from a player without an SDK, at `/whep/`.
    Whep,
    /// `/ping` from a load balancer.
    Ping,
    /// Any other request: unknown path or malformed head.
    Unknown,
}

/// Number of purposes.
pub const REQUESTED: usize = Operation::ALL.len() + 10;

/// Kinds of sign-in requests in `heliograph_signins_total{kind}`.
const SIGN_INS: [(&str, Requested); 5] = [
    ("federation", Requested::FederationToken),
    ("session", Requested::SessionToken),
    ("role", Requested::AssumeRole),
    ("web", Requested::WebIdentity),
    ("certificate", Requested::RoleAlias),
];

/// Returns the numbers of accepted and refused sign-in requests, by kind.
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
    /// Labels in the order of [`Requested::index`].
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
            "whep",
            "ping",
        ]);
        for (label, name) in labels.iter_mut().zip(names) {
            *label = name;
        }
        labels
    }

    /// Index of the purpose in tables of counters.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Api(operation) => operation.index(),
            Self::FederationToken => REQUESTED - 10,
            Self::CallerIdentity => REQUESTED - 9,
            Self::AssumeRole => REQUESTED - 8,
            Self::SessionToken => REQUESTED - 7,
            Self::WebIdentity => REQUESTED - 6,
            Self::RoleAlias => REQUESTED - 5,
            Self::Wake => REQUESTED - 4,
            Self::Whep => REQUESTED - 3,
            Self::Ping => REQUESTED - 2,
            Self::Unknown => REQUESTED - 1,
        }
    }
}

/// Number of statuses counted separately.
pub const STATUSES: usize = 15;

/// Statuses that are counted separately. Any other status counts as the next lower one.
pub const STATUS: [u16; STATUSES] = [
    200, 204, 400, 401, 403, 404, 405, 408, 409, 411, 413, 426, 431, 500, 503,
];

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
        let found = UpgradeOutcome::LABELS[UpgradeOutcome::NotFound.index()];
        assert_eq!(found, "not_found");
        let found = UpgradeOutcome::LABELS[UpgradeOutcome::Unavailable.index()];
        assert_eq!(found, "unavailable");
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
