//! Refused sign-ins as operators see them: every refusal of the credentials provider ([`devices`]) and of STS
//! ([`roles`]; those of tokens are beside their tests, in `signed/web_identity.rs`), each walked through by
//! `/refusals`, `heliograph why` and the log.

mod devices;
mod roles;

use crate::signed::service::Service;
use serde_json::{Value, json};
use testkit::until;

/// The record of a refusal as operators must read it.
pub(crate) struct Seen<'a> {
    /// The check.
    pub(crate) check: &'a str,
    /// The members of its document that name who and what it was; the others of [`NAMES`] are null.
    pub(crate) named: &'a [(&'a str, Option<&'a str>)],
    /// A part of the reason.
    pub(crate) reason: &'a str,
}

/// Asserts that the page, the command and the log say so of a request id, and nothing of `secret`.
pub(crate) fn assert_seen(service: &Service, id: &str, seen: &Seen<'_>, secret: &str) {
    let row = until("the refusal is kept", || {
        let row = service.broker.page(&format!("/refusals/{id}")).json();
        (row["source"] == "kept").then_some(row)
    });
    assert_eq!(row["check"], json!(seen.check), "{row}");
    for name in NAMES {
        let wanted = seen.named.iter().find(|(member, _)| *member == name);
        let wanted = wanted.map_or(Value::Null, |(_, value)| json!(value));
        assert_eq!(row[name], wanted, "{name} in {row}");
    }
    let reason = row["policy"].as_str().unwrap_or_default();
    assert!(
        reason.contains(seen.reason) && !seen.reason.is_empty(),
        "{} in {row}",
        seen.reason
    );
    let told = why(service, &[id]);
    assert!(told.contains(&format!("Reason: {reason}")), "{told}");
    let log = until("the line", || {
        let log = service.broker.log();
        let mut lines = log.lines().filter(|line| line.contains(" refused "));
        lines.find(|line| line.contains(id)).map(str::to_owned)
    });
    for (name, value) in seen.named {
        let Some(value) = value else { continue };
        assert!(told.contains(value), "{name} in {told}");
        let start: String = value.chars().take(64).collect();
        assert!(log.contains(&start), "{name} in {log}");
        let found = why(service, &["--text", value]);
        assert!(found.contains(id), "{name} in {found}");
    }
    let start: String = reason.chars().take_while(|it| *it != '"').collect();
    assert!(log.contains(&start), "{start} in {log}");
    for text in [&row.to_string(), &told, &log] {
        assert!(secret.is_empty() || !text.contains(secret), "{text}");
    }
}

/// The text that `heliograph why` prints.
fn why(service: &Service, arguments: &[&str]) -> String {
    let exit = service.broker.asked(&[&["why"], arguments].concat());
    assert_eq!(exit.code, Some(0), "{exit:?}");
    exit.stdout
}

/// The members that say who asked for what.
#[rustfmt::skip] // a list
const NAMES: [&str; 7] = ["certificate", "thing", "issuer", "subject", "role", "session", "principal"];
