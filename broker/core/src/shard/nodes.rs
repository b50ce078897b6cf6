//! Other nodes: requests for their channels, and slots that come and go.

mod slots;
pub(crate) mod tunnel;
