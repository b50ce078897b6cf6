//! Rules across the keys of `[cluster]`.

use super::check::clash;
use super::document::Reader;
use broker_core::settings::value::Span;
use broker_core::settings::{Auth, Cluster, Settings};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Notes every rule that the table breaks.
pub(super) fn check(settings: &Settings, reader: &mut Reader<'_>) {
    let cluster = &settings.cluster;
    if !cluster.is_on() {
        return;
    }
    if !cluster.is_whole() && !reader.is_wrong("cluster") {
        let rule = "allowed name, node, secret_file, listen and one of etcd and map_file together";
        reader.fault("cluster", "{ … }", rule);
    }
    if settings.dev {
        let rule = "allowed without --dev, whose channels are created by connecting to any node";
        reader.fault("cluster", "{ … }", rule);
    }
    if cluster.direct && settings.advertise.domain.is_none() {
        let rule = "allowed with advertise.domain, below which the nodes have their names";
        reader.fault("cluster.direct", true, rule);
    }
    let inner = cluster.inner(settings.shards);
    if let Some(addr) = cluster.listen {
        listen("cluster.listen", addr, &[], settings, reader);
        let has_next = !cluster.etcd.is_on() || next_port(addr, settings, reader);
        if has_next {
            further_ports(addr, inner.as_deref(), settings, reader);
        }
    }
    if let Some(host) = cluster.advertise.as_ref().filter(|_| !cluster.etcd.is_on()) {
        let rule = "allowed with etcd only: a fixed map has the addresses of the nodes";
        reader.fault("cluster.advertise", host, rule);
    }
    if let Some(addr) = cluster.peers {
        let inner = inner.unwrap_or_default();
        listen("cluster.peers", addr, &inner, settings, reader);
    }
    etcd(cluster, reader);
}

/// A listener for other nodes, beside those for clients and operators, and beside `own`.
fn listen(
    key: &str,
    addr: SocketAddr,
    own: &[SocketAddr],
    settings: &Settings,
    reader: &mut Reader<'_>,
) {
    let mut others = others(settings).chain(own.iter().copied());
    if others.any(|other| clash(other, addr)) {
        let rule = "allowed an address and port that no other listener has";
        reader.fault(key, addr, rule);
    }
    if settings.auth == Auth::None && !addr.ip().is_loopback() {
        let rule = "allowed loopback addresses only, since auth none lets everybody in";
        reader.fault(key, addr, rule);
    }
    let cluster = &settings.cluster;
    let is_told = cluster.etcd.is_on() && cluster.advertise.is_none();
    if is_told && addr.ip().is_unspecified() && !reader.is_wrong("cluster.advertise") {
        let rule = "allowed the address at which other nodes reach this one, which they learn from etcd; any together \
                    with cluster.advertise";
        reader.fault(key, addr, rule);
    }
}

/// The listeners for clients and operators.
fn others(settings: &Settings) -> impl Iterator<Item = SocketAddr> {
    let clients = settings.listen.iter().map(|listen| listen.addr);
    clients.chain(settings.admin.listen)
}

/// Messages between nodes have the port behind that of `cluster.listen`, where nothing else is configured. False if it
/// cannot be had, which is noted.
fn next_port(listen: SocketAddr, settings: &Settings, reader: &mut Reader<'_>) -> bool {
    let is_free = |peers| !others(settings).any(|other| clash(other, peers));
    let cluster = &settings.cluster;
    let has_one = cluster.peers.is_some() || cluster.peers().is_some_and(is_free);
    if !has_one {
        let rule = "allowed a port with a free one behind it, which messages between nodes take, or cluster.peers with \
                    another";
        reader.fault("cluster.listen", listen, rule);
    }
    has_one
}

