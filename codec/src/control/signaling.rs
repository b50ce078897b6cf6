//! Operations at a channel's own endpoint: ICE servers, and offers of Alexa.

pub(crate) mod get_ice_server_config;
pub(crate) mod send_alexa_offer_to_master;
