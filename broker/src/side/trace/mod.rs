//! What happened on a channel, what that suggests, and the viewers whose session did not go well.

mod hints;
pub(super) mod page;
mod story;
pub(super) mod troubled;
