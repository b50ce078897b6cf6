//! `heliograph hook-test`, and the way to a receiver over TLS: the command names what is wrong. Another broker stands
//! for the receiver: of what it answers, `status 404` says that TLS was right.

use super::receiver::{Receiver, ok};
use super::{BOTH, broker_of};
use crate::listeners::tls::Identity;
use crate::peer::{Peer, offer};
use crate::process::{Broker, arn, run_to_end};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, SystemTime};
use testkit::until_true;

#[test]
fn the_command_tells_what_the_receiver_did() {
    let plain = Receiver::start(ok);
    let day = Duration::from_secs(24 * 60 * 60);
    let now = SystemTime::now();
    // This one ends while the broker runs.
    let end = now + Duration::from_secs(10);
    let old = Identity::valid("localhost", now - 9 * day, end);
    let expired = old.serve(1, "");
    let (identity, ours) = (Identity::new("localhost"), Identity::new("ours"));
    let strict = identity.serve(1, &format!("client_ca = {:?}\n", ours.ca));
    let url = |broker: &Broker| format!("https://localhost:{}/", broker.tls.port());
    fs::set_permissions(&ours.key, fs::Permissions::from_mode(0o600)).expect("our file");
    let trusting = format!("{BOTH}\nca = {:?}", identity.ca);
    let with_own = format!(
        "{trusting}\nclient_cert = {:?}\nclient_key = {:?}",
        ours.cert, ours.key
    );
    let trusting_old = format!("{BOTH}\nca = {:?}", old.ca);
    let broker = broker_of(
        &[
            ("plain", &plain.url("/"), BOTH),
            ("shown", &url(&strict), &with_own),
            ("unshown", &url(&strict), &trusting),
            ("unknown", &url(&strict), BOTH),
            ("expired", &url(&expired), &trusting_old),
            ("absent", "http://127.0.0.1:1/", BOTH),
        ],
        1,
    );
    let admin = format!("http://{}", broker.admin);
    until_true("its end", || {
        SystemTime::now() > end + Duration::from_secs(1)
    });
    for (hook, code, text) in [
        ("plain", 0, ""),
        ("shown", 1, "not delivered: status 404"),
        ("unshown", 1, "CertificateRequired"),
        ("unknown", 1, "UnknownIssuer"),
        ("expired", 1, "certificate expired"),
        ("absent", 1, "Connection refused"),
        ("other", 1, "404: no such hook: there are plain, shown"),
    ] {
        let (ended, told) = run_to_end(&["hook-test", hook, "--admin", &admin]);
        assert_eq!(ended, Some(code), "{hook}: {told}");
        assert!(told.contains(text), "{hook}: {told}");
    }
    plain.next("hook.test");
    let (ended, told) = run_to_end(&["hook-test", "plain", "--admin", "http://127.0.0.1:1"]);
    assert_eq!(ended, Some(1), "{told}");
    assert!(told.contains("is it running?"), "{told}");
}

/// AWS IoT Core takes HTTPS publishes with a device's certificate: `POST /topics/TOPIC?qos=1`, the slash of a topic as
/// `%2F`. Path and query arrive so, with the channel's name, at a receiver that demands the certificate.
#[test]
fn a_publish_arrives_as_iot_core_documents_it() {
    let (identity, ours) = (Identity::new("localhost"), Identity::new("ours"));
    fs::set_permissions(&ours.key, fs::Permissions::from_mode(0o600)).expect("our file");
    let (port, requests) = demanding(&identity, &ours);
    let url = format!("https://localhost:{port}/topics/wake%2F{{channel}}?qos=1&from={{channel}}");
    let lines = format!(
        "events = [\"wake\"]\nchannels = \"cam-*\"\nca = {:?}\nclient_cert = {:?}\nclient_key = {:?}",
        identity.ca, ours.cert, ours.key
    );
    let broker = broker_of(&[("iot", &url, &lines)], 1);
    let mut viewer = Peer::viewer(&broker, &arn("cam-1"), "v1");
    viewer.send(&offer("b2ZmZXI="));
    let first = requests
        .iter()
        .find(|request| request.contains("channel.wake"));
    let request = first.expect("the call");
    let line = request.lines().next().expect("a line");
    assert_eq!(line, "POST /topics/wake%2Fcam-1?qos=1&from=cam-1 HTTP/1.1");
}

/// A receiver that lets nobody in without a certificate of the authority of `client`: its port, and what it got.
fn demanding(own: &Identity, client: &Identity) -> (u16, mpsc::Receiver<String>) {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(&client.ca).expect("a certificate");
    roots.add(authority).expect("an authority");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
    let verifier = verifier.build().expect("a verifier");
    let chain = CertificateDer::pem_file_iter(&own.cert).expect("a chain");
    let chain = chain.map(|one| one.expect("a certificate")).collect();
    let key = PrivateKeyDer::from_pem_file(&own.key).expect("a key");
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .expect("a certificate and its key");
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let port = listener.local_addr().expect("bound").port();
    let (sender, requests) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let connection = ServerConnection::new(config.clone()).expect("a configuration");
            let mut stream = BufReader::new(StreamOwned::new(connection, stream));
            while let Some(request) = read_request(&mut stream) {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                let _ = stream.get_mut().write_all(answer);
                if sender.send(request).is_err() {
                    return;
                }
            }
        }
    });
    (port, requests)
}

/// A request, head and body.
fn read_request(stream: &mut impl BufRead) -> Option<String> {
    let (mut text, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok().filter(|read| *read > 0)?;
        text += &line;
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some(text + &String::from_utf8(body).ok()?)
}
