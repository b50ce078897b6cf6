//! Rules, alerts, dashboard and runbook of `deploy/`, against a live scrape and each other; and the text of metrics
//! against `promtool`.

use crate::deploy::promql::{Selector, matchers, selectors};
use crate::deploy::promtool::Promtool;
use crate::http::get;
use crate::peer::HealthyPair;
use crate::process::{Broker, directory};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use yaml_rust2::{Yaml, YamlLoader};

const RECORDING: &str = include_str!("../../../../deploy/prometheus/recording.yml");
const ALERTS: &str = include_str!("../../../../deploy/prometheus/alerts.yml");
const ALERT_TESTS: &str = include_str!("../../../../deploy/prometheus/alerts_test.yml");
const DASHBOARD: &str = include_str!("../../../../deploy/grafana/heliograph.json");
const RUNBOOK: &str = include_str!("../../../../deploy/runbook.md");

/// Metrics that Prometheus itself has, of each target and of alerts.
const OF_PROMETHEUS: [&str; 3] = ["up", "scrape_duration_seconds", "ALERTS"];
/// Labels that Prometheus adds.
const OF_TARGETS: [&str; 2] = ["job", "instance"];

/// Metrics that no alert is about, each with the reason.
const UNALERTED: &str = include_str!("../../data/unalerted.tsv");

