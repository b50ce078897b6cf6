//! The oracle: the documentation's sentences one by one, over JSON values, without regard to cost. It shares nothing
//! with the evaluator that it judges.

use super::request::Request;
use codec::policy::Decision;
use serde_json::Value;
use std::collections::BTreeMap;

/// A character of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Itself(char),
    Any,
    One,
}

pub(crate) fn decide(document: &str, request: &Request) -> Decision {
    let document: Value = serde_json::from_str(document).unwrap();
    let mut decision = Decision::NoMatch;
    for statement in list(&document["Statement"]) {
        if !applies(statement, request) {
            continue;
        }
        if statement["Effect"] == "Deny" {
            return Decision::Deny;
        }
        decision = Decision::Allow;
    }
    decision
}

fn list(value: &Value) -> Vec<&Value> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(values) => values.iter().collect(),
        value => vec![value],
    }
}

fn texts(value: &Value) -> Vec<String> {
    let text = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    list(value).into_iter().map(text).collect()
}

fn applies(statement: &Value, request: &Request) -> bool {
    let action = request.action.as_str().to_lowercase();
    let is_action = |pattern: &String| {
        like(
            &pieces(&pattern.to_lowercase(), &BTreeMap::new()).unwrap(),
            &action,
        )
    };
    let acts = match &statement["NotAction"] {
        Value::Null => texts(&statement["Action"]).iter().any(is_action),
        not => !texts(not).iter().any(is_action),
    };
    acts && is_about(statement, request) && meets(&statement["Condition"], request)
}

fn is_about(statement: &Value, request: &Request) -> bool {
    let values = all_values(request);
    let matched = |name: &str| -> Vec<Option<bool>> {
        let patterns = texts(&statement[name]).into_iter();
        patterns
            .map(|pattern| {
                // No value adds a part of an ARN.
                let mut values = values.clone();
                values.retain(|_, values| !values[0].contains(['/', ':']));
                let is_whole = pieces(&pattern, &values);
                let known = pieces(&pattern, &all_values(request));
                let same = is_whole.filter(|pieces| known.as_ref() == Some(pieces))?;
                Some(like(&same, &request.resource))
            })
            .collect()
    };
    match &statement["NotResource"] {
        Value::Null => matched("Resource").contains(&Some(true)),
        // A variable without a value: the statement does not apply.
        _ => matched("NotResource").iter().all(|one| *one == Some(false)),
    }
}

fn all_values(request: &Request) -> BTreeMap<String, Vec<String>> {
    let mut values = request.values.clone();
    if let Some(id) = &request.client_id {
        values.insert("kinesisvideo:clientid".to_owned(), vec![id.clone()]);
    }
    values.retain(|_, values| !values.is_empty());
    values
}

fn meets(condition: &Value, request: &Request) -> bool {
    let values = all_values(request);
    let Value::Object(operators) = condition else {
        return true;
    };
    operators.iter().all(|(operator, keys)| {
        let keys = keys.as_object().unwrap();
        keys.iter()
            .all(|(key, wanted)| holds(operator, &key.to_lowercase(), &texts(wanted), &values))
    })
}

fn holds(
    operator: &str,
    key: &str,
    wanted: &[String],
    values: &BTreeMap<String, Vec<String>>,
) -> bool {
    let (set, name) = operator.split_once(':').unwrap_or(("", operator));
    let (name, if_exists) = match name.strip_suffix("IfExists") {
        Some(name) => (name, true),
        None => (name, false),
    };
    let found = values.get(key);
    if name == "Null" {
        return wanted.contains(&found.is_none().to_string());
    }
    let negated = name.contains("Not");
    let Some(found) = found else {
        return if_exists || set == "ForAllValues" || (negated && set.is_empty());
    };
    let is_one = |value: &String| {
        wanted
            .iter()
            .any(|wanted| compare(name, value, wanted, values))
    };
    match (set, negated) {
        ("ForAllValues", false) => found.iter().all(is_one),
        ("ForAllValues", true) => found.iter().all(|value| !is_one(value)),
        ("ForAnyValue", true) => found.iter().any(|value| !is_one(value)),
        (_, true) => !found.iter().any(is_one),
        (_, false) => found.iter().any(is_one),
    }
}

