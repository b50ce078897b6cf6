//! Refusals and the reasons for them: `GET /refusals`, `GET /refusals/groups` and `GET /refusals/{id}`.
//!
//! A search covers the refusals that are still stored. A refusal that has been evicted can still be looked up by its
//! id, which encodes its time, shard and reason. All text from clients is escaped by the JSON library.

use crate::edge::turn::calendar;
use crate::side::admin::http::{Answer, Fault, encoded, fault_id, rfc3339, time_of};
use crate::side::feed::Feed;
use crate::side::inspector::{Inspector, name_node};
use crate::side::problems::Problems;
use crate::side::recent_refusals::{Group, Recent, RefusalMatches, key_of, says, texts};
use crate::{limits::REFUSALS_SHOWN_MAX, side::Log};
use axum::extract::{Path, RawQuery, State};
use axum::routing::get;
use axum::{Json, Router};
use broker_core::journal::{Explain, Presented, Refused};
use broker_core::refusal_id::{RefusalId, RefusalReader};
use broker_core::{auth::SessionKeys, check::Check, limits::LIST_PAGE_MAX, time::Wall};
use codec::http::{decode, pairs};
use codec::identifiers::ChannelArn;
use serde_json::{Value, json as value};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The stored refusals, and the decoder for refusal ids.
#[derive(Debug)]
pub struct Refusals {
    log: Log,
    pub(crate) recent: Arc<Recent>,
    reader: RefusalReader,
    shards: u16,
    next: AtomicU64,
    /// The largest amount, in milliseconds, by which the shards' wall clocks have been ahead of the system clock. 0
    /// outside tests.
    ahead_ms: AtomicU64,
}

pub(crate) fn routes(refusals: Arc<Refusals>, inspector: Inspector) -> Router {
    Router::new()
        .route("/refusals", get(list))
        .route("/refusals/groups", get(groups))
        .route("/refusals/{id}", get(one))
        .with_state((refusals, inspector))
}

type Sources = (Arc<Refusals>, Inspector);

/// `GET /refusals?id=&channel=&client=&key=&remote=&check=&text=&since=&before=&limit=&scope=`: returns the stored
/// refusals on all nodes or, if the scope is `node`, on this node, from newest to oldest. `before` requests the next
/// page, which contains only this node's refusals.
async fn list(State((refusals, inspector)): State<Sources>, RawQuery(query): RawQuery) -> Answer {
    let query = query.unwrap_or_default();
    refusals.settled().await;
    let mut document = refusals.page(None, &query)?;
    let sums = ["/found", "/kept", "/suppressed"];
    let joined = inspector.newest("/refusals", &query, &mut document, "refusals", &sums);
    joined.await?;
    Ok(Json(document))
}

/// `GET /refusals/groups?channel=&check=&text=&limit=`, which also accepts the other parameters of `/refusals`: returns
/// refusals grouped by check and channel, starting with the most recent group. Each node has its own groups.
async fn groups(State((refusals, inspector)): State<Sources>, RawQuery(query): RawQuery) -> Answer {
    let query = query.unwrap_or_default();
    refusals.settled().await;
    let mut document = refusals.page(Some("groups"), &query)?;
    let sums = ["/found/groups", "/found/refusals", "/refusals", "/others"];
    let joined = inspector.newest("/refusals/groups", &query, &mut document, "groups", &sums);
    joined.await?;
    Ok(Json(document))
}

/// `GET /refusals/{id}`: returns one refusal with the data of its signature check, from the node that stores it. If no
/// node does, returns the information encoded in the id.
async fn one(State((refusals, inspector)): State<Sources>, Path(id): Path<String>) -> Answer {
    let id = plain_id(&id);
    let own = refusals.own(&id).await;
    let is_kept = own.as_ref().is_ok_and(|found| found["source"] == "kept");
    if let Some(nodes) = inspector.nodes.filter(|_| !is_kept) {
        let path = format!("/refusals/{}", encoded(&id));
        let (others, _) = nodes.ask(&path, "").await?.documents();
        let kept = others
            .into_iter()
            .find(|(_, found)| found["source"] == "kept");
        if let Some((node, mut found)) = kept {
            name_node(&mut found, Some(&node));
            return Ok(Json(found));
        }
    }
    own.map(Json)
}

