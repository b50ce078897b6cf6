//! Keys that devices get, and refusals, in their order.

use crate::http::get;
use crate::signed::service::{Service, credentials};
use crate::signed::signer::{Call, Signer};
use crate::things::device::{Device, Told};
use crate::things::fleet::{ALIAS, Fleet, authority, certify, params};
use rustls::version;
use serde_json::{Value, json};
use testkit::until_true;

/// The keys of an answer.
pub(crate) fn keys(told: &Told) -> Signer {
    assert_eq!(told.status, 200, "{told:?}");
    let text = |name: &str| {
        let text = told.body["credentials"][name].as_str();
        text.unwrap_or_else(|| panic!("{name} in {told:?}"))
            .to_owned()
    };
    Signer {
        id: text("accessKeyId"),
        secret: text("secretAccessKey"),
        token: Some(text("sessionToken")),
        ..Signer::new("admin")
    }
}

/// Whether keys may connect as master of a channel.
pub(crate) fn master(fleet: &Fleet, signer: &Signer, arn: &str) -> u16 {
    let service = &fleet.service;
    service
        .send(&signer.presign(Call::master(&service.broker, arn), 60))
        .status
}

/// The check by which keys may not connect as master of a channel.
fn why(fleet: &Fleet, signer: &Signer, arn: &str) -> Value {
    let broker = &fleet.service.broker;
    let last = || broker.page("/refusals?limit=1").json()["refusals"][0].take();
    let before = last()["requestId"].take();
    assert_eq!(master(fleet, signer, arn), 403);
    until_true("the refusal is listed", || last()["requestId"] != before);
    last()["check"].take()
}

#[test]
fn each_camera_connects_on_its_own_channel_alone() {
    let fleet = Fleet::start(3);
    let admin = Signer::new("admin");
    let arns = ["cam-1", "cam-2"].map(|name| fleet.service.create(&admin, name));
    for version in [&version::TLS12, &version::TLS13] {
        for (own, name) in ["cam-1", "cam-2"].into_iter().enumerate() {
            let certified = fleet.certify(name, 1);
            let device = Device::speaking(&[version], &fleet.service.broker, Some(certified));
            let told = device.named(name).ask().expect("an answer");
            let signer = keys(&told);
            fleet.service.keep(&signer.secret);
            assert!(
                told.whole && told.head.contains("\r\nContent-Length: "),
                "{told:?}"
            );
            assert!(!told.head.to_ascii_lowercase().contains("transfer-encoding"));
            let expiration = told.body["credentials"]["expiration"]
                .as_str()
                .expect("a moment");
            assert!(
                expiration.len() == 20 && expiration.ends_with('Z'),
                "{expiration}"
            );
            assert!(
                signer
                    .token
                    .as_ref()
                    .is_some_and(|token| token.len() <= 2048)
            );
            for (nth, arn) in arns.iter().enumerate() {
                let wanted = if nth == own { 101 } else { 403 };
                assert_eq!(master(&fleet, &signer, arn), wanted, "{name} on {arn}");
            }
        }
    }
    // Without a name there is no value of the variable.
    let nameless = keys(&fleet.device("cam-1").ask().expect("an answer"));
    assert_eq!(master(&fleet, &nameless, &arns[0]), 403);
    let metric = "heliograph_signins_total{kind=\"certificate\",outcome=\"ok\"}";
    assert_eq!(fleet.service.broker.scrape().sum(metric), 5.0);
    fleet.end();
}

