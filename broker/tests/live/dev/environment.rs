//! The environment of the clients of a test: the ready file, `heliograph env`, `--plain`, a data directory in memory.

use crate::http::{create, get};
use crate::process::{Broker, DEV, command};
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::Duration;
use testkit::{ended_within, until};

/// Anybody may listen at the port of an admin listener: neither the terminal nor a shell obeys them.
#[test]
fn a_stranger_in_place_of_a_broker_is_not_believed() {
    let variables = r#"{"AWS_REGION":"us-west-2","LD_PRELOAD":"/tmp/x.so","A;reboot;B":"x","CONTROL_PLANE_URI":"a\nb"}"#;
    let html = "<h1>\u{1b}[2JNot here</h1>\n";
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        ("200 OK", variables, 0, "AWS_REGION=us-west-2\n"),
        ("404 Not Found", html, 1, "is not a broker"),
        ("200 OK", html, 1, "is not a broker"),
        ("500 \u{1b}[2J", "{\"error\":\"\u{1b}[2J\"}", 1, "is not a broker"),
    ];
    for (status, body, code, said) in cases {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let admin = format!("http://{}", listener.local_addr().expect("an address"));
        let output = thread::scope(|scope| {
            scope.spawn(move || {
                let (mut stream, _) = listener.accept().expect("it is asked");
                let mut request = [0; 1024];
                let _ = stream.read(&mut request);
                let _ = write!(stream, "HTTP/1.0 {status}\r\n\r\n{body}");
            });
            let mut env = command();
            env.args(["env", "--format", "github", "--admin", &admin]);
            env.output().expect("heliograph env runs")
        });
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(said) && !text.contains('\u{1b}'), "{text:?}");
        if code == 0 {
            assert_eq!(text, said, "nothing else");
        }
    }
}

#[test]
fn the_environment_names_endpoints_keys_and_trust() {
    let broker = Broker::dev(1);
    let print = |format: &str| {
        let exit = broker.asked(&["env", "--format", format]);
        assert_eq!(exit.code, Some(0), "{exit:?}");
        exit.stdout
    };
    let variables: Value = serde_json::from_str(&print("json")).expect("JSON");
    let endpoint = format!("https://localhost:{}", broker.tls.port());
    assert_eq!(
        variables["AWS_ENDPOINT_URL_KINESIS_VIDEO"],
        endpoint.as_str()
    );
    assert_eq!(variables["AWS_ACCESS_KEY_ID"], "test");
    let ca = variables["AWS_CA_BUNDLE"].as_str().expect("a path");
    assert_eq!(Some(Path::new(ca)), broker.authority.as_deref());
    assert_eq!(variables, get(broker.admin, "/dev/environment").json());
    let shell = std::process::Command::new("sh")
        .args([
            "-c",
            "eval \"$0\" && printf %s \"$AWS_ENDPOINT_URL_KINESIS_VIDEO\"",
            &print("sh"),
        ])
        .output()
        .expect("sh runs");
    assert_eq!(String::from_utf8_lossy(&shell.stdout), endpoint);
    assert!(print("github").contains("AWS_REGION=us-west-2\n"));
    assert!(print("dotenv").contains("AWS_REGION=\"us-west-2\"\n"));
    let refused = Broker::strict_channels(1).asked(&["env"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("needs --dev"), "{refused:?}");
}

#[test]
fn the_ready_file_is_whole_and_a_directory_in_memory_ends_with_the_process() {
    let ready = std::env::temp_dir().join(format!("heliograph-ready-{}", std::process::id()));
    let _ = fs::remove_file(&ready);
    #[rustfmt::skip] // a list
    let mut child = command()
        .args(["serve", "--shards", "1", "--admin", "127.0.0.1:0", "--data-dir", ":memory:"])
        .args(DEV)
        .arg("--ready-file")
        .arg(&ready)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the broker starts");
    let text = until("the ready file", || fs::read_to_string(&ready).ok());
    let _ = fs::remove_file(&ready);
    let file: Value = serde_json::from_str(&text).expect("a whole file");
    assert_eq!(file["pid"], child.id());
    let listen = file["listen"].as_array().expect("a list");
    let plain = listen[0]
        .as_str()
        .and_then(|url| url.strip_prefix("http://"))
        .expect("plain");
    let ca = PathBuf::from(file["ca"].as_str().expect("a path"));
    let directory = ca.parent().expect("a directory").to_owned();
    assert!(
        ca.is_file() && directory.join("lock").is_file(),
        "{}",
        directory.display()
    );
    create(plain.parse().expect("an address"), "cam", 60);
    assert_eq!(file["environment"]["AWS_CA_BUNDLE"], file["ca"]);
    let pid = child.id().to_string();
    let killed = std::process::Command::new("kill")
        .args(["-TERM", &pid])
        .status();
    assert!(killed.is_ok_and(|status| status.success()));
    let ended = ended_within(&mut child, Duration::from_secs(10)).expect("it ends");
    assert!(ended.success(), "{ended:?}");
    assert!(!directory.exists(), "{}", directory.display());
}
