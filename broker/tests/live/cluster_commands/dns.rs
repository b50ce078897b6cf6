//! `heliograph cluster dns`: records, and a balancer, by which names lead to nodes.

use crate::cluster_commands::commands::cluster;
use crate::cluster_commands::support::Place;
use crate::cluster_etcd::server::{self, Etcd};

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it needs etcd"]
fn dns_has_the_nodes_that_are_registered() {
    if !server::is_installed() {
        return;
    }
    let etcd = Etcd::start();
    cluster(&etcd);
    let said = Place::of(&etcd).run(&["dns"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(
        said.stderr.starts_with("advertise.domain: must be set"),
        "{said:?}"
    );
    let place = Place::with(&etcd.endpoint(), "[advertise]\ndomain = 'cams.example'");
    let text = place.well(&["dns"]);
    let records: Vec<_> = text.lines().filter(|line| !line.starts_with(';')).collect();
    assert_eq!(records, ["*.cams.example. 30 IN A 127.0.0.2"]);
    assert!(
        text.contains("; n3 is not registered: left out\n"),
        "{text}"
    );
    let config = std::fs::read_to_string(place.path("broker.toml")).unwrap();
    let direct = config.replace("[cluster]", "[cluster]\ndirect = true");
    std::fs::write(place.path("broker.toml"), direct).unwrap();
    let text = place.well(&["dns"]);
    let records: Vec<_> = text.lines().filter(|line| !line.starts_with(';')).collect();
    // The first digits of SHA-256 of the node's name.
    assert_eq!(
        records,
        [
            "*.cams.example. 30 IN A 127.0.0.2",
            "m-0480a93d.cams.example. 30 IN A 127.0.0.2",
            "v-0480a93d.cams.example. 30 IN A 127.0.0.2",
            "r-0480a93d.cams.example. 30 IN A 127.0.0.2",
        ]
    );
    let said = place.run(&["dns", "--haproxy"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.stderr.starts_with("listen: must have"), "{said:?}");
    let config = std::fs::read_to_string(place.path("broker.toml")).unwrap();
    let listen = "listen = ['https://0.0.0.0:9443']";
    std::fs::write(place.path("broker.toml"), format!("{listen}\n{config}")).unwrap();
    let text = place.well(&["dns", "--haproxy"]);
    for line in [
        "# n3 is not registered: left out",
        "    bind :443",
        "    use_backend of-n2 if { req.ssl_sni -i m-0480a93d.cams.example v-0480a93d.cams.example \
         r-0480a93d.cams.example }",
        "backend nodes",
        "    option httpchk",
        "    server n2 127.0.0.2:9443",
        "backend of-n2",
        "    server n2 127.0.0.2:9443 track nodes/n2",
    ] {
        let times = text.lines().filter(|one| *one == line).count();
        assert_eq!(times, 1, "{line}: {text}");
    }
}
