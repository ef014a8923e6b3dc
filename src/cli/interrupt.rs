//! Ctrl-C at a question: the terminal is left as it was found, with what is typed shown and the cursor visible.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Once;

use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

/// The exit code, as a shell has it for what an interrupt has ended.
pub(super) const INTERRUPTED: u8 = 130;

/// From now on an interrupt ends the program with the terminal as it is now. What waits for a key waits on, and hears of
/// nothing, so this is not left to those who ask.
pub(super) fn leaves_the_terminal_as_it_is() {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return;
    }
    let Ok(modes) = tcgetattr(&stdin) else {
        return;
    };
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_err() {
            return;
        }
        // There is nobody left to be told where this fails.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &modes);
        say();
        end();
    });
}

/// Whether an error is the end of a question that was interrupted.
pub(super) fn is_one(error: &anyhow::Error) -> bool {
    let is_one = |cause: &dialoguer::Error| {
        let dialoguer::Error::IO(cause) = cause;
        cause.kind() == io::ErrorKind::Interrupted
    };
    error.downcast_ref().is_some_and(is_one)
}

/// Shows the cursor again and says what happened, once: the question and the interrupt itself may both come to an end here.
pub(super) fn say() {
    static SAID: Once = Once::new();
    SAID.call_once(|| drop(write!(io::stderr(), "\x1b[?25h\nbigin-sync: broken off\n")));
}

#[expect(clippy::exit, reason = "the thread that waits for a key cannot be asked to end")]
fn end() {
    std::process::exit(INTERRUPTED.into());
}
