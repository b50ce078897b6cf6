//! Writes responses. The head and the body are written together, always with a length and never chunked.
//!
//! The C SDK keeps only the last chunk that it reads, and accepts bodies of up to 10 KiB. Every response contains a
//! request id and a `Date`, from which clients correct their clocks. CORS headers let scripts of any origin read these
//! two headers (Fetch standard, section 3.2).

use crate::calendar::{LAST_SECOND, civil};
use crate::http::scanner::is_token_byte;

/// The interim response for a client that waits for `100 Continue` (RFC 9110 section 15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Fields that are part of every response.
#[derive(Clone, Copy, Debug)]
pub struct Meta<'a> {
    /// Time of the response, in milliseconds since 1970 UTC.
    pub wall_ms: u64,
    /// Request id in visible ASCII. The id appears in the logs of both client and server.
    pub request_id: &'a str,
    /// Whether the connection is closed after this response.
    pub close: bool,
    /// Additional header lines. Each must include its line terminator.
    pub fields: &'a str,
}

/// Fields that are part of error responses.
#[derive(Clone, Copy, Debug)]
pub struct ErrorHead<'a> {
    /// Name of the exception, without a namespace.
    pub error_type: &'a str,
    /// Reference for looking up why the request failed. `None` in production.
    pub why: Option<&'a str>,
    /// Seconds after which the client should retry (RFC 9110 section 10.2.3). `None` if retrying would not help.
    pub retry_after_s: Option<u32>,
}

/// Returns whether a response written by this module announces that the connection will be closed.
#[must_use]
pub fn ends_connection(response: &[u8]) -> bool {
    let mut lines = response.split(|byte| *byte == b'\n');
    let mut head = lines.by_ref().take_while(|line| *line != b"\r");
    head.any(|line| line == b"Connection: close\r")
}

/// Appends a response. If `content_type` is empty, the response has no content type. A 426 response names the supported
/// WebSocket version.
pub fn respond(
    out: &mut Vec<u8>,
    meta: &Meta<'_>,
    status: u16,
    error: Option<ErrorHead<'_>>,
    content_type: &str,
    body: &[u8],
) {
    out.reserve(RESERVE + body.len());
    begin(out, meta, status);
    if !content_type.is_empty() {
        field(out, "Content-Type", content_type.as_bytes());
    }
    if let Some(error) = error {
        field(out, "x-amzn-ErrorType", error.error_type.as_bytes());
        if let Some(why) = error.why {
            field(out, "x-heliograph-why", why.as_bytes());
        }
        if let Some(seconds) = error.retry_after_s {
            field(out, "Retry-After", seconds.to_string().as_bytes());
        }
    }
    if status == 426 {
        field(out, "Upgrade", b"websocket");
        field(out, "Sec-WebSocket-Version", b"13");
    }
    if status == 204 {
        //= https://www.rfc-editor.org/rfc/rfc9110#section-8.6
        //# A server MUST NOT send a Content-Length header field in any response with a status code of 1xx
        //# (Informational) or 204 (No Content).
        if meta.close {
            field(out, "Connection", b"close");
        }
        return out.extend_from_slice(b"\r\n");
    }
    end(out, meta, body);
}

/// Appends the response to a CORS preflight request, which allows any origin, the given `methods`, and the requested
/// `headers`.
pub fn preflight(out: &mut Vec<u8>, meta: &Meta<'_>, methods: &str, headers: Option<&str>) {
    out.reserve(RESERVE + headers.map_or(0, str::len));
    begin(out, meta, 200);
    field(out, "Access-Control-Allow-Methods", methods.as_bytes());
    if let Some(requested) = headers {
        out.extend_from_slice(b"Access-Control-Allow-Headers: ");
        out.extend(
            requested
                .bytes()
                .filter(|&byte| is_token_byte(byte) || matches!(byte, b',' | b' ')),
        );
        out.extend_from_slice(b"\r\n");
    }
    field(out, "Access-Control-Max-Age", b"86400");
    end(out, meta, b"");
}