/// Whether the value is the wanted one, as the operator without its `Not` has it.
fn compare(name: &str, value: &str, wanted: &str, values: &BTreeMap<String, Vec<String>>) -> bool {
    let name = name.replace("Not", "");
    let order = |value: i64, wanted: i64| match name
        .trim_start_matches(|it: char| it != 'E' && it != 'L' && it != 'G')
    {
        "Equals" => value == wanted,
        "LessThan" => value < wanted,
        "LessThanEquals" => value <= wanted,
        "GreaterThan" => value > wanted,
        "GreaterThanEquals" => value >= wanted,
        other => panic!("{other}"),
    };
    match &*name {
        "StringEquals" | "StringEqualsIgnoreCase" => {
            let Some(pieces) = pieces(wanted, values) else {
                return false;
            };
            // Without wildcards: they mean themselves.
            let wanted: String = pieces
                .into_iter()
                .map(|piece| match piece {
                    Piece::Itself(it) => it,
                    Piece::Any => '*',
                    Piece::One => '?',
                })
                .collect();
            wanted == value
                || (name.ends_with("Case") && wanted.to_lowercase() == value.to_lowercase())
        }
        "StringLike" => pieces(wanted, values).is_some_and(|pieces| like(&pieces, value)),
        "ArnEquals" | "ArnLike" => {
            if wanted == "*" || wanted.starts_with("${") {
                return pieces(wanted, values).is_some_and(|pieces| like(&pieces, value));
            }
            let (parts, wanted) = (arn(value), arn(wanted));
            parts.len() == 6
                && parts.iter().zip(&wanted).all(|(part, wanted)| {
                    pieces(wanted, values).is_some_and(|pieces| like(&pieces, part))
                })
        }
        "Bool" => value.eq_ignore_ascii_case(wanted),
        "IpAddress" => {
            let (network, bits) = wanted.split_once('/').unwrap_or((wanted, "32"));
            let bits: usize = bits.parse().unwrap();
            let binary = |address: &str| -> String {
                let parts = address.split('.').map(|part| part.parse::<u8>().unwrap());
                parts.map(|part| format!("{part:08b}")).collect()
            };
            binary(network)[..bits] == binary(value)[..bits]
        }
        name if name.starts_with("Date") => order(seconds(value), seconds(wanted)),
        _ => match (value.parse(), wanted.parse()) {
            (Ok(value), Ok(wanted)) => order(value, wanted),
            _ => false,
        },
    }
}

/// The six parts of an ARN; colons inside of a variable divide nothing.
fn arn(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0;
    for it in text.chars() {
        depth += i32::from(it == '{') - i32::from(it == '}');
        if it == ':' && depth <= 0 && parts.len() < 6 {
            parts.push(String::new());
        } else {
            parts.last_mut().unwrap().push(it);
        }
    }
    parts
}

/// The dates that generated documents and requests have.
pub(crate) const DATES: &[(&str, i64)] = &[
    ("2026-01-01T00:00:00Z", 1_767_225_600),
    ("2026-06-15", 1_781_481_600),
    ("2026-06-15T01:00:00+01:00", 1_781_481_600),
    ("1781481601", 1_781_481_601),
];

fn seconds(text: &str) -> i64 {
    let known = DATES.iter().find(|(date, _)| *date == text);
    known.map_or_else(|| text.parse().unwrap(), |(_, seconds)| *seconds)
}

/// A pattern with the values of its variables, which mean themselves; `None` where one has none.
fn pieces(text: &str, values: &BTreeMap<String, Vec<String>>) -> Option<Vec<Piece>> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    while let Some(first) = rest.chars().next() {
        if let Some(inside) = rest.strip_prefix("${") {
            let (variable, behind) = inside.split_once('}').unwrap();
            let (key, default) = match variable.split_once(',') {
                Some((key, default)) => (key, Some(default.trim().trim_matches('\''))),
                None => (variable, None),
            };
            let value = match key {
                "*" | "?" | "$" => key.to_owned(),
                key => match values.get(&key.to_lowercase()) {
                    Some(values) => values[0].clone(),
                    None => default?.to_owned(),
                },
            };
            pieces.extend(value.chars().map(Piece::Itself));
            rest = behind;
            continue;
        }
        pieces.push(match first {
            '*' => Piece::Any,
            '?' => Piece::One,
            it => Piece::Itself(it),
        });
        rest = &rest[first.len_utf8()..];
    }
    Some(pieces)
}

fn like(pieces: &[Piece], text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    // Which beginnings of the text the pieces so far match.
    let mut matched = vec![false; text.len() + 1];
    matched[0] = true;
    for piece in pieces {
        let mut next = vec![false; text.len() + 1];
        for end in 0..=text.len() {
            next[end] = match piece {
                Piece::Any => matched[end] || end > 0 && next[end - 1],
                Piece::One => end > 0 && matched[end - 1],
                Piece::Itself(it) => end > 0 && matched[end - 1] && text[end - 1] == *it,
            };
        }
        matched = next;
    }
    matched[text.len()]
}
