//! The endpoints that a worker knows, the connections waiting for one to be resolved, and the resolver thread.

use crate::address::{AddressError, AddressFamily, Endpoint};
use crate::plan::{CertificateTrust, Plan};
use crate::worker::Worker;
use crate::worker::{lines::Route, tls::Client};
use ahash::AHashMap;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

pub(crate) struct Directory {
    places: AHashMap<Endpoint, EndpointState>,
    lookups: Option<Sender<LookupRequest>>,
    reply: Sender<LookupAnswer>,
    found: Receiver<LookupAnswer>,
}

enum EndpointState {
    Route(u16),
    /// The endpoint is being resolved. These connections, identified by number and generation, are waiting for it.
    Asked(Vec<(u32, u32)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndpointRoute {
    Known(u16),
    Asked,
    /// There is no route. The failure is counted under this name.
    Refused(&'static str),
}

impl Directory {
    pub(crate) fn new(routes: &[Arc<Route>], lookups: Option<Sender<LookupRequest>>) -> Self {
        let (reply, found) = mpsc::channel();
        let endpoint = |route: &Route| Endpoint {
            tls: route.target.tls,
            host: route.target.host.clone(),
            port: route.target.address.port(),
            authority: route.target.authority.clone(),
        };
        let numbered = routes.iter().zip(0..);
        Self {
            places: numbered
                .map(|(route, number)| (endpoint(route), EndpointState::Route(number)))
                .collect(),
            lookups,
            reply,
            found,
        }
    }

    pub(crate) fn way(&mut self, endpoint: &Endpoint, connection: (u32, u32)) -> EndpointRoute {
        match self.places.get_mut(endpoint) {
            Some(EndpointState::Route(number)) => return EndpointRoute::Known(*number),
            Some(EndpointState::Asked(waiting)) => {
                waiting.push(connection);
                return EndpointRoute::Asked;
            }
            None => {}
        }
        if self.places.len() >= ENDPOINTS_MAX {
            return EndpointRoute::Refused("endpoints_too_many");
        }
        let ask = LookupRequest {
            endpoint: endpoint.clone(),
            reply: self.reply.clone(),
        };
        let lookups = self.lookups.as_ref();
        if lookups.is_none_or(|lookups| lookups.send(ask).is_err()) {
            return EndpointRoute::Refused("endpoint_lookup_ended");
        }
        self.places
            .insert(endpoint.clone(), EndpointState::Asked(vec![connection]));
        EndpointRoute::Asked
    }

    /// Records the route to an endpoint, or that there is none. Returns the connections that were waiting for the
    /// endpoint.
    fn settle(&mut self, endpoint: Endpoint, route: Option<u16>) -> Vec<(u32, u32)> {
        let before = match route {
            Some(number) => self.places.insert(endpoint, EndpointState::Route(number)),
            None => self.places.remove(&endpoint),
        };
        match before {
            Some(EndpointState::Asked(waiting)) => waiting,
            Some(EndpointState::Route(_)) | None => Vec::new(),
        }
    }
}

impl Worker<'_> {
    pub(crate) fn hear_lookups(&mut self) {
        while let Ok((endpoint, found)) = self.directory.found.try_recv() {
            let route = found.and_then(|route| {
                let number = self.lines.add_route(route);
                number.ok_or_else(|| "endpoints_too_many".to_owned())
            });
            let waiting = self
                .directory
                .settle(endpoint, route.as_ref().ok().copied());
            for (line, generation) in waiting {
                // The connection may have timed out in the meantime.
                let waits = self.lines.generation(line) == generation
                    && self.crew.discovery(line).is_some();
                match &route {
                    Ok(_) if waits => self.call(line),
                    Err(kind) if waits => self.lost(line, kind),
                    Ok(_) | Err(_) => {}
                }
            }
        }
    }
}

type LookupAnswer = (Endpoint, Result<Arc<Route>, String>);

#[derive(Debug)]
pub(crate) struct LookupRequest {
    pub(crate) endpoint: Endpoint,
    pub(crate) reply: Sender<LookupAnswer>,
}

/// Starts the resolver thread of a process, which resolves only endpoints that the plan permits. The thread exits when
/// all senders of requests have been dropped, and is never joined.
pub(crate) fn start_resolver(plan: Plan) -> Sender<LookupRequest> {
    let (lookups, inbox) = mpsc::channel::<LookupRequest>();
    let mut finder = Finder {
        plan,
        client: None,
        known: AHashMap::new(),
    };
    thread::spawn(move || {
        for LookupRequest { endpoint, reply } in inbox {
            let found = finder.find(&endpoint);
            // Sending fails if the worker has exited.
            let _ = reply.send((endpoint, found));
        }
    });
    lookups
}

struct Finder {
    plan: Plan,
    /// TLS configuration of the first endpoint. The others reuse it, so that the certificate authorities are read only
    /// once.
    client: Option<Client>,
    known: AHashMap<Endpoint, Arc<Route>>,
}

impl Finder {
    /// Returns the route to an endpoint. Does not cache failures, because a later attempt may succeed.
    fn find(&mut self, endpoint: &Endpoint) -> Result<Arc<Route>, String> {
        if let Some(route) = self.known.get(endpoint) {
            return Ok(Arc::clone(route));
        }
        if self.known.len() >= ENDPOINTS_MAX {
            return Err("endpoints_too_many".into());
        }
        let family = match self.plan.sources {
            Some(_) => AddressFamily::V4,
            None => AddressFamily::Any,
        };
        let target = endpoint
            .clone()
            .look_up(self.plan.abroad, family)
            .map_err(|error| {
                match error {
                    AddressError::NotLoopback(_) => "endpoint_not_loopback",
                    AddressError::Unresolved(_) => "endpoint_unresolved",
                    AddressError::Target(..) | AddressError::Sources(_) => "endpoint_bad",
                }
                .to_owned()
            })?;
        let unchecked = target.tls && self.plan.trust == CertificateTrust::Anyone;
        if unchecked && !target.is_near() {
            return Err("endpoint_not_loopback_insecure".into());
        }
        let tls = if target.tls {
            Some(self.client(&target.host)?)
        } else {
            None
        };
        let route = Arc::new(Route { target, tls });
        self.known.insert(endpoint.clone(), Arc::clone(&route));
        Ok(route)
    }

    fn client(&mut self, host: &str) -> Result<Client, String> {
        let client = match &self.client {
            Some(client) => client.towards(host),
            None => {
                let first = Client::new(&self.plan.trust, self.plan.resumes, host)
                    .map_err(|error| format!("tls: {error}"))?;
                let first = first.ok_or("tls: no certificate authority is trusted")?;
                self.client = Some(first.clone());
                Ok(first)
            }
        };
        client.map_err(|error| format!("tls: {error}"))
    }
}

/// Maximum number of endpoints in a run. A service has only a few per region. Sessions with an endpoint beyond this
/// limit fail.
const ENDPOINTS_MAX: usize = 4_096;
const _: () = assert!(
    ENDPOINTS_MAX + 65 <= u16::MAX as usize,
    "with all targets and a detour they have numbers"
);

#[cfg(test)]
mod lookup_tests {
    use super::*;
    use crate::address::SourceRange;
    use crate::plan::tests::plan;

    fn finder(trust: CertificateTrust, abroad: bool, family: AddressFamily) -> Finder {
        let sources = SourceRange::parse("127.0.0.1").ok();
        Finder {
            plan: Plan {
                trust,
                abroad,
                sources: sources.filter(|_| family == AddressFamily::V4),
                ..plan("").unwrap()
            },
            client: None,
            known: AHashMap::new(),
        }
    }

    fn find(finder: &mut Finder, url: &str) -> Result<Arc<Route>, String> {
        finder.find(&Endpoint::parse(url).unwrap())
    }

    #[test]
    fn other_machines_need_leave_however_they_are_named() {
        let mut near = finder(CertificateTrust::NotNeeded, false, AddressFamily::Any);
        let found = find(&mut near, "ws://192.0.2.1").unwrap_err();
        assert_eq!(found, "endpoint_not_loopback");
        assert!(find(&mut near, "ws://localhost:7").is_ok());
        assert_eq!(near.known.len(), 1);
        let mut owned = finder(CertificateTrust::Anyone, true, AddressFamily::Any);
        assert!(find(&mut owned, "ws://192.0.2.1").is_ok());
        let found = find(&mut owned, "wss://192.0.2.1").unwrap_err();
        assert_eq!(found, "endpoint_not_loopback_insecure");
    }

    #[test]
    fn a_route_has_the_given_name_and_port() {
        let mut finder = finder(CertificateTrust::Anyone, false, AddressFamily::V4);
        let route = find(&mut finder, "wss://localhost").unwrap();
        assert!(route.tls.is_some() && route.target.address.is_ipv4());
        assert_eq!(route.target.address.port(), 443);
        let found = (route.target.host.as_str(), route.target.authority.as_str());
        assert_eq!(found, ("localhost", "localhost"));
        assert!(Arc::ptr_eq(
            &route,
            &find(&mut finder, "https://localhost:443").unwrap()
        ));
        let name = find(&mut finder, "wss://[::1]:8443").unwrap_err();
        assert_eq!(name, "endpoint_unresolved");
    }

    #[test]
    fn endpoints_are_bounded() {
        let mut finder = finder(CertificateTrust::NotNeeded, false, AddressFamily::Any);
        for port in 1..=ENDPOINTS_MAX {
            assert!(find(&mut finder, &format!("ws://127.0.0.1:{port}")).is_ok());
        }
        let found = find(&mut finder, "ws://127.0.0.1:60000").unwrap_err();
        assert_eq!(found, "endpoints_too_many");
        assert!(find(&mut finder, "ws://127.0.0.1:1").is_ok());
    }
}
