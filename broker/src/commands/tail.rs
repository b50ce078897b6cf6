//! `heliograph tail`: prints a running broker's refusals and warnings as they occur, each on one aligned line. With
//! `-v`, prints every log line unchanged.

use crate::admin_client::AdminListener;
use crate::config::{TailFlags, TailLevel};
use crate::failure::Failure;
use crate::side::trace::text::list;
use crate::terminal::{self, Colour, Screen, member};
use serde_json::Value;
use std::io::Write;

/// Prints lines until the output is closed or the broker stops.
///
/// # Errors
/// Returns [`Failure::Configuration`] for invalid flags or arguments, and [`Failure::Fatal`] if the broker does not
/// answer or stops.
pub fn run(flags: &TailFlags, out: &mut dyn Write, screen: Screen) -> Result<(), Failure> {
    let listener = AdminListener::of(&flags.asked)?;
    let mut events = listener.events("refusals,log")?;
    loop {
        let (name, data) = events.next()?;
        for (level, line) in lines(&name, &data, flags) {
            let shown = screen.show(&format!("{line}\n"), |_| colour(level));
            if !terminal::is_read(out, &shown)? {
                return Ok(());
            }
        }
    }
}

/// Returns the lines of an event that match the flags, each with its level. For a snapshot, returns at most the newest
/// [`BEFORE`] lines.
fn lines(name: &str, data: &Value, flags: &TailFlags) -> Vec<(TailLevel, String)> {
    let level = flags.level.unwrap_or(if flags.verbose {
        TailLevel::Info
    } else {
        TailLevel::Warn
    });
    let wanted = |it: &(TailLevel, String)| it.0 <= level;
    match (name, data["topic"].as_str()) {
        // A snapshot lists refusals from newest to oldest.
        ("snapshot", Some("refusals")) => {
            let rows = list(&data["refusals"]).iter();
            last(rows.filter_map(|row| refusal(row, flags)).filter(wanted))
        }
        ("snapshot", Some("log")) => {
            let rows = list(&data["lines"]).iter().rev();
            last(rows.filter_map(|row| of_log(row, flags)).filter(wanted))
        }
        ("refusal", _) => refusal(data, flags).filter(wanted).into_iter().collect(),
        ("log", _) => of_log(data, flags).filter(wanted).into_iter().collect(),
        ("skipped", _) => {
            let count = data["count"].as_u64().unwrap_or_default();
            vec![(
                TailLevel::Warn,
                format!("{count} events were dropped: too many in a second"),
            )]
        }
        ("draining", _) => vec![(TailLevel::Warn, "the broker is shutting down".to_owned())],
        (_, _) => Vec::new(),
    }
}

fn last(newest_first: impl Iterator<Item = (TailLevel, String)>) -> Vec<(TailLevel, String)> {
    let mut lines: Vec<_> = newest_first.take(BEFORE).collect();
    lines.reverse();
    lines
}

fn refusal(row: &Value, flags: &TailFlags) -> Option<(TailLevel, String)> {
    let fits = |name: &str, wanted: &Option<String>| {
        wanted.as_deref().is_none_or(|wanted| row[name] == wanted)
    };
    if !fits("channel", &flags.channel) || !fits("check", &flags.check) {
        return None;
    }
    let part = |name: &str| member(&row[name]);
    let or = |name: &str| part(name).unwrap_or_else(|| "-".into());
    if !flags.verbose {
        let who = part("channel")
            .or_else(|| part("keyId"))
            .or_else(|| part("remote"));
        let client = part("clientId")
            .map(|it| format!(" / {it}"))
            .unwrap_or_default();
        let who = who.unwrap_or_else(|| "-".into()) + &client;
        let check = or("check");
        return Some((
            TailLevel::Warn,
            aligned([&or("at"), "refused", &check, &who], &or("says")),
        ));
    }
    let mut line = format!("{}  {} {}", or("at"), or("status"), or("check"));
    for (name, word) in [
        ("operation", ""),
        ("channel", "channel "),
        ("clientId", "client "),
        ("remote", "from "),
    ] {
        line.extend(part(name).map(|text| format!("  {word}{text}")));
    }
    line.push_str(&format!(
        "  {}  (heliograph why {})",
        or("says"),
        or("requestId")
    ));
    Some((TailLevel::Warn, line))
}

