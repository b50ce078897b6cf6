//! Keys of OpenID providers: fetched from the providers themselves, kept for a restart, handed to the shards.
//!
//! ```text
//!  shards ── wish for newer keys ──► Fetcher ── when: schedule ──► client ──► discovery document ──► keys
//!                                       │                           address: who may be asked
//!                                       ├──► kept: a file of the data directory
//!                                       └──► shards: a Keyring in a letter; report: metrics
//! ```
//! No address comes from a token: the issuer is the operator's, and where its keys are is what its own document says,
//! on its own host or one that the operator wrote. Redirects and proxies are not followed.
//!
//! Source: OpenID Connect Discovery 1.0, section 4, "Obtaining OpenID Provider Configuration Information".

mod address;
mod client;
mod document;
mod endpoints;
pub(crate) mod exchange;
pub(crate) mod fetcher;
mod kept;
mod report;
mod schedule;

pub use endpoints::Endpoints;
pub use fetcher::{Fetcher, Figures, Knowledge, Known};
pub use report::{ProviderReport, ProvidersReport};
