//! The forms of answers: JSON documents, refusals, dates and ids in them.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use broker_core::time::Wall;
use codec::calendar::civil;
use serde_json::{Value, json as value};
use std::borrow::Cow;

/// A document, or why there is none.
pub(in crate::side) type Answer = Result<Json<Value>, Fault>;

/// The refusal of a request: a status, and a text for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::side) struct Fault(
    pub(in crate::side) StatusCode,
    pub(in crate::side) Cow<'static, str>,
);

impl Fault {
    pub(in crate::side) const fn new(code: StatusCode, text: &'static str) -> Self {
        Self(code, Cow::Borrowed(text))
    }

    /// A request that cannot be meant.
    pub(in crate::side) const fn bad(text: &'static str) -> Self {
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
pub(in crate::side) fn fault_id(number: u64) -> String {
    format!("f{number}")
}

/// RFC 3339 in UTC with milliseconds. Moments after the year 9999 read as its last one.
pub(in crate::side) fn rfc3339(at: Wall) -> String {
    let ms = at.0.min(LAST_MS);
    let (days, of_day) = (ms / DAY_MS, ms % DAY_MS);
    let (year, month, day) = civil(days.cast_signed());
    let (hour, minute) = (of_day / 3_600_000, of_day / 60_000 % 60);
    let (second, ms) = (of_day / 1000 % 60, of_day % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// A shard does not answer.
pub(in crate::side) const SILENT: Fault =
    Fault::new(StatusCode::SERVICE_UNAVAILABLE, "a shard does not answer");

/// The type of documents and of refusals.
pub(in crate::side) const JSON: &str = "application/json";

const DAY_MS: u64 = 86_400_000;
/// 9999-12-31T23:59:59.999Z.
const LAST_MS: u64 = 253_402_300_799_999;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_rfc_3339() {
        assert_eq!(rfc3339(Wall(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(Wall(1_795_176_001_007)), "2026-11-20T12:00:01.007Z");
        assert_eq!(rfc3339(Wall(u64::MAX)), "9999-12-31T23:59:59.999Z");
    }
}
