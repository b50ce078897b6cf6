//! `heliograph channels`: documents of the AWS CLI into a data directory, and back.

use crate::cli::support::{broker, directory};
use serde_json::{Deserializer, Value, json};
use std::fs;
use testkit::{Directory, Exit, run};

/// A folder with files, and a data directory that is not there so far.
pub(crate) struct Place(pub(crate) Directory);

impl Place {
    pub(crate) fn new() -> Self {
        Self(directory())
    }

    pub(crate) fn write(&self, name: &str, documents: &[Value]) {
        let text: String = documents
            .iter()
            .map(|document| format!("{document:#}\n"))
            .collect();
        fs::write(self.0.path(name), text).unwrap();
    }

    fn run(&self, words: &[&str]) -> Exit {
        let data = self.0.path("data");
        let mut command = broker(&[&["channels"], words].concat());
        run(command.arg("--data-dir").arg(data).current_dir(&self.0))
    }

    /// The output of a run that must succeed.
    pub(crate) fn well(&self, words: &[&str]) -> String {
        let said = self.run(words);
        assert_eq!(said.code, Some(0), "{words:?}: {said:?}");
        assert_eq!(&*said.stderr, "", "{words:?}: {said:?}");
        said.stdout
    }

    /// The first line of what is said against a file `faulty.json` with these documents, whose import and whose dry run
    /// must fail and write nothing.
    fn refused(&self, documents: &[Value]) -> String {
        self.write("faulty.json", documents);
        self.refused_file("faulty.json")
    }

    fn refused_file(&self, name: &str) -> String {
        let before = self.export();
        let dry = self.run(&["import", name, "--dry-run"]);
        let said = self.run(&["import", name]);
        assert_eq!((said.code, dry.code), (Some(2), Some(2)), "{said:?}");
        assert_eq!((&*said.stdout, &said.stderr), ("", &dry.stderr));
        assert!(said.stderr.ends_with("\nnothing was written\n"), "{said:?}");
        assert_eq!(self.export(), before, "{said:?}");
        said.stderr.lines().next().unwrap().to_owned()
    }

    /// Everything that is in the data directory; empty if there is none.
    pub(crate) fn export(&self) -> String {
        if self.0.path("data").exists() {
            self.well(&["export"])
        } else {
            String::new()
        }
    }
}

pub(crate) fn arn(name: &str, created: &str) -> String {
    format!("arn:aws:kinesisvideo:us-west-2:123456789012:channel/{name}/{created}")
}

const CREATED: &str = "1604032767453";

/// A channel as version 2 of the AWS CLI prints it.
fn channel(name: &str) -> Value {
    json!({
        "ChannelName": name,
        "ChannelARN": arn(name, CREATED),
        "ChannelType": "SINGLE_MASTER",
        "ChannelStatus": "ACTIVE",
        "CreationTime": "2020-10-30T04:39:27.453000+00:00",
        "SingleMasterConfiguration": { "MessageTtlSeconds": 30 },
        "Version": "1bbKz8gPWvoDSEDyFFVG",
    })
}

fn with(name: &str, pointer: &str, value: Value) -> Value {
    let mut document = json!({ "ChannelInfo": channel(name) });
    *document.pointer_mut(pointer).expect("a member") = value;
    document
}

fn tags(name: &str, tags: Value) -> Value {
    json!({ "ChannelARN": arn(name, CREATED), "Tags": tags })
}

#[test]
fn channels_go_in_once_and_come_out_as_they_went_in() {
    let place = Place::new();
    let list = json!({ "ChannelInfoList": [channel("a"), channel("b")], "NextToken": null });
    place.write(
        "channels.json",
        &[list, json!({ "ChannelInfo": channel("c") })],
    );
    place.write(
        "tags.json",
        &[
            tags("b", json!({ "site": "Köln", "room": "" })),
            tags("a", json!(null)),
        ],
    );
    let files = ["tags.json", "channels.json"];
    let dry = place.well(&["import", files[0], files[1], "--dry-run"]);
    assert_eq!(dry, "3 channels would be made, 0 there already, 0 faults\n");
    assert!(!place.0.path("data").exists(), "a dry run writes nothing");

    let import = ["import", files[0], files[1]];
    let made = place.well(&import);
    assert!(
        made.ends_with("data: 3 channels made, 0 there already\n"),
        "{made}"
    );
    let exported = place.well(&["export"]);
    let mut documents = Deserializer::from_str(&exported).into_iter::<Value>();
    let list = documents.next().unwrap().unwrap();
    let mut expected = channel("c");
    expected["CreationTime"] = json!(1_604_032_767.453);
    assert_eq!(list["ChannelInfoList"][2], expected);
    assert_eq!(
        documents.next().unwrap().unwrap(),
        tags("b", json!({ "room": "", "site": "Köln" }))
    );
    assert!(documents.next().is_none(), "{exported}");

    let again = place.well(&import);
    assert!(
        again.ends_with("data: 0 channels made, 3 there already\n"),
        "{again}"
    );
    fs::write(place.0.path("exported.json"), &exported).unwrap();
    let dry = place.well(&["import", "exported.json", "--dry-run"]);
    assert_eq!(dry, "0 channels would be made, 3 there already, 0 faults\n");
    assert_eq!(place.well(&["export"]), exported);
}

