//! etcd as one node sees it: the calls under way, their replies and the watch, and what they showed so far.
//!
//! | module | what it is |
//! |---|---|
//! | [`view`] | the slots, registrations and members, as of the revisions that are known |
//! | `calls` | the calls that have no reply so far, and the watch |
//! | `replies` | the effects of a reply, and of changes that the watch shows |

pub(crate) mod calls;
mod replies;
pub mod view;
