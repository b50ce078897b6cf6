//! Quotas as a user meets them: the default numbers, and those of accounts under the strict profile.

use crate::peer::{candidate, offer};
use crate::signed::service::{Service, credentials, on_signed_shards, relay};
use crate::signed::signer::{Call, Signer};
use serde_json::{Value, json};
use std::time::Instant;
use testkit::until_true;

on_signed_shards!(use_is_counted_by_account);

/// The use of an account by `/usage`; of all others by `/usage` without one.
fn usage(service: &Service, account: &str) -> [u64; 5] {
    let document = service.broker.page("/usage").json();
    let accounts = document["accounts"].as_array().expect("a list");
    assert!(accounts.is_sorted_by_key(|one| one["account"].as_str().expect("digits")));
    let found = accounts.iter().find(|one| one["account"] == account);
    let found = found.unwrap_or_else(|| &document["others"]);
    [
        "connections",
        "calls",
        "messages",
        "refusals",
        "queuedBytes",
    ]
    .map(|figure| found[figure].as_u64().expect("a number"))
}

fn use_is_counted_by_account(service: &Service) {
    let (own, other) = ("123456789012", "999999999999");
    let [admin, nobody, neighbour] = ["admin", "nobody", "neighbour"].map(Signer::new);
    let arn = service.create(&admin, "metered");
    let of = |call| admin.presign(call, 60);
    let mut master = service.connect(&of(Call::master(&service.broker, &arn)));
    let mut viewer = service.connect(&of(Call::viewer(&service.broker, &arn, "v1")));
    relay(&mut master, &mut viewer);
    assert_eq!(usage(service, own), [2, 1, 2, 0, 0], "of open connections");
    viewer.send(&candidate("Y2FuZA=="));
    drop(viewer);
    until_true("the end of a connection", || usage(service, own)[0] == 1);
    assert_eq!(usage(service, own)[2], 3, "of those that ended as well");
    drop(master);
    let mut viewer = service.connect(&of(Call::viewer(&service.broker, &arn, "v1")));
    until_true("the end of the master", || usage(service, own)[0] == 1);
    viewer.send(&offer("b2ZmZXI="));
    until_true("a message that waits", || usage(service, own)[4] > 0);
    // Who is refused is known by the signature, and has an account; whose signature is wrong has none.
    service
        .call(&nobody, "/listSignalingChannels", &json!({}))
        .refused(401, "AccessDeniedException");
    service
        .call(&neighbour, "/listSignalingChannels", &json!({}))
        .ok();
    let mut forger = Signer::new("admin");
    forger.secret.push('x');
    assert_ne!(
        service
            .call(&forger, "/listSignalingChannels", &json!({}))
            .status,
        200
    );
    assert_eq!((usage(service, own)[1], usage(service, own)[3]), (2, 1));
    assert_eq!(usage(service, other), [0, 1, 0, 0, 0]);
    assert_eq!(usage(service, "")[3], 1);
    let scrape = service.broker.scrape();
    let series =
        |name: &str, account: &str| scrape.sum(&format!("{name}{{account=\"{account}\"}}"));
    for (account, connections) in [(own, 1.0), (other, 0.0), ("others", 0.0)] {
        assert_eq!(
            series("heliograph_account_connections", account),
            connections,
            "{account}"
        );
        assert_eq!(
            series("heliograph_account_queued_bytes", account) > 0.0,
            account == own
        );
    }
}

/// Does it until it is refused; asserts that as often as a full bucket and the rate since allow, it was not.
pub(crate) fn until_refused(rate: f64, burst: u32, mut accepts: impl FnMut() -> bool) {
    let started = Instant::now();
    let mut accepted = 0;
    while accepts() {
        accepted += 1;
        assert!(accepted < 20 * burst, "never refused");
    }
    let refilled = rate * started.elapsed().as_secs_f64();
    let most = f64::from(burst) + refilled + 1.0;
    assert!(
        accepted >= burst && f64::from(accepted) <= most,
        "{accepted} of {burst}, and {refilled} since"
    );
}

