use super::*;
use crate::config::{Arguments, Command};
use clap::Parser;
use std::path::PathBuf;

const FILE: &str = r#"
[policy.camera]
document = '''{"Version": "2012-10-17", "Statement": [
    {"Effect": "Deny", "Action": "kinesisvideo:DeleteSignalingChannel", "Resource": "*"},
    {"Effect": "Allow", "Action": "kinesisvideo:*",
     "Resource": "arn:aws:kinesisvideo:*:*:channel/${credentials-iot:ThingName}/*"},
    {"Effect": "Allow", "Action": "kinesisvideo:ConnectAsViewer", "Resource": "*",
     "Condition": {"StringEquals": {"kinesisvideo:ClientId": "${id.example.com:sub}"}}},
    {"Effect": "Allow", "Action": "kinesisvideo:ConnectAsViewer", "Resource": "*",
     "Condition": {"StringEquals": {"aws:ResourceTag/household": "17"}}}]}'''
[role.camera]
policies = ["camera"]
trust = '''{"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": {"Service": "credentials.iot.amazonaws.com"}, "Action": "sts:AssumeRole",
     "Condition": {"ArnEquals": {"aws:SourceArn": "arn:aws:iot:us-west-2:123456789012:rolealias/cameras"}}},
    {"Effect": "Allow", "Principal": {"Federated": "arn:aws:iam::123456789012:oidc-provider/id.example.com"},
     "Action": "sts:AssumeRoleWithWebIdentity", "Condition": {"StringEquals": {"id.example.com:sub": "ada"}}}]}'''
[role_alias.cameras]
role = "camera"
[role_alias.others]
role = "camera"
[policy.aliases]
document = '''{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:AssumeRoleWithCertificate",
    "Resource": "arn:aws:iot:*:*:rolealias/*", "Condition": {"StringLike": {"credentials-iot:ThingName": "cam-*"}}}]}'''
[policy.barred]
document = '''{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "iot:AssumeRoleWithCertificate",
    "Resource": "arn:aws:iot:*:*:rolealias/*"}]}'''
[things]
hosts = ["credentials.example.com"]
policies = ["aliases"]
registry = "REGISTRY"
[oidc_provider."id.example.com"]
client_ids = ["app"]
[[principal]]
name = "backend"
access_key_id = "AKIDBACKEND"
secret_access_key = "0123456789abcdef0123456789abcdef01234567"
policies = ["camera"]
[[principal]]
name = "camera"
access_key_id = "AKIDCAMERA"
secret_access_key = "0123456789abcdef0123456789abcdef01234567"
policies = []
"#;
const ARN: &str = "arn:aws:kinesisvideo:us-west-2:123456789012:channel/cam-1/1700000000000";

/// Things that may sign in, and things that are disabled.
const REGISTRY: &str = "\
    0000000000000000000000000000000000000000000000000000000000000001,cam-1\n\
    ,cam-3,,inactive\n\
    0000000000000000000000000000000000000000000000000000000000000004,cam-4,camera,,barred\n\
    0000000000000000000000000000000000000000000000000000000000000005,cam-5,camera,,barred\n\
    0000000000000000000000000000000000000000000000000000000000000006,cam-5,camera\n\
    0000000000000000000000000000000000000000000000000000000000000007,cam-7,,inactive\n";

struct Case(PathBuf);

impl Case {
    fn new(name: &str) -> Self {
        let name = format!("heliograph-policy-{name}-{}", std::process::id());
        let file = std::env::temp_dir().join(name);
        let registry = file.with_extension("csv");
        std::fs::write(&registry, REGISTRY).unwrap();
        let text = FILE.replace("REGISTRY", registry.to_str().unwrap());
        std::fs::write(&file, text).unwrap();
        Self(file)
    }

