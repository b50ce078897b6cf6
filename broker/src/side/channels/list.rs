//! `GET /channels`: a paginated list of all channels on all shards and nodes, sorted by name. Also contains the code
//! shared by paginated lists. All text from clients is escaped by the JSON library.

use crate::side::admin::http::{Answer, Fault, SILENT, limit, parameter};
use crate::side::channels::presence::entry;
use crate::side::inspector::{Inspector, NodeReplies, name_node};
use axum::Json;
use axum::extract::{RawQuery, State};
use broker_core::id::{Identity, ShardId};
use broker_core::limits::LIST_PAGE_MAX;
use broker_core::presence::Master;
use broker_core::shard::{ChannelLine, Question, Reply};
use codec::identifiers::{ChannelArn, ChannelName};
use serde_json::{Value, json as value};

/// `GET /channels?prefix=&contains=&client=&state=&presence=&limit=&token=&scope=`: the channels of all nodes, sorted
/// by name. If `scope` is `node`, the list contains only the channels of this node.
pub(crate) async fn list(State(inspector): State<Inspector>, RawQuery(query): RawQuery) -> Answer {
    let query = query.unwrap_or_default();
    let limit = page_of(&query)?.limit;
    let own = own_page(&inspector, &query);
    Ok(Json(PAGES.of_all(&inspector, &query, limit, own).await?))
}

pub(crate) async fn own_page(inspector: &Inspector, query: &str) -> Result<Value, Fault> {
    let wanted = page_of(query)?;
    let (filter, presence) = (wanted.filter, wanted.presence);
    let by_presence = [Some(ChannelState::Awaited), Some(ChannelState::Doubtful)];
    let search = Search {
        prefix: &wanted.prefix,
        after: wanted.after,
        viewer: filter.client.as_deref(),
        presence: presence || by_presence.contains(&filter.state),
        limit: wanted.limit,
    };
    let fits: &(dyn Fn(&ChannelLine) -> bool + Sync) = &|line| filter.fits(line);
    let fits = (filter != ChannelFilter::default()).then_some(fits);
    let (lines, more) = gather(inspector, search, fits).await?;
    Ok(page(&lines, (more, presence), inspector.node()))
}

#[derive(Debug, PartialEq, Eq)]
struct PageQuery {
    prefix: String,
    after: Option<Identity>,
    limit: usize,
    presence: bool,
    filter: ChannelFilter,
}

/// Search conditions, all of which a channel must meet.
#[derive(Debug, Default, PartialEq, Eq)]
struct ChannelFilter {
    /// A substring of the name. Stored in lower case, since case is ignored.
    contains: Option<String>,
    client: Option<String>,
    state: Option<ChannelState>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumString)]
#[strum(serialize_all = "snake_case")]
enum ChannelState {
    NoMaster,
    /// Messages are pending, or viewers are connected without a master.
    Waiting,
    /// No master is connected, and at least one viewer is connected or waiting.
    Awaited,
    /// The master is connected but does not acknowledge messages.
    Doubtful,
}

impl ChannelFilter {
    fn fits(&self, line: &ChannelLine) -> bool {
        let named = self.contains.as_ref().is_none_or(|part| {
            let name = line.arn.name().to_ascii_lowercase();
            name.contains(part)
        });
        let alone = !line.master_connected;
        named
            && (self.client.is_none() || line.has_viewer)
            && match self.state {
                None => true,
                Some(ChannelState::NoMaster) => alone,
                Some(ChannelState::Waiting) => line.pending > 0 || (alone && line.viewers > 0),
                Some(ChannelState::Awaited) => alone && line.presence.is_some(),
                Some(ChannelState::Doubtful) => {
                    let master = line.presence.as_ref().and_then(|it| it.master.as_ref());
                    master.is_some_and(Master::is_doubtful)
                }
            }
    }
}

fn page_of(query: &str) -> Result<PageQuery, Fault> {
    let bad_state = |_| Fault::bad("state: must be no_master, waiting, awaited or doubtful");
    let state = parameter(query, "state")?.map(|text| text.parse().map_err(bad_state));
    let presence = match parameter(query, "presence")?.as_deref() {
        None => false,
        Some("true") => true,
        Some(_) => return Err(Fault::bad("presence: must be true")),
    };
    let after = parameter(query, "token")?.map(|token| after(&token).ok_or(BAD_TOKEN));
    Ok(PageQuery {
        prefix: parameter(query, "prefix")?.unwrap_or_default(),
        after: after.transpose()?,
        limit: limit_of(query)?,
        presence,
        filter: ChannelFilter {
            contains: parameter(query, "contains")?.map(|part| part.to_ascii_lowercase()),
            client: parameter(query, "client")?,
            state: state.transpose()?,
        },
    })
}

