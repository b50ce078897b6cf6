//! Parsers for single values, used by both the flags and the configuration file. Their errors state the permitted
//! values.

use crate::settings::{Listen, Scheme};
use codec::signal::Role;
use codec::sigv4::{MASTER_PATH, VIEWER_PATH};
use ipnet::IpNet;
use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;
use strum::VariantNames;

/// A parsed value, or the rule that the text violates, worded to follow `key = value: ` in a message.
pub type Checked<T> = Result<T, String>;

/// Checks that a text's length in bytes is in `lengths`, and that it contains only permitted bytes.
///
/// # Errors
/// Returns `rule`, which states the permitted values.
pub fn letters<'t>(
    text: &'t str,
    lengths: RangeInclusive<usize>,
    is_allowed: impl Fn(u8) -> bool,
    rule: &str,
) -> Checked<&'t str> {
    if lengths.contains(&text.len()) && text.bytes().all(is_allowed) {
        return Ok(text);
    }
    Err(rule.into())
}

/// Parses one of a fixed set of words, for example `default` or `strict`.
pub fn word<T: FromStr + VariantNames>(text: &str) -> Checked<T> {
    let words = || T::VARIANTS.iter().map(|word| format!("\"{word}\""));
    text.parse()
        .map_err(|_| format!("expected {}", words().collect::<Vec<_>>().join(", ")))
}

/// Parses the region for an ARN. Source: API reference, `ChannelARN` (`[a-z0-9-]+`). The maximum length is our own.
pub fn region(text: &str) -> Checked<String> {
    let is_allowed = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    let rule = "expected 1 to 32 of the characters a-z 0-9 -";
    letters(text, 1..=32, is_allowed, rule).map(str::to_owned)
}

/// Parses an AWS account id.
pub fn account_id(text: &str) -> Checked<String> {
    let is_digit = |byte: u8| byte.is_ascii_digit();
    letters(text, 12..=12, is_digit, "expected 12 digits").map(str::to_owned)
}

/// Parses a path or other text that must not be empty.
pub fn filled(text: &str) -> Checked<String> {
    if text.is_empty() || text.contains('\0') {
        return Err("expected a text that is not empty".into());
    }
    Ok(text.into())
}

/// Parses the name of a token claim.
pub fn claim(text: &str) -> Checked<String> {
    let rule = "expected 1 to 128 printable ASCII characters without space";
    letters(text, 1..=128, |byte| byte.is_ascii_graphic(), rule).map(str::to_owned)
}

/// Parses the value of a token claim. Source: STS API Reference, "AssumeRoleWithWebIdentity",
/// `SubjectFromWebIdentityToken`: 255.
pub fn claim_value(text: &str) -> Checked<String> {
    let rule = "expected 1 to 255 bytes without control characters";
    letters(text, 1..=255, |byte| !byte.is_ascii_control(), rule).map(str::to_owned)
}

/// Parses a scope requested at sign-in. Source: RFC 6749, section 3.3, "Access Token Scope".
pub fn scope(text: &str) -> Checked<String> {
    let rule = "expected 1 to 128 printable ASCII characters without space, \" and \\";
    letters(text, 1..=128, needs_no_escape, rule).map(str::to_owned)
}

/// Parses `http://ADDR:PORT` or `https://ADDR:PORT`, with an IP address or `localhost`.
pub fn listen(text: &str) -> Checked<Listen> {
    let rule = || {
        "expected http://ADDR:PORT or https://ADDR:PORT, such as https://127.0.0.1:8443".to_owned()
    };
    let (scheme, rest) = text.split_once("://").ok_or_else(rule)?;
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        _ => return Err(rule()),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    Ok(Listen {
        scheme,
        addr: address(rest).map_err(|_| rule())?,
    })
}

/// Parses `ADDR:PORT` or `off`.
pub fn admin(text: &str) -> Checked<Option<SocketAddr>> {
    if text == "off" {
        return Ok(None);
    }
    match address(text) {
        Ok(addr) => Ok(Some(addr)),
        Err(_) => Err("expected ADDR:PORT, such as 127.0.0.1:8090, or off".into()),
    }
}

/// Parses `ADDR:PORT`.
pub fn socket(text: &str) -> Checked<SocketAddr> {
    address(text).map_err(|_| "expected ADDR:PORT, such as 10.0.0.1:7443".into())
}

