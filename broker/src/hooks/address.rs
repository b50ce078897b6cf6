//! Validates receiver URLs and inserts channel names into them. The URLs come only from the configuration.

use axum::http::Uri;
use broker_core::settings::value;
use std::net::IpAddr;

/// Validates a hook's URL. The error states which rule the URL violates.
pub(crate) fn check(text: &str, allow_plain: bool) -> Result<&str, String> {
    let rule = || "expected an absolute URL of https or http, such as https://push.example.com/wake/{channel}";
    let (scheme, rest) = text.split_once("://").ok_or_else(rule)?;
    let host_ends = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, behind) = rest.split_at(host_ends);
    if authority.contains(['{', '}']) {
        return Err("expected {channel} in the path and the query only".into());
    }
    if authority.contains('@') {
        return Err("expected a URL without user and password".into());
    }
    let filled = behind.replace(CHANNEL, "channel");
    if filled.contains(['{', '}', '#']) || text.len() > URL_BYTES_MAX {
        return Err(format!(
            "expected at most {URL_BYTES_MAX} bytes, and no braces but {{channel}}"
        ));
    }
    let (host, _) = value::authority(authority).ok_or_else(rule)?;
    let _: Uri = format!("{scheme}://{authority}{filled}")
        .parse()
        .map_err(|_| rule())?;
    match scheme {
        "https" => Ok(text),
        "http" if allow_plain || is_loopback(host) => Ok(text),
        "http" => Err(
            "expected https, or http to a loopback address; allow_plain = true permits http to others".into(),
        ),
        _ => Err(rule().into()),
    }
}

/// Returns the receiver's URL for a channel, or `None` if the channel's name contains characters that would need
/// escaping. Also rejects the names `.` and `..` as path segments, which change the URL's target even if they are
/// escaped (RFC 3986, section 3.3).
pub(crate) fn of_channel(url: &str, name: &str) -> Option<Uri> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if !name.bytes().all(plain) {
        return None;
    }
    let uri: Uri = url.replace(CHANNEL, name).parse().ok()?;
    let leads_elsewhere = matches!(name, "." | "..") && {
        let path = uri.path().to_ascii_lowercase().replace("%2f", "/");
        path.split('/').any(|segment| segment == name)
    };
    (!leads_elsewhere).then_some(uri)
}

/// Returns the part of a URL that is safe to display. Everything after the host may be secret.
pub(crate) fn shown(url: &str) -> String {
    let begin = url.find("://").map_or(0, |at| at + 3);
    let behind = url.get(begin..).unwrap_or_default();
    match behind.find(['/', '?']) {
        Some(at) => format!("{}/…", &url[..begin + at]),
        None => url.into(),
    }
}

pub(crate) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address: Option<IpAddr> = bare.parse().ok();
    address.map_or(bare == "localhost", |address| address.is_loopback())
}

const CHANNEL: &str = "{channel}";

const URL_BYTES_MAX: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_may_be() {
        #[rustfmt::skip] // a table, a case per row
        let cases = [
            ("https://push.example.com/wake", false, true),
            ("https://push.example.com:8443/topics/wake%2F{channel}?qos=1", false, true),
            ("http://127.0.0.1:9000/", false, true),
            ("http://[::1]:9000", false, true),
            ("http://localhost/x?c={channel}", false, true),
            ("http://push.example.com/", false, false),
            ("http://push.example.com/", true, true),
            ("http://127.0.0.1.example.com/", false, false),
            ("https://{channel}.example.com/", true, false),
            ("https://user:word@example.com/", true, false),
            ("https://user@localhost@example.com/", true, false),
            ("https:///path", true, false),
            ("http://hook_receiver:9000/", true, true),
            ("https://push.example.com.:8443/", true, true),
            ("https://push.example.com:0/", true, false),
            ("https://push.example.com:99999/", true, false),
            ("https://push.example.com:/", true, false),
            ("https://push..example.com/", true, false),
            ("https://10.0.0.256/", true, false),
            ("https://[::g]/", true, false),
            ("ftp://example.com/", true, false),
            ("/path", true, false),
            ("https://example.com/{name}", true, false),
            ("https://example.com/#{channel}", true, false),
            ("", true, false),
        ];
        for (url, plain, allowed) in cases {
            assert_eq!(check(url, plain).is_ok(), allowed, "{url}");
        }
    }

    #[test]
    fn a_name_goes_into_the_path_and_nowhere_else() {
        let uri = of_channel(
            "https://example.com/wake%2F{channel}?q={channel}",
            "cam-1.a_b",
        );
        assert_eq!(
            uri.unwrap().to_string(),
            "https://example.com/wake%2Fcam-1.a_b?q=cam-1.a_b"
        );
        for (url, name, is_made) in [
            ("https://example.com/{channel}/ring", "../x?y", false),
            ("https://example.com/{channel}/ring", ".", false),
            ("https://example.com/{channel}/ring", "..", false),
            ("https://example.com/{channel}", "..", false),
            ("https://example.com/wake%2F{channel}", "..", false),
            ("https://example.com/{channel}", "...", true),
            ("https://example.com/of-{channel}", "..", true),
            ("https://example.com/?of={channel}", "..", true),
        ] {
            assert_eq!(of_channel(url, name).is_some(), is_made, "{url} {name}");
        }
    }

    #[test]
    fn only_the_host_of_a_url_is_shown() {
        assert_eq!(
            shown("https://example.com/key/1?token=2"),
            "https://example.com/…"
        );
        assert_eq!(shown("http://127.0.0.1:9000"), "http://127.0.0.1:9000");
        assert_eq!(
            shown("https://example.com?token=2"),
            "https://example.com/…"
        );
    }
}
