//! The loads: flags of `loadgen`, and the figure that is taken from its report. API calls have a driver of their own,
//! [`super::calls`], whose report has the same form.

/// One load.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Its name in records.
    pub name: &'static str,
    /// A description for readers.
    pub what: &'static str,
    /// The figure that is measured.
    pub figure: Figure,
    /// The mode and what does not depend on its size.
    mode: &'static [&'static str],
    /// Its size when it is measured.
    size: &'static [&'static str],
    /// Its size when only its answers count.
    small: &'static [&'static str],
    /// Whether it goes over TLS 1.3.
    pub is_tls: bool,
}

/// The figure of a report that is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// CPU time of the server's process for each message, in microseconds.
    PerMessage,
    /// CPU time of the server's process for each connection opened and closed, in microseconds.
    PerConnection,
    /// CPU time of the server's process for each session, in microseconds.
    PerSession,
    /// CPU time of the server's process for each API call, in microseconds.
    PerCall,
    /// Bytes by which the server's process grew for each connection that it holds.
    BytesHeld,
    /// Within this time, in microseconds, 99 % of the messages arrive.
    MessageP99,
}

impl Figure {
    /// Its unit in records.
    #[must_use]
    pub const fn unit(self) -> &'static str {
        match self {
            Self::PerMessage => "µs/message",
            Self::PerConnection => "µs/connection",
            Self::PerSession => "µs/session",
            Self::PerCall => "µs/call",
            Self::BytesHeld => "B/connection",
            Self::MessageP99 => "µs to arrive, p99",
        }
    }

    /// The place of the figure in a report, as a JSON pointer.
    #[must_use]
    pub const fn pointer(self) -> &'static str {
        match self {
            Self::PerMessage => "/cpu/server_us_per_message",
            // A session is a connection.
            Self::PerConnection | Self::PerSession => "/cpu/server_us_per_connection",
            Self::PerCall => "/cpu/server_us_per_call",
            Self::BytesHeld => "/memory/server_bytes_per_connection",
            Self::MessageP99 => "/latency_us/message/p99",
        }
    }
}