/// Decodes a token that identifies the last channel of the previous page.
fn after(token: &str) -> Option<Identity> {
    let text = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(token).ok()?;
    place_of(std::str::from_utf8(&text).ok()?)
}

fn page(
    lines: &[(ShardId, ChannelLine)],
    (more, presence): (bool, bool),
    node: Option<&str>,
) -> Value {
    let last = lines.last().filter(|_| more);
    let channels = lines.iter().map(|(shard, line)| {
        let mut shown = value!({
            "name": line.arn.name(),
            "arn": line.arn.as_str(),
            "shard": shard.0,
            "masterConnected": line.master_connected,
            "viewers": line.viewers,
            "pending": line.pending,
        });
        name_node(&mut shown, node);
        if presence {
            let state = line.presence.as_deref();
            shown["presence"] = state.map(|state| entry(state, node)).into();
        }
        shown
    });
    PAGES.page(channels.collect(), last.map(|(_, line)| &line.identity))
}

fn token(identity: &Identity) -> String {
    base64_simd::URL_SAFE_NO_PAD.encode_to_string(identity.text().as_bytes())
}

const PAGES: Listing = Listing {
    path: "/channels",
    entries: "channels",
    next: "nextToken",
    channel: "",
    place: token,
};
const BAD_TOKEN: Fault = Fault::bad("token: must be the nextToken of the page before");

// Paginated lists of channels, sorted by name, over all shards and nodes.

#[derive(Clone, Copy, Debug)]
pub(crate) struct Listing {
    pub(crate) path: &'static str,
    pub(crate) entries: &'static str,
    pub(crate) next: &'static str,
    /// JSON pointer to the object within an entry that contains the channel's `name` and `arn`.
    pub(crate) channel: &'static str,
    /// Encodes the last channel of a page as the token of the next page.
    pub(crate) place: fn(&Identity) -> String,
}

impl Listing {
    pub(crate) async fn of_all(
        &self,
        inspector: &Inspector,
        query: &str,
        limit: usize,
        own: impl Future<Output = Result<Value, Fault>>,
    ) -> Result<Value, Fault> {
        let Some(nodes) = inspector.scope(query)? else {
            return own.await;
        };
        let (own, others) = tokio::join!(own, nodes.ask(self.path, query));
        Ok(self.merge(own?, others?, limit))
    }

    /// Builds a page. `last` is the channel of the last entry, or `None` if this is the last page.
    pub(crate) fn page(&self, entries: Vec<Value>, last: Option<&Identity>) -> Value {
        value!({ self.entries: entries, self.next: last.map(self.place) })
    }

    /// Merges the pages of all nodes by name. Each of these pages has at most `limit` entries.
    pub(crate) fn merge(&self, own: Value, others: NodeReplies, limit: usize) -> Value {
        let (others, missing) = others.documents();
        let mut pages = vec![own];
        pages.extend(others.into_iter().map(|(_, page)| page));
        let mut more = pages.iter().any(|page| page[self.next].is_string());
        let lines = pages.iter_mut().map(|page| page[self.entries].take());
        let lines = lines.flat_map(serde_json::from_value::<Vec<Value>>);
        let mut lines: Vec<Value> = lines.flatten().collect();
        lines.sort_by_cached_key(|line| (self.text(line, "name"), self.text(line, "arn")));
        // While a slot moves, its channels are listed by two nodes.
        lines.dedup_by(|next, line| self.text(next, "arn") == self.text(line, "arn"));
        more |= lines.len() > limit;
        lines.truncate(limit);
        let last = lines.last().filter(|_| more);
        let last = last.and_then(|line| ChannelArn::parse(&self.text(line, "arn"), false).ok());
        let mut page = self.page(lines, last.map(|arn| Identity::of(&arn)).as_ref());
        page["missingNodes"] = missing.into();
        page
    }

