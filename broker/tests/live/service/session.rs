//! From offer to answer: who gets which message, in which words.

use crate::peer::{
    HealthyPair, Peer, answer, candidate, candidate_to, master_query, offer, status, to_master,
    to_viewer, upgrade, viewer_query,
};
use crate::process::{Broker, arn};
use tungstenite::Message;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};

on_shards!(
    offers_answers_and_candidates_go_both_ways,
    plain_and_tls_peers_meet,
    viewers_are_kept_apart,
    connections_move_to_their_channel,
    order_is_kept_in_bursts,
);

fn offers_answers_and_candidates_go_both_ways(broker: &Broker) {
    let arn = arn("demo");
    let mut master = Peer::master(broker, &arn);
    let mut viewer = Peer::viewer(broker, &arn, "v1");
    viewer.send(&offer("b2ZmZXI="));
    master.expect(&to_master("SDP_OFFER", "b2ZmZXI=", "v1"));
    master.send(&answer("v1", "YW5zd2Vy"));
    viewer.expect(&to_viewer("SDP_ANSWER", "YW5zd2Vy"));
    viewer.send(&candidate("dmlld2Vy"));
    master.expect(&to_master("ICE_CANDIDATE", "dmlld2Vy", "v1"));
    master.send(&candidate_to("v1", "bWFzdGVy"));
    viewer.expect(&to_viewer("ICE_CANDIDATE", "bWFzdGVy"));
    master.expect_silence();
    viewer.expect_silence();
    viewer.close();
    master.close();
}

fn plain_and_tls_peers_meet(broker: &Broker) {
    let arn = arn("demo");
    let mut master = Peer::secure(broker, &master_query(&arn));
    let mut plain = Peer::viewer(broker, &arn, "plain");
    let mut secure = Peer::secure(broker, &viewer_query(&arn, "secure"));
    for (viewer, id) in [(&mut plain, "plain"), (&mut secure, "secure")] {
        let long = "A".repeat(20_000);
        viewer.send(&offer(&long));
        master.expect(&to_master("SDP_OFFER", &long, id));
        master.send(&answer(id, &long));
        viewer.expect(&to_viewer("SDP_ANSWER", &long));
    }
    secure.close();
    master.close();
}

fn viewers_are_kept_apart(broker: &Broker) {
    let arn = arn("demo");
    let mut master = Peer::master(broker, &arn);
    let mut viewers: Vec<Peer> = (0..10)
        .map(|n| Peer::viewer(broker, &arn, &format!("v{n}")))
        .collect();
    for (n, viewer) in viewers.iter_mut().enumerate() {
        viewer.send(&offer(&format!("offer{n}==")));
        master.expect(&to_master(
            "SDP_OFFER",
            &format!("offer{n}=="),
            &format!("v{n}"),
        ));
    }
    for n in (0..10).rev() {
        master.send(&answer(&format!("v{n}"), &format!("answer{n}=")));
    }
    for (n, viewer) in viewers.iter_mut().enumerate() {
        viewer.expect(&to_viewer("SDP_ANSWER", &format!("answer{n}=")));
        viewer.expect_silence();
    }
    master.expect_silence();
}

/// Which shard accepts a connection is the kernel's choice, so with several shards some of these must have moved.
fn connections_move_to_their_channel(broker: &Broker) {
    let mut pairs: Vec<(Peer, Peer)> = (0..24)
        .map(|n| {
            let arn = arn(&format!("channel-{n}"));
            (
                Peer::master(broker, &arn),
                Peer::secure(broker, &viewer_query(&arn, "v")),
            )
        })
        .collect();
    for (n, (master, viewer)) in pairs.iter_mut().enumerate() {
        viewer.send(&offer(&format!("offer{n}==")));
        master.expect(&to_master("SDP_OFFER", &format!("offer{n}=="), "v"));
        master.send(&answer("v", &format!("answer{n}=")));
        viewer.expect(&to_viewer("SDP_ANSWER", &format!("answer{n}=")));
    }
    let handovers = broker.scrape().sum("heliograph_handovers_total");
    assert_eq!(
        handovers > 0.0,
        broker.shards > 1,
        "{handovers} handovers on {} shards",
        broker.shards
    );
}

