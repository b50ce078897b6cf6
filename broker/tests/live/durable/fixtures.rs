//! What earlier versions kept, gave out and printed (`deploy/ci/fixtures.py`), read by this one: `deploy/UPGRADE.md`
//! promises it.

use crate::durable::{Home, channels};
use crate::process::{Broker, command};
use crate::signed::signer::{Call, Signer};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

#[test]
fn a_data_directory_and_a_backup_of_an_earlier_version_are_served() {
    for version in versions() {
        let expected = exported(&version);
        for archive in ["data.tar.gz", "backup.tar.gz"] {
            let home = unpacked(&version, archive);
            let kept = |name: &str| fs::read_to_string(home.data().join(name)).expect(name);
            let (epoch, key) = (kept("presence.epoch"), kept("session.key"));
            for shards in [2, 3] {
                let broker = home.start(shards);
                assert_eq!(channels(broker.plain), expected, "{archive}");
                stop(broker);
            }
            let number = |text: &str| text.trim().parse::<u64>().expect("a number");
            assert!(number(&kept("presence.epoch")) > number(&epoch));
            assert_eq!(kept("session.key"), key);
        }
    }
}

#[test]
fn channels_that_an_earlier_version_exported_are_imported() {
    for version in versions() {
        let home = Home::new();
        let mut import = command();
        import.args(["channels", "import", "--data-dir"]);
        import.arg(home.data()).arg(version.join("channels.json"));
        let exit = testkit::run(&mut import);
        assert_eq!(exit.code, Some(0), "{}", exit.stderr);
        let broker = home.start(2);
        assert_eq!(channels(broker.plain), exported(&version));
        stop(broker);
    }
}

/// They have expired meanwhile, which only a broker that can open them says.
#[test]
fn temporary_keys_of_an_earlier_version_are_opened() {
    for version in versions() {
        let home = unpacked(&version, "data.tar.gz");
        let file = version.join("credentials.toml");
        let file = file.to_str().expect("a path in UTF-8");
        #[rustfmt::skip] // a list
        let listen = ["--listen", "http://127.0.0.1:0", "--listen", "https://127.0.0.1:0"];
        let credentials = ["--auth", "sigv4", "--credentials", file];
        let broker = Broker::again(
            &home.0,
            &[&["--dev"][..], &listen, &credentials].concat(),
            1,
        );
        let text = fs::read_to_string(version.join("sessions.json")).expect("sessions");
        let sessions: BTreeMap<String, BTreeMap<String, String>> =
            serde_json::from_str(&text).expect("JSON");
        assert!(sessions.len() >= 5, "{sessions:?}");
        for (kind, session) in sessions {
            let signer = Signer {
                id: session["id"].clone(),
                secret: session["secret"].clone(),
                token: Some(session["token"].clone()),
                ..Signer::new("any")
            };
            let code = refusal(&broker, &signer);
            let opened = [
                None,
                Some("ExpiredTokenException"),
                Some("AccessDeniedException"),
            ];
            assert!(opened.contains(&code.as_deref()), "{kind}: {code:?}");
            let (begin, end) = session["token"].split_at(session["token"].len() / 2);
            let other = if end.starts_with('A') { 'B' } else { 'A' };
            let token = Some(format!("{begin}{other}{}", &end[1..]));
            let code = refusal(&broker, &Signer { token, ..signer });
            assert_eq!(
                code.as_deref(),
                Some("UnrecognizedClientException"),
                "{kind}, altered"
            );
        }
    }
}

/// Scripts read them by their names, kinds and fields. The metrics of this version, with every configuration, are
/// in the golden file.
#[test]
fn metrics_and_log_lines_of_an_earlier_version_are_still_there() {
    let golden = include_str!("../../data/golden/metrics.txt");
    for version in versions() {
        let read = |name: &str| fs::read_to_string(version.join(name)).expect(name);
        let text = read("metrics.txt");
        let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let families: Vec<_> = families.map(|family| format!("{family}: ")).collect();
        assert!(families.len() > 100, "{}", families.len());
        let is_gone = |family: &&String| !golden.lines().any(|line| line.starts_with(*family));
        let gone: Vec<_> = families.iter().filter(is_gone).collect();
        assert!(gone.is_empty(), "{}: {gone:?}", version.display());
        crate::deploy::log_schema::assert_valid(&read("log.jsonl"));
    }
}

/// The error of a call that describes a channel of the fixtures, if it is refused.
fn refusal(broker: &Broker, signer: &Signer) -> Option<String> {
    let call = Call::api(
        broker,
        "/describeSignalingChannel",
        &json!({"ChannelName": "cam-0"}),
    );
    let answer = crate::http::exchange(broker.plain, &signer.sign(call).bytes());
    let kind = answer.header("x-amzn-errortype")?;
    Some(kind.split(':').next().expect("a part").to_owned())
}

/// What `channels` makes of a broker that has the exported channels.
fn exported(version: &Path) -> BTreeMap<String, (Value, Value)> {
    let text = fs::read_to_string(version.join("channels.json")).expect("an export");
    let documents = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
    let documents: Vec<Value> = documents.map(|one| one.expect("JSON")).collect();
    let rows = |member: &str| {
        let found = documents.iter().find_map(|one| one[member].as_array());
        found.expect("a list").clone()
    };
    let tags = documents
        .iter()
        .filter(|one| one.get("ChannelARN").is_some());
    let tags: BTreeMap<&str, &Value> = tags
        .map(|one| (one["ChannelARN"].as_str().expect("an ARN"), &one["Tags"]))
        .collect();
    let channels = rows("ChannelInfoList").into_iter().map(|info| {
        let arn = info["ChannelARN"].as_str().expect("an ARN").to_owned();
        let name = info["ChannelName"].as_str().expect("a name").to_owned();
        let tags = tags
            .get(arn.as_str())
            .map_or_else(|| json!({}), |tags| (*tags).clone());
        (name, (info, tags))
    });
    channels.collect()
}

/// The folder of each earlier version.
fn versions() -> Vec<PathBuf> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let entries = fs::read_dir(data).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let versions: Vec<_> = paths
        .filter(|path| path.join("data.tar.gz").exists())
        .collect();
    assert!(!versions.is_empty());
    versions
}

fn unpacked(version: &Path, archive: &str) -> Home {
    let home = Home::new();
    fs::create_dir(home.data()).expect("a folder");
    let mut tar = Command::new("tar");
    tar.args(["-xzf"])
        .arg(version.join(archive))
        .arg("-C")
        .arg(home.data());
    assert!(tar.status().is_ok_and(|it| it.success()), "{archive}");
    home
}

fn stop(mut broker: Broker) {
    broker.signal("TERM");
    broker.ended_within(Duration::from_secs(10));
}