impl Refusals {
    /// Creates the view of a broker's refusals. The session keys in `keys` decode the ids of refusals.
    #[must_use]
    pub fn new(log: &Log, keys: &SessionKeys, shards: usize) -> Self {
        Self {
            log: log.clone(),
            recent: Arc::clone(&log.kept.recent),
            reader: RefusalReader::new(keys),
            shards: u16::try_from(shards).unwrap_or(u16::MAX),
            next: AtomicU64::new(0),
            ahead_ms: AtomicU64::new(0),
        }
    }

    /// Records that the shards' wall clocks have been moved this many milliseconds ahead of the system clock.
    pub(crate) fn calendars_move(&self, ahead_ms: u64) {
        self.ahead_ms.fetch_max(ahead_ms, Ordering::Relaxed);
    }

    pub(crate) fn problems(&self) -> Arc<Problems> {
        Arc::clone(&self.log.kept.problems)
    }

    pub(crate) async fn settled(&self) {
        self.log.settled().await;
    }

    /// Creates an empty view without a broker, for tests.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self::new(&Log::silent(), &SessionKeys::new(&[0; 32], None), 1)
    }

    pub(crate) fn publish(&self, feed: &Feed) {
        let from = self.next.load(Ordering::Relaxed);
        let (noted, next) = self.recent.since(from);
        self.next.store(next, Ordering::Relaxed);
        for refused in noted {
            feed.send("refusal", || self.row(&refused));
        }
    }

    /// Returns the initial state for a stream: the newest refusals, up to the last one that was published to `feed`.
    pub(crate) fn state(&self, feed: &Feed) -> Value {
        self.publish(feed);
        let next = self.next.load(Ordering::Relaxed);
        self.listed(self.recent.before(next, REFUSALS_SHOWN_MAX, |_| true))
    }

    /// Returns this node's document of a refusal, even if the refusal was logged only a moment ago.
    async fn own(&self, id: &str) -> Result<Value, Fault> {
        if self.recent.find(0, |it| *it.request_id == *id).found == 0 {
            self.settled().await;
        }
        self.page(Some(id), "")
    }

    /// Returns a document of this node: the list of refusals, their groups or, if `what` is an id, a single refusal.
    pub(crate) fn page(&self, what: Option<&str>, query: &str) -> Result<Value, Fault> {
        match what {
            None => Ok(self.list(&Filter::parse(query)?)),
            Some("groups") => Ok(self.grouped(&Filter::parse(query)?)),
            Some(id) => self.one(id).ok_or(NOT_OURS),
        }
    }

    fn list(&self, filter: &Filter) -> Value {
        let most = filter.limit.unwrap_or(LIMIT_DEFAULT);
        let before = filter.before.unwrap_or(u64::MAX);
        let fits = |refused: &Refused| filter.fits(refused);
        self.listed(self.recent.before(before, most, fits))
    }

    fn grouped(&self, filter: &Filter) -> Value {
        let now = calendar();
        let fits = |refused: &Refused| filter.fits(refused);
        self.recent.groups(fits, |groups, of_kept| {
            let found = groups.find(|key, group| {
                of_kept.contains_key(key) || filter.fits_group(group.check, group.newest.as_ref())
            });
            // If only an older refusal of a group matches, that refusal is shown, since it may contain what was
            // searched for, such as an address.
            let shown_by = |group: &Group| {
                let newest = group.newest.as_ref()?;
                let kept = of_kept.get(&key_of(newest)).filter(|_| !fits(newest));
                Some(kept.map_or_else(|| newest.clone(), |kept| (**kept).clone()))
            };
            let most = filter.limit.unwrap_or(LIMIT_DEFAULT);
            let shown = found.iter().take(most);
            let shown = shown.map(|group| self.group(group, shown_by(group), now));
            let shown: Vec<Value> = shown.collect();
            let fitting: u64 = found.iter().map(|group| group.refusals).sum();
            value!({
                "groups": shown,
                "found": { "groups": found.len(), "refusals": fitting },
                "refusals": groups.refusals,
                "others": groups.others,
            })
        })
    }

    fn group(&self, group: &Group, by: Option<Refused>, now: Wall) -> Value {
        let mut shown = match &by {
            Some(refused) => self.row(refused),
            None => value!({
                "check": group.check.id(),
                "says": group.check.says(),
                "do": group.check.remedy(),
            }),
        };
        shown["refusals"] = group.refusals.into();
        shown["first"] = rfc3339(group.first).into();
        shown["last"] = rfc3339(group.last).into();
        shown["minutes"] = group.minutes(now).as_slice().into();
        shown
    }

    fn listed(&self, found: RefusalMatches) -> Value {
        let rows = found.refusals.iter();
        let rows: Vec<Value> = rows.map(|refused| self.row(refused)).collect();
        value!({
            "refusals": rows,
            "found": found.found,
            "next": found.next,
            "kept": found.kept,
            "since": found.since.map(rfc3339),
            "suppressed": found.suppressed,
        })
    }

    fn one(&self, id: &str) -> Option<Value> {
        let found = self.recent.find(1, |refused| &*refused.request_id == id);
        let Some(refused) = found.refusals.first() else {
            return Some(self.of_id(id, &self.read(id)?));
        };
        let mut refusal = self.row(refused);
        refusal["explain"] = refused.explain.as_deref().map(explained).into();
        refusal["source"] = "kept".into();
        Some(refusal)
    }

    /// Formats the document of a refusal that has been evicted, from the information in its id.
    fn of_id(&self, id: &str, says: &RefusalId) -> Value {
        let nowhere = (Ipv4Addr::UNSPECIFIED, 0).into();
        let refused = Refused::unread(id, says.at, says.status, "", says.check, nowhere);
        let mut row = self.row(&refused);
        for unknown in ["errorType", "remote", "explain"] {
            row[unknown] = Value::Null;
        }
        row["operation"] = says.purpose.action().into();
        row["source"] = "id".into();
        row
    }

    fn read(&self, id: &str) -> Option<RefusalId> {
        let ahead_ms = self.ahead_ms.load(Ordering::Relaxed);
        let latest = Wall(calendar().0.saturating_add(ahead_ms));
        self.reader.read(id, latest, self.shards)
    }

    fn row(&self, refused: &Refused) -> Value {
        let shard = self.read(&refused.request_id).map(|says| says.shard.0);
        let mut row = value!({
            "requestId": refused.request_id,
            "at": rfc3339(refused.at),
            "shard": shard,
            "status": refused.status,
            "errorType": refused.error_type,
            "check": refused.check.id(),
            "says": says(refused),
            "do": refused.check.remedy(),
            "operation": refused.action,
            "channel": refused.claims.channel,
            "clientId": refused.claims.client_id,
            "session": refused.claims.session,
            "keyId": refused.claims.key_id,
            "principal": refused.claims.principal,
            "account": refused.claims.account,
            "sourceIdentity": refused.claims.source_identity,
            "remote": refused.remote.to_string(),
            "proxy": refused.proxy,
            "clockSkewSeconds": refused.claims.clock_skew_s,
            "fault": refused.fault.map(fault_id),
            "policy": refused.policy,
        });
        // The certificate or token, and the role. Members without a value are null.
        let nothing = Presented::default();
        let sign_in = refused.claims.sign_in.as_deref().unwrap_or(&nothing);
        for (name, text) in sign_in.named() {
            row[name] = text.into();
        }
        row
    }
}

