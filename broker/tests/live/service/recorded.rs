//! Requests of real clients, byte for byte as recorded (tests/data/recorded.json): each is answered with what that
//! client can parse.

use crate::http::{Answer, Connection, call, exchange};
use crate::peer::{Peer, answer, percent_encoded, to_master, to_viewer};
use crate::process::Broker;
use serde_json::{Value, json};

/// The channel that the recorded requests name.
const ARN: &str = "arn:aws:kinesisvideo:us-east-1:123456789012:channel/demo/1700000000123";

/// The C SDK keeps what it reads last in a buffer of this size, and parses at most this many tokens.
const C_SDK_BODY_BYTES: usize = 10 * 1024;

#[rustfmt::skip] // a list
const ARGUMENTS: [&str; 7] = [
    "--dev", "--region", "us-east-1", "--listen", "http://127.0.0.1:0", "--listen", "https://127.0.0.1:0",
];

#[test]
fn recorded_calls_are_answered() {
    let broker = Broker::start(&ARGUMENTS, 2);
    let mut master = Peer::plain(
        &broker,
        &format!("X-Amz-ChannelARN={}", percent_encoded(ARN)),
    );
    let recorded = recorded("http_requests");
    let mut replayed = 0;
    #[rustfmt::skip] // a list
    let cases = [
        "DescribeSignalingChannel", "ListSignalingChannels", "GetSignalingChannelEndpoint", "GetIceServerConfig",
        "SendAlexaOfferToMaster", "DeleteSignalingChannel", "CreateSignalingChannel",
    ];
    for operation in cases {
        for request in recorded
            .iter()
            .filter(|request| request["operation"] == operation)
        {
            replay(&broker, &mut master, operation, request);
            replayed += 1;
        }
    }
    assert_eq!(replayed, recorded.len());
}

fn replay(broker: &Broker, master: &mut Peer, operation: &str, request: &Value) {
    let body: Value = serde_json::from_str(text(&request["body"])).expect("a JSON body");
    let bytes = bytes_of(request);
    eprintln!("{}: {operation} {body}", text(&request["client"]));
    match operation {
        "DescribeSignalingChannel" => {
            let answer = exchange(broker.plain, &bytes);
            let info = &answer.ok()["ChannelInfo"];
            assert_eq!(info["ChannelName"], "demo");
            assert_eq!(info["ChannelARN"], json!(ARN));
            assert_eq!(info["ChannelStatus"], json!("ACTIVE"));
            assert_fits_the_c_sdk(&answer);
        }
        "ListSignalingChannels" if body.get("NextToken").is_some() => {
            exchange(broker.plain, &bytes).refused(400, "InvalidArgumentException");
        }
        "ListSignalingChannels" => {
            let list = exchange(broker.plain, &bytes).ok();
            assert_eq!(list["ChannelInfoList"][0]["ChannelARN"], json!(ARN));
            assert!(list.get("NextToken").is_none(), "{list}");
        }
        "GetSignalingChannelEndpoint" => endpoint(broker, &body, &bytes),
        "GetIceServerConfig" => {
            let answer = exchange(broker.plain, &bytes);
            let servers = answer.ok();
            let server = &servers["IceServerList"][0];
            assert!(
                text(&server["Username"]).contains(':') && !text(&server["Password"]).is_empty(),
                "{server}"
            );
            assert!(
                server["Ttl"].as_u64().is_some_and(|ttl| ttl > 30) && server["Uris"][0].is_string(),
                "{server}"
            );
            assert_fits_the_c_sdk(&answer);
        }
        "SendAlexaOfferToMaster" => {
            let mut connection = Connection::open(broker.plain);
            connection.send(&bytes);
            let (sender, payload) = (text(&body["SenderClientId"]), text(&body["MessagePayload"]));
            master.expect(&to_master("SDP_OFFER", payload, sender));
            master.send(&answer(sender, "YW5zd2Vy"));
            assert_eq!(
                connection.answer().expect("an answer").ok(),
                json!({"Answer": "YW5zd2Vy"})
            );
        }
        "DeleteSignalingChannel" if body.get("CurrentVersion").is_some() => {
            exchange(broker.plain, &bytes).refused(400, "VersionMismatchException");
        }
        "DeleteSignalingChannel" => {
            assert_eq!(exchange(broker.plain, &bytes).ok(), json!({}));
            master.expect_close(1001);
            // The next recording finds the channel again.
            *master = Peer::plain(
                broker,
                &format!("X-Amz-ChannelARN={}", percent_encoded(ARN)),
            );
        }
        "CreateSignalingChannel" => create(broker, &body, &bytes),
        other => panic!("no expectation for {other}"),
    }
}

