//! `GET /dev/parity`: what the cloud service would have refused, and this broker did not.

use crate::side::admin::answer::{Answer, SILENT, rfc3339};
use crate::side::dev::query::Parameters;
use crate::side::inspect::shards::Shards;
use axum::Json;
use axum::extract::{RawQuery, State};
use broker_core::shard::{Finding, Question, Reply};
use serde_json::{Value, json as value};

/// Answers with the findings of all shards, the first ones first.
pub(crate) async fn list(State(shards): State<Shards>, RawQuery(query): RawQuery) -> Answer {
    let channel = Parameters::parse(query.as_deref(), &["channel"])?.glob("channel");
    let answers = shards.ask_all(Question::Parity).await.ok_or(SILENT)?;
    let mut found: Vec<Finding> = Vec::new();
    for (_, reply) in answers {
        if let Reply::Findings(of_shard) = reply {
            for finding in of_shard {
                add(&mut found, finding);
            }
        }
    }
    found.retain(|finding| {
        channel
            .as_ref()
            .is_none_or(|glob| glob.covers(&finding.channel))
    });
    found.sort_by(|one, other| {
        let first = one.first.cmp(&other.first);
        first.then_with(|| (one.rule, &one.channel).cmp(&(other.rule, &other.channel)))
    });
    let found: Vec<Value> = found.iter().map(row).collect();
    Ok(Json(value!({ "findings": found })))
}

/// Adds a finding to those of other shards: of the account each shard may have some.
fn add(found: &mut Vec<Finding>, finding: Finding) {
    let same =
        |other: &&mut Finding| (other.rule, &other.channel) == (finding.rule, &finding.channel);
    match found.iter_mut().find(same) {
        Some(other) => {
            other.count += finding.count;
            if finding.first < other.first {
                (other.first, other.says) = (finding.first, finding.says);
            }
        }
        None => found.push(finding),
    }
}

fn row(finding: &Finding) -> Value {
    value!({
        "rule": finding.rule,
        "channel": finding.channel,
        "count": finding.count,
        "firstAt": rfc3339(finding.first),
        "says": finding.says,
    })
}
