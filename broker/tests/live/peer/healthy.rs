//! A pair that shows whether a broker still serves.

use super::{
    Peer, answer, candidate, candidate_to, master_query, offer, to_master, to_viewer, viewer_query,
};
use crate::process::Broker;
use rustls::ClientConfig;
use std::sync::Arc;

/// A master and a viewer with a channel of their own, who notice when the broker stops serving them.
pub(crate) struct HealthyPair {
    master: Peer,
    viewer: Peer,
    relayed: u32,
}

impl HealthyPair {
    /// Connects both.
    pub(crate) fn new(broker: &Broker) -> Self {
        Self::on(broker, &crate::process::arn("healthy"))
    }

    /// Connects both over TLS by this client.
    pub(crate) fn secure_as(broker: &Broker, client: &Arc<ClientConfig>) -> Self {
        let arn = crate::process::arn("healthy");
        let connect = |query: String| Peer::secure_as(broker, &query, Arc::clone(client));
        let mut pair = Self {
            master: connect(master_query(&arn)),
            viewer: connect(viewer_query(&arn, "well")),
            relayed: 0,
        };
        pair.relay();
        pair
    }

    /// Connects both to a channel that exists.
    pub(crate) fn on(broker: &Broker, arn: &str) -> Self {
        let mut pair = Self {
            master: Peer::master(broker, arn),
            viewer: Peer::viewer(broker, arn, "well"),
            relayed: 0,
        };
        pair.relay();
        pair
    }

    /// Two sessions of a pair on a channel that exists. Both close: what they had is not for the next ones there.
    pub(crate) fn once(broker: &Broker, arn: &str) {
        let mut pair = Self::on(broker, arn);
        pair.relay();
        pair.close();
    }

    /// Both close.
    pub(crate) fn close(self) {
        self.viewer.close();
        self.master.close();
    }

    /// An offer, its answer, and a candidate each way.
    pub(crate) fn relay(&mut self) {
        self.relayed += 1;
        let payload = format!("healthy{:08}=", self.relayed);
        self.viewer.send(&offer(&payload));
        self.master
            .expect(&to_master("SDP_OFFER", &payload, "well"));
        self.master.send(&answer("well", &payload));
        self.viewer.expect(&to_viewer("SDP_ANSWER", &payload));
        self.viewer.send(&candidate(&payload));
        self.master
            .expect(&to_master("ICE_CANDIDATE", &payload, "well"));
        self.master.send(&candidate_to("well", &payload));
        self.viewer.expect(&to_viewer("ICE_CANDIDATE", &payload));
    }
}
