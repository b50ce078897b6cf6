//! Renders traces as text for terminals, logs and failed tests. The text is derived from the document of
//! `GET /channels/{name}/trace`. Text from clients is escaped so that it cannot control a terminal.

use crate::side::trace::drawing::{self, Zone};
use crate::terminal::{member, plain};
use serde_json::Value;
use std::collections::BTreeMap;

/// Renders a trace: the summary of its sessions, the masters, and each viewer with its events and hints. Unless `all`
/// is set, only the newest session of a group of similar ones is shown, and consecutive candidates with the same
/// outcome share a line.
pub(crate) fn whole(trace: &Value, all: bool) -> String {
    let mut out = head(trace);
    out.extend(trace["sentence"].as_str().map(|says| plain(says) + "\n"));
    for master in list(&trace["master"]) {
        out += &format!("master  {}\n", connection(master));
        out.extend(hints(master).map(|hint| format!("    * {hint}\n")));
    }
    let viewers = list(&trace["viewers"]);
    for fold in drawing::folds(viewers) {
        let [.., newest] = fold else { continue };
        let is_folded = fold.len() > 1 && !all;
        if is_folded {
            out += &format!("\n{}; the newest:", drawing::says(fold, Zone::UTC));
        }
        for viewer in if is_folded {
            std::slice::from_ref(newest)
        } else {
            fold
        } {
            out += &format!("\nviewer {}  {}\n", name(viewer), connection(viewer));
            out += &events(viewer, all);
            out.extend(hints(viewer).map(|hint| format!("    * {hint}\n")));
        }
    }
    if viewers.is_empty() {
        out += "no viewer in this time\n";
    }
    if trace["truncated"] == true {
        out += "older events were left out\n";
    }
    out
}

/// Renders the events of a session. Consecutive candidates with the same outcome share a line, and so do unaccepted
/// messages.
pub(crate) fn events(viewer: &Value, all: bool) -> String {
    let mut out = String::new();
    let alike = |one: &Value, other: &Value| !all && folds(one, other);
    for events in list(&viewer["events"]).chunk_by(alike) {
        let [first, rest @ ..] = events else { continue };
        out += &format!("{}  {}", moment(first), what(first));
        if let Some(last) = rest.last() {
            let until = moment(last);
            out += &format!("; {} of them, until {}", events.len(), until.trim_start());
        }
        out.push('\n');
    }
    out
}

fn hints(one: &Value) -> impl Iterator<Item = String> {
    list(&one["hints"]).iter().map(|hint| plain(text(hint)))
}

/// Returns whether two messages have the same outcome and are of a kind that occurs in bursts.
fn folds(one: &Value, other: &Value) -> bool {
    let same = |name: &&str| one[*name] == other[*name];
    (one["action"] == "ICE_CANDIDATE" || drawing::is_declined(one))
        && ["kind", "action", "from", "route", "after", "why", "reason"]
            .iter()
            .all(same)
}

/// Prints a trace that is being followed. Each event and each hint is printed only once.
#[derive(Default)]
pub(crate) struct Printer {
    next: Option<u64>,
    hints: BTreeMap<String, Vec<String>>,
}

impl Printer {
    /// Returns lines for new events and hints. The first call also returns a header.
    pub(crate) fn news(&mut self, trace: &Value) -> String {
        let mut out = self.next.map_or_else(|| head(trace), |_| String::new());
        let mut next = self.next.unwrap_or_default();
        let viewers = list(&trace["viewers"]);
        let events = viewers.iter().flat_map(|viewer| {
            let events = list(&viewer["events"]).iter();
            events.map(move |event| (event["serial"].as_u64().unwrap_or_default(), viewer, event))
        });
        let mut events: Vec<_> = events.filter(|(serial, ..)| *serial >= next).collect();
        events.sort_by_key(|(serial, ..)| *serial);
        for (serial, viewer, event) in events {
            out += &format!("{}  {}  {}\n", name(viewer), moment(event), what(event));
            next = serial + 1;
        }
        self.next = Some(next);
        let known = std::mem::take(&mut self.hints);
        for viewer in viewers {
            let before = known.get(&key(viewer)).map_or(&[][..], Vec::as_slice);
            let hints: Vec<String> = hints(viewer).collect();
            // A hint is not printed again if only its numbers have changed, such as the duration of an ongoing wait.
            let kind = |hint: &str| hint.replace(|c: char| c.is_ascii_digit() || c == '.', "");
            for hint in &hints {
                if !before.iter().any(|other| kind(other) == kind(hint)) {
                    out += &format!("{}  * {hint}\n", name(viewer));
                }
            }
            self.hints.insert(key(viewer), hints);
        }
        out
    }
}

