//! What is wrong, by cause: a night with one revoked key and single troubles, its repair, and marks.

use crate::http::{Connection, admin, get};
use crate::peer::Peer;
use crate::process::command;
use crate::signed::reload::write;
use crate::signed::service::{Service, principal};
use crate::signed::signer::{Call, Signer};
use serde_json::{Value, json};
use testkit::until;

const ALL: &str = r#"
[policy.all]
document = '{"Statement": [{"Effect": "Allow", "Action": ["kinesisvideo:*", "sts:*"], "Resource": "*"}]}'
"#;

/// Cameras with the key of the fleet, and those with a key each.
pub(super) const FLEET: usize = 30;
pub(super) const SINGLES: usize = 8;
/// Further channels, on which all is well.
const WELL: usize = 2;

pub(super) fn file(fleet: bool) -> String {
    let singles = (0..SINGLES).map(|number| format!("single{number}"));
    let names = singles
        .chain(["well".to_owned()])
        .chain(fleet.then(|| "fleet".to_owned()));
    names
        .map(|name| principal(&name, r#"["all"]"#, ""))
        .collect::<String>()
        + ALL
}

/// The status of a refused connect as the master of a channel.
pub(super) fn refused(service: &Service, signer: &Signer, arn: &str) -> u16 {
    let mut connection = Connection::open(service.broker.plain);
    connection.send(
        &signer
            .presign(Call::master(&service.broker, arn), 60)
            .bytes(),
    );
    connection.answer().expect("an answer").status
}

pub(super) fn problems(service: &Service, query: &str) -> Value {
    get(
        service.broker.admin,
        &format!("/problems?limit=1000{query}"),
    )
    .json()
}

/// The rows of a check.
pub(super) fn of_check<'d>(document: &'d Value, check: &str) -> Vec<&'d Value> {
    let rows = document["problems"].as_array().expect("a list").iter();
    rows.filter(|row| row["check"] == check).collect()
}

#[test]
fn a_revoked_key_is_one_row_until_all_its_cameras_are_back() {
    let service = Service::with(&file(true), &[], 2);
    let (fleet, well) = (Signer::new("fleet"), Signer::new("well"));
    let create = |name: &str, count| -> Vec<String> {
        (0..count)
            .map(|number| service.create(&well, &format!("{name}-{number}")))
            .collect()
    };
    let (cameras, singles, others) = (
        create("cam", FLEET),
        create("single", SINGLES),
        create("well", WELL),
    );
    let connected: Vec<_> = others
        .iter()
        .map(|arn| service.connect(&well.presign(Call::master(&service.broker, arn), 60)))
        .collect();

    write(&service, "credentials.toml", &file(false));
    until("the key is revoked", || {
        (refused(&service, &fleet, &cameras[0]) == 403).then_some(())
    });
    for arn in &cameras {
        until("it is refused", || {
            (refused(&service, &fleet, arn) == 403).then_some(())
        });
    }
    for (number, arn) in singles.iter().enumerate() {
        let late = Signer::new(&format!("single{number}")).ahead(-3600);
        assert_eq!(refused(&service, &late, arn), 403);
    }
    let seen = until("the rows", || {
        let seen = problems(&service, "&ended=false");
        let fleet = of_check(&seen, "unknown_key").first()?["channels"] == FLEET;
        (fleet && of_check(&seen, "url_expired").len() == SINGLES).then_some(seen)
    });
    let row = names_the_key(&service, &fleet, &seen);
    is_shown_everywhere(&service, &fleet, &row);

    write(&service, "credentials.toml", &file(true));
    let come_back = |arn: &String| {
        // Each shard applies the file by itself.
        until("the key counts again", || {
            let call = fleet.presign(Call::master(&service.broker, arn), 60);
            let (answer, connection) = service.open(&call);
            (answer.status == 101).then(|| Peer::after_upgrade(connection))
        })
    };
    let back: Vec<_> = cameras.iter().map(come_back).collect();
    let ended = until("its end", || {
        let seen = problems(&service, "&ended=true");
        of_check(&seen, "unknown_key")
            .first()
            .map(|row| (*row).clone())
    });
    assert_eq!(
        (&ended["id"], &ended["endedBy"]),
        (&row["id"], &json!("camera back"))
    );
    // The cameras that are well beside: all of the fleet again, and the others.
    let id = ended["id"].as_str().expect("an id");
    let row = get(service.broker.admin, &format!("/problems/{id}")).json();
    let shared = row["shared"].as_array().expect("a list").iter();
    let of_key = shared.filter(|it| it["what"] == "key" || it["what"] == "principal");
    let healthy: Vec<_> = of_key
        .map(|it| [&it["healthy"], &it["ofHealthy"]])
        .collect();
    let wanted = [&json!(FLEET), &json!(FLEET + WELL)];
    assert!(
        !healthy.is_empty() && healthy.iter().all(|it| *it == wanted),
        "{row}"
    );
    drop((connected, back));
    service.end();
}

