//! The places where the test double of `--dev` takes part: four steps, which are the shard's own unless a double does
//! something before them or in place of them.
//!
//! A shard has one [`Double`] from its start to its end: [`Production`], which adds nothing, or the one in `dev/`.
//! Three of the steps are called through it. The step of a message is compiled once for each, inlined into the loop
//! over frames (`Shard::frames_with`): the road of production has no test and no call for a double.

use crate::id::SessionKey;
use crate::session::http::Admission;
use crate::shard::calls::{self, BegunCall};
use crate::shard::connect::admission;
use crate::shard::road::conclude::{Judged, conclude};
use crate::shard::road::frames::Aside;
use crate::shard::road::parts::Parts;
use crate::shard::shares::admitted::Holder;
use crate::shard::todo::Todo;
use crate::time::Moment;

/// The steps that a test double may change.
pub(crate) trait Double {
    /// Admits a connection to its channel; false when it was refused, or is not answered.
    fn admission(
        &self,
        parts: Parts<'_>,
        key: SessionKey,
        admitted: (&Admission, Holder),
        at: Moment,
    ) -> bool {
        admission::admit(parts, key, admitted, at)
    }

    /// Begins a call whose signature was checked.
    fn call(&self, parts: Parts<'_>, begun: BegunCall, at: Moment) {
        calls::begin(parts, begun, at);
    }

    /// Passes a message on, or refuses it.
    ///
    /// # Errors
    /// [`Aside`] for a message that was refused, and when its sender has no open WebSocket any more.
    #[inline(always)]
    fn message(&self, parts: Parts<'_>, judged: Judged<'_>, at: Moment) -> Result<(), Aside> {
        conclude(parts, judged, at)
    }

    /// Delivers what a step left: kept messages, a question, the end of a connection. Returns what the shard is to do.
    fn delivery(&self, parts: Parts<'_>, left: Todo, at: Moment) -> Option<Todo> {
        let _ = (parts, at);
        Some(left)
    }
}

/// No double: every step is the shard's own.
#[derive(Clone, Copy, Default)]
pub(crate) struct Production;

impl Double for Production {}
