//! Checked identity: what those who sign rightly may do.
//!
//! * [`service`] is the broker of these tests, [`signer`] signs for them.
//! * [`slow`]: requests in pieces. Signatures that are wrong are in `codec/tests/sigv4`, their refusals in
//!   `operator/refusals`.
//! * [`sdks`]: what clients sign in a way of their own; [`masters`]: masters that name a client id.
//! * [`players`]: players without an SDK, by the requests of others.
//! * [`conditions`]: values that policies compare; [`quotas`]: rates of callers; [`reload`]: credentials that are
//!   replaced; [`recheck`]: connections that this ends; [`sts`]: temporary credentials; [`roles`]: those of roles;
//!   [`web_identity`]: for users of an OpenID provider, which [`provider`] is.

mod conditions;
mod masters;
mod paths;
mod players;
pub(crate) mod provider;
pub(crate) mod quotas;
mod recheck;
pub(crate) mod reload;
mod roles;
mod sdks;
pub(crate) mod service;
pub(crate) mod signer;
mod slow;
pub(crate) mod sts;
pub(crate) mod web_identity;

use crate::signed::service::{Service, credentials, on_signed_shards, principal, relay, temporary};
use crate::signed::signer::{Call, Signer};
use serde_json::{Value, json};
use testkit::until;

on_signed_shards!(
    calls_signed_in_headers_and_in_the_query_are_answered,
    master_and_viewer_meet_by_presigned_urls,
    an_upgrade_may_be_signed_in_its_headers,
    a_presigned_url_may_be_used_again_while_it_lives,
    accounts_do_not_see_each_other,
    permission_is_asked_before_existence,
    a_path_with_two_slashes_is_signed_as_it_is_sent,
    what_a_session_costs_is_counted,
);

fn calls_signed_in_headers_and_in_the_query_are_answered(service: &Service) {
    for signer in [Signer::new("admin"), temporary()] {
        let name = format!("demo-{}", signer.id);
        let arn = service.create(&signer, &name);
        testkit::assert_begins(&arn, "arn:aws:kinesisvideo:us-west-2:123456789012:channel/");
        let describe = Call::api(
            &service.broker,
            "/describeSignalingChannel",
            &json!({"ChannelARN": arn}),
        );
        for call in [signer.sign(describe.clone()), signer.presign(describe, 60)] {
            let found = service.counts(None, || service.send(&call).ok());
            assert_eq!(found["ChannelInfo"]["ChannelName"], json!(name));
        }
    }
}

fn master_and_viewer_meet_by_presigned_urls(service: &Service) {
    for (nth, signer) in [Signer::new("admin"), temporary()].iter().enumerate() {
        let arn = service.create(signer, &format!("meeting-{nth}"));
        let mut master = service.master(signer, &arn);
        let mut viewer = service.viewer(signer, &arn, "v1");
        relay(&mut master, &mut viewer);
    }
}

fn an_upgrade_may_be_signed_in_its_headers(service: &Service) {
    let signer = temporary();
    let arn = service.create(&signer, "by-header");
    let mut master = service.connect(&signer.sign(Call::master(&service.broker, &arn)));
    let viewer = Call::viewer(&service.broker, &arn, "v1");
    let mut viewer = service.connect(&signer.sign(viewer));
    relay(&mut master, &mut viewer);
}

fn a_presigned_url_may_be_used_again_while_it_lives(service: &Service) {
    let signer = Signer::new("admin");
    let arn = service.create(&signer, "again");
    let url = signer.presign(Call::viewer(&service.broker, &arn, "v1"), 60);
    let mut master = service.master(&signer, &arn);
    let mut older = service.connect(&url);
    let mut newer = service.connect(&url);
    relay(&mut master, &mut newer);
    older.expect_silence();
    let superseded = "heliograph_connections{role=\"superseded\"}";
    assert!((service.broker.scrape().sum(superseded) - 1.0).abs() < 0.5);
}

