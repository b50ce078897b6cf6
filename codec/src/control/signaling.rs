//! Operations at a channel's own endpoint: ICE servers, and offers of Alexa.

pub(super) mod get_ice_server_config;
pub(super) mod send_alexa_offer_to_master;
