//! `GET /log?level=&since=&until=&search=&channel=&limit=&before=&scope=`: searches recent log lines on all nodes or,
//! if the scope is `node`, on this node. Lines are sorted from newest to oldest. With `before`, returns the next page,
//! which contains only this node's lines.

use crate::edge::turn::calendar;
use crate::limits::LOG_LINES_ANSWERED_MAX;
use crate::side::admin::http::{Answer, Fault, limit, parameter, rfc3339, time};
use crate::side::inspector::Inspector;
use crate::side::log::tail::{LEVELS, Line, LogTail};
use axum::extract::{RawQuery, State};
use axum::routing::get;
use axum::{Json, Router};
use broker_core::time::Wall;
use serde_json::{Map, Value, json as value};
use std::sync::Arc;

pub(crate) fn routes(tail: Arc<LogTail>, inspector: Inspector) -> Router {
    let router = Router::new().route("/log", get(page));
    router.with_state((tail, inspector))
}

async fn page(
    State((tail, inspector)): State<(Arc<LogTail>, Inspector)>,
    RawQuery(query): RawQuery,
) -> Answer {
    let query = query.unwrap_or_default();
    let mut document = own(tail, &query).await?;
    let sums = ["/kept", "/levels/ERROR", "/levels/WARN", "/levels/INFO"];
    let joined = inspector.newest("/log", &query, &mut document, "lines", &sums);
    joined.await?;
    Ok(Json(document))
}

pub(crate) async fn own(tail: Arc<LogTail>, query: &str) -> Result<Value, Fault> {
    let wanted = Wanted::parse(query)?;
    let found = tokio::task::spawn_blocking(move || wanted.answer(&tail.newest_first()));
    Ok(found.await.unwrap_or_default())
}

struct Wanted {
    level: usize,
    since: Wall,
    until: Wall,
    search: String,
    channel: Option<String>,
    limit: usize,
    before: u64,
}

impl Wanted {
    fn parse(query: &str) -> Result<Self, Fault> {
        let now = calendar().0;
        let level = parameter(query, "level")?.unwrap_or_else(|| "TRACE".into());
        let place = LEVELS.iter().position(|it| it.eq_ignore_ascii_case(&level));
        let before = parameter(query, "before")?.map(|text| text.parse().map_err(|_| BAD_BEFORE));
        Ok(Self {
            level: place.ok_or(BAD_LEVEL)?,
            since: time(query, "since", now)?.unwrap_or(Wall(0)),
            until: time(query, "until", now)?.unwrap_or(Wall(u64::MAX)),
            search: parameter(query, "search")?
                .unwrap_or_default()
                .to_lowercase(),
            channel: parameter(query, "channel")?,
            limit: limit(query, LINES_DEFAULT, LOG_LINES_ANSWERED_MAX)?,
            before: before.transpose()?.unwrap_or(u64::MAX),
        })
    }

    /// Returns whether a line matches the search. The caller checks the line's level and number.
    fn fits(&self, line: &Line) -> bool {
        let is_of = |channel: &String| of_channel(&line.text, channel);
        (self.since..=self.until).contains(&line.at)
            && self.channel.as_ref().is_none_or(is_of)
            && (self.search.is_empty() || line.text.to_lowercase().contains(&self.search))
    }

    fn answer(&self, kept: &[Arc<Line>]) -> Value {
        let found: Vec<&Line> = kept
            .iter()
            .map(|line| &**line)
            .filter(|it| self.fits(it))
            .collect();
        let mut levels: Map<String, Value> = LEVELS[..3]
            .iter()
            .map(|it| ((*it).into(), 0.into()))
            .collect();
        for line in &found {
            let count = levels.entry(line.level).or_insert_with(|| 0.into());
            *count = (count.as_u64().unwrap_or_default() + 1).into();
        }
        let of_level = found.iter().filter(|line| place(line.level) <= self.level);
        let mut shown = of_level.filter(|line| line.seq < self.before).peekable();
        let lines: Vec<Value> = shown
            .by_ref()
            .take(self.limit)
            .map(|line| json(line))
            .collect();
        let last = lines.last().filter(|_| shown.peek().is_some());
        value!({
            "next": last.map(|line| &line["seq"]),
            "kept": kept.len(),
            "levels": levels,
            "histogram": histogram(&found),
            "lines": lines,
        })
    }
}

