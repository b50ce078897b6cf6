mod digest;
mod providers;
mod roles;
mod things;

use super::*;
use codec::policy::{Action, Decision, Request};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use testkit::Directory;

/// A folder for one test, removed when dropped.
struct Folder(Directory);

impl Folder {
    fn new() -> Self {
        Self(Directory::temporary())
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// Loads a text in which `|` is a line break.
    fn load(&self, text: &str) -> Result<Loaded, ConfigError> {
        self.load_for(None, text)
    }

    /// Like [`Self::load`], with console accounts of the provider `console`.
    fn load_for(&self, console: Option<&str>, text: &str) -> Result<Loaded, ConfigError> {
        let path = self.write("c.toml", &text.replace('|', "\n"));
        load_credentials(&path, "123456789012", console)
    }

    /// Returns an error or warning without the name of this folder.
    fn bare(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.0.display()), "")
    }
}

impl Folder {
    /// Returns the warnings about a file, without the name of this folder.
    fn warnings(&self, loaded: &Loaded) -> Vec<String> {
        loaded.warnings.iter().map(|it| self.bare(it)).collect()
    }

    /// Returns the names of the files that were read.
    fn files(&self, loaded: &Loaded) -> Vec<String> {
        let names = loaded.files.iter().map(|it| it.display().to_string());
        names.map(|name| self.bare(&name)).collect()
    }
}

const GOOD: &str = r#"
    [[principal]]
    name = "camera-fleet"
    access_key_id = "AKIDEXAMPLE"
    secret_access_key = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
    policies = ["devices", "inline"]

    [[principal]]
    name = "web"
    account = "210987654321"
    access_key_id = "AKIDWEB"
    secret_access_key_file = "web.secret"
    session_token = "token"
    expires = 2027-01-01T02:00:00+02:00
    clock_tolerance = "24h"
    policies = ["inline"]

    [policy.devices]
    file = "devices.json"

    [policy.inline]
    document = '''{"Statement": {"Effect": "Allow", "Action": "kinesisvideo:ConnectAsMaster", "Resource": "*"}}'''
"#;

const DEVICES: &str =
    r#"{"Statement": [{"Effect": "Deny", "Action": "kinesisvideo:Delete*", "Resource": "*"}]}"#;

fn good() -> (Folder, Loaded) {
    let folder = Folder::new();
    folder.write("devices.json", DEVICES);
    folder.write("web.secret", "0123456789abcdef0123456789abcdef01234567\n");
    let loaded = folder.load(GOOD).unwrap();
    (folder, loaded)
}

#[test]
fn a_file_is_read_with_what_it_names() {
    let (folder, loaded) = good();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let files = folder.files(&loaded);
    assert_eq!(files, ["c.toml", "devices.json", "web.secret"]);
    assert_eq!(loaded.stamps.len(), 3);
    let fleet = loaded.credentials.find("AKIDEXAMPLE").unwrap();
    assert_eq!(fleet.name.as_str(), "camera-fleet");
    assert_eq!(fleet.account.as_str(), "123456789012");
    assert_eq!(fleet.expires_s, None);
    assert_eq!(fleet.clock_tolerance_s, None);
    assert_eq!(fleet.session_token, None);
    let ask = |action| {
        let request = Request {
            action,
            resource: "x",
            client_id: None,
            context: &(),
        };
        fleet.decide(&request, &mut 0)
    };
    assert_eq!(ask(Action::ConnectAsMaster), Decision::Allow);
    assert_eq!(ask(Action::DeleteSignalingChannel), Decision::Deny);
    assert_eq!(ask(Action::ConnectAsViewer), Decision::NoMatch);
    let web = loaded.credentials.find("AKIDWEB").unwrap();
    assert_eq!(
        web.secret.reveal(),
        "0123456789abcdef0123456789abcdef01234567"
    );
    assert_eq!(web.expires_s, Some(1_798_761_600)); // 2027-01-01T00:00:00Z
    assert_eq!(web.clock_tolerance_s, Some(86_400));
    assert_eq!(
        web.session_token.as_ref().map(Secret::reveal),
        Some("token")
    );
    assert!(Arc::ptr_eq(&web.policies[0], &fleet.policies[1]));
}

