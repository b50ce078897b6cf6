//! Applies `--container` and `--lan`. `--container` makes listeners bind to all addresses. `--lan` adds a TLS listener
//! on the machine's local network address, and adds that address to the development certificate's names. This module
//! also selects the local network address.

use crate::config::IN_MEMORY;
use crate::config::draft::{Findings, ValuePlace};
use broker_core::settings::{Listen, Scheme, Settings};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::{fs, io};

/// Applies `--lan` to the settings: adds a TLS listener at `wanted` or, if it is `None`, at this machine's only
/// suitable address.
pub(crate) fn apply(
    wanted: Option<Ipv4Addr>,
    networks: io::Result<Networks>,
    settings: &mut Settings,
    findings: &mut Findings,
) {
    let given = wanted.map(|address| address.to_string());
    findings.written("lan", ValuePlace::Flag("--lan"));
    let chosen = networks
        .map_err(|error| format!("the addresses of this machine cannot be read: {error}"))
        .and_then(|networks| networks.choose(wanted));
    let address = match chosen {
        Ok(address) => address,
        Err(rule) => return findings.fault("lan", given.unwrap_or_default(), rule),
    };
    if settings.admin.listen.is_none() {
        let rule = "needs an admin listener, whose pages a phone opens: leave out --admin off";
        findings.fault("lan", address, rule);
    }
    settings.lan = Some(address);
    let name = address.to_string();
    if !settings.dev_hosts.contains(&name) {
        settings.dev_hosts.push(name);
    }
    if settings.lan_listener().is_none() {
        let port = settings.port(Scheme::Https).unwrap_or(TLS_PORT);
        settings.listen.push(Listen {
            scheme: Scheme::Https,
            addr: (address, port).into(),
        });
    }
}

/// Prepares the settings for a container, where traffic to a published port may arrive at any address. Listeners
/// without a configured address bind to all addresses. If no data directory is configured, data is kept in memory.
pub(crate) fn publish(settings: &mut Settings, findings: &Findings) {
    (settings.container, settings.allow_remote) = (true, true);
    // A socket on `[::]` accepts both IPv4 and IPv6. On a host without IPv6, binding to `[::]` fails.
    let both = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok();
    let all: IpAddr = match both {
        true => Ipv6Addr::UNSPECIFIED.into(),
        false => Ipv4Addr::UNSPECIFIED.into(),
    };
    let unnamed = |key: &str| findings.place_of(key) == ValuePlace::Default;
    let admin = settings.admin.listen.iter_mut();
    for addr in admin.filter(|_| unnamed("admin.listen")) {
        addr.set_ip(all);
    }
    for listen in settings.listen.iter_mut().filter(|_| unnamed("listen")) {
        listen.addr.set_ip(all);
    }
    if unnamed("data_dir") {
        settings.data_dir = IN_MEMORY.into();
    }
}

/// Default port of the TLS listener, as under `--dev`.
const TLS_PORT: u16 = 8443;

