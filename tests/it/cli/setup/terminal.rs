//! `bigin-sync setup` at a terminal.

use std::collections::BTreeMap;
use std::process::Stdio;

use crate::cli::run_beside;
use crate::process::{binary, eventually};
use crate::terminal::Terminal;

use super::{Desk, ENV};

#[actix_web::test]
async fn explains_and_asks_again() {
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
async fn fakes_have_all_that_setup_needs() {
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
