//! Settings at start: what is invalid is named, and no secret is quoted.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::process::{Stage, binary, run};
use crate::world::{id, lead};

/// What `serve` needs, with addresses that nobody answers at.
fn serve(folder: &std::path::Path, settings: &[(&str, &str)]) -> Command {
    let needed = [
        ("SANITY_PROJECT_ID", "abc123"),
        ("SANITY_API_WRITE_TOKEN", "sk-secret"),
        ("SANITY_WEBHOOK_SECRET", "webhook-secret"),
        ("SANITY_API_URL", "http://127.0.0.1:9"),
        ("BIGIN_CLIENT_ID", "1000.TEST"),
        ("BIGIN_CLIENT_SECRET", "client-secret"),
        ("BIGIN_REFRESH_TOKEN", "refresh-secret"),
        ("BIGIN_ACCOUNTS_URL", "http://127.0.0.1:9"),
        ("LISTEN_ADDR", "127.0.0.1:0"),
    ];
    let mut command = binary();
    command
        .arg("serve")
        .env_clear()
        .current_dir(folder)
        .envs(needed)
        .envs(settings.iter().copied());
    command
}

/// Like `run`, for a program that goes on where the test has found a defect.
fn run_or_kill(mut command: Command) -> (i32, String, String) {
    let program = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = program.spawn().unwrap();
    for _ in 0..100 {
        if child.try_wait().unwrap().is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    // It has ended where all is well.
    let _ = child.kill();
    let ended = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        ended.status.code().unwrap_or(-1),
        text(ended.stdout),
        text(ended.stderr),
    )
}

#[test]
fn invalid_settings_stop_start() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("empty"), "\n").unwrap();
    let cases: [(&[(&str, &str)], &str); 16] = [
        (&[("RUST_LOG", "bigin_sync=loud"), ("TAG_DELAY", "soon")], "2 problems"),
        (&[("RUST_LOG", "bigin_sync=loud")], "RUST_LOG"),
        (&[("PORT", "abc"), ("LISTEN_ADDR", "")], "PORT is \"abc\""),
        (&[("DATABASE_URL", "sqlite::memory:")], "DATABASE_URL"),
        (&[("DATABASE_URL", "sqlite://x.db?mode=rwc")], "DATABASE_URL"),
        (&[("ALERT_URL", "hush-hush")], "ALERT_URL must be an http"),
        (&[("HEARTBEAT_URL", "ftp://hush-hush")], "HEARTBEAT_URL must be an http"),
        (
            &[("SANITY_API_URL", "ftp://me:hush-hush@example.org")],
            "SANITY_API_URL",
        ),
        (
            &[("SANITY_API_URL", "https://me:hush-hush@example.org")],
            "SANITY_API_URL",
        ),
        (
            &[("BIGIN_ACCOUNTS_URL", "https://example.org/?hush-hush")],
            "BIGIN_ACCOUNTS_URL",
        ),
        (
            &[("SANITY_API_WRITE_TOKEN", "hush\nhush-hush")],
            "SANITY_API_WRITE_TOKEN contains",
        ),
        (
            &[("BIGIN_REFRESH_TOKEN", "1000.hush-hush\n")],
            "BIGIN_REFRESH_TOKEN contains",
        ),
        (
            &[("SANITY_WEBHOOK_SECRET", "hush-hush\n")],
            "SANITY_WEBHOOK_SECRET contains a line break",
        ),
        (
            &[("ADMIN_TOKEN", "hush-hush but with spaces in it, and long")],
            "ADMIN_TOKEN contains",
        ),
        (
            &[("ADMIN_TOKEN_FILE", "empty")],
            "ADMIN_TOKEN_FILE is \"empty\": the file is empty",
        ),
        (
            &[("SANITY_WEBHOOK_SECRET", ""), ("SANITY_WEBHOOK_SECRET_FILE", "empty")],
            "SANITY_WEBHOOK_SECRET_FILE",
        ),
    ];
    for (settings, said) in cases {
        let (code, out, err) = run_or_kill(serve(folder.path(), settings));
        assert_eq!((code, out.as_str()), (2, ""), "{settings:?}: {err}");
        assert!(err.contains(said), "{settings:?}: {err}");
        assert!(!err.contains("hush-hush"), "{settings:?}: {err}");
    }
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 1, "nothing was made");
}

#[test]
fn names_invalid_lines_of_env_file() {
    let folder = tempfile::tempdir().unwrap();
    let text = "\u{feff}TAG_DELAY=soon\nTIME_ZONE=two words\n# a$b\nSANITY_WEBHOOK_SECRET=pa$word\nOTHER=$HOME/x\nADMIN_TOKEN='a$b'\nBIGIN_TAGS=a;b c\n";
    std::fs::write(folder.path().join(".env"), text).unwrap();
    let mut command = serve(folder.path(), &[]);
    command.env_remove("SANITY_WEBHOOK_SECRET");
    let (code, _, err) = run(command);
    assert_eq!(code, 2);
    for words in [
        "4 problems in the settings",
        "TAG_DELAY is \"soon\"",
        "line 2: not a NAME=value line",
        "SANITY_WEBHOOK_SECRET contains a '$', which starts a variable: put the value in single quotes (.env, line 4)",
        "line 7: not a NAME=value line",
    ] {
        assert!(err.contains(words), "{words:?} is not in {err}");
    }
    assert!(!err.contains("pa$word") && !err.contains("two words"), "{err}");
}

#[actix_web::test]
async fn local_calls_use_no_proxy() {
    let mut stage = Stage::new().await;
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"] {
        stage.env.insert(name.to_owned(), "http://127.0.0.1:9".to_owned());
    }
    let process = stage.serve().await;
    stage.request(lead("Ada")).await;
    stage.until_status(&id("Ada"), "SENT").await;
    process.stop().await;
    stage.finish().await;
}