/// Appends the 101 response that switches to the WebSocket protocol. `accept` is the value computed by
/// `ws::accept_key`.
///
/// `Upgrade` and `Connection` each contain a single value, because old releases of the C SDK's WebSocket library
/// compare the whole header value.
pub fn switching_protocols(out: &mut Vec<u8>, meta: &Meta<'_>, accept: &[u8; 28], wss: bool) {
    out.reserve(RESERVE);
    begin(out, meta, 101);
    field(out, "Upgrade", b"websocket");
    field(out, "Connection", b"Upgrade");
    field(out, "Sec-WebSocket-Accept", accept);
    if wss {
        field(out, "Sec-WebSocket-Protocol", b"wss");
    }
    out.extend_from_slice(b"\r\n");
}

fn begin(out: &mut Vec<u8>, meta: &Meta<'_>, status: u16) {
    out.extend_from_slice(b"HTTP/1.1 ");
    decimal(out, status.into());
    out.push(b' ');
    out.extend_from_slice(reason(status).as_bytes());
    out.extend_from_slice(b"\r\n");
    field(out, "Date", &imf_fixdate(meta.wall_ms));
    field(out, "x-amzn-RequestId", meta.request_id.as_bytes());
    out.extend_from_slice(CROSS_ORIGIN);
    out.extend_from_slice(meta.fields.as_bytes());
}

fn end(out: &mut Vec<u8>, meta: &Meta<'_>, body: &[u8]) {
    if meta.close {
        field(out, "Connection", b"close");
    }
    out.extend_from_slice(b"Content-Length: ");
    decimal(out, body.len());
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(body);
}

fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    debug_assert!(
        !value.iter().any(u8::is_ascii_control),
        "a value of ours holds a line end"
    );
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

pub(crate) fn decimal(out: &mut Vec<u8>, number: usize) {
    if number >= 10 {
        decimal(out, number / 10);
    }
    out.push(b'0' + u8::try_from(number % 10).unwrap_or_default());
}

const fn reason(status: u16) -> &'static str {
    match status {
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

/// CORS headers that let any page read every response. This is safe because requests are authenticated by signatures,
/// not by cookies.
const CROSS_ORIGIN: &[u8] = b"Access-Control-Allow-Origin: *\r\n\
    Access-Control-Expose-Headers: x-amzn-RequestId,x-amzn-ErrorType,Date\r\n";

/// Initial capacity for a response's head, in bytes. Avoids reallocations, but is not a limit.
const RESERVE: usize = 512;

/// Length of an IMF-fixdate, in bytes.
pub const DATE_BYTES: usize = 29;

/// Formats a time in milliseconds since 1970 UTC as an IMF-fixdate (RFC 9110 section 5.6.7). Times are clamped to the
/// end of the year 9999.
#[must_use]
pub fn imf_fixdate(wall_ms: u64) -> [u8; DATE_BYTES] {
    let seconds = (wall_ms / 1000).min(LAST_SECOND);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days.cast_signed());
    let [year, month, day] = [year, month - 1, day].map(i64::cast_unsigned);
    let mut out = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    put(&mut out, 0, name(DAYS, days % 7)); // 1970-01-01 was a Thursday
    put(&mut out, 5, &two(day));
    put(&mut out, 8, name(MONTHS, month));
    put(&mut out, 12, &two(year / 100));
    put(&mut out, 14, &two(year % 100));
    put(&mut out, 17, &two(second / 3600));
    put(&mut out, 20, &two(second / 60 % 60));
    put(&mut out, 23, &two(second % 60));
    out
}

fn two(number: u64) -> [u8; 2] {
    let digit = |value: u64| b'0' + u8::try_from(value % 10).unwrap_or_default();
    [digit(number / 10), digit(number)]
}

