//! `heliograph things check` and `heliograph things import`, on files.

use crate::process::{command, directory};
use crate::things::fleet::{Certified, HOST, authority, certify, file, params, write_list};
use rcgen::{CertifiedIssuer, KeyPair};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};
use testkit::Directory;

/// A directory with a credentials file and what it names.
struct Files {
    directory: Directory,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Files {
    fn new() -> Self {
        let directory = directory();
        let authority = authority("devices");
        let text = file(&directory, &authority, HOST);
        let files = Self {
            directory,
            authority,
        };
        files.write("credentials.toml", &text);
        files
    }

    fn path(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.directory.join(name), text).expect("written");
        self.path(name)
    }

    /// The answer about a certificate: the exit code, and the text without the directory.
    fn check(&self, certified: &Certified, more: &[&str]) -> (Option<i32>, String) {
        let [certificate, _] = certified.write(&self.directory);
        let certificate = certificate.display().to_string();
        self.check_file(&certificate, more)
    }

    fn check_file(&self, certificate: &str, more: &[&str]) -> (Option<i32>, String) {
        let credentials = self.path("credentials.toml");
        #[rustfmt::skip] // a list
        let own = ["things", "check", certificate, "--credentials", &credentials];
        let (code, said) = run(&[&own[..], more].concat());
        let directory = format!("{}/", self.directory.display());
        (code, said.replace(&directory, ""))
    }

    fn import(&self, files: &[String]) -> (Option<i32>, String) {
        let files = files.iter().map(String::as_str);
        let arguments: Vec<&str> = ["things", "import"].into_iter().chain(files).collect();
        run(&arguments)
    }
}

/// Runs the binary; returns its exit code, and all that it said.
fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let ended = command().args(arguments).output().expect("it runs");
    let said = [ended.stdout, ended.stderr].concat();
    (ended.status.code(), String::from_utf8(said).expect("text"))
}

const ALIASES: &str = "  role alias KvsCameraIoTRoleAlias: allowed, role camera\n";

#[test]
fn what_a_certificate_may_do_is_told() {
    let files = Files::new();
    let own = certify(&files.authority, &params("cam-1", 1));
    let (code, said) = files.check(&own, &[]);
    assert_eq!(code, Some(0), "{said}");
    let begin = format!(
        "certificate {}\nthing cam-1, by an authority\n{ALIASES}",
        own.id()
    );
    testkit::assert_begins(&said, &begin);
    let wanted = "  role alias forbidden: refused: iot: no statement for";
    testkit::assert_has(&said, &[wanted]);
    let foreign = certify(&authority("aws"), &params("AWS IoT Certificate", 1));
    let id = foreign.id();
    files.write(
        "things.csv",
        &format!("{id},cam-7,camera\n{id},bell-7\n,bell-9,,inactive\n"),
    );
    let (code, said) = files.check(&foreign, &[]);
    assert_eq!(code, Some(0), "{said}");
    for thing in ["cam-7", "bell-7"] {
        let wanted = format!("thing {thing}, by the registry\n{ALIASES}");
        testkit::assert_has(&said, &[&wanted]);
    }
    let (code, said) = files.check(&foreign, &["--thing", "bell-7"]);
    assert_eq!((code, said.contains("cam-7")), (Some(0), false), "{said}");
}

/// Certificates that are refused where bell-9 is switched off, with flags and the reasons.
fn refused(files: &Files) -> [(Certified, &'static [&'static str], &'static str); 3] {
    let day = Duration::from_secs(24 * 60 * 60);
    let mut ended = params("cam-1", 1);
    ended.not_before = (SystemTime::now() - 2 * day).into();
    ended.not_after = (SystemTime::now() - day).into();
    [
        (
            certify(&files.authority, &ended),
            &[],
            "the certificate has expired",
        ),
        (
            certify(&files.authority, &params("cam-1", 1)),
            &["--thing", "cam-2"],
            "does not belong to the thing that was named",
        ),
        (
            certify(&files.authority, &params("bell-9", 1)),
            &[],
            "the thing is inactive in the registry",
        ),
    ]
}

