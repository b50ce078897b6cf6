//! Attempts that must not let anybody in.

use crate::http::admin;
use crate::signed::signer::Signer;
use crate::things::device::Device;
use crate::things::fleet::{
    Fleet, HOST, authority_above, authority_below, authority_until, certify, params, write_list,
};
use crate::things::sign_in::{keys, master};
use codec::calendar::rfc3339;
use rustls::{HandshakeKind, version};
use std::fs;
use std::time::{Duration, SystemTime};
use testkit::until_true;

#[test]
fn the_certificate_of_another_is_worth_nothing_without_its_key() {
    let fleet = Fleet::start(1);
    let (theirs, own) = (fleet.certify("cam-1", 1), fleet.certify("cam-2", 2));
    fleet.register(&format!("{},cam-1\n", theirs.id()));
    let device = Device::new(&fleet.service.broker, None).named("cam-1");
    let refused = device.pretends(theirs.certificate, &own).ask();
    assert!(refused.is_err(), "{refused:?}");
    fleet.end();
}

/// A session of a name that asks for no certificate would be one without a certificate here.
#[test]
fn a_session_of_another_name_is_not_resumed() {
    let fleet = Fleet::start(1);
    for version in [&version::TLS12, &version::TLS13] {
        let certified = fleet.certify("cam-1", 1);
        let device = Device::speaking(&[version], &fleet.service.broker, Some(certified));
        let mut device = device.named("cam-1").resumes_anywhere();
        let mut shake = |name| {
            let (told, kind) = device.ask_at(name);
            (
                told.status,
                kind == HandshakeKind::Resumed,
                device.asked().0,
            )
        };
        assert_eq!(shake("localhost"), (403, false, 0));
        assert_eq!(
            shake("localhost"),
            (403, true, 0),
            "tickets are kept and work"
        );
        assert_eq!(shake(HOST), (200, false, 1));
        assert_eq!(shake(HOST), (200, false, 2), "nothing of it is kept");
    }
    // Nothing that is kept here opens another name either.
    for version in [&version::TLS12, &version::TLS13] {
        let certified = fleet.certify("cam-1", 1);
        let device = Device::speaking(&[version], &fleet.service.broker, Some(certified));
        let mut device = device.named("cam-1").resumes_anywhere();
        assert_eq!(device.ask_at(HOST).0.status, 200);
        let (told, kind) = device.ask_at("localhost");
        assert_eq!((told.status, kind), (403, HandshakeKind::Full));
    }
    fleet.end();
}

/// The file has an authority and the one that signed it, which has no list: as a pasted chain has. A stolen device that
/// shows the whole chain is refused, and keys that it has are worth nothing.
#[test]
fn a_revoked_device_finds_no_other_authority_that_lets_it_in() {
    let fleet = Fleet::start(1);
    let arn = fleet.service.create(&Signer::new("admin"), "cam-1");
    let plant = authority_below(&fleet.authority, "plant", 2);
    let certify = |serial| certify(&plant, &params("cam-1", serial));
    let device = |certified| {
        let device = Device::new(&fleet.service.broker, Some(certified));
        device.named("cam-1").behind(plant.der())
    };
    for chain in [[&plant, &fleet.authority], [&fleet.authority, &plant]] {
        fleet.reload(|directory| {
            let chain = chain.map(|it| it.pem()).concat();
            fs::write(directory.join("new"), chain).expect("written");
            fs::rename(directory.join("new"), directory.join("ca.pem")).expect("renamed");
        });
        fleet.reload(|directory| write_list(directory, &plant, &[]));
        let (good, stolen) = (device(certify(8)), device(certify(7)));
        let told = stolen.ask().expect("an answer");
        assert_eq!(told.status, 200, "{told:?}");
        let connects = || master(&fleet, &keys(&told), &arn);
        assert_eq!(connects(), 101);
        fleet.reload(|directory| write_list(directory, &plant, &[7]));
        assert_eq!(stolen.ask().expect("an answer").status, 403);
        assert_eq!(good.ask().expect("an answer").status, 200);
        assert_eq!(connects(), 403, "keys that it had before");
    }
    fleet.end();
}

