//! `deploy/cluster` and `deploy/kubernetes`: configurations that load, and what is deployed with them names the same
//! addresses and files.

use super::machine;
use broker::config::{Arguments, Command, ServeFlags, load_text};
use broker::memory;
use broker_core::settings::Settings;
use clap::Parser;
use std::path::Path;
use std::process;
use yaml_rust2::{Yaml, YamlLoader};

const NODES: [&str; 3] = [
    include_str!("../../../deploy/cluster/n1.toml"),
    include_str!("../../../deploy/cluster/n2.toml"),
    include_str!("../../../deploy/cluster/n3.toml"),
];
const COMPOSE: &str = include_str!("../../../deploy/cluster/compose.yaml");
const BALANCER: &str = include_str!("../../../deploy/cluster/haproxy.cfg");

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
    let node = &documents[0]["x-node"];
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(text(&node["image"]), format!("heliograph:{version}"));
    assert!(COMPOSE.contains(&format!(
        "load --input dist/heliograph-{version}-image.tar.gz"
    )));
    let probe = node["healthcheck"]["test"].as_vec().unwrap();
    let probe: Vec<_> = probe.iter().map(text).collect();
    assert_eq!(
        probe.join(" "),
        "CMD heliograph doctor --ready --config /etc/heliograph/broker.toml"
    );
    let ends = text(&node["stop_grace_period"]);
    assert!(seconds(ends.trim_end_matches('s')) > drain_seconds());
}

#[test]
fn the_pods_of_kubernetes_have_the_files_of_their_configuration() {
    for (folder, nodes, lost) in [("base", 1, 0), ("cluster", 3, 1)] {
        let Some(documents) = rendered(folder) else {
            return eprintln!("skipped: no kubectl, of the package kubernetes-client");
        };
        let of_kind = |kind: &str| {
            let mut all = documents.iter();
            all.find(|document| document["kind"].as_str() == Some(kind))
                .unwrap_or_else(|| panic!("no {kind}"))
        };
        let set = &of_kind("StatefulSet")["spec"];
        assert_eq!(set["replicas"].as_i64(), Some(nodes));
        assert_eq!(text(&set["podManagementPolicy"]), "Parallel");
        let container = &set["template"]["spec"]["containers"][0];
        let config = text(&of_kind("ConfigMap")["data"]["broker.toml"]);
        let settings = load_with(&flags(container), config);
        assert_eq!(settings.cluster.is_whole(), nodes > 1);
        // Commands such as `cluster status` read the file without the pod's flags.
        load(config);
        has_what_it_names(&set["template"]["spec"], &settings);
        // What the Pod Security Standard "restricted" asks for.
        let pod = &set["template"]["spec"]["securityContext"];
        assert_eq!(pod["runAsNonRoot"].as_bool(), Some(true));
        assert_eq!(text(&pod["seccompProfile"]["type"]), "RuntimeDefault");
        let security = &container["securityContext"];
        assert_eq!(security["allowPrivilegeEscalation"].as_bool(), Some(false));
        assert_eq!(text(&security["capabilities"]["drop"][0]), "ALL");
        // Nodes alone reach the ports of nodes.
        let rules = of_kind("NetworkPolicy")["spec"]["ingress"].as_vec();
        let rules = rules.expect("rules");
        assert_eq!(rules.len(), if nodes > 1 { 2 } else { 1 });
        let client = i64::from(settings.listen[0].addr.port());
        for rule in rules {
            let port = rule["ports"][0]["port"].as_i64().unwrap();
            let is_open = rule["from"].is_badvalue();
            assert_eq!(is_open, port == client, "port {port}");
        }
        let budget = of_kind("PodDisruptionBudget");
        assert_eq!(budget["spec"]["maxUnavailable"].as_i64(), Some(lost));
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(text(&container["image"]), format!("heliograph:{version}"));
    }
}

/// The objects that `kubectl apply -k` sends, if there is a kubectl.
fn rendered(folder: &str) -> Option<Vec<Yaml>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kubernetes");
    let mut kubectl = process::Command::new("kubectl");
    let output = kubectl.arg("kustomize").arg(root.join(folder)).output();
    let output = output.ok()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{folder}: {said}");
    let documents = String::from_utf8(output.stdout).expect("UTF-8");
    Some(YamlLoader::load_from_str(&documents).expect("YAML"))
}

/// The flags of a container, whose pod has the name broker-0 and an address.
fn flags(container: &Yaml) -> ServeFlags {
    let words = container["args"].as_vec().expect("arguments").iter();
    let words = words.map(|word| text(word).replace("$(POD_NAME)", "broker-0"));
    let words = words.map(|word| word.replace("$(POD_IP)", "10.1.2.3"));
    let words = ["heliograph".to_owned()].into_iter().chain(words);
    let parsed = Arguments::try_parse_from(words).unwrap_or_else(|error| panic!("{error}"));
    let Command::Serve(flags) = parsed.command else {
        panic!("it serves")
    };
    *flags
}

/// The files of the configuration are mounted, the probe asks a port that listens, time to end and memory are enough.
fn has_what_it_names(pod: &Yaml, settings: &Settings) {
    let grace = pod["terminationGracePeriodSeconds"]
        .as_i64()
        .expect("a value");
    assert!(grace > drain_seconds());
    let container = &pod["containers"][0];
    let probe = &container["readinessProbe"]["httpGet"];
    assert_eq!(text(&probe["path"]), "/ping");
    assert_eq!(text(&probe["scheme"]), "HTTPS");
    let port = settings.listen[0].addr.port();
    let mut ports = container["ports"].as_vec().expect("a value").iter();
    let is_probed = |named: &&Yaml| named["name"] == probe["port"];
    let probed = ports.find(is_probed).expect("the port has a name");
    assert_eq!(probed["containerPort"].as_i64(), Some(port.into()));
    let mounts = container["volumeMounts"].as_vec().expect("a value");
    let (cluster, tls) = (&settings.cluster, settings.tls.as_ref().expect("a value"));
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
    .chain(tls.cert.iter().chain(&tls.key))
    .chain([&settings.data_dir])
    {
        let is_mounted = |mount: &Yaml| file.starts_with(text(&mount["mountPath"]));
        assert!(mounts.iter().any(is_mounted), "{}", file.display());
    }
    let limit = text(&container["resources"]["limits"]["memory"]);
    let limit: usize = limit.trim_end_matches("Gi").parse().expect("GiB");
    let held = memory::budget(settings);
    let held = held.iter().map(memory::Term::total);
    let records = settings.limits.record_bytes_total;
    assert!(held.sum::<usize>() + records < limit << 30);
}

fn load(config: &str) -> Settings {
    load_with(&ServeFlags::default(), config)
}

fn load_with(flags: &ServeFlags, config: &str) -> Settings {
    let place = Path::new("deploy/cluster/n.toml");
    let settings = load_text(place, config, flags, &machine());
    settings.unwrap_or_else(|error| panic!("{error}"))
}

fn drain_seconds() -> i64 {
    let settings = Settings::default();
    seconds(&(Settings::new(settings.profile, false).timeouts.drain_ms / 1000).to_string())
}

fn seconds(number: &str) -> i64 {
    number.parse().expect("a number")
}

fn text(yaml: &Yaml) -> &str {
    yaml.as_str().unwrap_or_else(|| panic!("a text: {yaml:?}"))
}
