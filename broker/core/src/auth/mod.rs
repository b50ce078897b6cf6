//! Identity and permissions of callers: principals, roles, temporary credentials, and the signature check that joins
//! them.
//!
//! # Theory of operation
//! ```text
//! request ─ Authenticator::check ──▶ Caller ─ decide(question)────────────────── ──▶ allowed | the check that failed
//!              │                       │ policies of the principal or role, and for temporary credentials
//!              │                       │ those they were asked for with: each must allow, none may deny
//!              ├ Credentials: the file, read; one snapshot for all shards, replaced whole
//!              └ SessionKeys: temporary credentials carry their grant in their token, sealed
//! ```
//! The order is fixed: the signature, then the token, then its end, then (by the code that knows the request) the
//! policies, and existence last. There is no clock, no I/O and no randomness here: moments, files' contents and nonces
//! are arguments.

mod assume;
mod authenticator;
mod caller;
mod credentials;
mod held_caller;
#[cfg(test)]
mod model;
mod nonces;
mod principal;
pub mod provider;
mod question;
mod role;
mod session;
mod session_keys;
mod sign_in;
mod things;

pub use assume::{Assumption, Denial, RoleFault, assume};
pub use authenticator::{Authenticator, SignatureRules, Unsigned};
pub use caller::{Caller, Ruling, assumed_role_id, federated_user_arn};
pub use credentials::{Credentials, CredentialsError};
pub use held_caller::{Gone, HeldCaller, InForce, Recheck, RecheckSum, SharedSessions};
pub use nonces::Nonces;
pub use principal::{Principal, Secret};
pub use question::{Assumed, Origin, OriginHeaders, PolicyQuestion, RequestTags, ResourceTags};
pub use role::Role;
pub use session_keys::{
    Grant, NONCE_BYTES, Opened, OpenedToken, RoleGrant, RootGrant, SealError, SessionGrant,
    SessionKeys, SessionTag, TOKEN_BYTES_MAX, Temporary,
};
pub use sign_in::{Claim, PROVIDER_BYTES_MAX, SignIn, ThingIdentity, Vouched, WebIdentity};
pub use things::{
    Identified, Registry, RegistryBuilder, RegistryError, RoleAlias, SignIns, ThingAuthority,
    ThingRefusal, Things, alias_arn, certificate_id,
};
