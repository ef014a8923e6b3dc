//! The dashboard, over HTTP, as a browser without JavaScript has it.

use std::collections::BTreeSet;

use bigin_sync::http::{DOOR, PAGES};
use bigin_sync::store::Stage;
use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::world::{ADMIN_TOKEN, World, client, id, lead, secs, with};

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
        text.split_whitespace().collect::<Vec<_>>().join(" ")
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

// --- The door --------------------------------------------------------------------------------------------------------

#[actix_web::test]
async fn whoever_is_not_logged_in_comes_to_the_login_and_from_there_to_the_page() {
    let world = World::new().await;
    for address in PAGES {
        let path = address.path.replace("{id}", "7");
        let page = visit(&world, &path).await;
        assert_eq!(page.status, 303, "{path}");
        assert!(page.header("location").starts_with("/login"), "{path}");
        let form = send(client().post(format!("{}{path}", world.url))).await;
        assert_eq!(
            (form.status, form.header("location")),
            (303, "/login?undone=yes"),
            "{path}"
        );
    }
    let asked = visit(&world, "/syncs/7").await;
    assert_eq!(asked.header("location"), "/login?next=%2Fsyncs%2F7");
    let login = visit(&world, asked.header("location")).await;
    assert!(login.html.contains(r#"name="next" value="/syncs/7""#), "{}", login.html);
    visit(&world, "/login?undone=yes").await.says("nothing was changed");

    let operator = Operator::new(&world).await;
    assert_eq!(
        operator.get("/login?next=/syncs/7").await.header("location"),
        "/syncs/7"
    );
    for outside in ["//evil.example", "https://evil.example", "/\\evil.example", "/logout"] {
        let login = operator.get(&format!("/login?next={outside}")).await;
        assert_eq!((login.status, login.header("location")), (303, "/"), "{outside}");
    }
    assert_eq!(operator.get("/login/session").await.html, "true");
    assert_eq!(visit(&world, "/login/session").await.html, "false");
    world.finish().await;
}

#[actix_web::test]
async fn the_session_is_a_cookie_for_our_own_pages_alone() {
    let world = World::new().await;
    let cookie = try_token(&world, ADMIN_TOKEN).await.header("set-cookie").to_owned();
    let parts: BTreeSet<&str> = cookie.split("; ").skip(1).collect();
    assert_eq!(
        parts,
        BTreeSet::from(["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"])
    );
    assert!(!cookie.contains(ADMIN_TOKEN));
    world.finish().await;

    let world = World::with(|settings| settings.public_url = Some("https://crm.example.org".parse().unwrap())).await;
    let cookie = try_token(&world, ADMIN_TOKEN).await.header("set-cookie").to_owned();
    assert!(cookie.contains("; Secure"), "where people come by HTTPS: {cookie}");
    world.finish().await;
}

#[actix_web::test]
async fn guessing_the_token_gets_nowhere_and_troubles_no_operator() {
    let world = World::new().await;
    let operator = Operator::new(&world).await;
    for _ in 0..10 {
        let shown = try_token(&world, "a guess").await;
        assert_eq!(shown.status, 403);
        shown.says("That is not the admin token");
        assert_eq!(shown.header("set-cookie"), "");
    }
    let shown = try_token(&world, "a guess").await;
    assert_eq!((shown.status, shown.header("retry-after")), (429, "6"));
    shown.says("Try again in 6 s.");
    assert_eq!(operator.get("/").await.status, 200);
    assert_eq!(world.get("/api/health").await.0, 200);
    assert_eq!(try_token(&world, ADMIN_TOKEN).await.status, 303, "with the token");
    assert_eq!(world.app.context.metrics.logins_failed.get(), 11, "for whoever watches");
    world.finish().await;
}

#[actix_web::test]
async fn a_session_ends_with_its_time_and_with_the_logout() {
    let world = World::new().await;
    let operator = Operator::new(&world).await;
    let out = operator.post("/logout", &[]).await;
    assert_eq!((out.status, out.header("location")), (303, "/login"));
    assert!(
        out.header("set-cookie").contains("Max-Age=0"),
        "{}",
        out.header("set-cookie")
    );
    world.clock.advance(secs(12 * 60 * 60 - 1));
    assert_eq!(operator.get("/").await.status, 200);
    world.clock.advance(secs(1));
    assert_eq!(operator.get("/").await.header("location"), "/login");
    world.finish().await;
}

#[actix_web::test]
async fn forms_of_others_do_nothing() {
    let world = World::new().await;
    let operator = Operator::new(&world).await;
    let other = Operator::new(&world).await;
    assert_ne!(operator.form_token, other.form_token);
    let own = [("form_token", operator.form_token.as_str())];
    let post = || operator.request(Method::POST, "/pause");
    let at_home = || post().header("sec-fetch-site", "same-origin");
    let cases = [
        ("no token", at_home()),
        ("an empty token", at_home().form(&[("form_token", "")])),
        (
            "the token of another session",
            at_home().form(&[("form_token", other.form_token.as_str())]),
        ),
        ("no word of where it comes from", post().form(&own)),
        (
            "from another site",
            post().form(&own).header("sec-fetch-site", "cross-site"),
        ),
        (
            "from another service of the site",
            post().form(&own).header("sec-fetch-site", "same-site"),
        ),
        (
            "from another origin",
            post().form(&own).header("origin", "http://127.0.0.1:1"),
        ),
        ("from nowhere", post().form(&own).header("origin", "null")),
        ("too large", at_home().form(&[own[0], ("reason", &"x".repeat(20_000))])),
    ];
    for (what, request) in cases {
        let shown = send(request).await;
        assert_eq!(shown.status, 403, "{what}");
        shown.says("Nothing was done");
        assert_eq!(world.get("/api/health").await.1["pausedSince"], Value::Null, "{what}");
    }
    let from_home = post().form(&own).header("origin", &world.url);
    assert_eq!(
        send(from_home).await.status,
        303,
        "as browsers without Sec-Fetch-Site say it"
    );
    assert_ne!(world.get("/api/health").await.1["pausedSince"], Value::Null);

    let login = client()
        .post(format!("{}/login", world.url))
        .form(&[("token", ADMIN_TOKEN)]);
    let login = send(login.header("sec-fetch-site", "cross-site")).await;
    assert_eq!(
        (login.status, login.header("set-cookie")),
        (403, ""),
        "nor does another site log anybody in"
    );
    operator.press("/resume", &[]).await;
    world.finish().await;
}

#[actix_web::test]
async fn without_an_admin_token_the_pages_say_that_they_are_off() {
    let world = World::with(|settings| settings.admin_token = None).await;
    for path in ["/", "/syncs", "/failures", "/login"] {
        let shown = visit(&world, path).await;
        assert_eq!(shown.status, 404, "{path}");
        shown.says("set ADMIN_TOKEN");
    }
    world.finish().await;
}

// --- Every page ------------------------------------------------------------------------------------------------------

#[actix_web::test]
async fn every_page_forbids_scripts_of_others_frames_and_copies() {
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
async fn addresses_take_the_methods_they_name_and_no_others() {
    let world = World::new().await;
    let operator = Operator::new(&world).await;
    for address in PAGES.iter().chain(DOOR) {
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
async fn what_is_not_there_is_a_page_for_people_and_a_problem_for_programs() {
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
async fn no_page_has_anything_of_a_lead_but_its_id() {
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
async fn what_comes_from_elsewhere_is_text_and_never_html() {
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
async fn while_the_database_fails_every_page_says_so() {
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

// --- What they say ---------------------------------------------------------------------------------------------------

#[actix_web::test]
async fn a_new_installation_is_well_and_says_what_will_be_there() {
    let world = World::new().await;
    let operator = Operator::new(&world).await;
    let overview = operator.get("/").await;
    overview.says("Everything is working. No leads are waiting.");
    overview.says("No failed leads.");
    overview.says("Bigin where leads go Not called yet");
    overview.says("Webhooks: none received yet; none refused or missed.");
    overview.says("No access token was granted in the last day.");
    operator.get("/syncs").await.says("No lead has been asked for yet.");
    operator.get("/failures").await.says("No failed leads.");
    world.finish().await;
}

#[actix_web::test]
async fn the_overview_says_what_waits_what_failed_and_how_much_went_through() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.request(bad("Grace")).await;
    world.run_to_the_end().await;
    world.request(lead("Edsger")).await;
    world.run_due().await;
    let operator = Operator::new(&world).await;
    world.clock.advance(secs(6));
    let overview = operator.get("/").await;
    overview.says("1 lead failed. 1 lead is in progress.");
    overview.says("Longest: lead-edsger has been in progress for 6 s, since 22 Nov 2026,");
    overview.says(&format!("{BAD_EMAIL} Retry"));
    overview.says("Last hour 1 sent, 1 failed – 50% sent");
    overview.says("Bigin where leads go Reachable");
    assert!(overview.html.contains(r#"aria-label="Last hour: 1 sent, 1 failed""#));

    let waiting = operator.get("/syncs?lead=&q=lead-edsger").await;
    waiting.says("Waiting to tag, 9 s left");
    let bar = r#"<progress max="15000" value="6000" data-until="2026-11-22T10:"#;
    assert!(waiting.html.contains(bar), "{}", waiting.html);
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn refused_webhooks_are_not_green() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_to_the_end().await;
    world.sanity.model().webhooks.secret = "another secret".to_owned();
    world.request(lead("Grace")).await;
    let operator = Operator::new(&world).await;
    let overview = operator.get("/").await;
    overview.says("Webhooks are not getting through, so leads arrive late. No leads are waiting.");
    overview.says("Sanity: Webhooks are rejected for a wrong signature (1 since the last accepted one)");
    overview.says("; 1 rejected.");
    assert!(overview.html.contains("class=\"headline wait\""), "{}", overview.html);
    world.finish().await;
}

#[actix_web::test]
async fn while_bigin_is_down_the_pages_say_so_and_that_nothing_is_lost() {
    let world = World::new().await;
    world.bigin.model().switches.down = true;
    world.request(lead("Ada")).await;
    world.run_due().await;
    let operator = Operator::new(&world).await;
    let overview = operator.get("/").await;
    overview.says("Bigin is unavailable. 1 lead is queued; it is not lost.");
    overview.says("Zoho Accounts access tokens Unavailable");
    overview.says("next attempt at");
    overview.says("Check now");
    let problems = world.get("/api/health").await.1["problems"].clone();
    assert_eq!(problems[0]["remote"], "zoho_accounts");
    assert!(
        overview.html.contains("<strong>Zoho Accounts:</strong>"),
        "the trouble stands first"
    );
    operator
        .get("/syncs/1")
        .await
        .says("Waiting: Zoho Accounts grants no access token.");
    let page = operator.get("/syncs/1?did=retry").await;
    page.says("It is queued and will be sent when Zoho Accounts grants access tokens again. Zoho Accounts is unavailable; next attempt at 22 Nov 2026, 10:00:0");
    assert!(page.html.contains("class=\"note wait\""), "nothing is done yet");
    assert!(!page.html.contains("id=\"retry\""), "it could not be tried now");
    operator
        .press("/pause", &[])
        .await
        .says("; not called while sending is paused.");
    operator.press("/resume", &[]).await;
    world.bigin.model().switches.down = false;
    world.run_to_the_end().await;
    operator
        .get("/")
        .await
        .says("Everything is working. No leads are waiting.");
    world.finish().await;
}

#[actix_web::test]
async fn the_work_is_paused_and_resumed() {
    let world = World::new().await;
    let operator = Operator::new(&world).await;
    let paused = operator.press("/pause", &[]).await;
    paused.says("Sending is paused. Requests are still stored; nothing is sent.");
    paused.says("Sending is paused. Resume to continue.");
    world.request(lead("Ada")).await;
    world.run_due().await;
    operator.get("/syncs").await.says("Waiting: sending is paused.");
    let resumed = operator.press("/resume", &[]).await;
    resumed.says("Sending resumed.");
    world.run_to_the_end().await;
    assert_eq!(world.state("Ada").await, "sent");
    world.finish().await;
}

#[actix_web::test]
async fn syncs_are_found_by_lead_contact_state_and_reason() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.request(bad("Grace")).await;
    world.request(with(lead("Digits"), json!({ "_id": "12345" }))).await;
    world.run_to_the_end().await;
    let operator = Operator::new(&world).await;
    let contact = world.lead_says("Ada", "biginContactId").unwrap();
    let found = async |query: &str| {
        let html = operator.get(&format!("/syncs?{query}")).await.html;
        let rows = html.split("<tr id=\"sync-").skip(1);
        rows.map(|row| row.split('"').next().unwrap().parse::<i64>().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(found("").await, [3, 2, 1]);
    assert_eq!(found("q=lead-ada").await, [1]);
    assert_eq!(found("q=+drafts.lead-ada+").await, [1], "as copied from Studio");
    assert_eq!(found(&format!("q={contact}")).await, [1]);
    assert_eq!(found("q=12345").await, [3], "a lead whose id looks like a contact's");
    assert_eq!(found("q=LEAD-").await, [2, 1], "a part, in whatever case");
    assert_eq!(found("q=d_a").await, [] as [i64; 0], "which is no pattern");
    assert_eq!(found(&format!("q={}", &contact[5..])).await, [1]);
    assert_eq!(found("state=failed").await, [2]);
    assert_eq!(found("state=failed&q=lead-ada").await, [] as [i64; 0]);
    assert_eq!(found(&format!("reason={BAD_EMAIL_KEY}")).await, [2]);
    let nothing = operator.get("/syncs?q=lead-nobody").await;
    nothing.says("No lead or contact that was asked for here has lead-nobody in its id.");
    operator
        .get("/syncs?q=lead-nobody&state=failed")
        .await
        .says("No syncs match.");
    for (query, words) in [
        ("q=not+an+id", "Only ids are known here"),
        ("q=ada@example.org", "Names and emails aren't stored here"),
        ("state=lost", "There is no state"),
    ] {
        let refused = operator.get(&format!("/syncs?{query}")).await;
        assert_eq!(refused.status, 400);
        refused.says(words);
    }
    let list = operator.get("/syncs").await.html;
    assert!(
        list.contains("https://example.org/studio/intent/edit/id=lead-ada;type=dbrLead"),
        "{list}"
    );
    assert!(
        list.contains(&format!("https://bigin.zoho.eu/bigin/Home#/contacts/{contact}")),
        "{list}"
    );
    world.finish().await;
}

#[actix_web::test]
async fn a_lead_whose_syncs_are_forgotten_is_told_from_one_that_never_was_here() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_to_the_end().await;
    let contact = world.lead_says("Ada", "biginContactId").unwrap();
    world.clock.advance(secs(60));
    assert_ne!(world.store().forget(secs(1), 100).await.unwrap(), 0);
    let operator = Operator::new(&world).await;
    for id in ["lead-ada", &contact] {
        let page = operator.get(&format!("/syncs?q={id}")).await;
        page.says("The syncs of the lead lead-ada ended so long ago that they are forgotten (RETENTION).");
        page.says(&format!("Its contact in Bigin is {contact}."));
    }
    operator
        .get("/syncs?q=lead-grace")
        .await
        .says("No lead or contact that was asked for here has lead-grace in its id.");
    world.finish().await;
}

#[actix_web::test]
async fn the_list_goes_on_where_it_ends() {
    let world = World::new().await;
    for number in 0..53 {
        world.request(lead(&format!("Ada{number}"))).await;
    }
    let operator = Operator::new(&world).await;
    let first = operator.get("/syncs?state=requested").await;
    assert_eq!(first.html.matches("<tr id=").count(), 50);
    let address = "/syncs?state=requested&#38;before=4";
    assert!(first.html.contains(address), "{}", first.html);
    let second = operator.get("/syncs?state=requested&before=4").await;
    assert_eq!(second.html.matches("<tr id=").count(), 3);
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn a_failure_says_what_would_mend_it_and_is_tried_again() {
    let world = World::new().await;
    world.request(bad("Ada")).await;
    world.run_to_the_end().await;
    let operator = Operator::new(&world).await;
    let page = operator.get("/syncs/1").await;
    page.says(&format!("Failed {BAD_EMAIL}"));
    page.says("How to fix it: Correct the email address of the lead in Sanity");
    page.says("Wrote FAILED and the reason to Sanity");
    let good = json!({ "emailAddress": "ada@example.org" });
    world.sanity.model().edit(&id("Ada"), good).unwrap();
    let tried = operator.press("/syncs/1/retry", &[]).await;
    tried.says("It is being retried.");
    tried.says("Retried from the dashboard or API");
    world.run_to_the_end().await;
    assert_eq!(world.state("Ada").await, "sent");
    let first = operator.get("/syncs/1").await;
    first.says("Sent again since: see sync 2 .");
    assert!(!first.html.contains("id=\"retry\""), "that one can be tried again");
    let list = operator.get("/syncs").await;
    list.says("Retried: sync 2");
    list.says(&format!("Reason any {BAD_EMAIL}"));
    world.finish().await;
}

#[actix_web::test]
async fn a_failure_is_dismissed_on_its_page() {
    let world = World::new().await;
    world.request(bad("Ada")).await;
    world.run_to_the_end().await;
    let operator = Operator::new(&world).await;
    assert!(operator.get("/syncs/1").await.html.contains("id=\"dismiss\""));
    let dismissed = operator.press("/syncs/1/dismiss", &[]).await;
    dismissed.says("The failure is dismissed. If the lead fails again, it reappears among the failures.");
    dismissed.says("Dismissed 22 Nov 2026, 10:00:00 UTC");
    dismissed.says("The failure was dismissed");
    assert!(!dismissed.html.contains("id=\"dismiss\""));
    operator.get("/failures").await.says("No failed leads.");
    operator.get("/").await.says("Everything is working.");
    world.request(bad("Ada")).await;
    world.run_to_the_end().await;
    operator
        .get("/failures")
        .await
        .says("1 lead failed and hasn't been retried.");
    world.finish().await;
}

#[actix_web::test]
async fn a_retry_of_what_was_withdrawn_says_so_before_it_sends() {
    let world = World::with(|settings| settings.send_wait = secs(60)).await;
    world.request(bad("Ada")).await;
    world.run_to_the_end().await;
    let edit = json!({ "emailAddress": "ada@example.org", "crmStatus": "NOT_SENT" });
    world.sanity.model().edit(&id("Ada"), edit).unwrap();
    let operator = Operator::new(&world).await;
    let press = operator.press("/syncs/1/retry", &[]);
    let asked = world.while_workers_run(press).await;
    asked.says("Nothing was sent: the lead was withdrawn in Sanity.");
    asked.says("Send anyway");
    assert_eq!(world.bigin.model().contacts().count(), 0);
    operator.press("/syncs/2/retry", &[("insist", "true")]).await;
    world.run_to_the_end().await;
    assert_eq!(world.state("Ada").await, "sent");
    world.finish().await;
}

#[actix_web::test]
async fn an_unavailable_service_is_checked_with_a_button() {
    use bigin_sync::fake::bigin::{CallKind, Fault};
    let world = World::with(|settings| settings.send_wait = secs(60)).await;
    world.bigin.model().fail_next(CallKind::Token, Fault::TokenThrottled, 1);
    world.request(lead("Ada")).await;
    world.run_due().await;
    let operator = Operator::new(&world).await;
    let overview = operator.get("/").await;
    overview.says("A check before then restarts them. Check now anyway");
    assert_eq!(
        operator.post("/services/zoho_accounts/check", &[]).await.status,
        409,
        "not by accident"
    );
    assert_eq!(operator.post("/services/nothing/check", &[]).await.status, 404);
    let press = operator.press("/services/zoho_accounts/check", &[("insist", "true")]);
    let checked = world.while_workers_run(press).await;
    checked.says("The service is reachable. Sending continues.");
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn every_attempt_is_on_the_page_of_its_sync() {
    let world = World::new().await;
    world.bigin.model().fail_next(
        bigin_sync::fake::bigin::CallKind::Upsert,
        bigin_sync::fake::bigin::Fault::RecordLocked,
        1,
    );
    world.request(lead("Ada")).await;
    world.run(Stage::Upsert).await;
    let operator = Operator::new(&world).await;
    let page = operator.get("/syncs/1").await;
    page.says("Attempt 1 failed: ");
    page.says("while sending the data · next try 22 Nov 2026, 10:00:0");
    page.says("Retries stop after 1 day of failures");
    page.says("Last failed attempt 22 Nov 2026, 10:00:00");
    page.says("Retry now");
    operator.press("/syncs/1/retry", &[]).await.says("; being retried.");
    world.run_to_the_end().await;
    let page = operator.get("/syncs/1").await;
    page.says("Created a contact in Bigin");
    page.says("Tagged the contact in Bigin");
    page.says("Wrote SENT to Sanity");
    page.says("· took 0 ms");
    world.finish().await;
}

#[actix_web::test]
async fn all_leads_of_a_reason_are_tried_again_and_only_those() {
    let world = World::new().await;
    for name in ["Ada", "Grace"] {
        world.request(bad(name)).await;
    }
    world
        .request(with(lead("Edsger"), json!({ "address": "x".repeat(300) })))
        .await;
    world.run_to_the_end().await;
    let operator = Operator::new(&world).await;
    let failures = operator.get("/failures").await;
    failures.says("3 leads failed and haven't been retried.");
    failures.says(&format!("2 leads {BAD_EMAIL}"));
    failures.says("Shorten the field in Sanity");
    for fields in [&[][..], &[("reason", BAD_EMAIL_KEY), ("all", "true")]] {
        assert_eq!(
            operator.post("/syncs/retry", fields).await.status,
            400,
            "nothing by accident"
        );
    }
    let shown = operator.post("/syncs/retry", &[("all", "perhaps")]).await;
    assert_eq!(shown.status, 400);
    shown.says("The form is not understood. Nothing was done");
    let tried = operator.press("/syncs/retry", &[("reason", BAD_EMAIL_KEY)]).await;
    tried.says("2 leads queued for retry. Leads that were withdrawn in Sanity are skipped; those that fail again reappear here. Show them");
    assert_eq!(world.ledger().await.in_progress, 2);
    world.run_to_the_end().await;
    let tried = operator.press("/syncs/retry", &[("all", "true")]).await;
    tried.says("3 leads queued for retry.");
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn a_cancelled_sync_says_what_follows() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run(Stage::Upsert).await;
    let operator = Operator::new(&world).await;
    operator.get("/syncs/1").await.says("Cancel this sync");
    let cancelled = operator.press("/syncs/1/cancel", &[]).await;
    cancelled.says("Sync cancelled.");
    cancelled.says("Its status in Sanity stays as it is");
    cancelled.says("stays there, untagged.");
    let again = operator.post("/syncs/1/cancel", &[]).await;
    assert_eq!(again.status, 409);
    again.says("The sync has ended: there is nothing to cancel.");

    world.request(lead("Grace")).await;
    world.run(Stage::Upsert).await;
    let status = json!({ "crmStatus": "NOT_SENT" });
    world.sanity.model().edit(&id("Grace"), status).unwrap();
    world.run_to_the_end().await;
    let withdrawn = operator.get("/syncs/2").await;
    withdrawn.says("Its crmStatus in Sanity was changed");
    // The contact it was put into is still named, and found.
    let model_contact = world
        .bigin
        .model()
        .contact_by_email("grace@example.org")
        .unwrap()
        .0
        .to_owned();
    withdrawn.says(&format!("Contact {model_contact}"));
    operator
        .get(&format!("/syncs?q={model_contact}"))
        .await
        .says("lead-grace");

    // Bigin's automation has begun, though the result is not written yet.
    world.request(lead("Edith")).await;
    world.run(Stage::Upsert).await;
    world.clock.advance(secs(15));
    world.run(Stage::Tag).await;
    let cancelled = operator.press("/syncs/3/cancel", &[]).await;
    cancelled.says("stays there, tagged.");
    world.finish().await;
}

#[actix_web::test]
async fn a_note_is_one_of_ours_and_not_what_the_address_says() {
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