fn of_log(row: &Value, flags: &TailFlags) -> Option<(TailLevel, String)> {
    let text = row["text"].as_str().unwrap_or_default();
    let refused = ["broker::journal: refused ", "\"message\":\"refused\""];
    let named = flags
        .channel
        .as_deref()
        .is_none_or(|name| names(text, name));
    if !named || flags.check.is_some() || refused.iter().any(|it| text.contains(it)) {
        return None;
    }
    let level = match row["level"].as_str() {
        Some("ERROR") => TailLevel::Error,
        Some("WARN") => TailLevel::Warn,
        Some("DEBUG" | "TRACE") => TailLevel::Debug,
        Some(_) | None => TailLevel::Info,
    };
    if flags.verbose {
        return Some((level, terminal::plain(text)));
    }
    let word = row["level"].as_str().unwrap_or_default().to_lowercase();
    let [at, target, message] = parts(text);
    let within = target.rmatch_indices("::").nth(1);
    let by = within.map_or(&*target, |(end, _)| &target[end + 2..]);
    Some((level, aligned([&at, &word, by, ""], &message)))
}

fn aligned([at, kind, by, who]: [&str; 4], says: &str) -> String {
    let clock = at.get(11..19).unwrap_or(at);
    let who = if who.is_empty() {
        String::new()
    } else {
        format!("{who:<24}  ")
    };
    format!("{clock}  {kind:<7}  {by:<24}  {who}{says}")
}

fn parts(text: &str) -> [String; 3] {
    if let Ok(line) = serde_json::from_str::<Value>(text) {
        let message = member(&line["fields"]["message"]).unwrap_or_default();
        let fields = line["fields"].as_object().into_iter().flatten();
        let fields = fields.filter(|(name, _)| *name != "message");
        let fields: String = fields
            .map(|(name, value)| format!(" {name}={value}"))
            .collect();
        let of = |name: &str| member(&line[name]).unwrap_or_default();
        return [
            of("timestamp"),
            of("target"),
            message + &terminal::plain(&fields),
        ];
    }
    let mut words = text.trim_start().splitn(3, char::is_whitespace);
    let (at, rest) = (
        words.next().unwrap_or_default(),
        words.last().unwrap_or_default(),
    );
    let (target, message) = rest.split_once(": ").unwrap_or(("", rest));
    let target = target.split_whitespace().last().unwrap_or_default();
    [at, target, message].map(terminal::plain)
}

fn names(text: &str, name: &str) -> bool {
    let in_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    text.split(|c| !in_name(c)).any(|word| word == name)
}

fn colour(level: TailLevel) -> Option<Colour> {
    match level {
        TailLevel::Error => Some(Colour::Red),
        TailLevel::Warn => Some(Colour::Yellow),
        TailLevel::Info | TailLevel::Debug => None,
    }
}

