//! `heliograph why`: explains why a request was refused, as reported by the broker's admin listener.

use crate::side::admin::http::encoded;
use crate::terminal::{self, Colour, Screen, member};
use crate::{admin_client::AdminListener, config::WhyFlags, failure::Failure};
use serde_json::Value;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

/// Looks up one refusal by its id, or all matching refusals, grouped on request. Returns text that ends with a newline.
///
/// # Errors
/// Returns [`Failure::Configuration`] for invalid flags or arguments, and [`Failure::Fatal`] if nothing was found or
/// the broker does not answer.
pub fn run(flags: &WhyFlags, screen: Screen) -> Result<String, Failure> {
    let mut document = ask(flags)?;
    let is_of_id = !document["requestId"].is_null();
    let channel = flags.channel.as_deref().or(flags.what.as_deref());
    let channel = channel.filter(|_| !is_of_id);
    let proxies = ended_by_proxies(flags, channel)?;
    if channel.is_some() {
        document["endedByProxy"] = proxies.iter().map(String::as_str).collect();
    }
    let found = found(&document);
    if found.is_empty() && proxies.is_empty() {
        let kept = member(&document["since"]).unwrap_or_else(|| "the start".into());
        let elsewhere = channel.map_or_else(String::new, |channel| {
            let channel = terminal::plain(channel);
            format!(
                "an API call with a wrong signature names no channel, but its key and address (--key, --remote), and a \
                 TLS handshake that failed its address alone (--check tls_distrusted); `heliograph trace {channel}` \
                 says what happened in its sessions; "
            )
        });
        return Err(Failure::Fatal(format!(
            "no matching refusal since {kept}: {elsewhere}the log, the metric heliograph_refusals_total and the \
             request id of the answer (heliograph why ID) go further back"
        )));
    }
    Ok(if flags.json {
        format!("{}\n", terminal::json(&document))
    } else {
        let shown = if flags.group { group } else { refusal };
        let texts: Vec<String> = found.into_iter().map(shown).chain(proxies).collect();
        screen.show(&texts.join("\n"), colour)
    })
}

fn found(document: &Value) -> Vec<&Value> {
    let lists = [&document["groups"], &document["refusals"]];
    match lists.into_iter().find_map(Value::as_array) {
        Some(list) => list.iter().collect(),
        None => vec![document],
    }
}

/// Sends the requests in order. Returns the first response that contains a match, or the last response if none does.
fn ask(flags: &WhyFlags) -> Result<Value, Failure> {
    let listener = AdminListener::of(&flags.asked)?;
    let mut last = Value::Null;
    for target in targets(flags) {
        last = listener.get(&target)?.map_err(|refusal| {
            if refusal.status == "404" {
                Failure::Fatal(refusal.why)
            } else {
                refusal.into()
            }
        })?;
        if !found(&last).is_empty() {
            break;
        }
    }
    Ok(last)
}

/// Lists the connections that a proxy timeout closed, according to the channel's trace. No refusals are recorded for
/// these connections.
fn ended_by_proxies(flags: &WhyFlags, channel: Option<&str>) -> Result<Vec<String>, Failure> {
    let Some(channel) = channel else {
        return Ok(Vec::new());
    };
    let name = channel.split('/').nth(1).unwrap_or(channel); // the name, if this is an ARN
    let target = format!("/channels/{}/trace", encoded(name));
    let Ok(trace) = AdminListener::of(&flags.asked)?.get(&target)? else {
        return Ok(Vec::new()); // no such channel
    };
    let named = |of: &str| {
        let connections = trace[of].as_array().into_iter().flatten();
        let named = connections
            .filter_map(|one| Some((member(&one["left"])?, member(&one["endedByProxy"])?)));
        let line = |(left, says)| format!("{left}  a connection of its {of} ended\n  {says}\n");
        named.map(line).collect::<Vec<_>>()
    };
    Ok([named("master"), named("viewers")].concat())
}

