//! Attempts that must not let anybody in.

use crate::signed::signer::Signer;
use crate::things::device::Device;
use crate::things::fleet::{Fleet, HOST, authority, authority_below, certify, params, write_list};
use crate::things::sign_in::{keys, master};
use rustls::{HandshakeKind, version};
use serde_json::json;
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

#[test]
fn host_and_server_name_are_the_same() {
    let fleet = Fleet::start(1);
    let mut device = fleet.device("cam-1").named("cam-1");
    device.host = "localhost".to_owned();
    assert_eq!(device.ask().expect("an answer").status, 421);
    let broker = &fleet.service.broker;
    until_true("the refusal is listed", || {
        let list = broker.page("/refusals?limit=1").json();
        list["refusals"][0]["check"] == json!("thing_host")
    });
    let mut device = fleet.device("cam-1").named("cam-1");
    device.server_name = "localhost".to_owned();
    assert_eq!(device.ask().expect("an answer").status, 403);
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

#[test]
fn ended_early_and_foreign_certificates_are_refused() {
    let fleet = Fleet::start(1);
    let day = Duration::from_secs(24 * 60 * 60);
    let now = SystemTime::now();
    let mut ended = params("cam-1", 1);
    (ended.not_before, ended.not_after) = ((now - 2 * day).into(), (now - day).into());
    let mut early = params("cam-1", 1);
    (early.not_before, early.not_after) = ((now + day).into(), (now + 2 * day).into());
    let namesake = authority("devices");
    for certified in [
        certify(&fleet.authority, &ended),
        certify(&fleet.authority, &early),
        certify(&namesake, &params("cam-1", 1)),
        certify(&fleet.authority, &params("cam-1/*", 1)),
    ] {
        let device = Device::new(&fleet.service.broker, Some(certified)).named("cam-1");
        assert_eq!(device.ask().expect("an answer").status, 403);
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

/// A registry that lost its end, or all of it, lets nobody in again who was switched off there.
#[test]
fn a_registry_that_was_cut_off_changes_nothing() {
    let fleet = Fleet::start(1);
    let stolen = fleet.certify("cam-1", 1);
    let lines = format!(
        "{},cam-2\n{},cam-1,,inactive\n",
        "ab".repeat(32),
        stolen.id()
    );
    let device = Device::new(&fleet.service.broker, Some(stolen)).named("cam-1");
    assert_eq!(device.ask().expect("an answer").status, 200);
    fleet.register(&lines);
    assert_eq!(device.ask().expect("an answer").status, 403);
    let broker = &fleet.service.broker;
    let refused = || broker.log().matches("stays as it was").count();
    let first = lines.lines().next().expect("a line");
    let cuts = ["", first, "# lines=2\n", &format!("{first}\n# lines=2\n")];
    for (cut, before) in cuts.into_iter().zip(0..) {
        fs::write(fleet.directory.join("new"), cut).expect("written");
        fs::rename(
            fleet.directory.join("new"),
            fleet.directory.join("things.csv"),
        )
        .expect("renamed");
        until_true("it is refused", || refused() == before + 1);
        assert_eq!(device.ask().expect("an answer").status, 403, "{cut}");
    }
    fleet.register("");
    assert_eq!(device.ask().expect("an answer").status, 200, "on purpose");
    fleet.end();
}

#[test]
fn a_role_that_is_denied_to_everybody_is_denied_to_devices() {
    let fleet = Fleet::start(1);
    let device = fleet.device("cam-1").named("cam-1");
    assert_eq!(device.ask().expect("an answer").status, 200);
    let path = fleet.service.directory.join("credentials.toml");
    let text = fs::read_to_string(&path).expect("a file");
    let allows = r#"[{"Effect": "Allow", "Principal": {"Service""#;
    let denies = r#"[{"Effect": "Deny", "Principal": "*", "Action": "sts:*"}, "#;
    let locked = text.replacen(allows, &format!("{denies}{}", &allows[1..]), 1);
    assert_ne!(locked, text);
    fleet.reload(|_| fs::write(&path, locked).expect("written"));
    assert_eq!(device.ask().expect("an answer").status, 400);
    fleet.end();
}
