//! `bigin-sync completions` and `bigin-sync man`, generated from the command line's definition.

use std::path::PathBuf;

use anyhow::Context as _;
use clap_complete::Shell;

use super::{definition, print};

const COMPLETIONS: &str = "\
Examples:
  bigin-sync completions bash > /etc/bash_completion.d/bigin-sync
  bigin-sync completions zsh > ~/.zfunc/_bigin-sync      with `fpath+=~/.zfunc` before compinit
  bigin-sync completions fish > ~/.config/fish/completions/bigin-sync.fish";

const MAN: &str = "\
Examples:
  bigin-sync man | man -l -                   show it
  bigin-sync man /usr/local/share/man/man1    install it, and a page for each command";

#[derive(clap::Args)]
#[command(after_long_help = COMPLETIONS)]
pub(super) struct Completions {
    /// The shell to complete commands in
    shell: Shell,
}

#[derive(clap::Args)]
#[command(after_long_help = MAN)]
pub(super) struct Man {
    /// A folder for this page and one for each command [default: this page to standard output]
    folder: Option<PathBuf>,
}

pub(super) fn completions(options: &Completions) -> anyhow::Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(options.shell, &mut definition(), "bigin-sync", &mut text);
    print(&String::from_utf8_lossy(&text)).context("cannot write the completions")
}

pub(super) fn man(options: &Man) -> anyhow::Result<()> {
    let command = definition();
    let Some(folder) = &options.folder else {
        let mut text = Vec::new();
        clap_mangen::Man::new(command).render(&mut text)?;
        return print(&String::from_utf8_lossy(&text)).context("cannot write the manual");
    };
    std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(command, folder))
        .with_context(|| format!("cannot write the manual to {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_have_examples_and_flags_have_help() {
        let mut command = definition();
        command.build();
        let commands = command.get_subcommands().filter(|command| command.get_name() != "help");
        for command in commands.chain([&command]) {
            let name = command.get_name();
            assert!(command.get_about().is_some(), "{name}");
            let more = command
                .get_after_long_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(more.starts_with("Examples:"), "{name}: {more}");
            for argument in command.get_arguments() {
                let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.len() > 10, "{name} {argument}: {help}");
            }
        }
    }
}
