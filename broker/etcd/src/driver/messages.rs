//! Messages to and from other nodes, and the addresses of the hosts on which these nodes run.

use crate::driver::connection::Strange;
use crate::driver::event::{Event, Resolved, TaskEvents};
use crate::limits::{
    HOST_ADDRESSES_MAX, LOOK_UP_AGAIN_MS, LOOK_UP_EVERY_MS, LOOK_UP_LATE_MS, LOOK_UPS_MAX,
    PARCEL_MESSAGE_BYTES_MAX,
};
use crate::names::{Name, shown};
use crate::parcels::{Part, PartArrival, Receiving, SendingParcels};
use crate::wire::{self, Message};
use crate::{peers::Peers, system::now, translate::Translator};
use broker_core::cluster::message::Parcel;
use broker_core::cluster::types::{NodeId, ParcelId};
use broker_core::time::Now;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use tracing::{info, warn};

pub(crate) struct PeerPost<P> {
    pub(crate) peers: P,
    pub(crate) hosts: Hosts,
    pub(crate) sending: SendingParcels,
    receiving: Receiving,
    strange: Strange,
    events: TaskEvents,
}

impl<P: Peers> PeerPost<P> {
    pub(crate) fn new(peers: P, events: TaskEvents) -> Self {
        Self {
            peers,
            hosts: Hosts::default(),
            sending: SendingParcels::default(),
            receiving: Receiving::default(),
            strange: Strange::default(),
            events,
        }
    }

    pub(crate) fn send(&mut self, to: NodeId, message: &Message, translator: &Translator) {
        let Some(name) = translator.names.name(to) else {
            return;
        };
        let bytes = wire::encode(message, &translator.names);
        let at = translator.peers(to).map(|address| self.hosts.at(address));
        self.peers.send(name, &at.unwrap_or_default(), bytes);
    }

    /// Sends a node a message that expects one reply.
    pub(crate) fn ask(&mut self, of: NodeId, message: &Message, translator: &Translator) {
        let (Some(name), Some(address)) = (translator.names.name(of), translator.peers(of)) else {
            return;
        };
        let bytes = wire::encode(message, &translator.names);
        self.peers.ask(name, &self.hosts.at(address), bytes);
    }

    pub(crate) fn send_to(&mut self, to: &Name, message: &Message, translator: &mut Translator) {
        if let Ok(node) = translator.names.number(to) {
            self.send(node, message, translator);
        }
    }

    /// Sends a slot's pending messages (a parcel), in several parts if they do not fit into one message.
    pub(crate) fn send_parcel(
        &mut self,
        to: &Name,
        parcel: Parcel,
        bytes: Vec<u8>,
        translator: &mut Translator,
    ) {
        let message = if bytes.len() <= PARCEL_MESSAGE_BYTES_MAX {
            Some(Message::Parcel(parcel, bytes))
        } else {
            let first = self.sending.begin(to.clone(), parcel, bytes, now());
            first.map(Message::Part) // `None` if too many parcels are being sent
        };
        if let Some(message) = message {
            self.send_to(to, &message, translator);
        }
    }

    /// Resends lost parts of parcels. Drops outgoing and incoming parcels that have made no progress for too long.
    pub(crate) fn send_parts_again(&mut self, translator: &mut Translator) {
        for (to, part) in self.sending.again(now()) {
            self.send_to(&to, &Message::Part(part), translator);
        }
        self.receiving.expire(now());
    }

    /// Handles the acknowledgement of a part by sending the next part of the parcel, if there is one.
    pub(crate) fn part_taken(
        &mut self,
        (from, name): (NodeId, &Name),
        id: ParcelId,
        number: u16,
        translator: &Translator,
    ) {
        if let Some(next) = self.sending.taken(name, id, number, now()) {
            self.send(from, &Message::Part(next), translator);
        }
    }

    /// Handles a part of a parcel. After the last part, returns the bytes of the parcel.
    pub(crate) fn part(
        &mut self,
        from: NodeId,
        part: Part,
        translator: &Translator,
    ) -> Option<Vec<u8>> {
        let id = part.parcel.id;
        let taken = Message::PartTaken(id, part.number);
        let (answer, whole) = match self.receiving.add(from, part, now()) {
            PartArrival::Taken => (taken, None),
            PartArrival::Whole(bytes) => (taken, Some(bytes)),
            PartArrival::Strange => return None,
            PartArrival::Refused => (Message::Receipt(id, false), None),
        };
        self.send(from, &answer, translator);
        whole
    }

