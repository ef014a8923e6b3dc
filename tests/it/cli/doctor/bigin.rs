//! What `bigin-sync doctor` finds at Zoho and Bigin.

use bigin_sync::fake::bigin::CallKind;

use crate::process::eventually;
use crate::terminal::Terminal;

use super::{Clinic, refusal};

#[actix_web::test]
async fn every_unauthorized_has_its_message() {
    let mut clinic = Clinic::new().await;
    clinic.set("BIGIN_REFRESH_TOKEN", "1000.another.token");
    insta::assert_snapshot!(clinic.troubles().await, @r"
    failed token: 127.0.0.1 rejected BIGIN_REFRESH_TOKEN (invalid_code)
        why: it was revoked, mistyped, replaced by the user's twenty newer tokens, or belongs to another data center or client
        do: `bigin-sync auth` gets a new one; an API console code is not a refresh token
    exit 1
    ");

    let mut clinic = Clinic::new().await;
    clinic.set("BIGIN_CLIENT_ID", "1000.ANOTHER");
    insta::assert_snapshot!(clinic.troubles().await, @r"
    failed token: 127.0.0.1 does not know BIGIN_CLIENT_ID (invalid_client)
        why: a self client belongs to one data center
        do: copy the ID from Zoho's API console again, and set BIGIN_DATA_CENTER to your Bigin's
    exit 1
    ");

    let mut clinic = Clinic::new().await;
    clinic.set("BIGIN_CLIENT_SECRET", "another");
    insta::assert_snapshot!(clinic.troubles().await, @r"
    failed token: 127.0.0.1 rejected BIGIN_CLIENT_SECRET (invalid_client_secret)
        why: it was mistyped or replaced; each data center has its own
        do: copy the secret from Zoho's API console again
    exit 1
    ");

    // Ten are granted in ten minutes.
    let clinic = Clinic::new().await;
    for _ in 0..10 {
        clinic.troubles().await;
    }
    insta::assert_snapshot!(clinic.troubles().await, @r"
    failed token: Zoho grants no more access tokens for ten minutes
        why: it grants 10 per 10 minutes, and each further request restarts the ten minutes
        do: don't request tokens for ten minutes; the service recovers by itself and loses no lead
    exit 1
    ");

    let clinic = Clinic::new().await;
    clinic.stage.bigin.model().switches.down = true;
    insta::assert_snapshot!(clinic.troubles().await, @r"
    failed token: 127.0.0.1 did not answer as a token endpoint (HTTP 503)
        why: no lead is sent without an access token
        do: check that this machine can reach Zoho by https, and BIGIN_ACCOUNTS_URL if it is set
    exit 1
    ");
}

#[actix_web::test]
async fn rate_limited_zoho_is_not_called() {
    let mut clinic = Clinic::new().await;
    let service = clinic.serve().await;
    eventually("it has requested its token", || async {
        (clinic.stage.bigin.model().grants() > 0).then_some(())
    })
    .await;
    service.stop().await;
    let asked = clinic.stage.bigin.model().count(CallKind::Token);
    let database = rusqlite::Connection::open(clinic.stage.folder.path().join("bigin-sync.db")).unwrap();
    database
        .execute_batch("DELETE FROM kv WHERE name = 'access_token'")
        .unwrap();
    let far = 4_000_000_000_000_000_i64;
    let sql = "INSERT OR REPLACE INTO breaker (remote, failures, epoch, since, until, kind, code, what)
        VALUES ('zoho_accounts', 1, 1, 1, ?1, 'token_rate_limited', 'Access Denied', 'Zoho grants no more')";
    database.execute(sql, [far]).unwrap();
    drop(database);
    let troubles = clinic.troubles().await;
    assert!(
        troubles.starts_with("failed token: Zoho grants no more access tokens until "),
        "{troubles}"
    );
    assert_eq!(clinic.stage.bigin.model().count(CallKind::Token), asked);
}

#[actix_web::test]
async fn other_data_centre_or_no_credits() {
    let clinic = Clinic::new().await;
    clinic
        .stage
        .bigin
        .model()
        .fail_next(CallKind::Org, refusal("INVALID_TOKEN"), 2);
    insta::assert_snapshot!(clinic.troubles().await, @r"
    failed token: Bigin rejected a new access token from 127.0.0.1 (INVALID_TOKEN)
        why: the token and the API's address belong to different data centers
        do: set BIGIN_DATA_CENTER to your Bigin's, and remove BIGIN_API_DOMAIN if it is set
    exit 1
    ");

    let clinic = Clinic::new().await;
    clinic.stage.bigin.model().switches.credit_limit = 0;
    insta::assert_snapshot!(clinic.troubles().await, @r"
    failed token: Bigin's API credits for 24 hours are used up (LIMIT_EXCEEDED)
        why: no lead is sent until credits are available again
        do: wait, or buy credits; check what else uses this organisation's API
    exit 1
    ");
}

#[actix_web::test]
async fn missing_scopes_are_named() {
    let clinic = Clinic::new().await;
    let kinds = [
        CallKind::Org,
        CallKind::Fields,
        CallKind::Tags,
        CallKind::Coql,
        CallKind::Update,
    ];
    clinic.stage.bigin.model().switches.missing_scopes = kinds.into();
    insta::assert_snapshot!(clinic.troubles().await, @r"
    warning organisation: the token lacks the scope ZohoBigin.org.READ, so its organisation cannot be shown
        why: a token belongs to one organisation; leads sent to a wrong one are hard to remove
        do: `bigin-sync auth` gets a new refresh token with all scopes
    failed scope fields: the refresh token lacks the scope ZohoBigin.settings.fields.READ (OAUTH_SCOPE_MISMATCH)
        why: without the list of your Bigin's fields, values for unknown fields are sent as they are
        do: `bigin-sync auth` gets a new refresh token with all scopes
    failed scope contacts: the refresh token lacks the scope ZohoBigin.modules.contacts.ALL (OAUTH_SCOPE_MISMATCH)
        why: contacts can neither be created nor tagged
        do: `bigin-sync auth` gets a new refresh token with all scopes
    warning scope coql: the refresh token lacks the scope ZohoBigin.coql.READ (OAUTH_SCOPE_MISMATCH)
        why: not needed while BIGIN_LEAD_ID_FIELD is set
        do: `bigin-sync auth` gets a new refresh token with all scopes
    failed scope tags: the refresh token lacks the scope ZohoBigin.settings.tags.READ (OAUTH_SCOPE_MISMATCH)
        why: an automation can only wait for an existing tag, with the same upper and lower case
        do: `bigin-sync auth` gets a new refresh token with all scopes
    exit 1
    ");
}

#[actix_web::test]
async fn missing_or_unfit_fields() {
    let mut clinic = Clinic::new().await;
    {
        let mut model = clinic.stage.bigin.model();
        model.remove_field("Lead_Source");
        model.remove_field("Lead_Status");
        model.add_field("Lead_Status", "Lead Status", "picklist", 100, false);
        for field in &mut model.fields {
            match field.api_name.as_str() {
                "Description" => field.length = 2000,
                "Phone" => field.data_type = "date".to_owned(),
                "Mailing_City" => field.read_only = true,
                "Mailing_Street" => field.length = 5,
                _ => {}
            }
        }
        model.add_field("Files", "Files", "fileupload", 100, false);
    }
    let mapping = "[mapping]\nZip_Code = \"{{ postcode }}\"\nlead_id = \"{{ _id }}\"\nFiles = \"{{ address }}\"\n";
    std::fs::write(clinic.stage.folder.path().join("bigin-sync.toml"), mapping).unwrap();
    insta::assert_snapshot!(clinic.troubles().await, @r#"
    warning field length: Description accepts 2000 characters
        why: a conversation can have 30000; the oldest messages of a longer one are omitted
        do: change it to a multi-line field in Bigin, or ignore this
    failed field type: Files has the type fileupload
        why: it accepts no text, and Bigin rejects the lead
        do: check that the mapping of Files gives such values, or map another field
    warning field missing: Contacts have no field Lead_Source
        why: its value becomes a line at the end of Description instead
        do: add a custom field with this API name to Contacts, or remove it under [mapping]: Lead_Source = ""; or ignore this
    warning field type: Lead_Status has the type picklist
        why: Bigin rejects a value that is not in its list
        do: check that the mapping of Lead_Status gives such values, or map another field
    warning field read-only: the field Mailing_City of Contacts is read-only
        why: its value becomes a line at the end of Description instead
        do: map another field instead of Mailing_City, or remove it under [mapping]: Mailing_City = ""
    warning field type: Phone has the type date
        why: the value must look like 2026-11-22: `date("%Y-%m-%d")`
        do: check that the mapping of Phone gives such values, or map another field
    warning field missing: Contacts have no field Zip_Code
        why: its value becomes a line at the end of Description instead
        do: under [mapping], replace Zip_Code by Mailing_Zip
    warning field missing: Contacts have no field lead_id
        why: its value becomes a line at the end of Description instead
        do: under [mapping], replace lead_id by Lead_ID
    warning length: lead-ada has 17 characters in Mailing_Street, which accepts 5
        why: Bigin rejects the lead; it does not shorten values
        do: shorten it in the mapping: {{ (… or '')[:5] }}, or make the field longer in Bigin
    exit 1
    "#);

    clinic.unset("BIGIN_LEAD_ID_FIELD");
    clinic.stage.bigin.model().set_unique("Email", false);
    let troubles = clinic.troubles().await;
    let about = |check: &str| {
        let mut lines = troubles.lines().skip_while(|line| !line.contains(check));
        [lines.next(), lines.next(), lines.next()]
            .map(Option::unwrap_or_default)
            .join("\n")
    };
    insta::assert_snapshot!(about("duplicate check:"), @r#"
    failed duplicate check: Email is not mapped, or allows duplicate values in this organisation
        why: a lead that is sent again is not recognised, and creates a second contact
        do: map Email and switch on "Do not allow duplicate values" for it in Bigin, or set BIGIN_LEAD_ID_FIELD
    "#);
    insta::assert_snapshot!(about("no email:"), @r"
    warning no email: a lead without an email address has no unique value: Phone allows duplicate values
        why: it is looked up by its phone number before it is sent, which needs a call and the scope ZohoBigin.coql.READ
        do: add a unique text field for the lead's ID to Contacts and set BIGIN_LEAD_ID_FIELD; or ignore this
    ");
}

#[actix_web::test]
async fn useless_lead_id_field_fails() {
    let mut clinic = Clinic::new().await;
    clinic.set("BIGIN_LEAD_ID_FIELD", "Lead_Number");
    insta::assert_snapshot!(clinic.troubles().await, @r#"
    failed lead id field: Contacts have no field Lead_Number, the value of BIGIN_LEAD_ID_FIELD
        why: no lead is sent until it is, so that none gets a second contact
        do: in Bigin's settings, make it a text field of Contacts with "Do not allow duplicate values"
    exit 1
    "#);
    let told = [
        ("text", 128, false, false, "Lead_Number allows duplicate values"),
        (
            "text",
            20,
            true,
            false,
            "Lead_Number accepts 20 characters, and Sanity's IDs have 36",
        ),
        ("text", 128, true, true, "Lead_Number is read-only"),
    ];
    for (data_type, length, unique, read_only, words) in told {
        {
            let mut model = clinic.stage.bigin.model();
            model.remove_field("Lead_Number");
            model.add_field("Lead_Number", "Lead Number", data_type, length, unique);
            model.fields.last_mut().unwrap().read_only = read_only;
        }
        let troubles = clinic.troubles().await;
        assert!(
            troubles.contains(&format!("failed lead id field: {words}\n")),
            "{troubles}"
        );
    }
}

#[actix_web::test]
async fn creates_missing_tag_if_wanted() {
    let mut clinic = Clinic::new().await;
    clinic.set("BIGIN_TAGS", "Hot,dbr_dashboard_import");
    insta::assert_snapshot!(clinic.troubles().await, @r"
    failed tag: Bigin has no tag Hot
        why: an automation can only wait for an existing tag, with the same upper and lower case
        do: `bigin-sync doctor --fix` creates it; then select it in the automation's rule in Bigin
    failed tag: Bigin has no tag dbr_dashboard_import, but DBR_Dashboard_Import
        why: an automation can only wait for an existing tag, with the same upper and lower case
        do: set BIGIN_TAGS to the tag that the automation waits for, with the same upper and lower case
    exit 1
    ");
    assert!(!clinic.stage.bigin.model().tag_names().contains(&"Hot".to_owned()));

    clinic.set("BIGIN_TAGS", "Hot");
    let (code, out, _) = clinic.run(&["--fix"]).await;
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("created the tag Hot"), "{out}");
    assert!(clinic.stage.bigin.model().tag_names().contains(&"Hot".to_owned()));
    assert!(clinic.troubles().await.ends_with("exit 0\n"));
}

#[actix_web::test]
async fn terminal_confirms_before_tag() {
    let mut clinic = Clinic::new().await;
    clinic.set("BIGIN_TAGS", "Hot");
    for (answer, code) in [("n\n", 1), ("y\n", 0)] {
        let mut terminal = Terminal::run(clinic.command(&[]));
        terminal.until_it_shows("Bigin has no tag Hot. Create it? [y/N]").await;
        terminal.type_in(answer);
        assert_eq!(terminal.ended().await, code, "{}", terminal.text());
        let made = clinic.stage.bigin.model().tag_names().contains(&"Hot".to_owned());
        assert_eq!(made, code == 0);
        assert!(terminal.text().contains("\u{1b}[32mok"), "with colours");
    }
}