// This machine's local network addresses, and the selection of the address that `--lan` uses.
//
// The addresses are read from `/proc/net/fib_trie`. Each interface's networks and default routes are read from
// `/proc/net/route`.

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Networks(Vec<LanAddress>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct LanAddress {
    address: Ipv4Addr,
    /// The network interface that has the address. Empty if it cannot be determined from the routes.
    interface: String,
    is_default: bool,
}

impl Networks {
    /// Reads the addresses in this process's network namespace. Fails if the kernel's tables cannot be read.
    pub(crate) fn read() -> io::Result<Self> {
        let trie = fs::read_to_string("/proc/net/fib_trie")?;
        let routes = fs::read_to_string("/proc/net/route")?;
        Ok(Self::parse(&trie, &routes))
    }

    #[cfg(test)]
    pub(crate) fn of(addresses: &[Ipv4Addr]) -> Self {
        let local = |address: &Ipv4Addr| LanAddress {
            address: *address,
            interface: String::new(),
            is_default: false,
        };
        Self(addresses.iter().map(local).collect())
    }

    fn parse(trie: &str, routes: &str) -> Self {
        let routes: Vec<Route<'_>> = routes.lines().filter_map(Route::parse).collect();
        let local = |address: Ipv4Addr| {
            let direct = routes.iter().filter(|route| route.has(address));
            let interface = direct.max_by_key(|route| route.mask);
            let interface = interface.map_or("", |route| route.interface);
            LanAddress {
                address,
                interface: interface.to_owned(),
                is_default: routes
                    .iter()
                    .any(|route| route.is_default() && route.interface == interface),
            }
        };
        Self(own_addresses(trie).into_iter().map(local).collect())
    }

    /// Selects the address for devices on the local network. If `wanted` is given, returns it if it is a private
    /// address of this machine. Otherwise, returns the only suitable address, preferring addresses on an interface with
    /// a default route. The error states what was expected.
    fn choose(&self, wanted: Option<Ipv4Addr>) -> Result<Ipv4Addr, String> {
        if let Some(wanted) = wanted {
            return self.check(wanted);
        }
        let all = self.0.iter();
        // Phones cannot join container, virtual machine or VPN networks.
        let is_virtual =
            |it: &LanAddress| VIRTUAL.iter().any(|name| it.interface.starts_with(name));
        let usual = || {
            all.clone()
                .filter(|it| is_lan(it.address) && !is_virtual(it))
        };
        let mut fitting: Vec<&LanAddress> = usual().filter(|it| it.is_default).collect();
        if fitting.is_empty() {
            fitting = usual().collect();
        }
        match fitting[..] {
            [one] => Ok(one.address),
            [] => Err(
                "this machine has no private IPv4 address on a network interface: connect it to the network of \
                 the device, or name an address with --lan=ADDRESS"
                    .into(),
            ),
            [..] => Err(format!(
                "several addresses of this machine match: {}; choose one with --lan=ADDRESS",
                listed(&fitting)
            )),
        }
    }

    fn check(&self, wanted: Ipv4Addr) -> Result<Ipv4Addr, String> {
        let ours: Vec<&LanAddress> = self.0.iter().filter(|it| is_lan(it.address)).collect();
        if !is_lan(wanted) {
            return Err(
                "must be a private IPv4 address; for others see --allow-remote and --dev-host"
                    .into(),
            );
        }
        if ours.iter().any(|it| it.address == wanted) {
            return Ok(wanted);
        }
        Err(match ours[..] {
            [] => "must be a private IPv4 address of this machine, which has none".into(),
            [..] => format!("must be an address of this machine: {}", listed(&ours)),
        })
    }
}

/// A line of `/proc/net/route`. The numbers are in native byte order.
struct Route<'t> {
    interface: &'t str,
    destination: u32,
    gateway: u32,
    mask: u32,
}

impl<'t> Route<'t> {
    fn parse(line: &'t str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |place: usize| {
            let word = u32::from_str_radix(words.get(place)?, 16).ok()?;
            Some(u32::from_be_bytes(word.to_ne_bytes()))
        };
        Some(Self {
            interface: words.first()?,
            destination: number(1)?,
            gateway: number(2)?,
            mask: number(7)?,
        })
    }

    fn is_default(&self) -> bool {
        self.destination == 0 && self.mask == 0
    }

    fn has(&self, address: Ipv4Addr) -> bool {
        self.gateway == 0 && self.mask != 0 && address.to_bits() & self.mask == self.destination
    }
}

/// Extracts this machine's addresses, without duplicates. In the trie, such an address is an entry `|-- ADDRESS`
/// followed by `/32 host LOCAL`.
fn own_addresses(trie: &str) -> Vec<Ipv4Addr> {
    let mut found = Vec::new();
    let mut entry = None;
    for line in trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            entry = address.parse().ok();
        } else if let (Some(address), "/32 host LOCAL") = (entry, line)
            && !found.contains(&address)
        {
            found.push(address);
        }
    }
    found
}

/// Returns whether an address may belong to a local network, because it is private (RFC 1918), link-local (RFC 3927) or
/// shared (RFC 6598).
fn is_lan(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    address.is_private() || address.is_link_local() || (first == 100 && second & 0xc0 == 64)
}

fn listed(addresses: &[&LanAddress]) -> String {
    let one = |it: &&LanAddress| match &*it.interface {
        "" => it.address.to_string(),
        interface => format!("{} ({interface})", it.address),
    };
    addresses.iter().map(one).collect::<Vec<_>>().join(", ")
}

