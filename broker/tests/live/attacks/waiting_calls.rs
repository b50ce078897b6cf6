//! SendAlexaOfferToMaster calls that wait for masters that do not answer: nobody else's call is refused for them.

use super::{ATTACKER, HEALTHY, Trial, broker};
use crate::http::{Connection, create, request};
use crate::process::Broker;
use serde_json::json;
use testkit::until;

/// Waiting calls, on channels of at most 64 each.
const CALLS: usize = 765;
const CALLS_PER_CHANNEL: usize = 60;

/// Calls of somebody healthy while they wait.
const DESCRIBES: usize = 200;
const LISTS: usize = 40;

#[test]
fn waiting_calls_refuse_nobody_elses() {
    let broker = broker("", 2);
    let outcome = Trial::new("waiting calls", &broker).run(|attack| {
        let waiting = wait(&broker);
        attack.did(waiting.len() as u64);
        while !attack.over() {
            let connection = || Connection::open_from(HEALTHY, broker.plain);
            let mut callers = [connection(), connection(), connection(), connection()];
            for number in 0..DESCRIBES {
                let caller = &mut callers[number % 4];
                let name = format!("hoard-{}", number % 13);
                let answer =
                    caller.call("/describeSignalingChannel", &json!({"ChannelName": name}));
                assert_eq!(answer.status, 200, "{}", answer.text());
            }
            for number in 0..LISTS {
                let answer = callers[number % 4].call("/listSignalingChannels", &json!({}));
                assert_eq!(answer.status, 200, "{}", answer.text());
            }
        }
        drop(waiting);
    });
    assert_eq!(outcome.did, CALLS as u64);
    until_they_wait(&broker, 0);
    assert!(broker.scrape().sum("heliograph_waiting_call_places") < 0.5);
    broker.assert_balanced();
}

/// The attackers' connections, each with a call that waits.
fn wait(broker: &Broker) -> Vec<Connection> {
    let channels = CALLS.div_ceil(CALLS_PER_CHANNEL);
    let arns = (0..channels).map(|number| create(broker.plain, &format!("hoard-{number}"), 120));
    let arns: Vec<String> = arns.collect();
    let call = |number: usize| {
        let body = json!({
            "ChannelARN": arns[number % channels],
            "SenderClientId": format!("alexa-{number}"),
            "MessagePayload": "b2ZmZXI=",
        });
        let mut connection = Connection::open_from(ATTACKER, broker.plain);
        connection.send(&request(
            "/v1/send-alexa-offer-to-master",
            &body.to_string(),
        ));
        connection
    };
    let mut waiting = Vec::new();
    while waiting.len() < CALLS {
        // Not more at once than may be under way between two shards.
        let next = waiting.len()..CALLS.min(waiting.len() + 100);
        waiting.extend(next.map(call));
        until_they_wait(broker, waiting.len());
    }
    waiting
}

fn until_they_wait(broker: &Broker, calls: usize) {
    until(&format!("the wait of {calls} calls"), || {
        let waiting = broker.scrape().sum("heliograph_waiting_calls");
        ((waiting - calls as f64).abs() < 0.5).then_some(())
    });
}
