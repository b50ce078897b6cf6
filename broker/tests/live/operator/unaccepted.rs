//! Messages that are not accepted: why, in the trace, in the command that prints it, among the troubled sessions, in
//! the log; and a message that is too big for its connection.

use super::events::Watcher;
use crate::http::get;
use crate::peer::{Peer, offer, to_master};
use crate::process::{Broker, arn, command};
use serde_json::{Value, json};
use testkit::until;

on_shards!(
    a_message_that_is_not_accepted_shows_why,
    a_message_that_is_too_big_shows_its_length,
);

fn a_message_that_is_not_accepted_shows_why(broker: &Broker) {
    let mut watcher = Watcher::open(broker.admin, "troubled");
    let mut master = Peer::master(broker, &arn("wrong"));
    let mut viewer = Peer::viewer(broker, &arn("wrong"), "v1");
    viewer.send(&offer(&"QUFB".repeat(10_000)));
    viewer.send(&offer("b2ZmZXI="));
    master.expect(&to_master("SDP_OFFER", "b2ZmZXI=", "v1"));
    master.send("[1]");
    master.send("[2]");
    let document = until("both messages of the master", || {
        let document = trace(broker);
        (document["master"][0]["refused"] == 2).then_some(document)
    });
    let says = "messagePayload of 40,000 characters; 32,768 are allowed";
    let too_long = &document["viewers"][0]["events"][1];
    assert_eq!(too_long["route"], "refused");
    assert_eq!(
        (&too_long["reason"], &too_long["says"], &too_long["bytes"]),
        (&json!("too_long"), &json!(says), &json!(40_000))
    );
    let hints = document["viewers"][0]["hints"].to_string();
    assert!(
        hints.contains(&format!("1 message was not accepted: {says}")),
        "{hints}"
    );
    let master_says = "2 messages were not accepted: it is not one JSON object";
    assert_eq!(
        document["master"][0]["unaccepted"],
        json!({ "not_json": 2 })
    );
    assert_eq!(document["master"][0]["hints"], json!([master_says]));
    for wanted in [&format!("refused: {says}"), master_says] {
        let text = printed(broker);
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    watcher.until("troubled", |event| {
        let rows = event["sessions"].as_array().expect("a list");
        let is = |client: Value, says: &str| {
            let same = |row: &Value| row["clientId"] == client && row["says"] == says;
            rows.iter()
                .any(|row| same(row) && row["trouble"] == "unaccepted")
        };
        let of_viewer = format!("1 message was not accepted: {says}");
        is(json!("v1"), &of_viewer) && is(Value::Null, master_says)
    });
    broker.logged(&["message not accepted", "reason=\"too_long\"", says], 1);
    broker.logged(
        &[
            "message not accepted",
            "reason=\"not_json\"",
            "role=\"master\"",
        ],
        2,
    );
    viewer.close();
    master.close();
}

fn a_message_that_is_too_big_shows_its_length(broker: &Broker) {
    let mut viewer = Peer::viewer(broker, &arn("wrong"), "v1");
    viewer.send(&"x".repeat(70_112));
    viewer.expect_close(1009);
    drop(viewer);
    let says = "a message of 70,112 bytes; 65,536 are allowed";
    let viewer = until("its end", || {
        let viewer = trace(broker)["viewers"][0].clone();
        (!viewer["left"].is_null()).then_some(viewer)
    });
    assert_eq!(
        (&viewer["reason"], &viewer["says"]),
        (&json!("protocol_error:1009"), &json!(says))
    );
    let text = printed(broker);
    assert!(text.contains(&format!("left: {says}")), "{text}");
    broker.logged(&["connection ended", "protocol_error:1009", says], 1);
}

fn trace(broker: &Broker) -> Value {
    let answer = get(broker.admin, "/channels/wrong/trace");
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn printed(broker: &Broker) -> String {
    let admin = format!("http://{}", broker.admin);
    let mut trace = command();
    trace.args(["trace", "wrong", "--admin", &admin]);
    let output = trace.output().expect("it runs");
    String::from_utf8(output.stdout).expect("text")
}
