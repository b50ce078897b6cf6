//! Lists of channels by name, of all shards and nodes, a page at a time.

use crate::side::admin::answer::{Fault, SILENT};
use crate::side::admin::request::parameter;
use crate::side::inspect::inspector::Inspector;
use crate::side::inspect::nodes::{NodeReplies, NodeReply};
use broker_core::id::{Identity, ShardId};
use broker_core::limits::LIST_PAGE_MAX;
use broker_core::shard::{ChannelLine, Question, Reply};
use codec::identifiers::{ChannelArn, ChannelName};
use serde_json::{Value, json as value};

/// A list, as the admin listener has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listing {
    /// Its path.
    pub(crate) path: &'static str,
    /// The member of a page that has its entries.
    pub(crate) entries: &'static str,
    /// The member that has the place of the next page.
    pub(crate) next: &'static str,
    /// The part of an entry that has the channel's `name` and `arn`, as a JSON pointer.
    pub(crate) channel: &'static str,
    /// The text of a place: of the last channel on the page before.
    pub(crate) place: fn(&Identity) -> String,
}

impl Listing {
    /// The page of all nodes, or of this one if the query says so.
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

    /// A page with these entries; `last` is the channel of the last one, if there are more.
    pub(crate) fn page(&self, entries: Vec<Value>, last: Option<&Identity>) -> Value {
        value!({ self.entries: entries, self.next: last.map(self.place) })
    }

    /// The page of all nodes: each sent as many channels as may be on it, in the order of names.
    pub(crate) fn merge(&self, own: Value, others: NodeReplies, limit: usize) -> Value {
        let NodeReplies {
            replies,
            mut missing,
        } = others;
        let mut pages = vec![own];
        for NodeReply { node, status, body } in replies {
            match status {
                200 => pages.push(body),
                _ => missing.push(node),
            }
        }
        let mut more = pages.iter().any(|page| page[self.next].is_string());
        let lines = pages.iter_mut().map(|page| page[self.entries].take());
        let lines = lines.filter_map(|lines| {
            if let Value::Array(lines) = lines {
                Some(lines)
            } else {
                None
            }
        });
        let mut lines: Vec<Value> = lines.flatten().collect();
        lines.sort_by_cached_key(|line| (self.text(line, "name"), self.text(line, "arn")));
        // Two nodes have it while its slot moves.
        lines.dedup_by(|next, line| self.text(next, "arn") == self.text(line, "arn"));
        more |= lines.len() > limit;
        lines.truncate(limit);
        let last = lines.last().filter(|_| more);
        let last = last.and_then(|line| ChannelArn::parse(&self.text(line, "arn"), false).ok());
        let mut page = self.page(lines, last.map(|arn| Identity::of(&arn)).as_ref());
        missing.sort();
        page["missingNodes"] = missing.into();
        page
    }

    fn text(&self, entry: &Value, member: &str) -> String {
        let channel = entry.pointer(self.channel);
        let text = channel.and_then(|channel| channel[member].as_str());
        text.unwrap_or_default().to_owned()
    }
}

/// The channels that are looked for on this node.
#[derive(Clone, Debug)]
pub(crate) struct Search<'a> {
    /// The beginning of their names.
    pub(crate) prefix: &'a str,
    /// The last channel of the page before.
    pub(crate) after: Option<Identity>,
    /// A client id to look for.
    pub(crate) viewer: Option<&'a str>,
    /// Whether the lines are to have who is there.
    pub(crate) presence: bool,
    /// Channels at most.
    pub(crate) limit: usize,
}

/// The first channels of this node that fit, and whether there are more. A filter looks through all channels, as many
/// at a time as a page may have.
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

/// The first channels of pages of all shards by name, at most `limit`, and whether there are more.
pub(crate) fn merged(
    answers: Vec<(ShardId, Reply)>,
    limit: usize,
) -> (Vec<(ShardId, ChannelLine)>, bool) {
    let (mut lines, mut more) = (Vec::new(), false);
    for (shard, reply) in answers {
        if let Reply::Page(of_shard, shard_has_more) = reply {
            more |= shard_has_more;
            lines.extend(of_shard.into_iter().map(|line| (shard, line)));
        }
    }
    // Each shard's lines come in this order.
    lines.sort_by(|(_, one), (_, other)| {
        let names = one.identity.name().cmp(other.identity.name());
        names.then_with(|| one.identity.cmp(&other.identity))
    });
    more |= lines.len() > limit;
    lines.truncate(limit);
    (lines, more)
}

/// The limit of a query.
pub(crate) fn limit_of(query: &str) -> Result<usize, Fault> {
    let Some(text) = parameter(query, "limit")? else {
        return Ok(LIMIT_DEFAULT);
    };
    let limit = text.parse().ok();
    limit
        .filter(|limit| (1..=LIST_PAGE_MAX).contains(limit))
        .ok_or(Fault::bad("limit: allowed 1 to 1000"))
}

/// The channel of `region:account:name`.
pub(crate) fn place_of(text: &str) -> Option<Identity> {
    let parts: Vec<&str> = text.split(':').collect();
    let named = matches!(parts[..], [_, _, name] if ChannelName::parse(name).is_ok());
    named.then(|| Identity::from_text(text))
}

const LIMIT_DEFAULT: usize = 100;