#[test]
fn the_reason_for_which_a_certificate_is_refused_is_told() {
    let files = Files::new();
    let good = certify(&files.authority, &params("cam-1", 1));
    files.write("things.csv", ",bell-9,,inactive\n");
    let tells = |said: (Option<i32>, String), why: &str| {
        let (code, said) = said;
        assert_eq!(code, Some(2), "{why}: {said}");
        assert!(said.contains(why), "{why}: {said}");
    };
    for (certified, more, why) in &refused(&files) {
        tells(files.check(certified, more), why);
    }
    write_list(&files.directory, &files.authority, &[1]);
    tells(files.check(&good, &[]), "has revoked it");
    files.write("things.csv", &format!("{},cam-1\n", good.id()));
    tells(files.check(&good, &[]), "has revoked it");
    write_list(&files.directory, &files.authority, &[]);
    files.write("things.csv", &format!("{},cam-1,,inactive\n", good.id()));
    tells(
        files.check(&good, &[]),
        "the certificate is inactive in the registry",
    );
    let none = files.write("none.pem", "-----BEGIN KEY-----\n");
    tells(
        files.check_file(&none, &[]),
        "must be a PEM file with a certificate",
    );
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        (["rsa:1024", ""], "its RSA key has 1024 bits, expected 2048 and more"),
        (["ec", "ec_paramgen_curve:secp224r1"], "which is not verified"),
    ];
    for (key, why) in cases {
        let weak = openssl(&files.directory, key);
        tells(files.check_file(&weak, &[]), why);
    }
}

/// A certificate with a key that rcgen does not make.
fn openssl(directory: &Path, [key, option]: [&str; 2]) -> String {
    let path = |name: &str| directory.join(name).display().to_string();
    let mut command = std::process::Command::new("openssl");
    #[rustfmt::skip] // a list
    command.args(["req", "-x509", "-nodes", "-subj", "/CN=cam-1", "-newkey", key]);
    if !option.is_empty() {
        command.args(["-pkeyopt", option]);
    }
    let (certificate, key) = (path("weak.pem"), path("weak.key"));
    command.args(["-keyout", &key, "-out", &certificate]);
    let made = command.output().expect("openssl, of deploy/ci/check.sh");
    assert!(made.status.success(), "{made:?}");
    certificate
}

#[test]
fn pages_of_the_aws_cli_become_a_registry() {
    let files = Files::new();
    let certified = certify(&authority("aws"), &params("AWS IoT Certificate", 1));
    let [certificate, _] = certified.write(&files.directory);
    let (id, other) = (certified.id(), "ab".repeat(32));
    let arn = |id: &str| format!("arn:aws:iot:us-west-2:123456789012:cert/{id}");
    let thing = |name: &str, kind: Option<&str>| json!({"thingName": name, "thingTypeName": kind, "version": 1});
    // Two pages, one behind the other, as the CLI prints them.
    let things = json!({"things": [thing("cam-1", Some("camera"))], "nextToken": "x"}).to_string()
        + &json!({"things": [thing("bell-1", None)]}).to_string();
    let principals = [
        json!({"thingName": "cam-1", "principals": [arn(&id), "us-west-2:a-cognito-identity"]}),
        json!({"thingName": "bell-1", "principals": [arn(&id), arn(&other)]}),
    ];
    let principals = principals.map(|one| one.to_string()).join("\n");
    let certificates = json!({"certificates": [
        {"certificateId": id, "certificateArn": arn(&id), "status": "ACTIVE"},
        {"certificateId": other, "certificateArn": arn(&other), "status": "REVOKED"},
    ]});
    let mut inputs = vec![
        files.write("things.json", &things),
        files.write("principals.json", &principals),
        files.write("certificates.json", &certificates.to_string()),
        certificate.display().to_string(),
    ];
    let mut wanted = [
        format!("{other},bell-1,,inactive"),
        format!("{id},bell-1"),
        format!("{id},cam-1,camera"),
    ];
    wanted.sort();
    let (code, said) = files.import(&inputs);
    assert_eq!(code, Some(0), "{said}");
    let lines: Vec<&str> = said.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines, wanted);
    let registry = files.path("imported.csv");
    inputs.extend(["--out".to_owned(), registry.clone()]);
    let (code, told) = files.import(&inputs);
    assert_eq!(code, Some(0));
    assert_eq!(told, format!("{registry}: 3 certificates\n"));
    assert_eq!(fs::read_to_string(&registry).expect("written"), said);
    // A server reads the registry that was imported.
    fs::copy(&registry, files.directory.join("things.csv")).expect("copied");
    let (code, said) = files.check(&certified, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("thing cam-1, by the registry\n"), "{said}");
}

