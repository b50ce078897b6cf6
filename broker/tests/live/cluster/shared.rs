//! Effects of the secret that nodes share: temporary credentials and tickets of TLS are good on each of them. And the
//! case of a client that goes to a node by its name.

use super::meeting::{assert_quiet, exchange};
use super::nodes::{Files, NONE, Nodes, call, with_tls};
use crate::http::Connection;
use crate::listeners::tls::{BOTH, Identity, ask, handshakes};
use crate::peer::{Peer, master_query, upgrade_head};
use crate::signed::service::{Service, credentials};
use crate::signed::signer::Signer;
use crate::signed::sts::{EVERYTHING, federate};
use broker_core::control::host_label;
use serde_json::json;
use std::fs;

#[test]
fn temporary_credentials_are_good_on_every_node_also_while_the_secret_is_replaced() {
    let files = Files::new();
    let old = fs::read_to_string(files.path("secret")).expect("a secret");
    let both = format!("{old}\n{}\n", "cd".repeat(32));
    let start = |node: &str, secret: &str| {
        fs::write(files.path("secret"), secret).expect("a file under target/");
        let config = files.config(node, "");
        let config = config.to_str().expect("a path in UTF-8");
        Service::with(&credentials(), &["--config", config], 1)
    };
    let (n1, n2) = (start("n1", &old), start("n2", &both));
    let (browser, _) = federate(&n1, &Signer::new("admin"), EVERYTHING);
    let mut owners = 0;
    for number in 0..8 {
        for (node, name) in [(&n1, "a"), (&n2, "b")] {
            node.create(&browser, &format!("{name}{number}"));
        }
        owners = [&n1, &n2]
            .iter()
            .filter(|node| node.broker.scrape().sum("heliograph_channels") > 0.0)
            .count();
    }
    assert_eq!(owners, 2, "each node passed some on to the other");
    n1.end();
    n2.end();
}

#[test]
fn a_client_resumes_its_session_on_another_node() {
    let identity = Identity::new("localhost");
    let files = Files::new();
    let arguments = with_tls(&identity);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (n1, n2) = (
        files.start("n1", 1, "", &arguments),
        files.start("n2", 2, "", &arguments),
    );
    for version in BOTH {
        let client = identity.client(&[version], None);
        let before = handshakes(&n2);
        assert!(ask(&n1, &client).is_ok());
        for _ in 0..4 {
            assert!(ask(&n2, &client).is_ok());
        }
        let after = handshakes(&n2);
        let gained = [after[0] - before[0], after[1] - before[1]];
        assert_eq!(gained, [0.0, 4.0], "{version:?}");
    }
}

#[test]
fn discovery_names_the_owner_and_any_name_reaches_it() {
    let more = "direct = true\n[advertise]\ndomain = 'signal.example'";
    let files = Files::new();
    let nodes = Nodes {
        n1: files.start("n1", 1, more, NONE),
        n2: files.start("n2", 1, more, NONE),
        files,
    };
    let hosts = ["n1", "n2"].map(|node| format!("m-{}.signal.example", host_label(node)));
    for (arn, owner) in nodes.channels().iter().zip(&hosts) {
        for node in [&nodes.n1, &nodes.n2] {
            let asked = json!({ "ChannelARN": arn, "SingleMasterChannelEndpointConfiguration":
                { "Protocols": ["WSS"], "Role": "MASTER" } });
            let found = call(node.plain, "/getSignalingChannelEndpoint", &asked).ok();
            let endpoint = &found["ResourceEndpointList"][0]["ResourceEndpoint"];
            assert_eq!(*endpoint, format!("wss://{owner}").as_str());
            // Its name, the other node's, and one of a node that is gone.
            for host in [owner.as_str(), &hosts[0], "m-00000000.signal.example"] {
                let head = upgrade_head(node, &master_query(arn));
                let own = head.lines().find(|line| line.starts_with("Host: "));
                let head = head.replace(own.expect("a host"), &format!("Host: {host}"));
                let mut connection = Connection::open(node.plain);
                connection.send(head.as_bytes());
                let answer = connection.answer().expect("an answer");
                assert_eq!(answer.status, 101, "{host}: {}", answer.text());
                let mut master = Peer::after_upgrade(connection);
                let mut viewer = Peer::viewer(node, arn, "v1");
                exchange(&mut master, &mut viewer);
                viewer.close();
                master.close();
            }
        }
    }
    assert_quiet(&nodes);
}
