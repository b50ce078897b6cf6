//! Devices with certificates on the TLS of others: AWS's own helper for boto3 (s2n), mbedTLS as small devices have it,
//! and GnuTLS. rustls is in `things/`, OpenSSL there too, by curl.

use super::{alone, python_script, run, scripts};
use crate::peer::master_query;
use crate::process::{Broker, arn, directory};
use crate::things::fleet::{ALIAS, Fleet, authority, certify, params};
use serde_json::Value;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use testkit::Directory;

/// The helper resolves names by the system, which knows this one everywhere.
const HOST: &str = "localhost";

#[test]
#[ignore = "needs the clients that deploy/ci/check.sh installs"]
fn awsiot_credentialhelper() {
    for shards in [1, 2] {
        let fleet = Fleet::at(HOST, shards);
        fleet.certify("cam-1", 1).write(&fleet.directory);
        let mut script = python_script("test_things");
        script.env("HELIOGRAPH_DEVICE", &fleet.directory);
        run(script, &fleet.service.broker);
        fleet.end();
    }
}

/// A certificate of the authority, and one that only the registry knows.
#[test]
#[ignore = "needs the clients that deploy/ci/check.sh installs"]
fn mbedtls() {
    let program = compiled(
        "device_mbedtls.c",
        &["-lmbedtls", "-lmbedx509", "-lmbedcrypto"],
    );
    each_device(|device, thing| {
        let mut command = Command::new(program.join("program"));
        command.args([HOST, &device.port]).arg(&device.authority);
        let [certificate, key] = &device.own;
        command.args([certificate, key]).args([&device.path, thing]);
        let ended = command.output().expect("it runs");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success(), "{said}");
        assert_eq!(said.trim(), "TLSv1.2");
        String::from_utf8(ended.stdout).expect("text")
    });
}

/// A camera whose library has one suite, RSA, P-256, and a buffer for records of 4,096 bytes.
#[test]
#[ignore = "needs the clients that deploy/ci/check.sh installs"]
fn mbedtls_in_its_small_profile_is_upgraded_by_a_development_server() {
    let libraries = ["-lmbedtls", "-lmbedx509", "-lmbedcrypto"];
    let program = compiled("device_mbedtls.c", &libraries);
    let broker = Broker::dev(1);
    let path = format!("/?{}", master_query(&arn("small")));
    let said = testkit::until("the certificate with an RSA key", || {
        let mut command = Command::new(program.join("program"));
        command.args([HOST, &broker.tls.port().to_string()]);
        command.args(&broker.authority).arg(&path);
        let output = command.output().expect("it runs");
        output.status.success().then_some(output.stdout)
    });
    assert!(said.starts_with(b"HTTP/1.1 101 "), "{said:?}");
}

/// GnuTLS shows a certificate only if its authority is among those that are named, or none is.
#[test]
#[ignore = "needs the clients that deploy/ci/check.sh installs"]
fn gnutls() {
    for version in ["TLS1.2", "TLS1.3"] {
        each_device(|device, thing| {
            let [certificate, key] = device.own.each_ref().map(|path| path.display());
            let mut client = Command::new("gnutls-cli")
                .arg(format!("--priority=NORMAL:-VERS-ALL:+VERS-{version}"))
                .arg(format!("--x509cafile={}", device.authority.display()))
                .args([
                    format!("--x509certfile={certificate}"),
                    format!("--x509keyfile={key}"),
                ])
                .args(["--logfile=/dev/null", "--port", &device.port, HOST])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("gnutls-cli, of deploy/ci/check.sh");
            let request = format!(
                "GET {} HTTP/1.1\r\nHost: {HOST}\r\nx-amzn-iot-thingname: {thing}\r\nConnection: close\r\n\r\n",
                device.path
            );
            let mut stdin = client.stdin.take().expect("piped");
            stdin.write_all(request.as_bytes()).expect("it reads");
            // It ends when the server does.
            let mut said = String::new();
            let mut stdout = client.stdout.take().expect("piped");
            stdout.read_to_string(&mut said).expect("text");
            drop(stdin);
            let ended = client.wait_with_output().expect("it ends");
            let errors = String::from_utf8_lossy(&ended.stderr);
            let begin = said.find("HTTP/1.1 ");
            let begin = begin.unwrap_or_else(|| panic!("{version}: {said}{errors}"));
            said.split_off(begin)
        });
    }
}

/// The arguments of a device.
struct Given {
    port: String,
    authority: PathBuf,
    own: [PathBuf; 2],
    path: String,
}

/// Has devices ask: one of the authority, one of the registry, and one as another thing.
fn each_device(ask: impl Fn(&Given, &str) -> String) {
    let fleet = Fleet::at(HOST, 1);
    let broker = &fleet.service.broker;
    let foreign = certify(&authority("aws"), &params("AWS IoT Certificate", 1));
    fleet.register(&format!("{},cam-1\n", foreign.id()));
    for certified in [fleet.certify("cam-1", 1), foreign] {
        let given = Given {
            port: broker.tls.port().to_string(),
            authority: broker.authority.clone().expect("an authority"),
            own: certified.write(&fleet.directory),
            path: format!("/role-aliases/{ALIAS}/credentials"),
        };
        let (status, body) = answer(&ask(&given, "cam-1"));
        assert_eq!(status, "200", "{body}");
        let id = body["credentials"]["accessKeyId"].as_str().expect("a key");
        assert!(id.starts_with("ASIA"), "{body}");
        let (status, body) = answer(&ask(&given, "cam-2"));
        assert_eq!(&*status, "403");
        assert_eq!(body["message"], "Invalid thing name passed");
    }
    fleet.end();
}

/// The status and the body of an answer.
fn answer(text: &str) -> (String, Value) {
    let (head, body) = text.split_once("\r\n\r\n").expect("an answer");
    let status = head.split(' ').nth(1).expect("a status").to_owned();
    let mut documents = serde_json::Deserializer::from_str(body).into_iter();
    let document = documents.next().expect("a body");
    (status, document.expect("JSON"))
}

/// A directory with the program of a file of deploy/conformance/c.
fn compiled(source: &str, libraries: &[&str]) -> Directory {
    let directory = directory();
    let mut compiler = Command::new("cc");
    compiler
        .args(["-Wall", "-Wextra", "-Werror", "-O1", "-o"])
        .arg(directory.join("program"))
        .arg(scripts("c").join(source))
        .args(libraries);
    alone(compiler);
    directory
}
