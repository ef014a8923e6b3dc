//! `bigin-sync setup`: from nothing to a lead that is sent, and again without changing anything.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use bigin_sync::fake::sanity::Kind;
use serde_json::json;

use crate::cli::run_beside;
use crate::process::{Stage, binary, eventually};
use crate::terminal::Terminal;
use crate::world::{id, lead};

mod services;
mod terminal;

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
async fn sets_up_everything_and_is_idempotent() {
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
async fn declining_changes_nothing() {
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
async fn script_gets_all_missing_at_once() {
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
async fn environment_overrides_the_file() {
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
async fn writes_no_invalid_answer() {
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
async fn env_file_is_made_private() {
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

#[actix_web::test]
async fn test_lead_ends_sent() {
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
