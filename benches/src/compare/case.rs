//! Loads: flags of `loadgen`, and the figure taken from its report. API calls have a separate driver,
//! [`crate::compare::calls`], whose report has the same format. All loads are in `cases.toml`.

use serde::Deserialize;

/// A load.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Name of the load in records.
    pub name: String,
    /// Description for readers.
    pub what: String,
    /// Figure to compare.
    pub figure: Figure,
    /// Mode, with the flags that do not depend on the size.
    mode: String,
    /// Flags for the size of a measured run.
    size: String,
    /// Flags for the size of a run that only checks the results.
    small: String,
    /// Whether the load uses TLS 1.3.
    #[serde(default)]
    pub is_tls: bool,
}

#[derive(Deserialize)]
struct Cases {
    case: Vec<Case>,
}

/// Figure of a report that is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Figure {
    /// CPU time of the server process per message, in microseconds.
    PerMessage,
    /// CPU time of the server process per connection opened and closed, in microseconds.
    PerConnection,
    /// CPU time of the server process per session, in microseconds.
    PerSession,
    /// CPU time of the server process per API call, in microseconds.
    PerCall,
    /// Growth of the server process per open connection, in bytes.
    BytesHeld,
    /// 99th percentile of the message latency, in microseconds.
    MessageP99,
}

impl Figure {
    /// Unit of the figure in records.
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

    /// Whether the figure is CPU time.
    #[must_use]
    pub const fn is_cpu_time(self) -> bool {
        !matches!(self, Self::BytesHeld | Self::MessageP99)
    }

    /// JSON pointer to the figure in a report.
    #[must_use]
    pub const fn pointer(self) -> &'static str {
        match self {
            Self::PerMessage => "/cpu/server_us_per_message",
            // Each session uses one connection.
            Self::PerConnection | Self::PerSession => "/cpu/server_us_per_connection",
            Self::PerCall => "/cpu/server_us_per_call",
            Self::BytesHeld => "/memory/server_bytes_per_connection",
            Self::MessageP99 => "/latency_us/message/p99",
        }
    }
}

impl Case {
    /// Returns all loads.
    ///
    /// # Panics
    /// Panics if `cases.toml` is invalid.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let cases: Cases = toml::from_str(include_str!("cases.toml")).expect("a list of cases");
        cases.case
    }

    /// Flags of `loadgen run` for the load.
    pub fn flags(&self, is_small: bool) -> impl Iterator<Item = &str> {
        ["--mode"]
            .into_iter()
            .chain(self.mode.split(' '))
            .chain(self.size(is_small).split(' '))
    }

    /// Whether the messages belong to sessions.
    #[must_use]
    pub fn has_sessions(&self) -> bool {
        self.has("sessions")
    }

    /// Number of connections that make API calls; `None` for other loads.
    pub(crate) fn callers(&self, is_small: bool) -> Option<usize> {
        let size = self.size(is_small);
        self.has_calls().then(|| size.parse().ok()).flatten()
    }

    /// Whether a share of the sessions uses TLS 1.3.
    #[must_use]
    pub fn has_detour(&self) -> bool {
        self.has("--tls-percent")
    }

    /// Whether the requests are signed.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        self.has_calls() || self.has("--presign")
    }

    /// Whether the load consists of API calls.
    #[must_use]
    pub fn has_calls(&self) -> bool {
        self.has("calls")
    }

    /// Whether TLS sessions are resumed.
    #[must_use]
    pub fn resumes(&self) -> bool {
        self.has("--resume")
    }

    /// Returns the load with this name.
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
