//! `deploy/log-schema.json`, and as much of JSON Schema as it uses. Every broker of these tests that logs JSON has its
//! lines checked when it is dropped.

use serde_json::{Value, json};

const SCHEMA: &str = include_str!("../../../../deploy/log-schema.json");

/// Asserts that each line of a log is as the schema says; a log that is text is left alone.
pub(crate) fn assert_valid(log: &str) {
    if !log.starts_with('{') {
        return;
    }
    let root: Value = serde_json::from_str(SCHEMA).expect("a schema");
    for line in log.lines() {
        let line: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        if let Err(fault) = check(&line, &root, &root) {
            panic!("{fault}: {line}");
        }
    }
}

/// Checks a value against a schema; the error says what of the value does not fit.
fn check(value: &Value, schema: &Value, root: &Value) -> Result<(), String> {
    let Some(rules) = schema.as_object() else {
        return Err(format!("{schema} is no schema"));
    };
    for (rule, wanted) in rules {
        let holds = match rule.as_str() {
            "type" => is_of(value, wanted),
            "enum" => wanted.as_array().is_some_and(|all| all.contains(value)),
            "minimum" => value.as_f64() >= wanted.as_f64(),
            "format" => value.as_str().is_some_and(is_moment),
            "not" => check(value, wanted, root).is_err(),
            "required" => {
                let names = wanted.as_array().into_iter().flatten();
                names
                    .filter_map(Value::as_str)
                    .all(|name| value.get(name).is_some())
            }
            "anyOf" => {
                let all = wanted.as_array().expect("schemas");
                let faults: Vec<_> = all.iter().map(|one| check(value, one, root)).collect();
                if faults.iter().all(Result::is_err) {
                    return Err(format!("{faults:?}"));
                }
                true
            }
            "$ref" => {
                let pointer = wanted.as_str().and_then(|name| name.strip_prefix('#'));
                let target = pointer.and_then(|pointer| root.pointer(pointer));
                check(value, target.expect("a definition"), root)?;
                true
            }
            "properties" => {
                for (name, schema) in wanted.as_object().expect("schemas") {
                    if let Some(value) = value.get(name) {
                        check(value, schema, root).map_err(|fault| format!("{name}: {fault}"))?;
                    }
                }
                true
            }
            "additionalProperties" => {
                let further = value.as_object().into_iter().flatten();
                let mut further =
                    further.filter(|(name, _)| schema["properties"].get(name.as_str()).is_none());
                further.all(|(_, value)| {
                    let allowed = wanted.as_bool();
                    allowed.unwrap_or_else(|| check(value, wanted, root).is_ok())
                })
            }
            "$schema" | "$defs" | "title" | "description" => true,
            unknown => panic!("a rule that this validator does not know: {unknown}"),
        };
        if !holds {
            return Err(format!("{rule} {wanted}"));
        }
    }
    Ok(())
}

fn is_of(value: &Value, kinds: &Value) -> bool {
    let is = |kind: &Value| match kind.as_str() {
        Some("object") => value.is_object(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        _ => panic!("a kind that this validator does not know: {kind}"),
    };
    kinds
        .as_array()
        .map_or_else(|| is(kinds), |kinds| kinds.iter().any(is))
}

/// Whether a text is a moment as RFC 3339 writes it, in UTC.
fn is_moment(text: &str) -> bool {
    let shape: String = text
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    shape.starts_with("0000-00-00T00:00:00") && shape.ends_with('Z')
}

#[test]
fn wrong_lines_are_found() {
    let good = json!({"timestamp": "2026-11-20T12:00:00.123456Z", "level": "INFO", "target": "broker::journal",
        "fields": {"message": "connection ended", "role": "viewer", "remote": "127.0.0.1:9", "duration_ms": 1, "in": 0,
            "out": 0, "reason": "idle"}});
    assert_valid(&good.to_string());
    let changes = [
        ("/level", json!("info")),
        ("/timestamp", json!("yesterday")),
        ("/fields/reason", json!("tired")),
        ("/fields/duration_ms", json!(-1)),
        ("/fields/in", json!("0")),
        ("/fields/message", json!("refused")),
        ("/fields", json!({"message": "a list", "list": []})),
    ];
    for (place, wrong) in changes {
        let mut line = good.clone();
        *line.pointer_mut(place).expect("a place") = wrong;
        let root: Value = serde_json::from_str(SCHEMA).expect("a schema");
        assert!(check(&line, &root, &root).is_err(), "{line}");
    }
    let mut line = good;
    line["fields"]["payload"] = "cGF5bG9hZA==".into();
    let root: Value = serde_json::from_str(SCHEMA).expect("a schema");
    assert!(check(&line, &root, &root).is_err(), "{line}");
}

#[test]
fn every_reason_of_a_message_that_is_not_accepted_is_listed() {
    use broker_core::journal::Unaccepted;
    let root: Value = serde_json::from_str(SCHEMA).expect("a schema");
    let listed = root["$defs"]["unaccepted"]["properties"]["reason"]["enum"].as_array();
    let listed = listed.into_iter().flatten().filter_map(Value::as_str);
    let reasons = Unaccepted::ALL.iter().map(|reason| reason.label());
    assert!(listed.eq(reasons));
}

#[test]
fn every_reason_of_an_end_is_listed() {
    use broker_core::journal::EndReason;
    let root: Value = serde_json::from_str(SCHEMA).expect("a schema");
    let listed = root["$defs"]["connectionEnded"]["properties"]["reason"]["enum"].as_array();
    let listed = listed.into_iter().flatten().filter_map(Value::as_str);
    let mut listed: Vec<&str> = listed
        .map(|word| word.split(':').next().unwrap_or(word))
        .collect();
    listed.dedup();
    assert_eq!(listed, EndReason::LABELS);
}
