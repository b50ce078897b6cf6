//! Effects of a configuration file on the wire: host names, ICE servers, deadlines.

use crate::http::{Connection, call, create, exchange, request};
use crate::peer::{Peer, master_query, offer, to_master, upgrade, upgrade_head, viewer_query};
use crate::process::{Broker, arn};
use aws_lc_rs::hmac;
use serde_json::{Value, json};
use std::time::{Instant, SystemTime};

#[test]
fn advertised_hosts_determine_the_role() {
    for shards in [1, 4] {
        let broker = Broker::configured("[advertise]\ndomain = \"signal.example.test\"\n", shards);
        let arn = create(broker.plain, "demo", 60);
        let hosts = |role: &str| -> Vec<String> {
            let wanted = json!({"Protocols": ["WSS", "HTTPS"], "Role": role});
            let body =
                json!({"ChannelARN": arn, "SingleMasterChannelEndpointConfiguration": wanted});
            let answer = call(broker.plain, "/getSignalingChannelEndpoint", &body).ok();
            let list = answer["ResourceEndpointList"]
                .as_array()
                .expect("a list")
                .clone();
            list.iter()
                .map(|entry| {
                    entry["ResourceEndpoint"]
                        .as_str()
                        .expect("a URL")
                        .to_owned()
                })
                .collect()
        };
        let (master, viewer) = (hosts("MASTER"), hosts("VIEWER"));
        // A development server is reached at its own port.
        let [master, viewer] = [master, viewer].map(|urls| {
            let port = format!(":{}", broker.tls.port());
            let bare = urls
                .iter()
                .map(|url| url.strip_suffix(&port).expect("a port").to_owned());
            bare.collect::<Vec<_>>()
        });
        let hex = placement_of(&master[0], "wss://m-");
        assert!(
            hex.len() == 8 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{master:?}"
        );
        assert_eq!(placement_of(&viewer[0], "wss://v-"), hex);
        for https in [&master[1], &viewer[1]] {
            assert_eq!(placement_of(https, "https://r-"), hex);
        }
        // On the master's host a client id is ignored; on the viewers' it is needed.
        let at = |host: &str, query: &str| {
            let head = upgrade_head(&broker, query)
                .replace(&format!("Host: {}", broker.plain), &format!("Host: {host}"));
            let mut connection = Connection::open(broker.plain);
            connection.send(head.as_bytes());
            let answer = connection.answer().expect("an answer");
            (answer, connection)
        };
        let (answer, connection) = at(
            master[0].trim_start_matches("wss://"),
            &viewer_query(&arn, "v1"),
        );
        assert_eq!(answer.status, 101, "{answer:?}");
        let mut camera = Peer::after_upgrade(connection);
        let (answer, connection) = at(
            viewer[0].trim_start_matches("wss://"),
            &viewer_query(&arn, "v1"),
        );
        assert_eq!(answer.status, 101, "{answer:?}");
        let mut screen = Peer::after_upgrade(connection);
        screen.send(&offer("b2ZmZXI="));
        camera.expect(&to_master("SDP_OFFER", "b2ZmZXI=", "v1"));
        at(viewer[0].trim_start_matches("wss://"), &master_query(&arn))
            .0
            .refused(400, "InvalidArgumentException");
    }
}

/// AWS' Linux reference signs the path of its endpoint and connects to `/`, the Android sample puts it into the query.
#[test]
fn a_client_that_cannot_sign_a_path_gets_none() {
    let file = "[advertise]\nwss = \"wss://signaling.example.test\"\n\
                [clients.doorbell]\nuser_agent = \"Mine*\"\nrole_path = false\n";
    let broker = Broker::configured(file, 1);
    let arn = create(broker.plain, "demo", 60);
    let configuration = r#"{"Protocols":["WSS"],"Role":"MASTER"}"#;
    let body = format!(
        r#"{{"ChannelARN":"{arn}","SingleMasterChannelEndpointConfiguration":{configuration}}}"#
    );
    let call = String::from_utf8(request("/getSignalingChannelEndpoint", &body)).expect("ASCII");
    for (agent, path) in [
        ("Boto3/1.44.5", "/master"),
        ("AWS-SDK-KVS/1.16.0 GCC/12.2.0", "/master"),
        ("AWS-SDK-KVS", ""),
        ("aws-sdk-android/2.81.0 Linux/6.1", ""),
        ("Mine 1.0", ""),
    ] {
        let call = call.replacen("\r\n", &format!("\r\nUser-Agent: {agent}\r\n"), 1);
        let found = exchange(broker.plain, call.as_bytes()).ok();
        let url = &found["ResourceEndpointList"][0]["ResourceEndpoint"];
        assert_eq!(
            *url,
            format!("wss://signaling.example.test{path}"),
            "{agent}"
        );
    }
}

