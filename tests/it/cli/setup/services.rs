//! `bigin-sync setup` at Sanity and Bigin: the webhook, the tag and access.

use bigin_sync::fake::bigin::CallKind;
use bigin_sync::fake::sanity::{self, Kind};
use serde_json::json;

use crate::world::lead;

use super::{Desk, strings};

#[actix_web::test]
async fn fixes_webhook_and_keeps_secret() {
    let desk = Desk::new().await;
    let secret = desk.stage.sanity.webhook_secret().to_owned();
    let own = json!("_type == \"dbrLead\"");
    {
        let mut model = desk.stage.sanity.model();
        model.webhooks.url = Some(format!("{}/webhooks/sanity/", desk.public_url()));
        model.webhooks.disable();
        model.webhooks.listed.insert("filter".to_owned(), own);
        model.webhooks.listed.insert("includeDrafts".to_owned(), json!(true));
    }
    let (code, out, err) = desk.run(&desk.flags()).await;
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let (_, changed) = out.split_once("/webhooks/sanity/:\n").unwrap();
    let changed: Vec<&str> = changed.lines().take(3).map(str::trim).collect();
    assert_eq!(
        changed,
        [
            "filter: _type == \"dbrLead\" && crmStatus == \"REQUESTED\" && delta::changedAny(crmStatus), was _type == \"dbrLead\"",
            "drafts and versions: off",
            "enabled again",
        ]
    );
    assert_eq!(desk.setting("SANITY_WEBHOOK_SECRET"), Some(format!("'{secret}'")));
    {
        let model = desk.stage.sanity.model();
        assert!(model.webhooks.is_enabled());
        assert_eq!(model.webhooks.secret, secret);
        assert_eq!(model.webhooks.listed.get("includeDrafts"), Some(&json!(false)));
        assert_eq!(model.webhooks.listed.get("filter"), None);
    }

    // The file has the last word where both have a secret; and what was refused until then is no failure any more.
    desk.stage.sanity.model().webhooks.secret = "another".to_owned();
    let process = desk.stage.serve().await;
    desk.stage
        .sanity
        .set_webhook(&format!("{}/webhooks/sanity", process.url));
    desk.stage.request(lead("Ada")).await;
    process.stop().await;
    let url = format!("{}/webhooks/sanity/", desk.public_url());
    desk.stage.sanity.model().webhooks.url = Some(url);
    let refused = desk
        .stage
        .sanity
        .model()
        .deliveries
        .last()
        .and_then(|attempt| attempt.status);
    assert_eq!(refused, Some(401));
    let (code, out, _) = desk.run(&desk.flags()).await;
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("secret: SANITY_WEBHOOK_SECRET"), "{out}");
    assert!(out.contains("none yet since the change"), "{out}");
    assert_eq!(desk.stage.sanity.model().webhooks.secret, secret);
}

#[actix_web::test]
async fn moves_webhook_with_service() {
    let desk = Desk::new().await;
    assert_eq!(desk.run(&desk.flags()).await.0, 0);
    let old = desk.public_url();
    let new = old.replace("127.0.0.1", "localhost");
    let args = strings(&["--public-url", &new, "--management-token-file", "developer", "--yes"]);
    let (code, out, err) = desk.run(&args).await;
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let (_, changed) = out.split_once("/webhooks/sanity:\n").unwrap();
    assert!(
        changed
            .trim_start()
            .starts_with(&format!("URL: was {old}/webhooks/sanity\n")),
        "{out}"
    );
    let url = desk.stage.sanity.model().webhooks.url.clone();
    assert_eq!(url, Some(format!("{new}/webhooks/sanity")), "and no second one is made");
}

