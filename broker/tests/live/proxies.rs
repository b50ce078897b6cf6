//! Clients behind the proxies of `deploy/proxy`, as Debian packages them: quiet ones stay, their addresses are known,
//! and a drain reaches them.

use crate::http::get;
use crate::peer::{Peer, candidate_to, master_query, offer, to_master, to_viewer, viewer_query};
use crate::process::{Broker, arn, directory};
use rcgen::generate_simple_self_signed;
use rustls::{ClientConfig, RootCertStore};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use testkit::{Directory, until_true};

/// More than two of the minutes after which a proxy ends what is silent.
const QUIET: Duration = Duration::from_secs(130);

/// Where the clients are, which no network of proxies has.
const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// A shipped configuration, with the places of a test in place of its own.
struct Proxy {
    process: Child,
    directory: Directory,
    port: u16,
    certificate: rustls::pki_types::CertificateDer<'static>,
}

impl Proxy {
    /// `words`: of the file, with what takes their place; `TLS` and `HERE` are its port and its directory.
    fn start(program: &str, file: &str, words: &[(&str, String)], arguments: &[&str]) -> Self {
        let directory = directory();
        let here = directory.to_str().expect("a path in UTF-8").to_owned();
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = free.local_addr().expect("its address").port();
        drop(free);
        let made = generate_simple_self_signed(["localhost".into(), "127.0.0.1".into()]);
        let made = made.expect("a certificate");
        fs::write(directory.join("server.pem"), made.cert.pem()).expect("a file under target/");
        fs::write(
            directory.join("server.key"),
            made.signing_key.serialize_pem(),
        )
        .expect("a file");
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/proxy/");
        let mut text = fs::read_to_string(format!("{path}{file}")).expect("a file of deploy/proxy");
        for (word, instead) in words {
            assert!(text.contains(word), "{word} is in {file}");
            text = text.replace(word, instead);
        }
        let text = text
            .replace("TLS", &port.to_string())
            .replace("HERE", &here);
        let config = directory.join(file);
        fs::write(&config, text).expect("a file under target/");
        let log = fs::File::create(directory.join("log")).expect("a file under target/");
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", program])
            .args(arguments)
            .arg(&config);
        command
            .env("HOME", &here)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let process = command.spawn().expect("deploy/ci/check.sh installs it");
        until_true("the proxy", || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        });
        Self {
            process,
            directory,
            port,
            certificate: made.cert.into(),
        }
    }

    fn nginx(broker: SocketAddr) -> Self {
        #[rustfmt::skip] // a table, a case per row
        let words = [
            ("/run/nginx.pid", "HERE/nginx.pid".into()),
            ("worker_processes auto;", "daemon off; worker_processes 1;".into()),
            ("http {", temporary_places()),
            ("127.0.0.1:8080", broker.to_string()),
            ("listen 443", "listen 127.0.0.1:TLS".into()),
            ("/etc/heliograph", "HERE".into()),
        ];
        Self::start("nginx", "nginx.conf", &words, &["-e", "stderr", "-c"])
    }

    fn caddy(broker: SocketAddr) -> Self {
        #[rustfmt::skip] // a table, a case per row
        let words = [
            ("\tadmin off", "\tadmin off\n\tauto_https disable_redirects".into()),
            ("https://signaling.example.com", "https://localhost:TLS".into()),
            ("/etc/heliograph", "HERE".into()),
            ("127.0.0.1:8080", broker.to_string()),
        ];
        let arguments = ["run", "--adapter", "caddyfile", "--config"];
        Self::start("caddy", "Caddyfile", &words, &arguments)
    }

    fn haproxy(broker: SocketAddr) -> Self {
        #[rustfmt::skip] // a table, a case per row
        let words = [
            ("    fd-hard-limit 200000          # two for each client", "    maxconn 100".into()),
            ("bind :443", "bind 127.0.0.1:TLS".into()),
            ("127.0.0.1:8443", broker.to_string()),
        ];
        Self::start("haproxy", "haproxy.cfg", &words, &["-db", "-f"])
    }

    /// A client that trusts the proxy's certificate.
    fn client(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS 1.2 and 1.3");
        Arc::new(client.with_root_certificates(roots).with_no_client_auth())
    }

    /// A client from [`CLIENT`].
    fn peer(&self, query: &str, client: &Arc<ClientConfig>) -> Peer {
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        Peer::secure_from(CLIENT.into(), to, query, Arc::clone(client))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if thread::panicking() {
            eprintln!(
                "{}",
                fs::read_to_string(self.directory.join("log")).unwrap_or_default()
            );
        }
    }
}

