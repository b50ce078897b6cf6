//! `GET /events?topics=…`: server-sent events for pages that update live.
//!
//! ```text
//!  overview      snapshot, then the figures once a second        one look at the shards for all watchers
//!  refusals      snapshot, then refusals as they are recorded
//!  troubled      snapshot, then all when one is added or explained, once a second at most
//!  log           snapshot, then lines as they are written
//!  channel:NAME  the channel when it changes, once a second at most; also channel:REGION/ACCOUNT/NAME
//!  presence      `resync`: read `GET /presence`; then `presence` of any channel of this node when it changes
//!  presence:NAME `presence` of the channel, or `absent`; then when it changes
//! ```
//! In addition to its topics, every stream receives `draining`, `skipped` (there were too many events in a second),
//! `lagged` (the client reads too slowly; a snapshot of the topic follows), and a comment every 15 s.

use crate::limits::TOPICS_MAX;
use crate::side::admin::connections::Seat;
use crate::side::admin::http::Fault;
use crate::side::console::stream::Body;
use crate::side::console::topics::{Hub, Sources, Topic};
use crate::side::{inspector::Inspector, refusals::Refusals, shared_state::Status};
use axum::extract::{ConnectInfo, RawQuery, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, body};
use broker_core::id::Identity;
use codec::http::{decode, pairs};
use codec::identifiers::ChannelName;
use serde_json::json as value;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::{MissedTickBehavior, interval};

pub(crate) fn routes(sources: Sources) -> Router {
    Router::new()
        .route("/events", get(events))
        .with_state(sources)
}

/// Feeds the streams for the lifetime of the process. Once a second, queries the channels that are watched.
pub(crate) async fn feed(sources: Sources) {
    let mut every = interval(Duration::from_secs(1));
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut drains, mut troubled) = (false, 0);
    let hub = &sources.hub;
    loop {
        every.tick().await;
        hub.tick(Instant::now());
        if sources.status.status() == Status::Draining && !drains {
            drains = true;
            hub.notices.send("draining", || value!({}));
        }
        let version = sources.troubled.version();
        if std::mem::replace(&mut troubled, version) != version {
            let sessions = || value!({ "sessions": sources.troubled.json() });
            hub.troubled.send("troubled", sessions);
        }
        if hub.overview.is_watched() {
            let figures = sources.overview.event().await;
            hub.overview.send("overview", || figures);
        }
        for channel in hub.watched() {
            let state = sources.channel_state(&channel).await;
            hub.update(&channel, state);
        }
        // Shards on other nodes do not report presence to this node, so channels that are watched by name are polled.
        if let Some(own) = sources.inspector.node() {
            for channel in hub.named() {
                match sources.presence_of(&channel).await {
                    Ok(state) if state["node"] != own => hub.update_presence(&channel, &state),
                    Ok(_) | Err(_) => {}
                }
            }
        }
    }
}

pub(crate) async fn feed_refusals(hub: Arc<Hub>, refusals: Arc<Refusals>) {
    loop {
        refusals.recent.noted().await;
        refusals.publish(&hub.refusals);
    }
}

async fn events(
    State(sources): State<Sources>,
    ConnectInfo(seat): ConnectInfo<Seat>,
    RawQuery(query): RawQuery,
) -> Result<Response, Response> {
    let topics = topics(&sources.inspector, query.as_deref().unwrap_or_default());
    let topics = topics.map_err(IntoResponse::into_response)?;
    let place = sources.hub.place();
    let place = place.ok_or_else(|| full("32 event streams are open: close one, or try again"))?;
    let watches = topics.into_iter().map(|topic| sources.hub.watch(topic));
    let watches = watches.collect::<Option<_>>();
    let watches =
        watches.ok_or_else(|| full("16 channels are watched: close a page, or try again"))?;
    seat.becomes_a_stream();
    let events = Body::start(sources, watches, seat, place);
    let kind = [(header::CONTENT_TYPE, "text/event-stream")];
    Ok((kind, body::Body::from_stream(events)).into_response())
}

fn full(text: &'static str) -> Response {
    let fault = Fault::unavailable(text);
    ([(header::RETRY_AFTER, "5")], fault).into_response()
}

fn topics(inspector: &Inspector, query: &str) -> Result<Vec<Topic>, Fault> {
    let list = pairs(query).find(|(name, _)| *name == "topics");
    let list = decode(list.map_or("", |(_, list)| list)).map_err(|_| BAD_TOPICS)?;
    let mut topics = vec![Topic::Notices];
    for name in list.split(',') {
        let topic = match name {
            "overview" => Topic::Overview,
            "log" => Topic::Log,
            "refusals" => Topic::Refusals,
            "troubled" => Topic::Troubled,
            "presence" => Topic::Presence,
            _ => match name.split_once(':') {
                Some(("channel", place)) => Topic::Channel(channel(inspector, place, query)?),
                Some(("presence", name)) if ChannelName::parse(name).is_ok() => {
                    Topic::PresenceOf(inspector.identity(name, query)?)
                }
                Some(_) | None => return Err(BAD_TOPICS),
            },
        };
        if topics.contains(&topic) && matches!(topic, Topic::Channel(_)) {
            continue; // named twice, once by name and once by full path
        }
        if topics.contains(&topic) || topics.len() > TOPICS_MAX {
            return Err(BAD_TOPICS);
        }
        topics.push(topic);
    }
    Ok(topics)
}

/// Parses the channel of a topic. A plain `NAME` refers to a channel in the region and account given by the query. Any
/// other channel has the form `REGION/ACCOUNT/NAME`.
fn channel(inspector: &Inspector, place: &str, query: &str) -> Result<Identity, Fault> {
    let mut parts = place.rsplitn(2, '/');
    let name = parts.next().unwrap_or_default();
    if ChannelName::parse(name).is_err() {
        return Err(BAD_TOPICS);
    }
    let Some(place) = parts.next() else {
        return inspector.identity(name, query);
    };
    let (region, account) = place.split_once('/').ok_or(BAD_TOPICS)?;
    Ok(Identity::new(region, account, name))
}

const BAD_TOPICS: Fault = Fault::bad(
    "topics: expected up to 16 of overview, troubled, refusals, log, presence, channel:NAME and presence:NAME, each \
     once, separated by commas",
);
