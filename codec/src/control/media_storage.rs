//! Operations of media ingestion, which the broker answers as for a channel without it.

pub(crate) mod describe_mapped_resource_configuration;
pub(crate) mod describe_media_storage_configuration;
pub(crate) mod join_storage_session;
pub(crate) mod update_media_storage_configuration;
