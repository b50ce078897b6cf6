//! The HTTP operations as bytes: what boto3 hides from its callers (codec/PROTOCOL.md, HTTP to ICE).

use crate::http::{Connection, call, create, exchange, request};
use crate::peer::Peer;
use crate::process::{Broker, arn};
use serde_json::{Value, json};

on_shards!(
    channels_are_created_and_described,
    channels_are_listed_in_order,
    endpoints_name_this_broker,
    ice_servers_are_never_an_empty_list,
    calls_share_a_connection,
    connections_are_closed_when_asked,
    browsers_may_call,
);

fn channels_are_created_and_described(broker: &Broker) {
    let at = broker.plain;
    for name in ["b", "a.1", "c-2", "A_3"] {
        let arn = create(at, name, 30);
        let prefix = format!("arn:aws:kinesisvideo:us-west-2:123456789012:channel/{name}/");
        let time = arn.strip_prefix(&prefix).unwrap_or_else(|| panic!("{arn}"));
        assert!(
            time.len() == 13 && time.bytes().all(|byte| byte.is_ascii_digit()),
            "{arn}"
        );
        let by_name = call(
            at,
            "/describeSignalingChannel",
            &json!({"ChannelName": name}),
        )
        .ok();
        let by_arn = call(at, "/describeSignalingChannel", &json!({"ChannelARN": arn})).ok();
        assert_eq!(by_name, by_arn);
        let info = &by_name["ChannelInfo"];
        assert_eq!(
            info["SingleMasterConfiguration"],
            json!({"MessageTtlSeconds": 30})
        );
        assert_eq!(
            (&info["ChannelType"], &info["ChannelStatus"]),
            (&json!("SINGLE_MASTER"), &json!("ACTIVE"))
        );
        assert_eq!(
            (&info["ChannelName"], &info["ChannelARN"]),
            (&json!(name), &json!(arn))
        );
        assert!(
            info["CreationTime"].is_number() && info["Version"].as_str().map(str::len) == Some(20),
            "{info}"
        );
    }
    call(at, "/createSignalingChannel", &json!({"ChannelName": "b"}))
        .refused(400, "ResourceInUseException");
    // Members in the documented order, nested as the C SDK's flat parser needs it.
    let text = call(
        at,
        "/describeSignalingChannel",
        &json!({"ChannelName": "b"}),
    )
    .text();
    let members = [
        "ChannelName",
        "ChannelARN",
        "ChannelType",
        "ChannelStatus",
        "CreationTime",
        "SingleMasterConfiguration",
        "Version",
    ];
    let places: Vec<usize> = members
        .iter()
        .map(|name| text.find(&format!("\"{name}\"")).expect("a member"))
        .collect();
    assert!(places.is_sorted(), "{text}");
}

fn channels_are_listed_in_order(broker: &Broker) {
    let at = broker.plain;
    for name in ["b", "a.1", "c-2", "A_3"] {
        create(at, name, 60);
    }
    let mut names = Vec::new();
    let mut token = Value::Null;
    loop {
        let page = call(
            at,
            "/listSignalingChannels",
            &json!({"MaxResults": 3, "NextToken": token}),
        )
        .ok();
        let infos = page["ChannelInfoList"].as_array().expect("a list");
        assert!(infos.len() <= 3);
        names.extend(
            infos
                .iter()
                .map(|info| info["ChannelName"].as_str().expect("a name").to_owned()),
        );
        match page.get("NextToken") {
            Some(next) => token = next.clone(),
            None => break,
        }
    }
    assert_eq!(
        names,
        ["A_3", "a.1", "b", "c-2"],
        "bytewise, whatever shard keeps them"
    );
    let condition = json!({"ChannelNameCondition": {"ComparisonOperator": "BEGINS_WITH", "ComparisonValue": "c-"}});
    let some = call(at, "/listSignalingChannels", &condition).ok();
    assert_eq!(
        some["ChannelInfoList"].as_array().map(Vec::len),
        Some(1),
        "{some}"
    );
}

