//! Why something failed, and what to do about it: names of errors fall into a closed set of classes.

/// Why a connection, a call or a session failed: the class of an error's name in a report.
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
    /// The service says that a client does too much with one channel.
    ClientLimit,
    /// The service says that the signature is wrong, which a wrong clock makes it too.
    ClockSkew,
    /// Discovery led to where no connection can be made, or must not.
    Endpoint,
    /// The service sent something that the protocol does not allow.
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
    /// The probable cause, and the advice for the operator.
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
                "the service wants a signature, or refuses this one: add --presign, with keys in AWS_ACCESS_KEY_ID and \
                 AWS_SECRET_ACCESS_KEY; check region, policy and clock"
            }
            Self::Status(404) => {
                "the channel does not exist: use --create-channels or name another --channel-prefix"
            }
            Self::Status(429) => "the service limits the rate: raise its quotas or lower --rate",
            Self::Status(503) => {
                "the service is full, drains, or waits for a node that is away: see its limits of connections, and in \
                 a cluster `heliograph cluster status`"
            }
            Self::Status(_) => "the service answered with an error: see its log",
            Self::Certificate => {
                "the certificate is not trusted for this name: name its authority with --tls-ca; on loopback \
                 --insecure does as well"
            }
            Self::Descriptors => {
                "raise the hard limit of descriptors (ulimit -Hn) or use --processes"
            }
            Self::Ports => "give more local addresses with --source-addresses",
            Self::ClientLimit => {
                "the service limits what clients may do with one channel: use more --channels, or a lower --rate; the \
                 broker's [quotas] name the rates, and `off = true` there turns them off"
            }
            Self::ClockSkew => {
                "the service takes no signature of ours: check the secret key, and that both clocks agree within five \
                 minutes"
            }
            Self::Endpoint => {
                "discovery names a host without an address, or another machine: if it is yours, say so with \
                 --i-own-this-target (a heavy load: --yes)"
            }
            Self::Protocol => {
                "the service sent what the protocol does not allow: see its version and what is in between"
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

impl ErrorKind {
    /// Sorts a name of a report: `refused`, `status:403` and the like, or as the edge counts them,
    /// `refused_403_AccessDeniedException` (an upgrade) and `call_403_AccessDeniedException`.
    #[must_use]
    pub fn of(name: &str) -> Self {
        if name.contains("ClientLimitExceeded") {
            return Self::ClientLimit;
        }
        let status = ["status:", "refused_", "call_"].iter().find_map(|prefix| {
            let digits = name.strip_prefix(prefix)?.get(..3)?;
            digits.parse().ok()
        });
        if let Some(status @ 100..=599) = status {
            let skewed = name.contains("InvalidSignature") || name.contains("RequestExpired");
            return if skewed {
                Self::ClockSkew
            } else {
                Self::Status(status)
            };
        }
        let begins = |(_, known): &&(Self, &str)| name.starts_with(*known);
        NAMES
            .iter()
            .find(begins)
            .map_or(Self::Other, |(kind, _)| *kind)
    }
}

impl ErrorKind {
    /// Its place among [`CLASSES`], which is a closed set: statuses that are not distinguished share one.
    #[must_use]
    pub const fn class(self) -> usize {
        match self {
            Self::Refused => 0,
            Self::Reset => 1,
            Self::Timeout => 2,
            Self::Closed => 3,
            Self::GoAway => 4,
            Self::Status(400) => 5,
            Self::Status(401 | 403) => 6,
            Self::Status(404) => 7,
            Self::Status(429) => 8,
            Self::Status(503) => 9,
            Self::Status(_) => 10,
            Self::Certificate => 11,
            Self::Descriptors => 12,
            Self::Ports => 13,
            Self::ClockSkew => 14,
            Self::Protocol => 15,
            Self::Refusal => 16,
            Self::ForeignMessage => 17,
            Self::CloseTimeout => 18,
            Self::Endpoint => 19,
            Self::ClientLimit => 20,
            Self::Other => 21,
        }
    }
}

/// The short name of each class of failures; see [`ErrorKind::class`].
pub const CLASSES: [&str; 22] = [
    "refused",
    "reset",
    "timeout",
    "closed",
    "go away",
    "status 400",
    "status 403",
    "status 404",
    "status 429",
    "status 503",
    "other status",
    "certificate",
    "descriptors",
    "ports",
    "signature or clock",
    "protocol",
    "status response",
    "message of another run",
    "close timeout",
    "endpoint",
    "client limit",
    "other",
];

/// The beginnings of the names of each kind; the first that fits counts.
const NAMES: &[(ErrorKind, &str)] = &[
    (ErrorKind::Refused, "refused"),
    (ErrorKind::Refused, "connect_refused"),
    (ErrorKind::Reset, "reset"),
    (ErrorKind::CloseTimeout, "close_timeout"),
    (ErrorKind::CloseTimeout, "timeout_close"),
    (ErrorKind::Timeout, "timeout"),
    (ErrorKind::Closed, "closed"),
    (ErrorKind::Closed, "ended_early"),
    (ErrorKind::GoAway, "go_away"),
    (ErrorKind::Certificate, "certificate"),
    (ErrorKind::Certificate, "tls"),
    (ErrorKind::Descriptors, "descriptors"),
    (ErrorKind::Ports, "ports"),
    (ErrorKind::ClockSkew, "clock_skew"),
    (ErrorKind::Endpoint, "endpoint"),
    (ErrorKind::Protocol, "protocol"),
    (ErrorKind::Protocol, "bad_"),
    (ErrorKind::Refusal, "status_"),
    (ErrorKind::ForeignMessage, "message_of_another_run"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted() {
        for (name, kind) in [
            ("refused", ErrorKind::Refused),
            ("connect_refused", ErrorKind::Refused),
            ("status:403", ErrorKind::Status(403)),
            ("refused_400_AccessDeniedException", ErrorKind::Status(400)),
            (
                "refused_403_InvalidSignatureException",
                ErrorKind::ClockSkew,
            ),
            (
                "refused_400_ClientLimitExceededException",
                ErrorKind::ClientLimit,
            ),
            (
                "call_400_ClientLimitExceededException",
                ErrorKind::ClientLimit,
            ),
            ("call_404_ResourceNotFoundException", ErrorKind::Status(404)),
            ("status_InvalidArgumentException", ErrorKind::Refusal),
            ("timeout_close", ErrorKind::CloseTimeout),
            ("timeout_answer", ErrorKind::Timeout),
            ("refused_4", ErrorKind::Refused),
            ("status:999", ErrorKind::Other),
            (
                "tls: invalid peer certificate: UnknownIssuer",
                ErrorKind::Certificate,
            ),
            ("endpoint_not_loopback", ErrorKind::Endpoint),
            ("bad_frame", ErrorKind::Protocol),
            ("close_timeout", ErrorKind::CloseTimeout),
            ("closed_by_service", ErrorKind::Closed),
            ("ports_exhausted", ErrorKind::Ports),
            ("", ErrorKind::Other),
            ("of_a_newer_build", ErrorKind::Other),
            ("status:4€", ErrorKind::Other),
        ] {
            assert_eq!(ErrorKind::of(name), kind, "{name}");
        }
    }

    /// The advice on a limit of one channel finds no fault in the channels' names.
    #[test]
    fn a_limit_of_clients_is_helped_by_more_channels() {
        let advice = ErrorKind::of("refused_400_ClientLimitExceededException").advice();
        assert!(
            advice.contains("more --channels") && !advice.contains("names"),
            "{advice}"
        );
    }

    #[test]
    fn each_kind_has_the_class_of_its_name() {
        let statuses = [400, 401, 403, 404, 429, 503, 500].map(ErrorKind::Status);
        let named = NAMES.iter().map(|(kind, _)| *kind);
        let mut met = [false; CLASSES.len()];
        for kind in named
            .chain(statuses)
            .chain([ErrorKind::ClientLimit, ErrorKind::Other])
        {
            met[kind.class()] = true;
        }
        assert_eq!(met, [true; CLASSES.len()], "a class without a kind");
        for (kind, name) in [
            (ErrorKind::Refused, "refused"),
            (ErrorKind::Status(401), "status 403"),
            (ErrorKind::Status(500), "other status"),
            (ErrorKind::ClockSkew, "signature or clock"),
            (ErrorKind::CloseTimeout, "close timeout"),
            (ErrorKind::Other, "other"),
        ] {
            assert_eq!(CLASSES[kind.class()], name);
        }
    }
}
