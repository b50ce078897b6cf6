//! Masters that name a client id, as AWS' samples for Python do: whether they are masters (codec/PROTOCOL.md, CON-2).

use crate::signed::service::{Service, credentials, principal, relay};
use crate::signed::signer::{Call, Signer};
use serde_json::{Value, json};
use testkit::until;

/// A camera may do what a camera does; a page may connect as a viewer, too.
const POLICIES: &str = r#"
[policy.doorbell]
document = '''{"Statement": {"Effect": "Allow", "Resource": "*", "Action": ["kinesisvideo:DescribeSignalingChannel",
  "kinesisvideo:GetSignalingChannelEndpoint", "kinesisvideo:ConnectAsMaster"]}}'''
[policy.watcher]
document = '''{"Statement": {"Effect": "Allow", "Resource": "*", "Action": ["kinesisvideo:ConnectAsViewer",
  "kinesisvideo:GetSignalingChannelEndpoint"]}}'''
"#;

fn service(shards: u16) -> Service {
    let own =
        principal("doorbell", r#"["doorbell"]"#, "") + &principal("watcher", r#"["watcher"]"#, "");
    let service = Service::with(&(credentials() + &own + POLICIES), &[], shards);
    for name in ["doorbell", "watcher"] {
        service.keep(&Signer::new(name).secret);
    }
    service
}

/// The path of the endpoint that a caller is told, in a role.
fn asks(service: &Service, signer: &Signer, arn: &str, role: &str) -> String {
    let wanted = json!({"Protocols": ["WSS"], "Role": role});
    let body = json!({"ChannelARN": arn, "SingleMasterChannelEndpointConfiguration": wanted});
    let found = service
        .call(signer, "/getSignalingChannelEndpoint", &body)
        .ok();
    let url = found["ResourceEndpointList"][0]["ResourceEndpoint"].as_str();
    let (_, rest) = url.expect("a URL").split_once("://").expect("a scheme");
    let path = rest.find('/').map(|start| &rest[start..]);
    path.unwrap_or("/").to_owned()
}

fn named_master(service: &Service, arn: &str, path: &str) -> Call {
    let call = Call::viewer(&service.broker, arn, "MASTER");
    Call {
        path: path.to_owned(),
        ..call
    }
}

#[test]
fn at_the_endpoint_of_masters_a_client_id_is_ignored() {
    let service = service(2);
    let (admin, camera, page) = (
        Signer::new("admin"),
        Signer::new("doorbell"),
        Signer::new("watcher"),
    );
    let arn = service.create(&admin, "cam");
    let path = asks(&service, &camera, &arn, "MASTER");
    assert_eq!(path, "/master");
    let mut master = service.connect(&camera.presign(named_master(&service, &arn, &path), 299));
    let path = asks(&service, &page, &arn, "VIEWER");
    assert_eq!(path, "/");
    let viewer = |id| Call {
        path: path.clone(),
        ..Call::viewer(&service.broker, &arn, id)
    };
    let mut viewer_one = service.connect(&page.presign(viewer("v1"), 299));
    relay(&mut master, &mut viewer_one);
    // At `/viewer` every caller must name a client id; a trailing slash changes nothing.
    for path in ["/viewer", "/viewer/"] {
        let nobody = Call {
            path: path.to_owned(),
            ..Call::master(&service.broker, &arn)
        };
        let refused = service.send(&admin.presign(nobody, 299));
        let told = refused.refused(400, "InvalidArgumentException");
        assert!(told.contains("X-Amz-ClientId is required"), "{told}");
    }
    // A path does not give the right to what it says.
    let refused = service.send(&page.presign(named_master(&service, &arn, "/master"), 299));
    let told = refused.refused(403, "AccessDeniedException");
    assert!(told.contains("kinesisvideo:ConnectAsMaster"), "{told}");
    drop((master, viewer_one));
    service.end();
}

#[test]
fn elsewhere_the_last_request_for_the_endpoint_decides_about_the_id_master() {
    let service = service(2);
    let (admin, camera, page) = (
        Signer::new("admin"),
        Signer::new("doorbell"),
        Signer::new("watcher"),
    );
    let arn = service.create(&admin, "cam");
    let opens =
        |signer: &Signer| service.open(&signer.presign(named_master(&service, &arn, "/"), 299));
    // Nobody has asked: it is a viewer, which a camera may not be. The answer to why says what made it one.
    let (refused, _) = opens(&camera);
    let told = refused.refused(403, "AccessDeniedException");
    assert!(!told.contains("MASTER"), "not told to clients: {told}");
    let ground = ground_of(&service, refused.header("x-amzn-requestid").expect("an id"));
    testkit::assert_has(&ground, &["X-Amz-ClientId=MASTER is a viewer's here"]);
    // A page that asks for the master's endpoint is none for that.
    asks(&service, &page, &arn, "MASTER");
    let (viewer, viewers) = opens(&page);
    assert_eq!(viewer.status, 101);
    asks(&service, &camera, &arn, "MASTER");
    let mut master = service.connect(&camera.presign(named_master(&service, &arn, "/"), 299));
    let mut viewer_one = service.viewer(&page, &arn, "v1");
    relay(&mut master, &mut viewer_one);
    let trace = service.broker.page("/channels/cam/trace").json();
    let hints = |of: &Value| of["hints"].to_string();
    let one = &trace["master"][0];
    assert_eq!(one["roleBy"], "last_request");
    assert!(hints(one).contains("named Role MASTER"), "{one}");
    let viewers_named = trace["viewers"].as_array().expect("a list").iter();
    let mut named = viewers_named.filter(|one| one["clientId"] == "MASTER");
    assert!(
        hints(named.next().expect("the page")).contains("it is a viewer"),
        "{trace}"
    );
    // The last request counts. It refuses no master for good: one without a client id is one once the other left.
    asks(&service, &camera, &arn, "VIEWER");
    opens(&camera).0.refused(403, "AccessDeniedException");
    let unnamed = camera.presign(Call::master(&service.broker, &arn), 299);
    let told = service.send(&unnamed);
    told.refused(400, "InvalidArgumentException");
    drop(master);
    until("the master is gone", || {
        let (answer, connection) = service.open(&unnamed);
        (answer.status == 101).then_some(connection)
    });
    drop((viewers, viewer_one));
    service.end();
}

/// A viewer that lacks its client id does not take the camera's place, where its caller asked for a viewer's endpoint.
#[test]
fn a_viewer_without_its_client_id_displaces_no_camera() {
    let service = service(2);
    let (admin, page) = (Signer::new("admin"), Signer::new("watcher"));
    let arn = service.create(&admin, "cam");
    let unnamed = |signer: &Signer| signer.presign(Call::master(&service.broker, &arn), 299);
    let mut master = service.connect(&unnamed(&admin));
    for signer in [&admin, &page] {
        asks(&service, signer, &arn, "VIEWER");
        let refused = service.send(&unnamed(signer));
        let told = refused.refused(400, "InvalidArgumentException");
        assert!(told.contains("X-Amz-ClientId is required"), "{told}");
        let id = refused.header("x-amzn-requestid").expect("an id");
        let shown = service.broker.page(&format!("/refusals/{id}")).json();
        assert_eq!(shown["check"], "role_host_mismatch");
    }
    let mut viewer = service.viewer(&page, &arn, "v1");
    relay(&mut master, &mut viewer);
    // Who asks for the master's endpoint is one; a key that may not be, is not.
    asks(&service, &page, &arn, "MASTER");
    let refused = service.send(&unnamed(&page));
    refused.refused(403, "AccessDeniedException");
    asks(&service, &admin, &arn, "MASTER");
    let mut newer = service.connect(&unnamed(&admin));
    relay(&mut newer, &mut viewer);
    drop((master, newer, viewer));
    service.end();
}

/// Reason of a refusal for operators, once it is recorded.
fn ground_of(service: &Service, id: &str) -> String {
    until("the refusal is noted", || {
        let page = service.broker.page(&format!("/refusals/{id}"));
        let noted = page.json()["source"] != "id";
        noted.then(|| page.text())
    })
}
