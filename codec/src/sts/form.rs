//! Bodies of `application/x-www-form-urlencoded`: pairs, percent signs and pluses.
//!
//! Source: WHATWG URL Standard, section 5.1, "application/x-www-form-urlencoded parsing"; but what is no UTF-8 or no
//! percent-encoding is refused, because two readers of it might disagree about what was signed.

use super::PARAMETERS_MAX;
use super::error::{Error, ErrorKind, shown};
use crate::http::{self, QueryError};

/// The parameters of a body, decoded, in their order; no name twice. Exists for one request.
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// Splits and decodes a body.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Error> {
        let body = std::str::from_utf8(body).map_err(|_| malformed("is not UTF-8"))?;
        let mut parameters: Vec<(String, String)> = Vec::new();
        for (name, value) in http::pairs(body) {
            let (name, value) = (decode(name)?, decode(value)?);
            if parameters.iter().any(|(known, _)| *known == name) {
                let name = shown(&name);
                return Err(malformed(&format!("gives parameter {name} twice")));
            }
            if parameters.len() == PARAMETERS_MAX {
                return Err(malformed("has more than 64 parameters"));
            }
            parameters.push((name, value));
        }
        Ok(Self(parameters))
    }

    /// Takes a parameter out.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let position = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.swap_remove(position).1)
    }

    /// The names and values of the parameters that are left.
    pub(super) fn left(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }
}

/// Decodes a name or value once: `+` is a blank, `%2B` a plus.
fn decode(text: &str) -> Result<String, Error> {
    let text = text.replace('+', " ");
    match http::decode(&text) {
        Ok(decoded) => Ok(decoded.into_owned()),
        Err(QueryError::Percent) => Err(malformed("has a malformed percent-encoding")),
        Err(QueryError::Utf8) => Err(malformed("is not UTF-8")),
    }
}

fn malformed(what: &str) -> Error {
    Error::new(
        ErrorKind::InvalidQueryParameter,
        format!("The request body {what}."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &[u8]) -> Result<Vec<(String, String)>, String> {
        Form::parse(body)
            .map(|form| form.0)
            .map_err(|error| error.message.into_owned())
    }

    #[test]
    fn parameters_are_decoded_once() {
        let pairs = read(b"a=1+2&b=%2B%252B&&%63=%c3%a9=%26&d&=e").unwrap();
        let pairs: Vec<_> = pairs.iter().map(|(a, b)| (&**a, &**b)).collect();
        let expected = [
            ("a", "1 2"),
            ("b", "+%2B"),
            ("c", "é=&"),
            ("d", ""),
            ("", "e"),
        ];
        assert_eq!(pairs, expected);
        assert_eq!(read(b""), Ok(vec![]));
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for (body, message) in [
            (&b"a=%"[..], "has a malformed percent-encoding."),
            (b"a=%4", "has a malformed percent-encoding."),
            (b"%zz=", "has a malformed percent-encoding."),
            (b"a=%ff", "is not UTF-8."),
            (b"a=\xff", "is not UTF-8."),
            (b"a=1&%61=1", "gives parameter a twice."),
            (b"<=1&<=2", "gives parameter (unprintable) twice."),
        ] {
            let expected = format!("The request body {message}");
            assert_eq!(read(body), Err(expected), "{}", body.escape_ascii());
        }
    }

    #[test]
    fn parameters_are_counted() {
        let body = |count: usize| {
            let names: Vec<_> = (0..count).map(|name| format!("{name}=")).collect();
            names.join("&").into_bytes()
        };
        assert_eq!(read(&body(64)).unwrap().len(), 64);
        let error = read(&body(65)).unwrap_err();
        assert_eq!(error, "The request body has more than 64 parameters.");
    }
}