/// Returns the requests to try, in order. An argument given without a flag is treated as an id, an ARN or an address if
/// it looks like one. Otherwise, it is tried as a channel, a client id, a key, and part of another name.
fn targets(flags: &WhyFlags) -> Vec<String> {
    let Some(what) = flags.what.as_deref().map(str::trim) else {
        return vec![target(flags, None)];
    };
    let is_id = what.len() == 36 && what.bytes().all(|it| it == b'-' || it.is_ascii_hexdigit());
    if is_id {
        return vec![format!("/refusals/{}", encoded(what))];
    }
    let bare = what.trim_start_matches('[').trim_end_matches(']');
    let is_address = bare.parse::<IpAddr>().is_ok() || what.parse::<SocketAddr>().is_ok();
    let kinds: &[&str] = if what.starts_with("arn:") {
        &["channel"]
    } else if is_address {
        &["remote"]
    } else {
        &["channel", "client", "key", "text"]
    };
    kinds
        .iter()
        .map(|kind| target(flags, Some((kind, what))))
        .collect()
}

fn target(flags: &WhyFlags, what: Option<(&str, &str)>) -> String {
    let mut target = String::from("/refusals");
    if flags.group {
        target.push_str("/groups");
    }
    target.push_str(&format!("?limit={}", flags.limit));
    for (name, text) in [
        ("channel", &flags.channel),
        ("client", &flags.client),
        ("key", &flags.key),
        ("remote", &flags.remote),
        ("check", &flags.check),
        ("text", &flags.text),
        ("since", &flags.since),
    ] {
        let what = what.filter(|(kind, _)| *kind == name).map(|(_, what)| what);
        if let Some(text) = text.as_deref().or(what) {
            target.push_str(&format!("&{name}={}", encoded(text)));
        }
    }
    target
}

// Display of a refusal. Characters that could move the terminal's cursor are escaped.

fn colour(line: &str) -> Option<Colour> {
    if line.starts_with("  What to do:") {
        Some(Colour::Green)
    } else {
        line.starts_with(|c: char| c != ' ').then_some(Colour::Bold)
    }
}

fn group(row: &Value) -> String {
    let part = |name: &str| member(&row[name]).unwrap_or_else(|| "-".into());
    let count = row["refusals"].as_u64().unwrap_or_default();
    let mut out = format!(
        "{}: {}, {} to {}\n",
        part("check"),
        terminal::counted(usize::try_from(count).unwrap_or(usize::MAX), "time"),
        part("first"),
        part("last")
    );
    let text = refusal(row);
    out.extend(text.lines().skip(1).map(|line| format!("{line}\n")));
    out
}

pub(crate) fn refusal(row: &Value) -> String {
    let part = |name: &str| member(&row[name]);
    let or = |name: &str, other: &str| part(name).unwrap_or_else(|| other.to_owned());
    let mut out = format!(
        "{}  {} {}",
        or("at", "-"),
        or("status", "-"),
        or("check", "-")
    );
    if let Some(operation) = part("operation") {
        out.push_str(&format!("  {operation}"));
    }
    if let Some(remote) = part("remote") {
        out.push_str(&format!("  from {remote}"));
    }
    let _ = writeln!(
        out,
        "\n  {}\n  What to do: {}",
        or("says", "-"),
        or("do", "-")
    );
    let named: Vec<String> = [
        ("node", "node"),
        ("channel", "channel"),
        ("clientId", "client"),
        ("session", "session"),
        ("keyId", "key"),
        ("principal", "principal"),
        ("account", "account"),
        ("sourceIdentity", "source identity"),
        ("certificate", "certificate"),
        ("thing", "thing"),
        ("issuer", "token of"),
        ("subject", "for subject"),
        ("role", "asks for role"),
        ("clockSkewSeconds", "clock skew in seconds:"),
        ("fault", "by fault"),
    ]
    .into_iter()
    .filter_map(|(name, word)| Some(format!("{word} {}", part(name)?)))
    .collect();
    if !named.is_empty() {
        let _ = writeln!(out, "  {}", named.join(", "));
    }
    if let Some(proxy) = part("proxy") {
        let _ = writeln!(out, "  The address is that of the proxy: {proxy}");
    }
    if let Some(policy) = part("policy") {
        let _ = writeln!(out, "  Reason: {policy}");
    }
    let _ = write!(
        out,
        "  id {}, shard {}",
        or("requestId", "-"),
        or("shard", "-")
    );
    if row["source"] == "id" {
        out.push_str("; read from the id alone, since its line is not kept any more");
    }
    out.push('\n');
    if row["explain"].is_null() && row["check"] == "signature_mismatch" && row["source"] != "id" {
        let _ = writeln!(
            out,
            "  heliograph why {} prints the canonical request",
            or("requestId", "ID")
        );
    }
    if let Some(text) = row["explain"]["canonicalRequest"].as_str() {
        out.push_str(&canonical_request(text));
    }
    out
}

