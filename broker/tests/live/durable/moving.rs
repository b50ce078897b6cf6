//! `heliograph channels`: what clients know of channels is the same in another broker, which was given them as
//! documents.

use crate::durable::{Home, change_some, channels};
use crate::http::create;
use crate::peer::HealthyPair;
use crate::process::{Broker, command};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::time::Duration;

#[test]
fn channels_move_to_another_broker_with_their_arns() {
    let (from, to) = (Home::new(), Home::new());
    let broker = from.start(2);
    let arns: Vec<String> = (0..20)
        .map(|number| create(broker.plain, &format!("cam-{number:02}"), 60))
        .collect();
    change_some(broker.plain, &arns);
    let expected = channels(broker.plain);
    let list: Vec<&Value> = expected.values().map(|(info, _)| info).collect();
    let tags = expected
        .values()
        .map(|(info, tags)| json!({"ChannelARN": info["ChannelARN"], "Tags": tags}));
    let documents: Vec<Value> = [json!({"ChannelInfoList": list})]
        .into_iter()
        .chain(tags)
        .collect();
    let text: String = documents.iter().map(Value::to_string).collect();
    let file = to.0.join("channels.json");
    fs::write(&file, text).expect("a file");
    stop(broker);

    let (code, text) = offline(&to, "import", &[&file]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("19 channels made, 0 there already"), "{text}");
    let broker = to.start(3);
    assert_eq!(channels(broker.plain), expected);
    let arn = arns.last().expect("an ARN");
    HealthyPair::on(&broker, arn).relay();
    for command in ["import", "export"] {
        let files: &[&Path] = if command == "import" { &[&file] } else { &[] };
        let (code, text) = offline(&to, command, files);
        assert_eq!(code, Some(1), "{text}");
        assert!(
            text.contains("in use by another process, a broker that runs"),
            "{text}"
        );
    }
    stop(broker);

    // And back.
    let (code, text) = offline(&to, "export", &[]);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(offline(&from, "export", &[]), (code, text));
    let (code, text) = offline(&to, "import", &[&file]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("0 channels made, 19 there already"), "{text}");
}

fn stop(mut broker: Broker) {
    broker.signal("TERM");
    broker.ended_within(Duration::from_secs(10));
}

/// A command on the data directory of a home: its exit code, and what it says.
fn offline(home: &Home, word: &str, files: &[&Path]) -> (Option<i32>, String) {
    let mut command = command();
    command
        .args(["channels", word, "--data-dir"])
        .arg(home.data());
    let exit = testkit::run(command.args(files));
    (exit.code, exit.stdout + &exit.stderr)
}