/// The row of the fleet, with its key, its members and its onset; and one row for each single trouble.
fn names_the_key(service: &Service, fleet: &Signer, seen: &Value) -> Value {
    let row = of_check(seen, "unknown_key")[0].clone();
    assert_eq!(
        row["cause"],
        json!({ "by": "key", "value": fleet.id }),
        "{row}"
    );
    assert_eq!(
        (&row["channels"], &row["check"]),
        (&json!(FLEET), &json!("unknown_key"))
    );
    assert_eq!(of_check(seen, "unknown_key").len(), 1);
    let single = of_check(seen, "url_expired");
    assert_eq!(single.len(), SINGLES);
    assert!(
        single
            .iter()
            .all(|row| row["cause"]["by"] == "channel" && row["channels"] == 1),
        "{single:?}"
    );
    let refusals = get(
        service.broker.admin,
        "/refusals?check=unknown_key&limit=1000",
    )
    .json();
    let first = refusals["refusals"]
        .as_array()
        .expect("a list")
        .last()
        .expect("the first");
    assert_eq!(row["first"], first["at"], "the onset");
    let whole = get(
        service.broker.admin,
        &format!("/problems/{}", row["id"].as_str().expect("an id")),
    )
    .json();
    assert_eq!(
        (whole["members"].as_array().map(Vec::len), &whole["more"]),
        (Some(FLEET), &json!(0))
    );
    assert_eq!(whole["shared"][0]["members"], FLEET);
    row
}

/// The row in `/overview`, in the metrics, and on the screen of `top`.
fn is_shown_everywhere(service: &Service, fleet: &Signer, row: &Value) {
    let more = 1 + SINGLES as u64;
    let overview = get(service.broker.admin, "/overview").json();
    assert!(
        overview["problemsOpen"].as_u64() >= Some(more),
        "{overview}"
    );
    assert_eq!(of_check(&overview, "unknown_key")[0]["id"], row["id"]);
    let metrics = get(service.broker.admin, "/metrics").text();
    let figure = metrics
        .lines()
        .find_map(|line| line.strip_prefix("heliograph_problems{look=\"bad\"} "));
    assert!(
        figure.and_then(|it| it.parse::<u64>().ok()) >= Some(more),
        "{metrics}"
    );
    let admin = format!("http://{}", service.broker.admin);
    let top = command()
        .args(["top", "--admin", &admin])
        .output()
        .expect("it runs");
    let top = String::from_utf8(top.stdout).expect("UTF-8");
    assert!(
        top.contains(&format!("Key {}: unknown key, {FLEET} channels", fleet.id)),
        "{top}"
    );
    assert!(top.lines().all(|line| line.chars().count() <= 80), "{top}");
}

#[test]
fn an_operator_says_that_a_problem_is_known() {
    let service = Service::with(&file(true), &[], 1);
    let arn = service.create(&Signer::new("well"), "cam");
    assert_eq!(
        refused(&service, &Signer::new("single0").ahead(-3600), &arn),
        403
    );
    let id = until("the row", || {
        let seen = problems(&service, "");
        let id = of_check(&seen, "url_expired").first()?["id"].as_str()?;
        Some(id.to_owned())
    });
    let path = format!("/problems/{id}/known");
    let mark = |body: &str| admin(service.broker.admin, "POST", &path, body);
    for body in [
        "",
        r#"{"until":"2020-01-01T00:00:00Z","why":"a move"}"#,
        r#"{"until":"2999-01-01T00:00:00Z","why":""}"#,
    ] {
        assert_eq!(mark(body).status, 400, "{body}");
    }
    let marked = mark(r#"{"until":"2999-01-01T00:00:00Z","why":"a move"}"#).json();
    assert_eq!(
        marked["known"],
        json!({ "until": "2999-01-01T00:00:00.000Z", "by": "token", "why": "a move" })
    );
    let overview = || get(service.broker.admin, "/overview").json();
    assert_eq!(
        of_check(&overview(), "url_expired")[0]["known"]["why"],
        "a move"
    );
    let known = overview()["problemsOpen"].as_u64();
    assert_eq!(admin(service.broker.admin, "DELETE", &path, "").status, 200);
    assert_eq!(overview()["problemsOpen"].as_u64(), known.map(|it| it + 1));
    for operation in ["MarkProblem", "UnmarkProblem"] {
        service.broker.logged(&[operation], 1);
    }
    assert_eq!(
        admin(service.broker.admin, "DELETE", "/problems/0/known", "").status,
        404
    );
    service.end();
}
