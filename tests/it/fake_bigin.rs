//! The fake Bigin behaves as Bigin is known to, seen through the client that the service itself uses.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bigin_sync::clock::ManualClock;
use bigin_sync::domain::failure::TransportError;
use bigin_sync::fake::bigin::{Action, CallKind, Change, FakeBigin, Fault, UnknownKeys};
use bigin_sync::http_client;
use jiff::Timestamp;
use reqwest::{Client, RequestBuilder, Url};
use serde_json::{Value, json};

const UPSERT: &str = "/bigin/v2/Contacts/upsert";

/// A fake, a clock that stands still, and a client with a token.
struct World {
    clock: Arc<ManualClock>,
    fake: FakeBigin,
    client: Client,
    token: String,
}

/// Status and body of an answer; null where the body is no JSON.
type Got = (u16, Value);

impl World {
    async fn new() -> Self {
        let clock = Arc::new(ManualClock::new("2026-10-09T19:10:52Z".parse::<Timestamp>().unwrap()));
        let fake = FakeBigin::start(clock.clone()).await.unwrap();
        let url: Url = fake.url().parse().unwrap();
        let client = http_client::client("test", &[&url]).unwrap();
        let mut world = Self {
            clock,
            fake,
            client,
            token: String::new(),
        };
        world.token = text(&world.grant().await.1["access_token"]);
        world
    }

    fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.fake.url())
    }

    fn credentials(&self) -> [(&'static str, String); 4] {
        [
            ("client_id", self.fake.client_id()),
            ("client_secret", self.fake.client_secret()),
            ("refresh_token", self.fake.refresh_token()),
            ("grant_type", "refresh_token".to_owned()),
        ]
    }

    async fn grant(&self) -> Got {
        let request = self.client.post(self.url("/oauth/v2/token")).form(&self.credentials());
        got(request).await
    }

    fn with_token(&self, request: RequestBuilder) -> RequestBuilder {
        request.header("Authorization", format!("Zoho-oauthtoken {}", self.token))
    }

    async fn get(&self, path: &str) -> Got {
        got(self.with_token(self.client.get(self.url(path)))).await
    }

    async fn post(&self, path: &str, body: Value) -> Got {
        got(self.with_token(self.client.post(self.url(path)).json(&body))).await
    }

    async fn put(&self, path: &str, body: Value) -> Got {
        got(self.with_token(self.client.put(self.url(path)).json(&body))).await
    }

    /// Upserts records, with every unique field as a duplicate check.
    async fn upsert(&self, records: Value) -> Got {
        self.post(UPSERT, json!({ "data": records })).await
    }

    /// Adds contacts by hand; their ids.
    fn contacts<const N: usize>(&self, contacts: [Value; N]) -> [String; N] {
        contacts.map(|contact| {
            let fields: BTreeMap<String, Value> = serde_json::from_value(contact).unwrap();
            self.fake.model().add_contact(fields)
        })
    }

    async fn tag(&self, ids: &str, names: &str) -> Got {
        let path = format!("/bigin/v1/Contacts/actions/add_tags?ids={ids}&tag_names={names}&over_write=false");
        self.post(&path, Value::Null).await
    }

    fn number(&self) -> usize {
        self.fake.model().contacts().count()
    }
}

async fn got(request: RequestBuilder) -> Got {
    try_got(request).await.unwrap()
}

async fn try_got(request: RequestBuilder) -> Result<Got, &'static str> {
    let answer = http_client::send(request, Duration::from_secs(20)).await;
    answer
        .map(|answer| (answer.status.as_u16(), answer.json.unwrap_or_default()))
        .map_err(TransportError::code)
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
        .to_owned()
}

fn email(local: &str) -> String {
    format!("{local}@example.org")
}

