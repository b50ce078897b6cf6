//! Supported subset of AWS STS: AssumeRole, AssumeRoleWithWebIdentity, GetFederationToken, GetSessionToken and
//! GetCallerIdentity.
//!
//! Unlike the signaling APIs, STS uses AWS's query protocol: `POST /` with a form body that names the action, and XML
//! responses. Suggested reading order: `form` splits and decodes the body, [`parse`] turns it into a [`Request`],
//! [`federation_token`] and related functions write the responses, [`Error`] is an error, and [`error_body`] writes it.
//!
//! ```text
//!  Action=…&Version=…&… ──► parameters, decoded once ──► constraints ──► Request ──► (broker) ──► <…Response>
//!                              └ InvalidQueryParameter ┘  └ ValidationError ┘
//! ```
//! Unknown parameters are rejected, although AWS ignores them, since they might be meant to restrict permissions; so
//! are unsupported features: managed policies, tags of federated users, and second factors.
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

/// Media type of every response.
pub const CONTENT_TYPE: &str = "text/xml";

/// Version of the API: the required value of `Version`, and the last part of the XML namespace in responses.
pub const VERSION: &str = "2011-06-15";

/// Maximum number of parameters in a request body: the longest valid call has 50 transitive tags and ten policies.
pub const PARAMETERS_MAX: usize = 256;

/// Maximum number of `PolicyArns`. Source: AWS STS API Reference, "AssumeRole".
pub const POLICY_ARNS_MAX: usize = 10;

/// Maximum length of `Policy`, in characters. Source: model, shape `sessionPolicyDocumentType`.
pub const POLICY_CHARS_MAX: usize = 2048;

/// Maximum lifetime of a federation token, in seconds: 12 hours (AWS: 36 hours).
pub const DURATION_S_MAX: u32 = 43_200;

/// Default lifetime of a federation token, in seconds: one hour (AWS: 12 hours).
pub const DURATION_S_DEFAULT: u32 = 3_600;

/// Default lifetime of a GetSessionToken session, in seconds: 12 hours.
pub const SESSION_DURATION_S_DEFAULT: u32 = 43_200;
