//! What stands in `deploy/observability` fits what `/metrics` says: by name in every run of the tests, and in a real
//! Prometheus where there is one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::metrics::{Family, Sample, everything_happens, family, parse, scrape};
use crate::process::eventually;
use crate::world::{World, client, lead, secs};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("deploy/observability")
}

fn file(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap()
}

/// The title of each panel of the dashboard with each of its queries.
fn queries() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&file("grafana.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let of = |panel: &Value| {
        let title = panel["title"].as_str().unwrap().to_owned();
        let targets = panel["targets"].as_array().unwrap().clone();
        let expr = |target: Value| target["expr"].as_str().unwrap().to_owned();
        targets.into_iter().map(move |target| (title.clone(), expr(target)))
    };
    panels.iter().flat_map(of).collect()
}

/// Every metric that a text names, with the values it is asked for: `name` or `name{label="value"}`.
fn named(text: &str) -> BTreeSet<(String, Vec<(String, String)>)> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = BTreeSet::new();
    for start in ["bigin_sync_", "process_"] {
        for (at, _) in text.match_indices(start) {
            if text[..at].chars().next_back().is_some_and(is_name) {
                continue;
            }
            let end = text[at..].find(|c| !is_name(c)).map_or(text.len(), |end| at + end);
            let asked = text[end..].strip_prefix('{').and_then(|rest| rest.split_once('}'));
            let pairs = asked
                .map_or("", |(inside, _)| inside)
                .split(',')
                .filter(|pair| !pair.trim().is_empty());
            let pair = |pair: &str| {
                let (label, value) = pair.split_once('=').unwrap();
                (label.trim().to_owned(), value.trim().trim_matches('"').to_owned())
            };
            found.insert((text[at..end].to_owned(), pairs.map(pair).collect()));
        }
    }
    found
}

/// What of a text no scrape has.
fn unknown(text: &str, families: &BTreeMap<String, Family>, samples: &[Sample]) -> Vec<String> {
    let is_there = |name: &str, asked: &[(String, String)]| {
        // Prometheus itself adds these two.
        let mut asked = asked.iter().filter(|(label, _)| label != "job" && label != "instance");
        let asked: Vec<_> = asked.by_ref().collect();
        samples
            .iter()
            .any(|(sample, labels, _)| sample == name && asked.iter().all(|pair| labels.contains(pair)))
    };
    let missing = named(text)
        .into_iter()
        .filter(|(name, asked)| !families.contains_key(family(name)) || !is_there(name, asked));
    missing.map(|(name, asked)| format!("{name} {asked:?}")).collect()
}

#[actix_web::test]
async fn rules_and_dashboard_name_existing_metrics() {
    let world = World::new().await;
    everything_happens(&world).await;
    let (families, samples) = parse(&scrape(&world.url).await);
    let alerts = file("alerts.yml");
    assert!(named(&alerts).len() > 10 && queries().len() > 15);
    assert_eq!(unknown(&alerts, &families, &samples), [""; 0]);
    for (title, query) in queries() {
        assert_eq!(unknown(&query, &families, &samples), [""; 0], "{title}");
    }
    for (text, missing) in [
        ("sum(bigin_sync_leads)", "bigin_sync_leads []"),
        (
            "rate(bigin_sync_syncs_finished_total{outcome=\"lost\"}[5m])",
            "bigin_sync_syncs_finished_total [(\"outcome\", \"lost\")]",
        ),
    ] {
        assert_eq!(unknown(text, &families, &samples), [missing]);
    }
}

#[test]
fn every_alert_rule_has_both_cases() {
    let (alerts, cases) = (file("alerts.yml"), file("alerts_test.yml"));
    let names = |text: &str, start: &str| -> Vec<String> {
        let names = text.lines().filter_map(|line| line.trim().strip_prefix(start));
        names.map(str::to_owned).collect()
    };
    let all = names(&alerts, "- alert: ");
    assert!(all.len() >= 10);
    let told = names(&cases, "- name: ");
    for alert in all {
        for ending in ["fires", "does not fire"] {
            assert!(
                told.contains(&format!("\"{alert} {ending}\"")),
                "{alert} {ending}: {told:?}"
            );
        }
    }
}

/// Runs promtool in the folder; what it says where it is not content.
fn promtool(arguments: &[&str], input: Option<&str>) -> Result<(), String> {
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(folder());
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed (Debian: prometheus)");
    if let Some(input) = input {
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), input.as_bytes()).unwrap();
    }
    let output = child.wait_with_output().unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    if output.status.success() { Ok(()) } else { Err(said) }
}

