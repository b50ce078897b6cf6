//! `PRESENCE`: whether the master is there, for a viewer that asks for it. An addition to the service's messages; see
//! codec/PROTOCOL.md, PRES.

use crate::calendar::rfc3339;
use crate::ws::{self, Opcode};
use base64_simd::STANDARD;

/// The query parameter of an upgrade, with the value `1`, by which a viewer asks for [`Presence`].
pub const PRESENCE_PARAMETER: &str = "heliograph-presence";

/// Whether the master of a channel is there: a state, of which the one with the greatest epoch and sequence is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Whether it is there.
    pub master: bool,
    /// Since when, in milliseconds since 1970 UTC, if that is known.
    pub since_ms: Option<u64>,
    /// That of the broker.
    pub epoch: u64,
    /// A greater one is of a later moment, in one epoch.
    pub sequence: u64,
}

impl Presence {
    /// Appends it as one unmasked text frame.
    pub fn write(self, out: &mut Vec<u8>) {
        let since = self
            .since_ms
            .map_or_else(|| "null".into(), |ms| format!("\"{}\"", rfc3339(ms)));
        let payload = format!(
            "{{\"master\":{},\"since\":{since},\"epoch\":{},\"sequence\":{}}}",
            self.master, self.epoch, self.sequence
        );
        let payload = STANDARD.encode_to_string(payload);
        let text = format!("{{\"messageType\":\"PRESENCE\",\"messagePayload\":\"{payload}\"}}");
        ws::frame(out, Opcode::Text, text.as_bytes());
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn it_is_one_text_frame_with_its_state_in_base64() {
        for (presence, state) in [
            (
                Presence {
                    master: true,
                    since_ms: Some(1_795_176_001_005),
                    epoch: 1_795_176_000_000,
                    sequence: 7,
                },
                r#"{"master":true,"since":"2026-11-20T12:00:01.005Z","epoch":1795176000000,"sequence":7}"#,
            ),
            (
                Presence {
                    master: false,
                    since_ms: None,
                    epoch: u64::MAX,
                    sequence: u64::MAX,
                },
                r#"{"master":false,"since":null,"epoch":18446744073709551615,"sequence":18446744073709551615}"#,
            ),
        ] {
            let mut out = b"before".to_vec();
            presence.write(&mut out);
            let mut expected = b"before".to_vec();
            let payload = STANDARD.encode_to_string(state);
            let text = format!(r#"{{"messageType":"PRESENCE","messagePayload":"{payload}"}}"#);
            ws::frame(&mut expected, Opcode::Text, text.as_bytes());
            assert_eq!(out, expected);
        }
    }
}