/// The certificate between device and authority ends while a connection is open, then certificates have their names
/// elsewhere: what was found out at the handshake counts no more. And no connection is used for ever.
#[test]
fn an_open_connection_does_not_outlive_what_it_was_let_in_by() {
    let fleet = Fleet::start(1);
    let broker = &fleet.service.broker;
    let root = authority_above("root");
    fleet.reload(|directory| {
        fs::write(directory.join("new"), root.pem() + &fleet.authority.pem()).expect("written");
        fs::rename(directory.join("new"), directory.join("ca.pem")).expect("renamed");
    });
    let ends = SystemTime::now() + Duration::from_secs(20);
    let plant = authority_until(&root, "plant", ends);
    let below = Device::new(broker, Some(certify(&plant, &params("cam-1", 7))));
    let below = below.named("cam-1").behind(plant.der());
    let mut open = below.shake().expect("a connection");
    assert_eq!(below.ask_on(&mut open).expect("an answer").status, 200);
    let advance = |span: &str| {
        let body = format!(r#"{{"advance":"{span}"}}"#);
        let moved = admin(broker.admin, "POST", "/dev/clock", &body);
        assert_eq!(moved.status, 200);
    };
    advance("25s");
    assert_eq!(below.ask_on(&mut open).expect("an answer").status, 403);
    drop(open);

    let device = fleet.device("cam-2").named("cam-2");
    let mut open = device.shake().expect("a connection");
    let mut asked = 0;
    loop {
        let told = device.ask_on(&mut open).expect("an answer");
        assert_eq!(told.status, 200, "{told:?}");
        if told.head.contains("Connection: close") {
            break;
        }
        asked += 1;
        advance("20s");
    }
    assert!(
        (12..=15).contains(&asked),
        "it ends in its fifth minute: {asked}"
    );
    drop(open);

    let mut open = device.shake().expect("a connection");
    assert_eq!(device.ask_on(&mut open).expect("an answer").status, 200);
    let path = fleet.service.directory.join("credentials.toml");
    let text = fs::read_to_string(&path).expect("a file");
    let elsewhere = text.replace("subject.CN", "san.dns");
    assert_ne!(elsewhere, text);
    fleet.reload(|_| fs::write(&path, elsewhere).expect("written"));
    until_true("the shard has them", || {
        device.ask_on(&mut open).expect("an answer").status == 403
    });
    drop(open);
    fleet.end();
}

/// The operator takes the service out of a role's trust: keys that a stolen device has from before end with their next
/// use. Nor do keys outlast the certificate.
#[test]
fn keys_end_with_the_trust_that_gave_them_and_with_the_certificate() {
    let fleet = Fleet::start(1);
    let arn = fleet.service.create(&Signer::new("admin"), "cam-1");
    let mut brief = params("cam-1", 5);
    let ends = SystemTime::now() + Duration::from_secs(600);
    brief.not_after = ends.into();
    let device = Device::new(
        &fleet.service.broker,
        Some(certify(&fleet.authority, &brief)),
    );
    let told = device.named("cam-1").ask().expect("an answer");
    let text = told.body["credentials"]["expiration"]
        .as_str()
        .unwrap_or_default();
    let ends_s = ends
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    let wanted = rfc3339(ends_s * 1000);
    assert_eq!(text.get(..19), wanted.get(..19), "not 15 minutes: {text}");
    assert_eq!(master(&fleet, &keys(&told), &arn), 101);
    let path = fleet.service.directory.join("credentials.toml");
    let text = fs::read_to_string(&path).expect("a file");
    let bound = text.replacen("rolealias/*\"}", "rolealias/Kvs*\"}", 1);
    assert_ne!(bound, text);
    fleet.reload(|_| fs::write(&path, bound).expect("written"));
    assert_eq!(master(&fleet, &keys(&told), &arn), 403, "another trust");
    let device = fleet.device("cam-1").named("cam-1");
    let told = device.ask().expect("an answer");
    assert_eq!(master(&fleet, &keys(&told), &arn), 101, "which lets it in");
    fleet.end();
}
