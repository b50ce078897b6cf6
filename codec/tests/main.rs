//! The wire against recorded clients, against its rules, and against independent implementations; in one program, which
//! builds and links once.
//!
//! * `ws_…`: frames and messages of WebSocket, at every split; `http_…`: heads of requests and answers;
//!   [`link_frames`]: frames between nodes.
//! * `signal_…`: messages of channels; `control_…`: calls of the control plane; `sts_…`: those of the token service.
//! * [`whep`]: players without an SDK. [`sigv4`]: signatures; [`policy`]: decisions of policies.
//! * [`fuzz`]: every parser under seeded inputs and the committed corpora.

mod control_requests;
mod control_responses;
mod fuzz;
mod http_heads;
mod http_oracle;
mod link_frames;
mod policy;
mod repeated;
mod signal_messages;
mod signal_roundtrip;
mod sigv4;
mod sts_requests;
mod sts_responses;
mod whep;
mod ws_oracle;
mod ws_receiver;
