//! Pages for tests of clients, under `--dev`.
//!
//! * [`environment`]: variables by which a test finds its broker; [`clock`]: time that passes at once; [`reset`]: tests
//!   that share a broker.
//! * [`messages`]: messages that a test waits for; [`faults`]: failures that a test asks for; [`parity`]: requests that
//!   the cloud service would have refused.

mod clock;
mod environment;
mod faults;
pub(crate) mod messages;
mod parity;
mod reset;
