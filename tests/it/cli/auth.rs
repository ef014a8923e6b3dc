//! `bigin-sync auth` with the simulated Zoho: each failure has its own message, and no secret is shown.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bigin_sync::clock::{ManualClock, SharedClock};
use bigin_sync::fake::bigin::{CallKind, FakeBigin, Fault};

use crate::cli::{canned, run_beside};
use crate::process::binary;
use crate::terminal::Terminal;

/// Zoho, and a folder with the present settings.
struct Desk {
    bigin: FakeBigin,
    clock: Arc<ManualClock>,
    folder: tempfile::TempDir,
}

impl Desk {
    async fn new() -> Self {
        let clock = Arc::new(ManualClock::new("2026-11-22T10:00:00Z".parse().unwrap()));
        let shared: SharedClock = clock.clone();
        Self {
            bigin: FakeBigin::start(shared).await.unwrap(),
            clock,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// The same, with the self client's id and secret in `.env`.
    async fn with_client() -> Self {
        let desk = Self::new().await;
        let (id, secret) = (desk.bigin.client_id(), desk.bigin.client_secret());
        desk.write_env(&format!("# Zoho\nBIGIN_CLIENT_ID={id}\nBIGIN_CLIENT_SECRET={secret}\n"));
        desk
    }

    fn write_env(&self, text: &str) {
        std::fs::write(self.folder.path().join(".env"), text).unwrap();
    }

    fn env(&self) -> String {
        std::fs::read_to_string(self.folder.path().join(".env")).unwrap()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = binary();
        command
            .arg("auth")
            .args(args)
            .env_clear()
            .env("BIGIN_ACCOUNTS_URL", self.bigin.url())
            .current_dir(self.folder.path());
        command
    }

    async fn run(&self, args: &[&str]) -> (i32, String, String) {
        let (code, out, err) = run_beside(self.command(args)).await;
        for text in [&out, &err] {
            self.shows_no_secret(text);
        }
        (code, out, err)
    }

    fn shows_no_secret(&self, text: &str) {
        let env = std::fs::read_to_string(self.folder.path().join(".env")).unwrap_or_default();
        let refresh = env.lines().find_map(|line| line.strip_prefix("BIGIN_REFRESH_TOKEN="));
        for secret in [Some(self.bigin.client_secret().as_str()), refresh]
            .into_iter()
            .flatten()
        {
            assert!(!text.contains(secret), "a secret is shown: {text}");
        }
    }

    fn code(&self) -> String {
        self.bigin.model().generate_code()
    }
}

#[actix_web::test]
async fn writes_refresh_token_and_names_org() {
    let desk = Desk::with_client().await;
    let (code, out, err) = desk.run(&[&desk.code()]).await;
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    insta::assert_snapshot!(out, @r#"
    The refresh token was written to .env.
    Organisation: "Example Lettings" (70000000001). Wrong one? Generate a code for the right one and run this again.
    "#);
    let env = desk.env();
    assert!(
        env.starts_with("# Zoho\nBIGIN_CLIENT_ID=1000.") && env.contains("\nBIGIN_REFRESH_TOKEN=1000.r"),
        "{env}"
    );
    let mode = std::fs::metadata(desk.folder.path().join(".env"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    let (code, out, _) = desk.run(&["status"]).await;
    assert_eq!(code, 0);
    insta::assert_snapshot!(out, @r#"
    Client 1000.FAKECLIENTFAKECLIENTFAKECLIENT, 127.0.0.1.
    The refresh token works.
    Organisation: "Example Lettings" (70000000001). Wrong one? Generate a code for the right one and run this again.
    "#);
    assert_eq!(desk.run(&["revoke"]).await.0, 2, "not without --yes");
    let (code, out, _) = desk.run(&["revoke", "--yes"]).await;
    assert_eq!(
        (code, out.as_str()),
        (0, "The refresh token is revoked. `bigin-sync auth` gets a new one.\n")
    );
    let (code, _, err) = desk.run(&["status"]).await;
    assert_eq!(code, 1);
    insta::assert_snapshot!(err, @"bigin-sync: the refresh token is invalid (invalid_code): it was revoked, mistyped, replaced by the user's newer tokens, or belongs to another data center. `bigin-sync auth` gets a new one");
}

#[actix_web::test]
async fn rejects_what_is_no_code() {
    let desk = Desk::with_client().await;
    for code in ["statu", "revok", "", "1000.", "1000.abc def", "refresh"] {
        let (exit, out, err) = desk.run(&["--", code]).await;
        assert_eq!((exit, out.as_str()), (2, ""), "{code:?}");
        assert!(
            code.is_empty() || !err.contains(&format!("{code:?}")),
            "a part of a code is a secret: {err}"
        );
        assert!(err.contains("codes begin with 1000."), "{err}");
        assert!(err.contains("`bigin-sync auth status`"), "{err}");
    }
    assert_eq!(desk.bigin.model().count(CallKind::Token), 0, "nothing was sent to Zoho");
}

#[actix_web::test]
async fn every_error_has_its_message() {
    let desk = Desk::with_client().await;
    let used = desk.code();
    desk.run(&[&used]).await;
    let (code, _, err) = desk.run(&[&used]).await;
    assert_eq!(code, 1);
    insta::assert_snapshot!(err, @"bigin-sync: Zoho rejected the code (invalid_code): a code is valid once, for the chosen number of minutes, and for its own client only; generate a new one and use it at once");

    let old = desk.code();
    desk.clock.advance(Duration::from_secs(181));
    assert!(desk.run(&[&old]).await.2.contains("(invalid_code)"), "expired");

    let (_, _, err) = desk.run(&["--client-id", "1000.OTHER", &desk.code()]).await;
    insta::assert_snapshot!(err, @"bigin-sync: Zoho rejected the client ID (invalid_client): 127.0.0.1 does not know this client; check the client ID, and the data center that you log in to (--data-center)");

    std::fs::write(desk.folder.path().join("secret"), "another\n").unwrap();
    let (_, _, err) = desk.run(&["--client-secret-file", "secret", &desk.code()]).await;
    insta::assert_snapshot!(err, @"bigin-sync: Zoho rejected the client secret (invalid_client_secret): it is not this client's secret in this data center; copy it again from the API console");

    for (fault, sentence) in [
        (
            Fault::TokenError("access_denied".into()),
            "too many codes were generated (access_denied): Zoho accepts 10 codes per 10 minutes",
        ),
        (
            Fault::TokenThrottled,
            "Zoho grants no more tokens for now: wait ten minutes without a try",
        ),
        (Fault::Html(502), "127.0.0.1 did not answer properly (HTTP 502): retry"),
    ] {
        desk.bigin.model().fail_next(CallKind::Token, fault, 1);
        let (code, _, err) = desk.run(&[&desk.code()]).await;
        assert_eq!(code, 1);
        assert!(err.contains(sentence), "{err}");
    }

    desk.bigin.model().switches.missing_scopes.insert(CallKind::Org);
    let (code, out, err) = desk.run(&[&desk.code()]).await;
    assert_eq!((code, out.as_str()), (1, "The refresh token was written to .env.\n"));
    insta::assert_snapshot!(err, @r"
    bigin-sync: the token works but lacks the scope ZohoBigin.org.READ, and may lack others. Generate a code with all scopes:
      ZohoBigin.modules.contacts.ALL,ZohoBigin.settings.fields.READ,ZohoBigin.settings.tags.READ,ZohoBigin.settings.tags.CREATE,ZohoBigin.org.READ,ZohoBigin.coql.READ
    ");
}

#[actix_web::test]
async fn keeps_code_if_env_file_is_unusable() {
    let desk = Desk::with_client().await;
    let code = desk.code();
    let grants = || desk.bigin.model().count(CallKind::Token);
    let token = desk.folder.path().join("token");
    std::fs::write(&token, "1000.old\n").unwrap();
    for name in ["BIGIN_REFRESH_TOKEN", "BIGIN_REFRESH_TOKEN_FILE"] {
        let mut command = desk.command(&[&code]);
        command.env(name, &token);
        let (exit, out, err) = run_beside(command).await;
        assert_eq!((exit, out.as_str()), (2, ""), "{err}");
        let said = format!(
            "{name} is set in the environment, which overrides the env file: change it there. --print shows what to set"
        );
        assert!(err.contains(&said), "{err}");
    }
    let env = desk.folder.path().join(".env");
    let lines = std::fs::read_to_string(&env).unwrap();
    std::fs::write(
        &env,
        format!("{lines}NOTE=\"one\nBIGIN_REFRESH_TOKEN=of no say\ntwo\"\n"),
    )
    .unwrap();
    let (exit, out, err) = desk.run(&[&code]).await;
    assert_eq!((exit, out.as_str()), (1, ""), "{err}");
    assert!(err.contains("the code was not used"), "{err}");
    assert_eq!(grants(), 0);

    std::fs::write(&env, lines).unwrap();
    let (exit, _, err) = desk.run(&[&code]).await;
    assert_eq!(exit, 0, "{err}");
}

#[actix_web::test]
async fn interrupt_restores_terminal() {
    let desk = Desk::new().await;
    for (question, answer) in [("Client ID", None), ("Client secret", Some("1000.A\r"))] {
        let mut terminal = Terminal::run(desk.command(&[]));
        if let Some(answer) = answer {
            terminal.until_it_shows_next("Client ID").await;
            terminal.answer(answer).await;
        }
        terminal.until_it_shows_next(question).await;
        terminal.until_keys_are_read().await;
        terminal.interrupt();
        let ended = terminal.ended().await;
        assert_eq!(ended, 130, "{}", terminal.text());
        assert!(terminal.shows_what_is_typed(), "at {question}");
        assert!(terminal.text().contains("bigin-sync: cancelled"), "{}", terminal.text());
    }
    assert!(!desk.folder.path().join(".env").exists());
}

#[actix_web::test]
async fn code_without_refresh_token_is_explained() {
    let desk = Desk::with_client().await;
    let body = r#"{"access_token":"1000.a","api_domain":"https://www.zohoapis.com","expires_in":3600}"#;
    let zoho = canned(&format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    ));
    let mut command = desk.command(&["1000.code"]);
    command.env("BIGIN_ACCOUNTS_URL", zoho);
    let (code, out, err) = run_beside(command).await;
    assert_eq!((code, out.as_str()), (1, ""));
    insta::assert_snapshot!(err, @r#"bigin-sync: Zoho returned no refresh token, so this is not a self client's code. Generate one in the API console: Self Client, tab "Generate Code""#);
    assert!(!desk.env().contains("BIGIN_REFRESH_TOKEN"));
}

#[actix_web::test]
async fn unknown_data_centre_is_rejected_first() {
    let desk = Desk::with_client().await;
    let mut command = desk.command(&["--data-center", "uk", "1000.code"]);
    command.env_remove("BIGIN_ACCOUNTS_URL");
    let (code, _, err) = run_beside(command).await;
    assert_eq!(code, 2);
    insta::assert_snapshot!(err, @r#"bigin-sync: unknown data center "uk"; use one of us, eu, in, au, cn, jp, sa, ca"#);
}

#[actix_web::test]
async fn stdin_and_print_for_scripts() {
    let desk = Desk::with_client().await;
    let (before, code) = (desk.env(), desk.code());
    let mut command = desk.command(&["--print"]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(format!("{code}\n").as_bytes())
            .unwrap();
        child.wait_with_output().unwrap()
    })
    .await
    .unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(
        out.starts_with("BIGIN_REFRESH_TOKEN=1000.r") && out.lines().count() == 1,
        "{out}"
    );
    assert_eq!(desk.env(), before, "nothing is written");

    let (code, _, err) = desk.run(&[]).await;
    assert_eq!(code, 2);
    insta::assert_snapshot!(err, @"bigin-sync: there is no code: give it as an argument or on standard input");
}

#[actix_web::test]
async fn terminal_guides_and_hides_secrets() {
    let desk = Desk::new().await;
    let mut terminal = Terminal::run(desk.command(&[]));
    terminal.until_it_shows("Client ID").await;
    assert!(terminal.text().contains("https://api-console.zoho.com"));
    terminal.answer(&format!("{}\r", desk.bigin.client_id())).await;
    terminal.until_it_shows("Client secret").await;
    terminal.answer(&format!("{}\r", desk.bigin.client_secret())).await;
    terminal.until_it_shows("Then choose the portal Bigin").await;
    assert!(terminal.text().contains(",ZohoBigin.org.READ,ZohoBigin.coql.READ"));
    terminal.answer(&format!("{}\r", desk.code())).await;
    terminal.until_it_shows("Example Lettings").await;
    let shown = terminal.text();
    assert_eq!(terminal.ended().await, 0, "{shown}");
    desk.shows_no_secret(&shown);
    let env = desk.env();
    for name in [
        "BIGIN_CLIENT_ID=1000.",
        "BIGIN_CLIENT_SECRET=fake",
        "BIGIN_REFRESH_TOKEN=1000.r",
    ] {
        assert!(env.contains(name), "{name} is not in it");
    }
}