/// Under the strict profile, with a configuration file of this text.
fn strict(text: &str, shards: u16) -> Service {
    Service::configured(
        &format!("profile = \"strict\"\n{text}"),
        &credentials(),
        shards,
    )
}

#[test]
fn accounts_are_limited_in_what_they_ask_for() {
    let service = strict(
        "[quotas]\naccount_create = { rate = 1, burst = 3 }\naccount_federation = { rate = 1, burst = 2 }\n",
        2,
    );
    let create = |signer: &Signer, nth: u32| {
        let body = json!({"ChannelName": format!("c-{nth}")});
        service.call(signer, "/createSignalingChannel", &body)
    };
    let mut nth = 0;
    let admin = Signer::new("admin");
    until_refused(1.0, 3, || {
        nth += 1;
        let answer = create(&admin, nth);
        if answer.status != 200 {
            answer.refused(400, "ClientLimitExceededException");
        }
        answer.status == 200
    });
    create(&Signer::new("neighbour"), 0).ok();
    let form = [("Action", "GetFederationToken"), ("Name", "web-1")];
    let signer = admin.of_service("sts");
    until_refused(1.0, 2, || {
        let call = signer.sign(Call::sts(&service.broker, &form));
        let answer = service.send(&call);
        let throttled = answer.text().contains("<Code>Throttling</Code>");
        assert_eq!(throttled, answer.status != 200, "{}", answer.text());
        !throttled
    });
    service.end();
}

/// By default, each operation for itself; the refusal names the key.
#[test]
fn lines_of_an_account_in_the_log_are_limited() {
    const BURST: usize = 20;
    let quotas = ["account_create", "account_change"]
        .map(|key| format!("{key} = {{ rate = 1, burst = {BURST} }}\n"));
    let file = format!("[quotas]\nchange = {{ rate = 0 }}\n{}", quotas.concat());
    let service = Service::configured(&file, &credentials(), 2);
    let admin = Signer::new("admin");
    let arn = service.create(&admin, "cam");
    let refused = |path: &str, body: &dyn Fn(usize) -> Value, key: &str| {
        let answers = (0..2 * BURST).map(|nth| service.call(&admin, path, &body(nth)));
        let refused = answers.into_iter().find(|answer| answer.status != 200);
        let text = refused
            .expect("a refusal")
            .refused(400, "ClientLimitExceededException");
        assert!(text.contains(&format!("[quotas] {key}")), "{text}");
    };
    let create = |nth: usize| json!({"ChannelName": format!("c-{nth}")});
    refused("/createSignalingChannel", &create, "account_create");
    let tag =
        |nth: usize| json!({"ResourceARN": arn, "Tags": [{"Key": "n", "Value": nth.to_string()}]});
    refused("/TagResource", &tag, "account_change");
    service.end();
}

#[test]
fn strict_is_strict_about_tokens_and_clocks() {
    let service = strict("", 1);
    let late = Signer::new("late");
    let list = |signer: &Signer| service.call(signer, "/listSignalingChannels", &json!({}));
    list(&late.ahead(-200)).ok();
    let told = service.counts(Some("expired"), || list(&late.ahead(-400)));
    let told = told.refused(403, "InvalidSignatureException");
    assert!(told.contains(" - 5 min.)"), "{told}");
    for (seconds, status) in [("899", 400), ("900", 200)] {
        let form = [
            ("Action", "GetFederationToken"),
            ("Name", "web-1"),
            ("DurationSeconds", seconds),
        ];
        let call = Call::sts(&service.broker, &form);
        let answer = service.send(&Signer::new("admin").of_service("sts").sign(call));
        assert_eq!(answer.status, status, "{}", answer.text());
        assert!(status == 200 || answer.text().contains("<Code>ValidationError</Code>"));
    }
    service.end();
}
