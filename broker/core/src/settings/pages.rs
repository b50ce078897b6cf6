//! Where people find the pages of the admin listener.

use super::Settings;
use std::net::Ipv6Addr;

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

/// A name or an address as the host of a URL: an IPv6 address gets its brackets.
#[must_use]
pub fn host_text(host: &str) -> String {
    match host.parse::<Ipv6Addr>() {
        Ok(address) => format!("[{address}]"),
        Err(_) => host.to_ascii_lowercase(),
    }
}
