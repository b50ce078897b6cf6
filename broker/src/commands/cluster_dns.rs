//! `heliograph cluster dns`: the names of endpoints that lead to the nodes, as records of a zone file, or as the
//! configuration of a balancer.

use crate::commands::{cluster_check::KINDS, cluster_status::Place};
use crate::{failure::Failure, terminal::plain};
use broker_core::control::node_label;
use broker_core::settings::{Scheme, Settings};
use broker_etcd::operator::Survey;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

/// Every name below the domain leads to all nodes that are registered: any of them takes any connection. With `direct`,
/// those that name a node lead to that one; without its records, a node that is lost is any name again.
pub(crate) fn text(place: &Place, survey: &Survey) -> Result<String, Failure> {
    let domain = domain(place)?;
    let mut text = String::from(
        "; the addresses at which nodes reach each other: replace those that clients cannot reach\n",
    );
    let (mut addresses, mut direct) = (BTreeSet::new(), String::new());
    for (node_name, node) in &survey.nodes {
        let name = plain(node_name);
        let inner = node.inner.as_ref();
        let address = inner.map_or("", |inner| &inner.address);
        match address.parse::<SocketAddr>() {
            _ if node.registration.is_none() => {
                text += &format!("; {name} is not registered: left out\n");
            }
            Ok(at) => {
                addresses.insert(at.ip());
                if place.settings.cluster.direct {
                    let label = node_label(node_name);
                    for kind in KINDS {
                        direct += &record(&format!("{kind}-{label}.{domain}."), at.ip());
                    }
                }
            }
            Err(_) => text += &format!("; {name} has no IP address: {}\n", plain(address)),
        }
    }
    for address in addresses {
        text += &record(&format!("*.{domain}."), address);
    }
    Ok(text + &direct)
}

/// The domain of endpoints.
pub(crate) fn domain(place: &Place) -> Result<&str, Failure> {
    place.settings.advertise.domain.as_deref().ok_or_else(|| {
        let text =
            "advertise.domain: must be set to the domain below which endpoints have their names";
        Failure::Configuration(text.into())
    })
}

fn record(name: &str, address: IpAddr) -> String {
    let kind = match address {
        IpAddr::V4(_) => "A",
        IpAddr::V6(_) => "AAAA",
    };
    format!("{name} {TTL} IN {kind} {address}\n")
}

/// Seconds for which a resolver may keep a record: as long as a lost node may still be tried.
const TTL: u32 = 30;

// `heliograph cluster dns --haproxy`: the configuration of a balancer that passes clients on by the names that they
// ask for.

/// The names of a node's endpoints lead to it, and to all others while it does not answer; any other name, or none,
/// leads to all. What is not about names is that of `deploy/cluster/haproxy.cfg`.
pub(crate) fn haproxy_text(place: &Place, survey: &Survey) -> Result<String, Failure> {
    let domain = domain(place)?;
    let port = port(&place.settings)?;
    let mut notes = String::new();
    let mut servers = Vec::new();
    for (name, node) in &survey.nodes {
        let address = node.inner.as_ref().map_or("", |inner| &inner.address);
        match host(address) {
            _ if node.registration.is_none() => {
                notes += &format!("# {name} is not registered: left out\n");
            }
            Some(host) => servers.push((name, format!("server {name} {host}:{port}"))),
            None => notes += &format!("# {name} has no address: {}\n", plain(address)),
        }
    }
    let (general, checks) = balancer();
    let mut names = String::new();
    let mut owners = String::new();
    for (name, own) in &servers {
        let label = node_label(name);
        let _ = write!(names, "    use_backend of-{name} if {{ req.ssl_sni -i");
        for kind in KINDS {
            let _ = write!(names, " {kind}-{label}.{domain}");
        }
        names += " }\n";
        owners += &format!("\nbackend of-{name}\n    option allbackups\n");
        owners += &format!("    {own} track nodes/{name}\n");
        for (other, server) in servers.iter().filter(|(other, _)| other != name) {
            owners += &format!("    {server} track nodes/{other} backup\n");
        }
    }
    let nodes: String = servers
        .iter()
        .map(|(_, one)| format!("    {one}\n"))
        .collect();
    let frontend = format!(
        "frontend clients\n    bind :443\n    # The name that a client asks for is in its first bytes.\n    \
         tcp-request inspect-delay {HELLO_WITHIN}\n    \
         tcp-request content accept if {{ req.ssl_hello_type 1 }}\n{names}    default_backend nodes\n"
    );
    Ok(format!(
        "{notes}{general}{frontend}\nbackend nodes\n{checks}{nodes}{owners}"
    ))
}

/// The port at which clients reach every node by TLS.
fn port(settings: &Settings) -> Result<u16, Failure> {
    let fault = |text: &str| Err(Failure::Configuration(text.into()));
    if !settings.cluster.direct {
        return fault("cluster.direct: must be true: without it no name leads to one node");
    }
    let mut listen = settings.listen.iter();
    match listen.find(|listen| listen.scheme == Scheme::Https && listen.addr.port() != 0) {
        Some(listen) => Ok(listen.addr.port()),
        None => fault(
            "listen: must have an https:// address with a port: only TLS says which name is asked for",
        ),
    }
}

/// The host of a node's address, as HAProxy reads it.
fn host(address: &str) -> Option<&str> {
    let (host, _) = address.rsplit_once(':')?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:[]".contains(&byte);
    (!host.is_empty() && host.bytes().all(fits)).then_some(host)
}

/// Of the balancer without names: the sections before its frontend, and how it checks nodes.
fn balancer() -> (&'static str, String) {
    let (general, rest) = BALANCER.split_once("frontend ").unwrap_or_default();
    let (_, nodes) = rest.split_once("\nbackend nodes\n").unwrap_or_default();
    let checks = nodes
        .lines()
        .filter(|line| !line.starts_with("    server "));
    (general, checks.map(|line| format!("{line}\n")).collect())
}

const BALANCER: &str = include_str!("../../../deploy/cluster/haproxy.cfg");

/// For a client's first bytes; one that sends none goes to any node, which has its own patience.
const HELLO_WITHIN: &str = "5s";