/// `code` of the answer, or of the first record in it.
fn code(body: &Value) -> &str {
    let object = body.get("data").map_or(body, |data| &data[0]);
    object["code"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn grants_token_for_query_or_form() {
    let world = World::new().await;
    let url = world.url("/oauth/v2/token");
    let parts: String = world
        .credentials()
        .iter()
        .map(|(name, value)| format!("--xyz\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"))
        .collect();
    let ways = [
        (
            "query, and a body of null",
            world.client.post(&url).query(&world.credentials()).body("null"),
        ),
        ("form", world.client.post(&url).form(&world.credentials())),
        (
            "multipart",
            world
                .client
                .post(&url)
                .header("Content-Type", "multipart/form-data; boundary=xyz")
                .body(parts + "--xyz--\r\n"),
        ),
    ];
    for (way, request) in ways {
        let (status, body) = got(request).await;
        assert_eq!(status, 200, "{way}");
        assert_eq!(body["api_domain"], world.fake.url(), "{way}");
        assert_eq!(body["expires_in"], 3600, "{way}");
        assert!(text(&body["access_token"]).starts_with("1000."), "{way}");
        assert_eq!(body.get("refresh_token"), None, "{way}");
    }
    assert_eq!(world.fake.model().grants(), 4);
}

#[tokio::test]
async fn rejected_grant_has_status_200() {
    let world = World::new().await;
    let cases = [
        ("client_id", "1000.OTHER", "invalid_client"),
        ("client_secret", "other", "invalid_client_secret"),
        ("refresh_token", "1000.other", "invalid_code"),
        ("grant_type", "client_credentials", "invalid_request"),
    ];
    for (param, value, error) in cases {
        let mut params = BTreeMap::from(world.credentials());
        params.insert(param, value.to_owned());
        let answer = got(world.client.post(world.url("/oauth/v2/token")).form(&params)).await;
        assert_eq!(answer, (200, json!({ "error": error })));
    }
}

#[tokio::test]
async fn code_is_valid_once_for_three_minutes() {
    let world = World::new().await;
    let exchange = async |code: &str| {
        let mut params = BTreeMap::from(world.credentials());
        params.insert("grant_type", "authorization_code".to_owned());
        params.insert("code", code.to_owned());
        got(world.client.post(world.url("/oauth/v2/token")).form(&params))
            .await
            .1
    };
    let code = world.fake.model().generate_code();
    let first = exchange(&code).await;
    assert!(text(&first["refresh_token"]).starts_with("1000."));
    assert_eq!(exchange(&code).await, json!({"error": "invalid_code"}));
    let late = world.fake.model().generate_code();
    world.advance(180);
    assert_eq!(exchange(&late).await, json!({"error": "invalid_code"}));
}

#[tokio::test]
async fn eleventh_token_in_ten_minutes_is_rejected() {
    let world = World::new().await;
    for _ in 0..9 {
        assert!(world.grant().await.1["access_token"].is_string());
    }
    let refused = |(status, body): Got| (status, text(&body["error"]));
    for _ in 0..3 {
        assert_eq!(refused(world.grant().await), (400, "Access Denied".to_owned()));
        world.advance(599);
    }
    world.fake.model().switches.throttle_status = 200;
    assert_eq!(refused(world.grant().await), (200, "Access Denied".to_owned()));
    world.advance(600);
    assert!(world.grant().await.1["access_token"].is_string());
}

#[tokio::test]
async fn sixteenth_active_token_ends_the_first() {
    let world = World::new().await;
    for n in 2..=16 {
        assert_eq!(world.get("/bigin/v2/org").await.0, 200, "before token {n}");
        world.advance(if n == 11 { 600 } else { 1 });
        assert!(world.grant().await.1["access_token"].is_string());
    }
    assert_eq!(code(&world.get("/bigin/v2/org").await.1), "INVALID_TOKEN");
}

#[tokio::test]
async fn invalid_token_is_401() {
    let world = World::new().await;
    let url = world.url("/bigin/v2/org");
    let bearer = world.client.get(&url).bearer_auth(&world.token);
    let (status, body) = got(bearer).await;
    assert_eq!((status, body["org"][0]["company_name"].is_string()), (200, true));
    for header in ["", "Zoho-oauthtoken 1000.other", "Basic 1000.other"] {
        let (status, body) = got(world.client.get(&url).header("Authorization", header)).await;
        let refusal =
            json!({"code": "INVALID_TOKEN", "details": {}, "message": "invalid oauth token", "status": "error"});
        assert_eq!((status, body), (401, refusal), "{header}");
    }
    world.advance(3600);
    assert_eq!(world.get("/bigin/v2/org").await.0, 401, "expired");

    for end in ["switch", "revocation"] {
        let again = World::new().await;
        match end {
            "switch" => again.fake.model().invalidate_access_tokens(),
            _ => {
                let path = format!("/oauth/v2/token/revoke?token={}", again.fake.refresh_token());
                assert_eq!(again.post(&path, Value::Null).await.1, json!({"status": "success"}));
                assert_eq!(again.grant().await.1, json!({"error": "invalid_code"}));
            }
        }
        assert_eq!(again.get("/bigin/v2/org").await.0, 401, "{end}");
    }
}

#[tokio::test]
async fn answer_says_when_its_token_expires() {
    let world = World::new().await;
    let request = world.with_token(world.client.get(world.url("/bigin/v2/org")));
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["x-accesstoken-reset"], "2026-10-09T23:10:52+03:00");
    assert_eq!(response.headers()["content-type"], "application/json;charset=UTF-8");
}

#[tokio::test]
async fn missing_scope_closes_one_kind_of_call() {
    let world = World::new().await;
    world.fake.model().switches.missing_scopes.insert(CallKind::Fields);
    let (status, body) = world.get("/bigin/v2/settings/fields?module=Contacts").await;
    assert_eq!((status, code(&body)), (401, "OAUTH_SCOPE_MISMATCH"));
    assert_eq!(world.get("/bigin/v2/org").await.0, 200);
}

#[tokio::test]
async fn metadata_is_that_of_a_live_organisation() {
    let world = World::new().await;
    world.fake.model().add_field("Lead_ID", "Lead ID", "text", 64, true);
    let (_, body) = world.get("/bigin/v2/settings/fields?module=Contacts").await;
    let fields = body["fields"].as_array().unwrap();
    let field = |name: &str| fields.iter().find(|field| field["api_name"] == name);
    assert_eq!(field("Phone").unwrap()["unique"], json!({}));
    assert_eq!(field("Email").unwrap()["unique"], json!({"casesensitive": "0"}));
    assert_eq!(field("Last_Name").unwrap()["system_mandatory"], true);
    assert_eq!(field("Full_Name").unwrap()["read_only"], true);
    assert_eq!(field("Description").unwrap()["length"], 32000);
    assert_eq!(field("Lead_ID").unwrap()["custom_field"], true);
    for absent in ["Lead_Status", "Lead_Source", "Street", "City", "Zip_Code"] {
        assert!(field(absent).is_none(), "{absent}");
    }
    assert_eq!(world.get("/bigin/v2/settings/fields").await.0, 400);
}

#[tokio::test]
async fn upsert_inserts_then_updates() {
    let world = World::new().await;
    let (status, body) = world
        .upsert(json!([{"Last_Name": "Ada", "Email": "ada@example.org"}]))
        .await;
    let item = &body["data"][0];
    let id = text(&item["details"]["id"]);
    assert_eq!((status, id.len()), (201, 19));
    assert_eq!(
        (&item["action"], &item["duplicate_field"]),
        (&json!("insert"), &Value::Null)
    );
    assert_eq!(item["message"], "record added");
    world.advance(17);
    let (status, body) = world
        .upsert(json!([{"Last_Name": "Ada L", "Email": "ADA@Example.org"}]))
        .await;
    let user = json!({"name": "Fake Owner", "id": "7618134000000627001"});
    let expected = json!({"data": [{
        "code": "SUCCESS", "duplicate_field": "Email", "action": "update",
        "details": {
            "Modified_Time": "2026-10-09T22:11:09+03:00", "Modified_By": user,
            "Created_Time": "2026-10-09T22:10:52+03:00", "id": id, "Created_By": user,
        },
        "message": "record updated", "status": "success",
    }]});
    assert_eq!((status, body), (200, expected));
    assert_eq!(world.number(), 1);
}

#[tokio::test]
async fn duplicate_checks_follow_the_table() {
    // The record shares its email with contact a, its lead id with b, its phone with c, and its mobile with d.
    // It matches one of them, and may be refused for a unique value of another: `!Phone`.
    let cases: [(&str, bool, Value, &str); 11] = [
        (
            "nothing listed: Email, then unique fields",
            false,
            json!(null),
            "!Lead_ID",
        ),
        ("an empty list is none", false, json!([]), "!Lead_ID"),
        (
            "Email listed: it matches, unique fields still count",
            true,
            json!(["Email"]),
            "!Phone",
        ),
        (
            "the unique field that is listed first matches",
            false,
            json!(["Lead_ID", "Email"]),
            "!Email",
        ),
        (
            "Email is not looked at unless it is listed",
            false,
            json!(["Lead_ID"]),
            "Lead_ID",
        ),
        ("a unique field is, listed or not", true, json!(["Lead_ID"]), "!Phone"),
        ("a field made unique can be listed", true, json!(["Phone"]), "!Lead_ID"),
        (
            "the order is that of the list",
            true,
            json!(["Phone", "Email"]),
            "!Email",
        ),
        (
            "a field that is not unique matches nothing",
            false,
            json!(["Phone", "Mobile"]),
            "Lead_ID",
        ),
        (
            "nor does it stop the next from matching",
            false,
            json!(["Phone", "Email"]),
            "!Lead_ID",
        ),
        (
            "an unknown field matches nothing",
            false,
            json!(["Nonsense"]),
            "Lead_ID",
        ),
    ];
    for (name, phone_is_unique, listed, expected) in cases {
        let world = World::new().await;
        world.fake.model().add_field("Lead_ID", "Lead ID", "text", 64, true);
        world.fake.model().set_unique("Phone", phone_is_unique);
        let record = json!({
            "Last_Name": "Ada", "Email": "ada@example.org", "Lead_ID": "lead-1", "Phone": "+447700900001",
            "Mobile": "+447700900002",
        });
        for field in ["Email", "Lead_ID", "Phone", "Mobile"] {
            world.contacts([json!({"Last_Name": "x", field: record[field]})]);
        }
        let body = json!({"data": [record], "duplicate_check_fields": listed, "trigger": ["workflow"]});
        let (_, body) = world.post(UPSERT, body).await;
        let item = &body["data"][0];
        match expected.strip_prefix('!') {
            Some(field) => assert_eq!(
                (code(&body), text(&item["details"]["api_name"]).as_str()),
                ("DUPLICATE_DATA", field),
                "{name}"
            ),
            None => assert_eq!(item["duplicate_field"], expected, "{name}: {item}"),
        }
    }
}

#[tokio::test]
async fn upsert_by_field_not_unique_inserts() {
    let world = World::new().await;
    let record = json!({"Last_Name": "Ada", "Email": "ada@example.org", "Phone": "+447700900001"});
    world.contacts([record.clone()]);
    let (status, body) = world
        .post(UPSERT, json!({"data": [record], "duplicate_check_fields": ["Phone"]}))
        .await;
    assert_eq!(
        (status, &body["data"][0]["action"], world.number()),
        (201, &json!("insert"), 2)
    );
}

#[tokio::test]
async fn unlisted_email_makes_a_second_contact() {
    for strict in [false, true] {
        let world = World::new().await;
        world.fake.model().add_field("Lead_ID", "Lead ID", "text", 64, true);
        world.fake.model().switches.email_always_unique = strict;
        world.contacts([json!({"Last_Name": "a", "Email": "ada@example.org"})]);
        let record = json!({"Last_Name": "Ada", "Email": "ada@example.org", "Lead_ID": "lead-1"});
        let body = json!({"data": [record], "duplicate_check_fields": ["Lead_ID"]});
        let (status, _) = world.post(UPSERT, body).await;
        let expected = if strict { (400, 1) } else { (201, 2) };
        assert_eq!((status, world.number()), expected);
    }
}

#[tokio::test]
async fn unique_value_of_another_is_rejected() {
    let world = World::new().await;
    world.fake.model().set_unique("Phone", true);
    let [_, other] = world.contacts([
        json!({"Last_Name": "a", "Email": "ada@example.org"}),
        json!({"Last_Name": "b", "Phone": "+447700900001"}),
    ]);
    let record = json!({"Last_Name": "Ada", "Email": "ada@example.org", "Phone": "+447700900001"});
    let (status, body) = world.upsert(json!([record])).await;
    let details = json!({"api_name": "Phone", "duplicate_record": {"id": other}});
    let item = json!({"code": "DUPLICATE_DATA", "details": details, "message": "duplicate data", "status": "error"});
    assert_eq!((status, body), (400, json!({"data": [item]})));
}

#[tokio::test]
async fn records_are_independent_and_in_order() {
    let world = World::new().await;
    let records = json!([
        {"Last_Name": "Ada", "Email": "ada@example.org"},
        {"Email": "no-name@example.org"},
        {"Last_Name": "Ada again", "Email": "Ada@example.org"},
    ]);
    let (status, body) = world.upsert(records.clone()).await;
    assert_eq!(status, 202);
    let data = &body["data"];
    assert_eq!(data[0]["action"], "insert");
    assert_eq!(
        (&data[1]["code"], &data[1]["details"]),
        (&json!("MANDATORY_NOT_FOUND"), &json!({"api_name": "Last_Name"}))
    );
    assert_eq!(data[2]["action"], "update");
    assert_eq!(data[2]["details"]["id"], data[0]["details"]["id"]);
    world.fake.model().switches.mixed_status = 207;
    assert_eq!(world.upsert(records).await.0, 207);
}

#[tokio::test]
async fn record_is_rejected_for_its_values() {
    let world = World::new().await;
    world.fake.model().add_field("Budget", "Budget", "integer", 9, false);
    let emoji = "\u{1f600}".repeat(41);
    let typed = |kind: &str, name: &str| json!({"expected_data_type": kind, "api_name": name});
    let long = |length: usize, name: &str| json!({"maximum_length": length, "api_name": name});
    let cases = [
        ("Email", json!("ada@example"), typed("email", "Email")),
        ("Email", json!("ada example.org"), typed("email", "Email")),
        ("Email", json!("a..b@example.org"), typed("email", "Email")),
        ("Email", json!(email(&"a".repeat(90))), long(100, "Email")),
        ("Phone", json!("call me"), typed("phone", "Phone")),
        ("Phone", json!("+44 7700 900001 ext 3"), typed("phone", "Phone")),
        ("Phone", json!("0".repeat(51)), long(50, "Phone")),
        ("Description", json!("x".repeat(32001)), long(32000, "Description")),
        ("Last_Name", json!(emoji), long(80, "Last_Name")),
        ("Title", json!(7), typed("text", "Title")),
        ("Email_Opt_Out", json!("true"), typed("boolean", "Email_Opt_Out")),
        ("Budget", json!("many"), typed("integer", "Budget")),
    ];
    for (name, value, details) in cases {
        let mut record = json!({"Last_Name": "Ada"});
        record[name] = value.clone();
        let (status, body) = world.upsert(json!([record])).await;
        assert_eq!((status, code(&body)), (400, "INVALID_DATA"), "{name} {value}");
        assert_eq!(body["data"][0]["details"], details, "{name} {value}");
    }
    assert_eq!(world.number(), 0);
    let good = json!({
        "Last_Name": "\u{1f600}".repeat(40), "Email": "o'hara+x@mail.example.org", "Phone": "+44 (0) 7700-900.001",
        "Description": "x".repeat(32000), "Budget": 7,
    });
    assert_eq!(world.upsert(json!([good])).await.0, 201);
}

#[tokio::test]
async fn unknown_key_is_dropped_or_rejected() {
    let world = World::new().await;
    let record = json!([{"Last_Name": "Ada", "Lead_Status": "New", "Full_Name": "x"}]);
    assert_eq!(world.upsert(record.clone()).await.0, 201);
    world.fake.model().switches.unknown_keys = UnknownKeys::RejectRecord;
    world.fake.model().switches.all_failed_status = 202;
    let (status, body) = world.upsert(record).await;
    assert_eq!((status, code(&body)), (202, "INVALID_DATA"));
    let model = world.fake.model();
    let (_, contact) = model.contacts().next().unwrap();
    assert_eq!(contact.fields, BTreeMap::from([("Last_Name".to_owned(), json!("Ada"))]));
}

#[tokio::test]
async fn null_clears_and_absence_keeps() {
    let world = World::new().await;
    let [id] = world.contacts([json!({"Last_Name": "Ada", "Title": "Dr", "Phone": "+447700900001"})]);
    let path = format!("/bigin/v2/Contacts/{id}");
    assert_eq!(world.put(&path, json!({"data": [{"Phone": null}]})).await.0, 200);
    let (_, body) = world.put(&path, json!({"data": [{"Last_Name": null}]})).await;
    assert_eq!(code(&body), "MANDATORY_NOT_FOUND");
    let model = world.fake.model();
    let contact = model.contact(&id).unwrap();
    assert_eq!((contact.text("Title"), contact.text("Phone")), (Some("Dr"), None));
}

#[tokio::test]
async fn malformed_batch_is_rejected() {
    let world = World::new().await;
    let many: Vec<Value> = (0..101).map(|n| json!({"Last_Name": n.to_string()})).collect();
    let cases = [
        (json!([]), "INVALID_DATA"),
        (json!({}), "MANDATORY_NOT_FOUND"),
        (json!({"data": []}), "MANDATORY_NOT_FOUND"),
        (json!({"data": "x"}), "INVALID_DATA"),
        (json!({"data": ["x"]}), "INVALID_DATA"),
        (json!({"data": many}), "INVALID_DATA"),
        (
            json!({"data": [{"Last_Name": "x"}], "trigger": "workflow"}),
            "INVALID_DATA",
        ),
    ];
    for (body, expected) in cases {
        let (status, answer) = world.post(UPSERT, body).await;
        assert_eq!((status, answer["code"].as_str()), (400, Some(expected)));
    }
    assert_eq!(world.number(), 0);
}

#[tokio::test]
async fn updates_by_id_only() {
    let world = World::new().await;
    let [kept, deleted, merged, taken] = world.contacts([
        json!({"Last_Name": "kept"}),
        json!({"Last_Name": "deleted"}),
        json!({"Last_Name": "merged"}),
        json!({"Last_Name": "taken", "Email": "taken@example.org"}),
    ]);
    world.fake.model().delete_contact(&deleted);
    world.fake.model().merge_contact(&merged, &kept);
    let records = json!([
        {"id": kept, "Title": "Dr"}, {"id": deleted, "Title": "Dr"}, {"id": merged, "Title": "Dr"},
        {"id": "1", "Title": "Dr"}, {"Title": "Dr"}, {"id": kept, "Email": "TAKEN@example.org"},
    ]);
    let (status, body) = world.put("/bigin/v2/Contacts", json!({ "data": records })).await;
    let data = body["data"].as_array().unwrap();
    let codes: Vec<&str> = data.iter().map(|item| item["code"].as_str().unwrap()).collect();
    let gone = "INVALID_DATA";
    assert_eq!(status, 202);
    assert_eq!(
        codes,
        ["SUCCESS", gone, gone, gone, "MANDATORY_NOT_FOUND", "DUPLICATE_DATA"]
    );
    assert_eq!(data[1]["message"], "the id given seems to be invalid");
    assert_eq!(data[1]["details"], json!({"api_name": "id"}));
    assert_eq!(data[0].get("action"), None);
    assert_eq!(data[5]["details"]["duplicate_record"]["id"], taken.as_str());
    assert_eq!(world.get(&format!("/bigin/v2/Contacts/{merged}")).await.0, 204);
    assert_eq!(
        world.get(&format!("/bigin/v2/Contacts/{kept}")).await.1["data"][0]["Title"],
        "Dr"
    );
}

#[tokio::test]
async fn insert_never_updates() {
    let world = World::new().await;
    let body =
        json!({"data": [{"Last_Name": "Ada", "First_Name": "A", "Email": "ada@example.org", "Tag": [{"name": "x"}]}]});
    let (status, answer) = world.post("/bigin/v2/Contacts", body.clone()).await;
    assert_eq!((status, code(&answer)), (201, "SUCCESS"));
    let (status, answer) = world.post("/bigin/v2/Contacts", body).await;
    assert_eq!((status, code(&answer)), (400, "DUPLICATE_DATA"));
    let id = text(&answer["data"][0]["details"]["duplicate_record"]["id"]);
    let (_, read) = world.get(&format!("/bigin/v2/Contacts/{id}")).await;
    assert_eq!(read["data"][0]["Full_Name"], "A Ada");
    assert_eq!(read["data"][0]["Tag"][0]["name"], "x");
    assert_eq!(read["data"][0]["Phone"], Value::Null);
}

#[tokio::test]
async fn search_lags_behind_and_coql_does_not() {
    let world = World::new().await;
    world.contacts([json!({"Last_Name": "Ada", "Email": "ada@example.org", "Phone": "+447700900001"})]);
    let query = json!({"select_query": "select id from Contacts where Email = 'Ada@example.org'"});
    for (seconds, found) in [(0, 204), (14, 204), (1, 200)] {
        world.advance(seconds);
        assert_eq!(
            world.get("/bigin/v2/Contacts/search?email=ADA%40example.org").await.0,
            found
        );
        assert_eq!(
            world.get("/bigin/v2/Contacts/search?phone=%2B447700900001").await.0,
            found
        );
        assert_eq!(world.post("/bigin/v2/coql", query.clone()).await.0, 200);
    }
    // A plus that is not escaped is a space.
    assert_eq!(world.get("/bigin/v2/Contacts/search?phone=+447700900001").await.0, 204);
    assert_eq!(world.get("/bigin/v2/Contacts/search").await.0, 400);
}

#[tokio::test]
async fn coql_answers_what_it_understands() {
    let world = World::new().await;
    world.contacts([
        json!({"Last_Name": "a", "Phone": "+447700900001", "Email": "a@example.org"}),
        json!({"Last_Name": "O'Hara", "Phone": "+447700900002"}),
        json!({"Last_Name": "c", "Mobile": "+447700900001"}),
    ]);
    let many = |n: usize| format!("select id from Contacts where Phone in ({})", vec!["'x'"; n].join(","));
    let names = |condition: &str| format!("select Last_Name from Contacts where {condition}");
    let cases = [
        (names("Phone = '+447700900001'"), 200, "a"),
        (
            names("Phone in ('+447700900002', '+447700900001') limit 200"),
            200,
            "a,O'Hara",
        ),
        (names("Phone = '+447700900001' or Mobile = '+447700900001'"), 200, "a,c"),
        (
            names("((Phone = 'x' or Mobile = '+447700900001') or Last_Name = 'a')"),
            200,
            "a,c",
        ),
        (names("(Phone = '+447700900001' and Email = 'A@EXAMPLE.ORG')"), 200, "a"),
        (names(r"Last_Name = 'O\'Hara'"), 200, "O'Hara"),
        (names("Phone in ('+447700900001','+447700900002') limit 1"), 200, "a"),
        (names("(Email is null and Phone is null)"), 200, "c"),
        (
            names("(Email is null and Created_Time >= '2000-01-01T00:00:00+00:00')"),
            200,
            "O'Hara,c",
        ),
        (names("Created_Time >= '2999-01-01T00:00:00+00:00'"), 204, ""),
        (names("Created_Time >= 'yesterday'"), 400, ""),
        (names("Phone = 'nobody'"), 204, ""),
        (many(50), 204, ""),
        (many(51), 400, ""),
        (names("Phone = 'a' or Phone = 'b' or Phone = 'c'"), 400, ""),
        (names("Phone = 'O'Hara'"), 400, ""),
        (names("Phone = 'a' limit 201"), 400, ""),
        (names("Phone like 'a%'"), 400, ""),
        (names("Nonsense = 'a'"), 400, ""),
        ("select id from Contacts".to_owned(), 400, ""),
        ("select id from Accounts where Phone = 'a'".to_owned(), 400, ""),
        ("select * from Contacts where Phone = 'a'".to_owned(), 400, ""),
        (names(&"(".repeat(100_000)), 400, ""),
    ];
    for (query, status, found) in cases {
        let (got, body) = world.post("/bigin/v2/coql", json!({"select_query": query})).await;
        let rows = body["data"].as_array().cloned().unwrap_or_default();
        let names: Vec<&str> = rows.iter().map(|row| row["Last_Name"].as_str().unwrap()).collect();
        let query = &query[..query.len().min(120)];
        assert_eq!((got, names.join(",").as_str()), (status, found), "{query}");
        assert!(rows.iter().all(|row| row["id"].is_string()), "{query}");
        assert!(status != 400 || code(&body) == "SYNTAX_ERROR", "{query}");
    }
    let limited = json!({"select_query": names("Phone in ('+447700900001','+447700900002') limit 1")});
    let (_, body) = world.post("/bigin/v2/coql", limited).await;
    assert_eq!(body["info"], json!({"count": 1, "more_records": true}));
}

#[tokio::test]
async fn tags_by_query_on_v1_and_body_on_v2() {
    let world = World::new().await;
    let [a, b] = world.contacts([json!({"Last_Name": "a"}), json!({"Last_Name": "b"})]);
    let (status, body) = world.tag(&format!("{a},1,{b}"), "DBR_Dashboard_Import,x").await;
    assert_eq!(status, 202);
    let tags = json!(["DBR_Dashboard_Import", "x"]);
    let done = json!({
        "code": "SUCCESS", "details": {"id": a, "tags": tags},
        "message": "tags updated successfully", "status": "success",
    });
    assert_eq!(body["data"][0], done);
    assert_eq!(body["data"][1]["code"], "INVALID_DATA");
    assert_eq!(body["data"][2]["details"]["id"], b.as_str());

    let one = format!("/bigin/v1/Contacts/{a}/actions/add_tags?tag_names=y&over_write=true");
    assert_eq!(
        world.post(&one, Value::Null).await.1["data"][0]["details"]["tags"],
        json!(["y"])
    );

    world.fake.model().switches.tags_as_objects = true;
    let order = json!({"tags": [{"name": "z"}], "ids": [a], "over_write": false});
    let (status, body) = world.post("/bigin/v2/Contacts/actions/add_tags", order).await;
    let names = |tags: &Value| {
        tags.as_array()
            .unwrap()
            .iter()
            .map(|tag| text(&tag["name"]))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (status, names(&body["data"][0]["details"]["tags"])),
        (200, vec!["y".to_owned(), "z".to_owned()])
    );

    let by_query = format!("/bigin/v2/Contacts/actions/add_tags?ids={a}&tag_names=x");
    let (status, body) = world.post(&by_query, Value::Null).await;
    assert_eq!((status, code(&body)), (400, "REQUIRED_PARAM_MISSING"));
}

#[tokio::test]
async fn tags_have_their_limits() {
    let world = World::new().await;
    let [id] = world.contacts([json!({"Last_Name": "a"})]);
    let ids = vec!["1"; 501].join(",");
    let cases = [
        (id.as_str(), "a".repeat(26), "INVALID_DATA"),
        (id.as_str(), "a%3Cb".to_owned(), "PATTERN_NOT_MATCHED"),
        (id.as_str(), "a;b".to_owned(), "PATTERN_NOT_MATCHED"),
        (id.as_str(), String::new(), "REQUIRED_PARAM_MISSING"),
        (id.as_str(), "1,2,3,4,5,6,7,8,9,10,11".to_owned(), "LIMIT_EXCEEDED"),
        (ids.as_str(), "a".to_owned(), "LIMIT_EXCEEDED"),
        ("", "a".to_owned(), "REQUIRED_PARAM_MISSING"),
    ];
    for (ids, names, expected) in cases {
        let (status, body) = world.tag(ids, &names).await;
        assert_eq!((status, code(&body)), (400, expected), "{names}");
    }
    let (status, _) = world.tag(&id, &"a".repeat(25)).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn modules_tags_are_listed_and_created() {
    let world = World::new().await;
    let path = "/bigin/v2/settings/tags?module=Contacts";
    let body = json!({"tags": [{"name": "x"}]});
    assert_eq!(
        world.post(path, body.clone()).await.1["tags"][0]["message"],
        "tags created successfully"
    );
    assert_eq!(world.post(path, body).await.1["tags"][0]["code"], "DUPLICATE_DATA");
    let [id] = world.contacts([json!({"Last_Name": "a"})]);
    world.tag(&id, "made-by-use").await;
    let (_, list) = world.get(path).await;
    let names: Vec<String> = list["tags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tag| text(&tag["name"]))
        .collect();
    assert_eq!(names, ["made-by-use", "x"]);
}

#[tokio::test]
async fn credits_return_after_a_day() {
    let world = World::new().await;
    let records = |n: usize| json!((0..n).map(|n| json!({"Last_Name": n.to_string()})).collect::<Vec<_>>());
    let ids = |n: usize| vec!["1"; n].join(",");
    let used = || world.fake.model().credits_used();
    for (n, total) in [(1, 1), (10, 2), (11, 4), (100, 14)] {
        world.upsert(records(n)).await;
        assert_eq!(used(), total, "{n} records");
    }
    for (n, total) in [(1, 15), (50, 16), (51, 18), (500, 28)] {
        world.tag(&ids(n), "x").await;
        assert_eq!(used(), total, "{n} ids");
    }
    world.fake.model().switches.credit_limit = 29;
    let (status, body) = world.upsert(records(11)).await;
    assert_eq!((status, code(&body), used()), (429, "LIMIT_EXCEEDED", 28));
    assert_eq!(world.get("/bigin/v2/org").await.0, 200);
    world.advance(24 * 60 * 60);
    assert_eq!(used(), 0);
}

#[tokio::test]
async fn limits_concurrent_calls() {
    let world = World::new().await;
    world.fake.model().switches.concurrency_limit = 2;
    world.fake.model().switches.latency = Duration::from_millis(500);
    let (a, b, c) = tokio::join!(
        world.get("/bigin/v2/org"),
        world.get("/bigin/v2/org"),
        world.get("/bigin/v2/org")
    );
    let mut statuses = [a.0, b.0, c.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 429]);
    assert_eq!(world.fake.model().max_in_flight(), 3);
    assert_eq!(world.get("/bigin/v2/org").await.0, 200, "and the place is free again");
}

#[tokio::test]
async fn faults_hit_as_many_calls_as_set() {
    let body_error = Fault::BodyError {
        status: 403,
        code: "NO_PERMISSION".to_owned(),
        message: "permission denied".to_owned(),
    };
    let limited = |retry_after| Fault::RateLimited { retry_after };
    let cases = [
        (Fault::Status(500), Ok((500, "INTERNAL_ERROR")), 0),
        (Fault::Html(502), Ok((502, "")), 0),
        (body_error, Ok((403, "NO_PERMISSION")), 0),
        (limited(None), Ok((429, "TOO_MANY_REQUESTS")), 0),
        (Fault::NoReply, Err("connection lost"), 0),
        (Fault::LostReply, Err("connection lost"), 1),
        (Fault::RecordLocked, Ok((400, "RECORD_LOCKED")), 0),
        (Fault::Hang(Duration::from_millis(20)), Ok((201, "SUCCESS")), 1),
        (Fault::Stall(Duration::from_millis(20)), Ok((201, "SUCCESS")), 1),
    ];
    for (fault, expected, contacts) in cases {
        let world = World::new().await;
        // A connection that is in the pool already is cut no less.
        world.get("/bigin/v2/org").await;
        world.fake.model().fail_next(CallKind::Upsert, fault.clone(), 1);
        let body = json!({"data": [{"Last_Name": "Ada"}]});
        let request = world.with_token(world.client.post(world.url(UPSERT)).json(&body));
        let answer = try_got(request).await;
        let answer = answer
            .as_ref()
            .map(|(status, body)| (*status, code(body)))
            .map_err(|code| *code);
        assert_eq!((answer, world.number()), (expected, contacts), "{fault:?}");
        assert_eq!(
            world.fake.model().count(CallKind::Upsert),
            1,
            "{fault:?}: the client must not repeat the call"
        );
        assert_eq!(world.fake.model().faults_left(), 0, "{fault:?}");
        assert_eq!(world.upsert(json!([{"Last_Name": "Ada"}])).await.0, 201, "{fault:?}");
    }
    let world = World::new().await;
    world.fake.model().fail_next(CallKind::Org, limited(Some(90)), 1);
    let request = world.with_token(world.client.get(world.url("/bigin/v2/org")));
    let answer = http_client::send(request, Duration::from_secs(20))
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(answer.retry_after, Some(Duration::from_secs(90)));
}

#[tokio::test]
async fn record_fault_strikes_one_record() {
    let world = World::new().await;
    let fault = Fault::RecordError {
        nth: 1,
        code: "INVALID_DATA".to_owned(),
        field: Some("Phone".to_owned()),
    };
    world.fake.model().fail_next(CallKind::Upsert, fault, 1);
    let (status, body) = world
        .upsert(json!([{"Last_Name": "a"}, {"Last_Name": "b"}, {"Last_Name": "c"}]))
        .await;
    assert_eq!((status, world.number()), (202, 2));
    assert_eq!(body["data"][1]["details"], json!({"api_name": "Phone"}));
}

#[tokio::test]
async fn calls_finish_without_their_caller() {
    for fault in [
        Fault::Hang(Duration::from_millis(900)),
        Fault::Stall(Duration::from_millis(900)),
    ] {
        let world = World::new().await;
        world.fake.model().fail_next(CallKind::Upsert, fault.clone(), 1);
        let body = json!({"data": [{"Last_Name": "Ada"}]});
        let request = world.with_token(world.client.post(world.url(UPSERT)).json(&body));
        let answer = http_client::send(request, Duration::from_millis(400)).await;
        assert_eq!(answer.err(), Some(TransportError::Timeout), "{fault:?}");
        let early = usize::from(matches!(fault, Fault::Hang(_)));
        assert_eq!(world.number(), early, "{fault:?}");
        while world.fake.model().in_flight() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(world.number(), 1, "{fault:?}");
        assert_eq!(
            world.fake.model().calls.last().map(|call| call.status),
            Some(201),
            "{fault:?}"
        );
    }
}

#[tokio::test]
async fn token_endpoint_has_faults() {
    let world = World::new().await;
    let refused = |error: &str| Fault::TokenError(error.to_owned());
    let cases = [
        (refused("invalid_code"), (200, json!("invalid_code"))),
        (refused("invalid_client_secret"), (200, json!("invalid_client_secret"))),
        (Fault::TokenThrottled, (400, json!("Access Denied"))),
        (Fault::Html(502), (502, Value::Null)),
    ];
    for (fault, expected) in cases {
        world.fake.model().fail_next(CallKind::Token, fault, 1);
        let (status, body) = world.grant().await;
        assert_eq!((status, body["error"].clone()), expected);
    }
    assert_eq!(world.fake.model().grants(), 1);
}

#[tokio::test]
async fn poison_fails_batch_and_down_fails_all() {
    let world = World::new().await;
    world.fake.model().switches.poison = Some("poison".to_owned());
    let (status, _) = world
        .upsert(json!([{"Last_Name": "Ada"}, {"Last_Name": "poisoned"}]))
        .await;
    assert_eq!((status, world.number()), (500, 0));
    assert_eq!(
        world.fake.model().calls.last().map(|call| (call.records, call.credits)),
        Some((2, 0))
    );
    assert_eq!(world.upsert(json!([{"Last_Name": "Ada"}])).await.0, 201);
    world.fake.model().switches.down = true;
    assert_eq!(world.grant().await, (503, Value::Null));
    assert_eq!(world.get("/bigin/v2/org").await, (503, Value::Null));
    assert_eq!(world.get("/nowhere").await, (503, Value::Null));
}

#[tokio::test]
async fn rejects_unknown_calls() {
    let world = World::new().await;
    let cases = [
        ("/bigin/v2/Contacts/nonsense", (404, "INVALID_URL_PATTERN")),
        ("/bigin/v3/Contacts/1", (404, "INVALID_URL_PATTERN")),
        ("/crm/v2/org", (404, "INVALID_URL_PATTERN")),
        ("/", (404, "INVALID_URL_PATTERN")),
        ("/bigin/v2/Leads/1", (400, "INVALID_MODULE")),
        ("/bigin/v2/Contacts/upsert", (400, "INVALID_REQUEST_METHOD")),
        ("/bigin/v2/coql", (400, "INVALID_REQUEST_METHOD")),
        ("/bigin/v2/settings/fields?module=Leads", (400, "INVALID_MODULE")),
    ];
    for (path, expected) in cases {
        let (status, body) = world.get(path).await;
        assert_eq!((status, code(&body)), expected, "{path}");
    }
}

#[tokio::test]
async fn logs_every_call_and_change() {
    let world = World::new().await;
    let body = json!({"data": [{"Last_Name": "Ada"}], "trigger": ["workflow"]});
    let (_, answer) = world.post("/bigin/v1/Contacts/upsert", body).await;
    let id = text(&answer["data"][0]["details"]["id"]);
    world.advance(15);
    world.tag(&id, "x").await;
    world.get("/nowhere").await;
    let model = world.fake.model();
    let calls: Vec<_> = model
        .calls
        .iter()
        .map(|call| (call.kind, call.records, call.credits, call.status))
        .collect();
    let expected = [
        (CallKind::Token, 0, 0, 200),
        (CallKind::Upsert, 1, 1, 201),
        (CallKind::AddTags, 1, 1, 200),
        (CallKind::Other, 0, 0, 404),
    ];
    assert_eq!(calls, expected);
    let at: Timestamp = "2026-10-09T19:10:52Z".parse().unwrap();
    let upserted = Change::Upserted {
        contact: id.clone(),
        action: Action::Insert,
        at,
        fields: BTreeMap::from([("Last_Name".to_owned(), json!("Ada"))]),
        trigger: Some(vec!["workflow".to_owned()]),
    };
    let tagged = Change::Tagged {
        contact: id,
        tag: "x".to_owned(),
        at: at + jiff::SignedDuration::from_secs(15),
        added: true,
    };
    assert_eq!(model.changes, [upserted, tagged]);
}

#[tokio::test]
async fn stop_cuts_calls_and_rejects_new() {
    let world = World::new().await;
    world.fake.model().switches.latency = Duration::from_secs(30);
    let url = world.url("/bigin/v2/org");
    let World { fake, client, .. } = world;
    let (in_flight, ()) = tokio::join!(try_got(client.get(&url)), async {
        while fake.model().in_flight() == 0 {
            tokio::task::yield_now().await;
        }
        fake.stop().await;
    });
    assert_eq!(in_flight, Err("connection lost"));
    assert_eq!(try_got(client.get(url)).await, Err("connect"));
}
