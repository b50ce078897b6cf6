//! Messages of clients and their verdicts: recorded frames, then every rule and every fault.

use codec::base64;
use codec::signal::{Action, FaultKind, MessageRules, Parser, Role};
use serde_json::Value;

#[test]
fn recorded_frames_mean_what_their_clients_meant() {
    let clients: Vec<Value> =
        serde_json::from_str(include_str!("data/websocket_clients.json")).unwrap();
    let mut frames = 0;
    for client in &clients {
        for frame in client["frames_sent_by_client"].as_array().unwrap() {
            // Shortened payloads are filled up with real base64.
            let text = frame["payload"]
                .as_str()
                .unwrap()
                .replace("\"…\"", "\"eyJ0eXBlIjoiYW5zd2VyIn0=\"")
                .replace('…', "QUJD");
            let sent: Value = serde_json::from_str(&text).unwrap();
            let action = sent["action"].as_str().unwrap();
            let either = |name: &str, other: &str| {
                sent.get(name)
                    .or_else(|| sent.get(other))
                    .and_then(Value::as_str)
            };
            let recipient = either("recipientClientId", "RecipientClientId");
            // The C SDK's source lists its viewer's offer beside its master's messages.
            let master = client["role"] == "MASTER" && action != "SDP_OFFER";
            let role = if master { Role::Master } else { Role::Viewer };
            let (mut parser, mut bytes) = (Parser::new(), text.clone().into_bytes());
            let request = parser
                .parse(&mut bytes, role, &MessageRules::DEFAULT)
                .unwrap();
            let payload = either("messagePayload", "MessagePayload")
                .unwrap()
                .replace('-', "+")
                .replace('_', "/");
            assert_eq!(request.action.as_str(), action);
            assert_eq!(request.payload, payload.as_bytes());
            let found = request.recipient.map(|id| id.as_str());
            assert_eq!(found, recipient.filter(|_| master));
            let found = request.correlation_id.map(|id| id.as_str());
            assert_eq!(found, either("correlationId", "CorrelationId"));
            frames += 1;
        }
    }
    assert_eq!(frames, 10);
}

/// Reads `text` and says in one line what it is, or why not and who gets a response.
fn verdict(text: &str, role: Role, rules: &MessageRules) -> String {
    let (mut parser, mut bytes) = (Parser::new(), text.as_bytes().to_vec());
    match parser.parse(&mut bytes, role, rules) {
        Ok(request) => {
            let recipient = request.recipient.map_or("-", |id| id.as_str());
            let correlation_id = request.correlation_id.map_or("-", |id| id.as_str());
            format!(
                "{} {} to {recipient} id {correlation_id}",
                request.action.as_str(),
                base64::text(request.payload)
            )
        }
        Err(fault) => format!(
            "{:?} id {}",
            fault.kind,
            fault.correlation_id.map_or("-", |id| id.as_str())
        ),
    }
}

fn table(role: Role, rules: &MessageRules, cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(verdict(text, role, rules), *expected, "{text}");
    }
}