fn endpoint(broker: &Broker, body: &Value, bytes: &[u8]) {
    let asked = &body["SingleMasterChannelEndpointConfiguration"]["Protocols"];
    let got = exchange(broker.plain, bytes);
    if asked
        .as_array()
        .is_some_and(|protocols| protocols.contains(&json!("WEBRTC")))
    {
        got.refused(400, "InvalidArgumentException");
        return;
    }
    let list = got.ok();
    let protocols: Vec<&Value> = list["ResourceEndpointList"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|entry| &entry["Protocol"])
        .collect();
    match asked.as_array() {
        Some(asked) => assert_eq!(protocols, asked.iter().collect::<Vec<_>>()),
        None => assert_eq!(protocols, [&json!("WSS")]),
    }
    for entry in list["ResourceEndpointList"].as_array().expect("a list") {
        let (scheme, rest) = text(&entry["ResourceEndpoint"])
            .split_once("://")
            .expect("a URL");
        assert_eq!(scheme.to_ascii_uppercase(), text(&entry["Protocol"]));
        let (_, port) = rest.rsplit_once(':').expect("a port");
        let own = broker.tls.port();
        let is_master = body["SingleMasterChannelEndpointConfiguration"]["Role"] == "MASTER";
        let path = if scheme == "wss" && is_master {
            "/master"
        } else {
            ""
        };
        assert_eq!(port, format!("{own}{path}"), "{rest}");
    }
    assert_fits_the_c_sdk(&got);
}

/// Creates what was recorded, after removing what has its name.
fn create(broker: &Broker, body: &Value, bytes: &[u8]) {
    let name = json!({"ChannelName": body["ChannelName"]});
    let before = call(broker.plain, "/describeSignalingChannel", &name);
    if before.status == 200 {
        exchange(broker.plain, bytes).refused(400, "ResourceInUseException");
        let arn = &before.json()["ChannelInfo"]["ChannelARN"];
        call(
            broker.plain,
            "/deleteSignalingChannel",
            &json!({"ChannelARN": arn}),
        )
        .ok();
    }
    let answer = exchange(broker.plain, bytes);
    let arn = answer.ok()["ChannelARN"].clone();
    assert_fits_the_c_sdk(&answer);
    let info = call(broker.plain, "/describeSignalingChannel", &name).ok();
    assert_eq!(info["ChannelInfo"]["ChannelARN"], arn);
    let ttl = body["SingleMasterConfiguration"]["MessageTtlSeconds"]
        .as_u64()
        .unwrap_or(60);
    assert_eq!(
        info["ChannelInfo"]["SingleMasterConfiguration"],
        json!({"MessageTtlSeconds": ttl})
    );
}

#[test]
fn recorded_upgrades_are_accepted_and_their_frames_carried() {
    let broker = Broker::start(&ARGUMENTS, 2);
    for client in recorded("websocket") {
        eprintln!("{} as {}", text(&client["client"]), text(&client["role"]));
        let frames = client["frames_sent_by_client"].as_array().expect("frames");
        for frame in frames
            .iter()
            .map(|frame| filled_in(text(&frame["payload"])))
        {
            carry(&broker, &client, &frame);
        }
    }
}

