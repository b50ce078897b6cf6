//! Fuzz entry point for the STS parser. Used by a fuzz target and by a test with seeded inputs.

use crate::sts::{
    DURATION_S_MAX, Error, FormRules, POLICY_CHARS_MAX, Request, error_body, is_form,
    is_web_identity, parse, response,
};

/// Parses a body and checks the invariants of the result. Then writes the body as XML text and parses that text back.
/// The first byte of `data` selects the rules; the rest is the body.
///
/// # Panics
/// Panics if a request exceeds its limits, an error has an unexpected status or text, or the XML text does not parse
/// back.
pub fn fuzz(data: &[u8]) {
    let Some((&choice, body)) = data.split_first() else {
        return;
    };
    let rules = FormRules {
        strict: choice & 1 != 0,
    };
    match parse(body, &rules) {
        Ok(Request::GetFederationToken {
            name,
            policy,
            duration_s,
        }) => {
            let least = if rules.strict { 900 } else { 60 };
            assert!((least..=DURATION_S_MAX).contains(&duration_s));
            assert!((2..=32).contains(&name.len()) && name.is_ascii());
            let chars = policy.map(|policy| policy.chars().count());
            assert!(chars.is_none_or(|chars| (1..=POLICY_CHARS_MAX).contains(&chars)));
        }
        Ok(Request::GetSessionToken { duration_s }) => {
            let least = if rules.strict { 900 } else { 60 };
            assert!((least..=DURATION_S_MAX).contains(&duration_s));
        }
        Ok(Request::AssumeRole(request)) => {
            assert!((2..=64).contains(&request.session_name.len()));
            assert!(request.tags.len() <= 50 && request.policy_arns.len() <= 10);
            assert_eq!(request.role.account().len(), 12);
        }
        Ok(Request::AssumeRoleWithWebIdentity(request)) => {
            assert!((4..=20_000).contains(&request.token.reveal().chars().count()));
            assert!(request.role.tags.is_empty() && request.role.policy_arns.len() <= 10);
            assert!(is_web_identity(body));
        }
        Ok(Request::GetCallerIdentity) => {}
        Err(Error { kind, message }) => {
            assert_eq!(kind.status(), 400);
            assert!(message.is_ascii() && message.len() <= 256);
            error_body(&mut Vec::new(), kind, &message, "id");
        }
    }
    let text = String::from_utf8_lossy(body);
    assert_eq!(is_form(&text), is_form(&text.to_ascii_uppercase()));
    written_and_read(&text);
}

fn written_and_read(text: &str) {
    let mut out = Vec::new();
    response::text(&mut out, text);
    let written = String::from_utf8_lossy(&out);
    assert!(!written.contains(['<', '>', '"', '\'', '\r', '\0']));
    let mut read = written.into_owned();
    for (spelled, char) in [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&apos;", "'"),
        ("&#13;", "\r"),
        ("&amp;", "&"),
    ] {
        read = read.replace(spelled, char);
    }
    let kept = |char: char| match char {
        '\t' | '\n' | '\r' => char,
        '\0'..' ' | '\u{fffe}' | '\u{ffff}' => '\u{fffd}',
        _ => char,
    };
    assert_eq!(read, text.chars().map(kept).collect::<String>());
}
