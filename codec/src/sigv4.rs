//! Verification of AWS Signature Version 4: identifies the signer of a request, or returns the reason for refusal.
//!
//! # Theory of operation
//! Signer and verifier build the same text, the *canonical request*, and compute its HMAC with a key that only they can
//! derive. The verifier does not know the signer's text, only the request that arrived:
//! ```text
//! Head ─ read ──▶ Claim ─ verify(key, body) ──▶ Verified | Refusal
//!        │          │ access_key_id(), session_token(): the caller looks the key up
//!        │          └ clock by the key's tolerance; canonical request, strict then raw, in constant time; token
//!        └ form, parts, scope, clock as far as no key can change it: malformed, foreign and stale ones end here
//! ```
//! * **Header form**: `Authorization` carries the parts. **Query form**: the query carries them (a presigned URL). With
//!   both, the header counts, and the parameters of the query are ordinary ones.
//! * **Strict**: each query pair is decoded once and encoded again as AWS prescribes. **Raw**: the pairs as received,
//!   for signers that escape too little (the iOS, Android and JavaScript SDKs, each differently). Raw is tried when
//!   strict fails, if the two differ and the request is no longer than the URLs of SDKs.
//! * **Without the port**: when both fail, the raw form is tried with the port removed from `host`, as the iOS and
//!   Android SDKs sign it, under the same limit.
//! * **Another path**: when all fail, an upgrade at the path of an endpoint is tried in four more forms
//!   (`endpoint.rs`), raw and under the same limit. [`Verified::path`] is the signed path: the requested one proves
//!   nothing.
//! * **Token of a player**: a presigned query that signs `GET` without a body, regardless of the request, and may be
//!   sent in a header: [`Verifier::read_token`]. The caller selects the reader by the path.
//! * An unknown key is verified as well, with a secret of the server, and then refused: response times do not reveal
//!   which access key ids exist, except for one derivation (a microsecond) on the first request of a key and day.
//!
//! The module uses no clock, I/O or randomness: the time is an argument, and the caller's [`SigningKeys`] cache the
//! derived keys. After warm-up, verification does not allocate.
//!
//! [`signer`] is the signing side: presigned URLs and signed API calls, for `heliograph presign` and the load
//! generator.
//!
//! Source: AWS, "Create a signed AWS API request"; KVS WebRTC guide, "ConnectAsMaster", "ConnectAsViewer".

mod canonical;
mod credential;
mod diagnosis;
mod endpoint;
mod escape;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod header;
mod keys;
mod query;
mod refusal;
pub mod signer;
mod stamp;
mod verify;

pub use credential::Service;
pub use diagnosis::SignedAs;
pub use endpoint::{MASTER_PATH, VIEWER_PATH};
pub use keys::{SigningKey, SigningKeys};
pub use query::Parameter;
pub use refusal::{Malformed, Reason, Refusal, Scope, Window};
pub use stamp::Stamp;
pub use verify::{AccessKey, Claim, Form, RequestRules, Verified, Verifier};

/// Default tolerance for a client's clock, in seconds. Source: AWS, "Troubleshoot Signature Version 4 signing": *within
/// five minutes*.
pub const CLOCK_TOLERANCE_S: u64 = 300;

/// Maximum clock tolerance that can be configured for a key, in seconds: one day.
pub const CLOCK_TOLERANCE_S_MAX: u64 = 24 * 60 * 60;

/// Maximum lifetime of a presigned URL in seconds: seven days. Source: AWS, "Authenticating Requests: Using Query
/// Parameters", `X-Amz-Expires`.
pub const EXPIRES_S_MAX: u32 = 604_800;

/// Maximum lifetime of a player's URL in seconds: one year, because a wall display cannot be re-signed every week.
pub const PLAYER_EXPIRES_S_MAX: u32 = 31_536_000;

/// Maximum length of an access key id in bytes. Source: IAM API reference, `accessKeyIdType`.
pub const ACCESS_KEY_ID_BYTES_MAX: usize = 128;

/// Maximum number of query parameters in a verified request; real URLs have nine. Sorting takes more than linear time.
pub const QUERY_PARAMETERS_MAX: usize = 128;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

const TERMINATOR: &str = "aws4_request";
