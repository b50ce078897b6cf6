//! Claims of a token that are more than who it is: tags and source identity of the session, and claims that policies
//! begin to name while sessions are there.

use super::{claims, fetched, fetched_keys, file, refuses, sign_in};
use crate::signed::provider::{Provider, TokenKey};
use crate::signed::service::Service;
use crate::signed::signer::Signer;
use crate::signed::sts::{element, granted};
use serde_json::{Value, json};
use testkit::until;

/// A role that takes tags and a source identity, and lets its sessions do what their tags say.
fn tagged(provider: &Provider, more: &str) -> String {
    let issuer = &provider.issuer;
    file(provider, "private = true")
        + &format!(
            r#"
[policy.house]
document = '''{{"Version": "2012-10-17", "Statement": [{{"Effect": "Allow",
    "Action": "kinesisvideo:DescribeSignalingChannel", "Resource": "*",
    "Condition": {{"StringEquals": {{"aws:SourceIdentity": "Admin"}},
                  "StringLike": {{"aws:PrincipalTag/house": "h-*"}}}}}}{more}]}}'''
[role.tagged]
policies = ["house"]
trust = '''{{"Version": "2012-10-17", "Statement": [
    {{"Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity",
      "Principal": {{"Federated": "arn:aws:iam::123456789012:oidc-provider/{issuer}"}},
      "Condition": {{"StringEquals": {{"{issuer}:aud": "home-app"}}}}}},
    {{"Effect": "Allow", "Action": ["sts:TagSession", "sts:SetSourceIdentity"],
      "Principal": {{"Federated": "arn:aws:iam::123456789012:oidc-provider/{issuer}"}},
      "Condition": {{"StringEquals": {{"{issuer}:aud": "home-app", "aws:RequestTag/house": "h-1",
                                     "sts:SourceIdentity": "Admin"}},
                    "ForAllValues:StringEquals": {{"sts:TransitiveTagKeys": "house"}}}}}}]}}'''
"#
        )
}

fn tags(house: &str) -> Value {
    json!({
        "https://aws.amazon.com/tags": {"principal_tags": {"house": [house]}, "transitive_tag_keys": ["house"]},
        "https://aws.amazon.com/source_identity": "Admin",
    })
}

#[test]
fn tags_of_a_token_are_those_of_its_session_where_the_trust_takes_them() {
    let (provider, key) = (Provider::start(), TokenKey::new("one"));
    provider.publish_keys(&[&key]);
    let service = Service::with(&tagged(&provider, ""), &[], 1);
    let channel = service.create(&Signer::new("admin"), "cam");
    fetched(&service, &provider, 1);
    let token = |changes: &Value| key.token(&claims(&provider, changes));
    let denied = (403, "AccessDenied");
    refuses(
        &service,
        ("tagged", &token(&tags("h-2"))),
        denied,
        "condition on aws:RequestTag/house",
    );
    // A role whose trust says nothing of tags takes none.
    let none =
        "the trust of viewer has no statement for sts:TagSession by \"Federated\": \"arn:aws:iam::";
    refuses(&service, ("viewer", &token(&tags("h-1"))), denied, none);
    let odd = json!({"https://aws.amazon.com/tags": {"principal_tags": {"aws:x": "y"}}});
    let rejected = (403, "IDPRejectedClaim");
    refuses(
        &service,
        ("tagged", &token(&odd)),
        rejected,
        "has no valid session tags",
    );
    let describe = json!({ "ChannelARN": channel });
    let may = |session: &Signer| {
        let answer = service.call(session, "/describeSignalingChannel", &describe);
        answer.status
    };
    let answer = sign_in(&service, "tagged", &token(&tags("h-1")));
    assert_eq!(element(&answer.text(), "SourceIdentity"), "Admin");
    let session = granted(&service, &answer);
    assert_eq!(may(&session), 200);
    let bare = sign_in(&service, "tagged", &token(&json!({})));
    assert_eq!(may(&granted(&service, &bare)), 401);
    service.end();
}

#[test]
fn users_of_one_session_name_are_told_apart_in_the_log() {
    let (provider, key, service) = fetched_keys(1);
    for user in ["alice", "bob"] {
        let token = key.token(&claims(&provider, &json!({ "sub": user })));
        let session = granted(&service, &sign_in(&service, "viewer", &token));
        let arn = service.create(&session, &format!("of-{user}"));
        let proof = format!("issuer=\"{}\" subject=\"{user}\"", provider.issuer);
        let by = ["caller=\"viewer/app\"", &*proof, &session.id, &*arn];
        #[rustfmt::skip] // a list
        let got = ["AssumeRoleWithWebIdentity", &*proof, "new_key_id=", &session.id];
        for parts in [by, got] {
            until("its line", || {
                let log = service.broker.log();
                let mut lines = log.lines().filter(|line| line.contains(" audit "));
                lines
                    .any(|line| parts.iter().all(|part| line.contains(part)))
                    .then_some(())
            });
        }
    }
    service.end();
}
