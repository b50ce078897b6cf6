//! The connected clients. Channels are looked up by name. Each channel holds its master, and its viewers by client id.

use crate::relay::place::Place;
use ahash::AHashMap;

#[derive(Debug)]
pub(crate) struct Directory<T> {
    channels: AHashMap<String, Channel<T>>,
    /// Number of clients that have been added so far. Stored with each client, to distinguish it from its predecessor.
    entered: u64,
}

#[derive(Debug)]
struct Channel<T> {
    master: Option<(u64, T)>,
    viewers: AHashMap<String, (u64, T)>,
}

impl<T> Default for Directory<T> {
    fn default() -> Self {
        Self {
            channels: AHashMap::new(),
            entered: 0,
        }
    }
}

impl<T> Directory<T> {
    /// Adds a client and replaces its predecessor, if any. Returns the number to pass to [`Self::leave`].
    pub(crate) fn enter(&mut self, place: &Place, way: T) -> u64 {
        self.entered += 1;
        let entry = (self.entered, way);
        let channel = self
            .channels
            .entry(place.channel.clone())
            .or_insert_with(|| Channel {
                master: None,
                viewers: AHashMap::new(),
            });
        match &place.viewer {
            None => channel.master = Some(entry),
            Some(viewer) => drop(channel.viewers.insert(viewer.clone(), entry)),
        }
        self.entered
    }

    /// Removes a client unless a successor has already replaced it. Also removes the channel if it is now empty.
    pub(crate) fn leave(&mut self, place: &Place, entered: u64) {
        let Some(channel) = self.channels.get_mut(&place.channel) else {
            return;
        };
        match &place.viewer {
            None => drop(channel.master.take_if(|(number, _)| *number == entered)),
            Some(viewer) => {
                if channel
                    .viewers
                    .get(viewer)
                    .is_some_and(|(number, _)| *number == entered)
                {
                    channel.viewers.remove(viewer);
                }
            }
        }
        if channel.master.is_none() && channel.viewers.is_empty() {
            self.channels.remove(&place.channel);
        }
    }

    /// Returns the entry of the client that should receive a message from `from`. For a master, this is the viewer that
    /// the message names; for a viewer, it is the master of the channel.
    pub(crate) fn find(&self, from: &Place, recipient: Option<&str>) -> Option<&T> {
        let channel = self.channels.get(&from.channel)?;
        let found = match (&from.viewer, recipient) {
            (Some(_), _) => channel.master.as_ref(),
            (None, Some(viewer)) => channel.viewers.get(viewer),
            (None, None) => None,
        };
        found.map(|(_, way)| way)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_lasts_as_long_as_its_clients() {
        let place = |viewer: Option<&str>| Place {
            channel: "c".into(),
            viewer: viewer.map(str::to_owned),
        };
        let (master, viewer) = (place(None), place(Some("v")));
        let mut directory = Directory::default();
        let first = directory.enter(&viewer, 1);
        assert_eq!(directory.find(&viewer, None), None);
        let second = directory.enter(&viewer, 2);
        directory.leave(&viewer, first);
        assert_eq!(directory.find(&master, Some("v")), Some(&2));
        let third = directory.enter(&master, 3);
        assert_eq!(directory.find(&viewer, Some("v")), Some(&3));
        assert_eq!(directory.find(&master, None), None);
        directory.leave(&viewer, second);
        directory.leave(&master, third);
        assert!(directory.channels.is_empty());
    }
}
