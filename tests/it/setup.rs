//! `bigin-sync setup` at a terminal and in scripts: from nothing to a sent lead, again without changes, and the message of each
//! failure.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use bigin_sync::fake::bigin::CallKind;
use bigin_sync::fake::sanity::{self, Kind};
use serde_json::json;

use crate::process::{Stage, binary, eventually};
use crate::send::run_beside;
use crate::terminal::Terminal;
use crate::world::{id, lead};

const ENV: &str = ".env";

/// Both accounts, an empty folder, and an address on which no program listens yet.
struct Desk {
    stage: Stage,
    address: String,
}

impl Desk {
    async fn new() -> Self {
        let mut stage = Stage::new().await;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        // Settings that an operator would not set: the simulated services' URLs, and short intervals.
        let kept = [
            "SANITY_API_URL",
            "BIGIN_ACCOUNTS_URL",
            "TAG_DELAY",
            "LEASE_DURATION",
            "RETRY_BASE_DELAY",
            "RECONCILE_INTERVAL",
            "LOG_FORMAT",
        ];
        stage.env.retain(|name, _| kept.contains(&name.as_str()));
        stage.env.insert("LISTEN_ADDR".to_owned(), address.clone());
        stage.sanity.model().publish(lead("Ada")).unwrap();
        Self { stage, address }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.stage.folder.path().join(name)
    }

    /// A file with one line, as flags want secrets.
    fn file(&self, name: &str, line: &str) -> String {
        std::fs::write(self.path(name), format!("{line}\n")).unwrap();
        name.to_owned()
    }

    fn env(&self) -> String {
        std::fs::read_to_string(self.path(ENV)).unwrap_or_default()
    }

    fn setting(&self, name: &str) -> Option<String> {
        let env = self.env();
        let line = env.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
        line.map(str::to_owned)
    }

    fn public_url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn code(&self) -> String {
        self.stage.bigin.model().generate_code()
    }

    /// All flags that a script needs.
    fn flags(&self) -> Vec<String> {
        let (sanity, bigin) = (&self.stage.sanity, &self.stage.bigin);
        let flags = [
            ("--sanity-project-id", sanity.project_id().to_owned()),
            ("--sanity-token-file", self.file("editor", sanity.token())),
            (
                "--management-token-file",
                self.file("developer", sanity.management_token()),
            ),
            ("--bigin-client-id", bigin.client_id()),
            (
                "--bigin-client-secret-file",
                self.file("secret", &bigin.client_secret()),
            ),
            ("--bigin-code", self.code()),
            ("--public-url", self.public_url()),
        ];
        let mut all = vec!["--yes".to_owned()];
        all.extend(flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]));
        all
    }

    /// The same with another value for a flag, or without it.
    fn flags_but(&self, flag: &str, value: Option<&str>) -> Vec<String> {
        let mut flags = self.flags();
        let at = flags.iter().position(|given| given == flag).unwrap();
        match value {
            Some(value) => value.clone_into(&mut flags[at + 1]),
            None => drop(flags.drain(at..=at + 1)),
        }
        flags
    }

    fn command(&self, args: &[String]) -> Command {
        let mut command = binary();
        command
            .arg("setup")
            .args(args)
            .env_clear()
            .envs(&self.stage.env)
            .current_dir(self.stage.folder.path());
        command
    }

    /// Exit code, standard output and standard error, in which no secret may be.
    async fn run(&self, args: &[String]) -> (i32, String, String) {
        let (code, out, err) = run_beside(self.command(args)).await;
        self.shows_no_secret(&out);
        self.shows_no_secret(&err);
        (code, out, err)
    }

    fn shows_no_secret(&self, text: &str) {
        let (sanity, bigin) = (&self.stage.sanity, &self.stage.bigin);
        let mut secrets = vec![
            sanity.token().to_owned(),
            sanity.management_token().to_owned(),
            sanity.model().webhooks.secret.clone(),
            bigin.client_secret(),
        ];
        let made = ["SANITY_WEBHOOK_SECRET", "ADMIN_TOKEN", "BIGIN_REFRESH_TOKEN"];
        secrets.extend(made.iter().filter_map(|name| self.setting(name)));
        secrets.extend(bigin.model().access_tokens());
        for secret in secrets {
            assert!(!text.contains(&secret), "{secret:?} is shown: {text}");
        }
    }

    /// The output before the checks at the end, with a constant URL.
    fn steady(&self, out: &str) -> String {
        let before = out.split("\nAll checks:").next().unwrap();
        before.trim().replace(&self.public_url(), "https://ADDRESS")
    }

    fn hook_calls(&self) -> usize {
        self.stage.sanity.model().calls_of(Kind::Hooks)
    }
}

