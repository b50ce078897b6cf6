//! The viewers' slots of one channel: by client id, the connection that has it.

use crate::id::SessionKey;
use ahash::RandomState;
use std::collections::HashMap;
use std::rc::Rc;

/// Viewers by client id. Most channels have one viewer at a time, who is kept in place: a hash table takes some 250
/// bytes. Its hasher is an argument, since it is the same for all channels of a shard.
#[derive(Debug, Default)]
pub(crate) enum Viewers {
    /// Nobody.
    #[default]
    None,
    /// One, without a table.
    One(Rc<str>, SessionKey),
    /// Several, or fewer that were several: the table goes with the last one.
    Many(
        #[expect(
            clippy::box_collection,
            reason = "a table and its hasher are 64 bytes, in every channel in use"
        )]
        Box<HashMap<Rc<str>, SessionKey, RandomState>>,
    ),
}

const _: () = assert!(size_of::<Viewers>() <= 32);

impl Viewers {
    /// The connection of a client id.
    pub(crate) fn get(&self, id: &str) -> Option<SessionKey> {
        match self {
            Self::None => None,
            Self::One(only, session) => (**only == *id).then_some(*session),
            Self::Many(viewers) => viewers.get(id).copied(),
        }
    }

    /// The number of viewers.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::One(..) => 1,
            Self::Many(viewers) => viewers.len(),
        }
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    /// All connections, in no particular order.
    pub(crate) fn sessions(&self) -> Vec<SessionKey> {
        match self {
            Self::None => Vec::new(),
            Self::One(_, session) => vec![*session],
            Self::Many(viewers) => viewers.values().copied().collect(),
        }
    }

    /// The connection takes the slot of a client id; returns the one that had it.
    pub(crate) fn insert(
        &mut self,
        id: Rc<str>,
        session: SessionKey,
        hasher: &RandomState,
    ) -> Option<SessionKey> {
        match self {
            Self::None => {
                *self = Self::One(id, session);
                None
            }
            Self::One(only, older) if *only == id => Some(std::mem::replace(older, session)),
            Self::One(..) => {
                let mut viewers = HashMap::with_capacity_and_hasher(2, hasher.clone());
                if let Self::One(only, older) = std::mem::take(self) {
                    viewers.insert(only, older);
                }
                viewers.insert(id, session);
                *self = Self::Many(Box::new(viewers));
                None
            }
            Self::Many(viewers) => viewers.insert(id, session),
        }
    }

    /// The slot of a client id that is there is this connection's from here on.
    pub(crate) fn replace(&mut self, id: &str, session: SessionKey) {
        match self {
            Self::One(only, older) if **only == *id => *older = session,
            Self::None | Self::One(..) => {}
            Self::Many(viewers) => {
                if let Some(older) = viewers.get_mut(id) {
                    *older = session;
                }
            }
        }
    }

    /// The slot of a client id is free.
    pub(crate) fn remove(&mut self, id: &str) {
        match self {
            Self::None => {}
            Self::One(only, _) => {
                if **only == *id {
                    *self = Self::None;
                }
            }
            Self::Many(viewers) => {
                viewers.remove(id);
                if viewers.is_empty() {
                    *self = Self::None;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    fn key(slot: u32) -> SessionKey {
        SessionKey::new(slot, 0)
    }

    /// Every step is compared with an ordered map, through one, several and none.
    #[test]
    fn it_answers_as_a_map_does() {
        let hasher = RandomState::with_seeds(1, 2, 3, 4);
        let mut random = fastrand::Rng::with_seed(11);
        let mut viewers = Viewers::default();
        let mut model = std::collections::BTreeMap::new();
        let (mut tables, mut emptied) = (0, 0);
        for step in 0..20_000 {
            let id = format!("v{}", random.u32(..4));
            if random.u32(..100) < 45 {
                let older = viewers.insert(Rc::from(&*id), key(step), &hasher);
                assert_eq!(older, model.insert(id, key(step)));
            } else {
                viewers.remove(&id);
                emptied += u32::from(model.remove(&id).is_some() && model.is_empty());
            }
            for id in ["v0", "v1", "v2", "v3", "v4"] {
                assert_eq!(viewers.get(id), model.get(id).copied());
            }
            let (mut found, mut expected) =
                (viewers.sessions(), Vec::from_iter(model.values().copied()));
            found.sort_unstable();
            expected.sort_unstable();
            assert_eq!((found, viewers.len()), (expected, model.len()));
            assert_eq!(viewers.is_empty(), model.is_empty());
            tables += u32::from(matches!(viewers, Viewers::Many(_)));
        }
        assert!(tables > 1_000 && emptied > 100, "{tables} {emptied}");
    }

    #[test]
    fn one_viewer_has_no_table() {
        let hasher = RandomState::with_seeds(1, 2, 3, 4);
        let mut viewers = Viewers::default();
        assert_eq!(viewers.insert("v".into(), key(1), &hasher), None);
        assert_eq!(viewers.insert("v".into(), key(2), &hasher), Some(key(1)));
        assert!(matches!(viewers, Viewers::One(..)));
    }
}
