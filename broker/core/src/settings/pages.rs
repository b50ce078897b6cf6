//! The URLs under which people find the pages of the admin listener.

use crate::settings::{Listen, Scheme, Settings};
use std::net::{Ipv4Addr, Ipv6Addr};

impl Settings {
    /// The URL of the admin listener, without a slash at the end, for a client that reached this machine as `host`.
    #[must_use]
    pub fn admin_url(&self, host: &str) -> Option<String> {
        let addr = self.admin.listen?;
        Some(if addr.ip().is_unspecified() && !host.is_empty() {
            format!("http://{host}:{}", addr.port())
        } else {
            format!("http://{addr}")
        })
    }

    /// Whether the page to try the service is served.
    #[must_use]
    pub fn has_try_page(&self) -> bool {
        self.dev || self.admin.try_page
    }

    /// The page to try the service, for a browser on this machine; `None` when it is off.
    #[must_use]
    pub fn try_url(&self) -> Option<String> {
        let host = self.dev_hosts.first().map_or("localhost", String::as_str);
        let admin = self
            .admin_url(&host_text(host))
            .filter(|_| self.has_try_page())?;
        Some(format!("{admin}/try"))
    }
}

impl Settings {
    /// The warning to all who use a development server that other machines reach.
    #[must_use]
    pub fn exposure(&self) -> Option<&'static str> {
        if self.allow_remote {
            Some(
                "Started with --allow-remote: every machine that reaches this broker can use any channel.",
            )
        } else if self.lan.is_some() {
            Some("Started with --lan: every machine of the local network can use any channel.")
        } else {
            None
        }
    }

    /// The TLS listener that devices of the local network reach, under `--lan`.
    #[must_use]
    pub fn lan_listener(&self) -> Option<&Listen> {
        self.listen.iter().find(|listen| self.is_of_lan(listen))
    }

    /// Whether the listener of this place in the list is one that serves pages to devices of the local network.
    #[must_use]
    pub fn has_pages(&self, listener: u16) -> bool {
        let listen = self.listen.get(usize::from(listener));
        listen.is_some_and(|listen| self.is_of_lan(listen))
    }

    /// The beginning of the URLs of pages for devices of the local network, such as `https://192.168.1.20:8443`.
    #[must_use]
    pub fn lan_url(&self) -> Option<String> {
        let port = self.lan_listener()?.addr.port();
        self.lan.map(|address| format!("https://{address}:{port}"))
    }

    fn is_of_lan(&self, listen: &Listen) -> bool {
        let covers = |address: Ipv4Addr| {
            let own = listen.addr.ip();
            own == address || own.is_unspecified()
        };
        listen.scheme == Scheme::Https && self.lan.is_some_and(covers)
    }
}

/// A name or an address as the host of a URL: an IPv6 address gets its brackets.
#[must_use]
pub fn host_text(host: &str) -> String {
    match host.parse::<Ipv6Addr>() {
        Ok(address) => format!("[{address}]"),
        Err(_) => host.to_ascii_lowercase(),
    }
}
