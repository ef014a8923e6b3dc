//! What `/metrics` says after stories whose numbers are known, and what it never says.

use std::collections::{BTreeMap, BTreeSet};

use bigin_sync::domain::lead::LeadId;
use bigin_sync::domain::sync::Source;
use serde_json::json;

use crate::world::{World, answer, client, id, lead, secs, with};

/// A family of a scrape.
#[derive(Debug, Default)]
pub struct Family {
    pub kind: String,
    pub help: String,
    /// Names of labels, without `le`.
    pub labels: BTreeSet<String>,
}

/// A line of a scrape: name, labels in their order, value.
pub type Sample = (String, Vec<(String, String)>, f64);

/// The text read back. Every line must be one of the format.
pub fn parse(text: &str) -> (BTreeMap<String, Family>, Vec<Sample>) {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut samples = Vec::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            families.entry(name.to_owned()).or_default().help = help.to_owned();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            families.get_mut(name).expect("the help comes first").kind = kind.to_owned();
        } else {
            let sample = sample(line);
            let family = families.get_mut(family(&sample.0)).expect("a sample is of a family");
            let names = sample.1.iter().map(|(name, _)| name.clone());
            family.labels.extend(names.filter(|name| name != "le"));
            samples.push(sample);
        }
    }
    (families, samples)
}

/// The family that a sample is of.
pub fn family(sample: &str) -> &str {
    let parts = ["_bucket", "_sum", "_count"];
    parts
        .iter()
        .find_map(|part| sample.strip_suffix(part))
        .unwrap_or(sample)
}

fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').unwrap();
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let labels = labels.strip_suffix('}').unwrap();
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap();
        let value = value.strip_prefix('"').unwrap().strip_suffix('"').unwrap();
        (name.to_owned(), value.to_owned())
    };
    let labels = labels.split(',').filter(|pair| !pair.is_empty()).map(pair).collect();
    (name.to_owned(), labels, value.parse().unwrap())
}

/// What `/metrics` answers, without any token.
pub async fn scrape(url: &str) -> String {
    let response = client().get(format!("{url}/metrics")).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    response.text().await.unwrap()
}

/// A story in which everything that is counted happens: a lead is sent and its webhook repeated, one is
/// refused, one deleted, one cancelled, one asked for by a person, one whose webhook never came is found; a webhook is
/// badly signed, another is none of ours; and Bigin is down while the last lead waits.
pub async fn everything_happens(world: &World) {
    world.sanity.model().webhooks.repeat_next(1);
    world.request(lead("Ada")).await;
    world
        .request(with(lead("Grace"), json!({ "emailAddress": "no address" })))
        .await;
    world.pass(secs(15)).await;
    world.request(lead("Edsger")).await;
    world.sanity.model().delete(&id("Edsger")).unwrap();
    world.deliver().await;
    world.run_due().await;

    world.request(lead("Alan")).await;
    let sync = world.sync("Alan").await.sync.id;
    world.store().cancel(sync).await.unwrap();

    world.sanity.model().seed(lead("Barbara")).unwrap();
    let barbara = LeadId::parse(&id("Barbara")).unwrap();
    for _ in 0..2 {
        let asked = world.store().request(barbara.clone(), Source::Manual, None).await;
        asked.unwrap();
    }

    world.sanity.model().webhooks.lose_next(1);
    world.request(lead("Radia")).await;
    world.clock.advance(secs(31));
    assert_eq!(world.reconcile().await.unwrap(), Some(1));
    world.run_due().await;
    world.pass(secs(15)).await;

    for body in ["", "[]"] {
        let url = format!("{}/webhooks/sanity", world.url);
        assert_eq!(answer(client().post(url).body(body)).await.0, 401);
    }
    world.bigin.model().switches.down = true;
    world.request(lead("Donald")).await;
    world.run_due().await;
    world.clock.advance(secs(7));
}

/// The end of it.
pub async fn all_is_mended(world: World) {
    world.bigin.model().switches.down = false;
    world.run_to_the_end().await;
    world.finish().await;
}

/// The lines that say something: no noughts, no buckets, nothing of the machine.
fn telling(text: &str) -> String {
    let machine = [
        "process_cpu",
        "process_resident",
        "bigin_sync_store_commit",
        "bigin_sync_build_info",
    ];
    let lines = text.lines().filter(|line| {
        !line.starts_with('#')
            && !line.ends_with(" 0")
            && !line.contains("_bucket{")
            && !machine.iter().any(|machine| line.starts_with(machine))
    });
    lines.fold(String::new(), |text, line| text + line + "\n")
}

