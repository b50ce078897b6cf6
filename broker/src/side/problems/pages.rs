//! `/problems`: lists the causes on all nodes, shows the details of one cause, and lets operators mark a cause as
//! known.

use crate::edge::turn::calendar;
use crate::limits::{
    PROBLEM_MEMBERS_MAX, PROBLEM_MEMBERS_SHOWN, PROBLEM_WHY_CHARS_MAX, PROBLEMS_KEPT_MAX,
    PROBLEMS_SHOWN_MAX,
};
use crate::side::admin::account_sessions::Account;
use crate::side::admin::connections::Seat;
use crate::side::admin::http::{Answer, Fault, is_json, limit, moment, parameter};
use crate::side::inspector::Inspector;
use crate::side::log::line;
use crate::side::problems::Problems;
use crate::side::problems::rows::{Known, Row, id_of, network};
use crate::side::problems::table::Table;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use broker_core::limits::LIST_PAGE_MAX;
use broker_core::shard::{Question, Reply};
use serde::Deserialize;
use serde_json::{Value, json as value};
use std::cmp::Reverse;
use std::sync::Arc;

#[derive(Clone)]
pub(crate) struct ProblemPages {
    pub(crate) problems: Arc<Problems>,
    pub(crate) inspector: Inspector,
}

pub(crate) fn routes(pages: ProblemPages) -> Router {
    Router::new()
        .route("/problems", get(list))
        .route("/problems/{id}", get(one))
        .route("/problems/{id}/known", post(mark).delete(unmark))
        .with_state(pages)
}

/// `GET /problems?ended=&limit=&scope=`: returns the causes on all nodes or, if the scope is `node`, on this node.
async fn list(State(pages): State<ProblemPages>, RawQuery(query): RawQuery) -> Answer {
    let query = query.unwrap_or_default();
    let mut document = pages.problems.page(&query)?;
    let Some(nodes) = pages.inspector.scope(&query)? else {
        return Ok(Json(document));
    };
    let (lists, sums) = (["problems"], ["/open", "/ended", "/leftOut"]);
    let joined = nodes.join("/problems", &query, &mut document, &lists, &sums);
    joined.await?;
    if let Some(rows) = document["problems"].as_array_mut() {
        rows.sort_by_cached_key(|row| {
            let first = row["first"].as_str().unwrap_or_default().to_owned();
            let (is_over, is_mild) = (!row["ended"].is_null(), row["look"] == "warn");
            (is_over, is_mild, Reverse(row["channels"].as_u64()), first)
        });
    }
    Ok(Json(document))
}

/// `GET /problems/{id}`: returns one cause. For each value that its members share, also returns how many healthy
/// cameras have the same value.
async fn one(State(pages): State<ProblemPages>, Path(id): Path<String>) -> Answer {
    let own = pages.problems.row(&id, |_| ());
    let is_own = own.is_ok();
    let path = format!("/problems/{id}");
    let mut document = pages.inspector.found((&path, ""), own).await?;
    if is_own {
        pages.compare(&mut document).await;
    }
    Ok(Json(document))
}

