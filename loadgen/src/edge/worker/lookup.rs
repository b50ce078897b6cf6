//! Looks up where discovery leads, on a thread of its own: a resolver may take seconds, in which no session must wait
//! for another's.

use crate::address::{AddressError, Endpoint, Family};
use crate::edge::worker::lines::Route;
use crate::edge::worker::tls::Client;
use crate::plan::{Plan, Trust};
use ahash::AHashMap;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread;

/// The thread that resolves endpoints, one per process. It ends when no sender of questions is left; it is not joined.
#[derive(Debug)]
pub(crate) struct Lookup {
    asks: Sender<LookupRequest>,
}

/// An endpoint, and the way there or under which name its failure is counted.
pub(crate) type LookupAnswer = (Endpoint, Result<Arc<Route>, String>);

/// One question.
#[derive(Debug)]
pub(crate) struct LookupRequest {
    pub(crate) endpoint: Endpoint,
    pub(crate) reply: Sender<LookupAnswer>,
}

impl Lookup {
    /// Begins the thread; what it finds must be allowed by the plan.
    pub(crate) fn start(plan: &Plan) -> Self {
        let (asks, inbox) = mpsc::channel::<LookupRequest>();
        let mut finder = Finder::new(plan);
        thread::spawn(move || {
            for LookupRequest { endpoint, reply } in inbox {
                let found = finder.find(&endpoint);
                // The worker may be through by now.
                let _ = reply.send((endpoint, found));
            }
        });
        Self { asks }
    }

    /// A way to ask.
    pub(crate) fn asks(&self) -> Sender<LookupRequest> {
        self.asks.clone()
    }
}

/// The endpoints that were found, and the rules for those to come.
struct Finder {
    trust: Trust,
    resumes: bool,
    /// Whether other machines are allowed.
    abroad: bool,
    family: Family,
    /// The trust of the first TLS endpoint, for all others: authorities are read once.
    client: Option<Client>,
    known: AHashMap<Endpoint, Arc<Route>>,
}

impl Finder {
    fn new(plan: &Plan) -> Self {
        Self {
            trust: plan.trust.clone(),
            resumes: plan.resumes,
            abroad: plan.abroad,
            family: plan.sources.map_or(Family::Any, |_| Family::V4),
            client: None,
            known: AHashMap::new(),
        }
    }

    /// Failures are not kept: a resolver may know better the next time.
    fn find(&mut self, endpoint: &Endpoint) -> Result<Arc<Route>, String> {
        if let Some(route) = self.known.get(endpoint) {
            return Ok(Arc::clone(route));
        }
        if self.known.len() >= ENDPOINTS_MAX {
            return Err("endpoints_too_many".into());
        }
        let target = endpoint
            .clone()
            .look_up(self.abroad, self.family)
            .map_err(|error| {
                match error {
                    AddressError::NotLoopback(_) => "endpoint_not_loopback",
                    AddressError::Unresolved(_) => "endpoint_unresolved",
                    AddressError::Target(_) | AddressError::Sources(_) => "endpoint_bad",
                }
                .to_owned()
            })?;
        let unchecked = target.tls && self.trust == Trust::Anyone;
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
                let first = Client::new(&self.trust, self.resumes, host)
                    .map_err(|error| format!("tls: {error}"))?;
                let first = first.ok_or("tls: nobody is trusted")?;
                self.client = Some(first.clone());
                Ok(first)
            }
        };
        client.map_err(|error| format!("tls: {error}"))
    }
}

/// Most endpoints of one run; a service has a few for each region. A session that is sent to yet another one fails.
pub(crate) const ENDPOINTS_MAX: usize = 4_096;
const _: () = assert!(
    ENDPOINTS_MAX + 65 <= u16::MAX as usize,
    "with all targets and a detour they have numbers"
);

#[cfg(test)]
mod tests {

    use super::*;

    fn finder(trust: Trust, abroad: bool, family: Family) -> Finder {
        Finder {
            trust,
            resumes: false,
            abroad,
            family,
            client: None,
            known: AHashMap::new(),
        }
    }

    fn find(finder: &mut Finder, url: &str) -> Result<Arc<Route>, String> {
        finder.find(&Endpoint::parse(url).unwrap())
    }

    #[test]
    fn other_machines_need_leave_however_they_are_named() {
        let mut near = finder(Trust::NotNeeded, false, Family::Any);
        assert_eq!(
            find(&mut near, "ws://192.0.2.1").unwrap_err(),
            "endpoint_not_loopback"
        );
        assert!(find(&mut near, "ws://localhost:7").is_ok());
        assert_eq!(near.known.len(), 1);
        let mut owned = finder(Trust::Anyone, true, Family::Any);
        assert!(find(&mut owned, "ws://192.0.2.1").is_ok());
        assert_eq!(
            find(&mut owned, "wss://192.0.2.1").unwrap_err(),
            "endpoint_not_loopback_insecure"
        );
    }

    #[test]
    fn a_route_has_the_given_name_and_port() {
        let mut finder = finder(Trust::Anyone, false, Family::V4);
        let route = find(&mut finder, "wss://localhost").unwrap();
        assert!(route.tls.is_some() && route.target.address.is_ipv4());
        assert_eq!(route.target.address.port(), 443);
        assert_eq!(
            (route.target.host.as_str(), route.target.authority.as_str()),
            ("localhost", "localhost")
        );
        assert!(Arc::ptr_eq(
            &route,
            &find(&mut finder, "https://localhost:443").unwrap()
        ));
        let name = find(&mut finder, "wss://[::1]:8443").unwrap_err();
        assert_eq!(name, "endpoint_unresolved");
    }

    #[test]
    fn endpoints_are_bounded() {
        let mut finder = finder(Trust::NotNeeded, false, Family::Any);
        for port in 1..=ENDPOINTS_MAX {
            assert!(find(&mut finder, &format!("ws://127.0.0.1:{port}")).is_ok());
        }
        assert_eq!(
            find(&mut finder, "ws://127.0.0.1:60000").unwrap_err(),
            "endpoints_too_many"
        );
        assert!(find(&mut finder, "ws://127.0.0.1:1").is_ok());
    }
}
