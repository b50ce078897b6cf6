//! The recipient of a message: codec/PROTOCOL.md, ROUTE.

use crate::channel::{Live, Towards};
use crate::id::SessionKey;
use codec::signal::{Action, Role};

/// The destination of a message: a small value, never the message itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// To this connection.
    To(SessionKey),
    /// The recipient is not connected: it is kept.
    Keep(Towards),
    /// It answers an Alexa call.
    AnswersCall,
    /// A candidate for an Alexa call, which does not trickle: dropped.
    TooLateForCall,
}

impl Live {
    /// The way of a message by its sender's role. `recipient` is the viewer's id that a master named.
    ///
    /// A waiting call is looked up before the viewers (ALEXA-2). A master's offers do not get here unless they are
    /// allowed.
    #[must_use]
    pub(crate) fn route(&self, from: Role, action: Action, recipient: &str) -> Route {
        match from {
            Role::Viewer => self
                .members
                .to_master()
                .map_or(Route::Keep(Towards::Master), Route::To),
            Role::Master => {
                if !self.calls.is_empty() && self.calls.of(recipient).is_some() {
                    match action {
                        Action::SdpAnswer => return Route::AnswersCall,
                        Action::IceCandidate => return Route::TooLateForCall,
                        Action::SdpOffer => {}
                    }
                }
                self.members
                    .to_viewer(recipient)
                    .map_or(Route::Keep(Towards::Viewer), Route::To)
            }
        }
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::channel::calls::Waiting;
    use crate::channel::members::Slot;
    use crate::id::{CallRef, ShardId};
    use crate::time::Now;

    fn key(slot: u32) -> SessionKey {
        SessionKey::new(slot, 0)
    }

    #[test]
    fn the_table_of_routes() {
        let mut live = Live::default();
        let routes = |live: &Live| {
            [
                live.route(Role::Viewer, Action::SdpOffer, "v1"),
                live.route(Role::Master, Action::SdpAnswer, "v1"),
                live.route(Role::Master, Action::SdpAnswer, "alexa"),
                live.route(Role::Master, Action::IceCandidate, "alexa"),
            ]
        };
        let (to_master, to_viewer) = (Route::Keep(Towards::Master), Route::Keep(Towards::Viewer));
        assert_eq!(routes(&live), [to_master, to_viewer, to_viewer, to_viewer]);
        let hasher = ahash::RandomState::with_seeds(1, 2, 3, 4);
        live.members
            .join(Slot::Master, key(1), (10, &hasher), Now(0))
            .unwrap();
        live.members
            .join(Slot::Viewer("v1".into()), key(2), (10, &hasher), Now(0))
            .unwrap();
        live.members
            .join(Slot::Viewer("alexa".into()), key(3), (10, &hasher), Now(0))
            .unwrap();
        assert_eq!(
            routes(&live),
            [key(1), key(2), key(3), key(3)].map(Route::To)
        );
        let caller = CallRef {
            shard: ShardId(0),
            session: key(9),
            serial: 0,
            account: crate::id::Account(0),
            change: false,
        };
        let (sender, frame) = ("alexa".into(), Box::default());
        live.calls.add(Waiting {
            caller,
            sender,
            expires: Now(1),
            order: 1,
            frame,
            given: Some(key(1)),
            had: Vec::new(),
            delivered: true,
        });
        assert_eq!(
            routes(&live)[2..],
            [Route::AnswersCall, Route::TooLateForCall]
        );
        assert_eq!(
            live.route(Role::Viewer, Action::SdpOffer, "v2"),
            Route::To(key(1)),
            "a viewer reaches the master only"
        );
    }
}
