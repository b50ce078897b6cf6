//! Whether something matches, and the work that it takes to find out.

use crate::aws::policy::condition::variable::Scratch;

/// Whether something matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Match {
    No,
    /// That depends on a value that is not known here.
    Open,
    Yes,
}

impl From<bool> for Match {
    fn from(matches: bool) -> Self {
        if matches { Self::Yes } else { Self::No }
    }
}

impl Match {
    pub(crate) const fn not(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Open => Self::Open,
            Self::Yes => Self::No,
        }
    }

    /// Whether one of several matches. Those behind the first that does are not looked at.
    pub(crate) fn any(several: impl IntoIterator<Item = Self>) -> Self {
        let mut best = Self::No;
        for one in several {
            best = best.max(one);
            if best == Self::Yes {
                break;
            }
        }
        best
    }

    /// Whether all of several match. Those behind the first that does not are not looked at.
    pub(crate) fn all(several: impl IntoIterator<Item = Self>) -> Self {
        Self::any(several.into_iter().map(Self::not)).not()
    }
}

/// The work of the conditions of a document, and room for texts whose variables are replaced.
pub(crate) struct Work {
    pub(crate) steps: u64,
    steps_max: u64,
    /// The condition of the last statement that did not hold: 0 is that on the client id, the others count from 1.
    pub(crate) failed: Option<u16>,
    /// Made when a text has to be expanded.
    scratch: Option<Scratch>,
}

impl Work {
    /// Work on a document of this number of bytes.
    pub(crate) const fn new(bytes: usize) -> Self {
        Self {
            steps: 0,
            steps_max: STEPS_FREE + bytes as u64 * STEPS_PER_BYTE,
            failed: None,
            scratch: None,
        }
    }

    /// Whether the conditions took more work than they may.
    pub(crate) const fn is_over(&self) -> bool {
        self.steps > self.steps_max
    }

    /// The steps that they may take.
    pub(crate) const fn steps_max(&self) -> u64 {
        self.steps_max
    }

    /// The room, and the counter of steps.
    pub(crate) fn scratch(&mut self) -> (&mut Scratch, &mut u64) {
        let scratch = self.scratch.get_or_insert([0; size_of::<Scratch>()]);
        (scratch, &mut self.steps)
    }
}

/// Steps that the conditions of any document may take.
const STEPS_FREE: u64 = 16 * 1024;

/// Steps that they may take beside for each of its bytes.
///
/// Each value of a request is compared with each one of the policy, and a request has up to 50 keys of tags: what a
/// document of 2,048 characters could ask for took milliseconds. What ten patterns with `*` in their middle take for
/// all of 50 keys is a third of [`STEPS_FREE`].
const STEPS_PER_BYTE: u64 = 8;
