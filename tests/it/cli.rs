//! The command line: what it prints, where, and with which exit code.

use std::process::Command;

use crate::process::{Stage, binary, run};

fn serve_in(folder: &std::path::Path) -> Command {
    let mut command = binary();
    command.arg("serve").env_clear().current_dir(folder);
    command
}

#[test]
fn without_settings_it_says_which_are_missing_and_ends_as_wrong_usage() {
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
fn faults_of_the_file_and_of_the_mapping_come_in_one_message() {
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
fn help_goes_to_standard_output_and_wrong_usage_is_exit_code_2() {
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
async fn an_address_that_is_taken_is_named() {
    let stage = Stage::new().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = serve_in(stage.folder.path());
    command.envs(&stage.env).env("LISTEN_ADDR", &address);
    let (code, _, err) = run(command);
    assert_eq!(code, 1);
    assert!(err.contains(&format!("cannot listen on {address}")), "{err}");
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

#[test]
fn completions_of_every_shell_and_the_manual_name_every_command() {
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