/// Counts the calls and bytes of sockets, and a viewer's session when it ends.
fn what_a_session_costs_is_counted(service: &Service) {
    let signer = Signer::new("admin");
    let arn = service.create(&signer, "counted");
    let mut master = service.master(&signer, &arn);
    let mut viewer = service.viewer(&signer, &arn, "v1");
    relay(&mut master, &mut viewer);
    drop(viewer);
    let scrape = until("the end of the viewer's session", || {
        let scrape = service.broker.scrape();
        let outcome = "outcome=\"answered\"";
        let ended = scrape.sum_with("heliograph_viewer_sessions_total", outcome);
        (ended > 0.5).then_some(scrape)
    });
    // A call, two upgrades and two messages, at least.
    for (name, least) in [
        ("heliograph_receives_total", 5.0),
        ("heliograph_sends_total", 5.0),
        ("heliograph_received_bytes_total", 1000.0),
        ("heliograph_sent_bytes_total", 500.0),
        ("heliograph_signature_bytes_total", 500.0),
    ] {
        assert!(scrape.sum(name) >= least, "{name}: {}", scrape.sum(name));
    }
}

fn accounts_do_not_see_each_other(service: &Service) {
    let (admin, neighbour) = (Signer::new("admin"), Signer::new("neighbour"));
    let arn = service.create(&admin, "mine");
    let absent = arn.replace(":channel/mine/", ":channel/none/");
    let by_arn = |arn: &str| json!({"ChannelARN": arn});
    // Neither by ARN nor by name, and in the same words as what does not exist.
    let ask = |body: &Value| {
        let asked = service.counts(None, || {
            service.call(&neighbour, "/describeSignalingChannel", body)
        });
        asked.refused(404, "ResourceNotFoundException")
    };
    let nothing = ask(&by_arn(&absent));
    assert_eq!(ask(&by_arn(&arn)), nothing);
    assert_eq!(ask(&json!({"ChannelName": "mine"})), nothing);
    for call in [
        Call::master(&service.broker, &arn),
        Call::viewer(&service.broker, &arn, "v1"),
    ] {
        let refused = service.send(&neighbour.presign(call, 60));
        assert_eq!(refused.refused(404, "ResourceNotFoundException"), nothing);
    }
    #[rustfmt::skip] // a list
    let cases = ["/deleteSignalingChannel", "/getSignalingChannelEndpoint", "/v1/get-ice-server-config"];
    for path in cases {
        let refused = service.call(&neighbour, path, &by_arn(&arn));
        assert_eq!(refused.refused(404, "ResourceNotFoundException"), nothing);
    }
    // The same name is free in the other account; lists show one's own.
    let theirs = service.create(&neighbour, "mine");
    assert!(theirs.contains(":999999999999:channel/mine/"), "{theirs}");
    for (signer, arn) in [(&admin, &arn), (&neighbour, &theirs)] {
        let list = service
            .call(signer, "/listSignalingChannels", &json!({}))
            .ok();
        let list = list["ChannelInfoList"].as_array().expect("a list").clone();
        assert_eq!(list.len(), 1);
        assert_eq!(list[0]["ChannelARN"], json!(arn));
    }
}

