//! The supported subset of AWS STS: AssumeRole, AssumeRoleWithWebIdentity, GetFederationToken, GetSessionToken and
//! GetCallerIdentity.
//!
//! Unlike the signaling APIs, STS uses AWS's query protocol: a request is a `POST /` with a form that names the action,
//! and responses are XML. Suggested reading order: `form` splits and decodes the body, [`parse`] turns it into a
//! [`Request`], and [`federation_token`] and related functions write the response. Errors ([`Error`]) are written by
//! [`error_body`].
//!
//! ```text
//!  Action=…&Version=…&… ──► parameters, decoded once ──► constraints ──► Request ──► (broker) ──► <…Response>
//!                              └ InvalidQueryParameter ┘  └ ValidationError ┘
//! ```
//! AWS ignores unknown parameters, but here they are rejected, since they might be meant to restrict permissions.
//! Features that are not supported are also rejected: managed policies, tags of federated users, and second factors.
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

pub use assume::{AssumeRole, AssumeRoleWithWebIdentity, RoleArn, SessionClaims, WebToken};
pub use error::{Error, ErrorKind, error_body};
pub use request::{FormRules, Request, is_form, is_web_identity, parse};
pub use response::{
    CallerIdentity, Granted, Keys, WebIdentity, assumed_role, caller_identity, federation_token,
    session_token, web_identity,
};

/// The media type of every response.
pub const CONTENT_TYPE: &str = "text/xml";

/// API version. The parameter `Version` must have this value, and the XML namespace of responses ends with it.
pub const VERSION: &str = "2011-06-15";

/// Maximum number of parameters in a request body. The longest valid call has 50 transitive tags and ten policies.
pub const PARAMETERS_MAX: usize = 256;

/// Maximum number of `PolicyArns`. Source: AWS STS API Reference, "AssumeRole".
pub const POLICY_ARNS_MAX: usize = 10;

/// Maximum length of `Policy`, in characters. Source: model, shape `sessionPolicyDocumentType`.
pub const POLICY_CHARS_MAX: usize = 2048;

/// Maximum lifetime of a federation token, in seconds: 12 hours. AWS permits 36 hours.
pub const DURATION_S_MAX: u32 = 43_200;

/// Default lifetime of a federation token, in seconds: one hour. On AWS, it is 12 hours.
pub const DURATION_S_DEFAULT: u32 = 3_600;

/// Default lifetime of a GetSessionToken session, in seconds: 12 hours.
pub const SESSION_DURATION_S_DEFAULT: u32 = 43_200;
