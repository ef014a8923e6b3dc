//! The demo as a user runs it: whatever is in the environment and the folder, it uses this machine only.

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// No program listens there.
const NOWHERE: &str = "http://127.0.0.1:9";

/// A folder with settings that would break the demo if they were read.
fn poisoned() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write(
        ".env",
        "BIGIN_CLIENT_ID=evil\nTAG_DELAY=9h\nLISTEN_ADDR=nonsense\nthis is not a line\n",
    );
    write(
        "bigin-sync.toml",
        "unknown_key = 1\ntag_delay = \"9h\"\n[mapping]\nLast_Name = \"{{ evil\"\n",
    );
    folder
}

fn demo(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bigin-sync"))
        .arg("demo")
        .args(arguments)
        .current_dir(folder)
        .envs(["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"].map(|name| (name, NOWHERE)))
        .envs(["BIGIN_ACCOUNTS_URL", "BIGIN_API_DOMAIN", "SANITY_API_URL"].map(|name| (name, NOWHERE)))
        .env("BIGIN_CLIENT_ID", "evil")
        .env("BIGIN_TAGS", "evil")
        .env("SANITY_WEBHOOK_SECRET", "evil")
        .env("SANITY_API_WRITE_TOKEN_FILE", "/nonexistent/evil")
        .env("ADMIN_TOKEN", "evil")
        .env("PORT", "1")
        .env("LISTEN_ADDR", "192.0.2.1:1")
        .env("DATABASE_URL", "postgres://evil@127.0.0.1:9/evil")
        .env("TAG_DELAY", "9h")
        .env("RUST_LOG", "not=a=filter")
        .output()
        .unwrap()
}

#[test]
fn keeps_every_guarantee_and_reads_no_settings() {
    let folder = poisoned();
    let output = demo(folder.path(), &["--tag-delay", "1s", "--leads", "12"]);
    let report = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{report}\n{errors}");
    assert_eq!(errors, "");
    let lines = [
        "SIGKILL: the service is down, with ",
        "The service restarts with the same database and continues.",
        "Barnaby Wrenshaw: ✗ Failed: Bigin re",
        "Reconciliation found the two leads with missed webhooks.",
        "12 others: ✓ 12 Sent",
        "Failed → Sent",
        "no email, known phone  Sent           old",
        "  access tokens                      1                  23",
        "22 created  = 21 sent + 1 failed\n",
        "✓ No lead lost",
        "✓ No duplicates: 21 leads have 20 contacts: 18 created, 2 found",
        "✓ SENT is true",
        "✓ No early tags",
        "✓ Within rate limits: 1 access token,",
        "✓ A bad lead affects only itself",
        "✓ No personal data stored",
    ];
    for line in lines {
        assert!(report.contains(line), "there is no {line:?} in\n{report}");
    }
    assert_eq!(report.matches('✗').count(), 1, "only the bad email is rejected");
    let widest = report.lines().max_by_key(|line| line.chars().count()).unwrap();
    assert!(widest.chars().count() <= 80, "wider than a terminal: {widest}");
    assert!(!report.contains('\u{1b}'), "no colours or bars in a pipe");
    let left: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 2, "the demo wrote into its folder: {left:?}");
}

#[test]
fn rejects_delay_above_a_minute() {
    let folder = tempfile::tempdir().unwrap();
    let output = demo(folder.path(), &["--tag-delay", "2m"]);
    assert_eq!(output.status.code(), Some(2));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(
        errors.contains("use 1s to 15s, so that the demo ends within a minute"),
        "{errors}"
    );
}
