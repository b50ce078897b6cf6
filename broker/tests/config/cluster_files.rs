//! `deploy/cluster`: configurations that load, and what is deployed with them names the same addresses and files.

use super::machine;
use broker::config::{ServeFlags, load_text};
use broker::memory;
use broker_core::settings::{Link, Settings, Timeouts};
use std::path::Path;
use yaml_rust2::{Yaml, YamlLoader};

const NODES: [&str; 3] = [
    include_str!("../../../deploy/cluster/n1.toml"),
    include_str!("../../../deploy/cluster/n2.toml"),
    include_str!("../../../deploy/cluster/n3.toml"),
];
const COMPOSE: &str = include_str!("../../../deploy/cluster/compose.yaml");
const BALANCER: &str = include_str!("../../../deploy/cluster/haproxy.cfg");
const KUBERNETES: &str = include_str!("../../../deploy/cluster/kubernetes.yaml");

#[test]
fn the_compose_file_has_the_nodes_of_the_configurations() {
    let documents = YamlLoader::load_from_str(COMPOSE).expect("YAML");
    let services = &documents[0]["services"];
    let address = |service: &str| text(&services[service]["networks"]["inner"]["ipv4_address"]);
    let members = ["etcd1", "etcd2", "etcd3"].map(|name| format!("http://{}:2379", address(name)));
    let mut common = Vec::new();
    for (name, config) in ["n1", "n2", "n3"].into_iter().zip(NODES) {
        let settings = load(config);
        let cluster = &settings.cluster;
        assert_eq!(cluster.node.as_deref(), Some(name));
        let at = address(name);
        assert_eq!(cluster.listen.unwrap().to_string(), format!("{at}:7443"));
        assert_eq!(cluster.etcd.endpoints, members);
        let balanced = format!("server {name} {at}:{}\n", settings.listen[0].addr.port());
        assert!(BALANCER.contains(&balanced), "{balanced}");
        let volumes = services[name]["volumes"].as_vec().unwrap();
        assert!(text(&volumes[0]).starts_with(&format!("./{name}.toml:/etc/heliograph/")));
        let number = name.trim_start_matches('n');
        let config = config.replace(name, "NAME").replace(at, "ADDRESS");
        common.push(config.replace(&format!("Node {number} "), "Node N "));
    }
    common.dedup();
    assert_eq!(common.len(), 1, "they differ in more: {common:?}");
    assert!(
        BALANCER.contains("uri /ping "),
        "the balancer asks the nodes"
    );
    assert!(BALANCER.contains(" check-ssl "), "their listeners have TLS");
    let ends = text(&documents[0]["x-node"]["stop_grace_period"]);
    assert!(seconds(ends.trim_end_matches('s')) > drain_seconds());
}

#[test]
fn the_pods_of_kubernetes_have_the_files_of_their_configuration() {
    let documents = YamlLoader::load_from_str(KUBERNETES).expect("YAML");
    let of_kind = |kind: &str| {
        let mut all = documents.iter();
        all.find(|document| document["kind"].as_str() == Some(kind))
            .unwrap_or_else(|| panic!("no {kind}"))
    };
    let config = text(&of_kind("ConfigMap")["data"]["broker.toml"]);
    let settings = load(
        &config
            .replace("NODE", "broker-0")
            .replace("ADDRESS", "10.1.2.3"),
    );
    assert!(settings.cluster.is_whole());
    let set = of_kind("StatefulSet");
    assert_eq!(text(&set["spec"]["podManagementPolicy"]), "Parallel");
    let pod = &set["spec"]["template"]["spec"];
    let grace = pod["terminationGracePeriodSeconds"].as_i64().unwrap();
    assert!(grace > drain_seconds());
    let container = &pod["containers"][0];
    let probe = &container["readinessProbe"]["httpGet"];
    assert_eq!(
        (text(&probe["path"]), text(&probe["scheme"])),
        ("/ping", "HTTPS")
    );
    let port = settings.listen[0].addr.port();
    let mut ports = container["ports"].as_vec().unwrap().iter();
    let is_probed = |named: &&Yaml| named["name"] == probe["port"];
    let probed = ports.find(is_probed).expect("the port has a name");
    assert_eq!(probed["containerPort"].as_i64(), Some(port.into()));
    let mounts = pod["containers"][0]["volumeMounts"].as_vec().unwrap();
    let (cluster, tls) = (&settings.cluster, settings.tls.as_ref().unwrap());
    let etcd = &cluster.etcd;
    for file in [
        &settings.credentials,
        &cluster.secret_file,
        &etcd.ca,
        &etcd.cert,
        &etcd.key,
    ]
    .into_iter()
    .flatten()
    .chain([&tls.cert, &tls.key])
    {
        let is_mounted = |mount: &Yaml| file.starts_with(text(&mount["mountPath"]));
        assert!(mounts.iter().any(is_mounted), "{}", file.display());
    }
    // Nodes alone reach the ports of nodes, and the limit has room for all that the process may hold.
    assert_ne!(cluster.link, Some(Link::Plain));
    let policy = of_kind("NetworkPolicy");
    let rules = policy["spec"]["ingress"].as_vec().unwrap();
    for rule in rules {
        let ports = rule["ports"][0]["port"].as_i64().unwrap();
        let is_open = rule["from"].is_badvalue();
        assert_eq!(is_open, ports == i64::from(port), "port {ports}");
    }
    let limit = text(&container["resources"]["limits"]["memory"]);
    let limit: usize = limit.trim_end_matches("Gi").parse().expect("GiB");
    let held = memory::budget(&settings);
    let held = held.iter().map(memory::Term::total);
    let records = settings.limits.record_bytes_total;
    assert!(held.sum::<usize>() + records < limit << 30);
    let budget = of_kind("PodDisruptionBudget");
    assert_eq!(budget["spec"]["maxUnavailable"].as_i64(), Some(1));
}

fn load(config: &str) -> Settings {
    let flags = ServeFlags::default();
    let settings = load_text(
        Path::new("deploy/cluster/n.toml"),
        config,
        &flags,
        &machine(),
    );
    settings.unwrap_or_else(|error| panic!("{error}"))
}

fn drain_seconds() -> i64 {
    let settings = Settings::default();
    seconds(&(Timeouts::of(settings.profile).drain_ms / 1000).to_string())
}

fn seconds(number: &str) -> i64 {
    number.parse().expect("a number")
}

fn text(yaml: &Yaml) -> &str {
    yaml.as_str().unwrap_or_else(|| panic!("a text: {yaml:?}"))
}