#[actix_web::test]
async fn scrape_counts_what_happened() {
    let world = World::new().await;
    everything_happens(&world).await;
    let text = scrape(&world.url).await;
    insta::assert_snapshot!(telling(&text), @r#"
    process_start_time_seconds 1795341600
    bigin_sync_webhook_answers_total{answer="created",code="202"} 5
    bigin_sync_webhook_answers_total{answer="duplicate",code="200"} 1
    bigin_sync_webhook_answers_total{answer="rejected",code="401"} 2
    bigin_sync_signatures_rejected_total 2
    bigin_sync_remote_calls_total{remote="bigin",operation="add_tags",result="ok"} 2
    bigin_sync_remote_calls_total{remote="bigin",operation="fields",result="ok"} 1
    bigin_sync_remote_calls_total{remote="bigin",operation="upsert",result="ambiguous"} 1
    bigin_sync_remote_calls_total{remote="bigin",operation="upsert",result="ok"} 2
    bigin_sync_remote_calls_total{remote="sanity",operation="doc",result="ok"} 7
    bigin_sync_remote_calls_total{remote="sanity",operation="mutate",result="ok"} 3
    bigin_sync_remote_calls_total{remote="sanity",operation="query",result="ok"} 1
    bigin_sync_remote_calls_total{remote="zoho_accounts",operation="grant",result="ok"} 1
    bigin_sync_remote_call_duration_seconds_count{remote="bigin",operation="add_tags"} 2
    bigin_sync_remote_call_duration_seconds_count{remote="bigin",operation="fields"} 1
    bigin_sync_remote_call_duration_seconds_count{remote="bigin",operation="upsert"} 3
    bigin_sync_remote_call_duration_seconds_count{remote="sanity",operation="doc"} 7
    bigin_sync_remote_call_duration_seconds_count{remote="sanity",operation="mutate"} 3
    bigin_sync_remote_call_duration_seconds_count{remote="sanity",operation="query"} 1
    bigin_sync_remote_call_duration_seconds_count{remote="zoho_accounts",operation="grant"} 1
    bigin_sync_batch_syncs_sum{stage="tag"} 3
    bigin_sync_batch_syncs_count{stage="tag"} 2
    bigin_sync_batch_syncs_sum{stage="upsert"} 6
    bigin_sync_batch_syncs_count{stage="upsert"} 4
    bigin_sync_batch_syncs_sum{stage="write_back"} 4
    bigin_sync_batch_syncs_count{stage="write_back"} 3
    bigin_sync_state_duration_seconds_count{state="rejected"} 1
    bigin_sync_state_duration_seconds_sum{state="requested"} 61
    bigin_sync_state_duration_seconds_count{state="requested"} 6
    bigin_sync_state_duration_seconds_count{state="tagged"} 3
    bigin_sync_state_duration_seconds_sum{state="upserted"} 61
    bigin_sync_state_duration_seconds_count{state="upserted"} 3
    bigin_sync_sync_duration_seconds_count{outcome="cancelled"} 1
    bigin_sync_sync_duration_seconds_sum{outcome="failed"} 15
    bigin_sync_sync_duration_seconds_count{outcome="failed"} 1
    bigin_sync_sync_duration_seconds_count{outcome="lead_deleted"} 1
    bigin_sync_sync_duration_seconds_sum{outcome="sent"} 107
    bigin_sync_sync_duration_seconds_count{outcome="sent"} 3
    bigin_sync_store_up 1
    bigin_sync_deliveries_total{result="created"} 5
    bigin_sync_deliveries_total{result="duplicate"} 1
    bigin_sync_syncs_created_total{source="webhook"} 5
    bigin_sync_syncs_created_total{source="reconciliation"} 1
    bigin_sync_syncs_created_total{source="manual"} 1
    bigin_sync_missed_webhooks_total 1
    bigin_sync_syncs_finished_total{outcome="sent"} 3
    bigin_sync_syncs_finished_total{outcome="failed"} 1
    bigin_sync_syncs_finished_total{outcome="lead_deleted"} 1
    bigin_sync_syncs_finished_total{outcome="cancelled"} 1
    bigin_sync_syncs{state="requested"} 1
    bigin_sync_oldest_sync_age_seconds 7
    bigin_sync_leads_failed 1
    bigin_sync_bigin_credits_used 6
    bigin_sync_token_grants 1
    bigin_sync_token_granted_timestamp_seconds 1795341615
    bigin_sync_breaker_open{remote="bigin"} 1
    bigin_sync_breaker_open_age_seconds{remote="bigin"} 7
    "#);
    let (_, samples) = parse(&text);
    let of = |name: &str| samples.iter().find(|(sample, _, _)| sample == name).unwrap().2;
    let commits = of("bigin_sync_store_commit_duration_seconds_count");
    assert!(commits > 10.0, "{commits}");
    assert!(of("bigin_sync_store_commit_writes_sum") >= commits);
    assert!(of("process_resident_memory_bytes") > 1e6);
    let version = format!("bigin_sync_build_info{{version=\"{}\"}} 1\n", env!("CARGO_PKG_VERSION"));
    assert!(text.contains(&version), "{text}");
    all_is_mended(world).await;
}

#[actix_web::test]
async fn buckets_are_inclusive() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    world.pass(secs(15)).await;
    let text = scrape(&world.url).await;
    for (le, count) in [("10", 0), ("15", 1), ("+Inf", 1)] {
        for series in [
            "state_duration_seconds_bucket{state=\"upserted\"",
            "sync_duration_seconds_bucket{outcome=\"sent\"",
        ] {
            let line = format!("bigin_sync_{series},le=\"{le}\"}} {count}\n");
            assert!(text.contains(&line), "{line}{text}");
        }
    }
    world.finish().await;
}

