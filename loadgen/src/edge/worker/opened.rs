//! Connections that are open.

/// The lines whose connections are open. Each is counted once, whatever a service sends in one piece: an answer to an
/// upgrade and a close behind it are one event.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    lines: Vec<bool>,
    count: u64,
}

impl Opened {
    /// A connection was opened.
    pub(crate) fn add(&mut self, line: u32) {
        let index = line as usize;
        if self.lines.len() <= index {
            self.lines.resize(index + 1, false);
        }
        if let Some(is_open) = self.lines.get_mut(index) {
            self.count += u64::from(!std::mem::replace(is_open, true));
        }
    }

    /// A connection has ended, if it was open.
    pub(crate) fn remove(&mut self, line: u32) {
        if let Some(is_open) = self.lines.get_mut(line as usize) {
            self.count -= u64::from(std::mem::take(is_open));
        }
    }

    /// The number of open connections.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn each_line_counts_once() {
        let mut opened = Opened::default();
        opened.remove(3);
        (0..2).for_each(|_| opened.add(3));
        opened.add(0);
        assert_eq!(opened.count(), 2);
        (0..2).for_each(|_| opened.remove(3));
        assert_eq!(opened.count(), 1);
    }
}
