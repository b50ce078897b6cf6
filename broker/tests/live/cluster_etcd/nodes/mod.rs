//! Three nodes and their etcd; [`setup`]: the differences between them.

pub(crate) mod setup;

use super::server::{self, Etcd};
use crate::cluster_netns::journal::Journal;
use crate::cluster_netns::network::{HOSTS, Network};
use crate::http::{Answer, Connection, get};
use crate::peer::{master_query, upgrade};
use crate::process::{Broker, command, directory};
use serde_json::{Value, json};
use setup::{Link, NONE, Setup};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};
use testkit::{Directory, until, until_true, until_within};

/// The first port on which nodes listen for each other, followed by the next ones: known before they start, since a
/// port that the system chose may have a next one that is taken.
const LINK_PORT: u16 = 7_443;

/// From the ports of one process of tests to those of the next: more than a node has.
const LINK_PORTS: u16 = 32;

static CLUSTERS: AtomicU8 = AtomicU8::new(0);

/// Nodes `n1` to `n3`. Those that are not there were ended by the test.
pub(crate) struct Nodes {
    nodes: [Option<Broker>; 3],
    /// One member, or three.
    pub(crate) etcd: Vec<Etcd>,
    pub(crate) directory: Directory,
    link: Link,
    /// Further arguments of each.
    pub(crate) arguments: Vec<String>,
    /// Further lines of the configuration of each.
    config: String,
    /// See [`Setup::library`].
    library: Option<String>,
    /// The program of each node where it is not the one under test.
    programs: [Option<PathBuf>; 3],
    cluster: u8,
    /// The network that they are on, unless they are on loopback; the last to go.
    network: Option<Network>,
}

impl Nodes {
    /// All three on loopback, when together they serve every slot. `None`: there is no etcd, which was said.
    pub(crate) fn start(shards: u16) -> Option<Self> {
        Self::linked(Link::Default, shards)
    }

    /// The same with such links.
    pub(crate) fn linked(link: Link, shards: u16) -> Option<Self> {
        Self::on_loopback(link, shards, &NONE, "")
    }

    /// The same on one shard, with other arguments and more lines of the configuration.
    pub(crate) fn configured(arguments: &[&str], config: &str) -> Option<Self> {
        Self::on_loopback(Link::Default, 1, arguments, config)
    }

    /// The same on etcd of this quota in bytes.
    pub(crate) fn with_quota(quota: usize) -> Option<Self> {
        let quota = quota.to_string();
        let etcd = ["--quota-backend-bytes", &quota];
        Self::on_etcd(&etcd, (Link::Default, 1), &NONE, "")
    }

    /// The first alone, on this etcd.
    pub(crate) fn first_on(etcd: Etcd, config: &str) -> Self {
        let mut nodes = Self::new(vec![etcd], Link::Default, None);
        nodes.config = config.to_owned();
        nodes.start_one(0, 1);
        nodes.until_served();
        nodes
    }

    fn on_loopback(link: Link, shards: u16, arguments: &[&str], config: &str) -> Option<Self> {
        Self::on_etcd(&[], (link, shards), arguments, config)
    }

    fn on_etcd(
        etcd: &[&str],
        (link, shards): (Link, u16),
        arguments: &[&str],
        config: &str,
    ) -> Option<Self> {
        if !server::is_installed() {
            return None;
        }
        let etcd = Etcd::start_with("http", etcd);
        let mut nodes = Self::new(vec![etcd], link, None);
        nodes.arguments = arguments.iter().map(|word| (*word).to_owned()).collect();
        nodes.config = config.to_owned();
        nodes.start_all(shards);
        Some(nodes)
    }

    /// All three on hosts of their own, each with a member of etcd beside it. `None`: also where no network can be
    /// made.
    pub(crate) fn on_hosts() -> Option<Self> {
        Self::on_hosts_as(Setup::default())
    }

