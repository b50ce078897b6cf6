//! `heliograph cluster dns`: records by which the names of endpoints lead to the nodes, for a zone file.

use crate::cluster_admin::nodes::KINDS;
use crate::cluster_admin::place::Place;
use crate::failure::Failure;
use crate::terminal::plain;
use broker_core::control::node_label;
use broker_etcd::operator::Survey;
use std::collections::BTreeSet;
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
