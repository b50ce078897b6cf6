//! Limits for client programs, selected by `User-Agent`: the table `[clients]`. See codec/PROTOCOL.md, EVT-5 and
//! AWAY-3.

use crate::settings::hooks::covers;
use crate::settings::{GoAway, Settings};
use serde::Serialize;

/// A row of the `[clients]` table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Client {
    /// The unique name of the row.
    #[serde(skip)]
    pub name: String,
    /// The pattern for `User-Agent`, where `*` matches any text.
    pub user_agent: String,
    /// Maximum frame length that the program accepts, in bytes and without the frame header. Longer messages are sent
    /// in several frames.
    pub frame_bytes: Option<usize>,
    /// Maximum message length that the program accepts, in bytes. Senders of longer messages receive an error.
    pub message_bytes: Option<usize>,
    /// Whether the program handles GO_AWAY and RECONNECT_ICE_SERVER.
    pub go_away: bool,
    /// Whether this program, as a master, connects to the same endpoint path that it signs. If so, the path may contain
    /// the role (CON-2).
    pub role_path: bool,
}

impl Client {
    /// Creates a row without limits.
    #[must_use]
    pub fn new(name: &str, user_agent: &str) -> Self {
        Self {
            name: name.into(),
            user_agent: user_agent.into(),
            frame_bytes: None,
            message_bytes: None,
            go_away: true,
            role_path: true,
        }
    }

    /// Returns the built-in rows. A configured row replaces the built-in row with the same name.
    #[must_use]
    pub fn built_in() -> Vec<Self> {
        let c_sdk = Self {
            go_away: false, // its receiving thread would wait for itself forever
            ..Self::new("c-sdk", "AWS-SDK-KVS/*")
        };
        // This program signs the path of its endpoint, but connects to `/`. Source: `examples/networking/networking.h`
        // and `.c` of awslabs/linux-webrtc-reference-for-amazon-kinesis-video-streams, `WEBSOCKET_RX_BUFFER_LENGTH`.
        let linux_reference = Self {
            message_bytes: Some(12_288),
            role_path: false,
            ..Self::new("linux-reference", "AWS-SDK-KVS")
        };
        // This program treats each part of a frame that it reads as a frame, reassembles fragments, and reads
        // `messagePayload` in every message. Source: `impl/kvs_signaling/kvs_signaling.c` of
        // espressif/esp-webrtc-solution, `create_wss` and `RECEIVED_MSG_BUF_SIZE`.
        let esp32 = Self {
            frame_bytes: Some(4_096),
            message_bytes: Some(20_000),
            go_away: false,
            ..Self::new("esp32", "ESP32 Websocket Client")
        };
        // This program puts the path of its endpoint into the query. Source: `AwsV4Signer.java` of
        // awslabs/amazon-kinesis-video-streams-webrtc-sdk-android, `sign`.
        let android = Self {
            role_path: false,
            ..Self::new("android", "aws-sdk-android/*")
        };
        vec![c_sdk, linux_reference, esp32, android]
    }
}

/// A client's program, determined when it connects and stored in one byte. The byte contains the number of the matching
/// row, and whether the client offered the subprotocol `wss`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Program(u8);

impl Program {
    const WSS: u8 = 0x80;
    const SMALL: u8 = 0x40;

    /// Sets whether the client offered `wss`.
    #[must_use]
    pub const fn offering_wss(self, offers: bool) -> Self {
        Self(if offers { self.0 | Self::WSS } else { self.0 })
    }

    /// Returns `true` if the client offered the subprotocol `wss`.
    #[must_use]
    pub const fn offers_wss(self) -> bool {
        self.0 & Self::WSS != 0
    }

    /// Returns `true` if this program limits the frame length. Each TLS record then contains at most one frame.
    #[inline]
    #[must_use]
    pub const fn takes_small_records(self) -> bool {
        self.0 & Self::SMALL != 0
    }

    /// Returns this program or, if no row in `[clients]` matches it, this program with the row of `other`.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        match self.0 & !Self::WSS {
            0 => Self(self.0 | other.0 & !Self::WSS),
            _ => self,
        }
    }

    /// Returns `true` if no row in `[clients]` matches the program, so that no limits apply to it.
    #[inline]
    #[must_use]
    pub const fn is_unknown(self) -> bool {
        self.0 == 0
    }
}

/// The message limits for a client program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reader {
    /// Maximum frame length in bytes, without the header.
    pub frame_bytes: usize,
    /// Maximum message length in bytes.
    pub message_bytes: usize,
    /// Whether the program receives GO_AWAY and RECONNECT_ICE_SERVER.
    pub notices: bool,
}

impl Settings {
    /// Returns the program for a `User-Agent`. Of several matching rows, the one with the longest pattern applies. A
    /// pattern of only stars also matches a missing header.
    #[must_use]
    pub fn program(&self, user_agent: Option<&str>) -> Program {
        let agent = user_agent.unwrap_or_default().as_bytes();
        let agent = agent.get(..USER_AGENT_BYTES_MAX).unwrap_or(agent);
        let rows = self.clients.iter().enumerate();
        let named = rows.filter(|(_, row)| covers(row.user_agent.as_bytes(), agent));
        let place = named.max_by_key(|(_, row)| row.user_agent.len());
        Program(place.map_or(0, |(place, row)| {
            let is_small = row.frame_bytes.is_some() && !self.strict();
            let small = if is_small { Program::SMALL } else { 0 };
            u8::try_from(place + 1).map_or(0, |row| row | small)
        }))
    }

    /// Returns `true` if the endpoint that discovery returns to a master with this program has the role in its path.
    #[must_use]
    pub fn says_role(&self, program: Program) -> bool {
        self.client(program).is_none_or(|row| row.role_path)
    }

