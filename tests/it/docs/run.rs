//! Commands of the guides, run as they are written, with the real program against both fakes.

use std::process::Command;

use serde_json::json;

use super::page::page;
use super::shell::{bare, commands};
use crate::cli::doctor::Clinic;
use crate::cli::run_beside;
use crate::process::{Stage, run};
use crate::terminal::Terminal;
use crate::world::{lead, with};

/// The lines of the block of `docs/CLI.md` that has this command.
fn block(command: &str) -> Vec<String> {
    let guide = page("docs/CLI.md");
    let has = |text: &str| text.lines().any(|line| line.starts_with(command));
    let block = guide.blocks.iter().find(|block| has(&block.text));
    let block = block.unwrap_or_else(|| panic!("docs/CLI.md has no block with {command}"));
    block.text.lines().map(str::to_owned).collect()
}

/// A line, as a shell runs it that finds the program.
fn shell(line: &str, stage: &Stage) -> Command {
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_bigin-sync"));
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", line])
        .env_clear()
        .envs(&stage.env)
        .env("PATH", format!("{}:/usr/bin:/bin", program.parent().unwrap().display()))
        .current_dir(stage.folder.path());
    command
}

/// Lines of the guides that send or read, without a prompt.
fn lines_to_try() -> Vec<String> {
    let guides = [
        "README.md",
        "docs/CLI.md",
        "docs/MAPPING.md",
        "docs/FAQ.md",
        "docs/OPERATIONS.md",
    ];
    let lines = guides.into_iter().flat_map(|guide| {
        let scripts = page(guide).blocks.into_iter().filter(|block| block.language == "sh");
        let lines = scripts.flat_map(|block| block.text.lines().map(str::to_owned).collect::<Vec<_>>());
        lines.collect::<Vec<_>>()
    });
    let lines = lines.filter(|line| {
        let words = commands(line).into_iter().next().unwrap_or_default();
        match bare(&words) {
            [program, command, rest @ ..] => {
                let tried = matches!(command.as_str(), "send" | "status" | "doctor");
                program == "bigin-sync" && tried && !rest.iter().any(|word| word == "--guided-test")
            }
            _ => false,
        }
    });
    lines.collect()
}

#[actix_web::test]
async fn commands_of_the_guides_succeed() {
    let mut clinic = Clinic::new().await;
    for (id, city) in [("lead-1", "Perth"), ("lead-2", "Derry")] {
        let lead = with(lead(id), json!({ "_id": id, "city": city }));
        clinic.stage.sanity.model().publish(lead).unwrap();
    }
    let process = clinic.serve().await;
    clinic
        .stage
        .env
        .insert("BIGIN_SYNC_URL".to_owned(), process.url.clone());
    let lines = lines_to_try();
    for line in &lines {
        let (code, out, err) = run_beside(shell(line, &clinic.stage)).await;
        assert_eq!(code, 0, "{line}: {out}{err}");
    }
    for lead in ["lead-1", "lead-2"] {
        clinic.stage.until_status(lead, "SENT").await;
    }
    assert!(lines.len() >= 15, "{lines:?}");
    let tags = clinic.stage.bigin.model().tag_names();
    assert!(tags.contains(&"DBR_Import_2".to_owned()), "{tags:?}");
    process.stop().await;
    clinic.stage.finish().await;
}

#[actix_web::test]
async fn completions_and_manual_commands_work() {
    let stage = Stage::new().await;
    let folder = stage.folder.path();
    std::fs::create_dir(folder.join("completions")).unwrap();
    for line in block("bigin-sync completions") {
        let line = line
            .replace("/etc/bash_completion.d", folder.join("completions").to_str().unwrap())
            .replace("/usr/local/share/man", folder.join("man").to_str().unwrap());
        let (code, out, err) = run(shell(&line, &stage));
        assert_eq!((code, out.as_str(), err.as_str()), (0, "", ""), "{line}");
    }
    for file in [
        "completions/bigin-sync",
        "man/man1/bigin-sync.1",
        "man/man1/bigin-sync-send.1",
    ] {
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        assert!(text.contains("bigin-sync"), "{file}");
    }
}

#[actix_web::test]
async fn guided_test_of_the_guide_continues() {
    let clinic = Clinic::new().await;
    let lines = block("bigin-sync doctor");
    let line = lines.iter().find(|line| line.contains("--guided-test")).unwrap();
    let mut terminal = Terminal::run(shell(line, &clinic.stage));
    terminal.until_it_shows("[y/N]").await;
    terminal.type_in("y\n");
    terminal.until_it_shows("Now look in Bigin").await;
    assert_eq!(terminal.ended().await, 0, "{}", terminal.text());
    assert_eq!(clinic.stage.bigin.model().contacts().count(), 1);
}

#[actix_web::test]
async fn commands_have_help_with_examples() {
    let stage = Stage::new().await;
    for command in bigin_sync::cli::definition().get_subcommands() {
        let line = format!("bigin-sync help {}", command.get_name());
        let (code, out, err) = run(shell(&line, &stage));
        assert_eq!((code, err.as_str()), (0, ""), "{line}");
        assert!(out.contains("Examples:"), "{line}: {out}");
    }
}

#[actix_web::test]
async fn erasure_by_the_guide_leaves_nothing() {
    let guide = page("docs/OPERATIONS.md");
    let block = guide.blocks.iter().find(|block| block.text.starts_with("sqlite3 "));
    let words = commands(&block.unwrap().text).remove(0);
    let [_, _, statements] = &words[..] else {
        panic!("{words:?}");
    };

    let stage = Stage::new().await;
    let process = stage.serve().await;
    let renamed = |name: &str, id: &str| with(lead(name), json!({ "_id": id }));
    for (name, id) in [("Ada", "lead-1"), ("Grace", "lead-2")] {
        stage.request(renamed(name, id)).await;
        stage.until_status(id, "SENT").await;
    }
    let contact = stage.says("lead-1", "biginContactId").unwrap();
    process.stop().await;
    let file = stage.folder.path().join("bigin-sync.db");
    let database = rusqlite::Connection::open(&file).unwrap();
    let is_there = |text: &str| {
        let bytes = std::fs::read(&file).unwrap();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    };
    database.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    assert!(is_there("lead-1") && is_there(&contact));
    database.execute_batch(statements).unwrap();
    database.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    assert!(!is_there("lead-1") && !is_there(&contact), "something is left");
    assert!(is_there("lead-2"), "no other lead is erased");
    drop(database);
    stage.finish().await;
}
