//! The official JavaScript SDK where it is at home: two pages of headless Chromium, one a camera and one its viewer,
//! with a real peer connection between them. The pages are deploy/conformance/browser.

use crate::client_coturn::TurnServer;
use crate::clients::{alone, at, credentials, give_card, python_with_clients, run, scripts};
use crate::cluster_netns::network::{Namespace, is_allowed};
use crate::listeners::tls::Identity;
use crate::operator::night::Night;
use crate::process::{Broker, beside, directory};
use crate::things::fleet::{Fleet, HOST};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::time::Duration;
use testkit::ended_within;

#[test]
#[ignore = "needs the clients that deploy/ci/check.sh installs"]
fn session_one_shard() {
    run(node("session.mjs"), &Broker::dev(1));
}

#[test]
#[ignore = "needs the clients that deploy/ci/check.sh installs"]
fn session_two_shards() {
    run(node("session.mjs"), &Broker::dev(2));
}

/// With no way between the pages but the relay, the credentials of GetIceServerConfig carry the media.
#[test]
#[ignore = "needs the clients that deploy/ci/check.sh installs"]
fn session_through_a_relay() {
    let turn = TurnServer::start("use-auth-secret\nstatic-auth-secret=north-wind\n");
    let broker = Broker::configured(&turn.ice("secret = \"north-wind\""), 2);
    let mut command = node("session.mjs");
    command.env("HELIOGRAPH_ICE_TRANSPORT", "relay");
    run(command, &broker);
}

/// A page that speaks WHEP, by the URL of `presign --whep` where requests are signed.
#[test]
#[ignore = "needs the clients that deploy/ci/check.sh installs"]
fn player_of_the_sdks_camera() {
    run(node("whep.mjs"), &Broker::dev(2));
    let mut command = node("whep.mjs");
    command.env("HELIOGRAPH_SIGNED", "1");
    run(command, &Broker::signed(&credentials(), 2));
}

/// With no way between the pages but the player's relay: candidates that the camera sends beside its answer count.
#[test]
#[ignore = "needs the clients that deploy/ci/check.sh installs"]
fn player_through_a_relay() {
    let turn = TurnServer::start("use-auth-secret\nstatic-auth-secret=north-wind\n");
    let broker = Broker::configured(&turn.ice("secret = \"north-wind\""), 2);
    let mut command = node("whep.mjs");
    command.env("HELIOGRAPH_ICE_TRANSPORT", "relay");
    run(command, &broker);
}

/// On a host of its own, where aiortc finds an address.
#[test]
#[ignore = "needs root and the clients that deploy/ci/check.sh installs"]
fn player_of_aiortcs_camera() {
    if !is_allowed() {
        return;
    }
    let host = Namespace::new();
    let _visit = host.visit();
    give_card();
    let broker = Broker::dev(2);
    let mut camera = python_with_clients();
    camera.args(["camera.py", "porch"]);
    at(&mut camera, &broker);
    camera.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut camera = camera.spawn().expect("the camera starts");
    let mut said = String::new();
    let stdout = camera.stdout.take().expect("its stdout");
    let _ = BufReader::new(stdout).read_line(&mut said);
    assert_eq!(said, "connected\n");
    let mut command = node("whep.mjs");
    command.env("HELIOGRAPH_CAMERA", "porch");
    at(&mut command, &broker);
    alone(command);
    drop(camera.stdin.take());
    assert!(ended_within(&mut camera, ENDS_WITHIN).is_some_and(|it| it.success()));
    broker.assert_balanced();
}

#[test]
#[ignore = "needs the clients that deploy/ci/check.sh installs"]
fn session_signed() {
    run(node("session.mjs"), &Broker::signed(&credentials(), 2));
}

#[test]
#[ignore = "needs the clients and the Firefox that deploy/ci/check.sh installs"]
fn session_in_firefox() {
    let mut command = node("session.mjs");
    command.env("HELIOGRAPH_FIREFOX", "/usr/bin/firefox-esr");
    run(command, &Broker::dev(2));
}