#[actix_web::test]
async fn gauges_show_the_queue() {
    let world = World::new().await;
    let told = async |line: &str| {
        let text = scrape(&world.url).await;
        assert!(text.contains(&format!("bigin_sync_{line}\n")), "{line}: {text}");
    };
    told("oldest_sync_age_seconds 0").await;
    world.store().set_paused(true).await.unwrap();
    world.request(lead("Ada")).await;
    let ada = json!({ "crmStatus": "NOT_SENT" });
    world.edit("Ada", ada);
    world.set_requested("Ada");
    world.deliver().await;
    world.pass(secs(90)).await;
    told("paused 1").await;
    told("deliveries_total{result=\"coalesced\"} 1").await;
    told("syncs{state=\"requested\"} 1").await;
    told("oldest_sync_age_seconds 90").await;
    world.store().set_paused(false).await.unwrap();
    world.run_due().await;
    told("paused 0").await;
    told("syncs{state=\"requested\"} 0").await;
    told("syncs{state=\"upserted\"} 1").await;
    world.run_to_the_end().await;
    told("oldest_sync_age_seconds 0").await;
    world.finish().await;
}

#[actix_web::test]
async fn scrape_has_nothing_of_a_lead() {
    let world = World::new().await;
    everything_happens(&world).await;
    let text = scrape(&world.url).await;
    let mut personal: Vec<String> = [
        "lead-",
        "Example",
        "Tell me more",
        "example.org",
        "7700",
        "Invented Street",
        "PO16",
    ]
    .map(str::to_owned)
    .to_vec();
    personal.extend([
        world.bigin.refresh_token(),
        world.sanity.token().to_owned(),
        crate::world::ADMIN_TOKEN.to_owned(),
    ]);
    personal.extend(["Ada", "Grace", "Donald"].map(str::to_owned));
    personal.push(world.lead_says("Ada", "biginContactId").unwrap());
    for text_of_somebody in personal {
        assert!(!text.contains(&text_of_somebody), "{text_of_somebody:?} is in {text}");
    }
    // Labels are words, or the version.
    let (_, samples) = parse(&text);
    for (name, labels, _) in &samples {
        for (label, value) in labels.iter().filter(|(label, _)| label != "le" && label != "version") {
            let is_word = value
                .bytes()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_');
            assert!(is_word && value.len() < 20, "{name} {label}={value:?}");
        }
    }
    all_is_mended(world).await;
}

#[actix_web::test]
async fn series_do_not_grow_with_leads() {
    let series = |text: &str| -> BTreeSet<String> {
        text.lines()
            .filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned()))
            .filter(|series| !series.starts_with('#'))
            .collect()
    };
    let world = World::new().await;
    everything_happens(&world).await;
    world.bigin.model().switches.down = false;
    world.run_to_the_end().await;
    let before = series(&scrape(&world.url).await);
    for name in ["Mary", "Annie", "Dorothy", "Katherine", "Joan", "Betty"] {
        world.request(lead(name)).await;
    }
    world
        .request(with(
            lead("Hedy"),
            json!({ "emailAddress": "at home", "postcode": "nowhere" }),
        ))
        .await;
    world.run_to_the_end().await;
    assert_eq!(series(&scrape(&world.url).await), before);
    world.finish().await;
}