    fn text(&self, entry: &Value, member: &str) -> String {
        let channel = entry.pointer(self.channel);
        let text = channel.and_then(|channel| channel[member].as_str());
        text.unwrap_or_default().to_owned()
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Search<'a> {
    pub(crate) prefix: &'a str,
    pub(crate) after: Option<Identity>,
    pub(crate) viewer: Option<&'a str>,
    pub(crate) presence: bool,
    pub(crate) limit: usize,
}

/// Returns the first matching channels of this node, and whether there are more. With a filter, channels are examined
/// one page at a time until enough of them match.
pub(crate) async fn gather(
    inspector: &Inspector,
    search: Search<'_>,
    fits: Option<&(dyn Fn(&ChannelLine) -> bool + Sync)>,
) -> Result<(Vec<(ShardId, ChannelLine)>, bool), Fault> {
    let limit = search.limit;
    let step = fits.map_or(limit, |_| LIST_PAGE_MAX);
    let mut after = search.after;
    let mut found = Vec::new();
    loop {
        let question = Question::Page {
            prefix: search.prefix.into(),
            after,
            limit: step,
            viewer: search.viewer.map(Into::into),
            presence: search.presence,
        };
        let answers = inspector.shards.ask_all(question).await.ok_or(SILENT)?;
        let (lines, more) = merged(answers, step);
        after = lines.last().map(|(_, line)| line.identity.clone());
        let fitting = |(_, line): &(ShardId, ChannelLine)| fits.is_none_or(|fits| fits(line));
        found.extend(lines.into_iter().filter(fitting));
        if !more || found.len() > limit || (found.len() == limit && step == limit) {
            let more = more || found.len() > limit;
            found.truncate(limit);
            return Ok((found, more));
        }
    }
}

/// Merges the pages of all shards by name, up to `limit` channels. Returns whether there are more.
fn merged(answers: Vec<(ShardId, Reply)>, limit: usize) -> (Vec<(ShardId, ChannelLine)>, bool) {
    let (mut lines, mut more) = (Vec::new(), false);
    for (shard, reply) in answers {
        if let Reply::Page(of_shard, shard_has_more) = reply {
            more |= shard_has_more;
            lines.extend(of_shard.into_iter().map(|line| (shard, line)));
        }
    }
    // Shards sort their lines in the same order.
    lines.sort_by(|(_, one), (_, other)| {
        let names = one.identity.name().cmp(other.identity.name());
        names.then_with(|| one.identity.cmp(&other.identity))
    });
    more |= lines.len() > limit;
    lines.truncate(limit);
    (lines, more)
}

pub(crate) fn limit_of(query: &str) -> Result<usize, Fault> {
    limit(query, LIMIT_DEFAULT, LIST_PAGE_MAX)
}

pub(crate) fn place_of(text: &str) -> Option<Identity> {
    let parts: Vec<&str> = text.split(':').collect();
    let named = matches!(parts[..], [_, _, name] if ChannelName::parse(name).is_ok());
    named.then(|| Identity::from_text(text))
}

const LIMIT_DEFAULT: usize = 100;

#[cfg(test)]
mod tests {
    use super::{merged, *};
    use crate::side::inspector::{NodeReplies, NodeReply};
    use broker_core::shard::Reply;
    use codec::identifiers::ChannelArn;

    fn line(region: &str, name: &str) -> ChannelLine {
        let arn =
            format!("arn:aws:kinesisvideo:{region}:123456789012:channel/{name}/1700000000000");
        let arn = ChannelArn::parse(&arn, false).unwrap();
        ChannelLine {
            identity: Identity::of(&arn),
            arn,
            master_connected: false,
            viewers: 0,
            pending: 0,
            has_viewer: false,
            presence: None,
            credential: None,
        }
    }

    #[test]
    fn pages_of_shards_are_merged_by_name_and_the_token_leads_on() {
        #[rustfmt::skip] // a table, a case per row
        let answers = vec![
            (ShardId(0), Reply::Page(vec![line("us-west-2", "a"), line("us-west-2", "c")], false)),
            (ShardId(1), Reply::Page(vec![line("eu-west-1", "a"), line("us-west-2", "b")], true)),
        ];
        let (lines, more) = merged(answers, 3);
        let page = page(&lines, (more, false), None);
        let names: Vec<_> = page["channels"].as_array().unwrap().iter().collect();
        let names: Vec<_> = names
            .iter()
            .map(|one| {
                (
                    one["name"].as_str().unwrap(),
                    one["shard"].as_u64().unwrap(),
                )
            })
            .collect();
        assert_eq!(names, [("a", 1), ("a", 0), ("b", 1)]);
        let token = page["nextToken"].as_str().unwrap();
        assert_eq!(after(token).unwrap().text(), "us-west-2:123456789012:b");
    }

