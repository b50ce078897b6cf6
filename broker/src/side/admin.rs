//! The admin listener, with its pages and their data.
//!
//! `access` and `tokens` control access. `accounts`, `account_sessions` and `sign_in` implement user accounts. `rules`
//! applies to all pages. `connections` and `connection_limits` handle connections. `http` defines the request and
//! response formats.

pub(crate) mod access;
pub(crate) mod account_sessions;
pub(crate) mod accounts;
mod connection_limits;
pub(crate) mod connections;
pub(crate) mod http;
mod rules;
pub(crate) mod sign_in;
pub(crate) mod tokens;

use crate::config;
use crate::side::channels::{self, presence};
use crate::side::cluster::{self, Agreement};
use crate::side::console::topics::{Hub, Sources};
use crate::side::console::{Overview, assets, events};
use crate::side::forget::{self, Memories};
use crate::side::inspector::{Inspector, Shards};
use crate::side::log::tail::LogTail;
use crate::side::problems::{self, pages::ProblemPages, watch::Watch};
use crate::side::shared_state::{Running, Status, StatusBoard};
use crate::side::trace::{self, Traces, failed_sessions};
use crate::side::try_page::{self, TryPage};
use crate::side::try_sessions::{Tries, TrySessions};
use crate::side::{Lan, Shows, backup, console, dev, hooks, refusals};
use crate::side::{lan::LanAccess, metrics::Metrics};
use access::Access;
use accounts::Accounts;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::routing::get;
use axum::{Json, Router};
use connections::Door;
use http::Fault;
use serde_json::{Value, json as value};
use std::sync::Arc;
use tokio::net::TcpListener;

/// Serves `listeners` forever, within the limits of [`Door`].
pub(crate) async fn serve(listeners: Vec<TcpListener>, status: StatusBoard, shows: Shows) {
    let access = Access::new(shows.tokens.clone(), &shows.settings.admin);
    let tokens = shows.tokens.clone();
    tokens.map(|tokens| tokio::spawn(tokens.watch()));
    let lan_access = |lan: Lan| {
        let access = LanAccess::new(lan.pairing, shows.tokens, &shows.settings);
        (lan.visits, access)
    };
    let (visits, lan) = shows.lan.map(lan_access).unzip();
    let (settings, running) = (shows.settings, status.running().clone());
    let (known, origins) = (shows.known, &settings.admin.origins);
    let accounts = Accounts::new(shows.accounts, shows.in_force.clone(), known, origins);
    let shards = Shards::new(shows.inspect, settings.shards);
    let agreement = Agreement::new(shows.in_force, shows.nodes.clone());
    let inspector = Inspector::new(shards, shows.nodes, &settings);
    let traces = Traces::new(inspector.clone(), Arc::clone(&shows.refusals.recent));
    let figures = (shows.look, shows.history, agreement.clone());
    let problems = shows.refusals.problems();
    let overview = Overview::new(figures, problems, status.clone(), &settings);
    let look_at_cluster = shows.cluster.as_ref().map(|page| Arc::clone(&page.look));
    let tail = Arc::clone(&shows.log);
    let sources = Sources {
        hub: Arc::new(Hub::new(shows.log, shows.readers.teller())),
        overview: Arc::new(overview),
        status,
        refusals: Arc::new(shows.refusals),
        troubled: shows.troubled,
        inspector,
    };
    let memories = sources.memories(tail);
    let inspector = &sources.inspector;
    let tries = of_tries(shows.tries, (&access, lan.is_some()), inspector, &running);
    let pairing = lan.as_ref().map(|lan| lan.pairing.clone());
    let routes = Router::new()
        .merge(of_process(sources.status.clone()))
        .merge(of_console(&sources))
        .merge(crate::side::metrics::routes(Metrics::new(
            shows.scrape,
            &sources,
            (shows.hooks.clone(), shows.providers, agreement.clone()),
        )))
        .merge(hooks::routes(shows.hooks, running))
        .merge(channels::routes(sources.inspector.clone(), shows.imports))
        .merge(presence::routes(sources.inspector.clone()))
        .merge(of_memories(&sources, &memories, traces.clone()))
        .merge(cluster::routes(shows.cluster))
        .merge(backup::routes(shows.backup, access.clone()))
        .merge(dev::routes(
            shows.dev,
            inspector.clone(),
            Arc::clone(&memories.refusals),
        ))
        .merge(tries)
        .merge(crate::side::lan::routes(pairing, &settings))
        .merge(crate::side::admin::sign_in::routes(accounts.clone()))
        .fallback(|| async { NO_SUCH_PAGE });
    let routes = rules::applied(access, accounts.clone(), lan, routes);
    accounts.map(|accounts| tokio::spawn(accounts.watch()));
    let own = sources.inspector.node().map(Into::into);
    let feed = Arc::clone(&sources.hub.presence);
    tokio::spawn(shows.readers.feed(feed, own, presence::LOOK_EVERY));
    tokio::spawn(memories.clone().age(settings.privacy.keep_ms));
    let watch = Watch::new(&sources, &memories, &agreement, look_at_cluster, &settings);
    tokio::spawn(watch.follow());
    follow(sources, traces, agreement, memories);
    if let Some(visits) = visits {
        tokio::spawn(connections::serve(Door::of_lan(visits), routes.clone()));
    }
    connections::serve(Door::new(listeners), routes).await;
}