/// Parses a network. A single address becomes a network with only that address.
pub fn network(text: &str) -> Checked<IpNet> {
    let alone = || text.parse::<IpAddr>().ok().map(IpNet::from);
    let network = text.parse::<IpNet>().ok().or_else(alone);
    let network = network.filter(|it| it.trunc() == *it);
    network.ok_or_else(|| {
        "expected ADDRESS/BITS without bits behind those, such as 10.0.0.0/8, or an address".into()
    })
}

/// Parses the name of a node or cluster, which may be as long as a DNS label.
pub fn node(text: &str) -> Checked<String> {
    let is_allowed = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-');
    let rule = "expected 1 to 63 of the characters a-z 0-9 . -";
    letters(text, 1..=63, is_allowed, rule).map(str::to_owned)
}

/// Parses the host, without a port, under which other nodes reach a node. IPv6 addresses have no brackets. The length
/// is limited so that host and port fit into the cluster's list of nodes.
pub fn node_host(text: &str) -> Checked<String> {
    let is_fine = match text.parse::<IpAddr>() {
        Ok(address) => !address.is_unspecified(),
        Err(_) => is_host(text) && text.len() <= 255 - ":65535".len(),
    };
    if is_fine {
        return Ok(text.into());
    }
    Err("expected a host name or an IP address, without a port, such as n1.internal".into())
}

/// Parses the URL of an etcd member.
pub fn etcd(text: &str) -> Checked<String> {
    endpoint(text, ["https", "http"]).map_err(|_| {
        "expected https://HOST:PORT or http://HOST:PORT, such as https://10.0.0.11:2379".into()
    })
}

fn address(text: &str) -> Checked<SocketAddr> {
    if let Some(port) = text.strip_prefix("localhost:") {
        let port = port.parse().map_err(|_| String::new())?;
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    text.parse().map_err(|_| String::new())
}

/// Parses an endpoint in the form that clients receive: just a scheme, a host and an optional port.
pub fn endpoint(text: &str, schemes: [&str; 2]) -> Checked<String> {
    let [usual, _] = schemes;
    let rule = || format!("expected {usual}://HOST or {usual}://HOST:PORT, without a path");
    let (scheme, rest) = text.split_once("://").ok_or_else(rule)?;
    let (host, _) = authority(rest).ok_or_else(rule)?;
    if schemes.contains(&scheme) && (host.starts_with('[') || is_host(host)) {
        return Ok(text.into());
    }
    Err(rule())
}

/// Splits `HOST`, `HOST:PORT`, `[IPV6]` or `[IPV6]:PORT` into host and port. `HOST` may contain anything that resolvers
/// accept in a name, including `_` and a trailing dot.
#[must_use]
pub fn authority(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !text.ends_with(']') => (host, Some(port)),
        Some(_) | None => (text, None),
    };
    let number = |digits: &str| match digits.bytes().all(|byte| byte.is_ascii_digit()) {
        true => digits.parse::<u16>().ok().filter(|port| *port > 0),
        false => None,
    };
    let port = match port {
        Some(digits) => Some(number(digits)?),
        None => None,
    };
    let bracketed = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let is_fine = match bracketed {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => is_host(&host.strip_suffix('.').unwrap_or(host).replace('_', "a")),
    };
    is_fine.then_some((host, port))
}

/// Parses an endpoint for discovery, and normalizes it as browsers do. Whatever the client signed, a browser sends the
/// normalized host in `Host` (RFC 3986 section 6.2.2.1).
pub fn advertised(text: &str, schemes: [&str; 2]) -> Checked<String> {
    endpoint(text, schemes).map(normal)
}

fn normal(endpoint: String) -> String {
    let endpoint = endpoint.to_ascii_lowercase();
    let usual = match endpoint.starts_with("https:") || endpoint.starts_with("wss:") {
        true => endpoint.strip_suffix(":443"),
        false => endpoint.strip_suffix(":80"),
    };
    usual.unwrap_or(&endpoint).to_owned()
}

/// Returns the role in an endpoint's path, if any. Clients may append a slash. Endpoints for viewers no longer contain
/// the role, but clients may have stored one from an older version.
#[must_use]
pub fn role_of_path(path: &str) -> Option<Role> {
    match path.strip_suffix('/').unwrap_or(path) {
        MASTER_PATH => Some(Role::Master),
        VIEWER_PATH => Some(Role::Viewer),
        _ => None,
    }
}

