//! The forms of answers: JSON documents, refusals, dates and ids in them.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use broker_core::time::Wall;
use serde_json::{Value, json as value};
use std::borrow::Cow;

/// A document, or why there is none.
pub(crate) type Answer = Result<Json<Value>, Fault>;

/// The refusal of a request: a status, and a text for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault(pub(crate) StatusCode, pub(crate) Cow<'static, str>);

impl Fault {
    pub(crate) const fn new(code: StatusCode, text: &'static str) -> Self {
        Self(code, Cow::Borrowed(text))
    }

    /// A request that cannot be meant.
    pub(crate) const fn bad(text: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }
}

/// A reader of requests says in words why one cannot be meant.
impl From<String> for Fault {
    fn from(text: String) -> Self {
        Self(StatusCode::BAD_REQUEST, text.into())
    }
}

/// `{"error":"…"}`.
impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        (self.0, Json(value!({ "error": self.1 }))).into_response()
    }
}

/// The id of the fault of this number, as `/dev/faults` gives it.
pub(crate) fn fault_id(number: u64) -> String {
    format!("f{number}")
}

/// RFC 3339 in UTC with milliseconds.
pub(crate) fn rfc3339(at: Wall) -> String {
    codec::calendar::rfc3339(at.0)
}

/// A shard does not answer.
pub(crate) const SILENT: Fault =
    Fault::new(StatusCode::SERVICE_UNAVAILABLE, "a shard does not answer");

/// The type of documents and of refusals.
pub(crate) const JSON: &str = "application/json";