fn order_is_kept_in_bursts(broker: &Broker) {
    let arn = arn("demo");
    let mut master = Peer::master(broker, &arn);
    let mut viewer = Peer::viewer(broker, &arn, "v1");
    for n in 0..300 {
        viewer.send(&candidate(&format!("up{n:06}")));
        master.send(&candidate_to("v1", &format!("down{n:04}")));
    }
    for n in 0..300 {
        master.expect(&to_master("ICE_CANDIDATE", &format!("up{n:06}"), "v1"));
        viewer.expect(&to_viewer("ICE_CANDIDATE", &format!("down{n:04}")));
    }
}

/// Spellings in which C, Android and iOS clients differ (codec/PROTOCOL.md, MSG-3).
#[test]
fn spellings_of_all_clients_are_understood() {
    let broker = Broker::dev(1);
    let arn = arn("demo");
    let mut master = Peer::master(&broker, &arn);
    let mut viewer = Peer::viewer(&broker, &arn, "v1");
    viewer.send(
        "{\n\t\"action\": \"SDP_OFFER\",\n\t\"RecipientClientId\": \"ProducerMaster\",\n\t\
         \"MessagePayload\": \"Qw==\",\n\t\
         \"IceServerList\": [\n\t\t{\n\t\t\t\"Password\": \"pw\",\n\t\t\t\"Ttl\": 300,\n\t\t\t\"Uris\": \
         [\"turn:t:443\"],\n\t\t\t\
         \"Username\": \"1:u\"\n\t\t}\n\t]\n}",
    );
    master.expect(&to_master("SDP_OFFER", "Qw==", "v1"));
    viewer.send(r#"{"action":"SDP_OFFER","recipientClientId":"","senderClientId":"me","messagePayload":"QW5k-_=="}"#);
    master.expect(&to_master("SDP_OFFER", "QW5k+/==", "v1"));
    viewer.send(r#"{"messagePayload":"aU9T\/w==","recipientClientId":"x","action":"SDP_OFFER","senderClientId":""}"#);
    master.expect(&to_master("SDP_OFFER", "aU9T/w==", "v1"));
    viewer.send(r#"{"Action":"ICE_CANDIDATE","messagePayload":"\u0041\u0042==","unknown":[{"a":{"b":[1,null,true]}}]}"#);
    master.expect(&to_master("ICE_CANDIDATE", "AB==", "v1"));
    master.send(
        "{\n\t\"action\": \"SDP_ANSWER\",\n\t\"RecipientClientId\": \"v1\",\n\t\"MessagePayload\": \"QQ==\",\n\t\
         \"CorrelationId\": \"1700000000_1\"\n}",
    );
    viewer.expect(&to_viewer("SDP_ANSWER", "QQ=="));
    master.expect_silence();
    viewer.expect_silence();
}

#[test]
fn a_viewer_reaches_only_the_master_whatever_recipient_it_names() {
    let broker = Broker::dev(1);
    let arn = arn("demo");
    let mut master = Peer::master(&broker, &arn);
    let mut viewer = Peer::viewer(&broker, &arn, "v1");
    let mut other = Peer::viewer(&broker, &arn, "v2");
    for action in ["SDP_OFFER", "SDP_ANSWER", "ICE_CANDIDATE"] {
        viewer.send(&format!(
            r#"{{"action":"{action}","messagePayload":"eA==","recipientClientId":"v2","senderClientId":"v2"}}"#
        ));
        master.expect(&to_master(action, "eA==", "v1"));
    }
    other.expect_silence();
    viewer.expect_silence();
}

#[test]
fn a_master_sends_no_offers() {
    let broker = Broker::dev(1);
    let arn = arn("demo");
    let mut master = Peer::master(&broker, &arn);
    let mut viewer = Peer::viewer(&broker, &arn, "v1");
    let text = r#"{"action":"SDP_OFFER","messagePayload":"eA==","recipientClientId":"v1","correlationId":"c.1_-"}"#;
    master.send(text);
    master.expect(&status(
        "c.1_-",
        "InvalidArgumentException",
        "400",
        "A master cannot send an SDP offer.",
    ));
    viewer.expect_silence();
}

#[test]
fn fragments_with_pings_between_are_one_message() {
    let broker = Broker::dev(1);
    let arn = arn("demo");
    let mut master = Peer::master(&broker, &arn);
    let mut viewer = Peer::viewer(&broker, &arn, "v1");
    let text = offer("ZnJhZ21lbnRz");
    let last = text.len() - 1;
    for (at, byte) in text.bytes().enumerate() {
        let opcode = if at == 0 {
            OpCode::Data(Data::Text)
        } else {
            OpCode::Data(Data::Continue)
        };
        viewer.send_message(Message::Frame(Frame::message(
            vec![byte],
            opcode,
            at == last,
        )));
        if at % 16 == 0 {
            viewer.send_message(Message::Ping(vec![7; 125].into()));
        }
    }
    master.expect(&to_master("SDP_OFFER", "ZnJhZ21lbnRz", "v1"));
    for _ in (0..=last).step_by(16) {
        assert_eq!(viewer.receive(), Message::Pong(vec![7; 125].into()));
    }
    viewer.send("");
    viewer.expect_silence();
}

#[test]
fn upgrades_are_answered_as_each_client_needs() {
    let broker = Broker::dev(1);
    let query = master_query(&arn("demo"));
    let (plain, _connection) = upgrade(
        &broker,
        &query,
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n",
    );
    assert_eq!(plain.status, 101);
    assert_eq!(
        plain.header("sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        "RFC 6455 section 1.3"
    );
    assert_eq!(
        (plain.header("upgrade"), plain.header("connection")),
        (Some("websocket"), Some("Upgrade"))
    );
    assert!(
        plain.header("sec-websocket-extensions").is_none(),
        "{plain:?}"
    );
    assert!(
        plain.header("sec-websocket-protocol").is_none(),
        "{plain:?}"
    );
    assert!(
        plain.header("date").is_some() && plain.header("x-amzn-requestid").is_some(),
        "{plain:?}"
    );
    let (wss, _connection) = upgrade(&broker, &query, "Sec-WebSocket-Protocol: wss\r\n");
    assert_eq!(
        (wss.status, wss.header("sec-websocket-protocol")),
        (101, Some("wss"))
    );
    let (other, _connection) = upgrade(&broker, &query, "Sec-WebSocket-Protocol: chat\r\n");
    assert_eq!(
        (other.status, other.header("sec-websocket-protocol")),
        (101, None)
    );
}

/// The first frame may come in one packet with the request for the upgrade.
#[test]
fn bytes_behind_the_upgrade_belong_to_the_websocket() {
    for shards in [1, 4] {
        let broker = Broker::dev(shards);
        for n in 0..8 {
            let arn = arn(&format!("early-{n}"));
            let mut master = Peer::master(&broker, &arn);
            let mut early = b"\x81\x80\0\0\0\0".to_vec();
            let text = offer("ZWFybHk=");
            early[1] |= u8::try_from(text.len()).expect("a short offer");
            early.extend_from_slice(text.as_bytes());
            let mut connection = crate::http::Connection::open(broker.plain);
            let mut bytes =
                crate::peer::upgrade_head(&broker, &viewer_query(&arn, "v1")).into_bytes();
            bytes.extend_from_slice(&early);
            connection.send(&bytes);
            assert_eq!(connection.answer().expect("an answer").status, 101);
            master.expect(&to_master("SDP_OFFER", "ZWFybHk=", "v1"));
        }
    }
}

#[test]
fn stdout_carries_the_ready_line_alone() {
    let broker = Broker::dev(2);
    let words: Vec<&str> = broker.ready.split(' ').collect();
    assert_eq!(words.len(), 7, "{words:?}");
    let expected = [
        "ready".to_owned(),
        format!("http://{}", broker.plain),
        format!("https://{}", broker.tls),
        format!("admin=http://{}", broker.admin),
    ];
    assert_eq!(words[..4], expected);
    assert!(words[4].starts_with("ca="), "{words:?}");
    assert_eq!(words[5], format!("try=http://{}/try", broker.admin));
    assert!(words[6].starts_with("engine="), "{words:?}");
    HealthyPair::new(&broker).relay();
    assert_eq!(broker.further_output(), Vec::<String>::new());
}