/// Removes the role path from an endpoint. A URL signed in the resulting form is valid for either role (CON-2).
#[must_use]
pub fn without_role(endpoint: &str) -> &str {
    let bare = |path| endpoint.strip_suffix(path);
    bare(MASTER_PATH)
        .or_else(|| bare(VIEWER_PATH))
        .unwrap_or(endpoint)
}

/// Parses the origin of a page in the form that browsers send (RFC 6454 section 6.2), without the scheme's default
/// port. Apps and browser extensions may have custom schemes, such as `capacitor`. `file://` has no host.
pub fn dev_origin(text: &str) -> Checked<String> {
    let (scheme, rest) = text.split_once("://").unwrap_or_default();
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let is_web = ["http", "https"]
        .iter()
        .any(|web| scheme.eq_ignore_ascii_case(web));
    let is_own = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(is_letter)
        && rest
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"/?#@".contains(&byte));
    if text == "null" || (is_own && !is_web && text.len() <= 256) {
        return Ok(text.into());
    }
    origin(text)
        .map_err(|rule| format!("{rule}, SCHEME://HOST of an app or extension, file:// or null"))
}

/// Parses the origin of a web page.
pub fn origin(text: &str) -> Checked<String> {
    endpoint(text, ["https", "http"])
        .map(normal)
        .map_err(|_| "expected https://HOST or http://HOST, perhaps with :PORT".into())
}

/// Parses the name or address under which clients reach a server. IPv6 addresses have no brackets.
pub fn dev_host(text: &str) -> Checked<String> {
    if text.parse::<IpAddr>().is_ok() || is_host(text) {
        return Ok(text.into());
    }
    Err("expected a host name or an IP address, such as bench.example or 192.0.2.7".into())
}

/// Parses a domain to which the broker prepends a label to create host names. Source: RFC 1035 section 2.3.4, which
/// allows 253 characters in total and 63 per label. Eleven characters are reserved for the label.
pub fn domain(text: &str) -> Checked<String> {
    if is_host(text) && text.parse::<Ipv4Addr>().is_err() && text.len() <= 253 - "m-01234567.".len()
    {
        return Ok(text.to_ascii_lowercase());
    }
    Err("expected a domain name, such as signaling.example.com".into())
}

/// Returns `true` if a text is a host name or an IPv4 address. If its last label is a number, the text must be an IPv4
/// address, because browsers treat it as one (WHATWG URL Standard, "ends in a number checker").
fn is_host(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let label = |label: &str| {
        let edge = label.starts_with('-') || label.ends_with('-');
        (1..=63).contains(&label.len()) && !edge && label.bytes().all(letter)
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    let is_number = match last.strip_prefix("0x").or_else(|| last.strip_prefix("0X")) {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => last.bytes().all(|byte| byte.is_ascii_digit()),
    };
    let is_fine = text.len() <= 253 && text.split('.').all(label);
    is_fine && (!is_number || text.parse::<Ipv4Addr>().is_ok())
}

/// Parses a STUN or TURN URL (RFC 7064, RFC 7065). If any URL in a list is invalid or has a transport other than udp
/// and tcp, browsers throw an exception and the page gets no connection at all. Source of the length: C SDK,
/// `MAX_ICE_CONFIG_URI_LEN` 127.
pub fn ice_url(text: &str) -> Checked<String> {
    if ice_parts(text).is_some() && text.len() <= 127 {
        return Ok(text.into());
    }
    let rule = "expected stun:HOST:PORT, turn:HOST:PORT or turns:HOST:PORT, the latter two perhaps with ?transport=udp \
                or ?transport=tcp: without //, user and path, a port from 1 to 65535, at most 127 characters";
    Err(rule.into())
}

/// Returns a notice if a STUN or TURN URL is valid for [`ice_url`] but not for some clients. The C SDK takes everything
/// before the first colon as the host, and uses port 3478 if there is no colon.
#[must_use]
pub fn ice_url_notice(text: &str) -> Option<&'static str> {
    match ice_parts(text)? {
        (_, host, _, _) if host.starts_with('[') => {
            Some("the C SDK cannot read an IPv6 address: name the server")
        }
        ("turns", _, None, _) => {
            Some("the C SDK connects to port 3478 where none is named: append :5349")
        }
        (_, _, None, Some(_)) => Some(
            "the C SDK takes ?transport= for a part of the host where no port is named: put :3478 before it",
        ),
        _ => None,
    }
}

