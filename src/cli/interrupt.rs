//! Signals, and Ctrl-C at a question: the terminal gets its modes and its cursor back.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Once;

use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};

/// 128 + SIGINT, as a shell reports it.
pub(super) const EXIT_CODE: u8 = 130;

/// Resolves at SIGTERM (from a host) or SIGINT (Ctrl-C).
pub(super) fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// From now on an interrupt restores the terminal's present modes and ends the program. The thread that waits for a key
/// does not see the signal, so the prompts cannot do this.
pub(super) fn restore_terminal_on_interrupt() {
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
        // The program ends in any case.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &modes);
        report();
        exit();
    });
}

/// Whether a prompt ended because it was interrupted.
pub(super) fn is_interrupt(error: &anyhow::Error) -> bool {
    error
        .downcast_ref()
        .is_some_and(|dialoguer::Error::IO(cause)| cause.kind() == io::ErrorKind::Interrupted)
}

/// Shows the cursor again and reports the end, once: both the prompt and the signal may end here.
pub(super) fn report() {
    static REPORTED: Once = Once::new();
    REPORTED.call_once(|| drop(write!(io::stderr(), "\x1b[?25h\nbigin-sync: cancelled\n")));
}

#[expect(clippy::exit, reason = "the thread that waits for a key cannot be cancelled")]
fn exit() {
    std::process::exit(EXIT_CODE.into());
}
