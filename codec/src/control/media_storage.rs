//! Operations of media ingestion, which the broker answers as for a channel without it.

pub(super) mod describe_mapped_resource_configuration;
pub(super) mod describe_media_storage_configuration;
pub(super) mod join_storage_session;
pub(super) mod update_media_storage_configuration;