fn permission_is_asked_before_existence(service: &Service) {
    let (admin, nobody) = (Signer::new("admin"), Signer::new("nobody"));
    let present = service.create(&admin, "present");
    let absent = present.replace(":channel/present/", ":channel/absents/");
    let foreign = present.replace("123456789012", "999999999999");
    for arn in [&present, &absent, &foreign] {
        for (path, kind) in [
            ("/describeSignalingChannel", "AccessDeniedException"),
            ("/deleteSignalingChannel", "AccessDeniedException"),
            ("/getSignalingChannelEndpoint", "AccessDeniedException"),
            ("/v1/get-ice-server-config", "NotAuthorizedException"),
        ] {
            let body = json!({"ChannelARN": arn});
            let refused = service.counts(Some("policy"), || service.call(&nobody, path, &body));
            let told = refused.refused(401, kind);
            assert!(
                told.ends_with(&format!("on resource: {arn}")) && told.contains("user/nobody is"),
                "{told}"
            );
        }
        for call in [
            Call::master(&service.broker, arn),
            Call::viewer(&service.broker, arn, "v1"),
        ] {
            let refused =
                service.counts(Some("policy"), || service.send(&nobody.presign(call, 60)));
            refused.refused(403, "AccessDeniedException");
        }
    }
    for name in ["present", "absents"] {
        let body = json!({"ChannelName": name});
        for path in ["/describeSignalingChannel", "/createSignalingChannel"] {
            let refused = service.counts(Some("policy"), || service.call(&nobody, path, &body));
            refused.refused(401, "AccessDeniedException");
        }
    }
    service
        .call(&nobody, "/listSignalingChannels", &json!({}))
        .refused(401, "AccessDeniedException");
}

/// A principal whose policy says viewer is no master, whatever the host's name makes of a request.
#[test]
fn roles_are_permissions_on_every_host() {
    let names = "[advertise]\ndomain = \"signal.example.test\"\n";
    let only = principal("viewing", r#"["viewing"]"#, "") + VIEWING;
    let service = Service::configured(names, &(credentials() + &only), 3);
    let viewing = Signer::new("viewing");
    service.keep(&viewing.secret);
    let arn = service.create(&Signer::new("admin"), "roles");
    let at = |host: &str, call: Call| {
        let host = host.to_owned();
        service.send(&viewing.presign(Call { host, ..call }, 60))
    };
    let (master, viewer) = (
        || Call::master(&service.broker, &arn),
        || Call::viewer(&service.broker, &arn, "v1"),
    );
    let (masters, viewers) = (
        "m-0a1b2c3d.signal.example.test",
        "v-0a1b2c3d.signal.example.test",
    );
    for host in [viewers, "r-0a1b2c3d.signal.example.test", "127.0.0.1"] {
        assert_eq!(at(host, viewer()).status, 101, "{host}");
    }
    for (host, call) in [
        (masters, viewer()),
        (masters, master()),
        ("127.0.0.1", master()),
        ("M-0A1B2C3D.Signal.Example.Test:443", viewer()),
    ] {
        let refused = service.counts(Some("policy"), || at(host, call));
        let told = refused.refused(403, "AccessDeniedException");
        assert!(
            told.contains("kinesisvideo:ConnectAsMaster"),
            "{host}: {told}"
        );
    }
    // Names that are the service's own, and none at all where one is needed.
    at(viewers, master()).refused(400, "InvalidArgumentException");
    let own = Call::viewer(&service.broker, &arn, "AWS_ALEXA");
    at(viewers, own).refused(400, "InvalidArgumentException");
    service.end();
}

const VIEWING: &str = r#"
[policy.viewing]
document = '{"Statement": {"Effect": "Allow", "Action": "kinesisvideo:ConnectAsViewer", "Resource": "*"}}'
"#;

fn a_path_with_two_slashes_is_signed_as_it_is_sent(service: &Service) {
    let signer = Signer::new("admin");
    let arn = service.create(&signer, "slashes");
    let body = json!({"ChannelARN": arn});
    let doubled = Call::api(&service.broker, "//describeSignalingChannel", &body);
    let found = service.send(&signer.sign(doubled)).ok();
    assert_eq!(found["ChannelInfo"]["ChannelName"], json!("slashes"));
    // A signature over another path is no signature of this one.
    let plain = Call::api(&service.broker, "/describeSignalingChannel", &body);
    let mut moved = signer.sign(plain);
    moved.path.insert(0, '/');
    service
        .send(&moved)
        .refused(403, "InvalidSignatureException");
}
