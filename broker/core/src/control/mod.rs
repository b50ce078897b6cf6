//! Answers of API calls beyond a channel's record: endpoints, and ICE servers with their credentials. Pure functions of
//! configuration, request and time.

mod endpoint;
mod ice;

pub(crate) use endpoint::host_name;
pub use endpoint::{EndpointRequest, endpoint, node_label, web_socket_url};
pub use ice::ice;