#[test]
fn a_channel_that_cannot_be_is_refused_by_its_name_and_by_what_is_allowed() {
    let place = Place::new();
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        (with("a", "/ChannelInfo/ChannelStatus", json!("DELETING")), "ChannelStatus is \"DELETING\": expected ACTIVE"),
        (with("a", "/ChannelInfo/ChannelType", json!("FULL_MESH")),
            "ChannelType is \"FULL_MESH\": expected SINGLE_MASTER"),
        (with("a", "/ChannelInfo/ChannelARN", json!(arn("b", CREATED))),
            "its ARN names another channel, b: expected the ARN of this channel"),
        (with("a", "/ChannelInfo/ChannelARN", json!(arn("a", "1604032765000"))),
            "CreationTime is 1604032767.453 s after 1970, but 1604032765.000 in its ARN: expected at most one second"),
        (with("a", "/ChannelInfo/CreationTime", json!("yesterday")),
            "CreationTime is invalid: expected seconds since 1970"),
        (with("a", "/ChannelInfo/CreationTime", json!(1e308)), "CreationTime is invalid: expected seconds since 1970"),
        (with("a", "/ChannelInfo/SingleMasterConfiguration", json!({ "MessageTtlSeconds": 121 })),
            "MessageTtlSeconds must be 5 to 120"),
    ];
    for (document, said) in cases {
        let line = place.refused(&[json!({ "ChannelInfoList": [] }), document]);
        let expected = format!("faulty.json: channel a (document 2): {said}");
        assert!(line.starts_with(&expected), "{line}");
    }
    for name in ["a b", "\u{1b}[2J", &"n".repeat(257)] {
        let line = place.refused(&[json!({ "ChannelInfo": channel(name) })]);
        assert!(line.contains("ChannelARN must"), "{line}");
        assert!(!line.contains('\u{1b}') && line.len() < 700, "{line}");
    }
}

#[test]
fn a_time_may_be_a_number_and_a_second_away() {
    let place = Place::new();
    let number = with("a", "/ChannelInfo/CreationTime", json!(1_604_032_767));
    let local = with(
        "b",
        "/ChannelInfo/CreationTime",
        json!("2020-10-30T05:39:28+01:00"),
    );
    place.write("channels.json", &[number, local]);
    place.well(&["import", "channels.json"]);
    assert_eq!(
        place.export().matches("1604032767.453").count(),
        2,
        "the ARN wins"
    );
}

#[test]
fn documents_that_contradict_each_other_are_refused() {
    let place = Place::new();
    let one = json!({ "ChannelInfo": channel("a") });
    let other = with(
        "a",
        "/ChannelInfo/SingleMasterConfiguration",
        json!({ "MessageTtlSeconds": 60 }),
    );
    place.write("twice.json", &[one.clone(), one.clone()]);
    assert!(
        place
            .well(&["import", "twice.json", "--dry-run"])
            .starts_with("1 channel would")
    );
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        (
            vec![one.clone(), other],
            "channel a (document 2): it is repeated with other values (MessageTtlSeconds 30 and 60), first in \
             faulty.json (document 1)",
        ),
        (vec![one.clone(), tags("b", json!({ "k": "v" }))],
            "channel b (document 2): there are tags for arn:aws:kinesisvideo:us-west-2:123456789012:channel/b/"),
        (vec![one.clone(), tags("a", json!({ "k": "v" })), tags("a", json!({ "k": "w" }))],
            "channel a (document 3): its tags are repeated with other values"),
        (vec![one.clone(), tags("a", json!({ "k!": "v" }))],
            "channel a (document 2): Key of a tag must be 1 to 128 letters"),
        (vec![one, json!({ "ChannelARN": "arn", "Tags": {} })],
            "channel arn (document 2): the ARN of its tags is invalid: ChannelARN must match"),
    ];
    for (documents, said) in cases {
        let line = place.refused(&documents);
        assert!(line.starts_with(&format!("faulty.json: {said}")), "{line}");
    }
}

