//! The sessions of tokens that connections of one shard share.

use crate::auth::session::Session;
use std::sync::{Arc, Weak};

/// The sessions of tokens with open connections: those of one token share one. One per shard; a token that another one
/// took the place of is parsed, and kept, once for each of its connections.
#[derive(Debug)]
pub struct SharedSessions {
    /// By a part of the access key id.
    places: Box<[Weak<Session>]>,
}

impl Default for SharedSessions {
    fn default() -> Self {
        Self {
            places: std::iter::repeat_with(Weak::new).take(PLACES).collect(),
        }
    }
}

impl SharedSessions {
    /// There are other credentials: no session of before is given to anybody.
    pub fn clear(&mut self) {
        self.places.fill(Weak::new());
    }

    /// The session of the same token that others have, or this one, which others have from here on.
    #[must_use]
    pub(crate) fn share(&mut self, session: Arc<Session>) -> Arc<Session> {
        if let Some(found) = self.find(&session) {
            return found;
        }
        if let Some(place) = self.places.get_mut(place_of(&session)) {
            *place = Arc::downgrade(&session);
        }
        session
    }

    /// The session of the same token that others have.
    pub(crate) fn find(&self, session: &Session) -> Option<Arc<Session>> {
        let found = self.places.get(place_of(session))?.upgrade()?;
        (found.key_id.as_str() == session.key_id.as_str()).then_some(found)
    }
}

/// The place of a token: access key ids are drawn by nobody, and each names one token.
fn place_of(session: &Session) -> usize {
    let bytes = session.key_id.as_str().bytes();
    let hash = bytes.fold(0_usize, |hash, byte| {
        hash.wrapping_mul(31).wrapping_add(byte.into())
    });
    hash % PLACES
}

/// Tokens whose connections share one session: 16 KiB of a shard.
const PLACES: usize = 2048;