#[actix_web::test]
async fn explains_webhook_without_token() {
    let desk = Desk::new().await;
    let (code, out, err) = desk.run(&desk.flags_but("--management-token-file", None)).await;
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let start = out.find("The webhook wasn't checked").unwrap();
    insta::assert_snapshot!(out[start..].replace(&desk.address, "ADDRESS"), @r#"
    The webhook wasn't checked (no management token). Create it, or compare yours with this: https://sanity.io/manage, project inv3nted, API, Webhooks, Create webhook.
      URL          http://ADDRESS/webhooks/sanity
      Dataset      production
      Trigger on   Create, Update
      Filter       _type == "dbrLead" && crmStatus == "REQUESTED" && delta::changedAny(crmStatus)
      Projection   {_id, _type, _rev, _updatedAt, crmStatus}
      Drafts       off, versions too
      HTTP method  POST
      Secret       the SANITY_WEBHOOK_SECRET of the env file

    Setup is complete, except for the webhook: please check it yourself. Start the service with `bigin-sync serve`; restart a running service to apply new settings.
    Its dashboard is at http://ADDRESS/. Log in with the ADMIN_TOKEN in .env.
    "#);
    assert_eq!(desk.stage.sanity.model().webhooks.url, None);

    let desk = Desk::new().await;
    let (code, out, _) = desk.run(&desk.flags_but("--public-url", None)).await;
    assert_eq!(code, 0, "{out}");
    assert!(
        out.contains("the service checks Sanity for requested leads every minute."),
        "{out}"
    );
    assert_eq!(desk.hook_calls(), 0, "there is no URL for a webhook");
}

#[actix_web::test]
async fn sanity_errors_come_before_changes() {
    let desk = Desk::new().await;
    let bad = desk.file("mistyped", "skNobodys");
    let (code, out, err) = desk.run(&desk.flags_but("--sanity-token-file", Some(&bad))).await;
    assert_eq!((code, err.as_str()), (1, ""));
    insta::assert_snapshot!(out.trim(), @r"
    FAILED   read             Sanity rejected SANITY_API_WRITE_TOKEN (SIO-401-ANF)
                                Why: leads cannot be read
                                Fix: compare the project ID, the dataset and the token with sanity.io/manage (tokens: under API)
    ");

    desk.stage
        .sanity
        .model()
        .faults
        .fail_next(Kind::Mutate, sanity::Fault::Status(403), 1);
    let (code, out, _) = desk.run(&desk.flags()).await;
    assert_eq!(code, 1);
    insta::assert_snapshot!(out.trim(), @r"
    ok       read             documents of the type dbrLead can be read, with their drafts
      ok       revisions        revisions can be read without content: an unchanged lead is read once
      FAILED   write            SANITY_API_WRITE_TOKEN lacks a permission in the dataset production (HTTP 403)
                                Why: editors would not see whether a lead was sent
                                Fix: compare the project ID, the dataset and the token with sanity.io/manage (tokens: under API)
    ");

    let desk = Desk::new().await;
    let (code, _, err) = desk
        .run(&desk.flags_but("--management-token-file", Some("editor")))
        .await;
    assert_eq!(code, 1);
    insta::assert_snapshot!(err, @"bigin-sync: the management token may not see or change webhooks");
    let (code, _, err) = desk.run(&desk.flags_but("--public-url", Some("crm.example.org"))).await;
    assert_eq!(code, 2);
    insta::assert_snapshot!(err, @r#"bigin-sync: PUBLIC_URL is "crm.example.org", and must be an http or https URL"#);
    let (code, _, err) = desk.run(&desk.flags_but("--sanity-token-file", Some("nowhere"))).await;
    assert_eq!(code, 2);
    insta::assert_snapshot!(err, @"bigin-sync: --sanity-token-file is nowhere: No such file or directory (os error 2)");
    assert_eq!(desk.env(), "");
}

#[actix_web::test]
async fn recreates_lost_tag_if_confirmed() {
    let desk = Desk::new().await;
    assert_eq!(desk.run(&desk.flags()).await.0, 0);
    let calls = desk.hook_calls();
    let args = strings(&["--bigin-tags", "Import,Hot"]);
    let (code, out, err) = desk.run(&args).await;
    assert_eq!((code, err.contains("pass --yes")), (2, true), "{out}{err}");
    assert_eq!(desk.stage.bigin.model().tag_names(), ["DBR_Dashboard_Import"]);
    let (code, out, _) = desk.run(&strings(&["--bigin-tags", "Import,Hot", "--yes"])).await;
    assert_eq!(code, 0, "{out}");
    insta::assert_snapshot!(desk.steady(&out), @r"
    ok       read             documents of the type dbrLead can be read, with their drafts
      ok       revisions        revisions can be read without content: an unchanged lead is read once
      ok       write            results can be written to leads (dry run)

      ok       token            Bigin accepts the access token; this check used one of Zoho's 10 tokens per 10 minutes
      ok       organisation     Example Lettings, ID 70000000001, at bigin.zoho.com: is this yours?
      ok       scope contacts   contacts can be written
      ok       scope coql       contacts can be looked up

    These changes will be made:
      write to .env:
        BIGIN_TAGS=Import,Hot
      create in Bigin: the tag Import
      create in Bigin: the tag Hot
    Set in this environment only, and not written to a file: SANITY_API_URL, BIGIN_ACCOUNTS_URL, TAG_DELAY, LEASE_DURATION, RECONCILE_INTERVAL, RETRY_BASE_DELAY, LISTEN_ADDR, LOG_FORMAT.
    Wrote .env.
    ");
    assert_eq!(
        desk.stage.bigin.model().tag_names(),
        ["DBR_Dashboard_Import", "Hot", "Import"]
    );
    assert_eq!(desk.hook_calls(), calls, "there is no management token");
    let granted = desk.stage.bigin.model().count(CallKind::Token);
    assert_eq!(granted, 4, "the code's, and one for each run of the three");
}

#[actix_web::test]
async fn rejected_code_can_be_repeated() {
    let desk = Desk::new().await;
    let (code, _, err) = desk.run(&desk.flags_but("--bigin-code", Some("1000.old.old"))).await;
    assert_eq!(code, 1);
    insta::assert_snapshot!(err, @"bigin-sync: Zoho rejected the code (invalid_code): a code is valid once, for the chosen number of minutes, and for its own client only; generate a new one and use it at once. Run `bigin-sync setup` again to continue from here");
    let made = desk.setting("ADMIN_TOKEN");
    assert!(made.is_some());
    assert_eq!(desk.setting("BIGIN_REFRESH_TOKEN"), None);
    let (code, out, _) = desk.run(&desk.flags()).await;
    assert_eq!(code, 0, "{out}");
    assert_eq!(desk.setting("ADMIN_TOKEN"), made);
    assert!(desk.setting("BIGIN_REFRESH_TOKEN").is_some());

    // A refresh token that was revoked needs another code; without one nothing is changed.
    let (env, token) = (desk.env(), desk.setting("BIGIN_REFRESH_TOKEN").unwrap());
    desk.stage.bigin.model().revoke_refresh_token(&token);
    let (code, out, err) = desk.run(&[]).await;
    assert_eq!(code, 1, "{out}");
    insta::assert_snapshot!(format!("{}\n{err}", out.trim()), @r"
    ok       read             documents of the type dbrLead can be read, with their drafts
      ok       revisions        revisions can be read without content: an unchanged lead is read once
      ok       write            results can be written to leads (dry run)

      FAILED   token            127.0.0.1 rejected BIGIN_REFRESH_TOKEN (invalid_code)
                                Why: it was revoked, mistyped, replaced by the user's twenty newer tokens, or belongs to another data center or client
                                Fix: `bigin-sync auth` gets a new one; an API console code is not a refresh token
    bigin-sync: the present refresh token does not give access to Bigin: fix the cause, or add a new code with --bigin-code
    ");
    assert_eq!(desk.env(), env);
    let (code, out, err) = desk.run(&desk.flags()).await;
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert_ne!(desk.setting("BIGIN_REFRESH_TOKEN"), Some(token));

    // While Zoho is unavailable no new token is needed, and none is requested.
    let env = desk.env();
    desk.stage.bigin.model().switches.down = true;
    let (code, out, _) = desk.run(&[]).await;
    assert_eq!(code, 1);
    assert!(out.contains("did not answer as a token endpoint (HTTP 503)"), "{out}");
    assert_eq!(desk.env(), env);
}
