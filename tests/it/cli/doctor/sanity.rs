//! What `bigin-sync doctor` finds at Sanity.

use bigin_sync::fake::sanity::{self, Kind};
use serde_json::{Map, Value, json};

use crate::world::lead;

use super::Clinic;

#[actix_web::test]
async fn every_error_has_its_message() {
    let mut clinic = Clinic::new().await;
    clinic.set("SANITY_API_WRITE_TOKEN", "skAnother");
    insta::assert_snapshot!(clinic.troubles().await, @r"
    failed read: Sanity rejected SANITY_API_WRITE_TOKEN (SIO-401-ANF)
        why: leads cannot be read
        do: compare the project ID, the dataset and the token with sanity.io/manage (tokens: under API)
    exit 1
    ");

    let mut clinic = Clinic::new().await;
    clinic.set("SANITY_DATASET", "staging");
    insta::assert_snapshot!(clinic.troubles().await, @r"
    failed read: Sanity has no such project or dataset (staging) (HTTP 404)
        why: leads cannot be read
        do: compare the project ID, the dataset and the token with sanity.io/manage (tokens: under API)
    failed webhook: the webhook is for the dataset production, but the leads are in staging
        why: leads are sent late: reconciliation finds them every RECONCILE_INTERVAL
        do: select the dataset in the webhook's form, or set SANITY_DATASET
    exit 1
    ");

    // A token of the role Viewer.
    let clinic = Clinic::new().await;
    let refused = sanity::Fault::Status(403);
    clinic.stage.sanity.model().faults.fail_next(Kind::Mutate, refused, 1);
    insta::assert_snapshot!(clinic.troubles().await, @r"
    failed write: SANITY_API_WRITE_TOKEN lacks a permission in the dataset production (HTTP 403)
        why: editors would not see whether a lead was sent
        do: compare the project ID, the dataset and the token with sanity.io/manage (tokens: under API)
    exit 1
    ");

    let mut clinic = Clinic::new().await;
    clinic.set("SANITY_LEAD_TYPE", "lead");
    insta::assert_snapshot!(clinic.troubles().await, @r#"
    warning read: the dataset production has no published document of the type lead
        why: there is no lead yet, or leads are somewhere else
        do: check SANITY_LEAD_TYPE and SANITY_DATASET, also upper and lower case; drafts don't count until they are published
    failed filter: the filter is for another document type than SANITY_LEAD_TYPE
        why: the webhook never fires for a lead
        do: set the filter to: _type == "lead" && crmStatus == "REQUESTED" && delta::changedAny(crmStatus)
    exit 1
    "#);
}

#[actix_web::test]
async fn webhook_needs_management_token() {
    let mut clinic = Clinic::new().await;
    clinic.unset("SANITY_MANAGEMENT_TOKEN");
    let (code, out, _) = clinic.run(&["--json"]).await;
    let said: Value = serde_json::from_str(&out).unwrap();
    let all = said["findings"].as_array().unwrap();
    let found = all.iter().find(|finding| finding["check"] == "webhook").unwrap();
    assert_eq!((code, found["outcome"].as_str()), (0, Some("skipped")));
    insta::assert_snapshot!(found["action"].as_str().unwrap(), @"create a temporary one (sanity.io/manage, API, Tokens) and set SANITY_MANAGEMENT_TOKEN or --management-token-file; it is not stored");

    let file = clinic.stage.folder.path().join("token");
    std::fs::write(&file, format!("{}\n", clinic.stage.sanity.management_token())).unwrap();
    let (code, out, _) = clinic.run(&["--management-token-file", file.to_str().unwrap()]).await;
    assert!(code == 0 && out.contains("one webhook points here"), "{out}");

    // The service's own is not enough, and another is none.
    for (token, words) in [
        (
            clinic.stage.sanity.token(),
            "the management token may not see or change webhooks",
        ),
        ("skAnother", "Sanity rejected the management token"),
    ] {
        std::fs::write(&file, token).unwrap();
        let (code, out, _) = clinic.run(&["--management-token-file", file.to_str().unwrap()]).await;
        assert!(code == 1 && out.contains(words), "{out}");
    }
}

#[actix_web::test]
async fn wrong_webhook_is_named() {
    let mut clinic = Clinic::new().await;
    // So that a token is kept.
    clinic.serve().await.stop().await;
    let cases = [
        json!({ "filter": null }),
        json!({ "secret": "another" }),
        json!({ "isDisabled": true }),
        json!({ "dataset": "staging" }),
        json!({ "url": "https://elsewhere.example/webhooks/sanity" }),
        json!({ "url": "https://elsewhere.example/other" }),
    ];
    let mut told = String::new();
    for case in cases {
        clinic.stage.sanity.model().webhooks.listed = case.as_object().unwrap().clone();
        let troubles = clinic.troubles().await;
        assert_ne!(troubles, "exit 0\n", "{case} passes for well");
        let what = troubles.lines().find(|line| !line.starts_with("    ")).unwrap();
        told += &format!("{case}\n  {what}\n");
    }
    insta::assert_snapshot!(told, @r#"
    {"filter":null}
      warning filter: the webhook has no filter
    {"secret":"another"}
      failed secret: the webhook's secret is not SANITY_WEBHOOK_SECRET
    {"isDisabled":true}
      failed webhook: the webhook is disabled
    {"dataset":"staging"}
      failed webhook: the webhook is for the dataset staging, but the leads are in production
    {"url":"https://elsewhere.example/webhooks/sanity"}
      failed webhook: the webhook points to elsewhere.example, not to https://PUBLIC/webhooks/sanity
    {"url":"https://elsewhere.example/other"}
      failed webhook: the project has 1 webhook, none of which points here (/webhooks/sanity)
    "#);
    clinic.stage.sanity.model().webhooks.listed = Map::new();
    assert_eq!(clinic.troubles().await, "exit 0\n");
}

#[actix_web::test]
async fn last_deliveries_explain_missed_webhooks() {
    let mut clinic = Clinic::new().await;
    let service = clinic.serve().await;
    clinic.stage.sanity.model().webhooks.secret = "mistyped".to_owned();
    clinic.stage.request(lead("Grace")).await;
    clinic.stage.sanity.model().webhooks.listed = json!({ "secret": clinic.stage.sanity.webhook_secret() })
        .as_object()
        .unwrap()
        .clone();
    insta::assert_snapshot!(clinic.troubles().await, @r"
    failed deliveries: 1 of the last 1 failed; the newest: HTTP 401, at TIME
        why: the signature was rejected
        do: set SANITY_WEBHOOK_SECRET and the secret in the webhook's form to exactly the same value
    exit 1
    ");
    service.stop().await;
}
