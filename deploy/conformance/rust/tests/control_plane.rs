//! The AWS SDK for Rust over the whole control plane: every operation, pages, and each error as its type. The
//! environment has AWS_ENDPOINT_URL, AWS_REGION, keys, and SSL_CERT_FILE. Ends with exit code 0, or by a panic that
//! says what differs.

use aws_config::BehaviorVersion;
use aws_sdk_kinesisvideo::Client;
use aws_sdk_kinesisvideo::error::ProvideErrorMetadata as _;
use aws_sdk_kinesisvideo::operation::RequestId as _;
use aws_sdk_kinesisvideo::types::{
    ChannelNameCondition, ChannelProtocol, ChannelRole, ChannelType, ComparisonOperator,
    MediaStorageConfiguration, MediaStorageConfigurationStatus,
    SingleMasterChannelEndpointConfiguration, SingleMasterConfiguration, Tag,
};
use std::time::{Duration, SystemTime};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let control = Client::new(&config);
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let prefix = format!("rust-{}", now.as_micros());
    let arn = channel(&control, &prefix).await;
    tags(&control, &arn).await;
    pages(&control, &prefix).await;
    media_storage(&control, &arn).await;
    let url = endpoints(&control, &arn).await;
    let signaling = aws_sdk_kinesisvideosignaling::config::Builder::from(&config);
    let signaling = signaling.endpoint_url(url).build();
    let signaling = aws_sdk_kinesisvideosignaling::Client::from_conf(signaling);
    data_plane(&signaling, &arn).await;
    end(&control, &prefix, &arn).await;
    println!("all operations of both models");
}

/// Creates a channel, describes it, changes it. Returns its ARN.
async fn channel(control: &Client, name: &str) -> String {
    let ttl = SingleMasterConfiguration::builder().message_ttl_seconds(30);
    let tag = Tag::builder().key("site").value("hall ü").build().unwrap();
    let create = || control.create_signaling_channel().channel_name(name);
    let made = create()
        .channel_type(ChannelType::SingleMaster)
        .single_master_configuration(ttl.build())
        .tags(tag);
    let arn = made.send().await.unwrap().channel_arn.unwrap();
    let again = create().send().await.unwrap_err().into_service_error();
    assert!(again.is_resource_in_use_exception(), "{again:?}");
    assert!(
        again.message().is_some() && again.request_id().is_some(),
        "{again:?}"
    );
    let wrong = create().channel_name("a/b").send().await.unwrap_err();
    assert!(
        wrong
            .as_service_error()
            .unwrap()
            .is_invalid_argument_exception()
    );

    let by_name = control.describe_signaling_channel().channel_name(name);
    let info = by_name.send().await.unwrap().channel_info.unwrap();
    assert_eq!(info.channel_arn(), Some(&*arn));
    let created = info.creation_time().unwrap().secs();
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    assert!(now.abs_diff(created.try_into().unwrap()) < 60, "{created}");
    let update = |version: &str| {
        let ttl = SingleMasterConfiguration::builder().message_ttl_seconds(90);
        let update = control.update_signaling_channel().channel_arn(&arn);
        let update = update.current_version(version);
        update.single_master_configuration(ttl.build()).send()
    };
    let other = update("wrong").await.unwrap_err().into_service_error();
    assert!(other.is_version_mismatch_exception(), "{other:?}");
    update(info.version().unwrap()).await.unwrap();
    let by_arn = control.describe_signaling_channel().channel_arn(&arn);
    let info = by_arn.send().await.unwrap().channel_info.unwrap();
    let ttl = info.single_master_configuration().unwrap();
    assert_eq!(ttl.message_ttl_seconds(), Some(90));
    arn
}

async fn tags(control: &Client, arn: &str) {
    let tag = Tag::builder().key("owner").value("Zoë").build().unwrap();
    let add = control.tag_resource().resource_arn(arn).tags(tag);
    add.send().await.unwrap();
    let remove = control.untag_resource().resource_arn(arn);
    remove.tag_key_list("site").send().await.unwrap();
    let list = control.list_tags_for_resource().resource_arn(arn).send();
    let found = list.await.unwrap().tags.unwrap();
    assert_eq!(Vec::from_iter(found), [("owner".into(), "Zoë".into())]);
}

