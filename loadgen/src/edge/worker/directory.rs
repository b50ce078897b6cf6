//! The endpoints that a worker knows, and the connections that wait for one that is being looked up.

use crate::address::Endpoint;
use crate::edge::worker::Worker;
use crate::edge::worker::lines::Route;
use crate::edge::worker::lookup::{ENDPOINTS_MAX, Lookup, LookupAnswer, LookupRequest};
use ahash::AHashMap;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

/// One per worker.
pub(crate) struct Directory {
    places: AHashMap<Endpoint, EndpointState>,
    asks: Option<Sender<LookupRequest>>,
    reply: Sender<LookupAnswer>,
    found: Receiver<LookupAnswer>,
}

/// The state of an endpoint.
enum EndpointState {
    /// It has a route of this number.
    Route(u16),
    /// It is being looked up; these connections wait, each a line and its generation. As many as there are lines at
    /// most.
    Asked(Vec<(u32, u32)>),
}

/// The way to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The route of this number.
    Known(u16),
    /// It is being looked up; the line is called again.
    Asked,
    /// There is none, under this name.
    Refused(&'static str),
}

impl Directory {
    /// The routes that are known from the start, by their numbers; what else is asked for is looked up there.
    pub(crate) fn new(routes: &[Arc<Route>], lookup: Option<&Lookup>) -> Self {
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
            asks: lookup.map(Lookup::asks),
            reply,
            found,
        }
    }

    /// The way to an endpoint, for this connection.
    pub(crate) fn way(&mut self, endpoint: &Endpoint, connection: (u32, u32)) -> Way {
        match self.places.get_mut(endpoint) {
            Some(EndpointState::Route(number)) => return Way::Known(*number),
            Some(EndpointState::Asked(waiting)) => {
                waiting.push(connection);
                return Way::Asked;
            }
            None => {}
        }
        if self.places.len() >= ENDPOINTS_MAX {
            return Way::Refused("endpoints_too_many");
        }
        let ask = LookupRequest {
            endpoint: endpoint.clone(),
            reply: self.reply.clone(),
        };
        let asked = self
            .asks
            .as_ref()
            .is_some_and(|asks| asks.send(ask).is_ok());
        if !asked {
            return Way::Refused("endpoint_lookup_ended");
        }
        self.places
            .insert(endpoint.clone(), EndpointState::Asked(vec![connection]));
        Way::Asked
    }

    /// Records the route of an endpoint, or that there is none; returns the connections that wait for it.
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
    /// Continues the connections whose endpoints were looked up.
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
                // It may have timed out meanwhile.
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