/// Shards but the first have ports behind that one, where the nodes follow etcd.
fn further_ports(
    listen: SocketAddr,
    inner: Option<&[SocketAddr]>,
    settings: &Settings,
    reader: &mut Reader<'_>,
) {
    let shards = settings.shards;
    let Some(inner) = inner else {
        let rule = format!(
            "allowed ports up to {}, since {shards} shards listen on others behind it",
            usize::from(u16::MAX) - shards
        );
        return reader.fault("cluster.listen", listen, rule);
    };
    let mut further = inner.iter().filter(|at| at.port() != listen.port());
    let is_taken = |at: &&SocketAddr| others(settings).any(|other| clash(other, **at));
    if let Some(taken) = further.find(is_taken) {
        let rule = format!(
            "allowed a port with free ones behind it: of {shards} shards one also listens on {}, which another \
             listener has",
            taken.port()
        );
        reader.fault("cluster.listen", listen, rule);
    }
}

fn etcd(cluster: &Cluster, reader: &mut Reader<'_>) {
    if reader.is_wrong("cluster.etcd") {
        return;
    }
    let etcd = &cluster.etcd;
    if let (Some(path), true) = (&cluster.map_file, etcd.is_on()) {
        let rule = "allowed one of etcd and map_file";
        reader.fault("cluster.map_file", path.display(), rule);
    }
    let members = &etcd.endpoints;
    if members.len() > MEMBERS_MAX {
        let rule = format!("allowed at most {MEMBERS_MAX} URLs");
        reader.fault("cluster.etcd", format!("{} URLs", members.len()), rule);
    }
    let is_again = |(nth, member): (usize, &String)| members.iter().take(nth).any(|m| m == member);
    if let Some(again) = members.iter().enumerate().find(|pair| is_again(*pair)) {
        reader.fault("cluster.etcd", again.1, "allowed each URL once");
    }
    let secure = members
        .iter()
        .filter(|member| member.starts_with("https://"));
    let secure = secure.count();
    if secure > 0 && etcd.ca.is_none() && !reader.is_wrong("cluster.etcd_ca") {
        let rule = "allowed https:// together with etcd_ca";
        reader.fault("cluster.etcd", members.join(" "), rule);
    }
    for (key, path) in [
        ("cluster.etcd_ca", &etcd.ca),
        ("cluster.etcd_cert", &etcd.cert),
        ("cluster.etcd_key", &etcd.key),
    ] {
        if let Some(path) = path.as_ref().filter(|_| secure == 0) {
            let rule = "allowed with URLs of https:// in etcd only";
            reader.fault(key, path.display(), rule);
        }
    }
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
    together(
        [
            ("etcd_cert", path(&etcd.cert)),
            ("etcd_key", path(&etcd.key)),
        ],
        reader,
    );
    together(
        [
            ("etcd_user", etcd.user.clone()),
            ("etcd_password_file", path(&etcd.password_file)),
        ],
        reader,
    );
    if let Some(user) = etcd.user.as_ref().filter(|_| !etcd.is_on()) {
        reader.fault("cluster.etcd_user", user, "allowed with etcd only");
    }
    let (quota, default) = (
        cluster.etcd_quota_bytes,
        Cluster::default().etcd_quota_bytes,
    );
    if !etcd.is_on() && quota != default {
        reader.fault("cluster.etcd_quota_bytes", quota, "allowed with etcd only");
    }
    lease(cluster, reader);
}

fn lease(cluster: &Cluster, reader: &mut Reader<'_>) {
    let (key, value) = ("cluster.lease", Span(cluster.lease_ms));
    if !cluster.lease_ms.is_multiple_of(1_000) {
        reader.fault(key, value, "allowed whole seconds");
    } else if !cluster.etcd.is_on() && cluster.lease_ms != Cluster::default().lease_ms {
        reader.fault(key, value, "allowed with etcd only");
    }
}

/// Notes one of two keys without the other.
fn together(keys: [(&str, Option<String>); 2], reader: &mut Reader<'_>) {
    let ([(written, Some(value)), (absent, None)] | [(absent, None), (written, Some(value))]) =
        keys
    else {
        return;
    };
    if !reader.is_wrong(&format!("cluster.{absent}")) {
        let key = format!("cluster.{written}");
        reader.fault(&key, value, format!("allowed together with {absent}"));
    }
}

/// Members of an etcd: five is what its documentation advises at most.
const MEMBERS_MAX: usize = 16;
