//! Signaling messages: what clients send ([`Parser`], [`Request`]) and what the service sends ([`Delivery`],
//! [`StatusFault`], [`Presence`]).
//!
//! Client → service, one JSON object in a text message:
//! ```text
//! {"action":"SDP_ANSWER","messagePayload":"eyJ0…","recipientClientId":"viewer-1","correlationId":"c1"}
//! ```
//! Service → client, written as whole WebSocket frames:
//! ```text
//! {"messagePayload":"eyJ0…","messageType":"SDP_ANSWER"}
//! {"messageType":"STATUS_RESPONSE",
//!  "statusResponse":{"correlationId":"c1","errorType":"…","statusCode":"400","description":"…"}}
//! ```

pub mod client;
mod event;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod presence;
mod request;
mod status;

pub use event::{Delivery, GO_AWAY, RECONNECT_ICE_SERVER};
pub use presence::{PRESENCE_PARAMETER, Presence};
pub use request::{Action, Fault, FaultKind, MessageRules, Parser, Request, Role};
pub use status::{StatusFault, status_response};