fn key(viewer: &Value) -> String {
    format!("{} {}", viewer["connection"], viewer["clientId"])
}

fn head(trace: &Value) -> String {
    let channel = plain(text(&trace["channel"]));
    match trace["reachesBackTo"].as_str() {
        Some(since) => format!(
            "channel {channel}, what its shard knows since {}\n",
            plain(since)
        ),
        None => format!("channel {channel}, nothing is recorded: [recorder] notes = 0\n"),
    }
}

fn connection(one: &Value) -> String {
    if one["connection"].is_null() {
        return "was not connected".to_owned();
    }
    let remote = plain(text(&one["remote"]));
    let joined = plain(text(&one["joined"]));
    let says = one["says"].as_str().or_else(|| one["reason"].as_str());
    let until = match (one["left"].as_str(), says) {
        (Some(left), says) => format!("to {} ({})", plain(left), plain(says.unwrap_or("?"))),
        (None, _) if one["superseded"] == true => "until now, superseded".to_owned(),
        (None, _) => "until now".to_owned(),
    };
    format!("{remote}  {joined} {until}")
}

fn name(viewer: &Value) -> String {
    viewer["clientId"]
        .as_str()
        .map_or_else(|| "?".to_owned(), plain)
}

fn moment(event: &Value) -> String {
    format!("{:>11.1} ms", event["ms"].as_f64().unwrap_or_default())
}

fn what(event: &Value) -> String {
    let away = match event["from"].as_str() {
        Some("viewer") => "to the master",
        Some(_) => "to the viewer",
        None if event["action"].is_null() => return plain(&fate(event)),
        None => "",
    };
    let bytes = (event["bytes"].as_u64()).map_or_else(String::new, |bytes| format!("{bytes} B"));
    let action = member(&event["action"]).unwrap_or_default();
    let line = format!("{action:<13} {away}  {bytes:>7}  {}", plain(&fate(event)));
    line.trim_end().to_owned()
}