    /// Returns the decision for a question and its explanation, or the fault.
    fn asked(&self, question: &str) -> Result<(bool, String), String> {
        let file = self.0.display();
        let line =
            format!("heliograph policy test --credentials {file} --resource {ARN} {question}");
        let flags =
            Arguments::try_parse_from(line.split(' ')).map_err(|error| error.to_string())?;
        let Command::Policy(flags) = flags.command else {
            panic!("another command");
        };
        let mut out = Vec::new();
        let is_allowed = run(&flags, &mut out).map_err(|failure| failure.to_string())?;
        Ok((is_allowed, String::from_utf8(out).unwrap()))
    }

    fn says(&self, question: &str) -> String {
        let (is_allowed, text) = self.asked(question).unwrap();
        let may = text.starts_with("allowed: ") && !text.contains("signs in: denied");
        assert_eq!(may, is_allowed, "{text}");
        assert!(is_allowed || text.contains("denied: "), "{text}");
        text
    }

    fn refuses(&self, question: &str) -> String {
        self.asked(question).unwrap_err()
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
        let _ = std::fs::remove_file(self.0.with_extension("csv"));
    }
}

#[test]
fn what_one_certificate_has_of_its_own_counts() {
    let case = Case::new("own");
    let asks = |name: &str| {
        let question = format!("--as role/camera --action ConnectAsMaster --thing {name}");
        let said = case.says(&question);
        said.lines().last().unwrap_or_default().to_owned()
    };
    let denied = "signs in: denied: barred, statement 1, denies it";
    assert_eq!(asks("cam-1"), "signs in: allowed");
    assert_eq!(asks("cam-4"), denied);
    let some = "; another certificate of the thing may: ask with --cert FILE";
    assert_eq!(asks("cam-5"), format!("{denied}{some}"));
    assert_eq!(
        asks("cam-7"),
        "signs in: denied: the certificate is inactive in the registry"
    );
    assert_eq!(
        asks("cam-8"),
        "signs in: allowed",
        "one that is not there yet"
    );
}

#[test]
fn the_statement_that_decides_is_named() {
    let case = Case::new("decides");
    let second = "allowed: camera, statement 2, allows it\n";
    let none = "denied: camera: no statement for this action on this resource\n";
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        ("--as role/camera --thing cam-1 --action ConnectAsMaster", second),
        ("--as role/camera --thing cam-1 --action kinesisvideo:ConnectAsMaster", second),
        ("--as role/camera --thing cam-2 --action ConnectAsMaster", none),
        ("--as role/camera --action ConnectAsMaster", none),
        ("--as backend --action ConnectAsMaster", none),
        ("--as role/camera --thing cam-1 --action DeleteSignalingChannel", "denied: camera, statement 1, denies it\n"),
        ("--as role/camera --claim id.example.com:sub=ada --client-id ada --action ConnectAsViewer",
            "allowed: camera, statement 3, allows it\n"),
        ("--as backend --tag household=17 --action ConnectAsViewer", "allowed: camera, statement 4, allows it\n"),
        ("--as user/camera --action ConnectAsMaster", "denied: camera has no policy\n"),
        ("--as user/camera --action GetCallerIdentity", "allowed: everybody may\n"),
    ];
    for (question, answer) in cases {
        let said = case.says(question);
        let first = said.split_inclusive('\n').next();
        assert_eq!(first, Some(answer), "{question}");
    }
    let text = case.says("--as backend --tag household=18 --action ConnectAsViewer");
    testkit::assert_begins(&text, "denied: camera, statement 3, allows it, but");
    let (_, json) = case
        .asked("--as backend --action ConnectAsMaster --json")
        .unwrap();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["decision"], "denied");
    assert_eq!(json["who"], "arn:aws:iam::123456789012:user/backend");
    assert_eq!(json["action"], "kinesisvideo:ConnectAsMaster");
}