#[actix_web::test]
#[ignore = "needs Prometheus"]
async fn promtool_accepts_rules_and_scrape() {
    assert_eq!(promtool(&["check", "rules", "alerts.yml"], None), Ok(()));
    assert_eq!(promtool(&["test", "rules", "alerts_test.yml"], None), Ok(()));
    assert_eq!(promtool(&["check", "config", "prometheus.yml"], None), Ok(()));
    let world = World::new().await;
    everything_happens(&world).await;
    let text = scrape(&world.url).await;
    assert_eq!(promtool(&["check", "metrics"], Some(&text)), Ok(()));
    let bad = text.replace("bigin_sync_missed_webhooks_total", "bigin_sync_missed_webhooks");
    assert!(
        promtool(&["check", "metrics"], Some(&bad)).is_err(),
        "promtool looks at what it is given"
    );
}

/// A Prometheus of this test's own, which scrapes one address.
struct Prometheus {
    child: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    async fn start(target: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sample = file("prometheus.yml")
            .replace("127.0.0.1:8080", target)
            .replace("_interval: 15s", "_interval: 1s")
            .replace("alerts.yml", &self::folder().join("alerts.yml").display().to_string());
        std::fs::write(folder.path().join("prometheus.yml"), sample).unwrap();
        // Given back at once: Prometheus does not say which port it got where it is asked for any.
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let child = Command::new("prometheus")
            .current_dir(folder.path())
            .args([
                "--config.file=prometheus.yml",
                "--storage.tsdb.path=data",
                "--log.level=error",
            ])
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Prometheus is installed (Debian: prometheus)");
        let url = format!("http://127.0.0.1:{port}");
        Self {
            child,
            url,
            _folder: folder,
        }
    }

    /// The values that a query finds now, or what Prometheus says against it.
    async fn query(&self, query: &str) -> Result<Vec<f64>, String> {
        let request = client()
            .get(format!("{}/api/v1/query", self.url))
            .query(&[("query", query)]);
        let response = request.send().await.map_err(|error| error.to_string())?;
        let body: Value = response.json().await.map_err(|error| error.to_string())?;
        if body["status"] != "success" {
            return Err(body.to_string());
        }
        let found = body["data"]["result"].as_array().unwrap();
        Ok(found
            .iter()
            .map(|one| one["value"][1].as_str().unwrap().parse().unwrap())
            .collect())
    }

    async fn until(&self, query: &str, value: f64) {
        eventually(&format!("{query} is {value}"), || async {
            (self.query(query).await == Ok(vec![value])).then_some(())
        })
        .await;
    }
}

#[actix_web::test]
#[ignore = "needs Prometheus"]
async fn dashboard_queries_find_data() {
    let world = World::new().await;
    let prometheus = Prometheus::start(world.url.strip_prefix("http://").unwrap()).await;
    everything_happens(&world).await;
    prometheus
        .until("bigin_sync_syncs_finished_total{outcome=\"sent\"}", 3.0)
        .await;
    prometheus.until("bigin_sync_breaker_open{remote=\"bigin\"}", 1.0).await;
    // Rates are of what grows between two scrapes.
    world.bigin.model().switches.down = false;
    for name in ["Mary", "Annie"] {
        world.request(lead(name)).await;
    }
    world.pass(secs(1)).await;
    world.run_to_the_end().await;
    world.bigin.model().switches.down = true;
    world.request(lead("Dorothy")).await;
    world.run_due().await;
    prometheus
        .until("bigin_sync_syncs_finished_total{outcome=\"sent\"}", 6.0)
        .await;
    prometheus.until("sum(bigin_sync_breaker_open)", 1.0).await;

    for (title, query) in queries() {
        let query = query.replace("$__rate_interval", "1m");
        let found = prometheus
            .query(&query)
            .await
            .unwrap_or_else(|error| panic!("{title}: {query}: {error}"));
        let numbers = found.iter().any(|value| !value.is_nan());
        assert!(numbers, "{title}: {query} finds {found:?}");
    }
    assert!(prometheus.query("bigin_sync_syncs{").await.is_err());
    assert_eq!(prometheus.query("bigin_sync_nothing").await, Ok(vec![]));

    world.bigin.model().switches.down = false;
    world.run_to_the_end().await;
    world.finish().await;
}
