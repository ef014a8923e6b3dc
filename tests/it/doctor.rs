//! `bigin-sync doctor`, as people and scripts use it: the real program against both fakes, and each wrong turn by its own words.

use std::process::Command;

use bigin_sync::fake::bigin::{CallKind, Fault};
use bigin_sync::fake::sanity::{self, Kind};
use serde_json::{Map, Value, json};

use crate::cluster::Cluster;
use crate::process::{Process, Stage, binary, eventually, nothing_personal_in};
use crate::send::{canned, run_beside};
use crate::terminal::Terminal;
use crate::world::{ADMIN_TOKEN, lead, with};

const TAG: &str = "DBR_Dashboard_Import";

/// An installation that is well, but that no service runs.
pub struct Clinic {
    pub stage: Stage,
}

impl Clinic {
    pub async fn new() -> Self {
        let mut stage = Stage::new().await;
        stage.sanity.model().publish(lead("Ada")).unwrap();
        let id = {
            let mut model = stage.bigin.model();
            model.make_tag(TAG);
            model.add_field("Lead_ID", "Lead ID", "text", 128, true);
            model.add_field("Lead_Source", "Lead Source", "text", 100, false);
            model.add_field("Lead_Status", "Lead Status", "text", 100, false);
            "Lead_ID"
        };
        // No service answers there yet.
        let public = "http://127.0.0.1:9";
        stage.sanity.set_webhook(&format!("{public}/webhooks/sanity"));
        let more = [
            ("BIGIN_LEAD_ID_FIELD", id),
            ("PUBLIC_URL", public),
            ("SANITY_MANAGEMENT_TOKEN", stage.sanity.management_token()),
        ];
        let more = more.map(|(name, value)| (name.to_owned(), value.to_owned()));
        stage.env.extend(more);
        Self { stage }
    }

    /// Starts the service at the webhook's URL.
    pub async fn serve(&mut self) -> Process {
        let process = self.stage.serve().await;
        self.stage.env.insert("PUBLIC_URL".to_owned(), process.url.clone());
        process
    }

    fn set(&mut self, name: &str, value: &str) {
        self.stage.env.insert(name.to_owned(), value.to_owned());
    }

    fn unset(&mut self, name: &str) {
        self.stage.env.remove(name).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = binary();
        command.arg("doctor").args(args);
        command
            .env_clear()
            .envs(&self.stage.env)
            .current_dir(self.stage.folder.path());
        command
    }

    /// Exit code, standard output and standard error, without secrets or personal data.
    async fn run(&self, args: &[&str]) -> (i32, String, String) {
        let (code, out, err) = self.run_showing(args).await;
        for text in [&out, &err] {
            nothing_personal_in(text, &self.stage.bigin.refresh_token());
        }
        (code, out, err)
    }

    /// The same with --show-values.
    async fn run_showing(&self, args: &[&str]) -> (i32, String, String) {
        let (code, out, err) = run_beside(self.command(args)).await;
        let mut secrets = vec![
            self.stage.bigin.client_secret(),
            self.stage.bigin.refresh_token(),
            self.stage.sanity.token().to_owned(),
            self.stage.sanity.webhook_secret().to_owned(),
            self.stage.sanity.management_token().to_owned(),
            ADMIN_TOKEN.to_owned(),
            "invented-password".to_owned(),
        ];
        secrets.extend(self.stage.bigin.model().access_tokens());
        for secret in secrets {
            assert!(
                !out.contains(&secret) && !err.contains(&secret),
                "{secret:?} is shown: {out}{err}"
            );
        }
        (code, self.steady(&out), err)
    }

    /// Without values that differ each time.
    fn steady(&self, text: &str) -> String {
        let text = text.replace(&self.stage.env["PUBLIC_URL"], "https://PUBLIC");
        let lines = text.lines().map(|line| {
            let line = match line.strip_suffix(" GB free") {
                Some(start) => format!("{}N GB free", start.trim_end_matches(|c: char| c.is_ascii_digit())),
                None => line.to_owned(),
            };
            match line.find(", at 20") {
                Some(at) => format!(
                    "{}, at TIME{}",
                    &line[..at],
                    &line[at + ", at 2026-11-22 10:00 UTC".len()..]
                ),
                None => line,
            }
        });
        lines.collect::<Vec<_>>().join("\n") + "\n"
    }

