//! TURN credentials as the real coturn sees them: the broker mints them, `turnserver` on loopback allocates a relay
//! for each client that shows them, and for nobody else. Debian's packages start no service for this: the server is
//! the test's own.

use crate::http::{call, create};
use crate::process::{Broker, directory};
use aws_lc_rs::hmac;
use serde_json::json;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};
use testkit::{Directory, ended_within};

const REALM: &str = "turn.example.test";
const SECRET: &str = "north-wind";

/// `turnutils_uclient` paces itself: six seconds for a few messages.
const CLIENT_WITHIN: Duration = Duration::from_secs(45);
const TURN_READY_WITHIN: Duration = Duration::from_secs(15);

#[test]
#[ignore = "needs the coturn that deploy/ci/check.sh installs"]
fn credentials_of_the_shared_secret_allocate() {
    let turn = TurnServer::start(&format!("use-auth-secret\nstatic-auth-secret={SECRET}\n"));
    let broker = Broker::configured(&turn.ice("secret = \"north-wind\"\nttl = \"10m\""), 2);
    let given = Credentials::of(&broker);
    assert_eq!(given.port, turn.port);
    assert!(given.username.ends_with(":viewer-1"), "{}", given.username);

    let expired = format!("{}:viewer-1", seconds_since_1970() - 60);
    #[rustfmt::skip] // a table, a case per row
    let refused = [
        ("a wrong password", given.with_password("wrong")),
        ("another secret", given.with_password(&signed("south-wind", &given.username))),
        ("another name under the same password", given.with_username(&given.username.replace("viewer-1", "viewer-2"))),
        ("an expiry that has passed", given.with_username(&expired).with_password(&signed(SECRET, &expired))),
    ];
    for (what, credentials) in refused {
        let (relayed, said) = allocate(&credentials);
        assert!(
            !relayed && said.contains("Cannot complete Allocation"),
            "{what}: {said}"
        );
    }
    // After the refusals, so that they cannot have been a server that serves nobody.
    let (relayed, said) = allocate(&given);
    assert!(relayed, "{said}");
}

#[test]
#[ignore = "needs the coturn that deploy/ci/check.sh installs"]
fn the_first_of_two_secrets_signs() {
    let turn = TurnServer::start(&format!("use-auth-secret\nstatic-auth-secret={SECRET}\n"));
    let old_first = Broker::configured(
        &turn.ice("secret = [\"the-one-before\", \"north-wind\"]"),
        1,
    );
    let (relayed, said) = allocate(&Credentials::of(&old_first));
    assert!(!relayed, "{said}");
    let new_first = Broker::configured(
        &turn.ice("secret = [\"north-wind\", \"the-one-before\"]"),
        1,
    );
    let (relayed, said) = allocate(&Credentials::of(&new_first));
    assert!(relayed, "{said}");
}

#[test]
#[ignore = "needs the coturn that deploy/ci/check.sh installs"]
fn fixed_credentials_allocate() {
    let turn = TurnServer::start("lt-cred-mech\nuser=porch:let-me-in\n");
    let broker = Broker::configured(
        &turn.ice("username = \"porch\"\npassword = \"let-me-in\""),
        1,
    );
    let given = Credentials::of(&broker);
    let (relayed, said) = allocate(&given.with_password("let-me-out"));
    assert!(
        !relayed && said.contains("Cannot complete Allocation"),
        "{said}"
    );
    let (relayed, said) = allocate(&given);
    assert!(relayed, "{said}");
}

/// One entry of GetIceServerConfig.
#[derive(Clone)]
struct Credentials {
    port: u16,
    username: String,
    password: String,
}

impl Credentials {
    /// Asks the broker as a viewer does.
    fn of(broker: &Broker) -> Self {
        let arn = create(broker.plain, "demo", 60);
        let wanted = json!({"ChannelARN": arn, "ClientId": "viewer-1", "Service": "TURN"});
        let answer = call(broker.plain, "/v1/get-ice-server-config", &wanted).ok();
        let server = &answer["IceServerList"][0];
        let text = |name: &str| server[name].as_str().expect(name).to_owned();
        let uri = server["Uris"][0].as_str().expect("a URI");
        let port = uri
            .strip_prefix("turn:127.0.0.1:")
            .and_then(|rest| rest.strip_suffix("?transport=udp"))
            .and_then(|port| port.parse().ok());
        Self {
            port: port.unwrap_or_else(|| panic!("{uri} is not what was configured")),
            username: text("Username"),
            password: text("Password"),
        }
    }

    fn with_username(&self, username: &str) -> Self {
        Self {
            username: username.to_owned(),
            ..self.clone()
        }
    }