/// A page that no package has.
#[test]
#[ignore = "needs the clients and the Firefox that deploy/ci/check.sh installs, and a checkout of AWS' SDK"]
fn sample_page_of_aws() {
    if std::env::var_os("HELIOGRAPH_SAMPLE").is_none() {
        return eprintln!(
            "skipped: HELIOGRAPH_SAMPLE does not name the folder examples of a checkout of AWS' SDK"
        );
    }
    for firefox in [None, Some("/usr/bin/firefox-esr")] {
        let mut command = node("sample.mjs");
        command.envs(firefox.map(|program| ("HELIOGRAPH_FIREFOX", program)));
        run(command, &Broker::dev(2));
    }
}

/// A page with keys that a web back end asked for: one viewer of one channel, and nothing else.
#[test]
#[ignore = "needs the clients that deploy/ci/check.sh installs"]
fn temporary_keys() {
    run(node("signed.mjs"), &Broker::signed(&credentials(), 2));
}

/// Its certificate is one of the broker's own devices: it would be shown wherever one is asked for.
#[test]
#[ignore = "needs the clients that deploy/ci/check.sh installs"]
fn a_certificate_that_is_never_asked_for() {
    let fleet = Fleet::start(2);
    fleet.certify("cam-1", 1).write(&fleet.directory);
    let mut command = node("certificate.mjs");
    command.env("HELIOGRAPH_DEVICE", &fleet.directory);
    command.env("HELIOGRAPH_THINGS", HOST);
    run(command, &fleet.service.broker);
    fleet.end();
}

/// The operator's pages.
#[test]
#[ignore = "needs the clients that deploy/ci/check.sh installs"]
fn console_of_a_healthy_broker() {
    let broker = Broker::dev(2);
    let mut command = node("console.mjs");
    command.env("HELIOGRAPH_ADMIN", format!("http://{}", broker.admin));
    command.env("HELIOGRAPH_SCREENSHOTS", screenshots());
    run(command, &broker);
}

/// The same while clients are refused, channels are many and sessions end badly.
#[test]
#[ignore = "needs the clients that deploy/ci/check.sh installs"]
fn console_in_trouble() {
    let broker = Broker::dev(2);
    let mut command = node("console/operator.mjs");
    command.env("HELIOGRAPH_ADMIN", format!("http://{}", broker.admin));
    command.env("HELIOGRAPH_SCREENSHOTS", screenshots());
    run(command, &broker);
}

/// Eight tabs of one browser, which share a stream of events.
#[test]
#[ignore = "needs the clients that deploy/ci/check.sh installs"]
fn console_in_many_tabs() {
    let broker = Broker::dev(2);
    let mut command = node("console/tabs.mjs");
    command.env("HELIOGRAPH_ADMIN", format!("http://{}", broker.admin));
    run(command, &broker);
}

/// Causes and the history, as the broker would write them after a night of trouble.
#[test]
#[ignore = "needs the clients that deploy/ci/check.sh installs"]
fn console_over_time() {
    let broker = Broker::dev(1);
    let mut command = node("console/over_time.mjs");
    command.env("HELIOGRAPH_ADMIN", format!("http://{}", broker.admin));
    command.env("HELIOGRAPH_SCREENSHOTS", screenshots());
    run(command, &broker);
}

/// What a night was like, read by the keyboard alone: see [`Night`].
#[test]
#[ignore = "needs the clients that deploy/ci/check.sh installs"]
fn a_night_is_read_by_the_keyboard() {
    let night = Night::play();
    night.says_what_changed();
    let mut command = node("console/last_night.mjs");
    let admin = format!("http://{}", night.service.broker.admin);
    command.env("HELIOGRAPH_ADMIN", admin);
    command.env("HELIOGRAPH_NIGHT", night.told.to_string());
    command.env("HELIOGRAPH_SCREENSHOTS", screenshots());
    alone(command);
    night.service.end();
}

/// What axe says of every page, in both widths and colours.
#[test]
#[ignore = "needs the clients that deploy/ci/check.sh installs"]
fn pages_are_accessible() {
    let broker = Broker::dev(2);
    let mut command = node("console/accessible.mjs");
    command.env("HELIOGRAPH_ADMIN", format!("http://{}", broker.admin));
    run(command, &broker);
}

