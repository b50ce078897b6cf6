//! Defines the loads under which servers are compared. A load consists of flags for `loadgen` and the figure to take
//! from its report. API calls are made by [`crate::compare::calls`] instead, whose report has the same format. All
//! loads are listed in `cases.toml`.

use serde::Deserialize;

/// A load.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Name of the load as it appears in records.
    pub name: String,
    /// Human-readable description of the load.
    pub what: String,
    /// The figure to compare between servers.
    pub figure: Figure,
    /// Mode of `loadgen`, followed by the flags that do not depend on the size of the load.
    mode: String,
    /// Flags that set the size of a measured run.
    size: String,
    /// Flags that set the size of a run that only checks the results.
    small: String,
    /// Whether the load uses TLS 1.3.
    #[serde(default)]
    pub is_tls: bool,
}

#[derive(Deserialize)]
struct Cases {
    case: Vec<Case>,
}

/// The figure of a report by which servers are compared.
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
    /// Growth of the server process's memory per open connection, in bytes.
    BytesHeld,
    /// 99th percentile of the message latency, in microseconds.
    MessageP99,
}

impl Figure {
    /// Returns the unit of the figure as it appears in records.
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

    /// Returns whether the figure is a CPU time.
    #[must_use]
    pub const fn is_cpu_time(self) -> bool {
        !matches!(self, Self::BytesHeld | Self::MessageP99)
    }

    /// Returns the JSON pointer to the figure in a report.
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

    /// Returns the flags of `loadgen run` for this load.
    pub fn flags(&self, is_small: bool) -> impl Iterator<Item = &str> {
        ["--mode"]
            .into_iter()
            .chain(self.mode.split(' '))
            .chain(self.size(is_small).split(' '))
    }

    /// Returns whether the messages belong to sessions.
    #[must_use]
    pub fn has_sessions(&self) -> bool {
        self.has("sessions")
    }

    /// Returns the number of connections that make API calls, or `None` if the load has no API calls.
    pub(crate) fn callers(&self, is_small: bool) -> Option<usize> {
        let size = self.size(is_small);
        self.has_calls().then(|| size.parse().ok()).flatten()
    }

    /// Returns whether some of the sessions connect to a second target over TLS 1.3.
    #[must_use]
    pub fn has_detour(&self) -> bool {
        self.has("--tls-percent")
    }

    /// Returns whether the requests are signed.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        self.has_calls() || self.has("--presign")
    }

    /// Returns whether the load consists of API calls.
    #[must_use]
    pub fn has_calls(&self) -> bool {
        self.has("calls")
    }

    /// Returns whether TLS sessions are resumed.
    #[must_use]
    pub fn resumes(&self) -> bool {
        self.has("--resume")
    }

    /// Returns the load called `name`.
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
