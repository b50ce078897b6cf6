//! The forms of answers: JSON documents, refusals, dates and ids in them.

use super::request::Fault;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use broker_core::time::Wall;
use codec::calendar::civil;
use serde_json::{Value, json as value};

/// An answer of JSON.
pub(in crate::side) fn json(code: StatusCode, body: &Value) -> Response {
    let kind = [(header::CONTENT_TYPE, JSON)];
    (code, kind, body.to_string()).into_response()
}

/// `{"error":"…"}`.
pub(in crate::side) fn error(code: StatusCode, text: &str) -> Response {
    json(code, &value!({ "error": text }))
}

/// A document, or why there is none.
pub(in crate::side) fn respond(document: Result<Value, Fault>) -> Response {
    match document {
        Ok(document) => json(StatusCode::OK, &document),
        Err((code, text)) => error(code, text),
    }
}

/// The answer where a shard does not give one.
pub(in crate::side) fn silent() -> Response {
    let (code, text) = SILENT;
    error(code, text)
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
    (StatusCode::SERVICE_UNAVAILABLE, "a shard does not answer");

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