/// The same where the admin listener wants a token.
#[test]
#[ignore = "needs the clients that deploy/ci/check.sh installs"]
fn pages_ask_for_the_token() {
    let directory = directory();
    let token = directory.join("token");
    fs::write(&token, TOKEN).expect("a file under target/");
    let broker = Broker::configured(&format!("[admin]\ntoken_file = {token:?}\n"), 1);
    let mut command = node("token.mjs");
    command.env("HELIOGRAPH_TOKEN", TOKEN);
    run(command, &broker);
}

/// And where it takes people's accounts.
#[test]
#[ignore = "needs the clients that deploy/ci/check.sh installs"]
fn console_with_accounts() {
    crate::accounts::chromium::signs_in();
}

/// Reports of the load tester, with scripts and without.
#[test]
#[ignore = "needs the clients that deploy/ci/check.sh installs, and loadgen beside the broker"]
fn reports_of_loadgen() {
    let mut command = node("report.mjs");
    command.env("HELIOGRAPH_LOADGEN", beside("loadgen"));
    command.env("HELIOGRAPH_SCREENSHOTS", screenshots());
    alone(command);
}

/// The directory for pictures of pages, which people look at.
pub(crate) fn screenshots() -> std::path::PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| scripts("../../target"), Into::into)
        .join("screenshots")
}

/// The same page on a phone, which comes by the QR code of a computer's, in a network of their own.
#[test]
#[ignore = "needs the clients that deploy/ci/check.sh installs"]
fn try_page_on_a_phone() {
    crate::pages::lan::in_network("pages::lan::browser::");
}

/// The page to try the service, as a visitor uses it.
#[test]
#[ignore = "needs the clients that deploy/ci/check.sh installs"]
fn try_page_in_one_browser() {
    run(node("try.mjs"), &Broker::dev(2));
}

/// The same with a camera that sleeps until the broker's hook calls it.
#[test]
#[ignore = "needs the clients that deploy/ci/check.sh installs"]
fn try_page_with_a_sleeping_camera() {
    let mut command = node("try_sleeping.mjs");
    command.env("HELIOGRAPH_SCREENSHOTS", screenshots());
    alone(command);
}

/// The same in a network namespace that has loopback alone, until the script does what the page advises.
#[test]
#[ignore = "needs the clients that deploy/ci/check.sh installs, and root"]
fn try_page_without_a_network() {
    if !fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0) {
        eprintln!("skipped: only root can make network namespaces");
        return;
    }
    let mut command = Command::new("unshare");
    let words = "ip link set lo up && exec node \"$0\"";
    command
        .args(["--net", "sh", "-c", words])
        .arg(scripts("browser").join("try_no_network.mjs"))
        .env("HELIOGRAPH_SCREENSHOTS", screenshots());
    alone(command);
}

/// The same where requests are signed, over TLS and without --dev: the page gets sessions for the admin token.
#[test]
#[ignore = "needs the clients that deploy/ci/check.sh installs"]
fn try_page_signed() {
    let (identity, directory) = (Identity::new("127.0.0.1"), directory());
    let file = |name: &str, text: String| {
        let path = directory.join(name);
        fs::write(&path, text).expect("a file under target/");
        path.to_str().expect("a path in UTF-8").to_owned()
    };
    let token = file("token", TOKEN.into());
    let Identity { cert, key, .. } = &identity;
    let config = format!(
        "[admin]\ntry = true\ntoken_file = {token:?}\n[tls]\ncert = {cert:?}\nkey = {key:?}\n"
    );
    let config = file("broker.toml", config);
    let credentials = credentials();
    let credentials = credentials.to_str().expect("a path in UTF-8");
    #[rustfmt::skip] // a list
    let listen = ["--listen", "http://127.0.0.1:0", "--listen", "https://127.0.0.1:0"];
    let files = ["--credentials", credentials, "--config", &config];
    let mut broker = Broker::start(&[listen, files].concat(), 2);
    broker.authority = Some(identity.ca.clone());
    let mut command = node("try_signed.mjs");
    command.env("HELIOGRAPH_TOKEN", TOKEN);
    run(command, &broker);
}

/// Longest end of a camera: it says goodbye to its viewers.
const ENDS_WITHIN: Duration = Duration::from_secs(15);

const TOKEN: &str = "the-admin-token-of-these-tests";

pub(crate) fn node(script: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(scripts("browser").join(script));
    command
}