/// Returns the outcome of a message or of a connection.
pub(crate) fn fate(event: &Value) -> String {
    let says = event["says"].as_str().or_else(|| event["reason"].as_str());
    let more = ["route", "after", "why"].into_iter();
    let more: String = more.filter_map(|name| event[name].as_str()).collect();
    match text(&event["kind"]) {
        "message" => {
            let end = if more == "to" { "relayed" } else { &more };
            says.map_or_else(|| end.to_owned(), |says| format!("{end}: {says}"))
        }
        "delivered" if more == "restart" => "given again: no answer came".to_owned(),
        "delivered" => "delivered, was kept".to_owned(),
        "confirmed" => "confirmed by its machine".to_owned(),
        "call" => format!("{} answered", text(&event["operation"])),
        "peer" => says.unwrap_or_default().to_owned(),
        "returned" => "came back unsent".to_owned(),
        "dropped" => format!("dropped: {more}"),
        "left" => format!("left: {}", says.unwrap_or_default()),
        "superseded" => format!(
            "superseded by connection {} of the same client id",
            event["by"]
        ),
        "go_away" => "GO_AWAY".to_owned(),
        other => other.to_owned(),
    }
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod text_tests {
    use super::*;
    use serde_json::json;

    fn trace() -> Value {
        json!({
            "channel": "cam", "recording": true, "reachesBackTo": "2026-11-20T12:00:00.000Z", "truncated": true,
            "master": [{
                "connection": 1, "remote": "10.0.0.1:2", "joined": "2026-11-20T12:00:02.000Z", "left": null,
                "reason": null, "superseded": true, "refused": 0,
                "hints": ["2 messages were not accepted: it is not a JSON object"],
            }],
            "viewers": [{
                "connection": 2, "clientId": "v1", "remote": "10.0.0.3:4", "joined": "2026-11-20T12:00:01.000Z",
                "left": "2026-11-20T12:00:09.000Z", "reason": "peer_closed", "says": "the client closed it",
                "events": [
                    { "kind": "join", "ms": 0.0, "serial": 4 },
                    {
                        "kind": "message", "action": "SDP_OFFER", "from": "viewer", "bytes": 6372, "route": "kept",
                        "ms": 3.1, "serial": 5,
                    },
                    {
                        "kind": "delivered", "action": "SDP_OFFER", "from": "viewer", "bytes": 6372, "after": "kept",
                        "ms": 1000.0, "serial": 7,
                    },
                    {
                        "kind": "message", "action": "SDP_ANSWER", "from": "master", "bytes": 4000, "route": "to",
                        "ms": 1062.4, "serial": 8,
                    },
                    {
                        "kind": "message", "action": "unknown", "from": "viewer", "bytes": 40112, "route": "refused",
                        "reason": "too_long", "says": "message of 40,112 characters; expected at most 32,768",
                        "ms": 2000.0, "serial": 9,
                    },
                    {
                        "kind": "left", "reason": "peer_closed", "says": "the client closed it", "ms": 8000.0,
                        "serial": 12,
                    },
                ],
                "hints": ["the offer waited 997 ms: no master was connected"],
            }],
        })
    }

    #[test]
    fn a_trace_reads_from_the_top() {
        let wanted = "\
channel cam, what its shard knows since 2026-11-20T12:00:00.000Z
master  10.0.0.1:2  2026-11-20T12:00:02.000Z until now, superseded
    * 2 messages were not accepted: it is not a JSON object

viewer v1  10.0.0.3:4  2026-11-20T12:00:01.000Z to 2026-11-20T12:00:09.000Z (the client closed it)
        0.0 ms  join
        3.1 ms  SDP_OFFER     to the master   6372 B  kept
     1000.0 ms  SDP_OFFER     to the master   6372 B  delivered, was kept
     1062.4 ms  SDP_ANSWER    to the viewer   4000 B  relayed
     2000.0 ms  unknown       to the master  40112 B  refused: message of 40,112 characters; expected at most 32,768
     8000.0 ms  left: the client closed it
    * the offer waited 997 ms: no master was connected
older events were left out
";
        assert_eq!(whole(&trace(), false), wanted);
    }

    #[test]
    fn candidates_that_follow_each_other_are_one_line() {
        let mut trace = trace();
        let candidate = |ms: f64, from: &str| {
            let kind = "ICE_CANDIDATE";
            json!({ "kind": "message", "action": kind, "from": from, "bytes": 120, "route": "to", "ms": ms })
        };
        trace["viewers"][0]["events"] = json!([
            candidate(1.0, "viewer"),
            candidate(2.0, "viewer"),
            candidate(30.0, "viewer"),
            candidate(31.0, "master"),
        ]);
        let events = |all| {
            let text = whole(&trace, all);
            let lines = text.lines().filter(|line| line.contains("ICE_CANDIDATE"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(
            events(false),
            [
                "        1.0 ms  ICE_CANDIDATE to the master    120 B  relayed; 3 of them, until 30.0 ms",
                "       31.0 ms  ICE_CANDIDATE to the viewer    120 B  relayed",
            ]
        );
        assert_eq!(events(true).len(), 4);
    }

    #[test]
    fn what_is_followed_is_printed_once() {
        let (mut printer, mut trace) = (Printer::default(), trace());
        let first = printer.news(&trace);
        assert_eq!(first.lines().count(), 1 + 6 + 1, "{first}");
        assert_eq!(printer.news(&trace), "");
        trace["viewers"][0]["hints"][0] = "the offer waited 998 ms: no master was connected".into();
        assert_eq!(printer.news(&trace), "", "the same hint");
        let events = trace["viewers"][0]["events"].as_array_mut().unwrap();
        events.push(json!({ "kind": "go_away", "ms": 9000.0, "serial": 13 }));
        assert_eq!(printer.news(&trace), "v1       9000.0 ms  GO_AWAY\n");
        trace["viewers"][0]["hints"][0] = "another".into();
        assert_eq!(printer.news(&trace), "v1  * another\n");
    }

    #[test]
    fn nothing_of_the_wire_reaches_the_terminal_as_it_is() {
        let wild = "v\r\n\x1b[2J\0\x7f\u{9b}1m\u{202e}<script>";
        let mut trace = trace();
        trace["viewers"][0]["clientId"] = wild.into();
        trace["viewers"][0]["says"] = wild.into();
        trace["viewers"][0]["hints"][0] = wild.into();
        trace["viewers"][0]["events"][1]["action"] = wild.into();
        trace["viewers"][0]["events"][1]["route"] = wild.into();
        trace["viewers"][0]["events"][0]["kind"] = wild.into();
        for text in [whole(&trace, false), Printer::default().news(&trace)] {
            let bad = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
            assert!(!text.contains(bad), "{text:?}");
            testkit::assert_has(&text, &["\\u{1b}[2J", "<script>"]);
        }
    }

    #[test]
    fn a_recorder_that_is_off_says_so() {
        let off = json!({ "channel": "cam", "recording": false, "reachesBackTo": null, "viewers": [], "master": [] });
        let text = whole(&off, false);
        assert!(text.contains("[recorder] notes = 0"), "{text}");
    }

    #[test]
    fn an_answer_of_another_shape_is_no_failure() {
        for odd in [
            json!(null),
            json!([1]),
            json!({ "viewers": [1, { "events": [{}] }], "master": "x" }),
        ] {
            assert!(!whole(&odd, false).is_empty() && !Printer::default().news(&odd).is_empty());
        }
    }
}
