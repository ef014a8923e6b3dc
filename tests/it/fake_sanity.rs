//! The fake of Sanity behaves as what is known of the real one.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::web::{self, Bytes, Data};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use bigin_sync::clock::{Clock, ManualClock};
use bigin_sync::domain::failure::TransportError;
use bigin_sync::fake::sanity::{By, FakeSanity, Fault, Kind, MessageState, RetryAfter, WEBHOOK_ID};
use bigin_sync::http_client::{self, Answer};
use bigin_sync::signature::{self, Secrets};
use serde_json::{Value, json};

const VERSION: &str = "v2025-02-19";

/// A fake, its clock, and a caller of its API.
struct Lake {
    fake: FakeSanity,
    clock: Arc<ManualClock>,
    client: reqwest::Client,
}

impl Lake {
    async fn new() -> Self {
        let clock = Arc::new(ManualClock::new("2026-11-22T10:00:00.5Z".parse().unwrap()));
        let fake = FakeSanity::start(clock.clone()).await.unwrap();
        let client = http_client::local_client("tests").unwrap();
        Self { fake, clock, client }
    }

    fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    async fn try_get(&self, path: &str) -> Result<Answer, TransportError> {
        let request = self
            .client
            .get(format!("{}{path}", self.fake.url()))
            .bearer_auth(self.fake.token());
        http_client::send(request, Duration::from_secs(5)).await
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        body(self.try_get(path).await.unwrap())
    }

    /// The documents asked for, by `/data/doc`.
    async fn read(&self, ids: &str, params: &str) -> Value {
        let (status, body) = self.get(&format!("/{VERSION}/data/doc/production/{ids}{params}")).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    async fn try_mutate(&self, params: &str, body: &Value) -> Result<Answer, TransportError> {
        let address = format!("{}/{VERSION}/data/mutate/production{params}", self.fake.url());
        let request = self.client.post(address).bearer_auth(self.fake.token()).json(body);
        http_client::send(request, Duration::from_secs(5)).await
    }

    async fn mutate(&self, params: &str, body: Value) -> (u16, Value) {
        self::body(self.try_mutate(params, &body).await.unwrap())
    }

    async fn query(&self, query: &str, params: &[(&str, &str)]) -> (u16, Value) {
        let address = format!("{}/{VERSION}/data/query/production", self.fake.url());
        let request = self.client.get(address).query(&[("query", query)]).query(params);
        let request = request.bearer_auth(self.fake.token());
        body(http_client::send(request, Duration::from_secs(5)).await.unwrap())
    }

    /// The ids of the leads that a query sees.
    async fn requested(&self) -> Vec<String> {
        let query = r#"*[_type == "dbrLead" && crmStatus == "REQUESTED"] | order(_id) {_id}"#;
        let (status, body) = self.query(query, &[]).await;
        assert_eq!(status, 200, "{body}");
        let leads = body["result"].as_array().unwrap().iter();
        leads.map(|lead| lead["_id"].as_str().unwrap().to_owned()).collect()
    }
}

fn body(answer: Answer) -> (u16, Value) {
    (answer.status.as_u16(), answer.json.unwrap_or(Value::Null))
}

fn lead(id: &str) -> Value {
    json!({"_id": id, "_type": "dbrLead", "name": "Ada Example", "email": "ada@example.org", "phone": "+44 7700 900123"})
}

fn requested(id: &str) -> Value {
    let mut lead = lead(id);
    lead["crmStatus"] = json!("REQUESTED");
    lead
}

fn set(id: &str, fields: Value) -> Value {
    json!({"mutations": [{"patch": {"id": id, "set": fields}}]})
}

/// A receiver of webhooks that answers as it was told to, and 202 otherwise.
struct Receiver {
    url: String,
    inbox: Data<Inbox>,
    server: ServerHandle,
}

#[derive(Default)]
struct Inbox {
    seen: Mutex<Vec<Delivery>>,
    answers: Mutex<Vec<u16>>,
}

struct Delivery {
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Delivery {
    fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|(key, _)| key == name);
        header.map(|(_, value)| value.as_str())
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

async fn receive(inbox: Data<Inbox>, request: HttpRequest, body: Bytes) -> HttpResponse {
    let headers = request.headers().iter();
    let headers = headers
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    let delivery = Delivery {
        headers,
        body: body.to_vec(),
    };
    inbox.seen.lock().unwrap().push(delivery);
    let answers = std::mem::take(&mut *inbox.answers.lock().unwrap());
    let (status, rest) = answers.split_first().unwrap_or((&202, &[]));
    inbox.answers.lock().unwrap().extend(rest);
    match *status {
        0 => std::future::pending().await,
        status => HttpResponse::build(status.try_into().unwrap()).json(json!({"said": status})),
    }
}

impl Receiver {
    fn start() -> Self {
        let inbox = Data::new(Inbox::default());
        let data = inbox.clone();
        let server = HttpServer::new(move || {
            let app = App::new().app_data(data.clone());
            app.route("/webhooks/sanity", web::post().to(receive))
        });
        let server = server.workers(1).disable_signals().bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/webhooks/sanity", server.addrs()[0]);
        let server = server.run();
        let handle = server.handle();
        tokio::spawn(server);
        Self {
            url,
            inbox,
            server: handle,
        }
    }