fn name(names: &'static [u8], index: u64) -> &'static [u8] {
    let start = usize::try_from(index).unwrap_or_default() * 3;
    names.get(start..start + 3).unwrap_or(b"???")
}

fn put(out: &mut [u8], at: usize, text: &[u8]) {
    if let Some(place) = out.get_mut(at..at + text.len()) {
        place.copy_from_slice(text);
    }
}

const DAYS: &[u8] = b"ThuFriSatSunMonTueWed";
const MONTHS: &[u8] = b"JanFebMarAprMayJunJulAugSepOctNovDec";

#[cfg(test)]
mod tests {
    use super::*;

    const META: Meta<'_> = Meta {
        wall_ms: 1_767_323_045_000,
        request_id: "6c1e",
        close: false,
        fields: "",
    };

    #[test]
    fn an_error_looks_like_one_of_aws() {
        let mut out = Vec::new();
        let body = br#"{"Message":"The requested channel is not found or not active."}"#;
        respond(
            &mut out,
            &META,
            404,
            Some(ErrorHead {
                error_type: "ResourceNotFoundException",
                why: None,
                retry_after_s: None,
            }),
            "application/json",
            body,
        );
        let expected = "HTTP/1.1 404 Not Found\r\n\
            Date: Fri, 02 Jan 2026 03:04:05 GMT\r\n\
            x-amzn-RequestId: 6c1e\r\n\
            Access-Control-Allow-Origin: *\r\n\
            Access-Control-Expose-Headers: x-amzn-RequestId,x-amzn-ErrorType,Date\r\n\
            Content-Type: application/json\r\n\
            x-amzn-ErrorType: ResourceNotFoundException\r\n\
            Content-Length: 63\r\n\r\n\
            {\"Message\":\"The requested channel is not found or not active.\"}";
        assert_eq!(std::str::from_utf8(&out).unwrap(), expected);
    }

    #[test]
    fn an_error_may_say_when_to_try_again() {
        let error = |retry_after_s| {
            let mut out = Vec::new();
            let error = ErrorHead {
                error_type: "ServiceUnavailableException",
                why: None,
                retry_after_s,
            };
            respond(&mut out, &META, 503, Some(error), "application/json", b"{}");
            String::from_utf8(out).unwrap()
        };
        assert!(error(Some(5)).contains("\r\nRetry-After: 5\r\n"));
        assert!(!error(None).contains("Retry-After"));
    }

    #[test]
    fn closing_is_announced() {
        let mut out = b"before".to_vec();
        respond(
            &mut out,
            &Meta {
                close: true,
                ..META
            },
            426,
            None,
            "",
            b"",
        );
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("beforeHTTP/1.1 426 Upgrade Required\r\n"));
        let fine = text.contains("\r\nConnection: close\r\n")
            && ends_connection(text.as_bytes())
            && text.contains("\r\nSec-WebSocket-Version: 13\r\n");
        assert!(fine);
        assert!(text.ends_with("\r\nContent-Length: 0\r\n\r\n") && !text.contains("Content-Type"));
    }

    #[test]
    fn a_preflight_gets_the_headers_it_requested_and_no_others() {
        let mut out = Vec::new();
        preflight(
            &mut out,
            &META,
            "POST",
            Some("authorization, x-amz-date,\"{evil}\"\u{7f}:(x)"),
        );
        let text = String::from_utf8(out).unwrap();
        let fine =
            text.contains("\r\nAccess-Control-Allow-Headers: authorization, x-amz-date,evilx\r\n");
        assert!(fine, "{text}");
        assert!(text.contains("\r\nAccess-Control-Allow-Methods: POST\r\n"));
        assert!(text.contains("\r\nAccess-Control-Max-Age: 86400\r\n"));
        assert!(text.ends_with("\r\nContent-Length: 0\r\n\r\n"));
    }

    #[test]
    fn an_upgrade_has_each_field_alone_on_its_line() {
        for wss in [false, true] {
            let mut out = Vec::new();
            switching_protocols(&mut out, &META, b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", wss);
            let text = String::from_utf8(out).unwrap();
            assert!(text.starts_with("HTTP/1.1 101 Switching Protocols\r\nDate: Fri, 02 Jan 2026"));
            assert!(text.contains("\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"));
            assert!(text.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
            assert_eq!(text.contains("\r\nSec-WebSocket-Protocol: wss\r\n"), wss);
            assert!(!text.contains("Content-Length") && text.ends_with("\r\n\r\n"));
        }
    }

    #[test]
    fn numbers_are_decimal() {
        for number in [0, 9, 10, 63, 100, 65_536, usize::MAX] {
            let mut out = Vec::new();
            decimal(&mut out, number);
            assert_eq!(out, number.to_string().into_bytes());
        }
    }
}

#[cfg(test)]
mod date_tests {
    use super::*;

    #[test]
    fn known_moments_read_as_they_should() {
        for (seconds, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_799, "Tue, 29 Feb 2000 23:59:59 GMT"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"),
            (1_767_323_045, "Fri, 02 Jan 2026 03:04:05 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (LAST_SECOND, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            let found = imf_fixdate(seconds * 1000 + 999);
            assert_eq!(found, text.as_bytes());
        }
        assert_eq!(imf_fixdate(u64::MAX), imf_fixdate(LAST_SECOND * 1000));
    }
}