fn ice_parts(text: &str) -> Option<(&str, &str, Option<u16>, Option<&str>)> {
    let (scheme, rest) = text.split_once(':')?;
    let (rest, query) = match rest.split_once('?') {
        Some((rest, query)) => (rest, Some(query)),
        None => (rest, None),
    };
    let is_fine = matches!(
        (scheme, query),
        ("stun" | "turn" | "turns", None)
            | ("turn" | "turns", Some("transport=udp" | "transport=tcp"))
    );
    let (host, port) = authority(rest)?;
    is_fine.then_some((scheme, host, port, query))
}

/// Parses a username or password for a TURN server. Source: GetIceServerConfig, `IceServer`: 1 to 256 characters.
/// Rejects characters that JSON would escape, because the C SDK never unescapes.
pub fn ice_word(text: &str) -> Checked<String> {
    let rule = "expected 1 to 256 printable ASCII characters without space, \" and \\";
    letters(text, 1..=256, needs_no_escape, rule).map(str::to_owned)
}

fn needs_no_escape(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'"' && byte != b'\\'
}

/// Parses a list of CPUs such as `0-3,6`. The list must not be empty or contain duplicates.
pub fn cpus(text: &str) -> Checked<Vec<usize>> {
    let rule = || "expected a list of CPU numbers and ranges, such as 0-3,6, none twice".to_owned();
    let number = |text: &str| {
        text.trim()
            .parse()
            .ok()
            .filter(|cpu| *cpu <= CPU_MAX)
            .ok_or_else(rule)
    };
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(rule());
        }
        for cpu in first..=last {
            if cpus.contains(&cpu) {
                return Err(rule());
            }
            cpus.push(cpu);
        }
    }
    Ok(cpus)
}

/// The highest CPU number that a Linux kernel can be built for.
const CPU_MAX: usize = 8191;

/// Parses an integer within a range.
pub fn number(text: &str, range: &RangeInclusive<u64>) -> Checked<u64> {
    let digits = text.replace('_', "");
    let number = digits.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("expected {}", between(range)))
}

/// Parses a duration such as `250ms`, `20s`, `1m30s` or `1h` into milliseconds. If the range starts at 0, `off` and any
/// zero are parsed as 0.
pub fn duration(text: &str, range: RangeInclusive<u64>) -> Checked<u64> {
    let has_off = range.contains(&0);
    let or_off = if has_off { ", or \"off\"" } else { "" };
    let rule = || {
        let from = ConfigSpan((*range.start()).max(1));
        let to = ConfigSpan(*range.end());
        format!("expected a duration from \"{from}\" to \"{to}\"{or_off}")
    };
    if text == "off" && has_off {
        return Ok(0);
    }
    let ms = milliseconds(text).filter(|ms| range.contains(ms));
    ms.ok_or_else(rule)
}

fn milliseconds(text: &str) -> Option<u64> {
    if text == "0" {
        return Some(0);
    }
    let mut rest = text;
    let mut total = 0_u64;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at(letters);
        let (_, unit_ms) = UNITS.iter().find(|(name, _)| *name == unit)?;
        total = number
            .parse::<u64>()
            .ok()?
            .checked_mul(*unit_ms)?
            .checked_add(total)?;
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

/// A number of milliseconds, displayed in the largest unit that divides it.
#[derive(Clone, Copy, Debug)]
pub struct ConfigSpan(pub u64);

impl Display for ConfigSpan {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let divides = |(_, unit): &&(&str, u64)| self.0 >= *unit && self.0.is_multiple_of(*unit);
        let (name, unit) = UNITS.iter().find(divides).unwrap_or(&("ms", 1));
        write!(to, "{}{name}", self.0 / unit)
    }
}

const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// Formats a range, for example `1 to 10`.
pub fn between<T: Display>(range: &RangeInclusive<T>) -> String {
    format!("{} to {}", range.start(), range.end())
}

#[cfg(test)]
mod tests;