#[test]
fn a_role_lets_in_whom_its_trust_and_the_policies_of_things_do() {
    let case = Case::new("signs-in");
    let trust = "the trust of camera, statement";
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        ("--thing cam-1", "allowed".to_owned()),
        ("--thing cam-1 --alias cameras", "allowed".to_owned()),
        ("--thing cam-1 --alias others",
            format!("denied: {trust} 1, allows it, but its condition on aws:SourceArn does not hold")),
        ("--thing cam-1 --alias absent", "denied: there is no [role_alias.absent]".to_owned()),
        ("--thing cam-3", "denied: the thing is inactive in the registry".to_owned()),
        (
            "--thing door-1",
            "denied: aliases, statement 1, allows it, but its condition on credentials-iot:ThingName does not hold"
                .to_owned(),
        ),
        ("--claim id.example.com:sub=ada", "allowed".to_owned()),
        ("--claim id.example.com:sub=ada --claim id.example.com:aud=other",
            "denied: \"other\" is not a client id of the provider".to_owned()),
        ("--claim other.example.com:sub=ada", "denied: there is no [oidc_provider.\"other.example.com\"]".to_owned()),
    ];
    for (who, answer) in cases {
        let said = case.says(&format!("--as role/camera {who} --action ConnectAsMaster"));
        let (_, signs_in) = said.split_once("signs in: ").expect(who);
        assert_eq!(signs_in.trim_end(), answer, "{who}");
    }
    let json = "--as role/camera --thing cam-3 --action ConnectAsMaster --json";
    let (is_allowed, json) = case.asked(json).unwrap();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert!(!is_allowed && json["signs_in"]["decision"] == "denied");
}

/// The policies page shows this command and its output.
#[test]
fn the_page_shows_a_command_that_answers_so() {
    let page = include_str!("../../../../deploy/POLICIES.md");
    let (_, part) = page.split_once("## Ask the policies").unwrap();
    let block = |language: &str| {
        let (_, rest) = part.split_once(&format!("```{language}\n")).unwrap();
        rest.split_once("```").unwrap().0.replace("\\\n", " ")
    };
    let (command, answer) = (block("sh"), block("text"));
    let words: Vec<&str> = command.split_whitespace().collect();
    let start = "heliograph policy test --credentials credentials.toml";
    let rest = words.join(" ");
    let question = rest.strip_prefix(start).unwrap().trim();
    let question = question
        .strip_suffix(&format!(" --resource {ARN}"))
        .unwrap();
    assert_eq!(Case::new("page").says(question), answer);
}

#[test]
fn a_resource_is_an_arn_or_all() {
    for (resource, is_right) in [
        ("*", true),
        (
            "arn:aws:kinesisvideo:us-west-2:123456789012:channel/cam-1/*",
            true,
        ),
        ("cam-1", false),
        ("channel/cam-1", false),
        ("arn:aws", false),
    ] {
        let line =
            "heliograph policy test --credentials a --as b --action ConnectAsMaster --resource";
        let line = line.split(' ').chain([resource]);
        assert_eq!(
            Arguments::try_parse_from(line).is_ok(),
            is_right,
            "{resource}"
        );
    }
}

#[test]
fn a_question_that_cannot_be_meant_is_refused() {
    let case = Case::new("refused");
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        ("--as camera --action ConnectAsMaster", "expected user/camera and role/camera"),
        ("--as nobody --action ConnectAsMaster", "no principal and no role has the name nobody"),
        ("--as backend --thing cam-1 --action ConnectAsMaster", "are of roles"),
        ("--as backend --action Connect", "expected ConnectAsMaster, "),
        ("--as role/camera --claim sub=ada --action ConnectAsMaster", "ISSUER:NAME=VALUE"),
        ("--as role/camera --claim a.example:sub=1 --claim b.example:sub=1 --action ConnectAsMaster",
            "claims of one issuer"),
    ];
    for (question, fault) in cases {
        let text = case.refuses(question);
        assert!(text.contains(fault), "{question}: {text}");
    }
}