#[test]
fn viewers_speak_to_the_master_alone() {
    #[rustfmt::skip] // a table, a case per row
    table(
        Role::Viewer,
        &MessageRules::DEFAULT,
        &[
            (r#"{"action":"SDP_OFFER","messagePayload":"QQ=="}"#, "SDP_OFFER QQ== to - id -"),
            (r#"{"action":"SDP_ANSWER","messagePayload":"QQ","correlationId":"c"}"#, "SDP_ANSWER QQ to - id c"),
            (r#"{"action":"ICE_CANDIDATE","messagePayload":"Q","recipientClientId":"v 2"}"#,
                "ICE_CANDIDATE Q to - id -"),
            (r#"{"action":"SDP_OFFER","messagePayload":"=","recipientClientId":"","senderClientId":7}"#,
                "SDP_OFFER = to - id -"),
            (r#"{"action":"SDP_OFFER","messagePayload":"A","recipientClientId":null,"correlationId":null}"#,
                "SDP_OFFER A to - id -"),
            (r#"{"action":"SDP_OFFER","messagePayload":"A","correlationId":""}"#, "SDP_OFFER A to - id -"),
        ],
    );
}

#[test]
fn masters_name_a_viewer_and_do_not_offer() {
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        (r#"{"action":"SDP_ANSWER","messagePayload":"A","recipientClientId":"v.1"}"#, "SDP_ANSWER A to v.1 id -"),
        (r#"{"action":"SDP_ANSWER","messagePayload":"A","correlationId":"c"}"#, "Recipient id c"),
        (
            r#"{"action":"SDP_ANSWER","messagePayload":"A","recipientClientId":"","correlationId":"c"}"#,
            "Recipient id c",
        ),
        (
            r#"{"action":"SDP_ANSWER","messagePayload":"A","recipientClientId":null,"correlationId":"c"}"#,
            "Recipient id c",
        ),
        (
            r#"{"action":"SDP_ANSWER","messagePayload":"A","recipientClientId":"v 1","correlationId":"c"}"#,
            "Recipient id c",
        ),
        (
            r#"{"action":"SDP_ANSWER","messagePayload":"A","recipientClientId":"v\"","correlationId":"c"}"#,
            "Recipient id c",
        ),
    ];
    table(Role::Master, &MessageRules::DEFAULT, &cases);
    let offer = r#"{"action":"SDP_OFFER","messagePayload":"A","recipientClientId":"v","correlationId":"c"}"#;
    let bare = r#"{"action":"SDP_OFFER","messagePayload":"A","correlationId":"c"}"#;
    table(
        Role::Master,
        &MessageRules::DEFAULT,
        &[(offer, "MasterOffer id c"), (bare, "MasterOffer id c")],
    );
    let rules = MessageRules {
        master_offers: true,
        ..MessageRules::DEFAULT
    };
    table(
        Role::Master,
        &rules,
        &[(offer, "SDP_OFFER A to v id c"), (bare, "Recipient id c")],
    );
}

#[test]
fn spelling_escapes_and_blanks_do_not_matter() {
    #[rustfmt::skip] // a table, a case per row
    table(
        Role::Master,
        &MessageRules::DEFAULT,
        &[
            (
                "\r\n{\t\"Action\" :\"SDP_ANSWER\" \
                 , \"MessagePayload\": \"QQ==\",\n\"RecipientClientId\":\"v\",\"CorrelationId\":\"1_1\"\t} ",
                "SDP_ANSWER QQ== to v id 1_1",
            ),
            (r#"{"act\u0069on":"SDP\u005fANSWER","messagePayload":"a\/b\u002f","recipientClientId":"\u0076"}"#,
                "SDP_ANSWER a/b/ to v id -"),
            (
                r#"{"IceServerList":[{"Ttl":300,"Uris":["turn:a"]}],"action":"SDP_ANSWER","messagePayload":"A","recipientClientId":"v"}"#,
                "SDP_ANSWER A to v id -",
            ),
            (
                r#"{"x":"\ud83d\ude00","y":[true,false,null,-1.5e3,{}],"action":"SDP_ANSWER","messagePayload":"A","recipientClientId":"v"}"#,
                "SDP_ANSWER A to v id -",
            ),
            (r#"{"ACTION":"x","action":"SDP_ANSWER","messagePayload":"A","recipientClientId":"v"}"#,
                "SDP_ANSWER A to v id -"),
        ],
    );
}

#[test]
fn each_fault_has_its_status_where_it_can_be_sent() {
    table(Role::Viewer, &MessageRules::DEFAULT, FAULTS);
}

/// Faulty messages of viewers, each with its fault and the id of its response.
#[rustfmt::skip] // a table, a case per row
const FAULTS: &[(&str, &str)] = &[
    // Not JSON: silence, whatever it contains.
    ("", "NotJson id -"),
    (" ", "NotJson id -"),
    ("null", "NotJson id -"),
    ("[]", "NotJson id -"),
    ("\"x\"", "NotJson id -"),
    (r#"{"action":"SDP_OFFER","messagePayload":"A","correlationId":"c"} x"#, "NotJson id -"),
    (r#"{"action":"SDP_OFFER","messagePayload":"A","correlationId":"c",}"#, "NotJson id -"),
    (r#"{"action":"SDP_OFFER","messagePayload":"A","correlationId":"c""#, "NotJson id -"),
    ("{\"action\":\"SDP_OFFER\",\"messagePayload\":\"A\nB\",\"correlationId\":\"c\"}", "NotJson id -"),
    (r#"{"action":"SDP_OFFER","messagePayload":"\ud800","correlationId":"c"}"#, "NotJson id -"),
    // Grammatical, but beyond what simd-json reads: numbers of more than 64 bits or outside the range of a double.
    (r#"{"x":123456789012345678901,"action":"SDP_OFFER","messagePayload":"A"}"#, "NotJson id -"),
    (r#"{"x":1e999,"action":"SDP_OFFER","messagePayload":"A"}"#, "NotJson id -"),
    // Malformed comes before all other faults.
    (r#"{"action":"x","Action":"x","messagePayload":"","correlationId":"c"}"#, "Malformed id c"),
    (r#"{"action":"SDP_OFFER","messagePayload":"A","messagePayload":"A","correlationId":"c"}"#, "Malformed id c"),
    (r#"{"action":"SDP_OFFER","messagePayload":"A","MessagePayload":null,"correlationId":"c"}"#, "Malformed id c"),
    (r#"{"action":"SDP_OFFER","messagePayload":5,"correlationId":"c"}"#, "Malformed id c"),
    (r#"{"action":true,"messagePayload":"A","correlationId":"c"}"#, "Malformed id c"),
    (r#"{"action":"SDP_OFFER","messagePayload":["A"],"correlationId":"c"}"#, "Malformed id c"),
    (r#"{"action":"SDP_OFFER","messagePayload":"A","recipientClientId":{},"correlationId":"c"}"#, "Malformed id c"),
    (r#"{"action":"SDP_OFFER","messagePayload":"A","correlationId":"c","correlationId":"c"}"#, "Malformed id -"),
    // A correlation id that cannot be echoed refuses the message without a response.
    (r#"{"action":"SDP_OFFER","messagePayload":"A","correlationId":7}"#, "Malformed id -"),
    (r#"{"action":"SDP_OFFER","messagePayload":"A","correlationId":"a b"}"#, "Malformed id -"),
    // Action before payload.
    (r#"{"messagePayload":"","correlationId":"c"}"#, "UnsupportedAction id c"),
    (r#"{"action":null,"messagePayload":"A","correlationId":"c"}"#, "UnsupportedAction id c"),
    (r#"{"action":"sdp_offer","messagePayload":"A","correlationId":"c"}"#, "UnsupportedAction id c"),
    (r#"{"action":"SDP_OFFER ","messagePayload":"A","correlationId":"c"}"#, "UnsupportedAction id c"),
    (r#"{"action":"","messagePayload":"A","correlationId":"c"}"#, "UnsupportedAction id c"),
    (r#"{"action":"SDP_OFFER","correlationId":"c"}"#, "NoPayload id c"),
    (r#"{"action":"SDP_OFFER","messagePayload":null,"correlationId":"c"}"#, "NoPayload id c"),
    (r#"{"action":"SDP_OFFER","messagePayload":"","correlationId":"c"}"#, "NoPayload id c"),
    (r#"{"action":"SDP_OFFER","messagePayload":"a b","correlationId":"c"}"#, "PayloadAlphabet id c"),
    (r#"{"action":"SDP_OFFER","messagePayload":"é","correlationId":"c"}"#, "PayloadAlphabet id c"),
    (r#"{"action":"SDP_OFFER","messagePayload":"a\"b","correlationId":"c"}"#, "PayloadAlphabet id c"),
    ("{}", "UnsupportedAction id -"),
];

#[test]
fn bounds_are_exact() {
    let message = |payload: usize, id: usize| {
        let (payload, id) = ("A".repeat(payload), "c".repeat(id));
        format!(r#"{{"action":"SDP_OFFER","messagePayload":"{payload}","correlationId":"{id}"}}"#)
    };
    for (rules, bytes) in [
        (MessageRules::DEFAULT, 32_768),
        (MessageRules::STRICT, 10_240),
    ] {
        assert!(verdict(&message(bytes, 256), Role::Viewer, &rules).starts_with("SDP_OFFER"));
        let found = verdict(&message(bytes + 1, 1), Role::Viewer, &rules);
        assert_eq!(found, format!("PayloadTooLong({}) id c", bytes + 1));
        let found = verdict(&message(bytes, 257), Role::Viewer, &rules);
        assert_eq!(found, "Malformed id -");
    }
    let nested = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        format!(r#"{{"x":{open}{close},"action":"SDP_OFFER","messagePayload":"A"}}"#)
    };
    let found = verdict(&nested(8), Role::Viewer, &MessageRules::DEFAULT);
    assert_eq!(found, "SDP_OFFER A to - id -");
    let found = verdict(&nested(9), Role::Viewer, &MessageRules::DEFAULT);
    assert_eq!(found, "NotJson id -");
    let found = verdict(&nested(30_000), Role::Viewer, &MessageRules::DEFAULT);
    assert_eq!(found, "NotJson id -");
}

#[test]
fn url_safe_payloads_are_made_standard_or_refused() {
    for text in [
        r#"{"action":"SDP_OFFER","messagePayload":"a-_="}"#,
        r#"{"action":"SDP_OFFER","messagePayload":"a\u002d_="}"#,
    ] {
        let found = verdict(text, Role::Viewer, &MessageRules::DEFAULT);
        assert_eq!(found, "SDP_OFFER a+/= to - id -");
        let found = verdict(text, Role::Viewer, &MessageRules::STRICT);
        assert_eq!(found, "PayloadAlphabet id -");
    }
}

#[test]
fn faults_have_their_status() {
    let rules = MessageRules::STRICT;
    for kind in [
        FaultKind::Malformed,
        FaultKind::UnsupportedAction,
        FaultKind::NoPayload,
        FaultKind::PayloadTooLong(10_241),
        FaultKind::PayloadAlphabet,
        FaultKind::Recipient,
        FaultKind::MasterOffer,
    ] {
        let status = kind.status(&rules).unwrap();
        let found = (status.error_type(), status.status_code());
        assert_eq!(found, ("InvalidArgumentException", 400));
    }
    assert_eq!(FaultKind::NotJson.status(&rules), None);
}

#[test]
fn one_parser_reads_one_message_after_the_other() {
    let mut parser = Parser::new();
    for round in 0..100usize {
        let payload = "QUJD".repeat(1 + round * 37 % 50);
        let odd = if round % 3 == 0 {
            r#","x":[1,2,{"y":"\n"}]"#
        } else {
            ""
        };
        let mut text = format!(r#"{{"action":"ICE_CANDIDATE","messagePayload":"{payload}"{odd}}}"#)
            .into_bytes();
        let request = parser
            .parse(&mut text, Role::Viewer, &MessageRules::DEFAULT)
            .unwrap();
        let found = (request.action, request.payload);
        assert_eq!(found, (Action::IceCandidate, payload.as_bytes()));
        let fine = parser
            .parse(&mut b"{]".to_vec(), Role::Viewer, &MessageRules::DEFAULT)
            .is_err();
        assert!(fine);
    }
}