fn placement_of<'a>(endpoint: &'a str, prefix: &str) -> &'a str {
    let rest = endpoint
        .strip_prefix(prefix)
        .and_then(|rest| rest.strip_suffix(".signal.example.test"));
    rest.unwrap_or_else(|| panic!("{endpoint} instead of {prefix}…"))
}

/// As coturn checks them with `use-auth-secret`: base64(HMAC-SHA1(secret, username)), the username an expiry and a
/// name.
#[test]
fn ice_servers_come_with_credentials_that_expire() {
    let file = "[[ice]]\nurls = [\"turn:turn.example.test:3478?transport=udp\", \"turns:turn.example.test:5349\"]\n\
                secret = \"north\"\nttl = \"600s\"\n";
    let broker = Broker::configured(file, 2);
    let arn = create(broker.plain, "demo", 60);
    for (more, name) in [
        (json!({}), "kvs"),
        (json!({"ClientId": "viewer-1"}), "viewer-1"),
        (
            json!({"ClientId": "viewer-1", "Username": "u1", "Service": "TURN"}),
            "u1",
        ),
    ] {
        let mut body = json!({"ChannelARN": arn});
        body.as_object_mut()
            .expect("an object")
            .extend(more.as_object().expect("an object").clone());
        let servers = call(broker.plain, "/v1/get-ice-server-config", &body).ok();
        let server = &servers["IceServerList"][0];
        assert_eq!(
            server["Uris"],
            json!([
                "turn:turn.example.test:3478?transport=udp",
                "turns:turn.example.test:5349"
            ])
        );
        assert_eq!(server["Ttl"], json!(600));
        let user = server["Username"].as_str().expect("a username");
        let (expiry, named) = user.split_once(':').expect("an expiry and a name");
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .expect("after 1970")
            .as_secs();
        let left = expiry.parse::<u64>().expect("seconds").saturating_sub(now);
        assert!(
            (590..=600).contains(&left) && named == name,
            "{user}, {left} s left"
        );
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, b"north");
        let tag = hmac::sign(&key, user.as_bytes());
        assert_eq!(
            server["Password"],
            Value::String(base64_simd::STANDARD.encode_to_string(tag.as_ref()))
        );
    }
}

#[test]
fn deadlines_follow_the_file() {
    let file = "[timeouts]\nhead = \"2s\"\nidle = \"3s\"\nping = \"1s\"\n";
    let broker = Broker::configured(file, 1);
    let started = Instant::now();
    let mut slow = Connection::open(broker.plain);
    slow.send(&request("/describeSignalingChannel", "{}")[..20]);
    slow.answer()
        .expect("an answer")
        .refused(408, "InvalidArgumentException");
    let took = started.elapsed().as_secs_f64();
    assert!((1.5..4.0).contains(&took), "{took} s");
    // A peer that answers pings stays, one that is silent goes.
    let mut lively = Peer::master(&broker, &arn("demo"));
    let (answer, mut silent) = upgrade(&broker, &viewer_query(&arn("demo"), "silent"), "");
    assert_eq!(answer.status, 101);
    let since = Instant::now();
    lively.answer_pings(5);
    lively.expect_silence();
    // Idle for three seconds, then five for a close handshake that it does not take part in.
    silent.read_to_end();
    assert!(since.elapsed().as_secs_f64() < 12.0);
}

/// As many header lines and as long a body as the configuration permits, and one more of each.
#[test]
fn bounds_of_requests_are_those_of_the_configuration() {
    let broker = Broker::configured("[limits]\nbody_bytes = 1024\nheader_lines = 8\n", 1);
    let lacks = "ResourceNotFoundException";
    let wrong = "InvalidArgumentException";
    for (lines, length, status, kind) in [
        (8, 1024, 404, lacks),
        (8, 1025, 413, wrong),
        (9, 1024, 431, wrong),
    ] {
        let body = format!("{:length$}", r#"{"ChannelName":"a"}"#);
        let call = String::from_utf8(request("/describeSignalingChannel", &body)).expect("text");
        let own = call.lines().filter(|line| line.contains(": ")).count();
        let more = "\r\nX-Filler: 1".repeat(lines - own);
        let call = call.replacen("\r\n\r\n", &format!("{more}\r\n\r\n"), 1);
        exchange(broker.plain, call.as_bytes()).refused(status, kind);
    }
}