/// What nginx writes to without being asked, in the test's directory.
fn temporary_places() -> String {
    let places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let places = places.map(|place| format!("    {place}_temp_path HERE/{place};\n"));
    format!("http {{\n{}", places.concat())
}

/// One master that only sends, one viewer that only receives, and one that is silent, for [`QUIET`]; then a drain.
fn stay_and_drain(broker: &Broker, proxy: &Proxy, client: &Arc<ClientConfig>, from: &str) {
    let arn = arn(from);
    let mut sends = proxy.peer(&master_query(&arn), client);
    let mut receives = proxy.peer(&viewer_query(&arn, "receives"), client);
    let silent = proxy.peer(&viewer_query(&arn, "silent"), client);
    let end = Instant::now() + QUIET;
    let pauses = thread::spawn(move || {
        let mut silent = silent;
        let texts = silent.texts_until(end);
        (silent, texts)
    });
    let mut number = 0;
    while Instant::now() < end {
        number += 1;
        let payload = format!("p{number}");
        sends.send(&candidate_to("receives", &payload));
        receives.expect(&to_viewer("ICE_CANDIDATE", &payload));
        // Both read, so that pings are answered, and hear nothing else.
        let pause = Instant::now() + Duration::from_secs(10);
        assert_eq!(sends.texts_until(pause), []);
    }
    let (mut silent, texts) = pauses.join().expect("its texts");
    assert_eq!(texts, [], "the silent one");
    silent.send(&offer("late"));
    sends.expect(&to_master("SDP_OFFER", "late", "silent"));
    let channels = get(broker.admin, &format!("/channels/{from}")).json();
    let remote = channels["master"]["remote"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert!(remote.starts_with("127.0.0.9:"), "{channels}");
    broker.signal("TERM");
    for mut peer in [sends, receives, silent] {
        peer.expect_close_within(1001, Duration::from_secs(30));
    }
}

#[test]
#[ignore = "needs the nginx that deploy/ci/check.sh installs, and two minutes"]
fn quiet_clients_stay_behind_nginx() {
    let broker = Broker::configured("[proxy]\nforwarded_from = [\"127.0.0.1\"]\n", 2);
    let proxy = Proxy::nginx(broker.plain);
    stay_and_drain(&broker, &proxy, &proxy.client(), "nginx");
}

#[test]
#[ignore = "needs the caddy that deploy/ci/check.sh installs, and two minutes"]
fn quiet_clients_stay_behind_caddy() {
    let broker = Broker::configured("[proxy]\nforwarded_from = [\"127.0.0.1\"]\n", 2);
    let proxy = Proxy::caddy(broker.plain);
    stay_and_drain(&broker, &proxy, &proxy.client(), "caddy");
}

#[test]
#[ignore = "needs the haproxy that deploy/ci/check.sh installs, and two minutes"]
fn quiet_clients_stay_behind_haproxy_by_the_proxy_protocol() {
    let broker = Broker::configured("[proxy]\nprotocol_from = [\"127.0.0.1\"]\n", 2);
    let proxy = Proxy::haproxy(broker.tls);
    let client = crate::peer::client_config(&broker);
    stay_and_drain(&broker, &proxy, &client, "haproxy");
}

/// Why the pings come earlier than a minute.
#[test]
#[ignore = "needs the nginx that deploy/ci/check.sh installs, and a minute"]
fn with_pings_once_a_minute_nginx_ends_a_silent_client_and_the_trace_names_it() {
    let broker = Broker::configured("[timeouts]\nping = \"1m\"\n", 2);
    let proxy = Proxy::nginx(broker.plain);
    let mut master = proxy.peer(&master_query(&arn("cut")), &proxy.client());
    let texts = master.texts_until(Instant::now() + Duration::from_secs(70));
    assert_eq!(texts.len(), 1, "its end alone: {texts:?}");
    until_true("the trace", || {
        let trace = get(broker.admin, "/channels/cut/trace").json();
        let hint = trace["master"][0]["hints"][0].as_str().unwrap_or_default();
        hint.contains("60 s") && hint.contains("nginx (proxy_read_timeout)")
    });
}
