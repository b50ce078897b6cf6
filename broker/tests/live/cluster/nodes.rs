//! Two nodes with a fixed map, on addresses of loopback that nobody else uses.

use crate::http::{Answer, Connection};
use crate::listeners::tls::Identity;
use crate::process::{Broker, directory};
use serde_json::json;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use testkit::Directory;

/// The secret of these clusters.
pub(crate) const SECRET: [u8; 32] = [0xab; 32];

/// Their name.
pub(crate) const NAME: &str = "test";

/// Inner ports are known before a node starts, so they are not 0; each cluster has addresses of its own instead.
const INNER_PORT: u16 = 7443;

static CLUSTERS: AtomicU8 = AtomicU8::new(0);

/// Two nodes, `n1` and `n2`, each with half of the slots, and what they were started with.
pub(crate) struct Nodes {
    pub(crate) n1: Broker,
    pub(crate) n2: Broker,
    pub(crate) files: Files,
}

/// The directory of a cluster's files, and the addresses of its nodes.
pub(crate) struct Files {
    pub(crate) directory: Directory,
    pub(crate) inner: [SocketAddr; 2],
}

impl Nodes {
    /// Both, each with this many shards.
    pub(crate) fn start(shards: u16) -> Self {
        Self::configured(shards, ["", ""])
    }

    /// The same with more text in their configuration.
    pub(crate) fn configured(shards: u16, more: [&str; 2]) -> Self {
        Self::of(Files::new(), shards, more)
    }

    /// Both, of these files.
    pub(crate) fn of(files: Files, shards: u16, more: [&str; 2]) -> Self {
        let [n1, n2] = more;
        Self {
            n1: files.start("n1", shards, n1, NONE),
            n2: files.start("n2", shards, n2, NONE),
            files,
        }
    }

    /// A channel that `n1` has and one that `n2` has, made through the other node each.
    pub(crate) fn channels(&self) -> [String; 2] {
        let (mut own, mut others) = (None, None);
        for number in 0.. {
            let before = self.n2.scrape().sum("heliograph_channels");
            let arn = create(self.n1.plain, &format!("cam{number}"));
            let moved = self.n2.scrape().sum("heliograph_channels") > before;
            let place = if moved { &mut others } else { &mut own };
            place.get_or_insert(arn);
            if let (Some(own), Some(others)) = (&own, &others) {
                return [own.clone(), others.clone()];
            }
        }
        unreachable!("the numbers do not end")
    }
}

impl Files {
    /// The secret, and a map of two halves.
    pub(crate) fn new() -> Self {
        let directory = directory();
        let [low, high, ..] = std::process::id().to_le_bytes();
        let cluster = CLUSTERS.fetch_add(1, Ordering::Relaxed);
        let address = |node: u8| {
            // 127.64.0.0/10, by process and cluster; two nodes each.
            let ip = Ipv4Addr::new(127, 64 + cluster % 64, high, low & 0xfe | node);
            SocketAddr::new(
                IpAddr::V4(ip),
                INNER_PORT + u16::from(cluster / 64) * 2 + u16::from(low & 1),
            )
        };
        let files = Self {
            directory,
            inner: [address(0), address(1)],
        };
        let digits = "ab".repeat(SECRET.len());
        fs::write(files.path("secret"), digits).expect("a file under target/");
        let own = fs::Permissions::from_mode(0o600);
        fs::set_permissions(files.path("secret"), own).expect("a file of ours");
        files.write_map("map", ["0-2047", "2048-4095"]);
        files
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// A map of these slots.
    pub(crate) fn write_map(&self, name: &str, slots: [&str; 2]) {
        let [one, two] = self.inner;
        let map = format!("n1 {one} {}\nn2 {two} {}\n", slots[0], slots[1]);
        fs::write(self.path(name), map).expect("a file under target/");
    }

    /// The configuration of a node.
    pub(crate) fn config(&self, node: &str, more: &str) -> PathBuf {
        let inner = self.inner[usize::from(node == "n2")];
        let (secret, map) = (self.path("secret"), self.path("map"));
        let text = format!(
            "[cluster]\nname = '{NAME}'\nnode = '{node}'\nlisten = '{inner}'\n\
             secret_file = '{}'\nmap_file = '{}'\n{more}\n",
            secret.display(),
            map.display()
        );
        let path = self.path(&format!("{node}.toml"));
        fs::write(&path, text).expect("a file under target/");
        path
    }

    /// Starts a node; `arguments` say how callers are known, and where clients connect.
    pub(crate) fn start(&self, node: &str, shards: u16, more: &str, arguments: &[&str]) -> Broker {
        let config = self.config(node, more);
        let config = ["--config", config.to_str().expect("a path in UTF-8")];
        Broker::start(&[arguments, &config].concat(), shards)
    }
}

/// Nobody signs.
pub(crate) const NONE: &[&str] = &["--auth", "none", "--listen", "http://127.0.0.1:0"];

/// The same, with TLS as well.
pub(crate) fn with_tls(identity: &Identity) -> Vec<String> {
    let more = ["--listen", "https://127.0.0.1:0"].map(str::to_owned);
    let file = |path: &Path| path.to_str().expect("a path in UTF-8").to_owned();
    let files = [
        "--tls-cert".into(),
        file(&identity.cert),
        "--tls-key".into(),
        file(&identity.key),
    ];
    let plain = NONE.iter().map(|word| (*word).to_owned());
    plain.chain(more).chain(files).collect()
}

/// Makes a channel through this node, which may belong to the other one, and returns its ARN.
pub(crate) fn create(to: SocketAddr, name: &str) -> String {
    let made = call(
        to,
        "/createSignalingChannel",
        &json!({ "ChannelName": name }),
    );
    let made = made.ok();
    made["ChannelARN"].as_str().expect("an ARN").to_owned()
}

/// One call on a connection of its own.
pub(crate) fn call(to: SocketAddr, path: &str, body: &serde_json::Value) -> Answer {
    Connection::open(to).call(path, body)
}