/// Returns whether a line, in either log format, has a `channel` field with this value.
fn of_channel(text: &str, channel: &str) -> bool {
    let quoted = Value::from(channel).to_string();
    text.contains(&format!(" channel={quoted}")) || text.contains(&format!("\"channel\":{quoted}"))
}

/// Counts lines by time and level, in at most [`PARTS`] intervals of equal length.
fn histogram(found: &[&Line]) -> Vec<Value> {
    let (Some(newest), Some(oldest)) = (found.first(), found.last()) else {
        return Vec::new();
    };
    let (from, to) = found
        .iter()
        .fold((oldest.at.0, newest.at.0), |(from, to), line| {
            (from.min(line.at.0), to.max(line.at.0)) // the wall clock may have been set back in between
        });
    let step = STEPS_MS
        .into_iter()
        .find(|step| to / step - from / step < PARTS);
    let step = step.unwrap_or((to - from) / (PARTS - 1) + 1);
    let first = from / step;
    let count = usize::try_from(to / step - first + 1).unwrap_or_default();
    let mut parts = vec![[0_u64; 3]; count];
    for line in found {
        let part = usize::try_from(line.at.0 / step - first).ok();
        if let Some(part) = part.and_then(|part| parts.get_mut(part)) {
            part[place(line.level).min(2)] += 1;
        }
    }
    let at = (first..).map(|part| part * step);
    let rows = at.zip(parts);
    rows.map(|(at, [error, warn, info])| value!({ "at": at, "error": error, "warn": warn, "info": info }))
        .collect()
}

fn json(line: &Line) -> Value {
    let (target, message, fields) = parts(&line.text);
    value!({
        "seq": line.seq,
        "at": rfc3339(line.at),
        "level": line.level,
        "target": target,
        "message": message,
        "fields": fields,
        "text": line.text,
    })
}

fn parts(text: &str) -> (Value, Value, Value) {
    if let Ok(Value::Object(mut line)) = serde_json::from_str(text) {
        let mut fields = line.remove("fields").unwrap_or_default();
        let message = fields
            .as_object_mut()
            .and_then(|fields| fields.remove("message"));
        let target = line.remove("target").unwrap_or_default();
        return (target, message.unwrap_or_default(), fields);
    }
    let mut words = text.trim_start().splitn(2, char::is_whitespace);
    let rest = words.nth(1).unwrap_or_default().trim_start();
    let rest = rest.split_once(' ').map_or("", |(_, rest)| rest);
    let Some((target, rest)) = rest.split_once(": ") else {
        return (Value::Null, text.into(), value!({}));
    };
    let mut starts = field_starts(rest);
    let end = starts.first().map_or(rest.len(), |(start, _)| *start);
    let message = rest.get(..end).unwrap_or_default().trim_end();
    starts.push((rest.len(), 0));
    let fields: Map<String, Value> = starts
        .windows(2)
        .filter_map(|pair| {
            let [(start, equals), (end, _)] = pair else {
                return None;
            };
            let name = rest.get(*start..*equals)?.trim_start();
            let text = rest.get(equals + 1..*end)?;
            let quoted = text
                .starts_with('"')
                .then(|| serde_json::from_str(text).ok())
                .flatten();
            Some((name.into(), quoted.unwrap_or_else(|| text.into())))
        })
        .collect();
    (target.into(), message.into(), fields.into())
}

/// Finds the fields (` name=`) outside quoted text. Returns, for each field, the offsets of its space and its equals
/// sign.
fn field_starts(text: &str) -> Vec<(usize, usize)> {
    let mut starts = Vec::new();
    let (mut is_quoted, mut is_escaped, mut space) = (false, false, Some(0));
    for (place, byte) in text.bytes().enumerate() {
        if is_quoted {
            is_quoted = is_escaped || byte != b'"';
            is_escaped = !is_escaped && byte == b'\\';
            continue;
        }
        match byte {
            b' ' => space = Some(place),
            b'=' => {
                if let Some(start) = space
                    .take()
                    .filter(|start| start + 1 < place || *start == 0 && place > 0)
                {
                    starts.push((start, place));
                    is_quoted = text.as_bytes().get(place + 1) == Some(&b'"');
                    // The next byte is the opening quotation mark, which must not count as a closing one.
                    is_escaped = is_quoted;
                }
            }
            b'a'..=b'z' | b'_' | b'.' | b'0'..=b'9' => {}
            _ => space = None,
        }
    }
    starts
}