    /// 0 never answers.
    fn answer_next(&self, statuses: &[u16]) {
        self.inbox.answers.lock().unwrap().extend(statuses);
    }

    fn take(&self) -> Vec<Delivery> {
        std::mem::take(&mut self.inbox.seen.lock().unwrap())
    }

    fn documents(&self) -> Vec<String> {
        let seen = self.take();
        let id = |delivery: &Delivery| delivery.json()["_id"].as_str().unwrap().to_owned();
        seen.iter().map(id).collect()
    }
}

/// A lake with a webhook, and who receives it.
async fn lake_with_receiver() -> (Lake, Receiver) {
    let lake = Lake::new().await;
    let receiver = Receiver::start();
    lake.fake.set_webhook(&receiver.url);
    (lake, receiver)
}

#[actix_web::test]
async fn reads_by_id_and_names_missing() {
    let lake = Lake::new().await;
    for id in ["lead-1", "lead-2"] {
        lake.fake.model().publish(lead(id)).unwrap();
    }
    let read = lake.read("lead-2,nobody,lead-1,lead-2", "").await;
    let ids: Vec<&Value> = read["documents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|lead| &lead["_id"])
        .collect();
    assert_eq!(ids, ["lead-1", "lead-2"]);
    assert_eq!(read["omitted"], json!([{"id": "nobody", "reason": "existence"}]));
    let document = &read["documents"][0];
    assert_eq!(document["_rev"].as_str().unwrap().len(), 22);
    assert_eq!(document["_updatedAt"], "2026-11-22T10:00:00Z");
    assert_eq!(document["_createdAt"], "2026-11-22T10:00:00Z");
}

#[actix_web::test]
async fn reads_drafts_and_versions_on_request() {
    let lake = Lake::new().await;
    {
        let mut model = lake.fake.model();
        model.publish(lead("lead-1")).unwrap();
        model.edit_draft("lead-1", json!({"name": "Ada E."})).unwrap();
        model.make_version("rABC", "lead-1").unwrap();
        model.publish(lead("lead-10")).unwrap();
    }
    let ids = |read: &Value| {
        let documents = read["documents"].as_array().unwrap().iter();
        documents
            .map(|document| document["_id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&lake.read("lead-1", "").await), ["lead-1"]);
    let all = lake.read("lead-1", "?includeAllVersions=true").await;
    assert_eq!(ids(&all), ["drafts.lead-1", "lead-1", "versions.rABC.lead-1"]);
    assert_eq!(all["documents"][0]["name"], "Ada E.");
    assert_eq!(
        all["documents"][0]["email"], "ada@example.org",
        "a draft is a full copy"
    );
    assert_eq!(all["documents"][1]["name"], "Ada Example");
}

#[actix_web::test]
async fn revisions_are_deterministic() {
    let revisions = async || {
        let lake = Lake::new().await;
        let first = lake.fake.model().publish(lead("lead-1")).unwrap();
        let (_, body) = lake.mutate("", set("lead-1", json!({"name": "Ada E."}))).await;
        let second = body["transactionId"].as_str().unwrap().to_owned();
        assert_eq!(lake.fake.model().text("lead-1", "_rev"), Some(second.as_str()));
        (first, second)
    };
    let (first, second) = revisions().await;
    assert_ne!(first, second);
    assert_eq!(revisions().await, (first, second));
}

#[actix_web::test]
async fn patches_are_applied_in_the_documented_order() {
    let lake = Lake::new().await;
    lake.fake
        .model()
        .publish(json!({"_id": "x", "_type": "t", "gone": 1, "count": 5, "kept": "k"}))
        .unwrap();
    let patch = json!({
        "id": "x", "dec": {"count": 2}, "inc": {"count": 10}, "unset": ["gone", "never"],
        "setIfMissing": {"kept": "other", "new": "n"}, "set": {"count": 1},
    });
    let (status, body) = lake
        .mutate("?returnDocuments=true", json!({"mutations": [{"patch": patch}]}))
        .await;
    assert_eq!(status, 200, "{body}");
    let document = &body["results"][0]["document"];
    assert_eq!(document["count"], 9);
    assert_eq!((&document["kept"], &document["new"]), (&json!("k"), &json!("n")));
    assert!(document.get("gone").is_none());
}

#[actix_web::test]
async fn mutations_return_their_results() {
    let lake = Lake::new().await;
    let mutations = json!({"mutations": [
        {"create": lead("a")}, {"createIfNotExists": lead("a")}, {"createOrReplace": lead("a")}, {"createOrReplace": lead("b")},
        {"patch": {"id": "a", "set": {"name": "A"}}}, {"delete": {"id": "b"}}, {"delete": {"id": "b"}}, {"create": {"_type": "t"}},
    ]});
    let (status, body) = lake.mutate("?returnIds=true", mutations).await;
    assert_eq!(status, 200, "{body}");
    let operations: Vec<&Value> = body["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| &result["operation"])
        .collect();
    assert_eq!(
        operations,
        [
            "create", "none", "update", "create", "update", "delete", "none", "create"
        ]
    );
    assert_eq!(body["results"][7]["id"].as_str().unwrap().len(), 22);
    let model = lake.fake.model();
    assert_eq!(model.transactions.len(), 1);
    assert_eq!(model.transactions[0].by, By::Api);
    assert_eq!(model.documents().count(), 2);
}

#[actix_web::test]
async fn transactions_are_atomic() {
    let lake = Lake::new().await;
    lake.fake.model().publish(lead("a")).unwrap();
    let failing = json!({"mutations": [
        {"patch": {"id": "a", "set": {"crmStatus": "SENT"}}}, {"patch": {"id": "drafts.a", "set": {"crmStatus": "SENT"}}},
    ]});
    let (status, body) = lake.mutate("", failing).await;
    assert_eq!(status, 409);
    let item = &body["error"]["items"][0];
    assert_eq!(body["error"]["type"], "mutationError");
    assert_eq!(
        (&item["index"], &item["error"]["type"]),
        (&json!(1), &json!("documentNotFoundError"))
    );
    assert_eq!(lake.fake.model().text("a", "crmStatus"), None);
    assert_eq!(lake.fake.model().transactions.len(), 1);
}

#[actix_web::test]
async fn dry_run_changes_nothing() {
    let lake = Lake::new().await;
    let (status, body) = lake
        .mutate(
            "?dryRun=true&returnIds=true",
            json!({"mutations": [{"create": lead("a")}]}),
        )
        .await;
    assert_eq!((status, &body["results"][0]["operation"]), (200, &json!("create")));
    assert!(lake.fake.model().document("a").is_none());
}

#[actix_web::test]
async fn conflict_names_the_document() {
    let lake = Lake::new().await;
    let (first, second) = {
        let mut model = lake.fake.model();
        (model.publish(lead("a")).unwrap(), model.request("a").unwrap())
    };
    let patch =
        |rev: &str| json!({"mutations": [{"patch": {"id": "a", "ifRevisionID": rev, "set": {"crmStatus": "SENT"}}}]});
    let (status, body) = lake.mutate("", patch(&first)).await;
    assert_eq!(status, 409);
    let error = &body["error"]["items"][0]["error"];
    assert_eq!(error["type"], "documentRevisionIDDoesNotMatchError");
    assert_eq!(error["currentRevisionID"], second.as_str());
    assert_eq!(error["expectedRevisionID"], first.as_str());
    assert_eq!(lake.mutate("", patch(&second)).await.0, 200);
}

#[actix_web::test]
async fn transactions_are_idempotent_by_id() {
    let lake = Lake::new().await;
    lake.fake.model().publish(lead("a")).unwrap();
    let mut order = set("a", json!({"crmStatus": "SENT"}));
    order["transactionId"] = json!("write-back-1");
    let (status, body) = lake.mutate("", order.clone()).await;
    assert_eq!((status, &body["transactionId"]), (200, &json!("write-back-1")));
    assert_eq!(lake.fake.model().text("a", "_rev"), Some("write-back-1"));
    let (status, body) = lake.mutate("", order).await;
    assert_eq!(
        (status, &body["error"]["type"]),
        (409, &json!("transactionAlreadyExistsError"))
    );
    assert_eq!(lake.fake.model().transactions.len(), 2);
}

#[actix_web::test]
async fn rejects_invalid_mutations() {
    let lake = Lake::new().await;
    lake.fake.model().publish(lead("a")).unwrap();
    let patch = |patch: Value| json!({"mutations": [{"patch": patch}]});
    let cases = [
        ("no object", json!([]), 400),
        ("nothing", json!({}), 400),
        ("no mutations", json!({"mutations": []}), 400),
        (
            "an unknown key",
            json!({"mutations": [{"delete": {"id": "a"}}], "visibility": "sync"}),
            400,
        ),
        (
            "an unknown mutation",
            json!({"mutations": [{"update": {"id": "a"}}]}),
            400,
        ),
        (
            "two in one",
            json!({"mutations": [{"delete": {"id": "a"}, "create": lead("b")}]}),
            400,
        ),
        ("an unknown operation", patch(json!({"id": "a", "sett": {}})), 400),
        ("no id", patch(json!({"set": {"x": 1}})), 400),
        ("by query", patch(json!({"query": "*", "set": {"x": 1}})), 400),
        ("a path", patch(json!({"id": "a", "set": {"a.b": 1}})), 400),
        (
            "a field Sanity keeps",
            patch(json!({"id": "a", "set": {"_rev": "x"}})),
            400,
        ),
        ("text made larger", patch(json!({"id": "a", "inc": {"name": 1}})), 409),
        ("an id that exists", json!({"mutations": [{"create": lead("a")}]}), 409),
        (
            "an id that is none",
            json!({"mutations": [{"create": lead("a b")}]}),
            409,
        ),
        (
            "a type that is none",
            json!({"mutations": [{"create": {"_id": "c"}}]}),
            409,
        ),
        (
            "a transaction id with a space",
            json!({"mutations": [{"delete": {"id": "a"}}], "transactionId": "a b"}),
            400,
        ),
        (
            "too large",
            set("a", json!({"conversation": "x".repeat(4_000_000)})),
            413,
        ),
    ];
    for (label, body, expected) in cases {
        let (status, answer) = lake.mutate("", body).await;
        assert_eq!(status, expected, "{label}: {answer}");
        assert_eq!(lake.fake.model().transactions.len(), 1, "{label}");
    }
}

#[actix_web::test]
async fn knows_its_token_and_dataset_only() {
    let lake = Lake::new().await;
    let path = format!("{}/{VERSION}/data/doc/production/a", lake.fake.url());
    for request in [lake.client.get(&path), lake.client.get(&path).bearer_auth("another")] {
        let (status, body) = body(http_client::send(request, Duration::from_secs(5)).await.unwrap());
        assert_eq!((status, &body["errorCode"]), (401, &json!("SIO-401-ANF")));
        assert_eq!(
            (&body["statusCode"], &body["error"]),
            (&json!(401), &json!("Unauthorized"))
        );
    }
    let cases = [
        ("/v2025-02-19/data/doc/staging/a", 404),
        ("/2025-02-19/data/doc/production/a", 400),
        ("/v2025-02-31/data/doc/production/a", 400),
        ("/v1/data/doc/production/a", 200),
        ("/v2025-02-19/data/doc/production/a,%20b", 400),
        ("/v2025-02-19/data/listen/production", 404),
        ("/v2025-02-19/data/doc/production/a?includeAllVersions=yes", 400),
    ];
    for (path, expected) in cases {
        assert_eq!(lake.get(path).await.0, expected, "{path}");
    }
}

#[actix_web::test]
async fn reconciliation_query_pages() {
    let lake = Lake::new().await;
    for id in ["lead-1", "lead-2", "lead-3"] {
        lake.fake.model().publish(requested(id)).unwrap();
    }
    lake.fake
        .model()
        .edit_draft("lead-1", json!({"name": "Ada E."}))
        .unwrap();
    lake.advance(31);
    lake.fake.model().publish(requested("lead-4")).unwrap();
    let query = r#"*[_type == $type && crmStatus == "REQUESTED" && _id > $after
        && dateTime(_updatedAt) < dateTime(now()) - $age] | order(_id asc) [0...$limit]{_id, _rev, _updatedAt}"#;
    let page = async |after: &str| {
        let params = [
            ("$type", r#""dbrLead""#),
            ("$after", after),
            ("$age", "30"),
            ("$limit", "2"),
        ];
        let (status, body) = lake.query(query, &params).await;
        assert_eq!(status, 200, "{body}");
        let leads = body["result"].as_array().unwrap().iter();
        leads
            .map(|lead| lead["_id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(page(r#""""#).await, ["lead-1", "lead-2"]);
    assert_eq!(page(r#""lead-2""#).await, ["lead-3"]);
    assert_eq!(page(r#""lead-3""#).await, Vec::<String>::new());
}

#[actix_web::test]
async fn queries_by_post_and_malformed_ones() {
    let lake = Lake::new().await;
    lake.fake.model().publish(lead("a")).unwrap();
    let address = format!("{}/{VERSION}/data/query/production?returnQuery=false", lake.fake.url());
    let body = json!({"query": "count(*[_id == $id])", "params": {"id": "a"}});
    let request = lake.client.post(address).bearer_auth(lake.fake.token()).json(&body);
    let (status, body) = self::body(http_client::send(request, Duration::from_secs(5)).await.unwrap());
    assert_eq!((status, &body["result"], body.get("query")), (200, &json!(1), None));
    for (query, params) in [
        ("*[_id = 'a']", [].as_slice()),
        ("*[_id == $id]", &[]),
        ("*", &[("$id", "a")]),
    ] {
        let (status, body) = lake.query(query, params).await;
        assert_eq!(
            (status, &body["error"]["type"]),
            (400, &json!("queryParseError")),
            "{query}"
        );
    }
}

#[actix_web::test]
async fn default_perspective_depends_on_version() {
    let lake = Lake::new().await;
    {
        let mut model = lake.fake.model();
        model.publish(lead("a")).unwrap();
        model.edit_draft("a", json!({})).unwrap();
        model.make_version("rABC", "a").unwrap();
    }
    let cases = [
        ("v2025-02-19", "", 1),
        ("vX", "", 1),
        ("v2025-02-18", "", 2),
        ("v1", "", 2),
        ("v2025-02-19", "&perspective=raw", 3),
        ("v2021-03-25", "&perspective=published", 1),
    ];
    for (version, params, expected) in cases {
        let (_, body) = lake
            .get(&format!("/{version}/data/query/production?query=count(*){params}"))
            .await;
        assert_eq!(body["result"], expected, "{version} {params}");
    }
}

#[actix_web::test]
async fn queries_lag_behind_and_reads_by_id_do_not() {
    let lake = Lake::new().await;
    lake.fake.model().publish(lead("a")).unwrap();
    lake.fake.model().query_lag = Duration::from_secs(5);
    lake.advance(60);
    lake.fake.model().request("a").unwrap();
    lake.fake.model().publish(requested("b")).unwrap();
    assert_eq!(lake.requested().await, Vec::<String>::new());
    assert_eq!(lake.read("a", "").await["documents"][0]["crmStatus"], "REQUESTED");
    lake.advance(5);
    assert_eq!(lake.requested().await, ["a", "b"]);
    lake.mutate("?visibility=async", set("a", json!({"crmStatus": "SENT"})))
        .await;
    assert_eq!(lake.requested().await, ["a", "b"]);
    lake.mutate("", set("b", json!({"crmStatus": "SENT"}))).await;
    assert_eq!(
        lake.requested().await,
        Vec::<String>::new(),
        "a synchronous write waits for all before it"
    );
}

#[actix_web::test]
async fn webhook_is_signed_like_a_real_one() {
    let (lake, receiver) = lake_with_receiver().await;
    let rev = lake.fake.model().publish(requested("lead-1")).unwrap();
    assert_eq!(lake.fake.deliver_due().await, 1);
    let seen = receiver.take();
    let delivery = &seen[0];
    let expected = [
        ("connection", "close"),
        ("accept-encoding", "gzip"),
        ("content-type", "application/json"),
        ("user-agent", "Sanity.io webhook delivery"),
        ("sanity-transaction-id", &rev),
        ("sanity-transaction-time", "2026-11-22T10:00:00Z"),
        ("sanity-dataset", lake.fake.dataset()),
        ("sanity-project-id", lake.fake.project_id()),
        ("sanity-document-id", "lead-1"),
        ("sanity-operation", "create"),
    ];
    for (name, value) in expected {
        assert_eq!(delivery.header(name), Some(value), "{name}");
    }
    for name in ["idempotency-key", "sanity-webhook-id", "content-length", "host"] {
        assert!(delivery.header(name).is_some_and(|value| !value.is_empty()), "{name}");
    }
    let body = json!({
        "_id": "lead-1", "_type": "dbrLead", "_rev": rev, "_updatedAt": "2026-11-22T10:00:00Z", "crmStatus": "REQUESTED",
    });
    assert_eq!(delivery.json(), body);
    let secrets = Secrets::new(lake.fake.webhook_secret().into(), None).unwrap();
    let header = delivery.header(signature::HEADER).unwrap().as_bytes();
    let age = Some(Duration::ZERO);
    assert_eq!(
        signature::verify([header], &delivery.body, &secrets, age, lake.clock.now()),
        Ok(())
    );
    let attempt = &lake.fake.model().deliveries[0];
    assert_eq!(
        (attempt.status, &attempt.answer),
        (Some(202), &Some(json!({"said": 202})))
    );
}

#[actix_web::test]
async fn webhook_fires_on_change_into_requested() {
    let (lake, receiver) = lake_with_receiver().await;
    type Edit = fn(&mut bigin_sync::fake::sanity::Model);
    let cases: [(&str, Edit, &[&str]); 12] = [
        ("a first publish without a status", |m| _ = m.publish(lead("a")), &[]),
        ("a request", |m| _ = m.request("a"), &["a"]),
        ("a request that stands", |m| _ = m.request("a"), &[]),
        ("another edit", |m| _ = m.edit("a", json!({"name": "Ada E."})), &[]),
        ("our result", |m| _ = m.edit("a", json!({"crmStatus": "SENT"})), &[]),
        (
            "a request in a draft",
            |m| _ = m.edit_draft("a", json!({"crmStatus": "REQUESTED"})),
            &[],
        ),
        ("the draft published", |m| _ = m.publish_draft("a"), &["a"]),
        ("a version in a release", |m| _ = m.make_version("rABC", "a"), &[]),
        ("taken back", |m| _ = m.unpublish("a"), &[]),
        ("published again", |m| _ = m.publish_draft("a"), &["a"]),
        ("deleted", |m| _ = m.delete("a"), &[]),
        (
            "another type",
            |m| _ = m.publish(json!({"_id": "p", "_type": "page", "crmStatus": "REQUESTED"})),
            &[],
        ),
    ];
    for (label, edit, expected) in cases {
        edit(&mut lake.fake.model());
        lake.fake.deliver_due().await;
        assert_eq!(receiver.documents(), expected, "{label}");
    }
}

#[actix_web::test]
async fn write_back_sets_off_nothing() {
    let (lake, receiver) = lake_with_receiver().await;
    lake.fake.model().seed(requested("a")).unwrap();
    lake.mutate("", set("a", json!({"crmStatus": "SENT"}))).await;
    assert_eq!(lake.fake.next_delivery(), None);
    assert_eq!(lake.fake.deliver_due().await, 0);
    assert!(receiver.take().is_empty());
}

#[actix_web::test]
async fn failed_delivery_is_retried_twice() {
    let (lake, receiver) = lake_with_receiver().await;
    receiver.answer_next(&[503, 429, 500, 503, 202]);
    lake.fake.model().publish(requested("lead-1")).unwrap();
    let keys = async |expected: usize| {
        assert_eq!(lake.fake.deliver_due().await, expected);
        receiver
            .take()
            .iter()
            .map(|delivery| delivery.header("idempotency-key").unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let first = keys(1).await;
    lake.advance(29);
    assert!(keys(0).await.is_empty());
    lake.advance(1);
    assert_eq!(keys(1).await, first);
    lake.advance(30);
    assert_eq!(keys(1).await, first);
    assert_eq!(lake.fake.next_delivery(), None);
    assert_eq!(lake.fake.model().webhooks.messages[0].state, MessageState::Failure);

    lake.fake.model().publish(requested("lead-2")).unwrap();
    keys(1).await;
    assert_eq!(
        lake.fake.next_delivery(),
        Some(bigin_sync::clock::after(lake.clock.now(), Duration::from_secs(30)))
    );
    lake.advance(30);
    assert_ne!(keys(1).await, first);
    assert_eq!(lake.fake.model().webhooks.messages[1].state, MessageState::Success);
}

#[actix_web::test]
async fn rejected_delivery_is_not_retried() {
    let (lake, receiver) = lake_with_receiver().await;
    for status in [400, 401, 404, 413, 304] {
        receiver.answer_next(&[status]);
        lake.fake.model().publish(requested(&format!("lead-{status}"))).unwrap();
        lake.fake.deliver_due().await;
        assert_eq!(lake.fake.next_delivery(), None, "{status}");
    }
}

#[actix_web::test]
async fn silent_or_missing_receiver_is_retried() {
    let (lake, receiver) = lake_with_receiver().await;
    lake.fake.model().webhooks.timeout = Duration::from_millis(50);
    receiver.answer_next(&[0]);
    lake.fake.model().publish(requested("lead-1")).unwrap();
    assert_eq!(lake.fake.deliver_due().await, 1);
    receiver.server.stop(false).await;
    lake.advance(30);
    assert_eq!(lake.fake.deliver_due().await, 1);
    assert!(lake.fake.next_delivery().is_some());
    let model = lake.fake.model();
    assert!(model.deliveries.iter().all(|attempt| attempt.status.is_none()));
}

#[actix_web::test]
async fn webhooks_can_be_lost_repeated_reordered() {
    let (lake, receiver) = lake_with_receiver().await;
    let publish = |id: &str| _ = lake.fake.model().publish(requested(id)).unwrap();

    lake.fake.model().webhooks.lose_next(1);
    publish("lost");
    publish("found");
    lake.fake.deliver_due().await;
    assert_eq!(receiver.documents(), ["found"]);
    assert_eq!(lake.fake.model().webhooks.lost, ["lost"]);

    lake.fake.model().webhooks.repeat_next(1);
    publish("twice");
    assert_eq!(lake.fake.deliver_due().await, 2);
    let seen = receiver.take();
    assert_eq!(seen[0].header("idempotency-key"), seen[1].header("idempotency-key"));
    assert_eq!(seen[0].body, seen[1].body);

    lake.fake.model().webhooks.reorder = true;
    publish("first");
    lake.advance(1);
    publish("second");
    lake.fake.deliver_due().await;
    assert_eq!(receiver.documents(), ["second", "first"]);

    publish("cancelled");
    lake.fake.model().webhooks.disable();
    publish("unseen");
    lake.fake.model().webhooks.enable();
    assert_eq!(lake.fake.deliver_due().await, 0);
}

#[actix_web::test]
async fn one_delivery_is_under_way_at_a_time() {
    let (lake, receiver) = lake_with_receiver().await;
    for id in ["a", "b", "c"] {
        lake.fake.model().publish(requested(id)).unwrap();
    }
    let (here, there) = tokio::join!(lake.fake.deliver_due(), lake.fake.deliver_due());
    assert_eq!(here + there, 3);
    assert_eq!(receiver.documents(), ["a", "b", "c"]);
}

#[actix_web::test]
async fn body_has_the_escapes_of_go_s_encoder() {
    let (lake, receiver) = lake_with_receiver().await;
    lake.fake.model().webhooks.lead_type = "a&<b>".to_owned();
    lake.fake
        .model()
        .publish(json!({"_id": "x", "_type": "a&<b>", "crmStatus": "REQUESTED"}))
        .unwrap();
    lake.fake.deliver_due().await;
    let seen = receiver.take();
    assert_eq!(seen[0].json()["_type"], "a&<b>");
    assert!(String::from_utf8_lossy(&seen[0].body).contains(r"a\u0026\u003cb\u003e"));
}

#[actix_web::test]
async fn published_draft_replaces_newer_result() {
    let lake = Lake::new().await;
    lake.fake.model().publish(requested("a")).unwrap();
    lake.fake.model().edit_draft("a", json!({"name": "Ada E."})).unwrap();
    lake.mutate(
        "",
        set(
            "a",
            json!({"crmStatus": "SENT", "biginContactId": "5551234567890123456"}),
        ),
    )
    .await;
    let mut model = lake.fake.model();
    model.publish_draft("a").unwrap();
    assert_eq!(model.text("a", "crmStatus"), Some("REQUESTED"));
    assert_eq!(model.text("a", "biginContactId"), None);
    assert!(model.document("drafts.a").is_none());
}

#[actix_web::test]
async fn duplicate_has_every_field_of_the_original() {
    let lake = Lake::new().await;
    let mut model = lake.fake.model();
    model.publish(requested("a")).unwrap();
    model
        .edit(
            "a",
            json!({"biginContactId": "5551234567890123456", "crmStatus": "SENT"}),
        )
        .unwrap();
    model.duplicate("a", "b").unwrap();
    assert!(model.document("b").is_none());
    model.publish_draft("b").unwrap();
    assert_eq!(model.text("b", "biginContactId"), Some("5551234567890123456"));
}

#[actix_web::test]
async fn impossible_edit_changes_nothing() {
    let lake = Lake::new().await;
    let mut model = lake.fake.model();
    assert!(model.request("nobody").is_err());
    assert!(model.publish_draft("nobody").is_err());
    assert!(model.publish(json!({"_id": "not an id"})).is_err());
    assert!(model.transactions.is_empty());
}

#[actix_web::test]
async fn lost_reply_leaves_the_work_done() {
    let lake = Lake::new().await;
    lake.fake.model().publish(lead("a")).unwrap();
    lake.fake.model().faults.fail_next(Kind::Mutate, Fault::LostReply, 1);
    let order = set("a", json!({"crmStatus": "SENT"}));
    assert_eq!(lake.try_mutate("", &order).await.err(), Some(TransportError::Lost));
    let model = lake.fake.model();
    assert_eq!(model.text("a", "crmStatus"), Some("SENT"));
    assert_eq!((model.calls_of(Kind::Mutate), model.calls[0].status), (1, None));
    assert!(model.faults.is_empty());
}

#[actix_web::test]
async fn cut_connection_ends_without_a_byte() {
    let lake = Lake::new().await;
    lake.fake.model().down = true;
    let address = lake.fake.url().replace("http://", "");
    let connection = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = b"GET /v1/data/doc/production/a HTTP/1.1\r\nhost: x\r\n\r\n";
    loop {
        connection.writable().await.unwrap();
        match connection.try_write(request) {
            Ok(sent) => break assert_eq!(sent, request.len()),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
        }
    }
    loop {
        connection.readable().await.unwrap();
        match connection.try_read(&mut [0; 16]) {
            Ok(read) => break assert_eq!(read, 0),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
        }
    }
}

#[actix_web::test]
async fn call_that_never_arrived_leaves_nothing() {
    let lake = Lake::new().await;
    lake.fake.model().publish(lead("a")).unwrap();
    lake.read("a", "").await;
    lake.fake.model().faults.fail_next(Kind::Mutate, Fault::NoReply, 1);
    assert!(
        lake.try_mutate("", &set("a", json!({"crmStatus": "SENT"})))
            .await
            .is_err()
    );
    assert_eq!(lake.fake.model().text("a", "crmStatus"), None);
    assert_eq!(
        lake.fake.model().calls_of(Kind::Mutate),
        1,
        "nobody below us sends it again"
    );
    lake.fake.model().down = true;
    assert!(lake.try_get("/v1/data/doc/production/a").await.is_err());
    lake.fake.model().down = false;
    lake.read("a", "").await;
}

#[actix_web::test]
async fn call_that_hangs_is_done_all_the_same() {
    let lake = Lake::new().await;
    lake.fake.model().publish(lead("a")).unwrap();
    lake.fake
        .model()
        .faults
        .fail_next(Kind::Mutate, Fault::Hang(Duration::from_secs(60)), 1);
    let address = format!("{}/v1/data/mutate/production", lake.fake.url());
    let request = lake
        .client
        .post(address)
        .bearer_auth(lake.fake.token())
        .json(&set("a", json!({"crmStatus": "SENT"})));
    let answer = http_client::send(request, Duration::from_millis(200)).await;
    assert_eq!(answer.err(), Some(TransportError::Timeout));
    assert_eq!(lake.fake.model().text("a", "crmStatus"), Some("SENT"));
}

#[actix_web::test]
async fn faults_look_like_real_ones() {
    let lake = Lake::new().await;
    let fail = |fault: Fault| lake.fake.model().faults.fail_next(Kind::Doc, fault, 1);
    let get = async || lake.try_get("/v1/data/doc/production/a").await.unwrap();

    fail(Fault::Status(503));
    assert_eq!(
        body(get().await),
        (
            503,
            json!({"statusCode": 503, "error": "Service Unavailable", "message": "The service met a fault"})
        )
    );
    fail(Fault::Status(401));
    assert_eq!(get().await.json.unwrap()["errorCode"], "SIO-401-ANF");
    fail(Fault::Html(502));
    let page = get().await;
    assert_eq!((page.status.as_u16(), page.json), (502, None));
    let waits = [
        (Some(RetryAfter::Seconds(90)), Some(Duration::from_secs(90))),
        (
            Some(RetryAfter::Date(Duration::from_secs(90))),
            Some(Duration::from_secs(90)),
        ),
        (None, None),
    ];
    for (asked, expected) in waits {
        fail(Fault::RateLimited(asked));
        let answer = get().await;
        assert_eq!((answer.status.as_u16(), answer.retry_after), (429, expected));
    }
    assert_eq!(get().await.status.as_u16(), 200);
    lake.fake.model().faults.fail_next(Kind::Mutate, Fault::Conflict, 1);
    let (status, body) = lake.mutate("", json!({"mutations": [{"create": lead("a")}]})).await;
    assert_eq!(
        (status, &body["error"]["type"]),
        (409, &json!("transactionConflictError"))
    );
    assert!(lake.fake.model().document("a").is_none());
}

#[actix_web::test]
async fn limits_mutations_per_second() {
    let lake = Lake::new().await;
    lake.fake.model().publish(lead("a")).unwrap();
    lake.fake.model().mutation_limit = Some(2);
    let mutate = async || lake.try_mutate("", &set("a", json!({"n": 1}))).await.unwrap();
    assert_eq!(mutate().await.status.as_u16(), 200);
    assert_eq!(mutate().await.status.as_u16(), 200);
    let refused = mutate().await;
    assert_eq!(
        (refused.status.as_u16(), refused.retry_after),
        (429, Some(Duration::from_secs(1)))
    );
    lake.advance(1);
    assert_eq!(mutate().await.status.as_u16(), 200);
}

#[actix_web::test]
async fn webhook_can_be_looked_up() {
    let (lake, receiver) = lake_with_receiver().await;
    let path = format!("/v2025-02-19/hooks/projects/{}", lake.fake.project_id());
    assert_eq!(lake.get(&path).await.0, 403, "the service's own token may not");
    let look = async |path: &str| {
        let request = lake.client.get(format!("{}{path}", lake.fake.url()));
        let request = request.bearer_auth(lake.fake.management_token());
        body(http_client::send(request, Duration::from_secs(5)).await.unwrap())
    };
    let (status, hooks) = look(&path).await;
    assert_eq!(status, 200);
    assert_eq!(hooks[0]["url"], receiver.url.as_str());
    assert_eq!(hooks[0]["rule"]["on"], json!(["create", "update"]));
    let attempts = format!("{path}/{WEBHOOK_ID}/attempts");
    assert_eq!(look(&attempts).await, (200, json!([])));
    lake.fake.model().publish(requested("a")).unwrap();
    lake.fake.deliver_due().await;
    let (_, attempts) = look(&attempts).await;
    let attempt = &attempts[0];
    assert_eq!(
        (&attempt["isFailure"], &attempt["resultCode"]),
        (&json!(false), &json!(202))
    );
    assert_eq!(look(&format!("{path}/another/attempts")).await.0, 404);
}

#[actix_web::test]
async fn stopped_fake_refuses_connections() {
    let lake = Lake::new().await;
    let address = format!("{}/v1/data/doc/production/a", lake.fake.url());
    lake.fake.stop().await;
    let answer = http_client::send(lake.client.get(address), Duration::from_secs(5)).await;
    assert_eq!(answer.err(), Some(TransportError::Connect));
}
