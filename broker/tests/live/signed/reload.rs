//! Credentials replaced under a running broker: what is new holds for what comes after. What it ends of what is there
//! is in `recheck`.

use crate::http::Connection;
use crate::signed::service::{Service, of_all};
use crate::signed::signer::{Call, Signer};
use crate::signed::sts::{EVERYTHING, federate};
use serde_json::json;
use std::fs;
use testkit::{until, until_true};

pub(crate) fn write(service: &Service, name: &str, text: &str) {
    // As editors and secret stores do it: whole or not at all.
    let (path, beside) = (service.directory.join(name), service.directory.join("new"));
    fs::write(&beside, text).expect("written");
    fs::rename(beside, path).expect("renamed");
}

/// Whether the signer's calls are answered; if not, they are refused as those of nobody.
fn is_known(service: &Service, signer: &Signer) -> bool {
    service.keep(&signer.secret);
    let answer = service.call(signer, "/listSignalingChannels", &json!({}));
    if answer.status == 200 {
        return true;
    }
    answer.refused(403, "UnrecognizedClientException");
    false
}

#[test]
fn principals_come_and_go() {
    for by_signal in [true, false] {
        let service = Service::with(&of_all(&["leaving", "staying"]), &[], 2);
        let (leaving, staying, coming) = (
            Signer::new("leaving"),
            Signer::new("staying"),
            Signer::new("coming"),
        );
        let arn = service.create(&leaving, "kept");
        let master = service.master(&leaving, &arn);
        let viewer = leaving.presign(Call::viewer(&service.broker, &arn, "v1"), 60);
        let viewer = service.connect(&viewer);
        let (granted, _) = federate(&service, &leaving, EVERYTHING);
        let list = Call::api(&service.broker, "/listSignalingChannels", &json!({}));
        let list = leaving.sign(list).bytes();
        let mut kept = Connection::open(service.broker.plain);
        kept.send(&list);
        kept.answer().expect("an answer").ok();
        assert!(is_known(&service, &granted) && !is_known(&service, &coming));
        write(
            &service,
            "credentials.toml",
            &of_all(&["coming", "staying"]),
        );
        if by_signal {
            service.broker.signal("HUP");
        }
        until_true("the new principal", || is_known(&service, &coming));
        // On every shard: connections are spread over them by the kernel.
        until_true("the old one's end", || !is_known(&service, &leaving));
        until_true("its end everywhere", || {
            (0..32).all(|_| !is_known(&service, &leaving))
        });
        assert!(is_known(&service, &staying));
        assert!(
            !is_known(&service, &granted),
            "a grant goes with its parent"
        );
        kept.send(&list);
        let refused = kept.answer().expect("an answer on a connection of before");
        refused.refused(403, "UnrecognizedClientException");
        let again = leaving.presign(Call::viewer(&service.broker, &arn, "v2"), 60);
        let refused = service.counts(Some("unknown_key"), || service.send(&again));
        refused.refused(403, "UnrecognizedClientException");
        drop((master, viewer, kept));
        service.end();
    }
}

/// The number of times that the broker said that it keeps what it has.
fn told(service: &Service) -> usize {
    let text = "the credentials file stays as it was";
    service.broker.log().matches(text).count()
}

#[test]
fn a_rotated_secret_ends_the_tokens_it_requested() {
    let service = Service::with(&of_all(&["rotating"]), &[], 3);
    let before = Signer::new("rotating");
    let (granted, _) = federate(&service, &before, EVERYTHING);
    assert!(is_known(&service, &granted));
    let after = Signer {
        secret: "Next/secret+of/rotating/000".to_owned(),
        ..before.clone()
    };
    service.keep(&after.secret);
    let rotated = of_all(&["rotating"]).replace(&before.secret, &after.secret);
    write(&service, "credentials.toml", &rotated);
    service.broker.signal("HUP");
    until_true("the next secret", || {
        is_known_by_signature(&service, &after)
    });
    until_true("the end of the token everywhere", || {
        (0..32).all(|_| !is_known(&service, &granted))
    });
    // A new one is worth as much as the old one was.
    let (granted, _) = federate(&service, &after, EVERYTHING);
    until_true("the next token everywhere", || {
        (0..32).all(|_| is_known(&service, &granted))
    });
    service.end();
}

/// Whether the signer's calls are answered; until then its signature is another's.
fn is_known_by_signature(service: &Service, signer: &Signer) -> bool {
    let answer = service.call(signer, "/listSignalingChannels", &json!({}));
    answer.status == 200
}

/// "I revoked the key" is not believed of a file that was not taken: overview, metrics and `doctor` say where it fails.
#[test]
fn a_reload_that_failed_shows_until_one_succeeds() {
    let service = Service::with(&of_all(&["leaving", "staying"]), &[], 1);
    let ok = || {
        let series = "heliograph_reload_ok{what=\"credentials file\"}";
        service.broker.scrape().sum(series) == 1.0
    };
    let reloads = || service.broker.page("/overview").json()["now"]["reloads"].clone();
    assert!(ok());
    assert_eq!(reloads(), json!([]));
    let success = "heliograph_reload_last_success_seconds{what=\"credentials file\"}";
    assert!(service.broker.scrape().sum(success) > 1.7e9);
    write(
        &service,
        "credentials.toml",
        &(of_all(&["staying"]) + "broken = ["),
    );
    until_true("the gauge", || !ok());
    let refused = until("the overview", || {
        let list = reloads();
        list[0]["error"].is_string().then_some(list)
    });
    let error = refused[0]["error"].as_str().expect("a text");
    assert!(error.contains("credentials.toml:"), "{error}");
    assert!(
        refused[0]["since"]
            .as_u64()
            .is_some_and(|since| since > 1_700_000_000_000)
    );
    let said = service.broker.asked(&["doctor"]).stdout;
    testkit::assert_has(&said, &["the reload of the credentials file failed"]);
    write(&service, "credentials.toml", &of_all(&["staying"]));
    until_true("a good file", ok);
    until_true("the overview again", || reloads() == json!([]));
    service.end();
}

#[test]
fn an_empty_file_is_not_taken_in_place_of_a_full_one() {
    let service = Service::with(&of_all(&["staying"]), &[], 1);
    write(&service, "credentials.toml", "# emptied by mistake\n");
    until_true("the complaint", || told(&service) == 1);
    let log = service.broker.log();
    assert!(log.contains("while 1 principals are in force"), "{log}");
    assert!(
        log.contains("leave one principal without policies"),
        "{log}"
    );
    assert!(is_known(&service, &Signer::new("staying")));
    service.end();
}