#[test]
fn nothing_shows_a_secret() {
    let (_folder, loaded) = good();
    let shown = format!("{loaded:?}{}", crate::config::credentials_summary(&loaded));
    for secret in ["wJalrXUtn", "0123456789abcdef", "\"token\""] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn the_summary_lists_permissions_of_each_principal() {
    let (folder, loaded) = good();
    assert_eq!(
        crate::config::credentials_summary(&loaded),
        "principal   camera-fleet, account 123456789012, key AKIDEXAMPLE: may ConnectAsMaster, less what its policies \
         deny\n\
         principal   web, account 210987654321, key AKIDWEB, until 20270101T000000Z, clock off by up to 86400s: may \
         ConnectAsMaster\n"
    );
    let bare = folder.load(
        "[[principal]]|name = 'a'|access_key_id = 'A'|secret_access_key = '0123456789abcdef'",
    );
    assert!(
        crate::config::credentials_summary(&bare.unwrap())
            .contains("a, account 123456789012, key A: may nothing\nwarning")
    );
}

/// All warnings, each as its whole line.
#[test]
fn what_looks_forgotten_is_warned_of() {
    let folder = Folder::new();
    let loaded = folder.load(
        "[[principal]]|name = 'a'|access_key_id = 'A'|secret_access_key = '0123456789abcdef'|policies = []|\
         [policy.p]|document = '{\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"*\",\"Resource\":\"*\"}}'",
    );
    assert_eq!(
        folder.warnings(&loaded.unwrap()),
        [
            "c.toml:2:1: principal a has no policies: its requests are denied",
            "c.toml:6:1: policy p is not used by any principal, role or thing",
        ]
    );
    let path = folder.write("open.toml", "");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let loaded = load_credentials(&path, "123456789012", None).unwrap();
    assert_eq!(
        folder.warnings(&loaded),
        [
            "open.toml: every user of this machine can read or change it: chmod 600",
            "open.toml: no [[principal]], [oidc_provider] or [things]: every request is refused",
        ]
    );
}

#[test]
fn what_a_policy_may_not_say_to_its_author_is_warned_of() {
    let folder = Folder::new();
    let other = ONE.replace("'a'", "'b'").replace("'A'", "'B'") + "|policies = ['all']";
    let elsewhere = other.replace("'b'", "'c'").replace("'B'", "'C'") + "|account = '222222222222'";
    let loaded = folder.load(&format!(
        "{ONE}|policies = ['p', 'all']|{elsewhere}|{other}|[policy.all]|document = '{{\"Statement\":{{\"Effect\":\
         \"Allow\",\"Action\":\"*\",\"Resource\":\"*\"}}}}'|[policy.p]|document = '{{\"Statement\":{{\"Effect\":\
         \"Allow\",\"Action\":\"*\",\"Resource\":\"*\",\"Condition\":{{\"StringEquals\":{{\"aws:ResourceTag/a\":\"b\",\
         \"aws:UserAgent\":\"c\"}},\"Bool\":{{\"aws:ViaAWSService\":false}}}}}}}}'"
    ));
    assert_eq!(
        folder.warnings(&loaded.unwrap()),
        [
            "c.toml:19:1: policy p: aws:UserAgent is chosen by the client",
            "c.toml:19:1: policy p: aws:ViaAWSService never has a value in this service",
            "c.toml:19:1: policy p: its permissions depend on tags of channels (aws:ResourceTag), which b may set",
        ]
    );
}

/// Lines that define one valid principal. Each case adds to them or replaces them.
const ONE: &str =
    "[[principal]]|name = 'a'|access_key_id = 'A'|secret_access_key = '0123456789abcdef'";

/// All faults, each as its whole line. `{one}` stands for [`ONE`].
#[rustfmt::skip] // a table, a case per row
const BROKEN: &[(&str, &str)] = &[
    ("[[principal", "c.toml:1:12: unclosed array table, expected `]]`"),
    ("principal = 5", "c.toml:1:13: principal = 5: expected a list of tables: [[principal]]"),
    (
        "[[principals]]|name = 'a'",
        "c.toml:1:3: principals = <redacted>: unknown key, expected policy, role, oidc_provider, role_alias, things, \
         principal; the nearest is principal",
    ),
    (
        "{one}|sesion = 'hidden'",
        "c.toml:5:1: principal[0].sesion = <redacted>: unknown key, expected name, account, access_key_id, \
         secret_access_key, \
         secret_access_key_file, session_token, expires, clock_tolerance, policies",
    ),
    ("[[principal]]|secret_access_key = '0123456789abcdef'",
        "c.toml:2:1: principal[0] = { … }: name and access_key_id needed"),
    ("[[principal]]|name = 'a'|access_key_id = 'A'",
        "c.toml:2:1: principal[0] = { … }: expected either secret_access_key or secret_access_key_file"),
    ("{one}|secret_access_key_file = 'good.secret'",
        "c.toml:2:1: principal[0] = { … }: expected either secret_access_key or secret_access_key_file"),
    (
        "[[principal]]|name = 'a b'|access_key_id = 'A-1'|secret_access_key = 'short'",
        "c.toml:2:8: principal[0].name = 'a b': expected 1 to 64 of the characters A-Z a-z 0-9 _ + = , . @ -|\
         c.toml:3:17: principal[0].access_key_id = 'A-1': expected 1 to 128 of the characters A-Z a-z 0-9 _|\
         c.toml:4:21: principal[0].secret_access_key = <redacted>: expected 16 to 128 visible ASCII characters",
    ),
    (
        "[[principal]]|name = 'a'|access_key_id = 'A'|secret_access_key = 5",
        "c.toml:4:21: principal[0].secret_access_key = <redacted>: expected 16 to 128 visible ASCII characters, in \
         quotes",
    ),
    (
        "[[principal]]|name = 'a'|access_key_id = 'A'|secret_access_key_file = 'bad.secret'",
        "c.toml:4:26: principal[0].secret_access_key_file = 'bad.secret': bad.secret: the content: expected 16 to 128 \
         visible ASCII characters",
    ),
    (
        "[[principal]]|name = 'a'|access_key_id = 'A'|secret_access_key_file = 'none.secret'",
        "c.toml:4:26: principal[0].secret_access_key_file = 'none.secret': none.secret: cannot be read: No such file \
         or directory (os error 2)",
    ),
    ("{one}|account = '1'", "c.toml:5:11: principal[0].account = '1': expected 12 digits"),
    ("{one}|session_token = 'a b'",
        "c.toml:5:17: principal[0].session_token = <redacted>: expected 1 to 4096 visible ASCII characters"),
    (
        "{one}|expires = 2027-01-01T00:00:00",
        "c.toml:5:11: principal[0].expires = 2027-01-01T00:00:00: expected a date and time with its offset, such as \
         2027-01-01T00:00:00Z",
    ),
    (
        "{one}|expires = '2027-01-01'",
        "c.toml:5:11: principal[0].expires = '2027-01-01': expected a date and time with its offset, such as \
         2027-01-01T00:00:00Z",
    ),
    ("{one}|clock_tolerance = '25h'",
        "c.toml:5:19: principal[0].clock_tolerance = '25h': expected a duration from \"1s\" to \"1d\""),
    ("{one}|policies = 'p'", "c.toml:5:12: principal[0].policies = 'p': expected a list of up to 20 policy names"),
    ("{one}|policies = ['p']", "c.toml:5:12: principal[0].policies = ['p']: there is no [policy.p], nor any other"),
    ("{one}|policies = ['q']|[policy.p]|file = 'good.json'",
        "c.toml:5:12: principal[0].policies = ['q']: there is no [policy.q], expected p"),
    (
        "{one}|{one}",
        "c.toml:6:8: principal[1].name = \"a\": expected once; principal[0] has it as well|\
         c.toml:7:17: principal[1].access_key_id = \"A\": expected once; principal[0] has it as well",
    ),
    ("policy = 1", "c.toml:1:10: policy = 1: expected a table: [policy]"),
    ("[policy]|p = 1", "c.toml:2:5: policy.p = 1: expected a table: [policy.p]"),
    ("[policy.p]", "c.toml:1:1: policy.p = { … }: expected either file or document"),
    (
        "[policy.p]|file = 'broken.json'",
        "c.toml:2:8: policy.p.file = 'broken.json': broken.json:3:18: Effect \"allow\": expected \"Allow\", \"Deny\"|\
         c.toml:2:8: policy.p.file = 'broken.json': broken.json:3:19: the statement lacks Resource",
    ),
    ("[policy.p]|file = ''", "c.toml:2:8: policy.p.file = '': expected a text that is not empty"),
    (
        "[policy.p]|document = '{}'|[policy.q]|document = 'x'",
        "c.toml:2:12: policy.p.document = '{}': the document is not a valid policy: line 1, column 2: the document \
         needs Statement, with at least one statement|\
         c.toml:4:12: policy.q.document = 'x': the document is not a valid policy: line 1, column 1: expected value",
    ),
    (
        "[role.r]|policies = ['q']|max_session = '13h'|trust = '{}'|x = 1",
        "c.toml:2:12: role.r.policies = ['q']: there is no [policy.q], nor any other|\
         c.toml:3:15: role.r.max_session = '13h': expected a duration from \"15m\" to \"12h\"|\
         c.toml:4:9: role.r.trust = '{}': the document is not a valid trust policy: line 1, column 2: the document \
         needs Statement, with at least one statement|\
         c.toml:5:1: role.r.x = <redacted>: unknown key, expected account, policies, trust, trust_file, max_session, \
         clock_tolerance",
    ),
    (
        "[role.'a/b']",
        "c.toml:1:1: role.a/b = { … }: the name: expected 1 to 64 of the characters A-Z a-z 0-9 _ + = , . @ -|\
         c.toml:1:1: role.a/b = { … }: expected either trust or trust_file",
    ),
    (
        "[role.r]|trust_file = 'open.json'",
        "c.toml:2:14: role.r.trust_file = 'open.json': open.json:1:89: a statement that allows with NotPrincipal or \
         Principal \"*\" must have a Condition",
    ),
    ("[policy.'a b']|file = 'good.json'",
        "c.toml:1:1: policy.a b = { … }: the name: expected 1 to 64 of the characters A-Z a-z 0-9 _ + = , . @ -"),
];

#[test]
fn every_fault_has_its_place() {
    let folder = Folder::new();
    folder.write("good.secret", "0123456789abcdef");
    folder.write("bad.secret", "hidden");
    folder.write("good.json", DEVICES);
    folder.write(
        "open.json",
        r#"{"Statement": {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "*"} } }"#,
    );
    folder.write(
        "broken.json",
        "{\"Statement\": {\n \"Action\": \"*\",\n \"Effect\": \"allow\"}}",
    );
    let mut wrong = Vec::new();
    for (text, wanted) in BROKEN {
        let error = folder
            .load(&text.replace("{one}", ONE))
            .unwrap_err()
            .to_string();
        assert!(
            !error.contains("hidden") && !error.contains("0123456789abcdef"),
            "{error}"
        );
        let (told, wanted) = (folder.bare(&error), wanted.replace('|', "\n"));
        if told != wanted {
            wrong.push(format!("{text}\n told   {told}\n wanted {wanted}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_invalid_policy_is_reported_once() {
    let folder = Folder::new();
    let error = folder.load(&format!(
        "{ONE}|policies = ['p']|[policy.p]|file = 'none.json'"
    ));
    assert_eq!(error.unwrap_err().faults().len(), 1);
}

#[test]
fn what_is_no_file_of_text_is_refused() {
    let folder = Folder::new();
    fs::write(folder.0.join("odd.toml"), [0xFF]).unwrap();
    for (name, rule) in [
        ("", "expected a regular file"),
        ("none.toml", "none.toml: cannot be read: No such file"),
        (
            "odd.toml",
            "odd.toml: cannot be read: stream did not contain valid UTF-8",
        ),
    ] {
        let path = folder.0.join(name);
        let error = load_credentials(&path, "123456789012", None).unwrap_err();
        assert!(error.to_string().contains(rule), "{error}");
    }
}

#[test]
fn as_many_principals_as_there_may_be_load_and_one_more_does_not() {
    let folder = Folder::new();
    let text = |count: usize| {
        let one = |nth| {
            format!(
                "[[principal]]|name = 'n{nth}'|access_key_id = 'A{nth}'|secret_access_key = '0123456789abcdef'|"
            )
        };
        (0..count).map(one).collect::<String>()
    };
    let loaded = folder.load(&text(PRINCIPALS_MAX)).unwrap();
    assert_eq!(loaded.credentials.len(), PRINCIPALS_MAX);
    let error = folder.load(&text(PRINCIPALS_MAX + 1)).unwrap_err();
    assert_eq!(error.faults().len(), 1);
    assert!(
        error
            .to_string()
            .ends_with("principal = 65537 principals: expected at most 65536"),
        "{error}"
    );
}
