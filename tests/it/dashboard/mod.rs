//! The dashboard: what every page of it has in common.

use std::collections::BTreeSet;

use bigin_sync::http::{LOGIN_ROUTES, PAGES};
use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::world::{ADMIN_TOKEN, World, client, id, lead, with};

mod browser;
mod login;
mod overview;
mod syncs;

/// What came back.
#[derive(Debug)]
struct Shown {
    status: u16,
    headers: HeaderMap,
    html: String,
}

impl Shown {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The text of the page as people read it, white space made one.
    fn text(&self) -> String {
        let main = self.html.split("<main").nth(1).unwrap_or_default();
        let mut text = String::new();
        let mut inside = true;
        for letter in main.chars() {
            match letter {
                '<' => inside = true,
                '>' => {
                    inside = false;
                    text.push(' ');
                }
                _ if inside => {}
                _ => text.push(letter),
            }
        }
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        text.replace("&#39;", "'")
    }

    #[track_caller]
    fn says(&self, words: &str) {
        assert!(self.text().contains(words), "{words:?} is not in: {}", self.text());
    }
}

async fn send(request: RequestBuilder) -> Shown {
    let response = request.send().await.unwrap();
    Shown {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        html: response.text().await.unwrap(),
    }
}

/// Somebody who is nobody yet.
async fn visit(world: &World, path: &str) -> Shown {
    send(
        client()
            .get(format!("{}{path}", world.url))
            .header("accept", "text/html"),
    )
    .await
}

async fn try_token(world: &World, token: &str) -> Shown {
    let form = [("token", token), ("next", "/failures")];
    let request = client().post(format!("{}/login", world.url)).form(&form);
    send(request.header("sec-fetch-site", "same-origin")).await
}

/// Somebody who has logged in.
struct Operator<'a> {
    world: &'a World,
    cookie: String,
    form_token: String,
}

impl<'a> Operator<'a> {
    async fn new(world: &'a World) -> Self {
        let shown = try_token(world, ADMIN_TOKEN).await;
        assert_eq!((shown.status, shown.header("location")), (303, "/failures"));
        let cookie = shown.header("set-cookie").split(';').next().unwrap().to_owned();
        let mut operator = Self {
            world,
            cookie,
            form_token: String::new(),
        };
        let html = operator.get("/").await.html;
        let token = html.split("name=\"form_token\" value=\"").nth(1).unwrap();
        operator.form_token = token.split('"').next().unwrap().to_owned();
        operator
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = client().request(method, format!("{}{path}", self.world.url));
        request.header("cookie", &self.cookie).header("accept", "text/html")
    }

    async fn get(&self, path: &str) -> Shown {
        send(self.request(Method::GET, path)).await
    }

    /// Presses a button; returns what the redirect leads to.
    async fn press(&self, path: &str, fields: &[(&str, &str)]) -> Shown {
        let shown = self.post(path, fields).await;
        assert_eq!(shown.status, 303, "{}", shown.text());
        self.get(shown.header("location")).await
    }

    async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Shown {
        let token = [("form_token", self.form_token.as_str())];
        let form: Vec<_> = token.iter().chain(fields).collect();
        let request = self.request(Method::POST, path).header("sec-fetch-site", "same-origin");
        send(request.form(&form)).await
    }
}

/// A lead that Bigin refuses for its email.
fn bad(name: &str) -> Value {
    with(lead(name), json!({ "emailAddress": "not an address" }))
}

const BAD_EMAIL: &str = "Bigin rejected Email: not an email address";

/// What its leads are filtered and retried by.
const BAD_EMAIL_KEY: &str = "invalid_value:Email";

// --- Every page ------------------------------------------------------------------------------------------------------

#[actix_web::test]
async fn headers_forbid_foreign_content() {
    let world = World::new().await;
    let operator = Operator::new(&world).await;
    let paths = [
        "/",
        "/syncs",
        "/failures",
        "/syncs/99",
        "/login",
        "/nowhere",
        "/syncs?before=x",
    ];
    for path in paths {
        let stranger = visit(&world, path).await;
        for shown in [operator.get(path).await, stranger] {
            let policy = shown.header("content-security-policy");
            assert!(
                policy.starts_with("default-src 'none'; style-src 'self'; script-src 'self';"),
                "{path}: {policy}"
            );
            assert!(
                policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"),
                "{path}: {policy}"
            );
            assert_eq!(shown.header("x-content-type-options"), "nosniff", "{path}");
            assert_eq!(shown.header("referrer-policy"), "same-origin", "{path}");
            assert_eq!(shown.header("cache-control"), "no-store", "{path}");
            for forbidden in [" style=", " onclick=", "<style", "javascript:", "http://"] {
                assert!(!shown.html.contains(forbidden), "{path} has {forbidden}");
            }
        }
    }
    let page = operator.get("/").await.html;
    let assets = page.split('"').filter(|text| text.starts_with("/assets/"));
    for asset in assets.collect::<BTreeSet<_>>() {
        let shown = visit(&world, asset).await;
        assert_eq!(shown.status, 200, "{asset}");
        assert!(shown.header("cache-control").contains("immutable"), "{asset}");
        assert_eq!(shown.header("x-content-type-options"), "nosniff", "{asset}");
    }
    assert_eq!(visit(&world, "/assets/other.js").await.status, 404);
    world.finish().await;
}

