//! Sessions of roles in a cluster: they begin on one node and are good on the other, for channels of either.

use super::{claims, fetched, file, session};
use crate::cluster::nodes::Files;
use crate::signed::provider::{Provider, TokenKey};
use crate::signed::service::{Service, relay};
use crate::signed::signer::{Call, Signer};
use crate::signed::sts::{element, granted, sts};
use serde_json::json;

const BACKEND: &str = r#"
[role.backend]
policies = ["all"]
trust = '''{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "123456789012"},
    "Action": "sts:AssumeRole"}]}'''
"#;

#[test]
fn sessions_that_begin_on_one_node_are_good_on_the_other() {
    let (provider, key) = (Provider::start(), TokenKey::new("one"));
    provider.publish_keys(&[&key]);
    let files = Files::new();
    let text = file(&provider, "private = true") + BACKEND;
    let start = |node: &str| {
        let config = files.config(node, "");
        let config = config.to_str().expect("a path in UTF-8");
        Service::with(&text, &["--config", config], 1)
    };
    let (n1, n2) = (start("n1"), start("n2"));
    fetched(&n1, &provider, 1);
    let form = [
        ("Action", "AssumeRole"),
        ("RoleArn", "arn:aws:iam::123456789012:role/backend"),
        ("RoleSessionName", "s1"),
    ];
    let backend = granted(&n1, &sts(&n1, &Signer::new("admin"), &form));
    let who = sts(&n2, &backend, &[("Action", "GetCallerIdentity")]);
    let arn = "arn:aws:sts::123456789012:assumed-role/backend/s1";
    assert_eq!(element(&who.text(), "Arn"), arn);
    // Channels of both nodes, each made through the one that the session did not begin on.
    let mut owners = 0;
    for number in 0..64 {
        n2.create(&backend, &format!("of-{number}"));
        let is_far = n1.broker.scrape().sum("heliograph_channels") > 0.0;
        let is_near = n2.broker.scrape().sum("heliograph_channels") > 0.0;
        owners = usize::from(is_far) + usize::from(is_near);
        if owners == 2 && number >= 1 {
            break;
        }
    }
    assert_eq!(owners, 2, "each node has some");
    for number in [0, 1] {
        let subject = number.to_string();
        let token = key.token(&claims(&provider, &json!({ "sub": subject })));
        let user = session(&n1, &token);
        n2.keep(&user.secret);
        let name = format!("of-{number}");
        let found = n2.call(
            &backend,
            "/describeSignalingChannel",
            &json!({ "ChannelName": name }),
        );
        let found = found.ok();
        let arn = found["ChannelInfo"]["ChannelARN"].as_str().expect("an ARN");
        let mut master = n1.connect(&backend.presign(Call::master(&n1.broker, arn), 60));
        let viewer = Call::viewer(&n2.broker, arn, "v1");
        let mut viewer = n2.connect(&user.presign(viewer, 60));
        relay(&mut master, &mut viewer);
        let other = n2.create(&backend, &format!("not-of-{number}"));
        let refused = Call::viewer(&n2.broker, &other, "v1");
        let refused = n2.send(&user.presign(refused, 60));
        refused.refused(403, "AccessDeniedException");
    }
    n1.end();
    n2.end();
}