/// Whether certificates' ids are what they are taken for shows in the certificates alone.
#[test]
fn an_import_stops_at_every_fault_and_writes_nothing() {
    let files = Files::new();
    let certified = certify(&authority("aws"), &params("AWS IoT Certificate", 1));
    let [certificate, _] = certified.write(&files.directory);
    let certificate = certificate.display().to_string();
    let arn = |id: &str| format!("arn:aws:iot:us-west-2:123456789012:cert/{id}");
    let out = files.path("imported.csv");
    let principals = |id: &str| json!({"thingName": "cam-1", "principals": [arn(id)]}).to_string();
    let other = principals(&"ab".repeat(32));
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        (other.clone(), "which no document names"),
        (principals("abc"), "its id must be 64 hexadecimal digits"),
        (other.replace("cam-1", "cam 1"), "thing cam 1: must be 1 to 128"),
        (json!({"rules": []}).to_string(), "document 1: it is none of these"),
        (format!("{}{{", principals(&certified.id())), "document 2:"),
    ];
    for (text, fault) in cases {
        let file = files.write("principals.json", &text);
        let inputs = [file, certificate.clone(), "--out".to_owned(), out.clone()];
        let (code, said) = files.import(&inputs);
        assert_eq!(code, Some(2), "{said}");
        testkit::assert_has(&said, &[fault, "nothing was written"]);
        assert!(!Path::new(&out).exists(), "{fault}");
    }
}

#[test]
fn policies_are_asked_about_one_certificate_of_a_thing() {
    let files = Files::new();
    let foreign = authority("aws");
    let [plain, barred] = [1, 2].map(|serial| certify(&foreign, &params("any", serial)));
    let own = certify(&files.authority, &params("cam-2", 7));
    let lines = format!(
        "{},cam-1\n{},cam-1,camera,,camera\n",
        plain.id(),
        barred.id()
    );
    files.write("things.csv", &lines);
    write_list(&files.directory, &files.authority, &[7]);
    let credentials = files.path("credentials.toml");
    let asks = |thing: &str, certified: Option<&Certified>| {
        let resource = format!("arn:aws:kinesisvideo:us-west-2:123456789012:channel/{thing}/1");
        let mut line = vec!["policy", "test", "--credentials", &credentials, "--as"];
        #[rustfmt::skip] // a list
        line.extend(["role/camera", "--action", "ConnectAsMaster", "--thing", thing]);
        line.extend(["--resource", &resource]);
        let certificate = certified.map(|it| it.write(&files.directory)[0].display().to_string());
        line.extend(certificate.iter().flat_map(|path| ["--cert", path]));
        run(&line)
    };
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        ("cam-1", Some(&plain), 0, "signs in: allowed\n"),
        ("cam-1", Some(&barred), 1, "signs in: denied: camera: no statement for"),
        ("cam-1", None, 1, "another certificate of the thing may: ask with --cert FILE"),
        ("cam-2", None, 0, "signs in: allowed\n"),
        ("cam-2", Some(&own), 1, "its authority has revoked it"),
        ("cam-2", Some(&plain), 1, "does not belong to the thing that was named, but to cam-1"),
    ];
    for (thing, certified, code, told) in cases {
        let (ended, said) = asks(thing, certified);
        assert!(
            ended == Some(code) && said.contains(told),
            "{told}: {ended:?} {said}"
        );
    }
}