    /// The same, otherwise.
    pub(crate) fn on_hosts_as(setup: Setup<'_>) -> Option<Self> {
        if !server::is_installed() {
            return None;
        }
        let network = Network::new()?;
        if let Some(library) = setup.library {
            let is_there = Path::new(library).exists();
            assert!(is_there, "no {library}: deploy/ci/check.sh installs it");
        }
        let hosts = match setup.etcd_is_apart {
            true => Network::apart(),
            false => network.beside_nodes(),
        };
        let etcd = Etcd::start_three_on(hosts, setup.etcd);
        let mut nodes = Self::new(etcd.into(), setup.link, Some(network));
        let arguments = setup.arguments.iter().map(|word| (*word).to_owned());
        nodes.arguments = arguments.collect();
        nodes.config = setup.config.to_owned();
        nodes.library = setup.library.map(str::to_owned);
        nodes.programs = [0, 1, 2].map(|_| setup.program.clone());
        nodes.start_all(1);
        nodes.share_slots();
        Some(nodes)
    }

    fn new(etcd: Vec<Etcd>, link: Link, network: Option<Network>) -> Self {
        let nodes = Self {
            nodes: [None, None, None],
            etcd,
            directory: directory(),
            link,
            arguments: NONE.map(str::to_owned).into(),
            config: String::new(),
            library: None,
            programs: [None, None, None],
            cluster: CLUSTERS.fetch_add(1, Ordering::Relaxed),
            network,
        };
        let secret = nodes.secret();
        fs::write(&secret, "cd".repeat(32)).expect("a file under target/");
        let own = fs::Permissions::from_mode(0o600);
        fs::set_permissions(&secret, own).expect("a file of ours");
        nodes
    }

    /// Starts all, and waits until they serve every slot.
    pub(crate) fn start_all(&mut self, shards: u16) {
        for node in 0..HOSTS {
            self.start_one(node, shards);
        }
        self.until_served();
    }