/// Maximum number of past log lines, and of past refusals, to print at the start.
const BEFORE: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Arguments, Command};
    use clap::Parser;
    use serde_json::json;

    fn flags(line: &[&str]) -> TailFlags {
        let line = ["heliograph", "tail"].iter().chain(line);
        let Command::Tail(flags) = Arguments::try_parse_from(line).unwrap().command else {
            panic!("it is tail")
        };
        flags
    }

    fn shown(name: &str, data: &Value, line: &[&str]) -> Vec<String> {
        let lines = lines(name, data, &flags(line)).into_iter();
        lines.map(|(_, line)| line).collect()
    }

    #[test]
    fn refusals_and_lines_are_shown_where_they_fit() {
        let refusal = json!({
            "at": "T", "status": 403, "check": "unknown_key", "operation": "ConnectAsMaster", "channel": "cam-1",
            "clientId": null, "remote": "10.0.0.1:9", "says": "No such key.\u{1b}[2J", "requestId": "0-1",
        });
        let line = "T  403 unknown_key  ConnectAsMaster  channel cam-1  from 10.0.0.1:9  No such key.\\u{1b}[2J  \
                    (heliograph why 0-1)";
        let log = |level: &str, text: &str| json!({ "level": level, "text": text });
        let warn = log("WARN", "T WARN broker::journal: superseded channel=cam-1");
        let info = log("INFO", "T INFO broker::server: serving shards=1");
        let again = log("WARN", "T WARN broker::journal: refused request_id=0-1");
        for (flags, expected) in [
            (&[][..], vec![true, true, false, false]),
            (&["-v"], vec![true, true, true, false]),
            (&["--level", "info"], vec![true, true, true, false]),
            (&["--level", "warn"], vec![true, true, false, false]),
            (&["--level", "error"], vec![false, false, false, false]),
            (&["--channel", "cam-1"], vec![true, true, false, false]),
            (&["--channel", "cam"], vec![false, false, false, false]),
            (&["--check", "unknown_key"], vec![true, false, false, false]),
            (&["--check", "draining"], vec![false, false, false, false]),
        ] {
            let events = [
                ("refusal", &refusal),
                ("log", &warn),
                ("log", &info),
                ("log", &again),
            ];
            let seen = events.map(|(name, data)| !shown(name, data, flags).is_empty());
            assert_eq!(seen.to_vec(), expected, "{flags:?}");
        }
        assert_eq!(shown("refusal", &refusal, &["-v"]), [line]);
        assert_eq!(shown("presence", &refusal, &[]), [""; 0]);
    }

    #[test]
    fn lines_are_aligned() {
        let refusal = json!({
            "at": "2026-01-02T03:04:05.123Z", "check": "unknown_key", "channel": "cam-1", "clientId": "v1",
            "says": "No key.",
        });
        let text =
            "2026-01-02T03:04:06.1Z  WARN broker::server::reload: a file was refused: x error=no";
        let json = json!({
            "timestamp": "2026-01-02T03:04:07.1Z", "target": "broker", "fields": { "message": "m", "a": 1 },
        });
        let json = json.to_string();
        #[rustfmt::skip] // a table, a case per row
        let cases = [
            ("refusal", refusal, "03:04:05  refused  unknown_key               cam-1 / v1                No key."),
            ("log", json!({ "level": "WARN", "text": text }),
                "03:04:06  warn     server::reload            a file was refused: x error=no"),
            ("log", json!({ "level": "ERROR", "text": json }), "03:04:07  error    broker                    m a=1"),
        ];
        for (name, data, wanted) in cases {
            assert_eq!(shown(name, &data, &[]), [wanted]);
        }
    }

    #[test]
    fn the_last_of_what_was_there_come_first() {
        let rows: Vec<Value> = (0..20)
            .map(|n| json!({ "level": "INFO", "text": format!("line-{n}") }))
            .collect();
        let lines = shown(
            "snapshot",
            &json!({ "topic": "log", "lines": rows }),
            &["-v"],
        );
        assert_eq!(lines.len(), 10);
        assert_eq!(&*lines[0], "line-10");
        assert_eq!(&*lines[9], "line-19");
        let rows: Vec<Value> = (0..20)
            .map(|n| json!({ "at": format!("T{n}"), "check": "draining" }))
            .collect();
        let lines = shown(
            "snapshot",
            &json!({ "topic": "refusals", "refusals": rows }),
            &["-v"],
        );
        assert!(
            lines.len() == 10 && lines[9].starts_with("T0 "),
            "{lines:?}"
        );
    }
}
