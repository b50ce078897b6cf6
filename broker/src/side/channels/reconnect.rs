//! `POST /ice/reconnect`: clients fetch ICE servers again, of one channel or of all.

use crate::side::admin::answer::{error, json, silent};
use crate::side::admin::request::parameter;
use crate::side::inspect::inspector::Inspector;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use broker_core::id::Identity;
use broker_core::shard::{Question, Reply};
use codec::aws::ChannelArn;
use serde_json::json as value;

/// `POST /ice/reconnect[?channel=]`: has clients fetch ICE servers again, a bounded number in each step.
pub(in crate::side) async fn reconnect(
    State(inspector): State<Inspector>,
    RawQuery(query): RawQuery,
) -> Response {
    let query = query.unwrap_or_default();
    let channel = match parameter(&query, "channel") {
        Ok(None) => Ok(None),
        Ok(Some(name)) if name.starts_with("arn:") => ChannelArn::parse(&name, false)
            .map(|arn| Some(Identity::of(&arn)))
            .map_err(|_| (StatusCode::BAD_REQUEST, "channel: must be a name or an ARN")),
        Ok(Some(name)) => inspector.identity(&name, &query).map(Some),
        Err(fault) => Err(fault),
    };
    let channel = match channel {
        Ok(channel) => channel,
        Err((code, text)) => return error(code, text),
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
        let Some(answers) = answers else {
            return silent();
        };
        for (_, reply) in answers {
            if let Reply::Reconnected(told, next) = reply {
                connections += told;
                from = from.max(next);
            }
        }
    }
    json(StatusCode::OK, &value!({ "connections": connections }))
}
