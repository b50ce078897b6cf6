//! The loads: flags of `loadgen`, and the figure that is taken from its report. API calls have a driver of their own,
//! [`crate::compare::calls`], whose report has the same form. All of them are in `cases.toml`.

use serde::Deserialize;

/// One load.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Its name in records.
    pub name: String,
    /// A description for readers.
    pub what: String,
    /// The figure that is measured.
    pub figure: Figure,
    /// The mode and what does not depend on its size.
    mode: String,
    /// Its size when it is measured.
    size: String,
    /// Its size when only its answers count.
    small: String,
    /// Whether it goes over TLS 1.3.
    #[serde(default)]
    pub is_tls: bool,
}

/// The file of all loads.
#[derive(Deserialize)]
struct Cases {
    case: Vec<Case>,
}

/// The figure of a report that is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
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

    /// Whether it is CPU time.
    #[must_use]
    pub const fn is_cpu_time(self) -> bool {
        !matches!(self, Self::BytesHeld | Self::MessageP99)
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
    ///
    /// # Panics
    /// `cases.toml` is wrong.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let cases: Cases = toml::from_str(include_str!("cases.toml")).expect("a list of cases");
        cases.case
    }

    /// The flags of `loadgen run` for it.
    pub fn flags(&self, is_small: bool) -> impl Iterator<Item = &str> {
        ["--mode"]
            .into_iter()
            .chain(self.mode.split(' '))
            .chain(self.size(is_small).split(' '))
    }

    /// Whether its messages are those of sessions.
    #[must_use]
    pub fn has_sessions(&self) -> bool {
        self.has("sessions")
    }

    /// The number of connections that make API calls; `None` if that is not the load.
    pub(crate) fn callers(&self, is_small: bool) -> Option<usize> {
        let size = self.size(is_small);
        self.has_calls().then(|| size.parse().ok()).flatten()
    }

    /// Whether a share of its sessions goes over TLS 1.3.
    #[must_use]
    pub fn has_detour(&self) -> bool {
        self.has("--tls-percent")
    }

    /// Whether its requests are signed.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        self.has_calls() || self.has("--presign")
    }

    /// Whether its load is API calls.
    #[must_use]
    pub fn has_calls(&self) -> bool {
        self.has("calls")
    }

    /// Whether its TLS sessions are resumed.
    #[must_use]
    pub fn resumes(&self) -> bool {
        self.has("--resume")
    }

    /// The one of this name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|case| case.name == name)
    }

    fn has(&self, word: &str) -> bool {
        self.mode.split(' ').any(|it| it == word)
    }

    fn size(&self, is_small: bool) -> &str {
        if is_small { &self.small } else { &self.size }
    }
}
