//! A development server for other machines: what `--allow-remote` and `--dev-host` permit, and what they do not.

use crate::http::{call, create, exchange, get};
use crate::peer::client_config;
use crate::process::{Broker, directory, run_to_end};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use serde_json::json;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

/// Checks these flags with a configuration file of this text; whether they are accepted, and what was said.
fn checked(text: &str, flags: &[&str]) -> (bool, String) {
    let directory = directory();
    let file = directory.join("broker.toml");
    fs::write(&file, text).expect("a file under target/");
    let file = file.to_str().expect("a path in UTF-8");
    let (code, said) = run_to_end(&[&["check-config", file], flags].concat());
    (code == Some(0), said)
}

#[test]
fn listeners_off_loopback_need_allow_remote() {
    #[rustfmt::skip] // a list
    let open = ["--listen", "http://0.0.0.0:8080", "--listen", "https://[::]:8443"];
    let dev = [&["--dev"], &open[..]].concat();
    let (accepted, said) = checked("", &dev);
    assert!(
        !accepted && said.contains("--allow-remote permits others"),
        "{said}"
    );
    let (accepted, said) = checked("", &[&dev[..], &["--allow-remote"]].concat());
    assert!(accepted, "{said}");
    // It is a matter of --dev alone, and says nothing of the admin listener, which gives away more.
    #[rustfmt::skip] // a list
    let (accepted, said) = checked(
        "",
        &["--auth", "none", "--allow-remote", "--listen", "http://0.0.0.0:8080"],
    );
    assert!(!accepted && said.contains("--dev"), "{said}");
    let admin = ["--dev", "--allow-remote", "--admin", "0.0.0.0:8090"];
    let (accepted, said) = checked("", &admin);
    assert!(!accepted && said.contains("admin.token_file"), "{said}");
}

#[test]
fn the_admin_listener_off_loopback_needs_its_token() {
    let directory = directory();
    let token = directory.join("token");
    fs::write(&token, "a-token-of-32-characters-or-more\n").expect("a file under target/");
    let text = format!("[admin]\ntoken_file = {token:?}\n");
    let flags = ["--dev", "--allow-remote", "--admin", "0.0.0.0:8090"];
    let (accepted, said) = checked(&text, &flags);
    assert!(accepted, "{said}");
    let (accepted, said) = checked(&text, &["--dev", "--admin", "0.0.0.0:8090"]);
    assert!(
        !accepted && said.contains("without --allow-remote"),
        "{said}"
    );
}

#[test]
fn a_host_of_its_own_is_in_the_certificate_the_host_check_and_the_origins() {
    #[rustfmt::skip] // a list
    let flags = [
        "--dev", "--allow-remote", "--dev-host", "bench.test", "--dev-host", "192.0.2.7", "--listen",
        "http://127.0.0.1:0", "--listen", "https://127.0.0.1:0",
    ];
    let broker = Broker::start(&flags, 1);
    broker.logged(&["--allow-remote", "any channel"], 1);
    for host in ["bench.test", "192.0.2.7", "localhost"] {
        let call = format!(
            "POST /listSignalingChannels HTTP/1.1\r\nHost: {host}:8080\r\nOrigin: http://{host}:8090\r\n\
             Content-Length: 2\r\n\r\n{{}}"
        );
        let answer = exchange(broker.plain, call.as_bytes());
        assert_eq!(answer.status, 200, "{host}: {answer:?}");
        assert_eq!(
            status_over_tls(&broker, broker.tls, host),
            Ok(404),
            "{host}"
        );
    }
    let foreign =
        b"POST /listSignalingChannels HTTP/1.1\r\nHost: bench.test\r\nOrigin: http://evil.test\r\n\
        Content-Length: 2\r\n\r\n{}";
    assert_eq!(exchange(broker.plain, foreign).status, 403);
    let refused = status_over_tls(&broker, broker.tls, "other.test").expect_err("a name of nobody");
    assert!(refused.contains("not valid for name"), "{refused}");
    let visit = b"GET / HTTP/1.1\r\nHost: bench.test\r\nAccept: text/html\r\n\r\n";
    assert!(
        exchange(broker.plain, visit)
            .text()
            .contains("--allow-remote")
    );
    let config = get(broker.admin, "/config").json();
    assert_eq!(config["allow_remote"], true);
    assert_eq!(
        config["dev_hosts"],
        serde_json::json!(["bench.test", "192.0.2.7"])
    );
}

/// Names below a domain work at a development server as it is: discovery has its port, its certificate has them.
#[test]
fn names_below_a_domain_lead_to_a_development_server() {
    let (below, listen) = ("[advertise]\ndomain = \"kvs.localhost\"\n", "127.0.0.1:0");
    let (plain, tls) = (format!("http://{listen}"), format!("https://{listen}"));
    let flags = ["--dev", "--listen", &plain, "--listen", &tls];
    let broker = Broker::configured_as(below, &flags, 1);
    let arn = create(broker.plain, "below", 60);
    for (role, start) in [("MASTER", "wss://m-"), ("VIEWER", "wss://v-")] {
        let wanted = json!({"Protocols": ["WSS", "HTTPS"], "Role": role});
        let body = json!({"ChannelARN": arn, "SingleMasterChannelEndpointConfiguration": wanted});
        let answer = call(broker.plain, "/getSignalingChannelEndpoint", &body).ok();
        for (entry, start) in [(0, start), (1, "https://r-")] {
            let url = answer["ResourceEndpointList"][entry]["ResourceEndpoint"].as_str();
            let url = url.expect("a URL");
            let end = format!(".kvs.localhost:{}", broker.tls.port());
            assert!(url.starts_with(start) && url.ends_with(&end), "{url}");
            let (_, host) = url.split_once("://").expect("a scheme");
            let (name, _) = host.split_once(':').expect("a port");
            assert_eq!(
                status_over_tls(&broker, broker.tls, name),
                Ok(404),
                "{name}"
            );
        }
    }
    let elsewhere = "[advertise]\ndomain = \"kvs.test\"\n";
    let broker = Broker::configured_as(elsewhere, &flags, 1);
    broker.logged(&["*.kvs.test must resolve to this machine"], 1);
    let (accepted, said) = checked("[advertise]\ndomain = \"localhost\"\n", &["--dev"]);
    assert!(
        !accepted && said.contains("such as kvs.localhost"),
        "{said}"
    );
}

/// The status of an unknown path at this address, asked by a client that verifies the certificate for this name.
pub(crate) fn status_over_tls(broker: &Broker, to: SocketAddr, name: &str) -> Result<u16, String> {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let client = ClientConnection::new(client_config(broker), name).expect("a client");
    let socket = TcpStream::connect(to).expect("a connection");
    let mut stream = StreamOwned::new(client, socket);
    stream
        .write_all(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .map_err(|error| error.to_string())?;
    let mut answer = [0; 12];
    stream
        .read_exact(&mut answer)
        .map_err(|error| error.to_string())?;
    String::from_utf8_lossy(&answer)[9..]
        .parse()
        .map_err(|_| "no status".to_owned())
}