fn canonical_request(text: &str) -> String {
    let mut out = "  The canonical request that the signature was compared with:\n".to_owned();
    for line in text.split('\n') {
        let _ = writeln!(out, "    {}", terminal::plain(line));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Arguments, Command};
    use clap::Parser;

    fn flags(line: &[&str]) -> Box<WhyFlags> {
        let line = ["heliograph", "why"].iter().chain(line);
        let Command::Why(flags) = Arguments::try_parse_from(line).unwrap().command else {
            panic!("it is why")
        };
        flags.into()
    }

    #[test]
    fn parameters_are_escaped() {
        let id = "0192f3a0-1B2c-8d4e-9f60-123456789abc";
        let arn = "arn:aws:kinesisvideo:r:1:channel/c/1";
        #[rustfmt::skip] // a table, a case per row
        let cases = [
            (&[][..], &["?limit=20"][..]),
            (&["--group", "--check", "unknown_key"], &["/groups?limit=20&check=unknown_key"]),
            (&["--client", "v&1", "--remote", "::1", "--limit", "3"], &["?limit=3&client=v%261&remote=%3A%3A1"]),
            (&[id], &["/0192f3a0-1B2c-8d4e-9f60-123456789abc"]),
            (&[arn], &["?limit=20&channel=arn%3Aaws%3Akinesisvideo%3Ar%3A1%3Achannel%2Fc%2F1"]),
            (&[" 10.0.0.1:9"], &["?limit=20&remote=10.0.0.1%3A9"]),
            (&["[::1]"], &["?limit=20&remote=%5B%3A%3A1%5D"]),
            (
                &["cam/1", "--group"],
                &[
                    "/groups?limit=20&channel=cam%2F1",
                    "/groups?limit=20&client=cam%2F1",
                    "/groups?limit=20&key=cam%2F1",
                    "/groups?limit=20&text=cam%2F1",
                ],
            ),
        ];
        for (line, wanted) in cases {
            let wanted: Vec<String> = wanted.iter().map(|it| format!("/refusals{it}")).collect();
            assert_eq!(targets(&flags(line)), wanted);
        }
    }
}

#[cfg(test)]
mod text_tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_refusal_reads_as_sentences() {
        let row = json!({
            "requestId": "0-1", "at": "2026-01-02T03:04:05.000Z", "shard": 1, "status": 403,
            "check": "signature_mismatch", "says": "It differs.", "do": "Compare.",
            "operation": "ConnectAsViewer", "channel": "cam", "clientId": "v\u{1b}[2J\n1", "keyId": null,
            "principal": null, "remote": "10.0.0.1:9", "clockSkewSeconds": -312, "fault": "f7",
            "policy": "viewers, statement 2, denies it", "source": "kept",
            "explain": {"canonicalRequest": "GET\n/\u{7}\nhost:h"},
        });
        assert_eq!(
            refusal(&row),
            "2026-01-02T03:04:05.000Z  403 signature_mismatch  ConnectAsViewer  from 10.0.0.1:9\n\
             \x20 It differs.\n  What to do: Compare.\n\
             \x20 channel cam, client v\\u{1b}[2J\\n1, clock skew in seconds: -312, by fault f7\n\
             \x20 Reason: viewers, statement 2, denies it\n\
             \x20 id 0-1, shard 1\n\
             \x20 The canonical request that the signature was compared with:\n    GET\n    /\\u{7}\n    host:h\n"
        );
        let mut many = row.clone();
        many["refusals"] = 412.into();
        many["first"] = "2026-01-02T03:00:00.000Z".into();
        many["last"] = many["at"].clone();
        let text = group(&many);
        testkit::assert_begins(
            &text,
            "signature_mismatch: 412 times, 2026-01-02T03:00:00.000Z to 2026-01-02T03:04:05.000Z\n  It differs.\n",
        );
        let alone = json!({"requestId": "0-1", "check": "draining", "source": "id"});
        assert!(refusal(&alone).contains("read from the id alone"));
    }
}