const VIRTUAL: [&str; 17] = [
    "br-",
    "cali",
    "cilium",
    "cni",
    "docker",
    "flannel",
    "lo",
    "lxc",
    "lxdbr",
    "podman",
    "tailscale",
    "tap",
    "tun",
    "veth",
    "virbr",
    "vmnet",
    "wg",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::draft::ConfigError;
    use broker_core::settings::Profile;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 2);

    fn listeners(settings: &Settings) -> Vec<String> {
        settings.listen.iter().map(ToString::to_string).collect()
    }

    fn with_lan(mut settings: Settings) -> (Settings, usize) {
        let mut findings = Findings::default();
        let networks = Networks::of(&[ADDRESS]);
        apply(Some(ADDRESS), Ok(networks), &mut settings, &mut findings);
        (settings, findings.faults.len())
    }

    /// Returns whether the last listener serves pages.
    fn of_lan(settings: &Settings) -> bool {
        let last = u16::try_from(settings.listen.len() - 1);
        settings.has_pages(last.unwrap())
    }

    #[test]
    fn a_tls_listener_is_added_at_the_same_port() {
        let (settings, faults) = with_lan(Settings::new(Profile::Default, true));
        assert_eq!(faults, 0);
        let all = listeners(&settings);
        assert_eq!(all.last().unwrap(), "https://192.168.77.2:8443", "{all:?}");
        assert!(all.contains(&"http://127.0.0.1:8080".to_owned()), "{all:?}");
        assert_eq!(settings.dev_hosts, ["192.168.77.2"]);
        assert_eq!(
            settings.lan_url().as_deref(),
            Some("https://192.168.77.2:8443")
        );
        assert!(!settings.has_pages(0) && of_lan(&settings));
    }

    #[test]
    fn a_container_serves_all_its_addresses_and_keeps_what_was_named() {
        let mut settings = Settings::new(Profile::Default, true);
        let mut findings = Findings::default();
        publish(&mut settings, &findings);
        let all = settings.listen.iter().map(|listen| listen.addr);
        for (addr, port) in all.chain(settings.admin.listen).zip([8080, 8443, 8090]) {
            assert!(addr.ip().is_unspecified() && addr.port() == port, "{addr}");
        }
        assert!(settings.container && settings.allow_remote);
        assert_eq!(settings.data_dir.to_str(), Some(IN_MEMORY));
        let mut settings = Settings::new(Profile::Default, true);
        let named = settings.clone();
        for key in ["listen", "admin.listen", "data_dir"] {
            findings.written(key, ValuePlace::Flag("--x"));
        }
        publish(&mut settings, &findings);
        assert_eq!(listeners(&settings), listeners(&named));
        assert_eq!(settings.admin, named.admin);
        assert_eq!(settings.data_dir, named.data_dir);
    }

    #[test]
    fn a_listener_on_all_addresses_is_enough() {
        let mut settings = Settings::new(Profile::Default, true);
        settings.listen = vec![Listen {
            scheme: Scheme::Https,
            addr: "0.0.0.0:9443".parse().unwrap(),
        }];
        let (settings, _) = with_lan(settings);
        assert_eq!(listeners(&settings), ["https://0.0.0.0:9443"]);
        assert_eq!(
            settings.lan_url().as_deref(),
            Some("https://192.168.77.2:9443")
        );
    }

    #[test]
    fn a_fault_without_an_address_names_the_flag_alone() {
        let mut settings = Settings::new(Profile::Default, true);
        let mut findings = Findings::default();
        apply(None, Ok(Networks::default()), &mut settings, &mut findings);
        let error = ConfigError::new(None, findings.faults).to_string();
        assert!(error.starts_with("--lan: "), "{error}");
    }

    #[test]
    fn without_an_admin_listener_there_are_no_pages() {
        let mut settings = Settings::new(Profile::Default, true);
        settings.admin.listen = None;
        assert_eq!(with_lan(settings).1, 1);
    }
}

#[cfg(test)]
mod lan_tests {
    use super::*;

