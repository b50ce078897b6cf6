//! Cost of a device's sign-in: a full handshake with a client certificate, its verification, and the issue of temporary
//! credentials, compared with a plain full handshake and one request; and the cost of all steps until a device is
//! connected.
//!
//! ```text
//! cargo bench -p benches --bench sign_in                        # rounds of all cases, one after the other
//! cargo bench -p benches --bench sign_in -- --rounds 9 --each 1000
//! cargo bench -p benches --bench sign_in -- --test              # only that all run and answer right
//! ```
//! Figures are the CPU time of the broker's process, user and system, as reported by the kernel.
#![expect(clippy::print_stdout, reason = "the table is the result")]

mod device;

use aws_lc_rs::digest::{SHA256, digest};
use benches::compare::server::{Programs, cores, on_core};
use clap::Parser;
use codec::sigv4::signer::Keys;
use data_encoding::HEXLOWER;
use device::{Device, call};
use loadgen::edge::Server;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, Stream};
use serde_json::json;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;

/// Measures the sign-in of devices
#[derive(Debug, Parser)]
struct Options {
    /// Number of rounds
    #[arg(long, value_name = "N", default_value_t = 7)]
    rounds: u32,
    /// Number of connections per case and round
    #[arg(long, value_name = "N", default_value_t = 500)]
    each: u32,
    /// Another binary of the broker to measure
    #[arg(long, value_name = "PATH")]
    broker: Option<PathBuf>,
    /// Only check that all cases run and all answers are right, without measuring
    #[arg(long)]
    test: bool,
    /// Set by cargo when it runs benches
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    match measure(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("sign_in: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> io::Result<()> {
    let small = options.test || !options.bench;
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    let binary = match &options.broker {
        Some(binary) => binary.clone(),
        None => Programs::build(&target, !small)?.broker,
    };
    let place = target.join("tmp/sign-in");
    let fleet = Fleet::write(&place)?;
    let (core, own) = cores()?;
    let mut broker = on_core(Some(core), || Broker::start(&binary, &place))?;
    let (rounds, each) = if small {
        (1, 3)
    } else {
        (options.rounds, options.each)
    };
    let figures = on_core(Some(own), || fleet.rounds(&mut broker, rounds, each))?;
    println!("CPU of the broker, us each, of {rounds} rounds of {each}");
    println!("{:<34} {:>7} {:>7} {:>6}", "", "best", "median", "ratio");
    let plain = figures.first().and_then(|(_, all)| all.first().copied());
    for (name, all) in &figures {
        let (best, median) = (all.first(), all.get(all.len() / 2));
        let [best, median] = [best, median].map(|it| it.copied().unwrap_or_default());
        let ratio = best / plain.unwrap_or(best);
        println!("{name:<34} {best:>7.1} {median:>7.1} {ratio:>6.2}");
    }
    Ok(())
}

struct Fleet {
    cases: Vec<Case>,
    /// Device with the certificate of the second case; its channel must be created first.
    device: Device,
}

struct Case {
    name: &'static str,
    server: &'static str,
    config: Arc<ClientConfig>,
    request: String,
    status: &'static str,
}

impl Fleet {
    fn write(place: &Path) -> io::Result<Self> {
        if place.exists() {
            fs::remove_dir_all(place)?;
        }
        fs::create_dir_all(place)?;
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let names = [ORDINARY.to_owned(), DEVICES.to_owned()];
        let own = CertificateParams::new(names).and_then(|params| params.self_signed(&key));
        let own = own.map_err(io::Error::other)?;
        // The listed certificates come from an authority that the broker does not know, like those issued by the cloud.
        let [authority, foreign] = [authority("bench")?, authority("foreign")?];
        let (listed, vouched) = (
            certify("listed", &foreign)?,
            certify("vouched", &authority)?,
        );
        let of_device = (listed.0.clone(), listed.1.clone_key());
        let id = HEXLOWER.encode(digest(&SHA256, &listed.0).as_ref());
        for (name, text) in [
            ("cert.pem", own.pem()),
            ("key.pem", key.serialize_pem()),
            ("ca.pem", authority.pem()),
            ("things.csv", format!("{id},listed\n")),
            ("keys.toml", CREDENTIALS.to_owned()),
            ("broker.toml", config(place)),
        ] {
            fs::write(place.join(name), text)?;
        }
        let mut roots = RootCertStore::empty();
        roots.add(own.der().clone()).map_err(io::Error::other)?;
        let case = |name, server: &'static str, identity, path: &str, status| {
            Ok(Case {
                name,
                server,
                config: client(&roots, identity)?,
                request: format!(
                    "GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n"
                ),
                status,
            })
        };
        let sign_in = "/role-aliases/camera/credentials";
        let cases = [
            case(
                "plain handshake, answered",
                ORDINARY,
                None,
                "/",
                "HTTP/1.1 4",
            ),
            case(
                "sign-in by fingerprint",
                DEVICES,
                Some(listed),
                sign_in,
                "HTTP/1.1 200",
            ),
            case(
                "sign-in by a chain of one",
                DEVICES,
                Some(vouched),
                sign_in,
                "HTTP/1.1 200",
            ),
        ];
        let cases = cases.into_iter().collect::<io::Result<_>>()?;
        let device = Device {
            certified: client(&roots, Some(of_device))?,
            plain: client(&roots, None)?,
            arn: String::new(),
        };
        Ok(Self { cases, device })
    }

    /// Runs all cases in turn for several rounds. Returns microseconds per connection, sorted.
    fn rounds(
        mut self,
        broker: &mut Broker,
        rounds: u32,
        each: u32,
    ) -> io::Result<Vec<(&'static str, Vec<f64>)>> {
        let process = Server::process(broker.child.id())?;
        self.device.arn = create(&self.device.plain, broker.port)?;
        let cases = self.cases.iter().map(|case| (case.name, Some(case)));
        let cases: Vec<_> = cases
            .chain([("a device's five connections", None)])
            .collect();
        let mut all: Vec<_> = cases.iter().map(|(name, _)| (*name, Vec::new())).collect();
        for round in 0..=rounds {
            for ((_, case), (_, figures)) in cases.iter().zip(&mut all) {
                let before = process.cpu_ns()?;
                for _ in 0..each {
                    match case {
                        Some(case) => case.connect(broker.port)?,
                        None => self.device.come(broker.port)?,
                    }
                }
                let cpu_ns = process.cpu_ns()?.saturating_sub(before);
                // The first round is a warm-up.
                if round > 0 {
                    figures.push(cpu_ns as f64 / 1e3 / f64::from(each));
                }
            }
        }
        for (_, figures) in &mut all {
            figures.sort_by(f64::total_cmp);
        }
        Ok(all)
    }
}

impl Case {
    /// Connects with a full handshake, sends one request and reads the response to its end.
    fn connect(&self, port: u16) -> io::Result<()> {
        let answer = exchange(&self.config, (self.server, port), &self.request)?;
        if answer.starts_with(self.status) {
            return Ok(());
        }
        Err(io::Error::other(format!("{}: {answer}", self.name)))
    }
}

/// Sends a request on a new connection with a full handshake. Returns the response; of a 101 response, only the head.
fn exchange(
    config: &Arc<ClientConfig>,
    (server, port): (&'static str, u16),
    request: &str,
) -> io::Result<String> {
    let name = ServerName::try_from(server).map_err(io::Error::other)?;
    let client = ClientConnection::new(Arc::clone(config), name);
    let mut client = client.map_err(io::Error::other)?;
    let mut socket = TcpStream::connect(("127.0.0.1", port))?;
    socket.set_nodelay(true)?;
    let mut stream = Stream::new(&mut client, &mut socket);
    stream.write_all(request.as_bytes())?;
    let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let bytes = stream.read(&mut piece)?;
        answer.extend_from_slice(piece.get(..bytes).unwrap_or_default());
        let is_upgrade = answer.starts_with(b"HTTP/1.1 101 ") && answer.ends_with(b"\r\n\r\n");
        if bytes == 0 || is_upgrade {
            return String::from_utf8(answer).map_err(io::Error::other);
        }
    }
}

fn create(config: &Arc<ClientConfig>, port: u16) -> io::Result<String> {
    let keys = Keys {
        access_key_id: "AKIDOFTHEBENCHES",
        secret_access_key: "of-the-benches-and-nobody-else",
        session_token: None,
    };
    let body = json!({ "ChannelName": "listed" });
    let answer = call(config, port, keys, ("/createSignalingChannel", &body))?;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let told: serde_json::Value = serde_json::from_str(body)?;
    Ok(told["ChannelARN"].as_str().unwrap_or_default().to_owned())
}

/// Creates a TLS client with this certificate and without session resumption.
fn client(roots: &RootCertStore, identity: Option<Identity>) -> io::Result<Arc<ClientConfig>> {
    let config = ClientConfig::builder().with_root_certificates(roots.clone());
    let mut config = match identity {
        Some((certificate, key)) => config
            .with_client_auth_cert(vec![certificate], key)
            .map_err(io::Error::other)?,
        None => config.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

type Identity = (CertificateDer<'static>, PrivateKeyDer<'static>);

fn certify(name: &str, authority: &CertifiedIssuer<'static, KeyPair>) -> io::Result<Identity> {
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    let certificate = params
        .signed_by(&key, authority)
        .map_err(io::Error::other)?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    Ok((certificate.der().clone(), key))
}

fn authority(name: &str) -> io::Result<CertifiedIssuer<'static, KeyPair>> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::generate().map_err(io::Error::other)?;
    CertifiedIssuer::self_signed(params, key).map_err(io::Error::other)
}

fn config(place: &Path) -> String {
    let place = |name: &str| place.join(name).display().to_string();
    format!(
        "data_dir = ':memory:'\nauth = 'sigv4'\ncredentials = '{}'\nregion = 'us-west-2'\n\
         account_id = '123456789012'\n[quotas]\noff = true\n[tls]\ncert = '{}'\nkey = '{}'\n",
        place("keys.toml"),
        place("cert.pem"),
        place("key.pem"),
    )
}

const ORDINARY: &str = "localhost";
const DEVICES: &str = "credentials.localhost";

/// Credentials with a policy on the thing's name, as in the AWS guide.
const CREDENTIALS: &str = r#"
[policy.camera]
document = '''{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["kinesisvideo:*"],
    "Resource": "arn:aws:kinesisvideo:*:*:channel/${credentials-iot:ThingName}/*"}]}'''
[policy.iot]
document = '''{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["iot:AssumeRoleWithCertificate"],
    "Resource": "arn:aws:iot:us-west-2:123456789012:rolealias/camera"}]}'''
[role.camera]
policies = ["camera"]
trust = '''{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",
    "Principal": {"Service": "credentials.iot.amazonaws.com"}}]}'''
[role_alias.camera]
role = "camera"
[things]
hosts = ["credentials.localhost"]
policies = ["iot"]
registry = "things.csv"
ca = "ca.pem"
name = "subject.CN"
[policy.all]
document = '{"Statement": {"Effect": "Allow", "Action": "kinesisvideo:*", "Resource": "*"}}'
[[principal]]
name = "owner"
access_key_id = "AKIDOFTHEBENCHES"
secret_access_key = "of-the-benches-and-nobody-else"
policies = ["all"]
"#;

struct Broker {
    child: Child,
    port: u16,
}

impl Broker {
    fn start(binary: &Path, place: &Path) -> io::Result<Self> {
        let mut command = Command::new(binary);
        command
            .args([
                "serve",
                "--admin",
                "off",
                "--shards",
                "1",
                "--listen",
                "https://127.0.0.1:0",
            ])
            .arg("--config")
            .arg(place.join("broker.toml"))
            .stdout(Stdio::piped())
            .stderr(File::create(place.join("log"))?);
        let mut child = command.spawn()?;
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        let port = line.split_once("://127.0.0.1:");
        let port = port.and_then(|(_, rest)| rest.split(' ').next()?.trim().parse().ok());
        let mut broker = Self { child, port: 0 };
        broker.port = port.ok_or_else(|| {
            io::Error::other(format!("no port in {line:?}: see {}/log", place.display()))
        })?;
        Ok(broker)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // The process may have exited by itself, in which case a request has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
