//! The description of a run in a line below the title: scenario, offered load, version of the service, load of the
//! machine.

use crate::result::{Document, words};
use serde_json::Value;
use std::path::Path;

/// The facts that are known.
pub(crate) fn facts(document: &Document) -> Vec<String> {
    let scenario = text(document, "scenario").map(|path| {
        let stem = Path::new(path).file_stem();
        format!("scenario {}", stem.unwrap_or_default().to_string_lossy())
    });
    let service = document.versions.get("service").and_then(Value::as_str);
    let service = service.map(|version| format!("service {version}"));
    let load = document.machine.get("load_average").and_then(Value::as_f64);
    let load = load.map(|load| format!("load of the machine before: {}", words::figure(load)));
    let all = [scenario, offered(document), service, load];
    all.into_iter().flatten().collect()
}

/// The load that was asked for.
fn offered(document: &Document) -> Option<String> {
    let number = |name| document.arguments.get(name).and_then(Value::as_f64);
    match document.mode.as_str() {
        "sessions" => {
            let arrival = text(document, "arrival").unwrap_or("steady");
            let how = match (number("rate"), number("sessions"), number("duration")) {
                (Some(rate), _, _) => format!("{} sessions per second", words::figure(rate)),
                (None, Some(sessions), Some(span)) => {
                    let span = words::seconds(span);
                    format!("{} sessions over {span}", words::figure(sessions))
                }
                (None, _, _) => return None,
            };
            Some(format!("offered: {how}, {arrival}"))
        }
        "storm" => {
            let viewers = number("channels")? * number("viewers_per_channel")?;
            Some(format!(
                "offered: {} viewers at once",
                words::figure(viewers)
            ))
        }
        "relay" => Some(format!(
            "closed loop, window {}",
            words::figure(number("window")?)
        )),
        _ => None,
    }
}

fn text<'d>(document: &'d Document, name: &str) -> Option<&'d str> {
    document.arguments.get(name)?.as_str()
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::result::Arguments;
    use serde_json::json;

    #[test]
    fn facts_name_what_was_run() {
        let of = |mode: &str, arguments: Value| {
            let arguments: Arguments = serde_json::from_value(arguments).unwrap();
            let mut document = Document::new(mode, "t", arguments, String::new());
            document.versions.insert("service".into(), "1.2".into());
            document.machine.insert("load_average".into(), 0.5.into());
            facts(&document).join(" · ")
        };
        let sessions =
            json!({"scenario": "a/first-minute.toml", "rate": 20.0, "arrival": "poisson"});
        assert_eq!(
            of("sessions", sessions),
            "scenario first-minute · offered: 20 sessions per second, poisson · service 1.2 · load of the machine \
             before: 0.50"
        );
        let storm = json!({"channels": 2000, "viewers_per_channel": 4});
        assert!(of("storm", storm).starts_with("offered: 8,000 viewers at once"));
        assert!(of("relay", json!({"window": 4})).starts_with("closed loop, window 4"));
        assert!(of("idle", json!({})).starts_with("service 1.2"));
    }
}
