//! Sign-ins with tokens of an OpenID provider (codec/PROTOCOL.md, STS), whose keys are fetched from it.

mod claims;
mod nodes;

use crate::clients::node_script;
use crate::http::Answer;
use crate::listeners::tls::Identity;
use crate::sign_ins::{Seen, assert_seen};
use crate::signed::provider::{Provider, TokenKey};
use crate::signed::service::{Service, credentials, relay};
use crate::signed::signer::{Call, Signer, now_s};
use crate::signed::sts::{element, granted, sts};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use testkit::{until, until_true};

/// Roles that a provider's users have: one by client, one by group.
fn file(provider: &Provider, more: &str) -> String {
    file_of(&provider.issuer, &provider.identity, more)
}

/// The same with a provider of this issuer.
fn file_of(issuer: &str, identity: &Identity, more: &str) -> String {
    let ca = identity.ca.display();
    let trust = |condition: &str| {
        format!(
            r#"'''{{"Version": "2012-10-17", "Statement": [{{"Effect": "Allow",
    "Action": "sts:AssumeRoleWithWebIdentity",
    "Principal": {{"Federated": "arn:aws:iam::123456789012:oidc-provider/{issuer}"}},
    "Condition": {{{condition}}}}}]}}'''"#
        )
    };
    let (by_client, by_group) = (
        trust(&format!(
            r#""StringEquals": {{"{issuer}:aud": "home-app"}}"#
        )),
        trust(&format!(
            r#""ForAnyValue:StringEquals": {{"{issuer}:groups": "installers"}}"#
        )),
    );
    credentials()
        + &format!(
            r#"
[oidc_provider."{issuer}"]
client_ids = ["home-app", "tv-app"]
ca = "{ca}"
{more}
[policy.own]
document = '''{{"Version": "2012-10-17", "Statement": [{{"Effect": "Allow", "Action": "kinesisvideo:*",
    "Resource": "arn:aws:kinesisvideo:*:*:channel/of-${{{issuer}:sub}}/*"}}]}}'''
[role.viewer]
policies = ["own"]
trust = {by_client}
[role.installer]
policies = ["own"]
trust = {by_group}
"#
        )
}

/// A broker with a provider that does not answer.
pub(crate) fn silent_provider() -> Service {
    let text = "[oidc_provider.\"127.0.0.1:1\"]\nclient_ids = [\"app\"]\nprivate = true\n";
    let service = Service::with(&(credentials() + text), &[], 1);
    until("it was asked", || {
        let metrics = service.broker.page("/metrics").text();
        let up = "heliograph_oidc_provider_up{provider=\"127.0.0.1:1\"} 0";
        metrics.contains(up).then_some(())
    });
    service
}

fn claims(provider: &Provider, changes: &Value) -> Value {
    let mut claims = json!({
        "iss": provider.url(), "sub": "alice", "aud": "home-app", "iat": now_s(), "exp": now_s() + 600,
    });
    for (name, value) in changes.as_object().expect("an object") {
        claims[name] = value.clone();
    }
    claims
}

/// The answer to a sign-in, which is not signed.
fn sign_in(service: &Service, role: &str, token: &str) -> Answer {
    let role = format!("arn:aws:iam::123456789012:role/{role}");
    let form = [
        ("Action", "AssumeRoleWithWebIdentity"),
        ("RoleArn", &*role),
        ("RoleSessionName", "app"),
        ("WebIdentityToken", token),
    ];
    let signature = token.rsplit('.').next().unwrap_or_default();
    if signature.len() > 20 {
        service.keep(signature);
    }
    service.send(&Call::sts(&service.broker, &form))
}

/// A session.
fn session(service: &Service, token: &str) -> Signer {
    granted(service, &sign_in(service, "viewer", token))
}

/// A provider with a key, and a broker of these shards that has fetched it.
fn fetched_keys(shards: u16) -> (Provider, TokenKey, Service) {
    let (provider, key) = (Provider::start(), TokenKey::new("one"));
    provider.publish_keys(&[&key]);
    let service = Service::with(&file(&provider, "private = true"), &[], shards);
    fetched(&service, &provider, 1);
    (provider, key, service)
}

/// Waits until a provider's keys were fetched this often, and the shards have them.
fn fetched(service: &Service, provider: &Provider, times: u64) {
    fetched_of(service, &provider.issuer, times);
}

fn fetched_of(service: &Service, issuer: &str, times: u64) {
    until("the keys", || {
        let count = fetches(service, issuer)?;
        (count >= times).then_some(())
    });
    // Their letters to the shards were before those of this scrape.
    service.broker.page("/metrics");
}

fn fetches(service: &Service, issuer: &str) -> Option<u64> {
    let line = format!("heliograph_oidc_fetches_total{{provider=\"{issuer}\",outcome=\"ok\"}} ");
    let metrics = service.broker.page("/metrics").text();
    let mut counts = metrics.lines().filter_map(|it| it.strip_prefix(&line));
    counts.next()?.parse().ok()
}

/// The answer to a token whose key the provider has published since it was asked last. A fetch that was under way has
/// older ones.
fn known(service: &Service, issuer: &str, token: &str) -> Answer {
    for _ in 0..3 {
        let count = fetches(service, issuer).expect("a provider");
        let answer = sign_in(service, "viewer", token);
        if answer.status == 200 {
            return answer;
        }
        fetched_of(service, issuer, count + 1);
    }
    sign_in(service, "viewer", token)
}

/// Waits until keys that an earlier process kept are with the shards.
fn kept(service: &Service) {
    until("the kept keys", || {
        let metrics = service.broker.page("/metrics").text();
        let mut lines = metrics.lines();
        let line = lines.find(|line| line.starts_with("heliograph_oidc_provider_keys{"))?;
        line.ends_with(" 1").then_some(())
    });
    service.broker.page("/metrics");
}

fn code(answer: &Answer) -> (u16, String) {
    let body = answer.text();
    (answer.status, element(&body, "Code").to_owned())
}

#[test]
fn a_user_of_a_provider_watches_their_own_channel_alone() {
    let started_s = now_s();
    let (provider, key, service) = fetched_keys(2);
    let admin = Signer::new("admin");
    let [own, other] = ["of-alice", "of-bob"].map(|name| service.create(&admin, name));
    let token = key.token(&claims(&provider, &json!({})));
    let alice = session(&service, &token);
    let answer = sign_in(&service, "viewer", &token).text();
    for (name, wanted) in [
        ("SubjectFromWebIdentityToken", "alice"),
        ("Audience", "home-app"),
        ("Provider", &*provider.url()),
        ("Arn", "arn:aws:sts::123456789012:assumed-role/viewer/app"),
    ] {
        assert_eq!(element(&answer, name), wanted);
    }
    let who = sts(&service, &alice, &[("Action", "GetCallerIdentity")]).text();
    assert_eq!(
        element(&who, "Arn"),
        "arn:aws:sts::123456789012:assumed-role/viewer/app"
    );
    let mut master = service.master(&admin, &own);
    let mut viewer = service.viewer(&alice, &own, "v1");
    relay(&mut master, &mut viewer);
    drop((master, viewer));
    let refused = service.send(&alice.presign(Call::viewer(&service.broker, &other, "v1"), 60));
    refused.refused(403, "AccessDeniedException");
    let metrics = service.broker.scrape();
    let ok = "heliograph_signins_total{kind=\"web\",outcome=\"ok\"}";
    assert!(metrics.sum(ok) >= 2.0);
    assert!((metrics.sum("heliograph_oidc_provider_up") - 1.0).abs() < 0.1);
    let fetched_s = metrics.sum("heliograph_oidc_provider_fetched_seconds");
    assert!(
        (started_s as f64..=now_s() as f64).contains(&fetched_s),
        "{fetched_s}"
    );
    service.end();
}

#[test]
fn tokens_that_are_wrong_get_nothing_and_say_why_to_operators_alone() {
    let (provider, key, service) = fetched_keys(1);
    let token = |changes: &Value| key.token(&claims(&provider, changes));
    let (invalid, denied) = ((400, "InvalidIdentityToken"), (403, "AccessDenied"));
    let (expired, rejected) = ((400, "ExpiredTokenException"), (403, "IDPRejectedClaim"));
    let foreign = json!({"iss": "https://id.example.com"});
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        ("viewer", json!({"aud": "another"}), invalid, "not a client id"),
        ("viewer", foreign, invalid, "has this issuer"),
        ("viewer", json!({"exp": now_s() - 61}), expired, "has expired"),
        ("viewer", json!({"iat": now_s() + 600}), rejected, "in the future"),
        ("viewer", json!({"aud": "tv-app"}), denied, "condition on"),
        ("installer", json!({"groups": ["a"]}), denied, "condition on"),
        ("absent", json!({}), denied, "not in the credentials file"),
    ];
    for (role, changes, wanted, told) in cases {
        refuses(&service, (role, &token(&changes)), wanted, told);
    }
    let stranger = TokenKey::new("one").token(&claims(&provider, &json!({})));
    let told = "the signature is not valid";
    refuses(&service, ("viewer", &stranger), invalid, told);
    let unknown = TokenKey::new("two").token(&claims(&provider, &json!({})));
    refuses(&service, ("viewer", &unknown), invalid, "key");
    refuses(&service, ("viewer", "not.a.token"), invalid, "base64url");
    let installer = token(&json!({"groups": ["users", "installers"]}));
    assert_eq!(sign_in(&service, "installer", &installer).status, 200);
    service.end();
}

/// Asserts the refusal of a sign-in, and what operators see of it: issuer and subject, before and after somebody
/// vouches for them, and never the token.
fn refuses(service: &Service, (role, token): (&str, &str), wanted: (u16, &str), told: &str) {
    let answer = sign_in(service, role, token);
    assert_eq!(code(&answer), (wanted.0, wanted.1.to_owned()), "{told}");
    let body = answer.text();
    assert!(body.len() <= 1024, "{body}");
    let payload = token.split('.').nth(1).unwrap_or_default();
    let payload = BASE64URL_NOPAD.decode(payload.as_bytes());
    let claims: Value = serde_json::from_slice(&payload.unwrap_or_default()).unwrap_or_default();
    let issuer = claims["iss"].as_str().unwrap_or_default();
    let issuer = issuer.trim_start_matches("https://");
    let is_known = wanted.1 == "AccessDenied" || told.contains("session tags");
    let principal = format!("{issuer}:alice");
    let arn = format!("arn:aws:iam::123456789012:role/{role}");
    let session = format!("{role}/app");
    let is_named = !issuer.is_empty();
    let named = [
        ("role", Some(&*arn)),
        ("session", Some(&*session)),
        ("issuer", is_named.then_some(issuer)),
        ("subject", is_named.then_some("alice")),
        ("principal", is_known.then_some(&*principal)),
    ];
    let check = match told {
        "not in the credentials file" => "role_absent",
        _ if wanted.1 == "AccessDenied" => "trust_no_allow",
        _ => "web_token_invalid",
    };
    let seen = Seen {
        check,
        named: &named,
        reason: told,
    };
    assert_seen(service, element(&body, "RequestId"), &seen, token);
}

/// Where there is no provider the answer is that of an unknown one, and names it.
#[test]
fn without_a_provider_the_tokens_issuer_is_named() {
    let service = Service::start(1);
    let claims = json!({
        "iss": "https://id.example.com", "sub": "alice", "aud": "app", "iat": now_s(), "exp": now_s() + 600,
    });
    let token = TokenKey::new("one").token(&claims);
    let answer = sign_in(&service, "viewer", &token);
    assert_eq!(code(&answer), (400, "InvalidIdentityToken".to_owned()));
    assert_eq!(
        element(&answer.text(), "Message"),
        "No OpenIDConnect provider found in your account for https://id.example.com"
    );
    let refused = (400, "InvalidIdentityToken");
    refuses(&service, ("viewer", &token), refused, "has this issuer");
    let unsigned = Call::sts(&service.broker, &[("Action", "GetCallerIdentity")]);
    let missing = (403, "MissingAuthenticationToken".to_owned());
    assert_eq!(code(&service.send(&unsigned)), missing);
    service.end();
}

#[test]
fn a_new_key_is_asked_for_and_one_that_is_gone_lets_nobody_in() {
    let (provider, old, new) = (
        Provider::start(),
        TokenKey::new("old"),
        TokenKey::new("new"),
    );
    provider.publish_keys(&[&old]);
    // Its keys may not be elsewhere before the file says so.
    provider.publish_document(&provider.foreign_keys());
    let service = Service::with(&file(&provider, "private = true"), &[], 1);
    let of = |key: &TokenKey| key.token(&claims(&provider, &json!({})));
    until("the provider is asked", || {
        let failed = "heliograph_oidc_fetches_total{provider=\"";
        let metrics = service.broker.page("/metrics").text();
        let line = metrics
            .lines()
            .find(|line| line.starts_with(failed) && line.contains("failed"));
        line.filter(|line| !line.ends_with(" 0")).map(|_| ())
    });
    assert_eq!(provider.asked(), 0);
    assert_eq!(
        code(&sign_in(&service, "viewer", &of(&old))),
        (400, "InvalidIdentityToken".into())
    );
    provider.publish_document(&format!(
        "{}/keys",
        provider.url().trim_end_matches("/realms/home")
    ));
    // A provider whose entry changed is asked again at once.
    let path = service.directory.join("credentials.toml");
    let more = "private = true\njwks_hosts = [\"keys.example.com\"]";
    fs::write(&path, file(&provider, more)).expect("a file under target/");
    fetched(&service, &provider, 1);
    let session = session(&service, &of(&old));
    // A token with a key that is not known has the provider asked.
    let asked = provider.asked();
    provider.publish_keys(&[&new]);
    assert_eq!(
        code(&sign_in(&service, "viewer", &of(&new))),
        (400, "InvalidIdentityToken".into())
    );
    granted(&service, &known(&service, &provider.issuer, &of(&new)));
    assert!(provider.asked() > asked);
    assert_eq!(
        code(&sign_in(&service, "viewer", &of(&old))),
        (400, "InvalidIdentityToken".into())
    );
    // A session outlives the key that its token was signed with, but not the client that it was for.
    let who = |service: &Service| sts(service, &session, &[("Action", "GetCallerIdentity")]).status;
    assert_eq!(who(&service), 200);
    let less =
        file(&provider, "private = true").replace("[\"home-app\", \"tv-app\"]", "[\"tv-app\"]");
    fs::write(&path, less).expect("a file under target/");
    until_true("the session ends", || who(&service) == 403);
    service.end();
}

#[test]
fn keys_outlive_a_restart_without_the_provider_and_private_addresses_are_not_asked() {
    let (provider, key) = (Provider::start(), TokenKey::new("one"));
    provider.publish_keys(&[&key]);
    let directory = crate::process::directory();
    fs::write(directory.join("broker.toml"), "").expect("a file under target/");
    let text = file(&provider, "private = true");
    let service = Service::in_directory(&directory, &text, 1);
    let token = key.token(&claims(&provider, &json!({})));
    fetched(&service, &provider, 1);
    session(&service, &token);
    provider.forget_everything();
    drop(service);
    let service = Service::in_directory(&directory, &text, 1);
    kept(&service);
    session(&service, &token);
    drop(service);
    // The keys that were kept do not make up for an entry that forbids the address; they serve while they are young.
    let asked = provider.asked();
    let service = Service::in_directory(&directory, &file(&provider, ""), 1);
    kept(&service);
    session(&service, &token);
    let told = until("the provider is not asked", || {
        let metrics = service.broker.page("/metrics").text();
        let down = metrics
            .lines()
            .find(|line| line.starts_with("heliograph_oidc_provider_up"))?;
        down.ends_with(" 0").then(|| down.to_owned())
    });
    assert!(told.contains(&provider.issuer), "{told}");
    assert_eq!(provider.asked(), asked);
    drop(service);
}

#[test]
fn one_address_signs_in_at_a_rate() {
    let (provider, _, service) = fetched_keys(1);
    let forged = TokenKey::new("one").token(&claims(&provider, &json!({})));
    let answers: Vec<_> = (0..300)
        .map(|_| code(&sign_in(&service, "viewer", &forged)))
        .collect();
    let slowed = answers
        .iter()
        .filter(|answer| answer.1 == "Throttling")
        .count();
    assert!(slowed > 50, "{slowed}");
    let wrong = answers
        .iter()
        .filter(|answer| answer.1 == "InvalidIdentityToken")
        .count();
    assert!(wrong >= 100 && wrong + slowed == 300, "{wrong} {slowed}");
    service.end();
}

/// npm's oidc-provider, whose client signs in with an access token as RFC 9068 has it.
#[test]
#[ignore = "needs the clients that deploy/ci/check.sh installs"]
fn tokens_of_another_provider_are_taken_before_and_after_a_rotation() {
    let identity = Identity::new("127.0.0.1");
    let mut child = node_script("provider.mjs")
        .env("CERT", &identity.cert)
        .env("KEY", &identity.key)
        .env("CA", &identity.ca)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node");
    let mut input = child.stdin.take().expect("a pipe");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut line = || lines.next().expect("a line").expect("UTF-8");
    let url = line();
    let issuer = url.strip_prefix("https://").expect("https");
    // Its audience is a resource, and its client is named beside that.
    let text = |more: &str| file_of(issuer, &identity, more).replace("home-app", "camera-app");
    let service = Service::with(&text("private = true"), &[], 2);
    fetched_of(&service, issuer, 1);
    let own = service.create(&Signer::new("admin"), "of-camera-app");
    let mut token = |order: &str| {
        writeln!(input, "{order}").expect("a pipe");
        line()
    };
    let camera = session(&service, &token("token"));
    let describe = json!({"ChannelARN": own});
    service
        .call(&camera, "/describeSignalingChannel", &describe)
        .ok();
    assert_eq!(token("rotate"), "rotated");
    let next = token("token");
    let unknown = (400, "InvalidIdentityToken".to_owned());
    assert_eq!(code(&sign_in(&service, "viewer", &next)), unknown);
    granted(&service, &known(&service, issuer, &next));
    drop(input);
    assert!(child.wait().expect("its end").success());
    service.end();
}
