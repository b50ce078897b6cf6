//! Channel traces: recorded events, probable causes of problems, and viewers whose sessions failed or were degraded.
//!
//! This file serves `GET /channels/{name}/trace` and reads the notes (recorded events) that a shard keeps about a
//! channel. `timeline` groups the notes into connections with their events and facts. `hints` contains tables of
//! conditions on these facts, with a sentence for each condition. `failed_sessions` stores sessions that failed. The
//! trace document is the only model of a session: `drawing` creates pictures and archives from it, and `text` creates
//! terminal output. All text from clients is escaped by the JSON library.

mod drawing;
pub(crate) mod failed_sessions;
mod hints;
pub(crate) mod text;
mod timeline;

use crate::edge::turn::calendar;
use crate::limits::{SUGGESTING_EVENTS_MAX, TRACE_EVENTS_MAX};
use crate::side::admin::http::{Fault, SILENT, limit, parameter, rfc3339, time, unusable};
use crate::side::inspector::{Inspector, NO_SUCH_CHANNEL, name_node};
use crate::side::recent_refusals::Recent;
use axum::extract::{Path, RawQuery, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use broker_core::journal::Refused;
use broker_core::shard::{Passage, Question, Reply, RoleBy, Towards, TraceEvent, TraceKind};
use broker_core::{event::Outcome, id::Identity, time::Wall};
use drawing::Style;
use hints::{Hint, HintKind, of_master, of_viewer};
use serde_json::{Map, Value, json as value};
use std::net::SocketAddr;
use std::sync::Arc;
use timeline::{Story, TimelineConnection, TimelineReading};
use tokio::sync::Mutex;

pub(crate) fn routes(traces: Traces) -> Router {
    Router::new()
        .route("/channels/{name}/trace", get(trace))
        .with_state(traces)
}

/// `GET /channels/{name}/trace?client=&since=&limit=&scope=&zone=&width=&seen=&format=`: returns the trace of a
/// channel.
async fn trace(
    State(traces): State<Traces>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Fault> {
    let query = query.unwrap_or_default();
    let format = parameter(&query, "format")?;
    let is_picture = format.as_deref() == Some("svg");
    let style = Style::of(&query, if is_picture { PICTURE_WIDTH } else { 0 })?;
    let own = own_trace(&traces, &name, &query).await;
    let path = format!("/channels/{name}/trace");
    let mut document = traces.inspector.found((&path, &query), own).await?;
    add_seen(&mut document, &query)?;
    drawing::add(&mut document, style, calendar().0 as f64);
    Ok(match format.as_deref() {
        None | Some("json") => Json(document).into_response(),
        Some("har") => Json(drawing::archive(&document)).into_response(),
        Some("text") => text::whole(&document, false).into_response(),
        Some("svg") => {
            let kind = (header::CONTENT_TYPE, "image/svg+xml");
            // The picture contains its style sheet.
            let policy = (
                header::CONTENT_SECURITY_POLICY,
                "default-src 'none'; style-src 'unsafe-inline'",
            );
            ([kind, policy], drawing::svg(&document, style.width)).into_response()
        }
        Some(other) => return Err(unusable("format", "json, har, svg or text", other)),
    })
}

pub(crate) async fn own_trace(traces: &Traces, name: &str, query: &str) -> Result<Value, Fault> {
    let identity = traces.inspector.identity(name, query)?;
    let wanted = TraceQuery {
        client: parameter(query, "client")?,
        since: time(query, "since", calendar().0)?,
        limit: limit(query, LIMIT_DEFAULT, LIMIT_MAX)?,
    };
    let mut document = {
        let _turn = traces.turn.lock().await;
        let reading = traces.read(&identity, TRACE_EVENTS_MAX).await?;
        document(identity.name(), reading, &wanted, traces.inspector.ping_ms)
    };
    let is_about =
        |it: &Refused| it.status < 400 && it.claims.channel.as_deref() == Some(identity.name());
    for noticed in traces.recent.find(NOTICED_SHOWN_MAX, is_about).refusals {
        // The request was served although its signature had a flaw, such as one that only `--dev` tolerates.
        let why = noticed.policy.as_deref();
        let why = why.unwrap_or_else(|| noticed.check.says());
        for name in ["viewers", "master"] {
            let mut connections = document[name].as_array_mut().into_iter().flatten();
            let one = connections.find(|one| one["remote"] == noticed.remote.to_string());
            if let Some(hints) = one.and_then(|one| one["hints"].as_array_mut()) {
                hints.push(format!("its signature is {why}").into());
            }
        }
    }
    name_node(&mut document, traces.inspector.node());
    Ok(document)
}

/// Adds what a viewer reports about the peer connection of its newest session. Signaling alone does not reveal this.
/// `seen` is the viewer's client id, followed by `word@ms` for each event. Times are in milliseconds since the viewer's
/// WebSocket opened.
fn add_seen(document: &mut Value, query: &str) -> Result<(), Fault> {
    let Some(seen) = parameter(query, "seen")? else {
        return Ok(());
    };
    let (client, seen) = seen.split_once(',').unwrap_or((&seen, ""));
    let viewers = document["viewers"].as_array_mut().into_iter().flatten();
    let own = viewers.rev().find(|it| it["clientId"] == client);
    let events = own.and_then(|it| it["events"].as_array_mut());
    let mut more = Vec::new();
    for part in seen.split(',').take(SEEN.len()) {
        let event = part.split_once('@').and_then(|(word, ms)| {
            let word = SEEN.iter().find(|it| **it == word)?;
            let ms = ms.parse::<u32>().ok()?;
            Some(value!({ "kind": "peer", "says": word.replace('_', " "), "ms": ms }))
        });
        more.push(event.ok_or_else(|| unusable("seen", "CLIENT,peer_connected@MS,…", part))?);
    }
    if let Some(events) = events {
        events.append(&mut more);
        let ms = |event: &Value| event["ms"].as_f64().unwrap_or_default();
        events.sort_by(|one, other| ms(one).total_cmp(&ms(other)));
    }
    Ok(())
}

struct TraceQuery {
    client: Option<String>,
    since: Option<Wall>,
    limit: usize,
}

/// Readings of both clocks at the time of the trace, used to convert monotonic times to dates.
#[derive(Clone, Copy)]
struct TraceClocks(Wall, u64);

impl TraceClocks {
    fn date(self, us: u64) -> String {
        let Self(wall, now) = self;
        rfc3339(Wall(wall.0.saturating_sub(now.saturating_sub(us) / 1000)))
    }

    fn since(self, date: Wall) -> u64 {
        let Self(wall, now) = self;
        now.saturating_sub(wall.0.saturating_sub(date.0).saturating_mul(1000))
    }
}

fn document(name: &str, reading: TimelineReading, wanted: &TraceQuery, ping_ms: u64) -> Value {
    let (wall, now) = reading.read;
    let (clocks, since_us) = (TraceClocks(wall, now), reading.since_us);
    let mut story = Story::of(reading);
    if let Some(client) = &wanted.client {
        story.only(client);
    }
    if let Some(since) = wanted.since {
        story.since(clocks.since(since));
    }
    story.newest(wanted.limit);
    let viewers: Vec<Value> = (story.viewers.iter())
        .map(|one| viewer(one, clocks, ping_ms))
        .collect();
    let masters: Vec<Value> = (story.masters.iter())
        .map(|one| master(one, clocks, ping_ms))
        .collect();
    value!({
        "channel": name,
        "recording": since_us.is_some(),
        "reachesBackTo": since_us.map(|us| clocks.date(us)),
        "viewers": viewers,
        "master": masters,
        "truncated": story.cut,
    })
}

/// Maximum number of requests with a flawed signature for which a channel's trace gives a hint. These requests were
/// served despite the flaw.
const NOTICED_SHOWN_MAX: usize = 64;

fn viewer(one: &TimelineConnection, clocks: TraceClocks, ping_ms: u64) -> Value {
    let facts = &one.facts;
    let events: Vec<Value> = (one.events.iter()).map(|event| shown(event, one)).collect();
    let hints = of_viewer(facts);
    let mut viewer = connection(one, clocks, ping_ms, &hints);
    // If a session had no problems, its last hint is shown as a fact.
    viewer["done"] = is_done(&hints).into();
    viewer["clientId"] = one.client_id.as_deref().into();
    viewer["summary"] = value!({
        "offerMs": facts.offer.map(rounded),
        "answerMs": facts.answer.or(facts.early).map(rounded),
        "firstCandidateMs": {
            "viewer": facts.viewer_trickled.map(rounded),
            "master": facts.master_trickled.map(rounded),
        },
        "lastCandidateMs": {
            "viewer": last_candidate(&events, "viewer"),
            "master": last_candidate(&events, "master"),
        },
        "candidates": { "viewer": facts.viewer_candidates, "master": facts.master_candidates },
    });
    viewer["events"] = events.into();
    viewer
}

/// Returns the time of the last candidate that one side sent. As far as signaling shows, trickle ICE was complete at
/// that time.
fn last_candidate(events: &[Value], from: &str) -> Value {
    let is_own = |it: &&Value| it["action"] == "ICE_CANDIDATE" && it["from"] == from;
    let last = events.iter().rfind(is_own);
    last.map_or(Value::Null, |it| it["ms"].clone())
}

fn master(one: &TimelineConnection, clocks: TraceClocks, ping_ms: u64) -> Value {
    let (mut refused, mut unaccepted) = (0, Map::new());
    for (reason, (count, _)) in &one.facts.unaccepted {
        refused += count * usize::from(Outcome::of(*reason) == Outcome::Refused);
        unaccepted.insert(reason.label().to_owned(), (*count).into());
    }
    let mut master = connection(one, clocks, ping_ms, &of_master(&one.facts));
    let of_itself = |event: &&TraceEvent| !matches!(event.kind, TraceKind::Message { .. });
    let events = one.events.iter().filter(of_itself);
    master["events"] = events.map(|event| shown(event, one)).collect();
    master["superseded"] = one.facts.taken_over.is_some().into();
    master["unconfirmed"] = one.facts.unconfirmed.into();
    master["refused"] = refused.into();
    master["unaccepted"] = unaccepted.into();
    master
}

fn is_done(hints: &[Hint]) -> bool {
    (hints.last()).is_some_and(|hint| hint.kind == HintKind::SignalingDone)
}

fn connection(
    one: &TimelineConnection,
    clocks: TraceClocks,
    ping_ms: u64,
    hints: &[Hint],
) -> Value {
    let peer = one.peer.as_ref();
    let (left, reason) = one.left.unzip();
    let reason = reason.flatten();
    let hints = hints.iter().map(|hint| hint.says.clone());
    let ended_by_proxy = one.ended_by_proxy(ping_ms);
    let hints: Vec<String> = ended_by_proxy.clone().into_iter().chain(hints).collect();
    value!({
        "connection": peer.map(|peer| peer.session.pack()),
        "remote": peer.map(|peer| peer.remote.to_string()),
        "joined": peer.map(|_| clocks.date(one.joined_us)),
        "roleBy": one.facts.role_by.map(RoleBy::label),
        "left": left.map(|us| clocks.date(us)),
        "reason": reason.map(|reason| reason.to_string()),
        "says": reason.map(|reason| reason.says()),
        "endedByProxy": ended_by_proxy,
        "hints": hints,
    })
}

fn shown(event: &TraceEvent, of: &TimelineConnection) -> Value {
    let mut shown = match &event.kind {
        TraceKind::Joined(..) => value!({ "kind": "join" }),
        TraceKind::Left(_, reason) => {
            let says = reason.map(|reason| reason.says());
            value!({ "kind": "left", "reason": reason.map(|reason| reason.to_string()), "says": says })
        }
        TraceKind::Superseded(_, by, _) => value!({ "kind": "superseded", "by": by.pack() }),
        TraceKind::ToldToGo(_) => value!({ "kind": "go_away" }),
        TraceKind::ApiCall { operation, .. } => {
            value!({ "kind": "call", "operation": operation.name() })
        }
        TraceKind::Message {
            action,
            towards,
            passage,
            bytes,
            most,
            candidates,
            ..
        } => {
            let from = match towards {
                Towards::Master => "viewer",
                Towards::Viewer => "master",
            };
            let action = action.map_or("unknown", |action| action.as_str());
            let (kind, field, word) = words(*passage);
            let bytes = Some(*bytes).filter(|bytes| *bytes > 0);
            let mut shown = value!({ "kind": kind, "action": action, "from": from, "bytes": bytes, field: word });
            if let Passage::Unaccepted(reason) = passage {
                shown["reason"] = reason.label().into();
                shown["says"] = reason.says(bytes.unwrap_or_default(), *most).into();
            }
            if *passage == Passage::ForCall {
                shown["says"] = "an answer over HTTP takes no candidates apart".into();
            }
            if *passage == Passage::CallEnded {
                let status = bytes.unwrap_or_default();
                shown = value!({ "kind": kind, "from": from, "status": status });
            }
            if let Some(candidates) = candidates {
                shown["candidates"] = (*candidates).into();
            }
            shown
        }
    };
    shown["ms"] = rounded(of.ms(event.at_us)).into();
    shown["serial"] = event.serial.into();
    shown
}

/// Returns how a trace represents a stage of a message: the event kind, and the name and value of the detail member.
fn words(passage: Passage) -> (&'static str, &'static str, &'static str) {
    match passage {
        Passage::Relayed => ("message", "route", "to"),
        Passage::Kept => ("message", "route", "kept"),
        Passage::Unaccepted(reason) => ("message", "route", Outcome::of(reason).label()),
        Passage::AnsweredCall => ("message", "route", "answers_call"),
        Passage::Called => ("message", "route", "call"),
        Passage::Gathered => ("message", "route", "for_player"),
        Passage::CallEnded => ("answered", "route", "player"),
        Passage::TooLateForCall => ("message", "route", "late_for_call"),
        Passage::ForCall => ("message", "route", "for_call"),
        Passage::Late => ("message", "route", "late"),
        Passage::Delivered => ("delivered", "after", "kept"),
        Passage::Confirmed => ("confirmed", "after", "sent"),
        Passage::Returned => ("returned", "after", "unsent"),
        Passage::Unconfirmed => ("returned", "after", "unconfirmed"),
        Passage::Repeated => ("delivered", "after", "restart"),
        Passage::Overwritten => ("dropped", "why", "overwritten"),
        Passage::Expired => ("dropped", "why", "expired"),
        Passage::Evicted => ("dropped", "why", "evicted"),
        Passage::Withdrawn => ("dropped", "why", "withdrawn"),
    }
}

fn rounded(ms: f64) -> f64 {
    (ms * 10.0).round() / 10.0
}

const SEEN: [&str; 3] = ["peer_connected", "peer_failed", "first_frame"];

const LIMIT_DEFAULT: usize = 500;

const LIMIT_MAX: usize = 5_000;

const PICTURE_WIDTH: i32 = 900;

// Reads the notes that shards keep about a channel.

/// Access to channel traces. Clones share it.
#[derive(Clone)]
pub(crate) struct Traces {
    pub(crate) inspector: Inspector,
    /// Requests that were refused, or that were served despite a flawed signature.
    recent: Arc<Recent>,
    /// Ensures that only one trace is read at a time. See [`TRACE_EVENTS_MAX`].
    turn: Arc<Mutex<()>>,
}

impl Traces {
    pub(crate) fn new(inspector: Inspector, recent: Arc<Recent>) -> Self {
        Self {
            inspector,
            recent,
            turn: Arc::default(),
        }
    }

    /// Returns the hints for a viewer's connection from this address, or `None` if the shard no longer has events of
    /// the connection.
    async fn hints(
        &self,
        identity: &Identity,
        client_id: &str,
        remote: SocketAddr,
    ) -> Option<Vec<Hint>> {
        let _turn = self.turn.lock().await;
        let reading = self.read(identity, SUGGESTING_EVENTS_MAX).await;
        let story = Story::of(reading.ok()?);
        let mut newest = story.viewers.iter().rev();
        let one = newest.find(|one| {
            let from = one.peer.as_ref().map(|peer| peer.remote);
            from == Some(remote) && one.client_id.as_deref() == Some(client_id)
        });
        one.map(|one| of_viewer(&one.facts))
    }

    /// Reads the notes on a channel from newest to oldest, in steps, until there are `most` events.
    async fn read(&self, identity: &Identity, most: usize) -> Result<TimelineReading, Fault> {
        let mut reading = TimelineReading::default();
        let mut from = None;
        loop {
            let question = Question::Trace {
                identity: identity.clone(),
                from,
                limit: most - reading.events.len(),
            };
            let shards = &self.inspector.shards;
            let step = match shards.ask_home(identity.clone(), question).await {
                None => return Err(SILENT),
                Some((_, Reply::Trace(Some(step)))) => *step,
                Some(_) => return Err(NO_SUCH_CHANNEL),
            };
            if from.is_none() {
                (reading.read, reading.connected) = (step.read, step.connected);
            }
            reading.repeats_after_ms = step.repeats_after_ms;
            reading.since_us = step.since_us;
            reading.events.extend(step.events);
            reading.cut = step.next.is_some();
            from = step.next;
            if from.is_none() || reading.events.len() >= most {
                return Ok(reading);
            }
        }
    }
}
