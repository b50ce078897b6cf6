//! `POST /ice/reconnect`: clients fetch ICE servers again, of one channel or of all.

use crate::side::admin::answer::{Answer, Fault, SILENT};
use crate::side::admin::request::parameter;
use crate::side::inspect::inspector::Inspector;
use axum::Json;
use axum::extract::{RawQuery, State};
use broker_core::id::Identity;
use broker_core::shard::{Question, Reply};
use codec::identifiers::ChannelArn;
use serde_json::json as value;

/// `POST /ice/reconnect[?channel=]`: has clients fetch ICE servers again, a bounded number in each step.
pub(crate) async fn reconnect(
    State(inspector): State<Inspector>,
    RawQuery(query): RawQuery,
) -> Answer {
    let query = query.unwrap_or_default();
    let channel = match parameter(&query, "channel")? {
        None => None,
        Some(name) if name.starts_with("arn:") => {
            let arn = ChannelArn::parse(&name, false);
            let arn = arn.map_err(|_| Fault::bad("channel: must be a name or an ARN"))?;
            Some(Identity::of(&arn))
        }
        Some(name) => Some(inspector.identity(&name, &query)?),
    };
    let (mut connections, mut from) = (0, Some(0));
    while let Some(first) = from.take() {
        let question = Question::ReconnectIce {
            channel: channel.clone(),
            from: first,
        };
        let answers = match &channel {
            Some(identity) => {
                let answer = inspector.shards.ask_home(identity.clone(), question).await;
                answer.map(|answer| vec![answer])
            }
            None => inspector.shards.ask_all(question).await,
        };
        for (_, reply) in answers.ok_or(SILENT)? {
            if let Reply::Reconnected(told, next) = reply {
                connections += told;
                from = from.max(next);
            }
        }
    }
    Ok(Json(value!({ "connections": connections })))
}
