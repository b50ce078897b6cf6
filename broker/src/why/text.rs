//! A refusal as people read it. Characters that could move a terminal's cursor are escaped.

use crate::terminal;
use serde_json::Value;
use std::fmt::Write;

/// One refusal of the admin listener.
pub(crate) fn refusal(row: &Value) -> String {
    let part = |name: &str| plain(&row[name]);
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
        ("channel", "channel"),
        ("clientId", "client"),
        ("session", "session"),
        ("keyId", "key"),
        ("principal", "principal"),
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
        out.push_str("  The canonical request that the signature was compared with:\n");
        for line in text.split('\n') {
            let _ = writeln!(out, "    {}", terminal::plain(line));
        }
    }
    out
}

/// A member of a document without quotes; `None` for one that is absent or null.
pub(crate) fn plain(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(terminal::plain(text)),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Some(terminal::json(value))
        }
    }
}

#[cfg(test)]
mod tests {

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
        let alone = json!({"requestId": "0-1", "check": "draining", "source": "id"});
        assert!(refusal(&alone).contains("read from the id alone"));
    }
}
