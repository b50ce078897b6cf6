//! Drawings of a channel's sessions: a summary in one sentence, a picture of all sessions on one axis, and a picture of
//! each session.
//!
//! All drawings are derived from the document of `GET /channels/{name}/trace`, whichever node produced it. A picture is
//! a JSON tree of the form `[tag, {attributes}, children…]`. The console creates elements from it, and [`svg`] creates
//! a file.

use crate::side::admin::http::{Fault, moment, parameter, unusable};
use crate::side::trace::hints::Span;
use crate::side::trace::text::{self, fate, list, text};
use crate::terminal::counted;
use codec::calendar::rfc3339;
use serde_json::{Value, json as value};

/// The time zone of a drawing, in minutes east of UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Zone(i32);

impl Zone {
    pub(crate) const UTC: Self = Self(0);

    /// Formats a time in this zone, such as `2026-11-21 03:12:08.000Z`.
    fn date(self, at: f64) -> String {
        rfc3339(whole(at + f64::from(self.0) * 60_000.0)).replace('T', " ")
    }

    /// Formats the time of day, to the minute, second or millisecond.
    fn clock(self, at: f64, characters: usize) -> String {
        self.date(at).chars().skip(11).take(characters).collect()
    }

    fn name(self) -> String {
        let (hours, minutes) = (self.0 / 60, self.0.abs() % 60);
        match (self.0, minutes) {
            (0, _) => "UTC".into(),
            (_, 0) => format!("UTC{hours:+}"),
            (..) => format!("UTC{hours:+}:{minutes:02}"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Style {
    pub(crate) zone: Zone,
    /// The width of pictures in pixels. If it is 0, no pictures are drawn.
    pub(crate) width: f64,
}

impl Style {
    /// Parses the style from a query. `width` is the default width.
    pub(crate) fn of(query: &str, width: i32) -> Result<Self, Fault> {
        let number = |name, default: i32, least, most| {
            let Some(text) = parameter(query, name)? else {
                return Ok(default);
            };
            let fits = text.parse().ok().filter(|it| (least..=most).contains(it));
            fits.ok_or_else(|| unusable(name, &format!("{least} to {most}"), &text))
        };
        Ok(Self {
            zone: Zone(number("zone", 0, -900, 900)?),
            width: number("width", width, 200, 4_000)?.into(),
        })
    }
}

/// Adds a summary of the sessions, the outcome of each session, and the pictures to a trace. `now` is the time at which
/// the trace was read, in milliseconds since 1970.
pub(crate) fn add(trace: &mut Value, style: Style, now: f64) {
    if !trace.is_object() {
        return; // not from a broker
    }
    if style.width > 0.0 {
        trace["axis"] = strip(trace, style.zone, now);
    }
    trace["sentence"] = sentence(trace, style.zone, now).into();
    let runs = folds(list(&trace["viewers"])).map(|run| {
        let says = (run.len() > 1).then(|| says(run, style.zone));
        value!({ "sessions": run.len(), "says": says })
    });
    trace["folds"] = runs.collect();
    let mut marks = 0;
    for viewer in trace["viewers"].as_array_mut().into_iter().flatten().rev() {
        viewer["outcome"] = outcome(viewer).into();
        marks += list(&viewer["events"]).len();
        if style.width > 0.0 && marks <= MARKS_MAX {
            viewer["lane"] = lane(viewer, style);
        }
        viewer["text"] = text::events(viewer, false).into();
    }
}

fn outcome(viewer: &Value) -> &'static str {
    let has = |action: &str| {
        let fits = |event: &Value| event["action"] == action && !is_declined(event);
        list(&viewer["events"]).iter().any(fits)
    };
    if viewer["joined"].is_null() {
        "never connected"
    } else if viewer["done"] == true || has("SDP_ANSWER") {
        "answered"
    } else if has("SDP_OFFER") {
        "unanswered"
    } else {
        "without an offer"
    }
}

pub(crate) fn is_declined(event: &Value) -> bool {
    ["refused", "throttled", "overflow"].contains(&text(&event["route"]))
}

/// Groups consecutive sessions that ended with the same outcome. Open sessions, and sessions in groups that are too
/// short, are returned one at a time.
pub(crate) fn folds(viewers: &[Value]) -> impl Iterator<Item = &[Value]> {
    let alike = |one: &Value, other: &Value| {
        !one["left"].is_null() && !other["left"].is_null() && outcome(one) == outcome(other)
    };
    let runs = viewers.chunk_by(alike);
    runs.flat_map(|run| run.chunks(if run.len() < ALIKE { 1 } else { run.len() }))
}

/// Describes a group of sessions, such as "16 × unanswered, 07:27 to 07:32".
pub(crate) fn says(run: &[Value], zone: Zone) -> String {
    let ends = [run.first(), run.last()].map(|one| one.and_then(|it| ms(&it["joined"])));
    let [from, to] = ends.map(|at| at.map_or_else(|| "?".into(), |at| zone.clock(at, MINUTE)));
    let outcome = run.first().map_or("", outcome);
    let until = if from == to {
        String::new()
    } else {
        format!(" to {to}")
    };
    format!("{} × {outcome}, {from}{until}", run.len())
}

fn sentence(trace: &Value, zone: Zone, now: f64) -> String {
    let viewers = list(&trace["viewers"]);
    let is_open = |one: &&Value| one["left"].is_null() && !one["joined"].is_null();
    let Some(master) = list(&trace["master"]).iter().rfind(is_open) else {
        let waits = viewers.iter().filter(is_open);
        return match waits.filter(|one| outcome(one) == "unanswered").count() {
            0 => "No camera is connected.".into(),
            1 => "No camera is connected, and 1 viewer waits for it.".into(),
            more => format!("No camera is connected, and {more} viewers wait for it."),
        };
    };
    if master["unconfirmed"] == true {
        return "Connected, but it has not confirmed what was sent to it: it may be cut off."
            .into();
    }
    let is_known = |one: &&Value| match outcome(one) {
        "answered" => true,
        "unanswered" => {
            let began = ms(&one["joined"]).unwrap_or(now);
            !one["left"].is_null() || now - began > PATIENCE_MS
        }
        _ => false,
    };
    let known: Vec<&Value> = viewers.iter().filter(is_known).collect();
    let mute = known.rsplit(|one| outcome(one) == "answered").next();
    let at = |one: &Value, part| zone.clock(ms(&one["joined"]).unwrap_or_default(), part);
    match (mute, known.last()) {
        (Some([first, rest @ ..]), _) => format!(
            "Connected, but answers no offer: {} since {}.",
            counted(1 + rest.len(), "viewer"),
            at(first, MINUTE)
        ),
        (_, Some(last)) => format!(
            "Connected. The last viewer was answered at {}.",
            at(last, SECOND)
        ),
        (_, None) => "Connected. No viewer has sent an offer.".into(),
    }
}

// Pictures.

/// Draws all sessions on one axis, with the camera at the top. Returns the picture, and the times at both ends of the
/// axis.
fn strip(trace: &Value, zone: Zone, now: f64) -> Value {
    let span = |one: &Value| Some((ms(&one["joined"])?, ms(&one["left"]).unwrap_or(now)));
    let (masters, viewers) = (list(&trace["master"]), list(&trace["viewers"]));
    let spans = || masters.iter().chain(viewers).filter_map(span);
    let from = spans().map(|(from, _)| from).fold(now, f64::min);
    let to = spans().map(|(_, to)| to).fold(from, f64::max);
    let place = |at: f64| STRIP * (at - from) / (to - from).max(1.0);
    let bar = |one: &Value, row: usize, look: &str, who: String| {
        let (joined, left) = span(one)?;
        let (x, y) = (place(joined), row as f64 * ROW + 1.0);
        let title = format!("{who}, from {}", zone.clock(joined, SECOND));
        Some(
            value!(["rect", { "class": format!("bar-{look}"), "x": x, "width": (place(left) - x).max(2.0), "y": y,
            "height": ROW - 2.0 }, ["title", {}, title]]),
        )
    };
    let camera = |one| bar(one, 0, "camera", format!("camera {}", text(&one["remote"])));
    let mut bars: Vec<Value> = masters.iter().filter_map(camera).collect();
    // A row is free once its last session has ended. If too many sessions overlap, they share the last row.
    let mut rows: Vec<f64> = Vec::new();
    for (number, viewer) in viewers.iter().enumerate() {
        let Some((joined, left)) = span(viewer) else {
            continue;
        };
        let free = rows.iter().position(|end| *end <= joined);
        let row = free.unwrap_or_else(|| rows.len().min(ROWS_MAX - 1));
        rows.splice(row..rows.len().min(row + 1), [left]);
        let outcome = outcome(viewer);
        let looks = [("answered", "good"), ("unanswered", "bad")].into_iter();
        let look = looks
            .clone()
            .find(|(of, _)| *of == outcome)
            .map_or("warn", |(_, look)| look);
        let who = format!("{}: {outcome}", text(&viewer["clientId"]));
        bars.extend(
            bar(viewer, row + 1, look, who)
                .map(|bar| value!(["g", { "data-session": number }, bar])),
        );
    }
    let height = (rows.len() + 1) as f64 * ROW;
    let [first, last] = [from, to].map(|at| format!("{:.19} {}", zone.date(at), zone.name()));
    let runs: Vec<String> = folds(viewers).map(|run| says(run, zone)).collect();
    let label = format!(
        "Sessions from {first} to {last}: {}",
        runs.rchunks(5).next().unwrap_or_default().join("; ")
    );
    let attributes = value!({ "class": "axis", "viewBox": format!("0 0 {STRIP} {height}"),
        "preserveAspectRatio": "none", "role": "img", "aria-label": label });
    let picture: Value = [value!("svg"), attributes]
        .into_iter()
        .chain(bars)
        .collect();
    value!({ "from": first, "to": last, "height": height, "picture": picture })
}

/// Draws a session on its own axis, with marks for its events. The scale shows round times since the viewer joined, and
/// the time of day at both ends.
fn lane(viewer: &Value, Style { zone, width }: Style) -> Value {
    let at = |event: &&Value| event["ms"].as_f64().unwrap_or_default();
    let mut events: Vec<&Value> = list(&viewer["events"]).iter().collect();
    events.sort_by(|one, other| at(one).total_cmp(&at(other)));
    // API calls precede the connection, so their times are negative.
    let first = events.first().map_or(0.0, at).min(0.0);
    let times: Vec<f64> = events.iter().map(|event| at(event) - first).collect();
    // A confirmation does not extend the axis, since its time depends on when the shard was queried.
    let timed = events
        .iter()
        .zip(&times)
        .rfind(|(event, _)| event["kind"] != "confirmed");
    let last = timed.map_or(1.0, |(_, ms)| ms.max(1.0));
    let mut whole = vec![
        value!("svg"),
        value!({ "viewBox": format!("0 0 {width} {LANE}"), "aria-hidden": "true" }),
        value!(["line", { "class": "lane-line", "x1": MARGIN, "x2": width - MARGIN, "y1": MIDDLE, "y2": MIDDLE }]),
    ];
    whole.extend(
        ms(&viewer["joined"])
            .into_iter()
            .flat_map(|joined| scale(joined + first, last, width, zone)),
    );
    let marks = events.iter().zip(&times).zip(places(&times, last, width));
    whole.extend(marks.map(|((event, ms), x)| mark(event, *ms, x)));
    whole.into()
}

/// Places marks on an axis in order, at a minimum distance from one another. Each mark is placed at its time if
/// possible, and always on the axis.
fn places(times: &[f64], last: f64, width: f64) -> Vec<f64> {
    let inside = width - 2.0 * MARGIN;
    let gap = GAP.min(inside / (times.len().max(2) - 1) as f64);
    let (mut least, mut most) = (MARGIN, width - MARGIN);
    let mut places: Vec<f64> = Vec::new();
    for time in times {
        let x = least.max(MARGIN + inside * time.clamp(0.0, last) / last);
        least = x + gap;
        places.push(x);
    }
    for x in places.iter_mut().rev() {
        *x = x.min(most);
        most = *x - gap;
    }
    places
}

fn scale(joined: f64, last: f64, width: f64, zone: Zone) -> Vec<Value> {
    let (part, reserved) = if last < COARSE_MS {
        (MILLISECOND, 120.0)
    } else {
        (SECOND, 94.0)
    };
    let words = |class: &str, x: f64, anchor: &str, words: String| {
        let place = value!({ "class": class, "x": x, "y": LANE - 5.0, "text-anchor": anchor });
        value!(["text", place, words])
    };
    let mut parts = vec![
        words("scale-end", 0.0, "start", zone.clock(joined, part)),
        words("scale-end", width, "end", zone.clock(joined + last, part)),
    ];
    let inside = width - 2.0 * MARGIN;
    let step = round_above(last / (inside / LABEL - 1.0).max(1.0));
    for number in 0..=whole(last / step) {
        let time = number as f64 * step;
        let x = MARGIN + inside * time / last;
        parts.push(value!(["line", { "class": "tick", "x1": x, "x2": x, "y1": 2, "y2": 2.0 * MIDDLE + 1.0 }]));
        if (reserved..=width - reserved).contains(&x) {
            parts.push(words("tick-label", x, "middle", format!("+{}", Span(time))));
        }
    }
    parts
}

/// Rounds up to 1, 2 or 5 times a power of ten. The result is at least a millisecond.
fn round_above(least: f64) -> f64 {
    let power = 10_f64.powf(least.max(1.0).log10().floor());
    let steps = [1.0, 2.0, 5.0].into_iter().map(|step| step * power);
    steps
        .into_iter()
        .find(|step| *step >= least)
        .unwrap_or(10.0 * power)
}

fn mark(event: &Value, ms: f64, x: f64) -> Value {
    let says = format!("+{} {}", Span(ms), words(event));
    let up = event["from"] == "viewer" || event["kind"] == "delivered";
    let kind = match text(&event["action"]) {
        _ if event["kind"] == "dropped" || is_declined(event) => "dropped",
        _ if event["kind"] == "confirmed" => "confirmed",
        _ if event["kind"] == "call" => "call",
        _ if event["kind"] == "peer" => "peer",
        "SDP_OFFER" => "offer",
        "SDP_ANSWER" => "answer",
        "ICE_CANDIDATE" => "candidate",
        _ => "join",
    };
    let y = MIDDLE;
    let kept = match text(&event["route"]) {
        "kept" => " mark-kept",
        _ => "",
    };
    let path = match (kind, up) {
        ("dropped", _) => format!(
            "M{} {}l10 10M{} {}l-10 10",
            x - 5.0,
            y - 5.0,
            x + 5.0,
            y - 5.0
        ),
        ("join", _) => format!("M{x} 4V{}", 2.0 * y - 4.0),
        ("call" | "peer", _) => format!("M{} {y}l5-5 5 5-5 5z", x - 5.0),
        ("confirmed", _) => format!("M{} {y}l3 4 6-9", x - 4.0),
        ("candidate", _) => format!("M{} {}h4v12h-4z", x - 2.0, y - 6.0),
        (_, true) => format!("M{} {}h14l-7-14z", x - 7.0, y + 7.0),
        (_, false) => format!("M{} {}h14l-7 14z", x - 7.0, y - 7.0),
    };
    value!(["path", { "class": format!("mark mark-{kind}{kept}"), "d": path }, ["title", {}, says]])
}

fn words(event: &Value) -> String {
    [text(&event["action"]), &fate(event)]
        .join(" ")
        .trim()
        .to_owned()
}

pub(crate) fn svg(trace: &Value, width: f64) -> String {
    let line =
        |y: f64, words: String| value!(["text", { "x": 0, "y": y, "class": "words" }, words]);
    let within = |picture: &Value, y: f64, height: f64| {
        let mut picture = picture.clone();
        let place = [("y", y), ("width", width), ("height", height)];
        let attributes = picture.get_mut(1).and_then(Value::as_object_mut);
        if let Some(attributes) = attributes {
            attributes.extend(place.map(|(name, it)| (name.to_owned(), it.into())));
        }
        picture
    };
    let axis = &trace["axis"];
    let height = axis["height"].as_f64().unwrap_or_default();
    let ends = format!("{} to {}", text(&axis["from"]), text(&axis["to"]));
    let mut parts = vec![
        value!(["style", {}, STYLE]),
        line(
            18.0,
            format!("{}: {}", text(&trace["channel"]), text(&trace["sentence"])),
        ),
        within(&axis["picture"], 28.0, height),
        line(height + 46.0, ends),
    ];
    let mut y = height + 76.0;
    for run in folds(list(&trace["viewers"])) {
        let Some(newest) = run.last() else { continue };
        let alike = if run.len() > 1 {
            format!("{} × ", run.len())
        } else {
            String::new()
        };
        let who = format!("{alike}{}, {}", outcome(newest), text(&newest["clientId"]));
        parts.extend([line(y, who), within(&newest["lane"], y + 8.0, LANE)]);
        y += LANE + 30.0;
    }
    let whole = value!({ "xmlns": "http://www.w3.org/2000/svg", "class": "drawing", "width": width, "height": y,
        "viewBox": format!("0 0 {width} {y}") });
    let mut out = String::new();
    write(
        &[value!("svg"), whole].into_iter().chain(parts).collect(),
        &mut out,
    );
    out
}

fn write(tree: &Value, out: &mut String) {
    let escape = |text: &str| {
        text.replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('"', "&quot;")
    };
    let Some([tag, attributes, children @ ..]) = tree.as_array().map(Vec::as_slice) else {
        return out.push_str(&escape(text(tree)));
    };
    *out += &format!("<{}", text(tag));
    for (name, value) in attributes.as_object().into_iter().flatten() {
        let value = value.as_str().map_or_else(|| value.to_string(), escape);
        *out += &format!(" {name}=\"{value}\"");
    }
    out.push('>');
    children.iter().for_each(|child| write(child, out));
    *out += &format!("</{}>", text(tag));
}

/// Formats the sessions of a trace as an HTTP archive (HAR). Each session is a WebSocket entry that contains its
/// messages and their outcomes, but no payloads.
pub(crate) fn archive(trace: &Value) -> Value {
    let entry = |viewer: &Value| {
        let joined = ms(&viewer["joined"])?;
        let message = |event: &Value| {
            let time = (joined + event["ms"].as_f64().unwrap_or_default()) / 1_000.0;
            let way = if event["from"] == "viewer" {
                "send"
            } else {
                "receive"
            };
            value!({ "type": way, "time": time, "opcode": 1, "data": words(event) })
        };
        let of_socket = |event: &&Value| event["kind"] != "call" && event["kind"] != "peer";
        let messages = list(&viewer["events"]).iter().filter(of_socket);
        let messages: Value = messages.map(message).collect();
        let time = ms(&viewer["left"]).map(|left| left - joined);
        let calls = list(&viewer["events"])
            .iter()
            .filter(|event| event["kind"] == "call");
        let calls =
            calls.map(|event| value!({ "ms": event["ms"], "operation": event["operation"] }));
        let calls: Value = calls.collect();
        let url = format!(
            "wss://{}/?X-Amz-ClientId={}",
            text(&trace["channel"]),
            text(&viewer["clientId"])
        );
        Some(value!({
            "startedDateTime": viewer["joined"], "time": time, "cache": {},
            "timings": { "send": 0, "wait": time, "receive": 0 },
            "request": { "method": "GET", "url": url, "httpVersion": "HTTP/1.1", "cookies": [], "headers": [],
                "queryString": [], "headersSize": -1, "bodySize": -1 },
            "response": { "status": 101, "statusText": "Switching Protocols", "httpVersion": "HTTP/1.1",
                "cookies": [], "headers": [], "content": { "size": 0, "mimeType": "" }, "redirectURL": "",
                "headersSize": -1, "bodySize": -1 },
            "_resourceType": "websocket", "_webSocketMessages": messages, "_calls": calls, "_hints": viewer["hints"],
        }))
    };
    let entries: Value = list(&trace["viewers"]).iter().filter_map(entry).collect();
    let creator = value!({ "name": "heliograph", "version": env!("CARGO_PKG_VERSION") });
    value!({ "log": { "version": "1.2", "creator": creator, "comment": trace["sentence"], "entries": entries } })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "moments, and numbers of ticks"
)]
fn whole(number: f64) -> u64 {
    number.max(0.0) as u64
}

fn ms(date: &Value) -> Option<f64> {
    date.as_str().and_then(moment).map(|at| at.0 as f64)
}

const STYLE: &str = include_str!("../../../console/drawing.css");

/// Maximum number of marks in the pictures of a response. A mark takes about half a kilobyte. Beyond this number, the
/// oldest sessions are drawn without marks.
const MARKS_MAX: usize = 1_000;
const ALIKE: usize = 4;
/// Time after an offer during which an answer may still arrive, in milliseconds.
const PATIENCE_MS: f64 = 5_000.0;
const ROWS_MAX: usize = 8;
/// Width, in pixels, of the picture that shows all sessions. Each row in it is [`ROW`] high.
const STRIP: f64 = 600.0;
const ROW: f64 = 12.0;
/// Height, in pixels, of the picture that shows a single session, including its scale. The axis is at [`MIDDLE`].
const LANE: f64 = 52.0;
const MIDDLE: f64 = 17.0;
const MARGIN: f64 = 10.0;
const GAP: f64 = 9.0;
const LABEL: f64 = 64.0;
const COARSE_MS: f64 = 10_000.0;
const MINUTE: usize = 5;
const SECOND: usize = 8;
const MILLISECOND: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;
    use std::slice;

    const NOW: f64 = 3_600_000.0;

    fn session(minute: u64, actions: &[&str], left: bool) -> Value {
        let at = |minute: u64| rfc3339(minute * 60_000);
        let events = actions.iter().zip([0.0, 14_000.0, 14_100.0]);
        let events = events.map(|(action, ms)| {
            value!({ "kind": "message", "action": action, "from": "viewer", "route": "to", "ms": ms })
        });
        let events: Value = events.collect();
        value!({ "clientId": format!("<v{minute}>"), "joined": at(minute), "left": left.then(|| at(minute + 1)),
            "events": events })
    }

    fn trace(master: bool, viewers: &[Value]) -> Value {
        let masters = value!([{ "joined": rfc3339(0), "left": if master { None } else { Some(rfc3339(1_000)) } }]);
        let mut trace = value!({ "channel": "cam", "master": masters, "viewers": viewers });
        let style = Style {
            zone: Zone(90),
            width: 600.0,
        };
        add(&mut trace, style, NOW);
        trace
    }

    #[test]
    fn sessions_together_are_a_sentence_and_folds() {
        let mute: Vec<Value> = (6..10)
            .map(|minute| session(minute, &["SDP_OFFER"], true))
            .collect();
        let good = session(3, &["SDP_OFFER", "SDP_ANSWER"], true);
        let open = session(59, &["SDP_OFFER"], false);
        let all = [slice::from_ref(&good), &mute, slice::from_ref(&open)].concat();
        let of = |master, viewers: &[Value]| {
            trace(master, viewers)["sentence"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        assert_eq!(
            of(true, &all),
            "Connected, but answers no offer: 5 viewers since 01:36."
        );
        assert_eq!(
            of(true, &[good]),
            "Connected. The last viewer was answered at 01:33:00."
        );
        assert_eq!(of(true, &[]), "Connected. No viewer has sent an offer.");
        assert_eq!(of(false, &mute), "No camera is connected.");
        assert_eq!(
            of(false, &[open]),
            "No camera is connected, and 1 viewer waits for it."
        );
        let folded = trace(true, &all);
        assert_eq!(
            folded["folds"],
            value!([{ "sessions": 1, "says": null }, { "sessions": 4, "says": "4 × unanswered, 01:36 to 01:39" },
                { "sessions": 1, "says": null }])
        );
        assert_eq!(folds(&mute[1..]).count(), 3, "three are too few");
        let text = crate::side::trace::text::whole(&folded, false);
        testkit::assert_begins(&text, "channel cam");
        testkit::assert_has(
            &text,
            &[
                "\n4 × unanswered, 00:06 to 00:09; the newest:\nviewer <v9>",
                "\nConnected, but answers no offer",
            ],
        );
    }

    #[test]
    fn marks_are_apart_and_in_order_on_a_round_scale() {
        #[rustfmt::skip] // a table, a case per row
        let cases = [
            (&[0.0, 1.0, 2.0, 14_000.0][..], 14_000.0, 600.0, &[10.0, 19.0, 28.0, 590.0][..]),
            (&[0.0, 9.0, 10.0, 10.0], 10.0, 120.0, &[10.0, 92.0, 101.0, 110.0]),
            (&[0.0; 5], 1.0, 40.0, &[10.0, 15.0, 20.0, 25.0, 30.0]),
        ];
        for (times, last, width, wanted) in cases {
            assert_eq!(places(times, last, width), wanted);
        }
        for (least, step) in [
            (2_000.0, 2_000.0),
            (0.1, 1.0),
            (20.7, 50.0),
            (501.0, 1_000.0),
        ] {
            assert_eq!(round_above(least), step, "{least}");
        }
    }

    #[test]
    fn a_trace_is_a_file_of_svg_and_an_archive() {
        let trace = trace(
            true,
            &[session(
                3,
                &["SDP_OFFER", "SDP_ANSWER", "ICE_CANDIDATE"],
                true,
            )],
        );
        let file = svg(&trace, 600.0);
        assert!(
            file.starts_with("<svg ")
                && file.contains("xmlns=\"http://www.w3.org/2000/svg\"")
                && file.ends_with("</svg>"),
            "{file}"
        );
        #[rustfmt::skip] // a list
        let cases = [
            "cam: Connected. The last viewer", "&lt;v3>: answered", "01:33:14", "+6.0 s", "mark mark-offer", "bar-good",
            "UTC+1:30",
        ];
        for part in cases {
            assert!(file.contains(part), "{part} in {file}");
        }
        assert!(!file.contains("<v3>") && file.matches("class=\"mark ").count() == 3);
        let entries = &archive(&trace)["log"]["entries"];
        assert_eq!(
            entries[0]["_webSocketMessages"][1]["data"],
            "SDP_ANSWER relayed"
        );
        assert_eq!(entries[0]["time"], 60_000.0);
        for query in ["zone=x", "zone=901", "width=199", "width=4001"] {
            assert!(Style::of(query, 0).is_err(), "{query}");
        }
        assert!(
            archive(&value!(null))["log"]["entries"].is_array()
                && svg(&value!([1]), 600.0).ends_with("</svg>")
        );
    }
}
