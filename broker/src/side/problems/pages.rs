//! `/problems`: the list, one cause in full, and the operator's mark that one is known.

use crate::edge::turn::calendar;
use crate::limits::{
    PROBLEM_MEMBERS_MAX, PROBLEM_MEMBERS_SHOWN, PROBLEM_WHY_CHARS_MAX, PROBLEMS_KEPT_MAX,
    PROBLEMS_SHOWN_MAX,
};
use crate::side::admin::account_sessions::Account;
use crate::side::admin::connections::Seat;
use crate::side::admin::http::{Answer, Fault, is_json, moment, parameter};
use crate::side::log::line;
use crate::side::problems::Problems;
use crate::side::problems::rows::{Known, Row, id_of};
use crate::side::problems::table::Table;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::Deserialize;
use serde_json::{Value, json as value};
use std::sync::Arc;

/// The pages.
pub(crate) fn routes(problems: Arc<Problems>) -> Router {
    Router::new()
        .route("/problems", get(list))
        .route("/problems/{id}", get(one))
        .route("/problems/{id}/known", post(mark).delete(unmark))
        .with_state(problems)
}

/// `GET /problems?ended=&limit=`.
async fn list(State(problems): State<Arc<Problems>>, RawQuery(query): RawQuery) -> Answer {
    let query = query.unwrap_or_default();
    let ended = match parameter(&query, "ended")?.as_deref() {
        None => None,
        Some("true") => Some(true),
        Some("false") => Some(false),
        Some(_) => return Err(Fault::bad("ended: must be true or false")),
    };
    let limit = parameter(&query, "limit")?.map(|text| text.parse().ok());
    let limit = limit.map(|limit| limit.filter(|it| (1..=PROBLEMS_KEPT_MAX).contains(it)));
    let limit = limit.map(|limit| limit.ok_or(Fault::bad("limit: expected 1 to 1000")));
    let table = problems.lock();
    let fits = |row: &Row| ended.is_none_or(|ended| row.ended.is_some() == ended);
    let rows = table.list(limit.transpose()?.unwrap_or(PROBLEMS_SHOWN_MAX), fits);
    let open = table
        .rows
        .values()
        .filter(|row| row.ended.is_none())
        .count();
    let unshown =
        table.rows.values().filter(|row| fits(row)).count() - rows.as_array().map_or(0, Vec::len);
    Ok(Json(value!({
        "problems": rows,
        "open": open,
        "ended": table.rows.len() - open,
        "leftOut": unshown as u64 + table.left_out,
    })))
}

/// `GET /problems/{id}`.
async fn one(State(problems): State<Arc<Problems>>, Path(id): Path<String>) -> Answer {
    problems.row(&id, |_| ()).map(Json)
}

/// The body of a mark.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    until: String,
    why: String,
}

/// `POST /problems/{id}/known`, with `{"until": "…", "why": "…"}`.
async fn mark(
    State(problems): State<Arc<Problems>>,
    ConnectInfo(seat): ConnectInfo<Seat>,
    Path(id): Path<String>,
    account: Option<Extension<Account>>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    is_json(&headers)?;
    let Mark { until, why } = serde_json::from_slice(&body).map_err(|_| BAD_MARK)?;
    let until = moment(&until)
        .filter(|until| *until > calendar())
        .ok_or(BAD_MARK)?;
    if why.trim().is_empty() || why.chars().count() > PROBLEM_WHY_CHARS_MAX {
        return Err(BAD_MARK);
    }
    let by = match &account {
        Some(Extension(account)) => account.names().1.into(),
        None => "token".into(),
    };
    let known = Known {
        until,
        by,
        why: why.into(),
    };
    let document = problems.row(&id, |row| row.known = Some(known.clone()))?;
    line::marked(&id, &known.by, Some(&known.why), seat.remote());
    Ok(Json(document))
}

/// `DELETE /problems/{id}/known`.
async fn unmark(
    State(problems): State<Arc<Problems>>,
    ConnectInfo(seat): ConnectInfo<Seat>,
    Path(id): Path<String>,
    account: Option<Extension<Account>>,
) -> Answer {
    let document = problems.row(&id, |row| row.known = None)?;
    let by = account
        .as_ref()
        .map_or("token", |Extension(account)| account.names().1);
    line::marked(&id, by, None, seat.remote());
    Ok(Json(document))
}

impl Problems {
    /// The document of a row after a change, with all members that are kept.
    fn row(&self, id: &str, change: impl FnOnce(&mut Row)) -> Result<Value, Fault> {
        let mut table = self.lock();
        let id = id_of(id).ok_or(NO_SUCH_PROBLEM)?;
        let row = table.rows.get_mut(&id).ok_or(NO_SUCH_PROBLEM)?;
        change(row);
        let mut document = row.json(id, PROBLEM_MEMBERS_MAX);
        document["more"] = row.beyond.len().into();
        Ok(document)
    }

    /// Adds the list to a document of the overview.
    pub(crate) fn show(&self, document: &mut Value) {
        let table = self.lock();
        document["problems"] = table.list(PROBLEMS_SHOWN_MAX, |_| true);
        document["problemsOpen"] = table.counts().iter().sum::<u64>().into();
    }

    /// Open causes that nobody knows of, by look: see [`LOOKS`].
    pub(crate) fn open(&self) -> [u64; LOOKS.len()] {
        self.lock().counts()
    }
}

impl Table {
    /// The rows that fit in their order, at most this many, and the number of all.
    pub(crate) fn list(&self, most: usize, fits: impl Fn(&Row) -> bool) -> Value {
        let mut rows: Vec<(&u64, &Row)> = self.rows.iter().filter(|(_, row)| fits(row)).collect();
        rows.sort_by_cached_key(|(_, row)| row.order());
        let shown = rows
            .iter()
            .take(most)
            .map(|(id, row)| row.json(**id, PROBLEM_MEMBERS_SHOWN));
        shown.collect()
    }

    fn counts(&self) -> [u64; LOOKS.len()] {
        let open = self.rows.values().filter(|row| row.is_open());
        let looks: Vec<&str> = open.map(Row::look).collect();
        LOOKS.map(|look| looks.iter().filter(|it| **it == look).count() as u64)
    }
}

/// The words of [`Row::look`].
pub(crate) const LOOKS: [&str; 2] = ["bad", "warn"];

const NO_SUCH_PROBLEM: Fault = Fault::new(
    StatusCode::NOT_FOUND,
    "no such problem: it ended a while ago, or made room; see /problems",
);

const BAD_MARK: Fault = Fault::bad(
    "the body must be {\"until\":\"…\",\"why\":\"…\"}, with a moment in UTC that is to come, such as \
     2026-01-02T03:04:05Z, and a reason of 1 to 256 characters",
);
