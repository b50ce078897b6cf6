//! Why something failed: a closed set, so that a report of a million failures has a dozen lines.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Why a connection, a call or a session failed. In JSON by its name, `status:403` for an HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorKind {
    /// Nobody listens at the target.
    Refused,
    /// The other side cut the connection.
    Reset,
    /// No answer came in time.
    Timeout,
    /// The service closed the connection, or ended the stream, where the session was to go on.
    Closed,
    /// The service asked with GO_AWAY to come again.
    GoAway,
    /// The service answered the upgrade or a call with this HTTP status.
    Status(u16),
    /// The certificate was not accepted, or the handshake failed.
    Certificate,
    /// No descriptors were left here.
    Descriptors,
    /// No local port was left here.
    Ports,
    /// The service says that the signature's time is off.
    ClockSkew,
    /// What came is not what the protocol allows.
    Protocol,
    /// A STATUS_RESPONSE refused a message.
    Refusal,
    /// A message of another run arrived: the channels are in use by someone else.
    ForeignMessage,
    /// The closing handshake was not over in time.
    CloseTimeout,
    /// Anything else that the kernel said.
    Other,
}

impl ErrorKind {
    /// What it says of the target and what to do about it.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Refused => {
                "nobody listens at the target, or its accept queue is full: check --target and the service's log"
            }
            Self::Reset => {
                "the service or something before it cut connections: see its log and its limits of connections"
            }
            Self::Timeout => {
                "no answer in time: the service or the network is overloaded, or drops packets"
            }
            Self::Closed => "the service ended connections early: see its log for the reason",
            Self::GoAway => "the service drains, or connections reached its longest age",
            Self::Status(400) => {
                "the service does not understand the request: check the channels' names, region and account"
            }
            Self::Status(401 | 403) => {
                "the service refuses the signature or the permission: check keys, region, policy and clock"
            }
            Self::Status(404) => {
                "the channel does not exist: use --create-channels or name another --channel-prefix"
            }
            Self::Status(429) => "the service limits the rate: raise its quotas or lower --rate",
            Self::Status(503) => "the service is full or drains: see its limits of connections",
            Self::Status(_) => "the service answered with an error: see its log",
            Self::Certificate => {
                "the certificate is not trusted for this name: name its authority with --tls-ca"
            }
            Self::Descriptors => {
                "raise the hard limit of descriptors (ulimit -Hn) or use --processes"
            }
            Self::Ports => "give more local addresses with --source-addresses",
            Self::ClockSkew => {
                "this machine's clock and the service's differ by more than five minutes: set them"
            }
            Self::Protocol => {
                "the service sent what the protocol does not allow: see its version and what stands in between"
            }
            Self::Refusal => {
                "the service refused messages: its quotas, or a recipient that is not connected"
            }
            Self::ForeignMessage => {
                "another run or a real client uses the same channels: name another --channel-prefix"
            }
            Self::CloseTimeout => {
                "the service did not finish the closing handshake in five seconds"
            }
            Self::Other => "see the log of the run",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Status(status) = self {
            return write!(out, "status:{status}");
        }
        let named = NAMES.iter().find(|(kind, _)| kind == self);
        out.write_str(named.map_or("other", |(_, name)| name))
    }
}

impl FromStr for ErrorKind {
    type Err = std::convert::Infallible;

    /// A name that this build does not know, of a newer one, is [`ErrorKind::Other`].
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let status = name
            .strip_prefix("status:")
            .and_then(|text| text.parse().ok());
        if let Some(status @ 100..=599) = status {
            return Ok(Self::Status(status));
        }
        let named = NAMES.iter().find(|(_, known)| *known == name);
        Ok(named.map_or(Self::Other, |(kind, _)| *kind))
    }
}

impl Serialize for ErrorKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ErrorKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Ok(name.parse().unwrap_or(Self::Other))
    }
}

/// All but the statuses.
const NAMES: &[(ErrorKind, &str)] = &[
    (ErrorKind::Refused, "refused"),
    (ErrorKind::Reset, "reset"),
    (ErrorKind::Timeout, "timeout"),
    (ErrorKind::Closed, "closed"),
    (ErrorKind::GoAway, "go_away"),
    (ErrorKind::Certificate, "certificate"),
    (ErrorKind::Descriptors, "descriptors"),
    (ErrorKind::Ports, "ports"),
    (ErrorKind::ClockSkew, "clock_skew"),
    (ErrorKind::Protocol, "protocol"),
    (ErrorKind::Refusal, "refusal"),
    (ErrorKind::ForeignMessage, "foreign_message"),
    (ErrorKind::CloseTimeout, "close_timeout"),
    (ErrorKind::Other, "other"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        let mut kinds: Vec<_> = NAMES.iter().map(|(kind, _)| *kind).collect();
        kinds.extend([100, 403, 599].map(ErrorKind::Status));
        for kind in kinds {
            assert_eq!(kind.to_string().parse(), Ok(kind), "{kind}");
            assert!(!kind.advice().is_empty());
        }
        for unknown in [
            "",
            "status:",
            "status:99",
            "status:600",
            "status:x",
            "of_a_newer_build",
        ] {
            assert_eq!(unknown.parse(), Ok(ErrorKind::Other), "{unknown}");
        }
    }
}
