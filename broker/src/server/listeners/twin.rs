//! The second loopback address of a development server: what listens on 127.0.0.1 listens on ::1 too, at the same port.
//!
//! The hosts file of many systems gives `localhost` both addresses, or `::1` first, and clients that try one address
//! alone (node 18, for one) reach whichever comes first.

use crate::server::listeners::socket::Busy;
use broker_core::settings::{Settings, overlap};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The sockets on 127.0.0.1 and perhaps on ::1.
pub(crate) struct Both<T> {
    /// On 127.0.0.1, with the port that the system picked, if it was 0.
    pub(crate) addr: SocketAddr,
    /// The sockets there.
    pub(crate) first: T,
    /// The sockets on ::1; `None` on a machine without that address.
    pub(crate) twin: Option<T>,
}

/// Whether the listener at `addr` gets a twin on ::1: under `--dev` on 127.0.0.1, unless another listener has it.
pub(crate) fn is_wanted(settings: &Settings, addr: SocketAddr) -> bool {
    let mut others = settings.listen.iter().map(|listen| listen.addr);
    let twin = twin_of(addr);
    let has_it = |other: SocketAddr| other.port() != 0 && overlap(other, twin);
    settings.dev
        && addr.ip() == Ipv4Addr::LOCALHOST
        && !others.any(has_it)
        && !settings.admin.listen.is_some_and(has_it)
}

/// Has `bind` listen at `addr` and at the same port of ::1. `bind` returns the actual address.
///
/// A port that the system picks is picked again while it is taken on ::1, [`PICKS_MAX`] times in all.
///
/// # Errors
/// The address that cannot be had, and why.
pub(crate) fn bind_both<T>(
    addr: SocketAddr,
    bind: impl Fn(SocketAddr, Busy) -> io::Result<(SocketAddr, T)>,
) -> Result<Both<T>, (SocketAddr, io::Error)> {
    let mut picks = 0;
    loop {
        picks += 1;
        let picks_again = addr.port() == 0 && picks < PICKS_MAX;
        let (actual, first) = bind(addr, Busy::Wait).map_err(|error| (addr, error))?;
        let twin = twin_of(actual);
        let busy = if picks_again { Busy::Fail } else { Busy::Wait };
        let twin = match bind(twin, busy) {
            Ok((_, twin)) => Some(twin),
            Err(error) if is_absent(&error) => None,
            Err(error) if picks_again && error.kind() == io::ErrorKind::AddrInUse => continue,
            Err(error) => return Err((twin, error)),
        };
        return Ok(Both {
            addr: actual,
            first,
            twin,
        });
    }
}

/// The same port of ::1.
fn twin_of(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), addr.port())
}

/// Whether the machine has no ::1: IPv6 is off, for the process, for loopback or for all.
fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || is_without_ipv6(error)
}

/// Whether sockets of this family cannot be made at all.
pub(crate) fn is_without_ipv6(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

/// Picks of a port that is free on both addresses. One fails where somebody has that port of ::1 alone.
const PICKS_MAX: usize = 16;

#[cfg(test)]
mod tests {

    use super::*;
    use broker_core::settings::{Listen, Profile, Scheme};
    use std::cell::Cell;

    fn dev(listen: &[&str], admin: &str) -> Settings {
        let listen = listen.iter().map(|addr| Listen {
            scheme: Scheme::Http,
            addr: addr.parse().unwrap(),
        });
        let mut settings = Settings::new(Profile::Default, true);
        settings.listen = listen.collect();
        settings.admin.listen = Some(admin.parse().unwrap());
        settings
    }

    #[test]
    fn a_development_server_on_127_0_0_1_has_a_twin_that_no_other_listener_has() {
        let wanted = |settings: &Settings, addr: &str| is_wanted(settings, addr.parse().unwrap());
        let plain = dev(&["127.0.0.1:8080"], "127.0.0.1:8090");
        assert!(wanted(&plain, "127.0.0.1:8080") && wanted(&plain, "127.0.0.1:8090"));
        assert!(wanted(&plain, "127.0.0.1:0"));
        for other in ["127.0.0.2:8080", "0.0.0.0:8080", "[::1]:8080", "[::]:8080"] {
            assert!(!wanted(&plain, other), "{other}");
        }
        for (explicit, is) in [
            ("[::1]:8080", false),
            ("[::]:8080", false),
            ("[::1]:0", true),
        ] {
            let both = dev(&["127.0.0.1:8080", explicit], "127.0.0.1:8090");
            assert_eq!(wanted(&both, "127.0.0.1:8080"), is, "{explicit}");
        }
        let admin = dev(&["127.0.0.1:8080"], "[::1]:8080");
        assert!(!wanted(&admin, "127.0.0.1:8080"));
        let mut serious = plain;
        serious.dev = false;
        assert!(!wanted(&serious, "127.0.0.1:8080"));
    }

    /// Binds as the kernel does where only these errors are in its way: on 127.0.0.1 none, on ::1 the given one.
    fn kernel(
        picked: &Cell<u16>,
        on_twin: impl Fn(u16) -> Option<i32>,
    ) -> impl Fn(SocketAddr, Busy) -> io::Result<(SocketAddr, IpAddr)> {
        move |mut addr, _| {
            if addr.port() == 0 {
                picked.set(picked.get() + 1);
                addr.set_port(picked.get());
            }
            let error = on_twin(addr.port()).filter(|_| addr.is_ipv6());
            let failed = error.map(io::Error::from_raw_os_error);
            failed.map_or_else(|| Ok((addr, addr.ip())), Err)
        }
    }

    #[test]
    fn a_machine_without_the_address_has_no_twin() {
        for error in [libc::EADDRNOTAVAIL, libc::EAFNOSUPPORT] {
            let picked = Cell::new(0);
            let bind = kernel(&picked, |_| Some(error));
            let both = bind_both(([127, 0, 0, 1], 0).into(), bind).unwrap();
            assert_eq!((both.addr.port(), both.twin), (1, None));
        }
    }

    #[test]
    fn a_port_that_is_taken_on_the_twin_is_picked_again_a_bounded_number_of_times() {
        let picked = Cell::new(60_000);
        let busy = |port| (port < 60_003).then_some(libc::EADDRINUSE);
        let both = bind_both(([127, 0, 0, 1], 0).into(), kernel(&picked, busy)).unwrap();
        assert_eq!(both.addr.port(), 60_003);
        assert_eq!(both.twin, Some(IpAddr::V6(Ipv6Addr::LOCALHOST)));
        picked.set(60_000);
        let always = kernel(&picked, |_| Some(libc::EADDRINUSE));
        let (addr, error) = bind_both(([127, 0, 0, 1], 0).into(), always).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert_eq!((addr.ip(), picked.get()), (twin_of(addr).ip(), 60_016));
    }

    #[test]
    fn a_configured_port_that_is_taken_on_the_twin_is_refused() {
        let picked = Cell::new(0);
        let bind = kernel(&picked, |_| Some(libc::EADDRINUSE));
        let (addr, error) = bind_both(([127, 0, 0, 1], 8080).into(), bind)
            .err()
            .unwrap();
        assert_eq!(addr, "[::1]:8080".parse().unwrap());
        assert_eq!((error.kind(), picked.get()), (io::ErrorKind::AddrInUse, 0));
    }
}
