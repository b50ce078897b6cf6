//! Startup checks for `heliograph doctor` that depend on the state of the machine (ports, memory, descriptors). Each
//! check performs one startup step and undoes it.

use crate::failure::{Failure, Fallible};
use crate::server::kept_sockets::KeptSockets;
use crate::server::{connections, edge_settings, listeners, shards};
use crate::{edge::ShardThread, side};
use broker_core::settings::{EngineChoice, Settings};
use std::net::{SocketAddr, TcpListener};

pub(crate) use crate::server::shards::probe as io_uring;

/// Returns the number of client connections that the open-files limit allows. If the limit is too low, fails with
/// [`Failure::Fatal`], which states a remedy.
pub(crate) fn descriptors(settings: &Settings) -> Fallible<usize> {
    connections(settings, side::open_files_hard())
}

/// Returns how many shards the limits on locked memory, threads and total memory allow, and these shards' I/O engine.
/// Finds out by creating the shards and stopping them again. If the server could not start, fails with
/// [`Failure::Fatal`], which states a remedy.
pub(crate) fn shards(settings: &Settings) -> Fallible<(usize, EngineChoice)> {
    let mut settings = settings.clone();
    let connections = settings.limits.connections;
    let mut edge = edge_settings(&settings, connections);
    let limit = ring::raise_memlock();
    side::raise_open_files(); // for the shards that this process creates
    shards::choose_engine(&mut settings)?;
    let threads = shards::prepare(&mut settings, &mut edge.ring, limit)?;
    threads.into_iter().for_each(ShardThread::end);
    Ok((settings.shards, settings.engine))
}

pub(crate) fn listeners(settings: &Settings) -> Vec<(SocketAddr, Fallible<()>)> {
    let mut all = Vec::new();
    for listen in &settings.listen {
        let bound = listeners::bind(settings, listen.addr, &mut KeptSockets::default());
        all.push((listen.addr, bound.map(|_| ())));
    }
    let mut cluster = settings.cluster.clone();
    if let Some(addr) = cluster.listen {
        let bound = listeners::bind_inner(&mut cluster, settings.shards, 0);
        all.push((addr, bound.map(|_| ())));
    }
    if let Some(addr) = settings
        .cluster
        .peers()
        .filter(|_| settings.cluster.etcd.is_on())
    {
        let bound = TcpListener::bind(addr).map(|_| ()).map_err(|error| {
            let rule = "must be an address of this machine with a free port";
            Failure::Configuration(format!("cluster.peers = {addr}: {rule}: {error}"))
        });
        all.push((addr, bound));
    }
    if let Some(addr) = settings.admin.listen {
        let bound = listeners::bind_admin(settings, addr);
        all.push((addr, bound.map(|_| ())));
    }
    all
}