fn explained(explain: &Explain) -> Value {
    // If the text is complete, the signed headers are on the second-to-last line.
    let mut lines = explain.canonical_request.rsplit('\n');
    let is_whole = lines.next().is_some_and(|hash| hash.len() == SHA256_DIGITS);
    let signed_headers = lines.next().filter(|_| is_whole);
    value!({
        "canonicalRequest": explain.canonical_request,
        "signedHeaders": signed_headers,
        "stringToSignScope": explain.scope,
    })
}

const NOT_OURS: Fault = Fault::not_found(
    "not an id of this broker: it must be the 36 characters of x-amzn-RequestId, or of RequestId, in an answer that \
     refused a request; other answers have random ids",
);
const LIMIT_DEFAULT: usize = 100;
const SHA256_DIGITS: usize = 64;

// The filter for refusals, which is built from the parameters of `/refusals`.

/// Search conditions, all of which a refusal must meet.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    id: Option<String>,
    channel: Option<String>,
    client: Option<String>,
    key: Option<String>,
    remote: Option<IpAddr>,
    check: Option<Check>,
    since: Option<Wall>,
    /// A substring of any name, id or address. Case is ignored.
    text: Option<String>,
    /// Only refusals with a lower number match. The previous page states this number.
    pub(crate) before: Option<u64>,
    pub(crate) limit: Option<usize>,
}