/// Every metric is in an alert, by itself or by a rule that an alert uses, or in the list of those that need none.
#[test]
fn every_metric_in_use_exists_and_every_trouble_has_an_alert() {
    let broker = crate::hooks::unheard();
    let other = crate::signed::web_identity::silent_provider();
    let fleet = crate::things::fleet::Fleet::start(1);
    let brokers = [&broker, &other.broker, &fleet.service.broker];
    let pages = brokers.map(|broker| get(broker.admin, "/metrics").text());
    let scrape = Scraped::of(&pages.concat());
    let recorded = recorded();
    let mut faults = Vec::new();
    let mut used = BTreeSet::new();
    for (place, expr) in all_expressions() {
        for selector in selectors(&expr) {
            used.insert(selector.name.clone());
            if let Some(fault) = scrape.fault(&selector, &recorded) {
                faults.push(format!("{place}: {fault}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let unused: Vec<_> = recorded.difference(&used).collect();
    assert!(unused.is_empty(), "rules that nothing uses: {unused:?}");
    let mut unalerted = BTreeSet::new();
    for line in UNALERTED.lines() {
        let (name, why) = line.split_once('\t').expect("a name and a reason");
        assert!(!why.trim().is_empty() && unalerted.insert(name), "{name}");
    }
    let alerted = alerted();
    let watched = |name: &&String| alerted.contains(*name);
    let unwatched = scrape.kinds.keys().filter(|name| !watched(name));
    let unwatched: BTreeSet<_> = unwatched.map(String::as_str).collect();
    assert_eq!(
        unwatched, unalerted,
        "metrics without an alert, and unalerted.tsv"
    );
    fleet.end();
}

/// The metrics that alerts are about, also by recorded rules; those of histograms by their common name.
fn alerted() -> BTreeSet<String> {
    let exprs = |text, key| {
        let rules = rules(text).into_iter();
        rules.map(move |rule| [key, "expr"].map(|it| rule[it].as_str().expect(it).to_owned()))
    };
    let mut rest: Vec<String> = exprs(ALERTS, "alert").map(|[_, expr]| expr).collect();
    let mut names = BTreeSet::new();
    while let Some(expr) = rest.pop() {
        for selector in selectors(&expr) {
            let recorded = exprs(RECORDING, "record").filter(|[name, _]| *name == selector.name);
            rest.extend(recorded.map(|[_, expr]| expr));
            let name = selector.name.as_str();
            let parts = ["_bucket", "_count"];
            let name = parts
                .iter()
                .find_map(|part| name.strip_suffix(part))
                .unwrap_or(name);
            names.insert(name.to_owned());
        }
    }
    names
}

#[test]
fn faults_of_expressions_are_found() {
    let text = "# TYPE a counter\na{o=\"x\"} 1\n# TYPE g gauge\ng 1\n# TYPE h histogram\nh_bucket{le=\"+Inf\"} 0\n";
    let scrape = Scraped::of(text);
    let fault = |expr: &str| scrape.fault(&selectors(expr)[0], &BTreeSet::from(["a:b".into()]));
    #[rustfmt::skip] // a list
    let cases = ["rate(a{o=\"x\",job=\"j\"}[5m])", "g", "rate(h_bucket{le=\"+Inf\"}[5m])", "a:b", "up"];
    for good in cases {
        assert_eq!(fault(good), None, "{good}");
    }
    #[rustfmt::skip] // a list
    let cases = [
        "rate(b[5m])", "rate(a{o=\"y\"}[5m])", "a{o=~\"x|y\"}", "a{p=\"x\"}", "rate(g[5m])", "h", "rate(h_count[5m])",
        "a:c",
    ];
    for bad in cases {
        assert!(fault(bad).is_some(), "{bad}");
    }
}

#[test]
fn the_process_is_described() {
    let broker = Broker::dev(2);
    let now = broker.scrape();
    for status in ["starting", "draining", "store_failed"] {
        let is = now.sum(&format!("heliograph_status{{status=\"{status}\"}}"));
        assert!(is < 0.5, "{status}");
    }
    assert!(now.sum("heliograph_status{status=\"ok\"}") > 0.5);
    let mib = 1024.0 * 1024.0;
    for (budget, most) in [("outbox", 64.0), ("pending", 48.0), ("requests", 64.0)] {
        let bytes = now.sum(&format!("heliograph_budget_bytes{{budget=\"{budget}\"}}"));
        assert!((bytes / mib - most).abs() < 0.01, "{budget}: {bytes}");
    }
    assert!(now.sum("heliograph_data_dir_free_bytes") > mib);
    let open = now.sum("process_max_fds");
    assert!(now.sum("heliograph_connections_max") > open / 2.0 || open > 1e6);
    assert!(now.sum("process_max_fds") > now.sum("process_open_fds"));
}

#[test]
fn every_alert_has_a_section_of_the_runbook_and_tests() {
    let sections: BTreeSet<&str> = RUNBOOK
        .lines()
        .filter_map(|line| line.strip_prefix("## Heliograph"))
        .collect();
    let (alerts, tests) = (rules(ALERTS), alert_tests());
    let mut names = BTreeSet::new();
    for alert in &alerts {
        let name = alert["alert"].as_str().expect("a name");
        let short = name.strip_prefix("Heliograph").expect("a prefix");
        names.insert(short);
        let link = alert["annotations"]["runbook"].as_str();
        let wanted = format!("deploy/runbook.md#{}", name.to_lowercase());
        assert_eq!(link, Some(wanted.as_str()), "{name}");
        let severity = alert["labels"]["severity"].as_str();
        assert!(matches!(severity, Some("page" | "ticket")), "{name}");
        assert!(alert["annotations"]["summary"].as_str().is_some(), "{name}");
        let (fires, quiet) = tests.get(name).copied().unwrap_or_default();
        assert!(fires > 0 && quiet > 0, "{name}: {fires} and {quiet} tests");
    }
    assert_eq!(names, sections, "alerts, and sections of the runbook");
    for section in RUNBOOK.split("\n## Heliograph").skip(1) {
        let name = section.lines().next().unwrap_or_default();
        for part in ["**Meaning.**", "**Do.**", "**Do not.**", "```sh\n"] {
            assert!(section.contains(part), "{name} has no {part}");
        }
        let commands = section.split("```").nth(1).unwrap_or_default();
        assert_eq!(
            commands.lines().skip(1).count(),
            3,
            "{name}: three commands"
        );
    }
}

#[test]
fn rules_and_their_tests_pass_promtool() {
    let Some(promtool) = Promtool::find() else {
        return;
    };
    promtool.passes(&["check", "rules", "recording.yml", "alerts.yml"], "");
    promtool.passes(&["test", "rules", "alerts_test.yml"], "");
}

#[test]
fn expressions_of_the_dashboard_pass_promtool() {
    let Some(promtool) = Promtool::find() else {
        return;
    };
    let mut text = String::from("groups:\n  - name: dashboard\n    rules:\n");
    for (number, (_, expr)) in dashboard_expressions().into_iter().enumerate() {
        let expr = Value::from(expr);
        text.push_str(&format!(
            "      - record: panel:number{number}\n        expr: {expr}\n"
        ));
    }
    let folder = directory();
    fs::write(folder.join("dashboard.yml"), text).expect("a file under target/");
    promtool.passes_in(&folder, &["check", "rules", "dashboard.yml"], "");
}

#[test]
fn the_dashboard_is_whole() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let is_row = |panel: &&Value| panel["type"] == "row";
    let rows: Vec<_> = panels.iter().filter(is_row).collect();
    let titles: Vec<_> = rows.iter().map(|row| row["title"].as_str()).collect();
    let wanted = ["Health", "Traffic", "Latency", "Capacity"].map(Some);
    assert_eq!(titles, wanted);
    let mut ids = BTreeSet::new();
    let mut places = BTreeSet::new();
    for panel in panels {
        let title = panel["title"].as_str().expect("a title");
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{title}");
        let side = |name: &str| panel["gridPos"][name].as_u64().expect("a place");
        for x in side("x")..side("x") + side("w") {
            for y in side("y")..side("y") + side("h") {
                assert!(x < 24 && places.insert((x, y)), "{title} covers another");
            }
        }
        if is_row(&panel) {
            continue;
        }
        let unit = panel["fieldConfig"]["defaults"]["unit"].as_str();
        assert!(unit.is_some_and(|unit| !unit.is_empty()), "{title}: a unit");
        assert!(panel["description"].as_str().is_some(), "{title}");
        for target in panel["targets"].as_array().expect("targets") {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            let expr = target["expr"].as_str().expect("an expression");
            for selector in selectors(&substituted(expr)) {
                let by_instance = selector.labels.iter().any(|(name, _)| name == "instance");
                assert!(by_instance, "{title}: {} of every instance", selector.name);
            }
        }
    }
    let variables = dashboard["templating"]["list"].as_array();
    let variables: Vec<_> = variables.into_iter().flatten().collect();
    let names: Vec<_> = variables.iter().map(|it| it["name"].as_str()).collect();
    assert_eq!(names, ["datasource", "instance", "console"].map(Some));
    assert_eq!(dashboard["links"][0]["url"], "${console}/");
}

#[test]
fn the_text_of_metrics_passes_promtool() {
    let Some(promtool) = Promtool::find() else {
        return;
    };
    let broker = Broker::dev(2);
    HealthyPair::new(&broker).relay();
    let text = get(broker.admin, "/metrics").text();
    promtool.passes(&["check", "metrics"], &text);
}

/// The metrics of a scrape.
struct Scraped {
    kinds: BTreeMap<String, String>,
    /// The labels of each sample, by its name.
    samples: BTreeMap<String, Vec<Vec<(String, String)>>>,
}

impl Scraped {
    fn of(text: &str) -> Self {
        let mut scraped = Self {
            kinds: BTreeMap::new(),
            samples: BTreeMap::new(),
        };
        for line in text.lines() {
            if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect("a kind");
                scraped.kinds.insert(name.into(), kind.into());
            } else if !line.starts_with('#') {
                let (series, _) = line.rsplit_once(' ').expect("a value");
                let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
                let labels = matchers(labels.trim_end_matches('}')).into_iter();
                let labels = labels.map(|(name, _, value)| (name, value)).collect();
                scraped.samples.entry(name.into()).or_default().push(labels);
            }
        }
        scraped
    }

    /// The fault of a selector, if it has one.
    fn fault(&self, selector: &Selector, recorded: &BTreeSet<String>) -> Option<String> {
        let name = selector.name.as_str();
        if name.contains(':') {
            let known = recorded.contains(name);
            return (!known).then(|| format!("no rule records {name}"));
        }
        if OF_PROMETHEUS.contains(&name) {
            return None;
        }
        let Some(samples) = self.samples.get(name) else {
            return Some(format!("no metric {name}"));
        };
        for (label, values) in &selector.labels {
            if OF_TARGETS.contains(&label.as_str()) {
                continue;
            }
            let all = samples.iter().flatten().filter(|(name, _)| name == label);
            let live: BTreeSet<&str> = all.map(|(_, value)| value.as_str()).collect();
            if live.is_empty() {
                return Some(format!("{name} has no label {label}"));
            }
            let absent = |value: &&String| !live.contains(value.as_str());
            if let Some(value) = values.iter().find(absent) {
                return Some(format!("{name} has no {label}=\"{value}\""));
            }
        }
        let gauge = self.kinds.get(name).is_some_and(|kind| kind == "gauge");
        let misused = gauge && selector.as_counter;
        misused.then(|| format!("{name} is a gauge: it has no rate"))
    }
}

/// The rules of a file.
fn rules(text: &str) -> Vec<Yaml> {
    let documents = YamlLoader::load_from_str(text).expect("YAML");
    let groups = documents[0]["groups"].as_vec().expect("groups");
    let rules = groups.iter().map(|group| group["rules"].as_vec());
    rules
        .flat_map(|rules| rules.expect("rules").clone())
        .collect()
}

/// The names that rules record.
fn recorded() -> BTreeSet<String> {
    let rules = rules(RECORDING).into_iter();
    rules
        .map(|rule| rule["record"].as_str().expect("a name").to_owned())
        .collect()
}

/// The number of tests of each alert that expect it, and of those that expect it to stay quiet.
fn alert_tests() -> BTreeMap<String, (usize, usize)> {
    let documents = YamlLoader::load_from_str(ALERT_TESTS).expect("YAML");
    let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for test in documents[0]["tests"].as_vec().expect("tests") {
        for case in test["alert_rule_test"].as_vec().expect("cases") {
            let name = case["alertname"].as_str().expect("a name");
            let (fires, quiet) = counts.entry(name.into()).or_default();
            match case["exp_alerts"].as_vec().map_or(0, Vec::len) {
                0 => *quiet += 1,
                _ => *fires += 1,
            }
        }
    }
    counts
}

/// Every expression, with where it is.
fn all_expressions() -> Vec<(String, String)> {
    let mut all = dashboard_expressions();
    for rule in [rules(RECORDING), rules(ALERTS)].concat() {
        let name = rule["record"].as_str().or_else(|| rule["alert"].as_str());
        let expr = rule["expr"].as_str().expect("an expression");
        all.push((name.expect("a name").into(), expr.into()));
    }
    assert!(all.len() > 80, "only {} expressions", all.len());
    all
}

fn dashboard_expressions() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let mut all = Vec::new();
    for (key, list) in [
        ("panels", &dashboard["panels"]),
        ("annotations", &dashboard["annotations"]["list"]),
    ] {
        for panel in list.as_array().expect(key) {
            let own = panel["expr"].as_str();
            let targets = panel["targets"].as_array().into_iter().flatten();
            let targets = targets.map(|target| target["expr"].as_str().expect("an expression"));
            for expr in own.into_iter().chain(targets) {
                let title = panel["title"].as_str().unwrap_or(key);
                all.push((title.to_owned(), substituted(expr)));
            }
        }
    }
    let query = dashboard["templating"]["list"][1]["query"]["query"].as_str();
    let metric = query.and_then(|query| query.strip_prefix("label_values("));
    let metric = metric.and_then(|query| query.split(',').next());
    all.push(("instance".into(), metric.expect("a metric").into()));
    all
}

/// An expression of Grafana as one of Prometheus.
fn substituted(expr: &str) -> String {
    let expr = expr.replace("$__rate_interval", "5m");
    let expr = expr.replace("$instance", ".+");
    assert!(!expr.contains('$'), "{expr}");
    expr
}