impl Case {
    /// All loads.
    pub const ALL: [Self; 19] = [
        Self {
            name: "pairs",
            what: "100 masters with a viewer each, 200 bytes, one message under way each way",
            figure: Figure::PerMessage,
            mode: &["relay", "--window", "1", "--payload", "200"],
            size: &["--channels", "100"],
            small: &["--channels", "3"],
            is_tls: false,
        },
        Self {
            name: "bursts",
            what: "the same, four messages under way each way",
            figure: Figure::PerMessage,
            mode: &["relay", "--window", "4", "--payload", "200"],
            size: &["--channels", "100"],
            small: &["--channels", "3"],
            is_tls: false,
        },
        Self {
            name: "fan-in",
            what: "20 masters with nine viewers each, 200 bytes, one message under way each way",
            figure: Figure::PerMessage,
            mode: &[
                "relay",
                "--window",
                "1",
                "--payload",
                "200",
                "--viewers-per-channel",
                "9",
            ],
            size: &["--channels", "20"],
            small: &["--channels", "1"],
            is_tls: false,
        },
        Self {
            name: "sdp",
            what: "2,000 masters with a viewer each, 4,000 bytes, one message under way each way",
            figure: Figure::PerMessage,
            mode: &["relay", "--window", "1", "--payload", "4000"],
            size: &["--channels", "2000"],
            small: &["--channels", "3"],
            is_tls: false,
        },
        Self {
            name: "connect",
            what: "64 connections under way: TCP connect, upgrade, Close 1000, its echo and the end",
            figure: Figure::PerConnection,
            mode: &["connect"],
            size: &["--channels", "64"],
            small: &["--channels", "3"],
            is_tls: false,
        },
        Self {
            name: "connect-signed",
            what: "the same, each with a presigned URL of its own",
            figure: Figure::PerConnection,
            mode: &["connect", PRESIGN],
            size: &["--channels", "64"],
            small: &["--channels", "3"],
            is_tls: false,
        },
        Self {
            name: "idle",
            what: "4,500 masters with a viewer each, connected and silent",
            figure: Figure::BytesHeld,
            mode: &["idle"],
            size: &["--channels", "4500"],
            small: &["--channels", "20"],
            is_tls: false,
        },
        Self {
            name: "many",
            what: "5,000 masters with a viewer each, 200 bytes, one message under way each way",
            figure: Figure::PerMessage,
            mode: &["relay", "--window", "1", "--payload", "200"],
            size: &["--channels", "5000"],
            small: &["--channels", "3"],
            is_tls: false,
        },
        Self {
            name: "open-2000",
            what: "100 masters with a viewer each, 200 bytes, 2,000 messages a second on schedule",
            figure: Figure::PerMessage,
            mode: &["relay", "--payload", "200"],
            size: &["--channels", "100", "--rate", "2000"],
            small: &["--channels", "3", "--rate", "200"],
            is_tls: false,
        },
        Self {
            name: "open-20000",
            what: "the same, 20,000 messages a second",
            figure: Figure::PerMessage,
            mode: &["relay", "--payload", "200"],
            size: &["--channels", "100", "--rate", "20000"],
            small: &["--channels", "3", "--rate", "2000"],
            is_tls: false,
        },
        Self {
            name: "session",
            what: "1,500 viewers a second: connect, offer, answer, four candidates each way, leave",
            figure: Figure::PerSession,
            mode: SESSION,
            size: &["--channels", "100", "--rate", "1500"],
            small: &["--channels", "3", "--rate", "20"],
            is_tls: false,
        },
        Self {
            name: "session-signed",
            what: "4,000 viewers a second with presigned URLs, a tenth over TLS 1.3: connect, offer, answer, four \
                   candidates each way at once, leave",
            figure: Figure::PerSession,
            mode: &[
                "sessions",
                PRESIGN,
                "--trickle",
                "0",
                "--payload",
                "200",
                "--sdp-payload",
                "1000",
                TLS_PERCENT,
                "10",
            ],
            size: &["--channels", "1000", "--rate", "4000"],
            small: &["--channels", "3", "--rate", "20"],
            is_tls: false,
        },
        Self {
            name: "light",
            what: "the same, 50 viewers a second: what it costs to wake for a single message",
            figure: Figure::PerSession,
            mode: SESSION,
            size: &["--channels", "100", "--rate", "50"],
            small: &["--channels", "3", "--rate", "20"],
            is_tls: false,
        },
        Self {
            name: "latency",
            what: "the same, 1,500 viewers a second: from a message's sending to its arrival",
            figure: Figure::MessageP99,
            mode: SESSION,
            size: &["--channels", "100", "--rate", "1500"],
            small: &["--channels", "3", "--rate", "20"],
            is_tls: false,
        },
        Self {
            name: "calls",
            what: "64 kept connections, a signed call under way on each: for an endpoint and for ICE servers in turn",
            figure: Figure::PerCall,
            mode: CALLS,
            size: &["64"],
            small: &["3"],
            is_tls: false,
        },
        Self {
            name: "pairs-tls",
            what: "100 masters with a viewer each over TLS 1.3, 200 bytes, one message under way each way",
            figure: Figure::PerMessage,
            mode: &["relay", "--window", "1", "--payload", "200"],
            size: &["--channels", "100"],
            small: &["--channels", "3"],
            is_tls: true,
        },
        Self {
            name: "connect-tls",
            what: "64 connections under way over TLS 1.3, a full handshake each",
            figure: Figure::PerConnection,
            mode: &["connect"],
            size: &["--channels", "64"],
            small: &["--channels", "3"],
            is_tls: true,
        },
        Self {
            name: "resume",
            what: "the same, each session resumed by the ticket of an earlier one",
            figure: Figure::PerConnection,
            mode: &["connect", "--resume"],
            size: &["--channels", "64"],
            small: &["--channels", "3"],
            is_tls: true,
        },
        Self {
            name: "idle-tls",
            what: "2,000 masters with a viewer each over TLS 1.3, connected and silent",
            figure: Figure::BytesHeld,
            mode: &["idle"],
            size: &["--channels", "2000"],
            small: &["--channels", "20"],
            is_tls: true,
        },
    ];

    /// The flags of `loadgen run` for it.
    pub fn flags(&self, is_small: bool) -> impl Iterator<Item = &'static str> {
        let size = if is_small { self.small } else { self.size };
        ["--mode"]
            .into_iter()
            .chain(self.mode.iter().chain(size).copied())
    }

    /// Whether its messages are those of sessions.
    #[must_use]
    pub fn has_sessions(&self) -> bool {
        self.mode.first() == SESSION.first()
    }

    /// The number of connections that make API calls; `None` if that is not the load.
    pub(super) fn callers(&self, is_small: bool) -> Option<usize> {
        let size = if is_small { self.small } else { self.size };
        let callers = size.first().filter(|_| self.mode == CALLS)?;
        callers.parse().ok()
    }

    /// Whether a share of its sessions goes over TLS 1.3.
    #[must_use]
    pub fn has_detour(&self) -> bool {
        self.mode.contains(&TLS_PERCENT)
    }

    /// Whether its requests are signed.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        self.has_calls() || self.mode.contains(&PRESIGN)
    }

    /// Whether its load is API calls.
    #[must_use]
    pub fn has_calls(&self) -> bool {
        self.mode == CALLS
    }

    /// Whether its TLS sessions are resumed.
    #[must_use]
    pub fn resumes(&self) -> bool {
        self.mode.contains(&"--resume")
    }

    /// The one of this name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|case| case.name == name)
    }
}

/// A viewer's session; each side's candidates follow 20 ms after one another.
const SESSION: &[&str] = &["sessions", "--payload", "200", "--sdp-payload", "3000"];
const PRESIGN: &str = "--presign";
/// The flag for the share of sessions that goes to the second target, in per cent.
const TLS_PERCENT: &str = "--tls-percent";
/// API calls, of which `loadgen` knows nothing; a size is a number of connections.
const CALLS: &[&str] = &["calls"];