#[test]
fn the_registry_comes_first_and_what_it_takes_back_ends_keys() {
    let fleet = Fleet::start(1);
    let broker = &fleet.service.broker;
    let arn = fleet.service.create(&Signer::new("admin"), "cam-1");
    let foreign = certify(&authority("aws"), &params("AWS IoT Certificate", 1));
    let (id, own) = (foreign.id(), fleet.certify("cam-1", 9));
    let own_id = own.id();
    let foreign = Device::new(broker, Some(foreign)).named("cam-1");
    let own = Device::new(broker, Some(own)).named("cam-1");
    let asks = |device: &Device| device.ask().expect("an answer");
    assert_eq!((asks(&foreign).status, asks(&own).status), (403, 200));
    fleet.register(&format!("{id},cam-1,camera\n{own_id},cam-1,camera\n"));
    let both = [keys(&asks(&foreign)), keys(&asks(&own))];
    assert!(both.iter().all(|keys| master(&fleet, keys, &arn) == 101));
    fleet.register(&format!("{id},cam-1\n{own_id},cam-1,,inactive\n"));
    assert_eq!((asks(&foreign).status, asks(&own).status), (200, 403));
    assert_eq!(
        both.each_ref().map(|keys| master(&fleet, keys, &arn)),
        [101, 403]
    );
    fleet.register(&format!(",cam-1,,inactive\n{id},cam-1\n"));
    assert_eq!((asks(&foreign).status, asks(&own).status), (403, 403));
    fleet.register("");
    let by_authority = keys(&asks(&own));
    assert_eq!(master(&fleet, &by_authority, &arn), 101);
    // Without thing variables the policy lets nobody connect: that the keys hold shows in what refuses them.
    let unnamed = fleet.certify("cam-1", 9);
    let unnamed = keys(&asks(&Device::new(broker, Some(unnamed))));
    assert_eq!(why(&fleet, &unnamed, &arn), json!("policy_no_allow"));
    fleet.register(",cam-1,,inactive\n");
    assert_ne!(why(&fleet, &unnamed, &arn), json!("policy_no_allow"));
    assert_eq!(master(&fleet, &by_authority, &arn), 403);
    fleet.register("");
    assert_eq!(master(&fleet, &by_authority, &arn), 101);
    fleet.revoke(&[9]);
    assert_eq!(asks(&own).status, 403);
    assert_eq!(master(&fleet, &by_authority, &arn), 403);
    fleet.end();
}

#[test]
fn other_names_are_never_asked_and_give_no_keys() {
    let fleet = Fleet::start(1);
    let broker = &fleet.service.broker;
    let invalid = json!({"message": "Certificate is invalid on this endpoint"});
    // An address is no server name: none is sent.
    for name in ["localhost", "127.0.0.1"] {
        let mut device = fleet.device("cam-1").named("cam-1");
        (device.server_name, device.host) = (name.to_owned(), name.to_owned());
        for alias in [ALIAS, "nothing"] {
            device = device.alias(alias);
            let told = device.ask().expect("an answer");
            assert_eq!((told.status, &told.body), (403, &invalid), "{name}");
            testkit::assert_has(&told.head, &["\r\nx-amzn-ErrorType: AccessDeniedException"]);
        }
        device.method = "PUT";
        assert_eq!(device.ask().expect("an answer").status, 404, "{name}");
        assert_eq!(device.asked(), (0, 0), "{name}");
    }
    until_true("the refusals are listed", || {
        let page = broker.page("/refusals?limit=10").text();
        page.contains("not of [things] hosts") && page.contains("role alias nothing, thing cam-1")
    });
    let path = format!("/role-aliases/{ALIAS}/credentials");
    let plain = get(broker.plain, &path);
    assert_eq!(plain.status, 404, "without TLS there is no such path");
    let mut device = fleet.device("cam-1").named("cam-1");
    assert_eq!(device.ask().expect("an answer").status, 200);
    assert_eq!(device.asked(), (1, 0), "without hints");
    #[rustfmt::skip] // a list
    let cases = ["/", "/ping", "/wake", "/describeSignalingChannel", "/role-aliases/a/b/credentials"];
    for path in cases {
        device.path = path.to_owned();
        for method in ["GET", "POST"] {
            device.method = method;
            assert_eq!(
                device.ask().expect("an answer").status,
                404,
                "{method} {path}"
            );
        }
    }
    fleet.end();
}

#[test]
fn without_things_there_is_no_such_path_at_all() {
    let arguments = ["--dev", "--listen", "https://127.0.0.1:0"];
    let service = Service::with(&credentials(), &arguments, 1);
    for name in ["localhost", "credentials.localhost"] {
        let mut device = Device::new(&service.broker, None).named("cam-1");
        (device.server_name, device.host) = (name.to_owned(), name.to_owned());
        let told = device.ask().expect("an answer");
        assert_eq!(told.status, 404, "{told:?}");
        assert!(told.head.contains("UnknownOperationException"), "{told:?}");
        assert_eq!(device.asked(), (0, 0), "{name}");
    }
    service.end();
}

#[test]
fn the_first_bytes_may_come_one_by_one() {
    let fleet = Fleet::start(2);
    for piece in [1, 3, 100] {
        for (name, status) in [
            ("credentials.localhost", 200),
            ("CREDENTIALS.localhost", 200),
            ("localhost", 403),
        ] {
            let mut device = fleet.device("cam-1").named("cam-1");
            (device.server_name, device.host) = (name.to_owned(), name.to_owned());
            device.piece = piece;
            assert_eq!(
                device.ask().expect("an answer").status,
                status,
                "{name} by {piece}"
            );
        }
    }
    assert!(ALIAS.len() < 64);
    fleet.end();
}