    /// Returns the limits of a program. A row in `[clients]` can only lower the limits in `[limits]` and `[signaling]`.
    /// Under the strict profile, rows are ignored.
    #[must_use]
    pub fn reader(&self, program: Program) -> Reader {
        let row = self.client(program).filter(|_| !self.strict());
        let wss = program.offers_wss();
        let of_wss = if wss {
            self.limits.wss_message_bytes
        } else {
            usize::MAX
        };
        let of_row =
            |bytes: fn(&Client) -> Option<usize>| row.and_then(bytes).unwrap_or(usize::MAX);
        Reader {
            frame_bytes: of_row(|row| row.frame_bytes),
            message_bytes: of_row(|row| row.message_bytes).min(of_wss),
            notices: match self.signaling.go_away {
                GoAway::Auto => !wss && row.is_none_or(|row| row.go_away),
                GoAway::Always => true,
                GoAway::Never => false,
            },
        }
    }

    /// Returns the maximum size, in bytes, of TLS records sent to `program`: just large enough for one frame and its
    /// header.
    pub(crate) fn record_bytes(&self, program: Program) -> usize {
        let frame = self.reader(program).frame_bytes;
        frame.saturating_add(codec::ws::header_bytes(frame))
    }

    fn client(&self, Program(program): Program) -> Option<&Client> {
        let row = usize::from(program & !(Program::WSS | Program::SMALL));
        self.clients.get(row.checked_sub(1)?)
    }
}

/// Maximum number of rows in `[clients]`, including the built-in ones. The row number must fit into six bits.
pub const CLIENTS_MAX: usize = 32;
const _: () = assert!(CLIENTS_MAX < Program::SMALL as usize);

/// Maximum number of bytes of a `User-Agent` that are matched. Matching takes quadratic time in the worst case, so this
/// bounds the time for a pattern full of `*` wildcards.
const USER_AGENT_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Profile;

    fn reader(settings: &Settings, agent: Option<&str>, wss: bool) -> (usize, usize, bool) {
        let Reader {
            frame_bytes,
            message_bytes,
            notices,
        } = settings.reader(settings.program(agent).offering_wss(wss));
        (frame_bytes, message_bytes, notices)
    }

    const ALL: usize = usize::MAX;
    const ESP32: Option<&str> = Some("ESP32 Websocket Client");

    #[test]
    fn each_client_has_its_limits() {
        let settings = Settings::new(Profile::Default, false);
        for (agent, wss, expected) in [
            (None, false, (ALL, ALL, true)),
            (Some("Mozilla/5.0"), false, (ALL, ALL, true)),
            (None, true, (ALL, 18_750, false)),
            (Some("AWS-SDK-KVS/1.16.0 GCC/12"), false, (ALL, ALL, false)),
            (Some("AWS-SDK-KVS"), true, (ALL, 12_288, false)),
            (ESP32, false, (4_096, 20_000, false)),
            (ESP32, true, (4_096, 18_750, false)),
        ] {
            assert_eq!(reader(&settings, agent, wss), expected, "{agent:?} {wss}");
        }
    }

    #[test]
    fn a_row_for_all_is_that_of_requests_without_a_user_agent_too() {
        let mut settings = Settings::new(Profile::Default, false);
        assert!(settings.program(None).is_unknown());
        settings.clients.push(Client {
            frame_bytes: Some(1_024),
            ..Client::new("all", "*")
        });
        for agent in [None, Some(""), Some("Mozilla/5.0")] {
            assert_eq!(reader(&settings, agent, false), (1_024, ALL, true));
        }
        assert_eq!(reader(&settings, ESP32, false), (4_096, 20_000, false));
        // The program that the caller named in an earlier request takes precedence.
        let linux = settings.program(Some("AWS-SDK-KVS"));
        let unnamed = Program::default().or(linux).or(settings.program(None));
        assert_eq!(unnamed, linux);
    }

    #[test]
    fn a_row_narrows_and_strict_ignores_the_table() {
        let mut settings = Settings::new(Profile::Default, false);
        settings.limits.wss_message_bytes = 1_024;
        assert_eq!(reader(&settings, ESP32, true), (4_096, 1_024, false));
        settings.signaling.go_away = GoAway::Always;
        assert_eq!(reader(&settings, ESP32, false), (4_096, 20_000, true));
        settings.signaling.go_away = GoAway::Never;
        assert_eq!(reader(&settings, None, false), (ALL, ALL, false));
        let strict = Settings::new(Profile::Strict, false);
        assert_eq!(reader(&strict, ESP32, false), (ALL, ALL, true));
        assert_eq!(reader(&strict, ESP32, true), (ALL, 18_750, true));
    }

    #[test]
    fn the_path_of_an_endpoint_is_left_out_where_a_client_cannot_sign_it() {
        let settings = Settings::new(Profile::Default, false);
        for (agent, says) in [
            ("aws-sdk-android/2.81.0 Linux/6.1", false),
            ("AWS-SDK-KVS", false),
            ("AWS-SDK-KVS/1.16.0", true),
            ("Boto3/1.44.5", true),
        ] {
            let found = settings.says_role(settings.program(Some(agent)));
            assert_eq!(found, says, "{agent}");
        }
    }

    #[test]
    fn what_a_connection_does_not_say_is_known_of_its_caller() {
        let settings = Settings::new(Profile::Default, false);
        let [linux, esp32] =
            ["AWS-SDK-KVS", "ESP32 Websocket Client"].map(|agent| settings.program(Some(agent)));
        let wss = Program::default().offering_wss(true);
        assert_eq!(wss.or(linux), linux.offering_wss(true));
        assert_eq!(esp32.or(linux), esp32);
        assert!(Program::default().or(Program::default()).is_unknown());
    }
}