    /// Decodes a message and returns it with the number of the node that sent it. Logs unreadable messages.
    pub(crate) fn read(
        &mut self,
        from: &Name,
        bytes: &[u8],
        translator: &mut Translator,
    ) -> Option<(NodeId, Message)> {
        let node = translator.names.number(from).ok()?;
        match wire::decode(bytes, &mut translator.names) {
            Ok(message) => Some((node, message)),
            Err(why) => {
                self.strange.note(node, from, why);
                None
            }
        }
    }

    /// Handles a failed connection to a node by resolving its host names again. Returns the node if its address is an
    /// IP address. Returns `None` for a host name, which may still resolve to a host on which the node no longer runs.
    pub(crate) fn unreached(&mut self, name: &Name, translator: &mut Translator) -> Option<NodeId> {
        let node = translator.names.number(name).ok()?;
        let inner = translator.inner(node).map(|inner| &*inner.address);
        for address in inner.into_iter().chain(translator.peers(node)) {
            self.hosts.doubt(address);
        }
        is_no_name(translator.peers(node)?).then_some(node)
    }

    /// Updates the hosts from the roster. Returns whether any node's address has changed since the previous call.
    pub(crate) fn follow(&mut self, translator: &mut Translator) -> bool {
        let has_moved = std::mem::take(&mut translator.moved);
        if has_moved {
            self.hosts.know(translator.of_others());
        }
        self.hosts.take_changed() || has_moved
    }

    /// Starts the lookups that are due, each on a thread of the runtime.
    pub(crate) fn look_up(&mut self) {
        for name in self.hosts.due(now()) {
            self.events.spawn(async move {
                let found = tokio::net::lookup_host((&*name, 0)).await;
                let found = found.map(|found| found.map(|at| at.ip()).collect());
                let found = found.map_err(|error| error.to_string().into());
                Event::LookedUp(name, found)
            });
        }
    }
}

// The addresses of the nodes' hosts. The roster may contain names instead of addresses.
//
// The system's resolver has no time limit, so each lookup runs on a separate thread, and each name is looked up by at
// most one thread at a time. A lookup that hangs delays updates only for its own name. While a lookup hangs or finds
// nothing, the last known addresses of the name remain in use, because a DNS outage must not cut nodes off. The
// resolver does not report how long an answer is valid. Names are therefore looked up again after a while, and soon
// after a failed connection.
//
// If a node has several addresses, shards and messages use one of them until it fails. Connecting to a second address
// to find out which is faster would mean a third connection per link.

#[derive(Debug, Default)]
pub(crate) struct Hosts {
    /// The hosts by name, at most two per node.
    names: BTreeMap<Box<str>, Host>,
    under_way: usize,
    /// Whether any address has changed since [`Self::take_changed`].
    changed: bool,
}

#[derive(Debug, Default)]
struct Host {
    /// The addresses found by the last successful lookup.
    addresses: Vec<IpAddr>,
    is_asked: bool,
    asked: Now,
    due: Now,
    is_noted: bool,
}

impl Hosts {
    /// Replaces the known hosts with the hosts in the roster. Each of `addresses` consists of a host and a port.
    fn know<'a>(&mut self, addresses: impl Iterator<Item = &'a str>) {
        let wanted: BTreeSet<&str> = addresses.filter_map(name_of).collect();
        self.names.retain(|name, _| wanted.contains(&**name));
        for name in wanted {
            self.names.entry(name.into()).or_default();
        }
    }

    pub(crate) fn at(&self, address: &str) -> Vec<SocketAddr> {
        if let Ok(at) = address.parse() {
            return vec![at];
        }
        let Some((name, port)) = address.rsplit_once(':') else {
            return Vec::new();
        };
        let Ok(port) = port.parse() else {
            return Vec::new();
        };
        let found = self.names.get(name).map(|host| &*host.addresses);
        let found = found.unwrap_or_default().iter();
        found.map(|ip| SocketAddr::new(*ip, port)).collect()
    }

    /// Schedules an early lookup, because a connection to this address has failed.
    fn doubt(&mut self, address: &str) {
        if let Some(host) = name_of(address).and_then(|name| self.names.get_mut(name)) {
            host.due = host.due.min(host.asked.after(LOOK_UP_AGAIN_MS));
        }
    }

    /// Returns the names that are due for a lookup. The caller must call [`Self::answered`] for each of them.
    pub(crate) fn due(&mut self, now: Now) -> Vec<Box<str>> {
        let mut names = Vec::new();
        for (name, host) in &mut self.names {
            if host.is_asked {
                let is_late = now.since(host.asked) >= LOOK_UP_LATE_MS;
                if is_late {
                    host.note(name, "the system's resolver does not answer");
                }
            } else if host.due <= now && self.under_way < LOOK_UPS_MAX {
                self.under_way += 1;
                host.is_asked = true;
                (host.asked, host.due) = (now, now.after(LOOK_UP_EVERY_MS));
                names.push(name.clone());
            }
        }
        names
    }

    pub(crate) fn answered(&mut self, name: &str, found: Resolved, now: Now) {
        self.under_way = self.under_way.saturating_sub(1);
        let Some(host) = self.names.get_mut(name).filter(|host| host.is_asked) else {
            return;
        };
        host.is_asked = false;
        host.due = now.after(LOOK_UP_EVERY_MS);
        match found {
            Ok(mut addresses) if !addresses.is_empty() => {
                addresses.truncate(HOST_ADDRESSES_MAX);
                self.changed |= host.found(name, addresses);
            }
            Ok(_) => host.leads_nowhere(name, "it has no address", now),
            Err(why) => host.leads_nowhere(name, &why, now),
        }
    }

    fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }
}