fn place(level: &str) -> usize {
    LEVELS.iter().position(|it| *it == level).unwrap_or(2)
}

/// Maximum number of intervals in a histogram. [`STEPS_MS`] lists the possible lengths of an interval, from a second to
/// a day.
const PARTS: u64 = 60;
const STEPS_MS: [u64; 11] = [
    1_000, 5_000, 15_000, 60_000, 300_000, 900_000, 3_600_000, 10_800_000, 21_600_000, 43_200_000,
    86_400_000,
];

const BAD_LEVEL: Fault = Fault::bad("level: expected ERROR, WARN, INFO, DEBUG or TRACE");
const BAD_BEFORE: Fault = Fault::bad("before: expected the number of a line");
const LINES_DEFAULT: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    fn line(seq: u64, at: u64, level: &'static str, text: &str) -> Arc<Line> {
        Arc::new(Line {
            seq,
            at: Wall(at),
            level,
            text: text.into(),
        })
    }

    /// Each case has a line, and the target, message and fields found in it.
    #[test]
    fn lines_of_both_formats_have_fields() {
        #[rustfmt::skip] // a table, a case per row
        let cases = [
            (r#"2026-11-28T00:00Z  INFO broker::journal: ended role="viewer" client_id="a \" b=c" in=1"#,
                "broker::journal", "ended", value!({ "role": "viewer", "client_id": "a \" b=c", "in": "1" })),
            ("2026-11-28T00:00:00Z ERROR broker::server: not read what=credentials error=line 3: expected a key",
                "broker::server", "not read", value!({ "what": "credentials", "error": "line 3: expected a key" })),
            ("2026-11-28T00:00:00Z  WARN a: n=1", "a", "", value!({ "n": "1" })),
            (r#"{"timestamp":"2026-11-28T00:00:00Z","level":"WARN","fields":{"message":"m","n":1},"target":"t"}"#, "t",
                "m", value!({ "n": 1 })),
            ("anything else", "", "anything else", value!({})),
        ];
        for (text, target, message, fields) in cases {
            let (is_target, is_message, is_fields) = parts(text);
            assert_eq!(is_target.as_str().unwrap_or_default(), target, "{text}");
            assert_eq!((is_message, is_fields), (message.into(), fields), "{text}");
        }
    }

    #[test]
    fn lines_are_found_by_level_time_text_and_channel() {
        let kept = [
            line(9, 120_000, "INFO", "t INFO a: ended channel=\"cam-1\" n=1"),
            line(8, 61_000, "WARN", "t WARN a: Slow channel=\"cam-10\""),
            line(5, 60_000, "ERROR", "t ERROR a: x channel=\"cam-1\""),
            line(1, 1_000, "DEBUG", "t DEBUG a: y"),
        ];
        let found = |query: &str| Wanted::parse(query).unwrap().answer(&kept);
        for (query, expected, next) in [
            ("", "9 8 5 1", Value::Null),
            ("level=warn", "8 5", Value::Null),
            ("search=sLOW", "8", Value::Null),
            ("channel=cam-1", "9 5", Value::Null),
            ("since=1970-01-01T00:01:01Z", "9 8", Value::Null),
            ("until=1970-01-01T00:01:00Z", "5 1", Value::Null),
            ("limit=2", "9 8", 8.into()),
            ("limit=2&before=8", "5 1", Value::Null),
        ] {
            let answer = found(query);
            let lines = answer["lines"].as_array().unwrap().iter();
            let numbers: Vec<String> = lines.map(|line| line["seq"].to_string()).collect();
            assert_eq!(numbers.join(" "), expected, "{query}");
            assert_eq!(answer["next"], next, "{query}");
        }
        let answer = found("level=error&search=cam");
        assert_eq!(
            answer["levels"],
            value!({ "ERROR": 1, "WARN": 1, "INFO": 1 })
        );
        assert_eq!(answer["kept"], 4);
        let parts = answer["histogram"].as_array().unwrap();
        assert_eq!(parts.len(), 13);
        assert_eq!(
            parts[0],
            value!({ "at": 60_000, "error": 1, "warn": 1, "info": 0 })
        );
        #[rustfmt::skip] // a list
        let cases = ["level=loud", "limit=0", "limit=1001", "before=x", "since=noon"];
        for bad in cases {
            assert!(Wanted::parse(bad).is_err(), "{bad}");
        }
    }
}
