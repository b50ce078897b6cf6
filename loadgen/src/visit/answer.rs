//! The answer to an API call, as far as a client looks at it.

use thiserror::Error;

/// An HTTP answer, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// 200 if all is well.
    pub status: u16,
    /// AWS' name of what is not.
    pub error_type: String,
    /// The request id; empty if there is none.
    pub request_id: String,
    /// Whether the service closes the connection.
    pub closes: bool,
    /// The content.
    pub body: Vec<u8>,
}

/// The bytes are no answer: no HTTP, or without the length that these services always give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the answer is no HTTP with a Content-Length")]
pub struct NoAnswer;

impl Answer {
    /// The answer that these bytes begin with, once it is whole.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, NoAnswer> {
        let mut lines = [httparse::EMPTY_HEADER; 64];
        let mut head = httparse::Response::new(&mut lines);
        let parsed = head.parse(bytes).map_err(|_| NoAnswer)?;
        let httparse::Status::Complete(head_bytes) = parsed else {
            return Ok(None);
        };
        let value = |name: &str| {
            let mut lines = head.headers.iter();
            let line = lines.find(|line| line.name.eq_ignore_ascii_case(name))?;
            std::str::from_utf8(line.value).ok()
        };
        let length = value("Content-Length").and_then(|length| length.parse::<usize>().ok());
        let length = length.ok_or(NoAnswer)?;
        let body = bytes.get(head_bytes..).and_then(|rest| rest.get(..length));
        Ok(body.map(|body| Self {
            status: head.code.unwrap_or_default(),
            error_type: value("x-amzn-ErrorType").unwrap_or("unnamed").to_owned(),
            request_id: value("x-amzn-RequestId").unwrap_or_default().to_owned(),
            closes: value("Connection").is_some_and(|value| value.eq_ignore_ascii_case("close")),
            body: body.to_vec(),
        }))
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn answers_are_read_when_they_are_whole() {
        let text =
            b"HTTP/1.1 400 Bad Request\r\nx-amzn-ErrorType: E\r\nContent-Length: 2\r\nConnection: \
                     close\r\n\r\n{}";
        for length in 0..text.len() {
            assert_eq!(Answer::parse(&text[..length]), Ok(None), "{length}");
        }
        let answer = Answer::parse(text).unwrap().unwrap();
        assert_eq!(
            (answer.status, answer.error_type.as_str(), answer.closes),
            (400, "E", true)
        );
        assert_eq!(answer.body, b"{}");
        assert_eq!(Answer::parse(b"HTTP/1.1 200 OK\r\n\r\n"), Err(NoAnswer));
        assert_eq!(Answer::parse(b"nonsense\r\n\r\n"), Err(NoAnswer));
    }
}
