//! Listening sockets that survive a restart. The service manager holds them open in the meantime, and clients wait in
//! their backlogs.

use crate::server::listeners::{Bound, has_twin, local, twin_of};
use crate::server::supervisor::Supervisor;
use broker_core::settings::Settings;
use socket2::{Protocol, Socket};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

/// Listening sockets from a previous process whose addresses are still configured.
#[derive(Debug, Default)]
pub(crate) struct KeptSockets(Vec<(SocketAddr, Socket)>);

impl KeptSockets {
    /// Selects the sockets among the `passed` descriptors that can be reused. Closes all others, both here and in the
    /// service manager. Otherwise, clients could connect to them but would never be accepted, and their addresses would
    /// stay in use.
    pub(crate) fn find(
        passed: Vec<(String, OwnedFd)>,
        supervisor: &Supervisor,
        settings: &Settings,
    ) -> Self {
        let wanted = settings.listen.iter().flat_map(|listen| {
            let twin = has_twin(settings, listen.addr).then(|| twin_of(listen.addr));
            [listen.addr].into_iter().chain(twin)
        });
        let wanted: Vec<_> = wanted.collect();
        let mut kept = Vec::new();
        for (name, socket) in passed {
            let socket = Socket::from(socket);
            match shared_listener(&socket) {
                Some(addr) if name == store_name(addr) && wanted.contains(&addr) => {
                    kept.push((addr, socket));
                }
                found => {
                    let at = found.map_or_else(String::new, |addr| format!(" at {addr}"));
                    tracing::warn!(
                        "the service manager passed {name:?}, not a listener of this configuration{at}: closed"
                    );
                    drop(socket);
                    supervisor.discard(&name);
                }
            }
        }
        Self(kept)
    }

    pub(crate) fn take(&mut self, addr: SocketAddr, shards: usize) -> Vec<Socket> {
        let at = self.0.extract_if(.., |(at, _)| *at == addr);
        at.map(|(_, socket)| socket).take(shards).collect()
    }
}

/// Makes the service manager store exactly these client listeners. In a cluster, none are stored, since other nodes
/// serve the clients during a restart.
pub(crate) fn store(supervisor: &mut Supervisor, settings: &Settings, bound: &[Bound]) {
    let clients = bound.iter().take(settings.listen.len());
    let groups = clients.flat_map(|bound| {
        let twin = twin_of(bound.addr);
        [(bound.addr, &bound.sockets), (twin, &bound.twins)]
    });
    let groups: Vec<_> = groups.filter(|(_, sockets)| !sockets.is_empty()).collect();
    let (needed, max) = (groups.len() * settings.shards, supervisor.store_max);
    if max == 0 {
        return;
    }
    if needed > max {
        tracing::warn!(
            "FileDescriptorStoreMax={max} must be at least {needed}: listeners are not kept over a restart"
        );
    }
    let mut keeps = needed <= max && !settings.cluster.is_on();
    for (addr, sockets) in groups {
        let name = store_name(addr);
        supervisor.discard(&name);
        // If the locked-memory limit has reduced the number of shards, there are surplus sockets. They are closed when
        // the shards start.
        let sockets = sockets.iter().take(settings.shards).map(AsFd::as_fd);
        keeps = keeps && supervisor.store(&name, &sockets.collect::<Vec<_>>());
    }
    supervisor.keeps_listeners = keeps;
}

/// Returns the name under which the service manager stores an address's sockets. The name must not contain `:` (see
/// `FDNAME=`).
fn store_name(addr: SocketAddr) -> String {
    format!("listen-{addr}").replace(':', "_")
}

/// Returns the socket's address if it is a listening TCP socket with `SO_REUSEPORT`.
fn shared_listener(socket: &Socket) -> Option<SocketAddr> {
    let listens = socket.is_listener().ok()? && socket.protocol().ok()? == Some(Protocol::TCP);
    (listens && socket.reuse_port().ok()?).then(|| local(socket).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::listeners::{alone, bind, probe, shared};
    use broker_core::settings::{Listen, Profile, Scheme};
    use socket2::SockRef;
    use std::fs::File;
    use std::net::UdpSocket;
    use std::time::Duration;

    fn settings(listen: &[SocketAddr], shards: usize) -> Settings {
        let mut settings = Settings::new(Profile::Default, false);
        let listen = listen.iter().map(|addr| Listen {
            scheme: Scheme::Http,
            addr: *addr,
        });
        settings.listen = listen.collect();
        settings.shards = shards;
        settings
    }

    fn kept(passed: Vec<(String, OwnedFd)>, settings: &Settings) -> KeptSockets {
        KeptSockets::find(passed, &Supervisor::of_environment(), settings)
    }

    /// Returns the sockets of a process with these settings, in the form in which the service manager passes them to
    /// the next process.
    fn passed(settings: &Settings) -> (SocketAddr, Vec<(String, OwnedFd)>) {
        let bound = bind(
            settings,
            settings.listen[0].addr,
            &mut KeptSockets::default(),
        )
        .unwrap();
        let named = |socket| (store_name(bound.addr), socket);
        (bound.addr, bound.sockets.into_iter().map(named).collect())
    }

    #[test]
    fn kept_sockets_are_bound_first_and_those_that_lack_join_them() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        for (before, after) in [(2, 2), (1, 3), (3, 1)] {
            let (addr, passed) = passed(&settings(&[any], before));
            let inode = |socket: &OwnedFd| rustix::fs::fstat(socket).unwrap().st_ino;
            let inodes: Vec<_> = passed.iter().map(|(_, socket)| inode(socket)).collect();
            let mut settings = settings(&[addr], after);
            settings.timeouts.tcp_user_ms = 9000;
            let mut kept = kept(passed, &settings);
            let bound = bind(&settings, addr, &mut kept).unwrap();
            assert_eq!((bound.addr, bound.sockets.len()), (addr, after));
            let again = bound
                .sockets
                .iter()
                .filter(|it| inodes.contains(&inode(it)));
            assert_eq!(again.count(), before.min(after));
            assert_eq!(kept.0.len(), before.saturating_sub(after), "left over");
            for socket in &bound.sockets {
                let patience = SockRef::from(socket).tcp_user_timeout().unwrap();
                assert_eq!(patience, Some(Duration::from_secs(9)));
            }
        }
    }

    #[test]
    fn what_is_no_listener_at_a_configured_address_is_closed() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let (addr, mut good) = passed(&settings(&[any], 1));
        let (other, former) = passed(&settings(&[any], 1));
        let name = store_name(addr);
        let alone = alone(any, 0).unwrap();
        let alone_at = local(&alone).unwrap();
        let udp = UdpSocket::bind(addr).unwrap();
        good.extend(former);
        good.extend([
            (name.clone(), OwnedFd::from(alone)),
            (name.clone(), udp.into()),
            (name.clone(), File::open("/dev/null").unwrap().into()),
            ("unknown".into(), shared(addr, 0).unwrap().into()),
        ]);
        let kept = kept(good, &settings(&[addr, alone_at], 1));
        assert_eq!(kept.0.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [addr]);
        // Both addresses can be bound again.
        probe(other).unwrap();
        probe(alone_at).unwrap();
    }

    #[test]
    fn names_have_nothing_that_separates_names() {
        let name = |addr: &str| store_name(addr.parse().unwrap());
        assert_eq!(name("10.0.0.5:443"), "listen-10.0.0.5_443");
        assert_eq!(name("[::1]:8080"), "listen-[__1]_8080");
    }
}
