//! Login, session and protection of forms.

use std::collections::BTreeSet;

use bigin_sync::http::PAGES;
use reqwest::Method;
use serde_json::Value;

use crate::world::{ADMIN_TOKEN, World, client, secs};

use super::{Operator, send, try_token, visit};

// --- The login --------------------------------------------------------------------------------------------------------

#[actix_web::test]
async fn login_returns_to_requested_page() {
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
async fn cookie_is_strict() {
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
async fn guessing_is_limited() {
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
async fn session_ends_by_time_and_logout() {
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
async fn rejects_foreign_forms() {
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
async fn off_without_admin_token() {
    let world = World::with(|settings| settings.admin_token = None).await;
    for path in ["/", "/syncs", "/failures", "/login"] {
        let shown = visit(&world, path).await;
        assert_eq!(shown.status, 404, "{path}");
        shown.says("set ADMIN_TOKEN");
    }
    world.finish().await;
}