    /// The findings that did not pass, in a block of lines each, and the exit code.
    async fn troubles(&self) -> String {
        let (code, out, _) = self.run(&["--json"]).await;
        let said: Value = serde_json::from_str(&out).unwrap();
        let mut text = String::new();
        for finding in said["findings"].as_array().unwrap() {
            let outcome = finding["outcome"].as_str().unwrap();
            // Another test checks the finding without a service.
            if matches!(outcome, "ok" | "skipped") || finding["check"] == "address" {
                continue;
            }
            let say = |key: &str| finding[key].as_str().unwrap();
            text += &format!("{outcome} {}: {}\n", say("check"), say("what"));
            text += &format!("    why: {}\n    do: {}\n", say("why"), say("todo"));
        }
        text + &format!("exit {code}\n")
    }
}

fn refusal(code: &str) -> Fault {
    Fault::BodyError {
        status: 401,
        code: code.to_owned(),
        message: "refused".to_owned(),
    }
}

#[actix_web::test]
async fn where_all_is_well_it_says_so_beside_a_running_service_and_costs_no_grant() {
    let mut clinic = Clinic::new().await;
    let service = clinic.serve().await;
    clinic.stage.request(lead("Ada")).await;
    clinic.stage.until_status("lead-ada", "SENT").await;
    let (code, out, err) = clinic.run(&[]).await;
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    insta::assert_snapshot!(out, @r#"
    Settings
      ok       settings         complete and valid

    Machine
      ok       clock            agrees with Sanity's

    Database
      ok       schema           bigin-sync.db is in use by a service, schema 1
      skipped  write            a service is using it
                                Fix: `bigin-sync status --ready` checks that service
      ok       space            N GB free

    Bigin
      ok       token            Bigin accepts the access token
      ok       organisation     Example Lettings, ID 70000000001, at bigin.zoho.com: is this yours?
      ok       scope contacts   contacts can be written
      ok       scope coql       contacts can be looked up
      ok       fields           Contacts have Description, Email, First_Name, Last_Name, Lead_Source, Lead_Status, Mailing_City, Mailing_Street, Mailing_Zip, Phone, all writable
      ok       lead id field    Lead_ID is unique and contains each lead's ID
      ok       duplicate check  contacts are recognised by unique fields: Lead_ID, Email
      ok       tag              Bigin has the tag DBR_Dashboard_Import

    Sanity
      ok       read             documents of the type dbrLead can be read, with their drafts
      ok       revisions        revisions can be read without content: an unchanged lead is read once
      ok       write            results can be written to leads (dry run)

    Webhook
      ok       address          the service answers at 127.0.0.1
      ok       webhook          one webhook points here and is enabled
      ok       changes          it fires on create and update
      ok       filter           it matches leads that were changed to REQUESTED
      ok       projection       it has _id, _rev and _updatedAt
      ok       secret           it uses SANITY_WEBHOOK_SECRET
      ok       deliveries       0 of the last 1 failed; the newest: HTTP 202, at TIME

    Leads
      ok       samples          fields filled in the most recent lead: Description 1/1, Email 1/1, First_Name 1/1, Last_Name 1/1, Lead_ID 1/1, Lead_Source 1/1, Lead_Status 1/1, Mailing_Street 1/1, Mailing_Zip 1/1, Phone 1/1

    Automation
      skipped  automation       the API can't tell whether the tag starts your automation; Bigin documents no rule "tag added"
                                Fix: `bigin-sync doctor --guided-test` creates a test contact and tags it: check whether your automation runs

    23 passed, 2 skipped
    "#);
    assert_eq!(clinic.stage.bigin.model().grants(), 1, "it borrows the service's token");
    service.stop().await;
    clinic.stage.finish().await;
}

#[actix_web::test]
async fn before_the_first_start_it_makes_nothing_and_keeps_nothing() {
    let clinic = Clinic::new().await;
    let before = clinic.stage.bigin.model().changes.len();
    insta::assert_snapshot!(clinic.troubles().await, @"exit 0");
    let (_, out, _) = clinic.run(&[]).await;
    assert!(out.contains("this check used one of Zoho's 10 tokens"), "{out}");
    assert_eq!(std::fs::read_dir(clinic.stage.folder.path()).unwrap().count(), 0);
    assert_eq!(
        clinic.stage.bigin.model().changes.len(),
        before,
        "no contact is touched"
    );
    assert_eq!(clinic.stage.sanity.model().transactions.len(), 1, "no lead is");
}

#[actix_web::test]
async fn a_token_is_kept_for_the_next_look_and_for_the_service() {
    let mut clinic = Clinic::new().await;
    clinic.serve().await.stop().await;
    clinic.stage.bigin.model().invalidate_access_tokens();
    clinic.troubles().await;
    let after_the_first = clinic.stage.bigin.model().grants();
    clinic.troubles().await;
    let service = clinic.serve().await;
    clinic.stage.request(lead("Ada")).await;
    clinic.stage.until_status("lead-ada", "SENT").await;
    assert_eq!(clinic.stage.bigin.model().grants(), after_the_first);
    service.stop().await;
    clinic.stage.finish().await;
}

#[actix_web::test]
async fn faults_of_the_settings_are_listed_and_the_rest_is_looked_at_all_the_same() {
    let mut clinic = Clinic::new().await;
    for name in ["BIGIN_REFRESH_TOKEN", "BIGIN_CLIENT_ID", "SANITY_WEBHOOK_SECRET"] {
        clinic.unset(name);
    }
    clinic.set("TAG_DELAY", "soon");
    let (code, out, err) = clinic.run(&[]).await;
    assert_eq!(code, 2, "{out}");
    insta::assert_snapshot!(out, @r#"
    Settings
      FAILED   settings         SANITY_WEBHOOK_SECRET is missing
                                Why: `serve` does not start with invalid settings
                                Fix: create one with `openssl rand -hex 24`, and enter it in the webhook's form too
      FAILED   settings         BIGIN_CLIENT_ID is missing
                                Why: `serve` does not start with invalid settings
                                Fix: create a Self Client at api-console.zoho.com, and copy its ID and secret
      FAILED   settings         BIGIN_REFRESH_TOKEN is missing
                                Why: `serve` does not start with invalid settings
                                Fix: `bigin-sync auth` gets one with a Zoho API console code
      FAILED   settings         TAG_DELAY is "soon", and must be a duration such as 500ms, 15s, 2m or 24h
                                Why: `serve` does not start with invalid settings
                                Fix: correct it; config/default.toml describes every setting

    Machine
      ok       clock            agrees with Sanity's

    Database
      ok       schema           bigin-sync.db will be created at the first start
      ok       write            its folder is writable
      ok       space            N GB free

    Bigin
      skipped  token            BIGIN_CLIENT_ID is missing or invalid
                                Fix: fix the settings first

    Sanity
      ok       read             documents of the type dbrLead can be read, with their drafts
      ok       revisions        revisions can be read without content: an unchanged lead is read once
      ok       write            results can be written to leads (dry run)

    Webhook
      warning  address          the service does not answer at 127.0.0.1, as seen from this machine (connect)
                                Why: Sanity's webhook calls this URL
                                Fix: start the service; then check PUBLIC_URL, and that the proxy in front forwards to LISTEN_ADDR
      ok       webhook          one webhook points here and is enabled
      ok       changes          it fires on create and update
      ok       filter           it matches leads that were changed to REQUESTED
      ok       projection       it has _id, _rev and _updatedAt
      skipped  secret           SANITY_WEBHOOK_SECRET is missing or invalid
                                Fix: fix the settings first
      ok       deliveries       none yet, or none that Sanity still lists

    Leads
      ok       samples          fields filled in the most recent lead: Description 1/1, Email 1/1, First_Name 1/1, Last_Name 1/1, Lead_ID 1/1, Lead_Source 1/1, Lead_Status 1/1, Mailing_Street 1/1, Mailing_Zip 1/1, Phone 1/1

    Automation
      skipped  automation       the API can't tell whether the tag starts your automation; Bigin documents no rule "tag added"
                                Fix: `bigin-sync doctor --guided-test` creates a test contact and tags it: check whether your automation runs

    4 failed, 1 warning, 13 passed, 3 skipped
    "#);
    insta::assert_snapshot!(err, @"bigin-sync: the settings are invalid, see above");
}

#[actix_web::test]
async fn each_way_in_which_zoho_refuses_access_has_its_own_words() {
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
async fn while_zoho_wants_to_be_left_alone_it_is_not_asked() {
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
async fn a_token_of_another_data_centre_and_used_up_credits_are_told_apart() {
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
async fn each_scope_that_is_missing_is_named_with_what_it_is_for() {
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
async fn fields_that_bigin_lacks_or_that_do_not_fit_are_named_with_what_to_do() {
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
async fn a_field_for_leads_ids_that_would_be_of_no_use_is_a_failure() {
    let mut clinic = Clinic::new().await;
    clinic.set("BIGIN_LEAD_ID_FIELD", "Lead_Number");
    insta::assert_snapshot!(clinic.troubles().await, @r#"
    failed lead id field: Contacts have no field Lead_Number, the value of BIGIN_LEAD_ID_FIELD
        why: leads without an email address are looked up by phone, as without BIGIN_LEAD_ID_FIELD
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
async fn whoever_else_answers_at_the_address_is_not_taken_for_the_service() {
    let mut clinic = Clinic::new().await;
    let parked = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 6\r\nconnection: close\r\n\r\nparked";
    clinic.set("PUBLIC_URL", &canned(parked));
    let (code, out, _) = clinic.run(&[]).await;
    assert_eq!(code, 1);
    assert!(
        out.contains("FAILED   address          the server at 127.0.0.1 is not bigin-sync\n"),
        "{out}"
    );
}

#[actix_web::test]
async fn a_tag_that_bigin_lacks_is_made_where_somebody_wants_that() {
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
async fn at_a_terminal_it_asks_before_it_makes_a_tag() {
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

#[actix_web::test]
async fn each_way_in_which_sanity_refuses_has_its_own_words() {
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
async fn without_a_management_token_the_webhook_is_not_looked_at_and_it_says_how_it_could_be() {
    let mut clinic = Clinic::new().await;
    clinic.unset("SANITY_MANAGEMENT_TOKEN");
    let (code, out, _) = clinic.run(&["--json"]).await;
    let said: Value = serde_json::from_str(&out).unwrap();
    let all = said["findings"].as_array().unwrap();
    let found = all.iter().find(|finding| finding["check"] == "webhook").unwrap();
    assert_eq!((code, found["outcome"].as_str()), (0, Some("skipped")));
    insta::assert_snapshot!(found["todo"].as_str().unwrap(), @"create a temporary one (sanity.io/manage, API, Tokens) and set SANITY_MANAGEMENT_TOKEN or --management-token-file; it is not stored");

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
async fn a_webhook_that_leads_elsewhere_or_is_not_as_it_should_be_is_named() {
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
async fn the_last_deliveries_tell_why_webhooks_do_not_arrive() {
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

#[actix_web::test]
async fn what_would_be_sent_for_a_lead_is_shown_without_its_values() {
    let clinic = Clinic::new().await;
    let (code, out, err) = clinic.run(&["--lead", "lead-ada"]).await;
    assert_eq!((code, err.as_str()), (0, ""));
    let (_, shown) = out.split_once("Fields to send").unwrap();
    insta::assert_snapshot!(shown, @r"
     for lead-ada
      Description          text, 79 characters
      Email                text, 15 characters
      First_Name           text, 3 characters
      Last_Name            text, 7 characters
      Lead_ID              text, 8 characters
      Lead_Source          text, 13 characters
      Lead_Status          text, 3 characters
      Mailing_Street       text, 17 characters
      Mailing_Zip          text, 8 characters
      Phone                text, 13 characters

    1 warning, 24 passed, 1 skipped
    ");
    assert_eq!(clinic.stage.bigin.model().contacts().count(), 0);

    let (code, out, err) = clinic.run_showing(&["--lead", "lead-ada", "--show-values"]).await;
    assert!(
        code == 0 && out.contains("Email") && out.contains(": ada@example.org"),
        "{out}"
    );
    assert!(err.contains("personal data"), "{err}");
}

#[actix_web::test]
async fn a_lead_that_could_not_be_sent_is_told_with_the_reason() {
    let clinic = Clinic::new().await;
    let nameless = json!({ "firstName": null, "secondName": null });
    clinic
        .stage
        .sanity
        .model()
        .publish(with(lead("Grace"), nameless))
        .unwrap();
    clinic.stage.sanity.model().publish(lead("Mary")).unwrap();
    clinic.stage.sanity.model().unpublish("lead-mary").unwrap();
    for (id, words) in [
        (
            "lead-grace",
            "lead-grace would be rejected: The lead has no name: fill in the first or last name",
        ),
        ("lead-mary", "publish it: there is only a draft"),
        ("lead-nobody", "copy the ID from the Studio"),
    ] {
        let (code, out, _) = clinic.run(&["--lead", id]).await;
        assert!(code == 1 && out.contains(words), "{id}: {out}");
    }
    let (code, _, err) = clinic.run(&["--lead", "drafts.lead-mary"]).await;
    assert!(code == 2 && err.contains("not the id of a published document"), "{err}");
}

#[actix_web::test]
async fn the_document_for_machines_has_the_shape_that_is_promised() {
    let clinic = Clinic::new().await;
    let (code, out, err) = clinic.run(&["--json", "--lead", "lead-ada"]).await;
    assert_eq!((code, err.as_str()), (0, ""));
    let said: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(said["well"], json!(true));
    let keys: Vec<&String> = said["findings"][0].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["check", "group", "outcome", "todo", "what", "why"]);
    assert_eq!(
        said["findings"][0],
        json!({ "group": "settings", "check": "settings", "outcome": "ok", "what": "complete and valid", "why": null, "todo": null })
    );
    assert_eq!(said["lead"]["id"], json!("lead-ada"));
    assert_eq!(said["lead"]["fields"]["Email"], json!({ "kind": "text", "length": 15 }));
}

#[actix_web::test]
async fn the_guided_test_sends_an_invented_contact_and_says_what_to_look_for() {
    let clinic = Clinic::new().await;
    let (code, out, err) = clinic.run(&["--guided-test"]).await;
    assert!(
        code == 2 && out.is_empty() | (out == "\n") && err.contains("--yes"),
        "{out}{err}"
    );
    assert_eq!(
        clinic.stage.bigin.model().contacts().count(),
        0,
        "without a confirmation"
    );

    let (code, out, _) = clinic.run(&["--guided-test", "--yes"]).await;
    assert_eq!(code, 0, "{out}");
    let (id, contact) = {
        let model = clinic.stage.bigin.model();
        let (id, contact) = model.contacts().next().unwrap();
        (id.to_owned(), contact.clone())
    };
    assert_eq!(
        (contact.text("Last_Name"), contact.tags.as_slice()),
        (Some("Bigin-Sync"), [TAG.to_owned()].as_slice())
    );
    insta::assert_snapshot!(out.replace(&id, "ID"), @r#"
    Created the contact ID: "Test Bigin-Sync".
    Added the tag DBR_Dashboard_Import.

    Now look in Bigin, for a minute or two:
      1. Is the contact "Test Bigin-Sync" there, with the tag?
      2. Did your automation run: is the contact in the pipeline, is the task there, was the message sent?

    If only 1 is true, the automation waits for something else. Bigin documents rules that run when a contact is created or edited,
    and none that runs when a tag is added; this test shows whether a tag counts as an edit. Check that the rule runs on edits and
    has this tag as its condition, with the same upper and lower case. If it still does not run, try a longer TAG_DELAY.

    Delete the contact in Bigin afterwards: bigin-sync deletes nothing.
    "#);
}

#[actix_web::test]
async fn a_guided_test_that_fails_half_way_says_what_is_left_behind() {
    let clinic = Clinic::new().await;
    let refused = refusal("OAUTH_SCOPE_MISMATCH");
    clinic.stage.bigin.model().fail_next(CallKind::AddTags, refused, 1);
    let (code, out, err) = clinic.run(&["--guided-test", "--yes"]).await;
    assert!(code == 1 && out.contains("Created the contact"), "{out}");
    assert!(
        err.contains(", which stays in Bigin: ") && err.contains("ZohoBigin.modules.contacts.ALL"),
        "{err}"
    );
}

#[actix_web::test]
async fn a_database_that_cannot_be_used_is_told_with_the_reason() {
    let mut clinic = Clinic::new().await;
    clinic.set("DATABASE_URL", "sqlite:///nowhere/at/all.db");
    insta::assert_snapshot!(clinic.troubles().await, @r"
    failed database: /nowhere/at/all.db cannot be used: the folder /nowhere/at: No such file or directory (os error 2)
        why: webhooks cannot be stored
        do: check that the folder exists, and that it and the file belong to the user that runs the service
    exit 1
    ");

    let mut clinic = Clinic::new().await;
    clinic.serve().await.stop().await;
    let path = clinic.stage.folder.path().join("bigin-sync.db");
    rusqlite::Connection::open(&path)
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    insta::assert_snapshot!(clinic.troubles().await, @r"
    failed schema: bigin-sync.db was written by a newer version (schema 99, this version supports 1)
        why: this version does not start with it
        do: start the newer version, or restore the backup from before the upgrade
    exit 1
    ");
}

#[actix_web::test]
#[ignore = "needs PostgreSQL"]
async fn a_server_is_looked_at_as_a_file_is() {
    let cluster = Cluster::start();
    let mut clinic = Clinic::new().await;
    clinic.set("DATABASE_URL", &cluster.url("postgres"));
    assert_eq!(
        clinic.troubles().await,
        "exit 0\n",
        "a server that nothing was ever kept on"
    );

    let service = clinic.serve().await;
    clinic.stage.request(lead("Ada")).await;
    clinic.stage.until_status("lead-ada", "SENT").await;
    let granted = clinic.stage.bigin.model().grants();
    let (code, out, _) = clinic.run(&[]).await;
    assert!(
        code == 0 && out.contains("/postgres, schema 1") && out.contains("a write was committed to disk"),
        "{out}"
    );
    assert_eq!(
        clinic.stage.bigin.model().grants(),
        granted,
        "it borrows the service's token"
    );
    service.stop().await;

    drop(cluster);
    let (code, out, _) = clinic.run(&[]).await;
    assert!(code == 1 && out.contains("check DATABASE_URL"), "{out}");
}
