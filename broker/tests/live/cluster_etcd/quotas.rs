//! Quotas of accounts, under the strict profile: those of one service, whichever nodes its calls go through.

use super::nodes::Nodes;
use super::signed::{arn_in, call, channels_of_each, create, delete, describe, start};
use crate::signed::quotas::until_refused;
use serde_json::json;
use std::time::{Duration, Instant};
use testkit::until;

/// As many channels as an account may have: two of each node.
const CHANNELS: usize = 6;

#[test]
#[ignore = "needs etcd"]
fn quotas_of_an_account_are_those_of_all_nodes_together() {
    let config = format!(
        "[limits]\nchannels_per_account = {CHANNELS}\n[quotas]\naccount_describe = {{ rate = 3, burst = 30 }}\n"
    );
    let Some(nodes) = start(&["--profile", "strict"], &config) else {
        return;
    };
    nodes.share_slots();
    let arns = channels_of_each(&nodes, CHANNELS / 3);
    for number in 0..CHANNELS {
        is_refused(&nodes, number % 3, &format!("more-{number}"));
    }
    // An account that deletes one may make another, whichever node has it.
    delete(nodes.node(1), &arns[0][0]);
    arn_in(&create(nodes.node(2), "another"));
    is_refused(&nodes, 0, "more");

    // Each node allows a third of a rate: the calls for the channels that it has.
    for (owner, own) in arns.iter().enumerate() {
        let mut number = owner;
        until_refused(1.0, 10, || {
            number += 1;
            let answer = describe(nodes.node(number % 3), &own[1]);
            if answer.status != 200 {
                answer.refused(400, "ClientLimitExceededException");
            }
            answer.status == 200
        });
    }
    let listed = call(nodes.node(0), "/listSignalingChannels", &json!({})).ok();
    let listed = listed["ChannelInfoList"].as_array().map(Vec::len);
    assert_eq!(listed, Some(CHANNELS));
}

/// One more channel is refused. A node that does not answer in time is left out: what is allowed then took that long.
fn is_refused(nodes: &Nodes, through: usize, name: &str) {
    let node = nodes.node(through);
    until("a refusal", || {
        let began = Instant::now();
        let answer = create(node, name);
        if answer.status == 200 {
            let after = began.elapsed();
            assert!(after >= LEFT_OUT_AFTER, "{name} is made after {after:?}");
            delete(node, &arn_in(&answer));
            return None;
        }
        let told = answer.refused(400, "AccountChannelLimitExceededException");
        assert!(told.contains(&CHANNELS.to_string()), "{told}");
        Some(())
    });
}

const LEFT_OUT_AFTER: Duration = Duration::from_millis(500);