impl Filter {
    pub(crate) fn parse(query: &str) -> Result<Self, Fault> {
        let mut filter = Self::default();
        for (name, text) in pairs(query) {
            let decoded =
                decode(text).map_err(|_| Fault::bad("the query is not percent-encoded UTF-8"))?;
            let text = decoded.into_owned();
            if text.is_empty() {
                continue;
            }
            match name {
                "id" => filter.id = Some(plain_id(&text)),
                "channel" => {
                    let arn = ChannelArn::parse(&text, false).ok();
                    filter.channel = Some(arn.map_or(text, |arn| arn.name().to_owned()));
                }
                "client" => filter.client = Some(text),
                "key" => filter.key = Some(text),
                "remote" => filter.remote = Some(address(&text).ok_or(BAD_REMOTE)?),
                "check" => filter.check = Some(text.parse().map_err(|_| BAD_CHECK)?),
                "since" => filter.since = Some(time_of("since", &text, calendar().0)?),
                "text" => filter.text = Some(text.to_lowercase()),
                "scope" => {} // the page handles the scope
                "before" => filter.before = Some(text.parse().map_err(|_| BAD_BEFORE)?),
                "limit" => {
                    let limit = text.parse().ok();
                    let limit = limit.filter(|limit| (1..=LIST_PAGE_MAX).contains(limit));
                    filter.limit = Some(limit.ok_or(BAD_LIMIT)?);
                }
                _ => return Err(BAD_NAME),
            }
        }
        Ok(filter)
    }

    pub(crate) fn fits(&self, refused: &Refused) -> bool {
        let text = |wanted: &Option<String>, found: &Option<Box<str>>| {
            wanted.is_none() || wanted.as_deref() == found.as_deref()
        };
        let id = self.id.as_deref();
        let remote = refused.remote.ip().to_canonical();
        id.is_none_or(|id| id == &*refused.request_id)
            && text(&self.channel, &refused.claims.channel)
            && text(&self.client, &refused.claims.client_id)
            && text(&self.key, &refused.claims.key_id)
            && self.remote.is_none_or(|wanted| wanted == remote)
            && self.check.is_none_or(|check| check == refused.check)
            && self.since.is_none_or(|since| refused.at >= since)
            && self.has_text(refused)
    }

    fn fits_group(&self, check: Check, newest: Option<&Refused>) -> bool {
        match newest {
            Some(refused) => self.fits(refused),
            None => {
                let others = Self {
                    check: self.check,
                    limit: self.limit,
                    ..Self::default()
                };
                *self == others && self.check.is_none_or(|wanted| wanted == check)
            }
        }
    }

    fn has_text(&self, refused: &Refused) -> bool {
        let Some(part) = &self.text else { return true };
        let has = |text: &str| text.to_lowercase().contains(part);
        texts(refused).any(has)
            || has(refused.check.id())
            || has(&refused.request_id)
            || refused.remote.to_string().contains(part)
    }
}

fn plain_id(text: &str) -> String {
    text.trim().to_ascii_lowercase()
}

fn address(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let socket = || text.parse().ok().map(|socket: SocketAddr| socket.ip());
    let address = bare.parse().ok().or_else(socket)?;
    Some(IpAddr::to_canonical(&address))
}