#[actix_web::test]
async fn routes_accept_only_named_methods() {
    let world = World::new().await;
    let operator = Operator::new(&world).await;
    for address in PAGES.iter().chain(LOGIN_ROUTES) {
        let path = address.path.replace("{id}", "1").replace("{name}", "app.css");
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE"] {
            let known = if method == "HEAD" { "GET" } else { method };
            let form = [
                ("form_token", operator.form_token.as_str()),
                ("token", "a guess"),
                ("all", "true"),
            ];
            let request = operator
                .request(method.parse().unwrap(), &path)
                .header("sec-fetch-site", "same-origin");
            let shown = send(request.form(&form)).await;
            let takes = address.methods.contains(&known);
            assert_eq!(shown.status == 405, !takes, "{method} {path}: {}", shown.status);
            assert_eq!(shown.headers.contains_key("allow"), !takes, "{method} {path}");
        }
    }
    operator.press("/resume", &[]).await;
    world.finish().await;
}

#[actix_web::test]
async fn not_found_is_page_or_problem() {
    let world = World::new().await;
    let operator = Operator::new(&world).await;
    let page = operator.get("/nowhere").await;
    assert_eq!(
        (page.status, page.header("content-type")),
        (404, "text/html; charset=utf-8")
    );
    page.says("There is nothing at this address.");
    let program = send(client().get(format!("{}/nowhere", world.url))).await;
    assert_eq!(
        (program.status, program.header("content-type")),
        (404, "application/problem+json")
    );
    assert_eq!(
        operator.get("/api/nowhere").await.header("content-type"),
        "application/problem+json"
    );

    let forgotten = operator.get("/syncs/99").await;
    assert_eq!(forgotten.status, 404);
    forgotten.says("This sync doesn't exist, or was deleted after the retention period.");
    for path in ["/syncs/99/retry", "/syncs/99/cancel"] {
        assert_eq!(operator.post(path, &[]).await.status, 404, "{path}");
    }
    world.finish().await;
}

#[actix_web::test]
async fn shows_nothing_of_a_lead_but_ids() {
    let world = World::new().await;
    world.request(lead("Marigold")).await;
    world.request(bad("Peregrine")).await;
    world.run_due().await;
    let operator = Operator::new(&world).await;
    let mut paths = vec!["/".to_owned(), "/syncs".to_owned(), "/failures".to_owned()];
    paths.extend([1, 2].map(|id| format!("/syncs/{id}")));
    for round in 0..2 {
        for path in &paths {
            let page = operator.get(path).await;
            assert_eq!(page.status, 200);
            let html = page.html.replace(&id("Marigold"), "").replace(&id("Peregrine"), "");
            for personal in [
                "Marigold",
                "Peregrine",
                "Example",
                "@example.org",
                "not an address",
                "7700",
                "PO16",
                "Invented Street",
                "Tell me more",
                ADMIN_TOKEN,
            ] {
                assert!(!html.contains(personal), "round {round}: {personal} is in {path}");
            }
        }
        world.run_to_the_end().await;
    }
    world.finish().await;
}

#[actix_web::test]
async fn escapes_foreign_text() {
    let world = World::new().await;
    world.request(bad("Ada")).await;
    world.run_to_the_end().await;
    let field = r#"<script>alert("x")</script>'&"#;
    let database = rusqlite::Connection::open(world.folder().join("bigin-sync.db")).unwrap();
    let sql = "UPDATE sync SET reason_field = ?1, reason = ?2";
    let stored = json!({ "code": "value_required", "field": field }).to_string();
    let code = "UPDATE sync SET reason_code = 'value_required'";
    assert_eq!(database.execute(sql, [field, &stored]).unwrap(), 1);
    assert_eq!(database.execute(code, []).unwrap(), 1);
    let operator = Operator::new(&world).await;
    let paths = [
        "/",
        "/syncs",
        "/syncs/1",
        "/failures",
        "/syncs?q=%22%3E%3Cscript%3E",
        "/syncs?reason=%22%3E%3Cscript%3E",
    ];
    for path in paths {
        let html = operator.get(path).await.html;
        assert_eq!(html.matches("<script").count(), 1, "{path}: only our own");
        assert!(!html.contains("alert(\"x\")"), "{path}");
    }
    let group = operator
        .press("/syncs/retry", &[("reason", &format!("value_required:{field}"))])
        .await;
    group.says("1 lead queued for retry.");
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn database_outage_shows_on_every_page() {
    let world = World::new().await;
    let operator = Operator::new(&world).await;
    let database = rusqlite::Connection::open(world.folder().join("bigin-sync.db")).unwrap();
    database.execute_batch("ALTER TABLE sync RENAME TO hidden").unwrap();
    for path in ["/", "/syncs", "/syncs/1", "/failures"] {
        let shown = operator.get(path).await;
        assert_eq!((shown.status, shown.header("retry-after")), (503, "10"), "{path}");
        shown.says("Not available at the moment");
        shown.says("The database failed");
    }
    assert_eq!(operator.post("/syncs/1/retry", &[]).await.status, 503);
    database.execute_batch("ALTER TABLE hidden RENAME TO sync").unwrap();
    assert_eq!(operator.get("/").await.status, 200);
    world.finish().await;
}

#[actix_web::test]
async fn flash_messages_are_fixed() {
    let world = World::new().await;
    let operator = Operator::new(&world).await;
    let page = operator.get("/?did=your+account+is+locked").await;
    assert!(
        !page.html.contains("locked") && !page.html.contains("id=\"note\""),
        "{}",
        page.html
    );
    operator
        .get("/failures?did=retry_all&count=4")
        .await
        .says("4 leads queued for retry.");
    world.finish().await;
}
