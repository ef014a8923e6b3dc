//! The command line: what it prints, where, and with which exit code.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::process::{Stage, binary, run};
use crate::world::ADMIN_TOKEN;

mod auth;
mod demo;
pub mod doctor;
mod send;
mod setup;
mod status;

fn serve_in(folder: &std::path::Path) -> Command {
    let mut command = binary();
    command.arg("serve").env_clear().current_dir(folder);
    command
}

/// The names of all commands, as the program itself lists them.
fn commands() -> Vec<String> {
    let mut help = binary();
    help.arg("--help").env_clear();
    let (_, help, _) = run(help);
    let list = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let list = list.take_while(|line| !line.is_empty());
    let names = list.filter_map(|line| line.split_whitespace().next());
    let names: Vec<String> = names.filter(|name| *name != "help").map(str::to_owned).collect();
    assert!(names.len() >= 6, "{names:?}");
    names
}

/// Runs a command while the service in this process keeps running.
pub async fn run_beside(command: Command) -> (i32, String, String) {
    tokio::task::spawn_blocking(|| run(command)).await.unwrap()
}

/// The program in a folder of its own, with the two settings that it needs.
pub struct Caller {
    pub folder: tempfile::TempDir,
    url: String,
}

impl Caller {
    pub fn of(url: &str) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            url: url.to_owned(),
        }
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = binary();
        command
            .args(args)
            .env_clear()
            .env("BIGIN_SYNC_URL", &self.url)
            .env("ADMIN_TOKEN", ADMIN_TOKEN)
            .current_dir(self.folder.path());
        command
    }

    /// Exit code, standard output, and standard error without the address, which is another each time.
    pub async fn run(&self, args: &[&str]) -> (i32, String, String) {
        self.finish(self.command(args)).await
    }

    pub async fn finish(&self, command: Command) -> (i32, String, String) {
        let (code, out, err) = run_beside(command).await;
        for text in [&out, &err] {
            assert!(!text.contains(ADMIN_TOKEN), "the token is shown: {text}");
        }
        (code, self.hide(&out), self.hide(&err))
    }

    fn hide(&self, text: &str) -> String {
        text.replace(&self.url, "http://SERVICE")
    }

    /// Runs in the background.
    fn start(&self, args: &[&str]) -> Running {
        let mut command = self.command(args);
        let said = self.folder.path().join("stderr");
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&said).unwrap())
            .spawn()
            .unwrap();
        Running { child, said }
    }
}

struct Running {
    child: Child,
    /// The file that has its standard error.
    said: PathBuf,
}

impl Running {
    fn is_over(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Its standard error so far.
    fn says(&self) -> String {
        std::fs::read_to_string(&self.said).unwrap()
    }

    fn result(&mut self) -> (i32, String, String) {
        let mut out = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        let code = self.child.wait().unwrap().code().unwrap();
        (code, out, self.says())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server with one answer to every request.
pub fn canned(answer: &str) -> String {
    let answer = answer.to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                head.push(byte[0]);
            }
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    url
}

#[test]
fn missing_settings_are_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let (code, out, err) = run(serve_in(folder.path()));
    assert_eq!((code, out.as_str()), (2, ""));
    insta::assert_snapshot!(err, @r"
    bigin-sync: 6 problems in the settings:
      - SANITY_PROJECT_ID is missing
      - SANITY_API_WRITE_TOKEN is missing
      - SANITY_WEBHOOK_SECRET is missing
      - BIGIN_CLIENT_ID is missing
      - BIGIN_CLIENT_SECRET is missing
      - BIGIN_REFRESH_TOKEN is missing
    ");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was made");
}

#[test]
fn all_faults_come_in_one_message() {
    let folder = tempfile::tempdir().unwrap();
    let text = "tag_dealy = \"15s\"\n[mapping]\nEmail = \"{{ emailAddress\"\nPhone = \"{{ phoneNumber|e146 }}\"\n";
    std::fs::write(folder.path().join("bigin-sync.toml"), text).unwrap();
    let (code, _, err) = run(serve_in(folder.path()));
    assert_eq!(code, 2);
    for words in [
        "9 problems in the settings",
        "line 1: unknown setting \"tag_dealy\". Did you mean tag_delay?",
        "the mapping of Email: ",
        "the mapping of Phone: ",
    ] {
        assert!(err.contains(words), "{words:?} is not in {err}");
    }
}

#[test]
fn help_on_stdout_and_usage_errors() {
    let mut help = binary();
    help.arg("--help").env_clear();
    let (code, out, err) = run(help);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("serve") && out.contains("demo"), "{out}");
    for args in [vec![], vec!["sevre"], vec!["serve", "--prot"]] {
        let mut command = binary();
        command.args(args).env_clear();
        let (code, out, _) = run(command);
        assert_eq!((code, out.as_str()), (2, ""));
    }
}

#[actix_web::test]
async fn port_in_use_is_named() {
    let stage = Stage::new().await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = serve_in(stage.folder.path());
    command.envs(&stage.env).env("LISTEN_ADDR", &address);
    let (code, _, err) = run(command);
    assert_eq!(code, 1);
    assert!(err.contains(&format!("cannot listen on {address}")), "{err}");
}

#[test]
fn completions_and_manual_name_every_command() {
    let written = |args: &[&str]| {
        let mut command = binary();
        command.args(args).env_clear();
        let (code, out, err) = run(command);
        assert_eq!((code, err.as_str()), (0, ""), "{args:?}");
        out
    };
    let completions = ["bash", "zsh", "fish", "elvish", "powershell"].map(|shell| written(&["completions", shell]));
    let manual = written(&["man"]);
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    assert_eq!(written(&["man", pages.to_str().unwrap()]), "");
    for name in commands() {
        assert!(completions.iter().all(|text| text.contains(&name)), "{name}");
        // A hyphen is written so in a manual.
        assert!(manual.contains(&format!("bigin\\-sync\\-{name}(1)")), "{name}");
        let page = std::fs::read_to_string(pages.join(format!("bigin-sync-{name}.1"))).unwrap();
        assert!(page.contains("Examples:"), "{page}");
    }
}