fn endpoints_name_this_broker(broker: &Broker) {
    let arn = create(broker.plain, "demo", 60);
    let ask = |configuration: Value| {
        let body =
            json!({"ChannelARN": arn, "SingleMasterChannelEndpointConfiguration": configuration});
        call(broker.plain, "/getSignalingChannelEndpoint", &body)
    };
    let port = broker.tls.port();
    let wss = |path: &str| json!({"Protocol": "WSS", "ResourceEndpoint": format!("wss://127.0.0.1:{port}{path}")});
    let https =
        json!({"Protocol": "HTTPS", "ResourceEndpoint": format!("https://127.0.0.1:{port}")});
    for (role, path) in [("MASTER", "/master"), ("VIEWER", "")] {
        let both = ask(json!({"Protocols": ["HTTPS", "WSS"], "Role": role})).ok();
        assert_eq!(
            both,
            json!({"ResourceEndpointList": [https, wss(path)]}),
            "in the order asked"
        );
    }
    assert_eq!(
        ask(Value::Null).ok(),
        json!({"ResourceEndpointList": [wss("")]}),
        "the default is WSS"
    );
    assert_eq!(
        ask(json!({"Protocols": ["WSS", "WSS"]})).ok(),
        json!({"ResourceEndpointList": [wss("")]})
    );
    for bad in [
        json!({"Protocols": ["FTP"]}),
        json!({"Protocols": []}),
        json!({"Protocols": ["WEBRTC"]}),
        json!({"Role": "BYSTANDER"}),
    ] {
        ask(bad).refused(400, "InvalidArgumentException");
    }
    ask(json!({"Protocols": "WSS"})).refused(400, "SerializationException");
    let unknown = json!({"ChannelARN": crate::process::arn("unknown")});
    call(broker.plain, "/getSignalingChannelEndpoint", &unknown)
        .refused(404, "ResourceNotFoundException");
}

fn ice_servers_are_never_an_empty_list(broker: &Broker) {
    let arn = arn("demo");
    let _master = Peer::master(broker, &arn);
    let body =
        json!({"ChannelARN": arn, "ClientId": "viewer-1", "Service": "TURN", "Username": "u1"});
    let servers = call(broker.plain, "/v1/get-ice-server-config", &body).ok();
    let expected = json!({"Password": "none", "Ttl": 86_400, "Uris": ["stun:127.0.0.1:3478"], "Username": "0:none"});
    assert_eq!(servers, json!({"IceServerList": [expected]}));
    let mut bad = body.clone();
    bad["Service"] = json!("STUN");
    call(broker.plain, "/v1/get-ice-server-config", &bad).refused(400, "InvalidArgumentException");
    let unknown = json!({"ChannelARN": crate::process::arn("unknown")});
    call(broker.plain, "/v1/get-ice-server-config", &unknown)
        .refused(404, "ResourceNotFoundException");
}

fn calls_share_a_connection(broker: &Broker) {
    let mut connection = Connection::open(broker.plain);
    for n in 0..8 {
        connection
            .call(
                "/createSignalingChannel",
                &json!({"ChannelName": format!("kept-{n}")}),
            )
            .ok();
    }
    // Pipelined in one write, with an error between: answers come in order.
    let mut bytes = Vec::new();
    for n in (0..8).rev() {
        bytes.extend(request(
            "/describeSignalingChannel",
            &format!(r#"{{"ChannelName":"kept-{n}"}}"#),
        ));
        bytes.extend(request(
            "/describeSignalingChannel",
            r#"{"ChannelName":"unknown"}"#,
        ));
    }
    connection.send(&bytes);
    for n in (0..8).rev() {
        let described = connection.answer().expect("an answer").ok();
        assert_eq!(
            described["ChannelInfo"]["ChannelName"],
            json!(format!("kept-{n}"))
        );
        connection
            .answer()
            .expect("an answer")
            .refused(404, "ResourceNotFoundException");
    }
}

/// The C SDK takes an answer only once the connection has ended.
fn connections_are_closed_when_asked(broker: &Broker) {
    let mut connection = Connection::open(broker.plain);
    let body = r#"{"ChannelName":"demo"}"#;
    let request = String::from_utf8(request("/createSignalingChannel", body)).expect("text");
    connection.send(
        request
            .replace("Host:", "Connection: close\r\nHost:")
            .as_bytes(),
    );
    connection.answer().expect("an answer").ok();
    connection.assert_closed();
}

fn browsers_may_call(broker: &Broker) {
    let preflight = "OPTIONS /describeSignalingChannel HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost:3000\r\n\
        Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: \
        amz-sdk-request,authorization,x-amz-date\r\n\r\n";
    let answer = exchange(broker.plain, preflight.as_bytes());
    assert_eq!((answer.status, answer.body.len()), (200, 0), "{answer:?}");
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("access-control-allow-methods"), Some("POST"));
    assert_eq!(
        answer.header("access-control-allow-headers"),
        Some("amz-sdk-request,authorization,x-amz-date")
    );
    assert_eq!(answer.header("access-control-max-age"), Some("86400"));
    let unknown = call(
        broker.plain,
        "/describeSignalingChannel",
        &json!({"ChannelName": "unknown"}),
    );
    let exposed = unknown
        .header("access-control-expose-headers")
        .unwrap_or_default();
    assert_eq!(exposed, "x-amzn-RequestId,x-amzn-ErrorType,Date");
}
