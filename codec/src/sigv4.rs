//! Verifies AWS Signature Version 4. Identifies the signer of a request, or explains why the request is refused.
//!
//! # Theory of operation
//! The signer and the verifier build the same text, the *canonical request*, and compute its HMAC with a key that only
//! they can derive. The verifier does not see the signer's text; it sees only the request that arrived:
//! ```text
//! Head ─ read ──▶ Claim ─ verify(key, body) ──▶ Verified | Refusal
//!        │          │ access_key_id(), session_token(): the caller looks the key up
//!        │          └ clock with the key's tolerance; canonical request (strict, then raw) in constant time; token
//!        └ form, parts, scope, clock with the maximum tolerance: refuses what no key could make valid
//! ```
//! * **Header form and query form**: in the header form, `Authorization` contains the parts of the signature. In the
//!   query form, the query string does (a presigned URL). If a request has both, the header counts, and the parameters
//!   in the query are treated as ordinary ones.
//! * **Strict and raw**: in strict form, each query pair is decoded once and encoded again as AWS prescribes. In raw
//!   form, the pairs are used as received, for signers that escape too little (the SDKs for iOS, Android and
//!   JavaScript, each in a different way). The raw form is tried if the strict form fails, the two forms differ, and
//!   the request is no longer than the URLs of SDKs.
//! * **Without the port**: if both forms fail, the raw form is tried with the port removed from `host`, under the same
//!   length limit. The SDKs for iOS and Android sign this form.
//! * **Another path**: if all of these fail, an upgrade at the path of an endpoint is tried in four more forms
//!   (`endpoint.rs`), first raw and then strict, under the same limit. [`Verified::path`] is the path that was signed,
//!   since the requested path proves nothing.
//! * **Player token**: a presigned query that signs `GET` without a body, whatever the actual request is. A player may
//!   also send it in a header. [`Verifier::read_token`] parses it. The caller decides by path which method to use.
//! * A request with an unknown key is verified with a secret of the server before it is refused, so response times do
//!   not reveal which access key ids exist. The one exception is the first request for a key and day, which takes one
//!   derivation longer (a microsecond).
//!
//! This module uses no clock, I/O or randomness. The time is passed as an argument, and the caller's [`SigningKeys`]
//! cache the derived keys. After warm-up, verification does not allocate.
//!
//! [`signer`] contains the signing side, with presigned URLs and signed API calls, for `heliograph presign` and the
//! load generator.
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

/// Default clock tolerance for clients, in seconds. Source: AWS, "Troubleshoot Signature Version 4 signing": *within
/// five minutes*.
pub const CLOCK_TOLERANCE_S: u64 = 300;

/// Maximum clock tolerance that can be configured for a key, in seconds. This is one day.
pub const CLOCK_TOLERANCE_S_MAX: u64 = 24 * 60 * 60;

/// Maximum lifetime of a presigned URL, in seconds: seven days. Source: AWS, "Authenticating Requests: Using Query
/// Parameters", `X-Amz-Expires`.
pub const EXPIRES_S_MAX: u32 = 604_800;

/// Maximum lifetime of a player's URL, in seconds. This is one year, because a wall display cannot be given a new URL
/// every week.
pub const PLAYER_EXPIRES_S_MAX: u32 = 31_536_000;

/// Maximum length of an access key id, in bytes. Source: IAM API reference, `accessKeyIdType`.
pub const ACCESS_KEY_ID_BYTES_MAX: usize = 128;

/// Maximum number of query parameters in a verified request. Bounds the cost of sorting them. Real clients' URLs have
/// nine.
pub const QUERY_PARAMETERS_MAX: usize = 128;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

const TERMINATOR: &str = "aws4_request";
