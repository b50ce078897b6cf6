//! Three nodes and their etcd.

use super::server::Etcd;
use crate::http::{Answer, Connection, get};
use crate::peer::{master_query, upgrade};
use crate::process::{Broker, fresh_directory, until};
use serde_json::{Value, json};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

/// Where nodes listen for each other, with the next port: known before they start, since a port that the system chose
/// may have a next one that is taken.
const LINK_PORT: u16 = 7_443;

static CLUSTERS: AtomicU8 = AtomicU8::new(0);

/// Nodes `n1` to `n3`. Those that are not there were ended by the test.
pub(super) struct Nodes {
    pub(super) etcd: Etcd,
    nodes: [Option<Broker>; 3],
    pub(super) directory: PathBuf,
    cluster: u8,
}

impl Nodes {
    /// All three, when together they serve every slot. `None`: there is no etcd, which was said.
    pub(super) fn start(shards: u16) -> Option<Self> {
        if !super::server::is_installed() {
            return None;
        }
        let mut nodes = Self {
            etcd: Etcd::start(),
            nodes: [None, None, None],
            directory: fresh_directory(),
            cluster: CLUSTERS.fetch_add(1, Ordering::Relaxed),
        };
        let secret = nodes.directory.join("secret");
        fs::write(&secret, "cd".repeat(32)).expect("a file under target/");
        let own = fs::Permissions::from_mode(0o600);
        fs::set_permissions(&secret, own).expect("a file of ours");
        for node in 0..3 {
            nodes.start_one(node, shards);
        }
        nodes.until_served();
        Some(nodes)
    }

    /// Starts a node, for the first time or again on its data directory.
    pub(super) fn start_one(&mut self, node: usize, shards: u16) {
        let directory = self.directory.join(format!("n{}", node + 1));
        fs::create_dir_all(&directory).expect("a directory under target/");
        let [low, high, ..] = std::process::id().to_le_bytes();
        // 127.128.0.0/9, by process and cluster; four addresses each.
        let last = (low & 0xfc) | u8::try_from(node).expect("three");
        let ip = IpAddr::V4(Ipv4Addr::new(127, 128 + self.cluster % 64, high, last));
        let port = |port| SocketAddr::new(ip, port + u16::from(low & 3) * 2);
        let secret = self.directory.join("secret");
        let text = format!(
            "[cluster]\nname = 'test'\nnode = 'n{}'\nlisten = '{}'\nlink = 'plain'\n\
             secret_file = '{}'\netcd = ['{}']\n",
            node + 1,
            port(LINK_PORT),
            secret.display(),
            self.etcd.endpoint(),
        );
        let config = directory.join("broker.toml");
        fs::write(&config, text).expect("a file under target/");
        let config = config.to_str().expect("a path in UTF-8");
        let arguments = [
            "--auth",
            "none",
            "--listen",
            "http://127.0.0.1:0",
            "--config",
            config,
        ];
        self.nodes[node] = Some(Broker::again(&directory, &arguments, shards));
    }

    pub(super) fn node(&self, node: usize) -> &Broker {
        self.nodes[node].as_ref().expect("it runs")
    }

    /// The nodes that run, with their numbers.
    pub(super) fn all(&self) -> impl Iterator<Item = (usize, &Broker)> {
        let nodes = self.nodes.iter().enumerate();
        nodes.filter_map(|(number, node)| Some((number, node.as_ref()?)))
    }

    /// The node that serves most: on a busy machine the first claims of slots are far from equal.
    pub(super) fn largest(&self) -> usize {
        let most = self
            .all()
            .max_by(|one, other| served(one.1).total_cmp(&served(other.1)));
        most.expect("one runs").0
    }

    /// Has all give what is above an equal part, until they have one. What a node could not take in time stays until it
    /// is asked for again.
    pub(super) fn rebalance(&self) {
        let mut asked: Option<Instant> = None;
        until("equal parts", || {
            if asked.is_none_or(|asked| asked.elapsed() > Duration::from_secs(3)) {
                asked = Some(Instant::now());
                for (_, node) in self.all() {
                    let answer = crate::http::admin(node.admin, "POST", "/cluster/rebalance", "");
                    assert_eq!(answer.status, 200);
                }
            }
            self.all()
                .all(|(_, node)| served(node) >= 1300.0)
                .then_some(())
        });
        self.until_served();
    }

    /// The two others.
    pub(super) fn others(&self, node: usize) -> [usize; 2] {
        [(node + 1) % 3, (node + 2) % 3]
    }

    /// Ends a node; its directory stays. Returns what it was.
    pub(super) fn take(&mut self, node: usize) -> Broker {
        self.nodes[node].take().expect("it runs")
    }

    /// Waits until the nodes that run serve every slot together.
    pub(super) fn until_served(&self) {
        until("every slot's owner", || {
            let slots = self.all().map(|(_, node)| served(node)).sum::<f64>();
            (slots == 4096.0).then_some(())
        });
    }

    /// The node that has a channel.
    pub(super) fn owner(&self, name: &str) -> usize {
        let has = |node: &Broker| get(node.admin, &format!("/channels/{name}")).status == 200;
        let mut owners = self.all().filter(|(_, node)| has(node));
        let owner = owners.next().expect("somebody has it").0;
        assert_eq!(
            owners.next().map(|(number, _)| number),
            None,
            "one node has it"
        );
        owner
    }

    /// How long it takes from now until one of these nodes has a channel.
    pub(super) fn until_owned_by(&self, nodes: [usize; 2], name: &str) -> Duration {
        let began = Instant::now();
        let has = |node: &usize| {
            let path = format!("/channels/{name}");
            get(self.node(*node).admin, &path).status == 200
        };
        until("another owner", || nodes.iter().any(has).then_some(()));
        began.elapsed()
    }

    /// Channels of one node, made through any: their ARNs.
    pub(super) fn channels_of(&self, node: usize, wanted: usize) -> Vec<String> {
        let mut arns = Vec::new();
        for number in 0.. {
            let name = format!("of{node}-{number}");
            let arn = create(self.node(number % 3), &name);
            if self.owner(&name) == node {
                arns.push(arn);
            }
            if arns.len() == wanted {
                break;
            }
        }
        arns
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.nodes = [None, None, None];
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The slots that a node serves.
pub(super) fn served(node: &Broker) -> f64 {
    let now = node.try_scrape();
    now.map_or(0.0, |now| now.sum("heliograph_cluster_slots"))
}

/// What a node says of its cluster.
pub(super) fn cluster(node: &Broker) -> Value {
    get(node.admin, "/cluster").json()
}

/// Makes a channel through this node, whichever node gets it, and returns its ARN.
pub(super) fn create(to: &Broker, name: &str) -> String {
    let made = try_create(to, name).ok();
    made["ChannelARN"].as_str().expect("an ARN").to_owned()
}

pub(super) fn try_create(to: &Broker, name: &str) -> Answer {
    Connection::open(to.plain).call("/createSignalingChannel", &json!({ "ChannelName": name }))
}

pub(super) fn name_of(arn: &str) -> &str {
    arn.split('/').nth(1).expect("as written")
}

/// How long it takes from now until a master of this channel is admitted through this node.
pub(super) fn until_admitted(node: &Broker, arn: &str) -> Duration {
    let began = Instant::now();
    until("an admission", || {
        let (answer, _) = upgrade(node, &master_query(arn), "");
        (answer.status == 101).then_some(())
    });
    began.elapsed()
}
