//! The buffers that sends have given to the kernel: owned here, in place, until their completion.

use crate::completion::Key;

/// A slab of sends under way. A send's user data is its place here, so a completion finds its buffer without a search.
#[derive(Default)]
pub(crate) struct Flight {
    places: Vec<SendSlot>,
    free: Vec<u32>,
}

enum SendSlot {
    Free,
    Taken { key: Key, bytes: Vec<u8> },
}

impl Flight {
    /// Takes a buffer in. Its heap block does not move until [`Self::land`], whatever happens to the slab.
    pub(crate) fn launch(&mut self, key: Key, bytes: Vec<u8>) -> u32 {
        let taken = SendSlot::Taken { key, bytes };
        if let Some(place) = self.free.pop() {
            self.places[place as usize] = taken;
            return place;
        }
        let place = u32::try_from(self.places.len())
            .expect("fewer sends than connections, and those have 24 bits");
        self.places.push(taken);
        place
    }

    /// The buffer at `place`, for the entry that points at it.
    pub(crate) fn bytes(&self, place: u32) -> &[u8] {
        match &self.places[place as usize] {
            SendSlot::Taken { bytes, .. } => bytes,
            SendSlot::Free => &[],
        }
    }

    /// Hands a buffer out again; its completion has arrived.
    ///
    /// # Panics
    /// When nothing is there: a completion came twice.
    pub(crate) fn land(&mut self, place: Key) -> (Key, Vec<u8>) {
        let place = u32::try_from(place.bits()).expect("made by launch");
        match std::mem::replace(&mut self.places[place as usize], SendSlot::Free) {
            SendSlot::Taken { key, bytes } => {
                self.free.push(place);
                (key, bytes)
            }
            SendSlot::Free => panic!("a send completed twice"),
        }
    }
}
