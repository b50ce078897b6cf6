//! Nodes that check signatures, and requests that are signed.

use super::nodes::Nodes;
use crate::clients::credentials;
use crate::http::{Answer, Connection};
use crate::process::Broker;
use crate::signed::signer::{Call, Signer};
use serde_json::{Value, json};
use testkit::until;

/// Three nodes on loopback, of one shard each, with these arguments and more lines of the configuration.
pub(crate) fn start(arguments: &[&str], config: &str) -> Option<Nodes> {
    let file = credentials();
    let file = file.to_str().expect("a path in UTF-8");
    let own = ["--auth", "sigv4", "--credentials", file];
    Nodes::configured(&[&own[..], arguments].concat(), config)
}

/// The principal of the credentials file who may do everything.
fn signer() -> Signer {
    Signer {
        id: "AKIDEXAMPLE".into(),
        secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
        ..Signer::new("")
    }
}

/// The bytes of a call of the API.
pub(crate) fn api(node: &Broker, path: &str, body: &Value) -> Vec<u8> {
    signer().sign(Call::api(node, path, body)).bytes()
}

/// The bytes of a master's request for a WebSocket.
pub(crate) fn master(node: &Broker, arn: &str) -> Vec<u8> {
    signer().presign(Call::master(node, arn), 60).bytes()
}

/// A call on a connection of its own.
pub(crate) fn call(node: &Broker, path: &str, body: &Value) -> Answer {
    let mut connection = Connection::open(node.plain);
    connection.send(&api(node, path, body));
    connection.answer().expect("an answer")
}

pub(crate) fn create(node: &Broker, name: &str) -> Answer {
    call(
        node,
        "/createSignalingChannel",
        &json!({ "ChannelName": name }),
    )
}

pub(crate) fn describe(node: &Broker, arn: &str) -> Answer {
    call(
        node,
        "/describeSignalingChannel",
        &json!({ "ChannelARN": arn }),
    )
}

pub(crate) fn delete(node: &Broker, arn: &str) {
    call(
        node,
        "/deleteSignalingChannel",
        &json!({ "ChannelARN": arn }),
    )
    .ok();
}

pub(crate) fn arn_in(made: &Answer) -> String {
    let made = made.ok();
    made["ChannelARN"].as_str().expect("an ARN").to_owned()
}

/// A channel of this node.
pub(crate) fn channel_of(nodes: &Nodes, node: usize) -> String {
    let mut made = (0..10_000).map(|number| make(nodes, number));
    let own = made.find(|(owner, _)| *owner == node);
    own.expect("it has hardly any slot").1
}

/// Makes a channel; the node that has it, and its ARN.
fn make(nodes: &Nodes, number: usize) -> (usize, String) {
    let (node, name) = (nodes.node(number % 3), format!("made-{number}"));
    let arn = until("a channel can be made", || {
        let answer = create(node, &name);
        (answer.status != 503).then(|| arn_in(&answer))
    });
    (nodes.owner(&name), arn)
}

/// This many channels of each node, and no others; made through any.
pub(crate) fn channels_of_each(nodes: &Nodes, wanted: usize) -> [Vec<String>; 3] {
    let mut arns = [const { Vec::new() }; 3];
    for number in 0..10_000 {
        let (owner, arn) = make(nodes, number);
        let own = &mut arns[owner];
        if own.len() < wanted {
            own.push(arn);
        } else {
            delete(nodes.node(owner), &arn);
        }
        if arns.iter().all(|own| own.len() == wanted) {
            return arns;
        }
    }
    panic!("a node has hardly any slot");
}
