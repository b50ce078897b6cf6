//! Time of one work unit, for each kind of work. The prices in `broker_core::work_units` are balanced if no kind is
//! much slower than 100 million units (elements) per second on a fast core, and the slowest is close to the fastest.

use benches::fixture::{VIEWER, cases, upgrade_head, upgrade_head_of_master};
use benches::harness::{Timer, run};
use broker_core::auth::{Authenticator, Credentials, Principal, SignatureRules};
use broker_core::id::SessionKey;
use broker_core::limits::RECORDER_NOTES;
use broker_core::machine::{Input, Machine};
use codec::policy::Policy;
use codec::signal::Role;
use codec::sigv4::signer::{Call, Keys, Signer, Upgrade};
use criterion::Throughput;
use driver::{AT, Driver, PEER};
use std::hint::black_box;
use std::sync::Arc;

#[path = "driver/mod.rs"]
mod driver;

fn main() {
    run(|criterion| {
        frames(criterion);
        let describe = call(
            "/describeSignalingChannel",
            &format!(r#"{{"ChannelARN":"{ARN}"}}"#),
        );
        calls(criterion, "describe", EVERYTHING, &describe, "200 OK");
        let hostile = format!(r#"{{"ChannelARN":"{}"}}"#, long_arn());
        let hostile = call("/describeSignalingChannel", &hostile);
        calls(
            criterion,
            "denied-after-long-patterns",
            &patterns(),
            &hostile,
            "401 ",
        );
        let list = call("/listSignalingChannels", r#"{"MaxResults":999}"#);
        calls(criterion, "list-999", EVERYTHING, &list, "200 OK");
        forged(criterion);
    });
}

fn frames(criterion: &mut Timer) {
    let [ice, ..] = cases();
    let read = ice.frames(Role::Master, 100);
    let mut driver = Driver::new(&["demo".into()]);
    let master = driver.connect(&upgrade_head_of_master("demo"));
    driver.connect(&upgrade_head("demo", VIEWER));
    let mut buffer = read.clone();
    time(criterion, "frames", &mut driver, |driver| {
        buffer.copy_from_slice(&read);
        driver.handle(master, &mut buffer);
        driver.flush(|_, bytes| {
            black_box(bytes);
        });
    });
}

fn calls(criterion: &mut Timer, name: &str, policy: &str, call: &str, status: &str) {
    let mut driver = signed(policy);
    let session = driver.shard.open(PEER, AT).expect("there is room");
    let answer = |driver: &mut Driver| {
        let mut seen = String::new();
        driver.handle(session, &mut call.to_owned().into_bytes());
        // Pages and delayed responses are written once there is room.
        while driver
            .shard
            .deadline()
            .is_some_and(|due| due <= driver.at.now)
        {
            driver.at.now = driver.at.now.after(1); // each turn has its own time
            driver.input(Input::Tick);
        }
        driver.flush(|_, bytes| seen = String::from_utf8_lossy(bytes).into_owned());
        seen
    };
    let first = answer(&mut driver);
    assert!(first.contains(status), "{first}");
    time(criterion, name, &mut driver, |driver| {
        black_box(answer(driver));
    });
}

/// Times the refusal of the longest head, all of which must be encoded, with an invalid signature, on new connections.
fn forged(criterion: &mut Timer) {
    let mut driver = signed(EVERYTHING);
    let url = Signer::new(KEYS, "us-east-1").presign(&Upgrade {
        host: "localhost",
        channel_arn: ARN,
        client_id: Some(VIEWER),
        expires_s: 299,
        now_s: AT.wall.0 / 1000,
    });
    let more = "&x=%20".to_owned() + &"~!".repeat(7000);
    let head = format!(
        "GET {url}{more} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let refused = |driver: &mut Driver| -> SessionKey {
        driver.at.now = driver.at.now.after(1); // in a separate turn: each turn answers a limited number of requests
        let session = driver.shard.open(PEER, driver.at).expect("there is room");
        let seen = driver.receive(session, &mut head.clone().into_bytes());
        let answer = seen
            .first()
            .map(|(_, bytes)| String::from_utf8_lossy(bytes));
        assert!(
            answer.is_some_and(|text| text.contains(" 403 ")),
            "{seen:?}"
        );
        session
    };
    time(criterion, "forged-14KiB", &mut driver, |driver| {
        let session = refused(driver);
        driver.leave(session);
    });
}

/// Times `work` and reports the work units spent as elements.
fn time(criterion: &mut Timer, name: &str, driver: &mut Driver, mut work: impl FnMut(&mut Driver)) {
    work(driver);
    let before = driver.shard.work();
    work(driver);
    let units = driver.shard.work() - before;
    assert!(units > 0, "{name} has a price");
    let mut group = criterion.benchmark_group(format!("work/{name}/{units}-units"));
    group.throughput(Throughput::Elements(units));
    group.bench_function("heliograph", |bencher| bencher.iter(|| work(driver)));
    group.finish();
}

fn signed(policy: &str) -> Driver {
    let channels = (0..1000).map(|number| format!("demo-{number}"));
    let channels: Vec<String> = channels.chain(["demo".into()]).collect();
    Driver::started(&channels, RECORDER_NOTES, |start| {
        let rules = SignatureRules {
            region: Some("us-east-1".into()),
            clock_tolerance_s: 300,
            strict: false,
        };
        let principal = Principal {
            name: "camera".into(),
            account: "123456789012".into(),
            access_key_id: KEYS.access_key_id.into(),
            secret: KEYS.secret_access_key.into(),
            session_token: None,
            expires_s: None,
            clock_tolerance_s: None,
            policies: vec![Arc::new(Policy::parse(policy).expect("it is a policy"))],
        };
        let credentials = Arc::new(Credentials::new(vec![principal]));
        let keys = Arc::clone(&start.keys.session_keys);
        start.keys.authenticator = Some(Authenticator::new(rules, credentials, keys));
    })
}

fn call(path: &str, body: &str) -> String {
    let call = Call {
        host: "localhost",
        path,
        body,
        now_s: AT.wall.0 / 1000,
    };
    let signed = Signer::new(KEYS, "us-east-1").sign(&call);
    let lines: String = signed
        .lines()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {}\r\nContent-Length: {}\r\n{lines}\r\n{body}",
        codec::sigv4::signer::JSON,
        body.len()
    )
}

/// Builds a session policy of maximum length whose patterns match nearly everywhere in the longest ARN.
fn patterns() -> String {
    let pattern = format!("\"arn:*{}b\"", "?".repeat(100));
    let patterns = vec![pattern; 17].join(",");
    format!(r#"{{"Statement":{{"Effect":"Allow","Action":"*","Resource":[{patterns}]}}}}"#)
}

fn long_arn() -> String {
    format!(
        "arn:aws:kinesisvideo:us-east-1:123456789012:channel/{}/1700000000000",
        "a".repeat(256)
    )
}

const EVERYTHING: &str = r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;
const ARN: &str = "arn:aws:kinesisvideo:us-east-1:123456789012:channel/demo/1700000000123";
const KEYS: Keys<'_> = Keys {
    access_key_id: "AKIDEXAMPLE",
    secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    session_token: None,
};