    fn with_password(&self, password: &str) -> Self {
        Self {
            password: password.to_owned(),
            ..self.clone()
        }
    }
}

/// Allocates two relays and sends a few messages from one to the other; whether all of them arrived, and what the
/// client said.
fn allocate(credentials: &Credentials) -> (bool, String) {
    let directory = directory();
    let file = File::create(directory.join("said")).expect("a file under target/");
    let port = credentials.port.to_string();
    let mut client = Command::new("turnutils_uclient")
        .args(["-u", &credentials.username, "-w", &credentials.password])
        .args(["-p", &port, "-n", "2", "-c", "-y", "127.0.0.1"])
        .stdin(Stdio::null())
        .stdout(file.try_clone().expect("a second handle"))
        .stderr(file)
        .spawn()
        .expect("deploy/ci/check.sh installs coturn");
    let status = ended_within(&mut client, CLIENT_WITHIN);
    let said = fs::read_to_string(directory.join("said")).unwrap_or_default();
    let relayed = status.is_some_and(|status| status.success())
        && said.contains("tot_send_msgs=4, tot_recv_msgs=4")
        && said.contains("Total lost packets 0 ");
    (relayed, said)
}

/// A `turnserver` with a configuration of its own. Dropping it kills it; when the test failed, its log is printed
/// first.
pub(crate) struct TurnServer {
    child: Child,
    port: u16,
    directory: Directory,
}

impl TurnServer {
    /// Starts one that checks credentials in this way. Its port was free a moment ago; should another process have
    /// taken it since, the next is tried.
    pub(crate) fn start(credentials: &str) -> Self {
        for _ in 0..5 {
            let mut server = Self::launch(credentials, free_port());
            if server.answers() {
                return server;
            }
        }
        panic!("no turnserver answers; is coturn installed by deploy/ci/check.sh?");
    }

    fn launch(credentials: &str, port: u16) -> Self {
        let directory = directory();
        let at = |name: &str| directory.join(name).display().to_string();
        let text = format!(
            "listening-ip=127.0.0.1\nlistening-port={port}\nrelay-ip=127.0.0.1\nallow-loopback-peers\nrealm={REALM}\n\
             fingerprint\nno-tls\nno-dtls\nno-cli\ncli-password=unused\nsimple-log\nno-stdout-log\n\
             log-file={}\npidfile={}\nuserdb={}\n{credentials}",
            at("log"),
            at("pid"),
            at("users")
        );
        fs::write(directory.join("turn.conf"), text).expect("a file under target/");
        let child = Command::new("turnserver")
            .args(["-c", &at("turn.conf")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("deploy/ci/check.sh installs coturn");
        Self {
            child,
            port,
            directory,
        }
    }

    /// Whether it answers a STUN binding request (RFC 8489 section 5) in time.
    fn answers(&mut self) -> bool {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        let again = Duration::from_millis(100);
        socket.set_read_timeout(Some(again)).expect("a timeout");
        let mut request = [0; 20];
        request[1] = 1;
        request[4..8].copy_from_slice(&0x2112_a442_u32.to_be_bytes());
        let until = Instant::now() + TURN_READY_WITHIN;
        while Instant::now() < until {
            if self.child.try_wait().expect("can be asked").is_some() {
                return false;
            }
            let asked = Instant::now();
            let mut answer = [0; 512];
            let _ = socket.send_to(&request, (Ipv4Addr::LOCALHOST, self.port));
            match socket.recv(&mut answer) {
                Ok(length) if length >= 20 && answer[..2] == [1, 1] => return true,
                // An unreachable port answers at once.
                Ok(_) | Err(_) => std::thread::sleep(again.saturating_sub(asked.elapsed())),
            }
        }
        false
    }

    /// A configuration of the broker that names this server.
    pub(crate) fn ice(&self, credentials: &str) -> String {
        let urls =
            ["udp", "tcp"].map(|way| format!("turn:127.0.0.1:{}?transport={way}", self.port));
        format!("[[ice]]\nurls = {urls:?}\n{credentials}\n")
    }
}

impl Drop for TurnServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
            eprintln!("turnserver on port {}:\n{log}", self.port);
        }
    }
}

/// A port that is free for TCP and UDP, both of which coturn binds.
fn free_port() -> u16 {
    for _ in 0..100 {
        let stream = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = stream.local_addr().expect("an address").port();
        if UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free for both TCP and UDP");
}

/// The password that coturn computes for a username under `use-auth-secret`.
fn signed(secret: &str, username: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
    base64_simd::STANDARD.encode_to_string(hmac::sign(&key, username.as_bytes()).as_ref())
}

fn seconds_since_1970() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.expect("after 1970").as_secs()
}