fn strings(args: &[&str]) -> Vec<String> {
    args.iter().map(|arg| (*arg).to_owned()).collect()
}

#[actix_web::test]
async fn from_nothing_to_a_lead_that_is_sent_and_again_without_changing_anything() {
    let desk = Desk::new().await;
    let (code, out, err) = desk.run(&desk.flags()).await;
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    insta::assert_snapshot!(desk.steady(&out), @r#"
    ok       read             documents of the type dbrLead can be read, with their drafts
      ok       revisions        revisions can be read without content: an unchanged lead is read once
      ok       write            results can be written to leads (dry run)

    These changes will be made:
      write to .env:
        SANITY_PROJECT_ID=inv3nted
        PUBLIC_URL=https://ADDRESS
        SANITY_API_WRITE_TOKEN (hidden)
        SANITY_WEBHOOK_SECRET (generated)
        ADMIN_TOKEN (generated)
        BIGIN_REFRESH_TOKEN for a code, and the client's ID and secret (next step)
      create in Bigin: the tag DBR_Dashboard_Import, if it does not exist
      create in Sanity: a webhook to https://ADDRESS/webhooks/sanity
    Set in this environment only, and not written to a file: SANITY_API_URL, BIGIN_ACCOUNTS_URL, TAG_DELAY, LEASE_DURATION, RECONCILE_INTERVAL, RETRY_BASE_DELAY, LISTEN_ADDR, LOG_FORMAT.
    Wrote .env.

    The refresh token was written to .env.
    Organisation: "Example Lettings" (70000000001). Wrong one? Generate a code for the right one and run this again.
    "#);
    assert!(out.contains("created the tag DBR_Dashboard_Import"), "{out}");
    assert!(out.ends_with("Log in with the ADMIN_TOKEN in .env.\n"), "{out}");
    let mode = std::fs::metadata(desk.path(ENV)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(
        !desk.env().contains(desk.stage.sanity.management_token()),
        "it is not stored"
    );
    {
        let model = desk.stage.sanity.model();
        assert_eq!(
            model.webhooks.url,
            Some(format!("{}/webhooks/sanity", desk.public_url()))
        );
        assert_eq!(
            Some(&model.webhooks.secret),
            desk.setting("SANITY_WEBHOOK_SECRET").as_ref()
        );
    }

    let (env, calls) = (desk.env(), desk.hook_calls());
    let (code, out, _) = desk.run(&desk.flags()).await;
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("\nNothing to change.\n"), "{out}");
    assert_eq!(desk.env(), env, "to the byte");
    assert_eq!(
        desk.hook_calls(),
        calls + 3,
        "listed for setup, for doctor, and its attempts"
    );
    let (code, out, _) = desk.run(&[]).await;
    assert_eq!(code, 0, "nothing has to be given again: {out}");
    assert_eq!(desk.env(), env, "to the byte");

    let process = desk.stage.serve().await;
    desk.stage.request(lead("Grace")).await;
    desk.stage.until_status(&id("Grace"), "SENT").await;
    process.stop().await;
    desk.stage.finish().await;
}

#[actix_web::test]
async fn somebody_at_a_terminal_is_asked_told_what_is_wrong_and_asked_again() {
    let desk = Desk::new().await;
    let (sanity, bigin) = (&desk.stage.sanity, &desk.stage.bigin);
    let mut terminal = Terminal::run(desk.command(&[]));
    let public = desk.public_url();
    let talk: [(&str, String); 21] = [
        ("Sanity project ID:", sanity.project_id().to_owned()),
        ("Dataset [production]", String::new()),
        ("Document type of a lead [dbrLead]", String::new()),
        ("Editor token (hidden)", "mistyped".to_owned()),
        ("Sanity project ID [inv3nted]", String::new()),
        ("Dataset [production]", "nowhere".to_owned()),
        ("Document type of a lead [dbrLead]", String::new()),
        ("Editor token (hidden)", sanity.token().to_owned()),
        ("Sanity project ID [inv3nted]", String::new()),
        ("Dataset [nowhere]", "production".to_owned()),
        ("Document type of a lead [dbrLead]", String::new()),
        ("Editor token (hidden)", String::new()),
        ("Tags [DBR_Dashboard_Import]", String::new()),
        (
            "Public URL (leave empty if there is none yet)",
            "crm.example.org".to_owned(),
        ),
        ("and must be an http or https URL", public.clone()),
        (
            "Developer token (hidden; leave empty to create the webhook yourself)",
            sanity.token().to_owned(),
        ),
        ("may not see or change webhooks", sanity.management_token().to_owned()),
        ("Apply? [y/N]", "y".to_owned()),
        ("Client ID", bigin.client_id()),
        ("Client secret", bigin.client_secret()),
        ("Then choose the portal Bigin", desk.code()),
    ];
    for (shown, typed) in talk {
        terminal.until_it_shows_next(shown).await;
        match shown.ends_with("[y/N]") {
            true => terminal.type_in(&format!("{typed}\n")),
            false => terminal.answer(&format!("{typed}\r")).await,
        }
    }
    terminal.until_it_shows_next("Send a test lead now?").await;
    terminal.type_in("n\n");
    assert_eq!(terminal.ended().await, 0, "{}", terminal.text());
    desk.shows_no_secret(&terminal.text());
    assert_eq!(desk.setting("PUBLIC_URL"), Some(public));
    assert_eq!(desk.setting("SANITY_DATASET"), None, "which is the default");
    assert!(sanity.model().webhooks.url.is_some());

    let mut terminal = Terminal::run(desk.command(&[]));
    terminal
        .until_it_shows_next("Developer token (hidden; leave empty to create the webhook yourself)")
        .await;
    terminal.answer("\r").await;
    terminal.until_it_shows_next("Nothing to change.").await;
    terminal.until_it_shows_next("Send a test lead now?").await;
    terminal.type_in("n\n");
    assert_eq!(terminal.ended().await, 0, "{}", terminal.text());
}

#[actix_web::test]
async fn who_does_not_agree_changes_nothing() {
    let desk = Desk::new().await;
    let mut flags = desk.flags();
    flags.retain(|flag| flag != "--yes");
    let mut terminal = Terminal::run(desk.command(&flags));
    for question in ["Dataset", "Document type of a lead", "Tags"] {
        terminal.until_it_shows_next(&format!("{question} [")).await;
        terminal.answer("\r").await;
    }
    terminal.until_it_shows_next("Apply?").await;
    terminal.type_in("n\n");
    assert_eq!(terminal.ended().await, 1);
    assert!(terminal.text().contains("Nothing was changed."), "{}", terminal.text());
    assert_eq!(desk.env(), "");
    assert_eq!(desk.stage.sanity.model().webhooks.url, None);

    let (code, out, err) = desk.run(&flags).await;
    assert_eq!(code, 2, "{out}");
    assert_eq!(err, "bigin-sync: cannot prompt without a terminal; pass --yes\n");
    assert_eq!(desk.env(), "");
}

#[actix_web::test]
async fn a_webhook_that_leads_here_is_mended_where_it_is_wrong_and_keeps_its_secret() {
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
async fn a_tag_that_bigin_has_lost_is_made_again_once_that_is_agreed() {
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
async fn without_a_management_token_or_an_address_it_says_how_the_webhook_is_made() {
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
async fn a_script_is_told_all_that_is_missing_at_once() {
    let desk = Desk::new().await;
    let (code, out, err) = desk.run(&strings(&["--yes"])).await;
    assert_eq!((code, out.as_str()), (2, ""));
    insta::assert_snapshot!(err.replace("; ", ";\n"), @r"
    bigin-sync: SANITY_PROJECT_ID is missing: use --sanity-project-id;
    SANITY_API_WRITE_TOKEN is missing: use --sanity-token-file;
    BIGIN_CLIENT_ID is missing: use --bigin-client-id;
    BIGIN_CLIENT_SECRET is missing: use --bigin-client-secret-file;
    BIGIN_REFRESH_TOKEN is missing: use --bigin-code with a new code from Zoho's API console
    ");
}

#[actix_web::test]
async fn what_sanity_refuses_is_told_before_anything_is_changed() {
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
async fn a_code_that_zoho_refuses_leaves_what_was_done_before_and_a_new_one_goes_on_from_there() {
    let desk = Desk::new().await;
    let (code, _, err) = desk.run(&desk.flags_but("--bigin-code", Some("1000.old.old"))).await;
    assert_eq!(code, 1);
    insta::assert_snapshot!(err, @"bigin-sync: the code is refused (invalid_code): a code is valid once, for the chosen number of minutes, and for its own client only; generate a new one and use it at once. Run `bigin-sync setup` again to continue from here");
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

#[actix_web::test]
async fn what_is_set_elsewhere_goes_before_the_file_and_is_said() {
    let mut desk = Desk::new().await;
    let (name, value) = ("SANITY_PROJECT_ID", "another0");
    desk.stage.env.insert(name.to_owned(), value.to_owned());
    let (code, _, err) = desk.run(&desk.flags()).await;
    assert_eq!(code, 2);
    insta::assert_snapshot!(err, @"bigin-sync: SANITY_PROJECT_ID is set in the environment, which overrides the env file: change it there");

    let project = desk.stage.sanity.project_id().to_owned();
    desk.stage.env.insert(name.to_owned(), project);
    let (code, out, _) = desk.run(&desk.flags()).await;
    assert_eq!(code, 0, "{out}");
    let said = out
        .lines()
        .find(|line| line.starts_with("Set in this environment only"))
        .unwrap();
    assert!(said.contains("SANITY_PROJECT_ID"), "{said}");
    assert_eq!(desk.setting(name), None);

    std::fs::write(desk.path(ENV), "SANITY_API_WRITE_TOKEN_FILE=editor\n").unwrap();
    let other = desk.file("other", "skAnother");
    let (code, _, err) = desk.run(&desk.flags_but("--sanity-token-file", Some(&other))).await;
    assert_eq!(code, 2);
    insta::assert_snapshot!(err, @"bigin-sync: SANITY_API_WRITE_TOKEN_FILE is set, so the secret comes from that file: change it there");
    std::fs::write(desk.path(ENV), "this is no setting\n").unwrap();
    let (code, _, err) = desk.run(&desk.flags()).await;
    assert_eq!(code, 2);
    assert!(err.contains(".env, line 1: not a NAME=value line"), "{err}");
}

#[actix_web::test]
async fn a_test_lead_goes_through_all_of_it() {
    let desk = Desk::new().await;
    assert_eq!(desk.run(&desk.flags()).await.0, 0);
    let process = desk.stage.serve().await;
    let deliver = async {
        loop {
            desk.stage.sanity.deliver_due().await;
            tokio::task::yield_now().await;
        }
    };
    let args = strings(&["--test-lead"]);
    let (code, out, err) = tokio::select! {
        ended = desk.run(&args) => ended,
        () = deliver => unreachable!(),
    };
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.contains("\nThe test lead bigin-sync-test-"), "{out}");
    let contact = {
        let model = desk.stage.bigin.model();
        model.contacts().next().map(|(id, _)| id.to_owned()).unwrap()
    };
    assert!(
        out.ends_with(&format!(
            "Sent. Contact {contact} is in Bigin. Check that your automation ran, then delete the test lead and contact.\n"
        )),
        "{out}"
    );
    process.stop().await;

    // As the service or an editor would write it.
    let fail = eventually("the lead is there", || async {
        let mut model = desk.stage.sanity.model();
        let waits = |id: &&str| id.starts_with("bigin-sync-test-") && model.text(id, "crmStatus") == Some("REQUESTED");
        let ids = model.documents().filter_map(|document| document.get("_id")?.as_str());
        let id = ids.filter(|id| waits(id)).map(str::to_owned).next()?;
        model.edit(&id, json!({ "crmStatus": "FAILED" })).unwrap();
        Some(())
    });
    let ((code, _, err), ()) = tokio::join!(desk.run(&args), fail);
    assert_eq!(code, 1);
    assert!(err.contains(" is FAILED: `bigin-sync status bigin-sync-test-"), "{err}");
    desk.stage.finish().await;
}

#[actix_web::test]
async fn the_simulated_services_say_all_that_setup_asks_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = binary();
    command
        .args(["demo", "--services-only"])
        .env_clear()
        .stdin(Stdio::null());
    let out = std::fs::File::create(folder.path().join("services")).unwrap();
    let mut services = command.stdout(out).spawn().unwrap();
    let told = || std::fs::read_to_string(folder.path().join("services")).unwrap_or_default();
    eventually("they say where they are", || async {
        told().contains("  curl ").then_some(())
    })
    .await;
    let told = told();
    assert!(
        told.lines().all(|line| line.chars().count() <= 80),
        "wider than a terminal: {told}"
    );
    let file = told
        .split("cat > .env <<'END'\n")
        .nth(1)
        .unwrap()
        .split("END\n")
        .next()
        .unwrap();
    std::fs::write(folder.path().join(ENV), file).unwrap();
    let answers: BTreeMap<&str, &str> = told
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split_once("  "))
        .map(|(name, value)| (name, value.trim()))
        .collect();
    let secret = |name: &str, answer: &str| {
        std::fs::write(folder.path().join(name), answers[answer]).unwrap();
        name.to_owned()
    };
    let mut command = binary();
    command
        .args(["setup", "--yes", "--sanity-project-id", answers["Sanity project ID"]])
        .args(["--sanity-token-file", &secret("editor", "Editor token")])
        .args(["--management-token-file", &secret("developer", "Developer token")])
        .args([
            "--public-url",
            answers["Public URL"],
            "--bigin-client-id",
            answers["Client ID"],
        ])
        .args(["--bigin-client-secret-file", &secret("secret", "Client secret")])
        .args(["--bigin-code", answers["Code"]])
        .env_clear()
        .current_dir(folder.path());
    let (code, out, err) = run_beside(command).await;
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let said = folder.path().join("services");
    eventually("another code is generated", || async {
        let said = std::fs::read_to_string(&said).unwrap();
        said.contains("That code was used. New code: 1000.").then_some(())
    })
    .await;
    services.kill().unwrap();
    services.wait().unwrap();
}

#[actix_web::test]
async fn a_service_that_moves_takes_its_webhook_along() {
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
async fn an_answer_that_no_service_would_start_with_is_not_written() {
    for (flag, value, setting) in [
        ("--sanity-lead-type", "dbr lead\"", "SANITY_LEAD_TYPE"),
        ("--bigin-tags", "Import,<Hot>", "BIGIN_TAGS"),
    ] {
        let desk = Desk::new().await;
        let mut flags = desk.flags();
        flags.extend(strings(&[flag, value]));
        let (code, out, err) = desk.run(&flags).await;
        assert_ne!(code, 0, "{out}");
        assert!(format!("{out}{err}").contains(setting), "{out}{err}");
        assert_eq!(desk.env(), "", "{setting}");
    }
}

#[actix_web::test]
async fn an_env_file_that_others_can_read_is_closed_and_one_that_has_no_say_is_named() {
    let mut desk = Desk::new().await;
    assert_eq!(desk.run(&desk.flags()).await.0, 0);
    let env = desk.path(ENV);
    std::fs::set_permissions(&env, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (code, out, _) = desk.run(&strings(&["--yes"])).await;
    assert_eq!(code, 0, "{out}");
    assert!(
        out.contains(".env will be readable by you only (others can read it now)"),
        "{out}"
    );
    assert_eq!(std::fs::metadata(&env).unwrap().permissions().mode() & 0o777, 0o600);

    let revoked = desk.stage.bigin.refresh_token();
    desk.stage.bigin.model().revoke_refresh_token(&revoked);
    desk.stage.env.insert("BIGIN_REFRESH_TOKEN".to_owned(), revoked);
    let code_of_zoho = desk.code();
    let (code, out, err) = desk.run(&strings(&["--yes", "--bigin-code", &code_of_zoho])).await;
    assert_eq!(code, 2, "{out}");
    assert!(err.contains("BIGIN_REFRESH_TOKEN is set in the environment"), "{err}");
}
