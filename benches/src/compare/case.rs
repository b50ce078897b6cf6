//! The loads: flags of `loadgen`, and the figure that is taken from its report.

/// One load.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Its name in records.
    pub name: &'static str,
    /// What it is.
    pub what: &'static str,
    /// What is measured.
    pub figure: Figure,
    /// The mode and what does not depend on its size.
    mode: &'static [&'static str],
    /// How large it is when it is measured.
    size: &'static [&'static str],
    /// How large it is when only its answers count.
    small: &'static [&'static str],
}

/// The figure of a report that is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// CPU time of the server's process for each message, in microseconds.
    PerMessage,
    /// CPU time of the server's process for each connection opened and closed, in microseconds.
    PerConnection,
    /// Bytes by which the server's process grew for each connection that it holds.
    BytesHeld,
}

impl Figure {
    /// Its unit in records.
    #[must_use]
    pub const fn unit(self) -> &'static str {
        match self {
            Self::PerMessage => "µs/message",
            Self::PerConnection => "µs/connection",
            Self::BytesHeld => "B/connection",
        }
    }

    /// Where it is in a report.
    #[must_use]
    pub const fn pointer(self) -> &'static str {
        match self {
            Self::PerMessage => "/cpu/server_us_per_message",
            Self::PerConnection => "/cpu/server_us_per_connection",
            Self::BytesHeld => "/memory/server_bytes_per_connection",
        }
    }
}

impl Case {
    /// All loads.
    pub const ALL: [Self; 6] = [
        Self {
            name: "pairs",
            what: "100 masters with a viewer each, 200 bytes, one message under way each way",
            figure: Figure::PerMessage,
            mode: &["relay", "--window", "1", "--payload", "200"],
            size: &["--channels", "100"],
            small: &["--channels", "3"],
        },
        Self {
            name: "bursts",
            what: "the same, four messages under way each way",
            figure: Figure::PerMessage,
            mode: &["relay", "--window", "4", "--payload", "200"],
            size: &["--channels", "100"],
            small: &["--channels", "3"],
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
        },
        Self {
            name: "sdp",
            what: "2,000 masters with a viewer each, 4,000 bytes, one message under way each way",
            figure: Figure::PerMessage,
            mode: &["relay", "--window", "1", "--payload", "4000"],
            size: &["--channels", "2000"],
            small: &["--channels", "3"],
        },
        Self {
            name: "connect",
            what: "64 connections under way: TCP connect, upgrade, Close 1000, its echo and the end",
            figure: Figure::PerConnection,
            mode: &["connect"],
            size: &["--channels", "64"],
            small: &["--channels", "3"],
        },
        Self {
            name: "idle",
            what: "4,500 masters with a viewer each, connected and silent",
            figure: Figure::BytesHeld,
            mode: &["idle"],
            size: &["--channels", "4500"],
            small: &["--channels", "20"],
        },
    ];

    /// The flags of `loadgen run` for it.
    pub fn flags(&self, is_small: bool) -> impl Iterator<Item = &'static str> {
        let size = if is_small { self.small } else { self.size };
        ["--mode"]
            .into_iter()
            .chain(self.mode.iter().chain(size).copied())
    }

    /// The one of this name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|case| case.name == name)
    }
}