    const TRIE: &str = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 192.168.1.0\n        /24 link UNICAST\n     \
        |-- 192.168.1.20\n        /32 host LOCAL\n     |-- 192.168.1.255\n        /32 link BROADCAST\n     \
        |-- 127.0.0.1\n        /32 host LOCAL\n     |-- 172.17.0.1\n        /32 host LOCAL\n     \
        |-- 10.8.0.2\n        /32 host LOCAL\nLocal:\n     |-- 192.168.1.20\n        /32 host LOCAL\n";

    /// A line of the routing table: interface, destination, gateway and mask.
    type Line = (&'static str, [u8; 4], [u8; 4], [u8; 4]);

    /// Formats a table with these lines.
    fn routes(lines: &[Line]) -> String {
        let hex = |octets: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(octets));
        let line = |(interface, to, by, mask): &Line| {
            let (to, by, mask) = (hex(*to), hex(*by), hex(*mask));
            format!("{interface}\t{to}\t{by}\t0003\t0\t0\t0\t{mask}\t0\t0\t0\n")
        };
        let head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n".to_owned();
        head + &lines.iter().map(line).collect::<String>()
    }

    const NONE: [u8; 4] = [0; 4];
    const WLAN: Line = ("wlan0", [192, 168, 1, 0], NONE, [255, 255, 255, 0]);
    const DOCKER: Line = ("docker0", [172, 17, 0, 0], NONE, [255, 255, 0, 0]);
    const CABLE: Line = ("eth0", [10, 8, 0, 0], NONE, [255, 255, 255, 0]);
    const BY_WLAN: Line = ("wlan0", NONE, [192, 168, 1, 1], NONE);
    const BY_CABLE: Line = ("eth0", NONE, [10, 8, 0, 1], NONE);

    fn choose(lines: &[Line], wanted: Option<[u8; 4]>) -> Result<String, String> {
        let networks = Networks::parse(TRIE, &routes(lines));
        let chosen = networks.choose(wanted.map(Ipv4Addr::from))?;
        Ok(chosen.to_string())
    }

    #[test]
    fn the_address_with_the_default_route_is_taken() {
        let all = [WLAN, DOCKER, CABLE, BY_WLAN];
        assert_eq!(choose(&all, None).unwrap(), "192.168.1.20");
        let all = [WLAN, DOCKER, CABLE, BY_CABLE];
        assert_eq!(choose(&all, None).unwrap(), "10.8.0.2");
    }

    #[test]
    fn of_several_the_operator_chooses() {
        for all in [
            vec![WLAN, DOCKER, CABLE, BY_WLAN, BY_CABLE],
            vec![WLAN, DOCKER, CABLE],
        ] {
            let said = choose(&all, None).unwrap_err();
            testkit::assert_has(
                &said,
                &["192.168.1.20 (wlan0), 10.8.0.2 (eth0); choose one with --lan=ADDRESS"],
            );
            assert!(!said.contains("172.17"), "{said}");
            assert_eq!(choose(&all, Some([10, 8, 0, 2])).unwrap(), "10.8.0.2");
        }
    }

    #[test]
    fn an_address_that_is_not_ours_or_of_no_local_network_is_refused() {
        let all = [WLAN, DOCKER, BY_WLAN];
        let said = choose(&all, Some([192, 168, 1, 21])).unwrap_err();
        assert!(said.contains("192.168.1.20 (wlan0)"), "{said}");
        for other in [
            [0, 0, 0, 0],
            [127, 0, 0, 1],
            [203, 0, 113, 1],
            [172, 32, 0, 1],
        ] {
            let said = choose(&all, Some(other)).unwrap_err();
            assert!(said.contains("a private IPv4 address"), "{other:?}: {said}");
        }
        assert_eq!(
            choose(&[DOCKER], Some([172, 17, 0, 1])).unwrap(),
            "172.17.0.1"
        );
    }

    #[test]
    fn without_a_local_network_there_is_none() {
        let networks = Networks::parse("|-- 127.0.0.1\n /32 host LOCAL\n", "");
        let said = networks.choose(None).unwrap_err();
        assert!(said.contains("no private IPv4 address"), "{said}");
        assert_eq!(
            Networks::parse("", "nonsense\n\n"),
            Networks::default(),
            "a table that is not understood has no address"
        );
    }
}