    #[test]
    fn the_last_page_has_no_token() {
        let answers = vec![(ShardId(0), Reply::Page(vec![line("us-west-2", "a")], false))];
        let (lines, more) = merged(answers, 1);
        assert_eq!(page(&lines, (more, false), None)["nextToken"], Value::Null);
    }

    #[test]
    fn pages_of_nodes_are_merged_by_name_and_silent_ones_are_named() {
        let page_of = |node: &str, names: &[&str], more: bool| {
            let of_shard = |name: &&str| (ShardId(0), line("us-west-2", name));
            let lines: Vec<_> = names.iter().map(of_shard).collect();
            page(&lines, (more, false), Some(node))
        };
        let reply = |node: &str, status, body| NodeReply {
            node: node.into(),
            status,
            body,
        };
        let others = |last| NodeReplies {
            replies: vec![
                reply("n2", 200, page_of("n2", &["b", "c"], false)),
                reply("n4", 503, value!({ "error": "a shard does not answer" })),
                last,
            ],
            missing: vec!["n3".into()],
        };
        let own = || page_of("n1", &["a", "c"], false);
        let fifth = |names, more| reply("n5", 200, page_of("n5", names, more));
        let merged = PAGES.merge(own(), others(fifth(&[], false)), 3);
        let shown = |page: &Value| -> Vec<String> {
            let lines = page["channels"].as_array().unwrap().iter();
            let text = |line: &Value| format!("{} {}", line["node"], line["name"]);
            lines.map(text).map(|text| text.replace('"', "")).collect()
        };
        assert_eq!(shown(&merged), ["n1 a", "n2 b", "n1 c"]);
        assert_eq!(merged["missingNodes"], value!(["n3", "n4"]));
        assert_eq!(merged["nextToken"], Value::Null);
        let merged = PAGES.merge(own(), others(fifth(&["d"], false)), 3);
        assert_eq!(shown(&merged), ["n1 a", "n2 b", "n1 c"]);
        let token = merged["nextToken"].as_str().unwrap();
        assert_eq!(after(token).unwrap().text(), "us-west-2:123456789012:c");
    }

    #[test]
    fn channels_are_filtered_by_part_of_name_by_viewer_and_by_state() {
        let fits = |query: &str, line: &ChannelLine| page_of(query).unwrap().filter.fits(line);
        let mut one = line("us-west-2", "Porch-17");
        assert!(fits("", &one) && fits("contains=CH-1", &one) && !fits("contains=x", &one));
        assert!(fits("state=no_master", &one) && !fits("state=waiting", &one));
        assert!(!fits("client=v1", &one));
        (one.viewers, one.has_viewer) = (1, true);
        assert!(fits("state=waiting", &one) && fits("client=v1&contains=porch", &one));
        one.master_connected = true;
        assert!(!fits("state=waiting", &one) && !fits("state=no_master", &one));
        one.pending = 1;
        assert!(fits("state=waiting", &one));
        assert_eq!(page_of("state=x").unwrap_err().0, 400);
    }

    #[test]
    fn limits_and_tokens_are_checked() {
        let limit = |query| page_of(query).map(|wanted| wanted.limit);
        assert_eq!(limit(""), Ok(100));
        assert_eq!(limit("limit="), Ok(100));
        assert_eq!(limit("limit=1"), Ok(1));
        assert_eq!(limit("limit=1000"), Ok(1000));
        #[rustfmt::skip] // a list
        let cases = ["limit=0", "limit=1001", "limit=-1", "limit=x", "limit=99999999999999999999"];
        for bad in cases {
            assert_eq!(limit(bad).unwrap_err().0, 400, "{bad}");
        }
        let encoded = |text: &str| base64_simd::URL_SAFE_NO_PAD.encode_to_string(text.as_bytes());
        for bad in ["x", "a:b", "r:a:", "r:a:n:m", "r:a:\n"] {
            assert!(
                page_of(&format!("token={}", encoded(bad))).is_err(),
                "{bad}"
            );
        }
        assert!(page_of("token=***").is_err() && page_of("token=%FF").is_err());
        let wanted = page_of(&format!("token={}&prefix=a%2Db", encoded("r:a:n"))).unwrap();
        assert_eq!(wanted.prefix, "a-b");
        assert_eq!(wanted.after, Some(Identity::new("r", "a", "n")));
    }
}
