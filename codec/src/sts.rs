//! The part of AWS STS that is served, as forms in and XML out: AssumeRole,
//! AssumeRoleWithWebIdentity, GetFederationToken, GetSessionToken and GetCallerIdentity.
//!
//! STS uses AWS's query protocol, unlike the signaling APIs: `POST /` with a form as its body, which names the action.
//! In reading order: `form` splits and decodes the body, [`parse`] turns it into a [`Request`], [`federation_token`]
//! and its siblings write the answers, [`Error`] is a refusal and [`error_body`] writes it.
//!
//! ```text
//!  Action=…&Version=…&… ──► parameters, decoded once ──► constraints ──► Request ──► (broker) ──► <…Response>
//!                              └ InvalidQueryParameter ┘  └ ValidationError ┘
//! ```
//! Unknown parameters are refused, though AWS ignores them: they might have been meant to reduce rights. So are managed
//! policies and tags of a federated user, and second factors, which this service does not have.
//!
//! Source: AWS STS API Reference, version 2011-06-15, and botocore's model `sts`.

mod assume;
mod error;
mod form;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod request;
mod response;
mod xml;

pub use assume::{AssumeRole, AssumeRoleWithWebIdentity, RoleArn, SessionClaims, WebToken};
pub use error::{Error, ErrorKind, error_body};
pub use request::{FormRules, Request, is_form, is_web_identity, parse};
pub use response::{
    CallerIdentity, Granted, Keys, WebIdentity, assumed_role, caller_identity, federation_token,
    session_token, web_identity,
};

/// The media type of every answer.
pub const CONTENT_TYPE: &str = "text/xml";

/// Version of the API: the required `Version`, and the end of the answers' name space.
pub const VERSION: &str = "2011-06-15";

/// Most parameters of a body. The longest valid call has 50 tags, their keys again as transitive ones, and ten
/// policies.
pub const PARAMETERS_MAX: usize = 256;

/// Most `PolicyArns`. Source: AWS STS API Reference, "AssumeRole".
pub const POLICY_ARNS_MAX: usize = 10;

/// The longest `Policy`, in characters. Source: model, shape `sessionPolicyDocumentType`.
pub const POLICY_CHARS_MAX: usize = 2048;

/// Longest lifetime of a federation token, in seconds: half a day; AWS allows one and a half.
pub const DURATION_S_MAX: u32 = 43_200;

/// Default lifetime of a federation token, in seconds: one hour; AWS has half a day.
pub const DURATION_S_DEFAULT: u32 = 3_600;

/// Default lifetime of a session of GetSessionToken, in seconds: half a day.
pub const SESSION_DURATION_S_DEFAULT: u32 = 43_200;