#[test]
fn a_channel_that_is_there_with_other_values_is_refused() {
    let place = Place::new();
    place.write(
        "channels.json",
        &[
            json!({ "ChannelInfo": channel("a") }),
            tags("a", json!({ "k": "v" })),
        ],
    );
    place.well(&["import", "channels.json"]);
    let mut younger = channel("a");
    younger["ChannelARN"] = json!(arn("a", "1604032767454"));
    for (document, said) in [
        (json!({ "ChannelInfo": channel("a") }), "0 and 1 tags"),
        (
            json!({ "ChannelInfo": younger }),
            "channel/a/1604032767454 and arn:",
        ),
    ] {
        let line = place.refused(&[json!({ "ChannelInfo": channel("new") }), document]);
        assert!(
            line.starts_with("faulty.json: channel a (document 2): it exists with other values ("),
            "{line}"
        );
        assert!(line.contains(said), "{line}");
    }
}

#[test]
fn what_is_no_document_is_refused_by_its_place() {
    let place = Place::new();
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        ("", "it contains no document: expected the JSON"),
        ("{}", "document 1: it is none of these: expected the JSON"),
        ("{\"Tags\": {}}", "document 1: it is none of these"),
        ("{\"ChannelInfoList\": []}\n{\"Chann", "document 2: EOF while parsing a string at line 2 column 7"),
        ("{\"ChannelInfoList\": [{\"ChannelName\": 7}]}",
            "document 1, ChannelInfoList[0].ChannelName: invalid type: integer `7`, expected a string at line 1"),
        ("{\"ChannelInfo\": {\"ChannelName\": \"a\"}}", "document 1, ChannelInfo: missing field `ChannelARN`"),
        ("[]", "document 1: invalid length 0, expected a JSON object"),
    ];
    for (text, said) in cases {
        fs::write(place.0.path("faulty.json"), text).unwrap();
        let line = place.refused_file("faulty.json");
        assert!(
            line.starts_with(&format!("faulty.json: {said}")),
            "{text}: {line}"
        );
    }
    let number = with("a", "/ChannelInfo/CreationTime", json!(true));
    let line = place.refused(&[number]);
    let wanted = "CreationTime must be seconds since 1970 as a number";
    testkit::assert_has(&line, &[wanted]);
    let line = place.refused_file("absent.json");
    assert!(line.starts_with("absent.json: No such file"), "{line}");
}

#[test]
fn of_many_faults_the_first_hundred_are_shown_and_nothing_is_written() {
    let place = Place::new();
    let faulty = |number: usize| {
        let mut channel = channel(&format!("cam-{number}"));
        channel["ChannelStatus"] = json!(format!("CREATING-{number}"));
        channel
    };
    let list: Vec<Value> = (0..150).map(faulty).chain([channel("good")]).collect();
    place.write("channels.json", &[json!({ "ChannelInfoList": list })]);
    let said = place.run(&["import", "channels.json"]);
    let lines: Vec<&str> = said.stderr.lines().collect();
    assert_eq!(lines.len(), 102, "{said:?}");
    assert_eq!(
        lines[100..],
        ["50 more faults are not shown", "nothing was written"]
    );
    assert!(!place.0.path("data").exists());
    let dry = place.run(&["import", "channels.json", "--dry-run"]);
    assert_eq!(
        dry.stdout,
        "1 channel would be made, 0 there already, 150 faults\n"
    );
}

#[test]
fn one_fault_of_many_channels_is_shown_once() {
    let place = Place::new();
    let faulty = |number: usize| {
        let mut channel = channel(&format!("cam-{number}"));
        channel["ChannelStatus"] = json!("CREATING");
        channel
    };
    let list: Vec<Value> = (0..150).map(faulty).collect();
    place.write("channels.json", &[json!({ "ChannelInfoList": list })]);
    let said = place.run(&["import", "channels.json"]);
    let lines: Vec<&str> = said.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{said:?}");
    let [fault, outcome] = [lines[0], lines[1]];
    assert!(
        fault.starts_with("channels.json: channel cam-0 (document 1): ChannelStatus is")
            && fault.ends_with("(149 more like this)"),
        "{fault}"
    );
    assert_eq!(outcome, "nothing was written");
}

#[test]
fn an_export_needs_a_data_directory() {
    let said = Place::new().run(&["export"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    testkit::assert_has(&said.stderr, &["must be the data directory of a broker"]);
}