const BAD_NAME: Fault = Fault::bad(
    "expected parameters: id, channel, client, key, remote, check, text, since, before, limit",
);
const BAD_BEFORE: Fault = Fault::bad("before: must be the number that the page before has as next");
const BAD_LIMIT: Fault = Fault::bad("limit: expected 1 to 1000");
const BAD_REMOTE: Fault = Fault::bad("remote: must be an IP address");
const BAD_CHECK: Fault = Fault::bad(
    "check: must be an id of the table in deploy/REFUSALS.md, such as signature_expired",
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::side::feed::{Bell, FeedKind, Next};
    use crate::side::log::writer::write_all;
    use broker_core::check::Check;
    use broker_core::event::Purpose;
    use broker_core::id::ShardId;
    use broker_core::journal::{Claims, Entry};
    use broker_core::refusal_id::{RefusalIds, printed};
    use broker_core::time::Wall;

    const AT: Wall = Wall(1_767_323_045_123);

    fn refusals() -> (Refusals, String) {
        let keys = SessionKeys::new(&[1; 32], None);
        let mut ids = RefusalIds::new(&keys, ShardId(1), 7);
        let id = printed(ids.next(Check::SignatureMismatch, Purpose::Unknown, 403, AT));
        (Refusals::new(&Log::silent(), &keys, 2), id)
    }

    fn refused(id: &str) -> Refused {
        Refused {
            request_id: id.into(),
            at: AT,
            status: 403,
            error_type: "InvalidSignatureException",
            check: Check::SignatureMismatch,
            remote: ([10, 0, 0, 1], 9).into(),
            proxy: None,
            what: "upgrade",
            action: Some("ConnectAsViewer"),
            claims: Claims {
                channel: Some("cam\"<b>\n".into()),
                channel_account: None,
                client_id: Some("v1".into()),
                session: None,
                key_id: Some("AKID".into()),
                principal: Some("fleet".into()),
                account: Some("123456789012".into()),
                source_identity: None,
                clock_skew_s: Some(-312),
                user_agent: None,
                sign_in: None,
            },
            fault: Some(7),
            policy: Some("viewers, statement 1, denies it".into()),
            explain: Some(Box::new(Explain {
                canonical_request: format!("GET\n/\n\nhost:h\n\nhost\n{}", "0".repeat(64)).into(),
                scope: "20260102/r/s/t".into(),
            })),
        }
    }

    #[tokio::test]
    async fn a_refusal_that_the_log_thread_has_not_read_is_waited_for() {
        let (log, items) = Log::new(8, 0);
        let keys = SessionKeys::new(&[1; 32], None);
        let refusals = Refusals::new(&log, &keys, 2);
        let (_, id) = self::refusals();
        log.journal().note(Entry::Refused(Box::new(refused(&id))));
        let (places, kept) = (log.places(), log.memory());
        let reads = async {
            while items.len() < 2 {
                tokio::task::yield_now().await; // until somebody waits for it
            }
            std::thread::spawn(move || write_all(&items, &places, &kept, std::io::sink()));
        };
        let asked = refusals.own(&id);
        let (answer, ()) = tokio::join!(asked, reads);
        assert_eq!(answer.unwrap()["source"], "kept");
    }

    #[test]
    fn a_kept_refusal_is_shown_in_full_and_one_that_is_not_by_its_id() {
        let (refusals, id) = refusals();
        let one = refusals.one(&id).unwrap();
        assert_eq!(one["source"], "id");
        assert_eq!((&one["shard"], &one["status"]), (&1.into(), &403.into()));
        assert_eq!(one["check"], "signature_mismatch");
        assert_eq!(one["at"], "2026-01-02T03:04:05.123Z");
        assert!(one["channel"].is_null() && one["explain"].is_null());
        refusals.recent.note(Entry::Refused(Box::new(refused(&id))));
        let kept = refusals.one(&id).unwrap();
        assert_eq!(kept["source"], "kept");
        assert_eq!(kept["shard"], 1);
        assert_eq!(kept["explain"]["signedHeaders"], "host");
        assert_eq!(kept["clockSkewSeconds"], -312);
        assert_eq!(kept["fault"], "f7");
        assert_eq!(kept["channel"], "cam\"<b>\n");
        assert!(kept.to_string().contains(r#""channel":"cam\"<b>\n""#));
        assert_eq!(refusals.one("00000000-0000-4000-8000-000000000000"), None);
        // Both documents have the same members, no matter how much is known.
        let keys = |value: &Value| {
            let members = value.as_object().unwrap();
            members.keys().cloned().collect::<Vec<_>>()
        };
        assert_eq!(keys(&one), keys(&kept));
    }

    #[test]
    fn a_wrong_time_says_first_how_far_the_clock_is_off() {
        let of = |check, clock_skew_s| {
            let mut one = refused("r");
            (one.check, one.claims.clock_skew_s) = (check, clock_skew_s);
            says(&one)
        };
        #[rustfmt::skip] // a table, a case per row
        let cases = [
            (Check::UrlExpired, -600, "Its clock is 600 s slow, or the URL was used again. "),
            (Check::SignatureExpired, -412, "Its clock is 412 s slow. "),
            (Check::SignatureEarly, 412, "Its clock is 412 s fast. "),
            (Check::SignatureMismatch, -3, ""),
        ];
        for (check, skew, wanted) in cases {
            let wanted = format!("{wanted}{}", check.says());
            assert_eq!(of(check, Some(skew)), wanted);
            assert_eq!(of(check, None), check.says());
        }
    }

    #[test]
    fn each_filter_finds_and_leaves_out() {
        let (refusals, id) = refusals();
        refusals.recent.note(Entry::Refused(Box::new(refused(&id))));
        let upper = id.to_uppercase();
        let count = |query: &str| {
            let filter = Filter::parse(query).unwrap();
            refusals.list(&filter)["refusals"].as_array().unwrap().len()
        };
        for (fits, other) in [
            ("", "id=00000000-0000-4000-8000-000000000000"),
            (&*format!("id={upper}"), "channel=cam"),
            ("channel=cam%22%3Cb%3E%0A", "channel=x"),
            ("client=v1", "client=v"),
            ("key=AKID", "key=akid"),
            ("remote=10.0.0.1", "remote=10.0.0.2"),
            ("remote=10.0.0.1:77", "remote=%5B::1%5D:77"),
            ("remote=::ffff:10.0.0.1", "remote=::1"),
            ("check=signature_mismatch", "check=draining"),
            ("since=2026-01-02T03:04:05Z", "since=2026-01-02T03:04:06Z"),
            ("client=v1&key=AKID&limit=1", "client=v1&key=AKIE"),
        ] {
            assert_eq!((count(fits), count(other)), (1, 0), "{fits} | {other}");
        }
        let list = refusals.list(&Filter::default());
        assert_eq!((&list["kept"], &list["suppressed"]), (&1.into(), &0.into()));
        assert_eq!(list["since"], "2026-01-02T03:04:05.123Z");
    }

    #[test]
    fn a_group_is_shown_by_the_newest_that_fits() {
        let (refusals, _) = refusals();
        for last in [1, 2] {
            let mut one = refused("r");
            (one.check, one.claims) = (Check::TlsDistrusted, Claims::default());
            one.remote = ([10, 0, 0, last], 9).into();
            refusals.recent.note(Entry::Refused(Box::new(one)));
        }
        for (query, remote) in [
            ("", "10.0.0.2:9"),
            ("text=10.0.0.1", "10.0.0.1:9"),
            ("text=tls_d", "10.0.0.2:9"),
        ] {
            let shown = refusals.grouped(&Filter::parse(query).unwrap());
            let [group] = &shown["groups"].as_array().unwrap()[..] else {
                panic!("{query}: {shown}")
            };
            assert_eq!(group["remote"], value!(remote));
            assert_eq!(group["refusals"], 2);
        }
    }

    #[test]
    fn a_stream_gets_each_refusal_once() {
        let (refusals, id) = refusals();
        let feed = Feed::of(FeedKind::Events, &Bell::default());
        let note = || refusals.recent.note(Entry::Refused(Box::new(refused(&id))));
        note();
        let mut position = feed.watch();
        let state = refusals.state(&feed);
        position.move_to_end();
        assert_eq!(state["refusals"].as_array().map(Vec::len), Some(1));
        note();
        refusals.publish(&feed);
        refusals.publish(&feed);
        let Next::Event(event) = position.next() else {
            panic!("no event")
        };
        assert!(event.starts_with(b"event: refusal\ndata: {"), "{event:?}");
        assert_eq!(position.next(), Next::Nothing);
        assert_eq!(refusals.state(&feed)["kept"], 2);
    }
}

#[cfg(test)]
mod filter_tests {
    use super::*;

    #[test]
    fn an_arn_is_as_good_as_the_name() {
        let arn = "arn%3Aaws%3Akinesisvideo%3Aus-west-2%3A123456789012%3Achannel%2Fcam-1%2F17";
        let filter = Filter::parse(&format!("channel={arn}")).unwrap();
        assert_eq!(filter.channel.as_deref(), Some("cam-1"));
    }

    #[test]
    fn a_part_of_any_name_fits() {
        let (check, from) = (Check::SignatureMismatch, ([10, 7, 0, 1], 9).into());
        let mut refused = Refused::unread("0-1f", Wall(1), 403, "E", check, from);
        refused.claims.channel = Some("Porch-17".into());
        refused.claims.principal = Some("fleet".into());
        for (part, fits) in [
            ("ORCH-1", true),
            ("lee", true),
            ("mismatch", true),
            ("10.7.0", true),
            ("0-1F", true),
            ("garage", false),
        ] {
            let filter = Filter::parse(&format!("text={part}")).unwrap();
            assert_eq!(filter.fits(&refused), fits, "{part}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_is_allowed() {
        #[rustfmt::skip] // a list
        let cases = [
            "remote=x", "remote=10.0.0", "check=nonsense", "check=Draining", "since=yesterday",
            "since=2026-01-02T03:04:05%2B01:00", "limit=0", "limit=1001", "limit=x", "before=x", "channel=%FF",
            "chanel=x",
        ];
        for query in cases {
            let Fault(code, text) = Filter::parse(query).unwrap_err();
            assert_eq!(code, 400);
            assert!(
                ["must be", "expected", "UTF-8"]
                    .iter()
                    .any(|it| text.contains(it)),
                "{query}: {text}"
            );
        }
    }
}
