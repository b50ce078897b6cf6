//! Credentials replaced under a running broker: what is new holds for what comes after. What it ends of what is there
//! is in `recheck`.

use crate::http::Connection;
use crate::signed::service::{Service, principal};
use crate::signed::signer::{Call, Signer};
use crate::signed::sts::federate;
use serde_json::json;
use std::fs;
use testkit::until;

const ALL: &str = r#"
[policy.all]
document = '{"Statement": [{"Effect": "Allow", "Action": ["kinesisvideo:*", "sts:*"], "Resource": "*"}]}'
"#;

const EVERYTHING: &str =
    r#"{"Statement": {"Effect": "Allow", "Action": "kinesisvideo:*", "Resource": "*"}}"#;

/// A credentials file with these principals, who may do everything.
fn file(names: &[&str]) -> String {
    let entries = names.iter().map(|name| principal(name, r#"["all"]"#, ""));
    entries.collect::<String>() + ALL
}

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
    for (shards, by_signal) in [(1, true), (3, true), (3, false)] {
        let service = Service::with(&file(&["leaving", "staying"]), &[], shards);
        let (leaving, staying, coming) = (
            Signer::new("leaving"),
            Signer::new("staying"),
            Signer::new("coming"),
        );
        let arn = service.create(&leaving, "kept");
        let master = service.connect(&leaving.presign(Call::master(&service.broker, &arn), 60));
        let viewer = leaving.presign(Call::viewer(&service.broker, &arn, "v1"), 60);
        let viewer = service.connect(&viewer);
        let (granted, _) = federate(&service, &leaving, EVERYTHING);
        let list = Call::api(&service.broker, "/listSignalingChannels", &json!({}));
        let list = leaving.sign(list).bytes();
        let mut kept = Connection::open(service.broker.plain);
        kept.send(&list);
        kept.answer().expect("an answer").ok();
        assert!(is_known(&service, &granted) && !is_known(&service, &coming));
        write(&service, "credentials.toml", &file(&["coming", "staying"]));
        if by_signal {
            service.broker.signal("HUP");
        }
        until("the new principal", || {
            is_known(&service, &coming).then_some(())
        });
        // On every shard: connections are spread over them by the kernel.
        until("the old one's end", || {
            (!is_known(&service, &leaving)).then_some(())
        });
        until("its end everywhere", || {
            (0..32).all(|_| !is_known(&service, &leaving)).then_some(())
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
fn an_invalid_file_changes_nothing_and_is_logged_once() {
    let service = Service::with(&file(&["staying"]), &[], 3);
    let staying = Signer::new("staying");
    let broken =
        file(&["staying", "coming"]).replace("policies = [\"all\"]", "policies = [\"al\"]");
    write(&service, "credentials.toml", &broken);
    until("the complaint", || (told(&service) == 1).then_some(()));
    let log = service.broker.log();
    let place = "credentials.toml:5:";
    assert!(
        log.contains(place) && log.contains("there is no [policy.al], expected all"),
        "{log}"
    );
    assert!(is_known(&service, &staying) && !is_known(&service, &Signer::new("coming")));
    // Looked at again and again, logged when the operator sends SIGHUP.
    service.broker.signal("HUP");
    until("the second complaint", || {
        (told(&service) == 2).then_some(())
    });
    assert!(is_known(&service, &staying));
    // The text that broke it may be a secret: none is shown.
    let cut = file(&["staying", "coming"]);
    let cut = &cut[..cut.find("+coming").expect("its secret") + 4];
    write(&service, "credentials.toml", cut);
    until("the third complaint", || {
        (told(&service) == 3).then_some(())
    });
    assert!(
        !service.broker.log().contains("Secret/of"),
        "{}",
        service.broker.log()
    );
    assert!(is_known(&service, &staying));
    fs::remove_file(service.directory.join("credentials.toml")).expect("removed");
    until("the fourth complaint", || {
        (told(&service) == 4).then_some(())
    });
    assert!(is_known(&service, &staying));
    write(&service, "credentials.toml", &file(&["staying", "coming"]));
    until("better times", || {
        is_known(&service, &Signer::new("coming")).then_some(())
    });
    assert_eq!(told(&service), 4);
    service.end();
}

#[test]
fn files_that_the_file_names_count_as_well() {
    let rotated = Signer::new("rotated");
    let entry = principal("rotated", r#"["devices"]"#, "").replace(
        &format!("secret_access_key = \"{}\"", rotated.secret),
        "secret_access_key_file = \"rotated.secret\"",
    );
    let first = principal("admin", r#"["all"]"#, "") + ALL;
    let service = Service::with(&first, &[], 3);
    service.create(&Signer::new("admin"), "demo");
    let allow = |action: &str| {
        json!({"Statement": {"Effect": "Allow", "Action": action, "Resource": "*"}}).to_string()
    };
    write(&service, "devices.json", &allow("kinesisvideo:Describe*"));
    write(&service, "rotated.secret", &format!("{}\n", rotated.secret));
    let whole = first + &entry + "[policy.devices]\nfile = \"devices.json\"\n";
    write(&service, "credentials.toml", &whole);
    service.broker.signal("HUP");
    let ask = |signer: &Signer, path: &str| {
        let body = json!({"ChannelName": "demo"});
        service.call(signer, path, &body).status
    };
    let describe = "/describeSignalingChannel";
    until("the first secret", || {
        (ask(&rotated, describe) == 200).then_some(())
    });
    assert_eq!(ask(&rotated, "/listSignalingChannels"), 401);
    // A policy is replaced by a change of its file alone.
    write(&service, "devices.json", &allow("kinesisvideo:List*"));
    until("the other policy", || {
        (ask(&rotated, "/listSignalingChannels") == 200).then_some(())
    });
    until("the other policy everywhere", || {
        (0..32)
            .all(|_| ask(&rotated, describe) == 401)
            .then_some(())
    });
    // And so is a secret.
    let next = Signer {
        secret: "Next/secret+of/rotated/0000".to_owned(),
        ..rotated.clone()
    };
    service.keep(&next.secret);
    write(&service, "rotated.secret", &next.secret);
    until("the next secret", || {
        (ask(&next, "/listSignalingChannels") == 200).then_some(())
    });
    until("the next secret everywhere", || {
        let refused = (0..32).all(|_| ask(&rotated, "/listSignalingChannels") == 403);
        refused.then_some(())
    });
    // A policy that does not load keeps all as it was.
    write(&service, "devices.json", "{");
    until("the complaint", || (told(&service) == 1).then_some(()));
    assert!(
        service.broker.log().contains("devices.json:1:"),
        "{}",
        service.broker.log()
    );
    assert_eq!(ask(&next, "/listSignalingChannels"), 200);
    service.end();
}

#[test]
fn a_rotated_secret_ends_the_tokens_it_requested() {
    let service = Service::with(&file(&["rotating"]), &[], 3);
    let before = Signer::new("rotating");
    let (granted, _) = federate(&service, &before, EVERYTHING);
    assert!(is_known(&service, &granted));
    let after = Signer {
        secret: "Next/secret+of/rotating/000".to_owned(),
        ..before.clone()
    };
    service.keep(&after.secret);
    let rotated = file(&["rotating"]).replace(&before.secret, &after.secret);
    write(&service, "credentials.toml", &rotated);
    service.broker.signal("HUP");
    until("the next secret", || {
        is_known_by_signature(&service, &after).then_some(())
    });
    until("the end of the token everywhere", || {
        (0..32).all(|_| !is_known(&service, &granted)).then_some(())
    });
    // A new one is worth as much as the old one was.
    let (granted, _) = federate(&service, &after, EVERYTHING);
    until("the next token everywhere", || {
        (0..32).all(|_| is_known(&service, &granted)).then_some(())
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
    let service = Service::with(&file(&["leaving", "staying"]), &[], 1);
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
        &(file(&["staying"]) + "broken = ["),
    );
    until("the gauge", || (!ok()).then_some(()));
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
    let (admin, wanted) = (
        service.broker.admin,
        "the reload of the credentials file failed",
    );
    let doctor = crate::process::command()
        .args(["doctor", "--admin", &format!("http://{admin}")])
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(said.contains(wanted), "{said}");
    write(&service, "credentials.toml", &file(&["staying"]));
    until("a good file", || ok().then_some(()));
    until("the overview again", || {
        (reloads() == json!([])).then_some(())
    });
    service.end();
}

#[test]
fn an_empty_file_is_not_taken_in_place_of_a_full_one() {
    let service = Service::with(&file(&["staying"]), &[], 1);
    write(&service, "credentials.toml", "# emptied by mistake\n");
    until("the complaint", || (told(&service) == 1).then_some(()));
    let log = service.broker.log();
    assert!(log.contains("while 1 principals are in force"), "{log}");
    assert!(
        log.contains("leave one principal without policies"),
        "{log}"
    );
    assert!(is_known(&service, &Signer::new("staying")));
    service.end();
}
