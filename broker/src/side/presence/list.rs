//! `GET /presence`: the channels on which anybody is connected or waits, by name, a page at a time.

use crate::side::admin::answer::{Answer, Fault};
use crate::side::admin::request::parameter;
use crate::side::channels::paging::{Listing, Search, gather, limit_of, place_of};
use crate::side::inspect::inspector::Inspector;
use crate::side::presence::entry::entry;
use axum::extract::{RawQuery, State};
use axum::routing::get;
use axum::{Json, Router};
use broker_core::id::Identity;
use broker_core::shard::ChannelLine;
use codec::identifiers::ChannelName;
use serde_json::Value;

/// The page.
pub(crate) fn routes(inspector: Inspector) -> Router {
    Router::new()
        .route("/presence", get(list))
        .with_state(inspector)
}

/// `GET /presence?after=&limit=&scope=`: of all nodes, unless the scope is `node`.
async fn list(State(inspector): State<Inspector>, RawQuery(query): RawQuery) -> Answer {
    let query = query.unwrap_or_default();
    let limit = limit_of(&query)?;
    let own = own_page(&inspector, &query);
    Ok(Json(PAGES.of_all(&inspector, &query, limit, own).await?))
}

/// The page of this node.
pub(crate) async fn own_page(inspector: &Inspector, query: &str) -> Result<Value, Fault> {
    let after = parameter(query, "after")?;
    let after = after.map(|after| place(inspector, &after).ok_or(BAD_AFTER));
    let search = Search {
        prefix: "",
        after: after.transpose()?,
        viewer: None,
        presence: true,
        limit: limit_of(query)?,
    };
    let is_used: &(dyn Fn(&ChannelLine) -> bool + Sync) = &|line| line.presence.is_some();
    let (lines, more) = gather(inspector, search, Some(is_used)).await?;
    let states = lines
        .iter()
        .filter_map(|(_, line)| line.presence.as_deref());
    let entries = states.map(|presence| entry(presence, inspector.node()));
    let last = lines.last().filter(|_| more);
    Ok(PAGES.page(entries.collect(), last.map(|(_, line)| &line.identity)))
}

/// The channel after which a page begins: the `next` of the page before, or the name of one of the configured account.
fn place(inspector: &Inspector, after: &str) -> Option<Identity> {
    match ChannelName::parse(after) {
        Ok(_) => Some(inspector.own(after)),
        Err(_) => place_of(after),
    }
}

/// Pages of states.
const PAGES: Listing = Listing {
    path: "/presence",
    entries: "presence",
    next: "next",
    channel: "/channel",
    place: |identity| identity.as_str().to_owned(),
};
const BAD_AFTER: Fault =
    Fault::bad("after: must be the next of the page before, or a channel's name");