impl Host {
    /// Stores the resolved addresses. Returns whether the set of addresses has changed. The order is ignored, because
    /// resolvers vary it.
    fn found(&mut self, name: &str, addresses: Vec<IpAddr>) -> bool {
        let as_set = |addresses: &[IpAddr]| addresses.iter().copied().collect::<BTreeSet<_>>();
        let is_other = as_set(&addresses) != as_set(&self.addresses);
        if is_other || self.is_noted {
            let all: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            info!("{} resolves to {}", shown(name), all.join(" "));
        }
        if is_other {
            self.addresses = addresses;
        }
        self.is_noted = false;
        is_other
    }

    fn leads_nowhere(&mut self, name: &str, why: &str, now: Now) {
        self.due = now.after(LOOK_UP_AGAIN_MS);
        self.note(name, why);
    }

    fn note(&mut self, name: &str, why: &str) {
        if std::mem::replace(&mut self.is_noted, true) {
            return;
        }
        let rest = match self.addresses.len() {
            0 => "its node cannot be reached",
            _ => "using its last addresses",
        };
        let name = shown(name);
        warn!("{name}, the host of a node, cannot be resolved: {why}; {rest}");
    }
}

fn is_no_name(address: &str) -> bool {
    address.parse::<SocketAddr>().is_ok()
}

/// Returns whether the address is invalid. A valid one consists of an IP address or a host name, and a port.
pub(crate) fn is_none(address: &str) -> bool {
    !is_no_name(address) && name_of(address).is_none()
}

