//! The edges that operators and strangers meet: odd settings, odd requests, logs that cannot be written.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use bigin_sync::clock::Clock;
use bigin_sync::signature::{self, sign};
use reqwest::Method;
use serde_json::{Value, json};

use crate::process::{Process, Stage, binary, eventually, run};
use crate::world::{ADMIN_TOKEN, World, answer, client, id, lead, secs, with};

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
fn settings_that_cannot_work_stop_the_start_and_are_not_quoted_where_they_are_secret() {
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
fn a_dotenv_file_says_which_of_its_lines_are_wrong_and_changes_no_secret() {
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
async fn a_log_that_cannot_be_written_does_not_bring_the_service_down() {
    let stage = Stage::new().await;
    let mut command = binary();
    command
        .arg("serve")
        .env_clear()
        .envs(&stage.env)
        .current_dir(stage.folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stderr.take().unwrap())
        .read_line(&mut first)
        .unwrap();
    // Nobody reads the log from here on.
    let first: Value = serde_json::from_str(&first).unwrap();
    let process = Process {
        child,
        url: format!("http://{}", first["address"].as_str().unwrap()),
    };
    stage.sanity.set_webhook(&format!("{}/webhooks/sanity", process.url));
    stage.request(lead("Ada")).await;
    stage.until_status(&id("Ada"), "SENT").await;
    process.stop().await;
    stage.finish().await;
}

#[actix_web::test]
async fn no_proxy_of_the_environment_stands_between_the_service_and_this_machine() {
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

#[actix_web::test]
async fn even_the_finest_log_holds_nothing_personal_and_no_secret() {
    let mut stage = Stage::new().await;
    stage.env.insert("RUST_LOG".to_owned(), "trace".to_owned());
    let process = stage.serve().await;
    stage.request(lead("Ada")).await;
    stage
        .request(with(lead("Grace"), json!({ "emailAddress": "grace-at-example.org" })))
        .await;
    for body in [
        "\"ada@example.org\"",
        "{\"leadId\":\"ada@example.org\"}",
        "{\"leadId\":[\"ada@example.org\"]}",
    ] {
        let request = client()
            .post(format!("{}/api/syncs", process.url))
            .bearer_auth(ADMIN_TOKEN);
        let request = request.header("content-type", "application/json").body(body);
        assert_eq!(answer(request).await.0, 400);
    }
    stage.until_status(&id("Ada"), "SENT").await;
    stage.until_status(&id("Grace"), "FAILED").await;
    process.stop().await;
    let log = stage.log();
    let client_secret = stage.bigin.client_secret().clone();
    for text in [
        ADMIN_TOKEN,
        stage.sanity.token(),
        stage.sanity.webhook_secret(),
        &client_secret,
        "v1=",
        "Zoho-oauthtoken",
        "access_token",
        "grace-at",
        "PO16",
        "Hello",
    ] {
        assert!(!log.contains(text), "{text:?} is in the log");
    }
    assert!(log.contains("TRACE"), "the log is as fine as it was asked to be");
    assert!(log.contains("Bigin rejected Email"), "and says why a lead was rejected");
    stage.finish().await;
}

#[actix_web::test]
async fn strangers_who_speak_no_http_leave_no_errors_in_the_log() {
    let stage = Stage::new().await;
    let process = stage.serve().await;
    let address = process.url.strip_prefix("http://").unwrap();
    for head in [
        "\u{16}\u{3}\u{1} hello\r\n\r\n".to_owned(),
        format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(300_000)),
    ] {
        let mut stream = TcpStream::connect(address).unwrap();
        // It may hang up before all of it is sent.
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.read(&mut [0; 64]);
    }
    process.stop().await;
    let log = stage.log();
    assert!(!log.contains("\"ERROR\"") && !log.contains("\"WARN\""), "{log}");
    stage.finish().await;
}

#[actix_web::test]
async fn whoever_waits_for_a_lead_is_answered_when_the_service_stops() {
    let mut stage = Stage::new().await;
    stage.env.insert("TAG_DELAY".to_owned(), "60s".to_owned());
    let process = stage.serve().await;
    stage.sanity.model().seed(lead("Ada")).unwrap();
    let url = format!("{}/api/send-to-bigin", process.url);
    let request = client()
        .post(url)
        .bearer_auth(ADMIN_TOKEN)
        .json(&json!({ "leadId": id("Ada") }));
    let waiting = tokio::spawn(answer(request));
    eventually("the lead is upserted", || async {
        stage.log().contains("upserted").then_some(())
    })
    .await;
    process.terminate();
    let (status, body) = waiting.await.unwrap();
    assert_eq!(
        (status, &body["success"], &body["error"]),
        (202, &json!(false), &json!("still being sent"))
    );
    assert!(process.ended().await.success());
}

#[actix_web::test]
async fn monitors_may_ask_with_head_and_every_other_method_is_a_problem_that_names_the_good_ones() {
    let world = World::new().await;
    for path in ["/livez", "/readyz", "/api/syncs"] {
        let request = client().head(format!("{}{path}", world.url)).bearer_auth(ADMIN_TOKEN);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(response.bytes().await.unwrap().len(), 0, "{path}");
    }
    for (path, allowed) in [
        ("/webhooks/sanity", "POST"),
        ("/livez", "GET, HEAD"),
        ("/readyz", "GET, HEAD"),
        ("/api/send-to-bigin", "POST"),
        ("/api/syncs", "GET, HEAD, POST"),
        ("/api/syncs/1", "GET, HEAD"),
    ] {
        let request = client()
            .request(Method::DELETE, format!("{}{path}", world.url))
            .bearer_auth(ADMIN_TOKEN);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 405, "{path}");
        assert_eq!(response.headers()["allow"], allowed, "{path}");
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{path}");
        let problem: Value = response.json().await.unwrap();
        assert!(
            problem["error"].as_str().is_some_and(|error| error.contains(allowed)),
            "{path}: {problem}"
        );
    }
    world.finish().await;
}

#[actix_web::test]
async fn a_body_that_does_not_arrive_whole_is_told_when_to_come_again() {
    let world = World::new().await;
    let mut stream = TcpStream::connect(world.url.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(secs(5))).unwrap();
    let head = "POST /webhooks/sanity HTTP/1.1\r\nhost: x\r\nsanity-webhook-signature: t=1633519811129,v1=a\r\n\
                content-length: 9\r\n\r\n{";
    let read = tokio::task::spawn_blocking(move || {
        stream.write_all(head.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        // The server closes the connection after its answer.
        let _ = stream.read_to_string(&mut answer);
        answer
    });
    let answer = tokio::time::timeout(Duration::from_secs(10), read)
        .await
        .unwrap()
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.to_lowercase().contains("retry-after: "), "{answer}");
    world.finish().await;
}

#[actix_web::test]
async fn odd_payloads_are_taken_where_they_name_a_lead_and_refused_where_they_do_not() {
    let world = World::new().await;
    let cases: [(&str, u16); 12] = [
        (
            r#"{"_id":"lead-ada","_rev":null,"_type":null,"_updatedAt":null,"crmStatus":null}"#,
            202,
        ),
        (r#"{"_id":"lead-ada","_updatedAt":"2026-11-22T09:00:00.123456Z"}"#, 202),
        (r#"{"_id":"lead-ada","_updatedAt":"2026-11-22T11:00:00+02:00"}"#, 202),
        (r#"{"_id":"\u006cead-ada","half":"\ud83d"}"#, 202),
        (" {\"_id\":\"lead-ada\"}\n", 202),
        (r#"["lead-ada",null,null,null,"REQUESTED"]"#, 400),
        (r#"{"_id":"lead-ada","_id":"lead-grace"}"#, 400),
        ("\u{feff}{\"_id\":\"lead-ada\"}", 400),
        (r#"{"_id":"léad"}"#, 400),
        (r#"{"_id":"lead-ada"}{}"#, 400),
        (r#"{"_id":null}"#, 400),
        (r#"{"_id":"lead-ada","_updatedAt":"22/11/2026"}"#, 202),
    ];
    for (body, expected) in cases {
        let at = u64::try_from(world.clock.now().as_millisecond()).unwrap();
        let signature = sign(body.as_bytes(), at, world.sanity.webhook_secret().as_bytes());
        let request = client().post(format!("{}/webhooks/sanity", world.url));
        let (status, said) = answer(request.header(signature::HEADER, signature).body(body)).await;
        assert_eq!(status, expected, "{body}: {said}");
    }
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn a_signed_webhook_that_is_refused_is_in_the_log_without_its_text() {
    let stage = Stage::new().await;
    let process = stage.serve().await;
    assert_eq!(process.webhook(&stage, "not-an-id@example.org", "r1").await, 400);
    process.stop().await;
    assert!(stage.log().contains("a signed webhook was refused"), "{}", stage.log());
    stage.finish().await;
}