    /// Starts a node, for the first time or again on its data directory.
    pub(crate) fn start_one(&mut self, node: usize, shards: u16) {
        let directory = self.directory.join(format!("n{}", node + 1));
        fs::create_dir_all(&directory).expect("a directory under target/");
        let config = directory.join("broker.toml");
        fs::write(config, self.config(node)).expect("a file under target/");
        let arguments = self.arguments_of(node);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut command = self.command(node);
        command.env(SLOT_JOURNAL, self.journal_of(node));
        if let Some(library) = &self.library {
            self.set_clock(node, "+0");
            command
                .env("LD_PRELOAD", library)
                .env("FAKETIME_TIMESTAMP_FILE", self.clock_of(node))
                .env("FAKETIME_CACHE_DURATION", "1")
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        self.nodes[node] = Some(Broker::launch_in(&directory, command, &arguments, shards));
    }

    /// Starts a node that ends by itself, on the data directory of this name. Returns its exit code and what it
    /// wrote to stderr.
    pub(crate) fn start_in_vain(&self, node: usize, directory: &str) -> (Option<i32>, String) {
        let mut command = self.command(node);
        command.arg("serve").args(self.arguments_of(node));
        command
            .arg("--data-dir")
            .arg(self.directory.join(directory));
        let ended = testkit::run(&mut command);
        (ended.code, ended.stderr)
    }

    fn arguments_of(&self, node: usize) -> Vec<String> {
        let ip = self.ip(node).to_string();
        let config = self.directory.join(format!("n{}/broker.toml", node + 1));
        let config = config.to_str().expect("a path in UTF-8");
        let listen = format!("http://{ip}:0");
        let admin = format!("{ip}:0");
        let usual = ["--config", config, "--listen", &listen, "--admin", &admin];
        let usual = usual.map(str::to_owned);
        let own = self.arguments.iter();
        let name = format!("n{}", node + 1);
        let own = own.map(|word| word.replace("{ip}", &ip).replace("{node}", &name));
        usual.into_iter().chain(own).collect()
    }

    /// The file of the secret of all nodes.
    pub(crate) fn secret(&self) -> PathBuf {
        self.directory.join("secret")
    }

    /// The address of a node: on loopback its own in 127.128.0.0/9, by process and cluster.
    fn ip(&self, node: usize) -> Ipv4Addr {
        if self.network.is_some() {
            return Network::ip(node);
        }
        let [low, high, ..] = std::process::id().to_le_bytes();
        let last = (low & 0xfc) | u8::try_from(node).expect("three");
        Ipv4Addr::new(127, 128 + self.cluster % 64, high, last)
    }

    fn config(&self, node: usize) -> String {
        let [low, ..] = std::process::id().to_le_bytes();
        let port = LINK_PORT + u16::from(low & 3) * LINK_PORTS;
        let usual = SocketAddr::new(IpAddr::V4(self.ip(node)), port);
        let listen = self.link.listen(usual);
        let (number, secret) = (node + 1, self.secret());
        let etcd: Vec<String> = self.etcd.iter().map(Etcd::endpoint).collect();
        format!(
            "[cluster]\nname = 'test'\nnode = 'n{number}'\nlisten = '{listen}'\nsecret_file = '{}'\n\
             etcd = {etcd:?}\n{}{}",
            secret.display(),
            self.link.config(listen),
            self.config,
        )
    }

    /// The program that a node has from its next start on.
    pub(crate) fn set_program(&mut self, node: usize, program: &Path) {
        self.programs[node] = Some(program.to_owned());
    }

    /// The program, on its host.
    fn command(&self, node: usize) -> Command {
        let program = match &self.programs[node] {
            Some(other) => Command::new(other),
            None => command(),
        };
        let Some(network) = &self.network else {
            return program;
        };
        let mut on_host = Command::new("setpriv");
        on_host
            .args(["--pdeathsig", "KILL"])
            .args(network.within(node))
            .arg(program.get_program());
        on_host
    }

    /// Sets the wall clock of a node this many seconds ahead, or behind, by the library of its setup.
    pub(crate) fn set_clock(&self, node: usize, seconds: &str) {
        fs::write(self.clock_of(node), format!("{seconds}\n")).expect("a file under target/");
    }

    fn clock_of(&self, node: usize) -> PathBuf {
        self.directory.join(format!("n{}.clock", node + 1))
    }

    fn journal_of(&self, node: usize) -> PathBuf {
        self.directory.join(format!("n{}.journal", node + 1))
    }

    /// The journal of slots on all nodes.
    pub(crate) fn journal(&self) -> Journal {
        Journal::read([0, 1, 2].map(|node| self.journal_of(node)))
    }

    /// The history of etcd begins again, and epochs repeat: while no node runs.
    pub(crate) fn forget_journals(&self) {
        for node in 0..HOSTS {
            fs::remove_file(self.journal_of(node)).expect("it was written");
        }
    }

    /// The network that they are on.
    pub(crate) fn network(&self) -> &Network {
        self.network.as_ref().expect("they are on hosts")
    }

    pub(crate) fn node(&self, node: usize) -> &Broker {
        self.nodes[node].as_ref().expect("it runs")
    }

    /// The nodes that run, with their numbers.
    pub(crate) fn all(&self) -> impl Iterator<Item = (usize, &Broker)> {
        let nodes = self.nodes.iter().enumerate();
        nodes.filter_map(|(number, node)| Some((number, node.as_ref()?)))
    }

    /// The node that serves most: on a busy machine the first claims of slots are far from equal.
    pub(crate) fn largest(&self) -> usize {
        self.largest_of(self.all().map(|(number, _)| number))
    }

    /// The one of these that serves most.
    pub(crate) fn largest_of(&self, nodes: impl Iterator<Item = usize>) -> usize {
        let slots = |node: &usize| served(self.node(*node));
        let most = nodes.max_by(|one, other| slots(one).total_cmp(&slots(other)));
        most.expect("one runs")
    }

    /// Sees to it that each has slots: on a busy machine the first claims are far from equal, and a node may have none.
    pub(crate) fn share_slots(&self) {
        if self.all().any(|(_, node)| served(node) < 256.0) {
            self.rebalance();
        }
    }

    /// Has all give what is above an equal part, until they have one. What a node could not take in time stays until it
    /// is asked for again.
    pub(crate) fn rebalance(&self) {
        let mut asked: Option<Instant> = None;
        until_within(SERVED_WITHIN, "equal parts", || {
            if asked.is_none_or(|asked| asked.elapsed() > Duration::from_secs(3)) {
                asked = Some(Instant::now());
                for (_, node) in self.all() {
                    let answer = crate::http::admin(node.admin, "POST", "/cluster/rebalance", "");
                    assert_eq!(answer.status, 200);
                }
            }
            self.all()
                .all(|(_, node)| served(node) >= 1364.0)
                .then_some(())
        });
        self.until_served();
    }

    /// The two others.
    pub(crate) fn others(&self, node: usize) -> [usize; 2] {
        [(node + 1) % 3, (node + 2) % 3]
    }

    /// Ends a node; its directory stays. Returns what it was.
    pub(crate) fn take(&mut self, node: usize) -> Broker {
        self.nodes[node].take().expect("it runs")
    }

    /// Waits until the nodes that run serve every slot together.
    pub(crate) fn until_served(&self) {
        until_within(SERVED_WITHIN, "every slot's owner", || {
            let slots = self.all().map(|(_, node)| served(node)).sum::<f64>();
            (slots == 4096.0).then_some(())
        });
    }

    /// The node that has a channel.
    pub(crate) fn owner(&self, name: &str) -> usize {
        let has =
            |node: &Broker| get(node.admin, &format!("/channels/{name}?scope=node")).status == 200;
        let mut owners = self.all().filter(|(_, node)| has(node));
        let owner = owners.next().expect("somebody has it").0;
        assert_eq!(
            owners.next().map(|(number, _)| number),
            None,
            "one node has it"
        );
        owner
    }

    /// Returns the time until one of these nodes has a channel.
    pub(crate) fn until_owned_by(&self, nodes: [usize; 2], name: &str) -> Duration {
        let began = Instant::now();
        let has = |node: &usize| {
            let path = format!("/channels/{name}?scope=node");
            get(self.node(*node).admin, &path).status == 200
        };
        until_true("another owner", || nodes.iter().any(has));
        began.elapsed()
    }

    /// Channels of one node, made through any: their ARNs. While etcd elects a leader no node takes changes.
    pub(crate) fn channels_of(&self, node: usize, wanted: usize) -> Vec<String> {
        let mut arns = Vec::new();
        for number in 0..10_000 {
            let name = format!("of{node}-{number}");
            let made = until("a channel can be made", || {
                let answer = try_create(self.node(number % 3), &name);
                (answer.status != 503).then_some(answer)
            });
            let arn = arn_in(made);
            if self.owner(&name) == node {
                arns.push(arn);
            }
            if arns.len() == wanted {
                return arns;
            }
        }
        panic!("node {node} has hardly any slot");
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.nodes = [None, None, None];
        self.etcd.clear();
    }
}

/// The slots that a node serves.
pub(crate) fn served(node: &Broker) -> f64 {
    let now = node.try_scrape();
    now.map_or(0.0, |now| now.sum("heliograph_cluster_slots"))
}

/// A node's view of its cluster.
pub(crate) fn cluster(node: &Broker) -> Value {
    get(node.admin, "/cluster").json()
}

/// Makes a channel through this node, whichever node gets it, and returns its ARN.
pub(crate) fn create(to: &Broker, name: &str) -> String {
    arn_in(try_create(to, name))
}

fn arn_in(made: Answer) -> String {
    made.ok()["ChannelARN"].as_str().expect("an ARN").to_owned()
}

pub(crate) fn try_create(to: &Broker, name: &str) -> Answer {
    Connection::open(to.plain).call("/createSignalingChannel", &json!({ "ChannelName": name }))
}

pub(crate) fn name_of(arn: &str) -> &str {
    arn.split('/').nth(1).expect("as written")
}

/// Returns the time until a master of this channel is admitted through this node.
pub(crate) fn until_admitted(node: &Broker, arn: &str) -> Duration {
    let began = Instant::now();
    until("an admission", || {
        let (answer, _) = upgrade(node, &master_query(arn), "");
        (answer.status == 101).then_some(())
    });
    began.elapsed()
}

/// Some seconds, unless the machine has far more to do than it can: then it is minutes for thousands of slots.
pub(crate) const SERVED_WITHIN: Duration = Duration::from_secs(120);

/// In the environment of a broker: where it writes what becomes of slots.
const SLOT_JOURNAL: &str = "HELIOGRAPH_SLOT_JOURNAL";
