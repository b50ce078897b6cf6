//! Metric labels for client activity: upgrades, HTTP requests, signatures and policies. Each label has a fixed set of
//! values.

use codec::control::Operation;
use codec::sigv4;
use strum::{EnumCount, VariantNames};

/// The outcome of an upgrade request. Each WebSocket request has exactly one outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumCount, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum UpgradeOutcome {
    /// The request was upgraded (101).
    Accepted,
    /// The request violates HTTP or the WebSocket protocol, or its parameters are invalid (400, 405 or 426).
    Invalid,
    /// The signature is missing or invalid (403).
    Unauthenticated,
    /// A policy denies the request (403).
    Forbidden,
    /// The channel is unknown (404).
    NotFound,
    /// A quota or a rate limit was exceeded (400).
    Limited,
    /// The server is full (503).
    Unavailable,
    /// The server is shutting down (503). The client must reconnect to another server or to this server's successor.
    Draining,
}

/// The number of outcomes.
pub const UPGRADE_OUTCOMES: usize = UpgradeOutcome::COUNT;

impl UpgradeOutcome {
    /// Labels in the order of [`UpgradeOutcome::index`].
    pub const LABELS: &'static [&'static str] = Self::VARIANTS;

    /// Returns this outcome's index in tables of counters.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// The outcome of a player's offer. Each offer has exactly one outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumCount, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum PlayerOutcome {
    /// The camera answered (201).
    Answered,
    /// No camera connected before the timeout (409).
    NoMaster,
    /// The camera did not answer before the timeout (504).
    Silent,
    /// The camera supports none of the codecs in the offer (502).
    NoCodec,
    /// The token is missing or invalid, or a policy denies the request (403).
    Forbidden,
    /// The channel is unknown (404).
    NotFound,
    /// The request is not a valid offer (400, 405, 413 or 415).
    Invalid,
    /// A limit was exceeded, or the server is full or shutting down (503).
    Unavailable,
    /// The player disconnected before it received a response.
    HungUp,
}

/// The number of outcomes.
pub const PLAYER_OUTCOMES: usize = PlayerOutcome::COUNT;

impl PlayerOutcome {
    /// Labels in the order of [`PlayerOutcome::index`].
    pub const LABELS: &'static [&'static str] = Self::VARIANTS;

    /// Returns this outcome's index in tables of counters.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// A value of the label `reason` of `heliograph_auth_failures_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthFailure {
    /// The signature is missing or invalid.
    Signature(sigv4::Reason),
    /// The signature is valid, but the policies do not allow the request.
    Policy,
}

/// The number of reasons.
pub const AUTH_FAILURES: usize = sigv4::Reason::ALL.len() + 1;

impl AuthFailure {
    /// Returns the labels in the order of [`AuthFailure::index`].
    #[must_use]
    pub fn labels() -> [&'static str; AUTH_FAILURES] {
        let mut labels = ["policy"; AUTH_FAILURES];
        for (label, reason) in labels.iter_mut().zip(sigv4::Reason::ALL) {
            *label = reason.as_str();
        }
        labels
    }

    /// Returns this reason's index in tables of counters.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Signature(reason) => reason as usize,
            Self::Policy => AUTH_FAILURES - 1,
        }
    }
}

/// A value of the label `operation` of `heliograph_http_requests_total`: the purpose of an HTTP request.
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
    /// A request for temporary credentials, authenticated by a client certificate.
    RoleAlias,
    /// A `GET /wake` request from a device.
    Wake,
    /// A request at `/whep/`, from a player that uses no SDK.
    Whep,
    /// A `/ping` request from a load balancer.
    Ping,
    /// Any other request, for example one with an unknown path or a malformed head.
    Unknown,
}

/// The number of purposes.
pub const REQUESTED: usize = Operation::ALL.len() + OTHERS.len();

/// The purposes that are not operations of the service, with their labels.
const OTHERS: [(Requested, &str); 10] = [
    (Requested::FederationToken, "GetFederationToken"),
    (Requested::CallerIdentity, "GetCallerIdentity"),
    (Requested::AssumeRole, "AssumeRole"),
    (Requested::SessionToken, "GetSessionToken"),
    (Requested::WebIdentity, "AssumeRoleWithWebIdentity"),
    (Requested::RoleAlias, "role-alias"),
    (Requested::Wake, "wake"),
    (Requested::Whep, "whep"),
    (Requested::Ping, "ping"),
    (Requested::Unknown, "unknown"),
];

/// The values of the label `kind` of `heliograph_signins_total`, each with the requests that it covers.
const SIGN_INS: [(&str, Requested); 5] = [
    ("federation", Requested::FederationToken),
    ("session", Requested::SessionToken),
    ("role", Requested::AssumeRole),
    ("web", Requested::WebIdentity),
    ("certificate", Requested::RoleAlias),
];

/// Returns the numbers of accepted and refused sign-in requests for each kind.
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
    /// Returns the labels in the order of [`Requested::index`].
    #[must_use]
    pub fn labels() -> [&'static str; REQUESTED] {
        let mut labels = ["unknown"; REQUESTED];
        let names = Operation::ALL.iter().copied().map(Operation::name);
        let names = names.chain(OTHERS.map(|(_, label)| label));
        for (label, name) in labels.iter_mut().zip(names) {
            *label = name;
        }
        labels
    }

    /// Returns this purpose's index in tables of counters.
    #[must_use]
    pub fn index(self) -> usize {
        if let Self::Api(operation) = self {
            return operation.index();
        }
        let other = OTHERS.iter().position(|(other, _)| *other == self);
        other.map_or(REQUESTED - 1, |other| Operation::ALL.len() + other)
    }
}

/// The number of HTTP status codes that are counted separately.
pub const STATUSES: usize = 15;

/// The HTTP status codes that are counted separately. Any other code counts as the next lower one in this list.
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