/// Returns the host name of an address, unless the host is given as an IP address.
fn name_of(address: &str) -> Option<&str> {
    if is_no_name(address) {
        return None;
    }
    let (name, port) = address.rsplit_once(':')?;
    port.parse::<u16>().ok()?;
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod hosts_tests {
    use super::*;

    const N1: &str = "n1.internal:7443";

    fn ips(texts: &[&str]) -> Resolved {
        Ok(texts.iter().map(|text| text.parse().unwrap()).collect())
    }

    fn leads(hosts: &Hosts, address: &str) -> Vec<String> {
        let found = hosts.at(address);
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_name_leads_to_its_addresses_and_an_address_to_itself() {
        let mut hosts = Hosts::default();
        #[rustfmt::skip] // a list
        hosts.know(
            [N1, "n1.internal:7444", "10.0.0.2:7443", "[::1]:7443", "x", ":1"]
            .into_iter(),
        );
        assert_eq!(hosts.due(Now(0)), ["n1.internal".into()]);
        assert_eq!(leads(&hosts, N1), [""; 0]);
        hosts.answered("n1.internal", ips(&["10.0.0.1", "fd00::1"]), Now(1));
        assert!(hosts.take_changed() && !hosts.take_changed());
        assert_eq!(leads(&hosts, N1), ["10.0.0.1:7443", "[fd00::1]:7443"]);
        let peers = leads(&hosts, "n1.internal:7444");
        assert_eq!(peers, ["10.0.0.1:7444", "[fd00::1]:7444"]);
        assert_eq!(leads(&hosts, "10.0.0.2:7443"), ["10.0.0.2:7443"]);
        assert_eq!(leads(&hosts, "[::1]:7443"), ["[::1]:7443"]);
        for wrong in ["n2.internal:7443", "n1.internal", "n1.internal:x", ""] {
            assert_eq!(leads(&hosts, wrong), [""; 0], "{wrong}");
            assert_eq!(is_none(wrong), wrong != "n2.internal:7443", "{wrong}");
        }
        assert!(is_no_name("[::1]:1") && !is_no_name(N1) && !is_none("[::1]:1"));
    }

    #[test]
    fn the_last_addresses_stay_while_a_name_leads_nowhere() {
        let mut hosts = Hosts::default();
        hosts.know([N1].into_iter());
        hosts.due(Now(0));
        hosts.answered("n1.internal", ips(&["10.0.0.1", "10.0.0.9"]), Now(1));
        hosts.take_changed();
        let mut at = 1 + LOOK_UP_EVERY_MS;
        assert_eq!(hosts.due(Now(at - 1)), []);
        for (found, after) in [
            (Err("no such name".into()), LOOK_UP_AGAIN_MS),
            (ips(&[]), LOOK_UP_AGAIN_MS),
            (ips(&["10.0.0.9", "10.0.0.1"]), LOOK_UP_EVERY_MS),
        ] {
            assert_eq!(hosts.due(Now(at)).len(), 1);
            hosts.answered("n1.internal", found, Now(at));
            assert_eq!(leads(&hosts, N1), ["10.0.0.1:7443", "10.0.0.9:7443"]);
            assert!(!hosts.take_changed());
            at += after;
            assert_eq!(hosts.due(Now(at - 1)), []);
        }
        hosts.due(Now(at));
        hosts.answered("n1.internal", ips(&["10.0.0.2"]), Now(at));
        assert_eq!(leads(&hosts, N1), ["10.0.0.2:7443"]);
        assert!(hosts.take_changed());
    }

    #[test]
    fn a_resolver_that_hangs_delays_no_other_name_and_is_not_asked_again() {
        let mut hosts = Hosts::default();
        hosts.know([N1, "n2.internal:1"].into_iter());
        assert_eq!(hosts.due(Now(0)).len(), 2);
        hosts.answered("n2.internal", ips(&["10.0.0.2"]), Now(1));
        for round in 1..10 {
            let at = Now(round * (LOOK_UP_EVERY_MS + 1));
            assert_eq!(hosts.due(at), ["n2.internal".into()]);
            hosts.answered("n2.internal", ips(&["10.0.0.2"]), at);
        }
        assert!(hosts.names["n1.internal"].is_noted);
        hosts.know(["n2.internal:1"].into_iter());
        assert_eq!(hosts.under_way, 1);
        hosts.answered("n1.internal", ips(&["10.0.0.1"]), Now(9));
        assert_eq!((hosts.under_way, leads(&hosts, N1).len()), (0, 0));
    }

    #[test]
    fn a_bounded_number_of_names_is_looked_up_at_a_time() {
        let mut hosts = Hosts::default();
        let all: Vec<String> = (0..=LOOK_UPS_MAX)
            .map(|number| format!("n{number}:1"))
            .collect();
        hosts.know(all.iter().map(String::as_str));
        let first = hosts.due(Now(0));
        assert_eq!((first.len(), hosts.due(Now(1)).len()), (LOOK_UPS_MAX, 0));
        let many: Vec<String> = (0..20).map(|last| format!("10.0.0.{last}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        hosts.answered(&first[0], ips(&many), Now(2));
        assert_eq!(
            hosts.at(&format!("{}:1", first[0])).len(),
            HOST_ADDRESSES_MAX
        );
        assert_eq!(hosts.due(Now(3)).len(), 1);
    }

    #[test]
    fn a_host_that_is_not_reached_is_looked_up_soon() {
        let mut hosts = Hosts::default();
        hosts.know([N1].into_iter());
        hosts.due(Now(10));
        hosts.answered("n1.internal", ips(&["10.0.0.1"]), Now(10));
        for address in [N1, "10.0.0.1:7443", "n9.internal:7443"] {
            hosts.doubt(address);
        }
        assert_eq!(hosts.due(Now(9 + LOOK_UP_AGAIN_MS)), []);
        assert_eq!(hosts.due(Now(10 + LOOK_UP_AGAIN_MS)).len(), 1);
        hosts.doubt(N1);
        assert_eq!(hosts.due(Now(100_000)), [], "it is asked already");
    }
}