#[actix_web::test]
async fn webhook_results_are_the_listed_ones() {
    let world = World::new().await;
    world
        .sanity
        .model()
        .seed(with(lead("Ada"), json!({ "crmStatus": "REQUESTED" })))
        .unwrap();
    let post = |body: String, signature: Option<String>| {
        let url = format!("{}/webhooks/sanity", world.url);
        let request = client().post(url).body(body);
        answer(match signature {
            Some(signature) => request.header(bigin_sync::signature::HEADER, signature),
            None => request,
        })
    };
    let sign = |body: &str| {
        let secret = world.sanity.webhook_secret().as_bytes();
        Some(bigin_sync::signature::sign(body.as_bytes(), 1_795_000_000_000, secret))
    };
    let payload = |rev: &str| json!({ "_id": "lead-ada", "_rev": rev }).to_string();
    let draft = json!({ "_id": "drafts.lead-ada" }).to_string();
    let large = " ".repeat(8 * 1024 * 1024 + 1);
    let cases = [
        (payload("r1"), sign(&payload("r1")), "created", 202),
        (payload("r2"), sign(&payload("r2")), "coalesced", 202),
        (payload("r2"), sign(&payload("r2")), "duplicate", 200),
        (draft.clone(), sign(&draft), "ignored", 200),
        ("[]".to_owned(), sign("[]"), "malformed", 400),
        (payload("r3"), None, "rejected", 401),
        (payload("r3"), Some("not a signature".to_owned()), "rejected", 400),
        (large, sign("another body"), "too_large", 413),
    ];
    for (body, signature, word, status) in cases {
        let (answered, _) = post(body, signature).await;
        assert_eq!(answered, status, "{word}");
        let text = scrape(&world.url).await;
        let line = format!("bigin_sync_webhook_answers_total{{answer=\"{word}\",code=\"{status}\"}} 1\n");
        assert!(text.contains(&line), "{line}{text}");
    }
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn process_metrics_while_store_fails() {
    let world = World::new().await;
    assert!(scrape(&world.url).await.contains("bigin_sync_store_up 1\n"));
    let file = rusqlite::Connection::open(world.folder().join("bigin-sync.db")).unwrap();
    file.execute_batch("ALTER TABLE credit RENAME TO gone").unwrap();
    let text = scrape(&world.url).await;
    assert!(text.contains("bigin_sync_store_up 0\n"), "{text}");
    assert!(text.contains("bigin_sync_worker_restarts_total 0\n"), "{text}");
    assert!(!text.contains("bigin_sync_syncs"), "{text}");
    assert!(
        !text.contains("gone") && !text.contains("credit "),
        "nothing of what the database says: {text}"
    );
    file.execute_batch("ALTER TABLE gone RENAME TO credit").unwrap();
    assert!(scrape(&world.url).await.contains("bigin_sync_store_up 1\n"));
    world.finish().await;
}

#[actix_web::test]
async fn ledger_counters_outlive_restart() {
    let mut world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_to_the_end().await;
    world.restart().await;
    let text = scrape(&world.url).await;
    for line in [
        "bigin_sync_syncs_finished_total{outcome=\"sent\"} 1",
        "bigin_sync_deliveries_total{result=\"created\"} 1",
        "bigin_sync_webhook_answers_total{answer=\"created\",code=\"202\"} 0",
        "bigin_sync_token_grants 1",
    ] {
        assert!(text.contains(&format!("{line}\n")), "{line}: {text}");
    }
    world.finish().await;
}

#[actix_web::test]
async fn doc_lists_every_metric() {
    let world = World::new().await;
    everything_happens(&world).await;
    let (families, samples) = parse(&scrape(&world.url).await);
    let row = |(name, family): (&String, &Family)| {
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        format!(
            "| `{name}` | {} | {} | {} |\n",
            family.kind,
            labels.join(", "),
            family.help
        )
    };
    let told: String = families.iter().map(row).collect();
    let doc = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/METRICS.md")).unwrap();
    let rows = |start: &str| -> String {
        let rows = doc.lines().filter(|line| line.starts_with(start));
        rows.map(|line| format!("{line}\n")).collect()
    };
    assert_eq!(rows("| `"), told, "docs/METRICS.md should have these rows:\n{told}");

    let mut values: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (label, value) in samples.into_iter().flat_map(|(_, labels, _)| labels) {
        values.entry(label).or_default().insert(format!("`{value}`"));
    }
    values.retain(|label, _| label != "le" && label != "version");
    let row = |(label, values): (String, BTreeSet<String>)| {
        let values: Vec<String> = values.into_iter().collect();
        format!("| label `{label}` | {} |\n", values.join(", "))
    };
    let told: String = values.into_iter().map(row).collect();
    assert_eq!(
        rows("| label `"),
        told,
        "docs/METRICS.md should have these rows:\n{told}"
    );
    all_is_mended(world).await;
}
