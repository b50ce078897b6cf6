//! Cookies: found in requests, written for answers.
//!
//! Source: RFC 6265bis, sections 4.1 and 4.2.

use axum::http::{HeaderMap, HeaderValue, header};

/// The value of the cookie of this name; `None` when there are two, since it is not known whose the other one is.
pub(crate) fn find<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let lines = headers.get_all(header::COOKIE).iter();
    let texts = lines.filter_map(|line| line.to_str().ok());
    let pairs = texts.flat_map(|text| text.split(';'));
    let mut found = pairs.filter_map(|pair| {
        let (other, value) = pair.trim().split_once('=')?;
        (other == name).then_some(value)
    });
    let sole = found.next().filter(|_| found.next().is_none());
    sole.filter(|value| (1..=VALUE_BYTES_MAX).contains(&value.len()))
}

/// A cookie, and the rules for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cookie<'c> {
    pub(crate) name: &'c str,
    /// Empty, with a life of 0, to remove it.
    pub(crate) value: &'c str,
    pub(crate) path: &'c str,
    pub(crate) life_s: u64,
    /// `Strict` or `Lax`.
    pub(crate) same_site: &'static str,
    /// Over TLS only.
    pub(crate) secure: bool,
}

impl Cookie<'_> {
    /// The header's value.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        let Self {
            name,
            value,
            path,
            life_s,
            same_site,
            secure,
        } = self;
        let secure = if *secure { "; Secure" } else { "" };
        let text = format!(
            "{name}={value}; Path={path}; Max-Age={life_s}; HttpOnly; SameSite={same_site}{secure}"
        );
        let mut header = HeaderValue::try_from(text).ok()?;
        header.set_sensitive(true);
        Some(header)
    }
}

/// Longest value that is one of ours.
const VALUE_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn a_cookie_is_found_by_its_whole_name_and_only_once() {
        for (lines, value) in [
            (&["a=1"][..], Some("1")),
            (&["b=2; a=1;c=3"], Some("1")),
            (&["b=2", "a=x=y"], Some("x=y")),
            (&["aa=1; A=2; a"], None),
            (&["a="], None),
            (&["a=1; a=1"], None),
            (&["a=1", "a=2"], None),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::COOKIE, HeaderValue::from_static(line));
            }
            assert_eq!(find(&headers, "a"), value, "{lines:?}");
        }
        let mut headers = HeaderMap::new();
        let long = format!("a={}", "x".repeat(VALUE_BYTES_MAX + 1));
        headers.append(header::COOKIE, HeaderValue::try_from(long).unwrap());
        assert_eq!(find(&headers, "a"), None);
    }

    #[test]
    fn cookies_are_kept_from_pages_and_from_the_clear() {
        let cookie = Cookie {
            name: "__Host-x",
            value: "v",
            path: "/",
            life_s: 60,
            same_site: "Strict",
            secure: true,
        };
        let header = cookie.header().unwrap();
        assert!(header.is_sensitive());
        assert_eq!(
            header,
            "__Host-x=v; Path=/; Max-Age=60; HttpOnly; SameSite=Strict; Secure"
        );
        let plain = Cookie {
            secure: false,
            same_site: "Lax",
            ..cookie
        };
        assert_eq!(
            plain.header().unwrap(),
            "__Host-x=v; Path=/; Max-Age=60; HttpOnly; SameSite=Lax"
        );
    }
}