/// Sends one recorded frame on a recorded upgrade and expects it at the other side, spelled the service's way.
fn carry(broker: &Broker, client: &Value, frame: &str) {
    let message: Value = serde_json::from_str(frame).expect("a JSON frame");
    let member = |name: &str| {
        let upper = name[..1].to_ascii_uppercase() + &name[1..];
        message
            .get(name)
            .or_else(|| message.get(&upper))
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let (action, recipient) = (member("action"), member("recipientClientId"));
    let payload = member("messagePayload").replace('-', "+").replace('_', "/");
    let is_viewer = action == "SDP_OFFER" && !recipient.is_empty() || client["role"] == "VIEWER";
    let channel = format!("X-Amz-ChannelARN={}", percent_encoded(ARN));
    if is_viewer {
        let mut master = Peer::plain(broker, &channel);
        let mut viewer = Peer::after_upgrade(upgraded(broker, client, Some("viewer-1.A_b")));
        viewer.send(frame);
        master.expect(&to_master(&action, &payload, "viewer-1.A_b"));
        viewer.expect_silence();
        viewer.close(); // nobody waits for an answer
        return;
    }
    let mut viewer = Peer::plain(
        broker,
        &format!("{channel}&X-Amz-ClientId={}", recipient_or_any(&recipient)),
    );
    let mut master = Peer::after_upgrade(upgraded(broker, client, None));
    master.send(frame);
    master.expect_silence();
    if action == "SDP_OFFER" {
        viewer.expect_silence();
    } else {
        viewer.expect(&to_viewer(&action, &payload));
    }
}

/// The recorded upgrade, accepted. What was not captured is filled in as the client's source does.
fn upgraded(broker: &Broker, client: &Value, client_id: Option<&str>) -> Connection {
    let mut target = client["target"]
        .as_str()
        .filter(|target| !target.contains('…'))
        .map(str::to_owned);
    if client["captured"] == false {
        let id = client_id
            .map(|id| format!("&X-Amz-ClientId={id}"))
            .unwrap_or_default();
        target = Some(format!(
            "/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-ChannelARN={}{id}&X-Amz-Expires=300",
            percent_encoded(ARN)
        ));
    }
    let mut head = format!("GET {} HTTP/1.1\r\n", target.expect("a target"));
    let plain = [
        ["Host", "localhost"],
        ["Upgrade", "websocket"],
        ["Connection", "Upgrade"],
        ["Sec-WebSocket-Version", "13"],
        ["Sec-WebSocket-Key", "mPakYpEMVU/6QtnZHS57AQ=="],
    ];
    match client["headers"].as_array() {
        Some(headers) => {
            for header in headers {
                head += &format!(
                    "{}: {}\r\n",
                    text(&header[0]),
                    value_of(text(&header[0]), text(&header[1]))
                );
            }
        }
        None => head.extend(
            plain
                .iter()
                .map(|[name, value]| format!("{name}: {value}\r\n")),
        ),
    }
    let mut connection = Connection::open(broker.plain);
    connection.send(format!("{head}\r\n").as_bytes());
    let answer = connection.answer().expect("an answer");
    assert_eq!(answer.status, 101, "{answer:?} {}", answer.text());
    let offered = head
        .contains("Sec-WebSocket-Protocol: wss")
        .then_some("wss");
    assert_eq!(
        answer.header("sec-websocket-protocol"),
        offered,
        "{answer:?}"
    );
    connection
}

fn assert_fits_the_c_sdk(answer: &Answer) {
    assert!(
        answer.body.len() <= C_SDK_BODY_BYTES,
        "{} bytes",
        answer.body.len()
    );
    assert!(
        tokens(&answer.json()) <= 100,
        "{} tokens",
        tokens(&answer.json())
    );
}

/// Objects, lists, keys and values: what a flat JSON tokenizer counts.
fn tokens(value: &Value) -> usize {
    match value {
        Value::Array(values) => 1 + values.iter().map(tokens).sum::<usize>(),
        Value::Object(members) => {
            1 + members
                .values()
                .map(|member| 1 + tokens(member))
                .sum::<usize>()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 1,
    }
}

fn bytes_of(request: &Value) -> Vec<u8> {
    let mut head = format!(
        "{} {} {}\r\n",
        text(&request["method"]),
        text(&request["target"]),
        text(&request["http_version"])
    );
    for header in request["headers"].as_array().expect("headers") {
        head += &format!(
            "{}: {}\r\n",
            text(&header[0]),
            value_of(text(&header[0]), text(&header[1]))
        );
    }
    format!("{head}\r\n{}", text(&request["body"])).into_bytes()
}

/// A header's value, its placeholder replaced where the broker reads it.
fn value_of(name: &str, value: &str) -> String {
    match name.to_ascii_lowercase().as_str() {
        "host" if value.starts_with('<') => "localhost".to_owned(),
        "sec-websocket-key" if value.starts_with('<') => "dGhlIHNhbXBsZSBub25jZQ==".to_owned(),
        _ => value.to_owned(),
    }
}

fn filled_in(frame: &str) -> String {
    frame
        .replace("\"…\"", "\"eyJ0eXBlIjoiYW5zd2VyIn0=\"")
        .replace('…', "c2RwIjoi")
        .replace("<own id or empty>", "")
}

fn recipient_or_any(recipient: &str) -> &str {
    if recipient.is_empty() {
        "any"
    } else {
        recipient
    }
}

fn recorded(part: &str) -> Vec<Value> {
    let all: Value =
        serde_json::from_str(include_str!("../../data/recorded.json")).expect("the recording");
    all[part].as_array().expect("a list").clone()
}

fn text(value: &Value) -> &str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("not a text: {value}"))
}
