//! Notifications to a service manager, as sd_notify(3) describes them: datagrams of `NAME=value` lines to the socket
//! that `NOTIFY_SOCKET` names. Without it, nothing is sent.

use crate::side;
use std::ffi::{OsStr, OsString};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;
use std::{env, io};

/// The service manager, if there is one. One per process, on the main thread.
pub(crate) struct Supervisor {
    to: Option<(UnixDatagram, SocketAddr)>,
    /// It ends a process that has not said for so long that it is well.
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// The one that the environment names.
    pub(crate) fn of_environment() -> Self {
        let watchdog = watchdog(
            env::var("WATCHDOG_USEC").ok().as_deref(),
            env::var("WATCHDOG_PID").ok().as_deref(),
            std::process::id(),
        );
        Self::new(env::var_os("NOTIFY_SOCKET"), watchdog)
    }

    fn new(socket: Option<OsString>, watchdog: Option<Duration>) -> Self {
        let to = socket.and_then(|socket| match open(&socket) {
            Ok(to) => Some(to),
            Err(error) => {
                tracing::warn!(%error, "NOTIFY_SOCKET = {socket:?}: the service manager cannot be notified");
                None
            }
        });
        if watchdog.is_some_and(|limit| limit < WATCHDOG_MIN) {
            tracing::warn!("WatchdogSec below {WATCHDOG_MIN:?} ends a healthy broker");
        }
        Self { to, watchdog }
    }

    /// Every listener accepts, or a reload is done.
    pub(crate) fn ready(&self) {
        self.tell("READY=1");
    }

    /// Files are being read again; [`Self::ready`] follows.
    pub(crate) fn reloading(&self) {
        let now = side::monotonic().as_micros();
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={now}"));
    }

    /// The drain has begun.
    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// All is well; to be said more often than the watchdog's time.
    pub(crate) fn alive(&self) {
        if self.watchdog.is_some() {
            self.tell("WATCHDOG=1");
        }
    }

    fn tell(&self, text: &str) {
        let Some((socket, addr)) = &self.to else {
            return;
        };
        // It does not wait: a manager that hangs must not make us hang.
        if let Err(error) = socket.send_to_addr(text.as_bytes(), addr) {
            tracing::debug!(%error, "the service manager was not notified");
        }
    }
}

/// A path, or after `@` a name that no file has.
fn open(socket: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let addr = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, addr))
}

/// The watchdog's time, if it is this process that is watched. Source: sd_watchdog_enabled(3).
fn watchdog(microseconds: Option<&str>, watched: Option<&str>, own: u32) -> Option<Duration> {
    if watched.is_some_and(|watched| watched.parse() != Ok(own)) {
        return None;
    }
    let microseconds: u64 = microseconds?.parse().ok()?;
    (microseconds > 0).then(|| Duration::from_micros(microseconds))
}

/// We say it once a second, and a busy machine may be late.
const WATCHDOG_MIN: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_by_path_or_by_name_is_notified() {
        let id = std::process::id();
        let path = env::temp_dir().join(format!("heliograph-notify-{id}"));
        let _ = std::fs::remove_file(&path);
        let name = format!("heliograph-notify-test-{id}");
        let named = SocketAddr::from_abstract_name(&name).unwrap();
        for (manager, socket) in [
            (UnixDatagram::bind(&path).unwrap(), path.clone().into()),
            (
                UnixDatagram::bind_addr(&named).unwrap(),
                format!("@{name}").into(),
            ),
        ] {
            manager
                .set_read_timeout(Some(Duration::from_secs(10)))
                .unwrap();
            let mut supervisor = Supervisor::new(Some(socket), None);
            supervisor.alive();
            supervisor.ready();
            supervisor.watchdog = Some(WATCHDOG_MIN);
            supervisor.alive();
            supervisor.reloading();
            supervisor.stopping();
            let told = || {
                let mut text = [0; 128];
                let length = manager.recv(&mut text).unwrap();
                String::from_utf8(text[..length].to_vec()).unwrap()
            };
            assert_eq!(told(), "READY=1", "no watchdog, no sign of life");
            assert_eq!(told(), "WATCHDOG=1");
            let reloading = told();
            let since = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
            assert!(
                since.unwrap().parse::<u64>().unwrap() > 0,
                "since the machine's start: {reloading}"
            );
            assert_eq!(told(), "STOPPING=1");
        }
        std::fs::remove_file(&path).unwrap();
        let nobody = Supervisor::new(Some(path.into()), Some(WATCHDOG_MIN));
        nobody.ready();
        Supervisor::new(None, None).ready();
    }

    #[test]
    fn the_watchdog_is_ours_or_not() {
        let second = Some(Duration::from_secs(1));
        assert_eq!(watchdog(Some("1000000"), Some("7"), 7), second);
        assert_eq!(watchdog(Some("1000000"), None, 7), second);
        assert_eq!(watchdog(Some("1000000"), Some("8"), 7), None);
        for none in [None, Some("0"), Some(""), Some("-1"), Some("soon")] {
            assert_eq!(watchdog(none, None, 7), None, "{none:?}");
        }
    }
}