impl Sources {
    fn memories(&self, tail: Arc<LogTail>) -> Memories {
        Memories {
            refusals: Arc::clone(&self.refusals),
            troubled: Arc::clone(&self.troubled),
            problems: self.refusals.problems(),
            tail,
            history: self.overview.history.lock().store(),
            inspector: self.inspector.clone(),
        }
    }
}

fn of_tries(
    tries: Tries,
    (access, has_phones): (&Access, bool),
    inspector: &Inspector,
    running: &Running,
) -> Router {
    let tries = Arc::new(tries);
    let page = TryPage {
        settings: running.settings(),
        wants_token: access.wants_token(),
        has_phones,
        channel: tries.channel.as_str().into(),
    };
    let sessions = TrySessions {
        tries,
        access: access.clone(),
        inspector: inspector.clone(),
        running: running.clone(),
    };
    try_page::routes(page, sessions)
}

fn follow(sources: Sources, traces: Traces, agreement: Agreement, memories: Memories) {
    let (hub, refusals) = (Arc::clone(&sources.hub), Arc::clone(&sources.refusals));
    tokio::spawn(events::feed_refusals(hub, refusals));
    let inspector = sources.inspector.clone();
    tokio::spawn(channels::answer_nodes(
        inspector,
        traces.clone(),
        agreement.clone(),
        memories,
    ));
    tokio::spawn(agreement.follow());
    tokio::spawn(failed_sessions::explain(
        Arc::clone(&sources.troubled),
        sources.refusals.problems(),
        Arc::clone(&sources.overview),
        traces,
    ));
    tokio::spawn(events::feed(sources));
}

fn of_console(sources: &Sources) -> Router {
    let (figures, troubled) = (Arc::clone(&sources.overview), Arc::clone(&sources.troubled));
    Router::new()
        .route("/", get(assets::index))
        .route("/assets/{*path}", get(assets::asset))
        .merge(settled(console::routes(figures, troubled), sources))
        .merge(events::routes(sources.clone()))
}

fn of_memories(sources: &Sources, memories: &Memories, traces: Traces) -> Router {
    let problems = problems::pages::routes(ProblemPages {
        problems: Arc::clone(&memories.problems),
        inspector: memories.inspector.clone(),
    });
    Router::new()
        .merge(settled(trace::routes(traces).merge(problems), sources))
        .merge(refusals::routes(
            Arc::clone(&sources.refusals),
            memories.inspector.clone(),
        ))
        .merge(crate::side::history::routes(
            memories.history.clone(),
            memories.inspector.clone(),
        ))
        .merge(crate::side::log::page::routes(
            Arc::clone(&memories.tail),
            memories.inspector.clone(),
        ))
        .merge(forget::routes(memories.clone()))
}

/// Delays the responses of the pages in `routes` until the log thread has caught up. A page must include every request
/// whose outcome the client has already seen.
fn settled(routes: Router, sources: &Sources) -> Router {
    let refusals = Arc::clone(&sources.refusals);
    routes.route_layer(middleware::from_fn(move |request: Request, next: Next| {
        let refusals = Arc::clone(&refusals);
        async move {
            refusals.settled().await;
            next.run(request).await
        }
    }))
}

fn of_process(status: StatusBoard) -> Router {
    Router::new()
        .route("/config", get(config))
        .route("/live", get(live))
        .route("/ready", get(ready))
        .with_state(status)
}

async fn live(State(board): State<StatusBoard>) -> Json<Value> {
    told(board.status())
}

async fn ready(State(board): State<StatusBoard>) -> (StatusCode, Json<Value>) {
    let status = board.status();
    let code = match status {
        Status::Ok => StatusCode::OK,
        Status::Starting | Status::Draining | Status::StoreFailed => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    (code, told(status))
}

async fn config(State(board): State<StatusBoard>) -> Json<Value> {
    Json(config::json(&board.running().settings()))
}

fn told(status: Status) -> Json<Value> {
    Json(value!({ "status": status.as_str() }))
}

const NO_SUCH_PAGE: Fault = Fault::not_found(
    "no such page: /live, /ready, /metrics, /config, /overview, /events, /channels, /channels/{name}, \
     /channels/{name}/trace, /channels/{name}/disconnect, /presence, /problems, /problems/{id}, /history, /refusals, \
     /refusals/{id}, /log, /forget, /sessions/{shard}/{connection}, /usage, /ice/reconnect, /import, /backup",
);

#[cfg(test)]
mod tests;