async fn pages(control: &Client, prefix: &str) {
    let names: Vec<String> = (0..8).map(|number| format!("{prefix}-{number}")).collect();
    for name in &names {
        let create = control.create_signaling_channel().channel_name(name);
        create.send().await.unwrap();
    }
    let condition = ChannelNameCondition::builder()
        .comparison_operator(ComparisonOperator::BeginsWith)
        .comparison_value(format!("{prefix}-"));
    let list = control.list_signaling_channels();
    let list = list.channel_name_condition(condition.build());
    let mut pages = list.into_paginator().page_size(3).send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        let infos = page.unwrap().channel_info_list.unwrap();
        assert!(infos.len() <= 3, "{infos:?}");
        found.extend(infos.into_iter().map(|info| info.channel_name.unwrap()));
    }
    assert_eq!(found, names);
}

async fn media_storage(control: &Client, arn: &str) {
    let describe = control.describe_media_storage_configuration();
    let found = describe.channel_arn(arn).send().await.unwrap();
    let found = found.media_storage_configuration.unwrap();
    assert_eq!(found.status(), &MediaStorageConfigurationStatus::Disabled);
    let enabled = MediaStorageConfiguration::builder()
        .status(MediaStorageConfigurationStatus::Enabled)
        .stream_arn(arn.replace(":channel/", ":stream/"));
    let update = control
        .update_media_storage_configuration()
        .channel_arn(arn);
    let update = update.media_storage_configuration(enabled.build().unwrap());
    let refused = update.send().await.unwrap_err().into_service_error();
    assert!(refused.is_invalid_argument_exception(), "{refused:?}");
    let mapped = control.describe_mapped_resource_configuration();
    let mapped = mapped.stream_arn(arn.replace(":channel/", ":stream/"));
    let mapped = mapped.send().await.unwrap();
    assert!(mapped.mapped_resource_configuration_list().is_empty());
}

/// The endpoint of both protocols for both roles. Returns that of HTTPS.
async fn endpoints(control: &Client, arn: &str) -> String {
    let mut url = None;
    for role in [ChannelRole::Viewer, ChannelRole::Master] {
        let wanted = SingleMasterChannelEndpointConfiguration::builder()
            .protocols(ChannelProtocol::Https)
            .protocols(ChannelProtocol::Wss)
            .role(role);
        let ask = control.get_signaling_channel_endpoint().channel_arn(arn);
        let ask = ask.single_master_channel_endpoint_configuration(wanted.build());
        let list = ask.send().await.unwrap().resource_endpoint_list.unwrap();
        for (protocol, scheme) in [
            (ChannelProtocol::Https, "https://"),
            (ChannelProtocol::Wss, "wss://"),
        ] {
            let mut found = list.iter();
            let found = found.find(|endpoint| endpoint.protocol() == Some(&protocol));
            let found = found.unwrap().resource_endpoint().unwrap();
            assert!(found.starts_with(scheme), "{found}");
            if protocol == ChannelProtocol::Https {
                url = Some(found.to_owned());
            }
        }
    }
    url.unwrap()
}

async fn data_plane(signaling: &aws_sdk_kinesisvideosignaling::Client, arn: &str) {
    let ice = signaling
        .get_ice_server_config()
        .channel_arn(arn)
        .client_id("visitor");
    let list = ice.send().await.unwrap().ice_server_list.unwrap();
    assert!(!list.is_empty());
    let servers = list.iter().all(|server| !server.uris().is_empty());
    assert!(servers, "{list:?}");
    // Nobody is there to answer it: the call ends with the channel's time, which is longer than this program's.
    let offer = signaling.send_alexa_offer_to_master().channel_arn(arn);
    let offer = offer
        .sender_client_id("alexa")
        .message_payload("eyJ0eXBlIjoib2ZmZXIifQ==");
    let ended = tokio::time::timeout(Duration::from_secs(1), offer.send()).await;
    assert!(ended.is_err(), "{ended:?}");
}

async fn end(control: &Client, prefix: &str, arn: &str) {
    let delete = || control.delete_signaling_channel().channel_arn(arn);
    delete().send().await.unwrap();
    let gone = delete().send().await.unwrap_err().into_service_error();
    assert!(gone.is_resource_not_found_exception(), "{gone:?}");
    let describe = control.describe_signaling_channel().channel_name(prefix);
    let gone = describe.send().await.unwrap_err().into_service_error();
    assert!(gone.is_resource_not_found_exception(), "{gone:?}");
}
