//! The health check of `deploy/compose.yaml`, as the container runtime runs it: by a shell inside the container.

use crate::process::{Broker, until};
use std::process::Command;
use yaml_rust2::YamlLoader;

const COMPOSE: &str = include_str!("../../../deploy/compose.yaml");

#[test]
fn the_health_check_passes_while_the_broker_is_ready_and_not_otherwise() {
    let mut broker = Broker::dev(1);
    let port = broker.admin.port();
    assert!(healthy(port), "ready: {}", broker.ready);
    broker.signal("TERM");
    until("the end of the drain", || (!healthy(port)).then_some(()));
    assert!(
        broker
            .ended_within(std::time::Duration::from_secs(10))
            .success()
    );
    assert!(!healthy(port), "nobody listens");
}

fn healthy(port: u16) -> bool {
    let documents = YamlLoader::load_from_str(COMPOSE).expect("YAML");
    let test = documents[0]["services"]["broker"]["healthcheck"]["test"].clone();
    let words: Vec<String> = test
        .into_vec()
        .expect("a list")
        .into_iter()
        .map(|word| word.into_string().expect("a text"))
        .collect();
    assert_eq!(words[0], "CMD");
    // Compose writes a dollar sign as two.
    let script = words[3]
        .replace("$$", "$")
        .replace("/9090", &format!("/{port}"));
    Command::new(&words[1])
        .args([&words[2], &script])
        .stderr(std::process::Stdio::null())
        .status()
        .expect("a shell")
        .success()
}