impl ProblemPages {
    /// Counts the connected cameras that have the same key, principal or network as the members of a cause. Considers
    /// only the first channels of each shard. User agents are not compared, since shards do not store them for open
    /// connections.
    async fn compare(&self, document: &mut Value) {
        let question = Question::Page {
            prefix: "".into(),
            after: None,
            limit: LIST_PAGE_MAX,
            viewer: None,
            presence: true,
        };
        let Some(replies) = self.inspector.shards.ask_all(question).await else {
            return;
        };
        let pages = replies.into_iter().filter_map(|(_, reply)| {
            let Reply::Page(lines, _) = reply else {
                return None;
            };
            Some(lines)
        });
        let cameras = pages.flatten().filter_map(|line| {
            let (principal, key) = line.credential.unzip();
            let remote = line.presence?.master?.remote;
            Some([Some(network(remote).into()), principal, key])
        });
        let cameras: Vec<[Option<Box<str>>; 3]> = cameras.collect();
        for shared in document["shared"].as_array_mut().into_iter().flatten() {
            let kinds = ["network", "principal", "key"];
            let Some(kind) = kinds.iter().position(|kind| shared["what"] == *kind) else {
                continue;
            };
            let values = cameras.iter().filter_map(|of| of[kind].as_deref());
            let same = values.filter(|value| shared["value"] == **value).count();
            (shared["healthy"], shared["ofHealthy"]) = (same.into(), cameras.len().into());
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    until: String,
    why: String,
}

/// `POST /problems/{id}/known` with `{"until": "…", "why": "…"}`: marks a cause as known.
async fn mark(
    State(pages): State<ProblemPages>,
    ConnectInfo(seat): ConnectInfo<Seat>,
    Path(id): Path<String>,
    account: Option<Extension<Account>>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    is_json(&headers)?;
    let Mark { until, why } = serde_json::from_slice(&body).map_err(|_| BAD_MARK)?;
    let until = moment(&until).filter(|until| *until > calendar());
    let until = until.ok_or(BAD_MARK)?;
    if why.trim().is_empty() || why.chars().count() > PROBLEM_WHY_CHARS_MAX {
        return Err(BAD_MARK);
    }
    let by = name_of(account.as_ref());
    let known = Known {
        until,
        by: by.into(),
        why: why.as_str().into(),
    };
    let document = pages.problems.row(&id, |row| row.known = Some(known))?;
    line::marked(&id, by, Some(&why), seat.remote());
    Ok(Json(document))
}

async fn unmark(
    State(pages): State<ProblemPages>,
    ConnectInfo(seat): ConnectInfo<Seat>,
    Path(id): Path<String>,
    account: Option<Extension<Account>>,
) -> Answer {
    let document = pages.problems.row(&id, |row| row.known = None)?;
    line::marked(&id, name_of(account.as_ref()), None, seat.remote());
    Ok(Json(document))
}

fn name_of(account: Option<&Extension<Account>>) -> &str {
    account.map_or("token", |Extension(account)| account.names().1)
}

impl Problems {
    pub(crate) fn page(&self, query: &str) -> Result<Value, Fault> {
        let ended = match parameter(query, "ended")?.as_deref() {
            None => None,
            Some("true") => Some(true),
            Some("false") => Some(false),
            Some(_) => return Err(Fault::bad("ended: must be true or false")),
        };
        let limit = limit(query, PROBLEMS_SHOWN_MAX, PROBLEMS_KEPT_MAX)?;
        let table = self.lock();
        let fits = |row: &&Row| ended.is_none_or(|ended| row.ended.is_some() == ended);
        let fitting = table.rows.values().filter(fits).count();
        let open = table.rows.values().filter(|row| row.ended.is_none());
        let open = open.count();
        Ok(value!({
            "problems": table.list(limit, fits),
            "open": open,
            "ended": table.rows.len() - open,
            "leftOut": fitting.saturating_sub(limit) as u64 + table.left_out,
        }))
    }

    /// Applies a change to a row. Returns the row's document with all stored members.
    pub(crate) fn row(&self, id: &str, change: impl FnOnce(&mut Row)) -> Result<Value, Fault> {
        let mut table = self.lock();
        let id = id_of(id).ok_or(NO_SUCH_PROBLEM)?;
        let row = table.rows.get_mut(&id).ok_or(NO_SUCH_PROBLEM)?;
        change(row);
        let mut document = row.json(id, PROBLEM_MEMBERS_MAX);
        document["more"] = row.channels.len().saturating_sub(row.members.len()).into();
        Ok(document)
    }

    pub(crate) fn show(&self, document: &mut Value) {
        let table = self.lock();
        document["problems"] = table.list(PROBLEMS_SHOWN_MAX, |_| true);
        document["problemsOpen"] = table.counts().iter().sum::<u64>().into();
    }

    /// Returns the number of open causes for each severity in [`LOOKS`], not counting causes that are marked as known.
    pub(crate) fn open(&self) -> [u64; LOOKS.len()] {
        self.lock().counts()
    }
}

impl Table {
    fn list(&self, most: usize, fits: impl Fn(&&Row) -> bool) -> Value {
        let rows = self.rows.iter().filter(|(_, row)| fits(row));
        let mut rows: Vec<(&u64, &Row)> = rows.collect();
        rows.sort_by_cached_key(|(_, row)| row.order());
        let shown = rows.iter().take(most);
        let shown = shown.map(|(id, row)| row.json(**id, PROBLEM_MEMBERS_SHOWN));
        shown.collect()
    }

    fn counts(&self) -> [u64; LOOKS.len()] {
        let mut counts = [0; LOOKS.len()];
        for row in self.rows.values().filter(|row| row.is_open()) {
            counts[usize::from(row.look() == LOOKS[1])] += 1;
        }
        counts
    }
}

/// The values of [`Row::look`].
pub(crate) const LOOKS: [&str; 2] = ["bad", "warn"];

const NO_SUCH_PROBLEM: Fault =
    Fault::not_found("no such problem here: it ended a while ago, or was evicted; see /problems");

const BAD_MARK: Fault = Fault::bad(
    "the body must be {\"until\":\"…\",\"why\":\"…\"}, with a future moment in UTC, such as 2026-01-02T03:04:05Z, \
     and a reason of 1 to 256 characters",
);
