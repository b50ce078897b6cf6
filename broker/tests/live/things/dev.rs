//! The three commands of a newcomer: a broker, a test device, and curl.

use crate::http::create;
use crate::peer::{Peer, master_query};
use crate::process::{Broker, DEV, binary, directory};
use serde_json::Value;
use std::process::Command;

#[test]
fn a_test_device_is_issued_signs_in_with_curl_and_connects() {
    let directory = directory();
    let broker = Broker::again(
        &directory,
        &[&DEV[..], &["--admin", "127.0.0.1:0"]].concat(),
        1,
    );
    let data = directory.join("data");
    let issued = Command::new(binary())
        .args(["things", "issue", "cam-1", "--out"])
        .arg(&directory)
        .arg("--data-dir")
        .arg(&data)
        .output()
        .expect("it runs");
    assert!(issued.status.success(), "{issued:?}");
    let said = String::from_utf8(issued.stdout).expect("text");
    assert_eq!(said.lines().count(), 5, "{said}");
    let value = |name: &str| {
        let mut lines = said.lines();
        let begin = format!("export {name}='");
        let line = lines
            .find_map(|line| line.strip_prefix(&begin))
            .expect("a variable");
        line.trim_end_matches('\'').to_owned()
    };
    let host = value("AWS_IOT_CORE_CREDENTIAL_ENDPOINT");
    let port = broker.tls.port();
    for version in ["1.2", "1.3"] {
        let curl = Command::new("curl")
            .args(["--tls-max", version])
            .args(["--silent", "--show-error", "--fail-with-body", "--cacert"])
            .arg(broker.authority.as_deref().expect("an authority"))
            .args([
                "--cert",
                &value("AWS_IOT_CORE_CERT"),
                "--key",
                &value("AWS_IOT_CORE_PRIVATE_KEY"),
            ])
            .args([
                "--header",
                &format!("x-amzn-iot-thingname: {}", value("AWS_IOT_CORE_THING_NAME")),
            ])
            .args(["--resolve", &format!("{host}:{port}:127.0.0.1")])
            .arg(format!(
                "https://{host}:{port}/role-aliases/{}/credentials",
                value("AWS_IOT_CORE_ROLE_ALIAS")
            ))
            .output()
            .expect("curl");
        let told = String::from_utf8_lossy(&curl.stdout);
        assert!(curl.status.success(), "{told} {curl:?}");
        let told: Value = serde_json::from_str(&told).expect("JSON");
        let id = told["credentials"]["accessKeyId"].as_str().expect("a key");
        assert!(id.starts_with("ASIA"), "{told}");
    }
    let arn = create(broker.plain, "cam-1", 60);
    Peer::plain_at(broker.plain, &master_query(&arn)).close();
    let elsewhere = Command::new(binary())
        .args(["things", "issue", "cam-1", "--data-dir"])
        .arg(directory.join("none"))
        .output()
        .expect("it runs");
    assert_eq!(elsewhere.status.code(), Some(2));
    drop(broker);
}
