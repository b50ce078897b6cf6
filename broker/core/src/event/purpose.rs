//! The kinds of requests that the broker responds to.

use crate::event::access::Requested;
use codec::control::{ErrorKind, Family, Operation};
use codec::signal::Role;

/// The kind of request that a response belongs to. Determines the response's counter and error format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A call to the service's API.
    Api(Operation),
    /// An STS call. The action is unknown until the body has been read.
    Sts(Requested),
    /// A WebSocket upgrade request.
    Upgrade(Role),
    /// A `GET /wake` request, with which a device waits for a client to call.
    Wake,
    /// A request for temporary credentials from a device with a certificate.
    RoleAlias,
    /// A request from a player that uses no SDK.
    Whep,
    /// Any other request, or a malformed one.
    Unknown,
}

/// The number of purposes.
pub const PURPOSES: usize = Operation::ALL.len() + OTHERS.len();

impl Purpose {
    /// Returns the name used in the log.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Api(operation) => operation.name(),
            Self::Sts(requested) => {
                let labels = Requested::labels();
                labels.get(requested.index()).copied().unwrap_or("sts")
            }
            Self::Upgrade(_) => "upgrade",
            Self::Wake => "wake",
            Self::RoleAlias => "role-alias",
            Self::Whep => "whep",
            Self::Unknown => "head",
        }
    }

    /// Returns the format in which errors are reported.
    #[must_use]
    pub fn family(self) -> Family {
        self.operation()
            .map_or(Family::WebSocket, Operation::family)
    }

    /// Returns the status code for an error of this kind.
    #[must_use]
    pub fn status(self, kind: ErrorKind) -> u16 {
        match (self, kind) {
            (Self::Whep, ErrorKind::ClientLimitExceeded) => 503, // the only status that players know for this
            _ => kind.status(self.family()),
        }
    }

    /// Returns the operation if the request is a call to the service's API.
    #[must_use]
    pub fn operation(self) -> Option<Operation> {
        let Self::Api(operation) = self else {
            return None;
        };
        Some(operation)
    }

    /// Returns the action as named in policies and audit lines. Returns `None` if the request was not parsed far enough
    /// to tell.
    #[must_use]
    pub fn action(self) -> Option<&'static str> {
        match self {
            Self::Api(operation) => Some(operation.name()),
            Self::Sts(
                Requested::Api(_)
                | Requested::RoleAlias
                | Requested::Wake
                | Requested::Whep
                | Requested::Ping
                | Requested::Unknown,
            )
            | Self::Unknown => None,
            Self::Sts(
                Requested::FederationToken
                | Requested::CallerIdentity
                | Requested::AssumeRole
                | Requested::SessionToken
                | Requested::WebIdentity,
            ) => Some(self.word()),
            Self::RoleAlias => Some("AssumeRoleWithCertificate"),
            Self::Upgrade(Role::Master) | Self::Wake => Some("ConnectAsMaster"),
            Self::Upgrade(Role::Viewer) | Self::Whep => Some("ConnectAsViewer"),
        }
    }

    /// Returns the index of the purpose. Always below [`PURPOSES`].
    #[must_use]
    pub fn index(self) -> usize {
        let operations = Operation::ALL.len();
        let other = || OTHERS.iter().position(|other| *other == self);
        self.operation()
            .map_or_else(|| operations + other().unwrap_or(UNKNOWN), Operation::index)
    }

    /// Returns the purpose with this index, if there is one.
    #[must_use]
    pub fn of_index(number: usize) -> Option<Self> {
        match number.checked_sub(Operation::ALL.len()) {
            None => Operation::ALL.get(number).copied().map(Self::Api),
            Some(other) => OTHERS.get(other).copied(),
        }
    }
}

/// The purposes other than operations of the service's API. Append new ones at the end, because refusal ids contain
/// indexes into this list.
const OTHERS: [Purpose; 12] = [
    Purpose::Sts(Requested::FederationToken),
    Purpose::Sts(Requested::CallerIdentity),
    Purpose::Sts(Requested::Unknown),
    Purpose::Upgrade(Role::Master),
    Purpose::Upgrade(Role::Viewer),
    Purpose::Unknown,
    Purpose::Sts(Requested::AssumeRole),
    Purpose::Sts(Requested::SessionToken),
    Purpose::Wake,
    Purpose::Sts(Requested::WebIdentity),
    Purpose::RoleAlias,
    Purpose::Whep,
];

const UNKNOWN: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_purpose_has_its_number() {
        for number in 0..PURPOSES {
            let purpose = Purpose::of_index(number).unwrap();
            assert_eq!(purpose.index(), number, "{purpose:?}");
        }
        assert_eq!(Purpose::of_index(PURPOSES), None);
        assert_eq!(OTHERS[UNKNOWN], Purpose::Unknown);
        assert_eq!(Purpose::Unknown.action(), None);
        let viewer = Purpose::Upgrade(Role::Viewer);
        let found = (viewer.word(), viewer.action());
        assert_eq!(found, ("upgrade", Some("ConnectAsViewer")));
    }
}
