//! Answers of API calls beyond a channel's record: endpoints, and ICE servers with their credentials. Pure functions of
//! configuration, request and time.

pub(crate) mod endpoint;
mod ice;

pub use endpoint::{EndpointRequest, endpoint, node_label, web_socket_url};
pub use ice::ice;
