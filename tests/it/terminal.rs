//! A terminal for the program: its output, and typed input.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::process::eventually;

/// The program at a terminal.
pub struct Terminal {
    child: Child,
    screen: File,
    shown: Arc<Mutex<Vec<u8>>>,
    /// The length of the text that was read already.
    read: usize,
}

impl Terminal {
    pub fn run(mut command: Command) -> Self {
        let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&screen).unwrap();
        unlockpt(&screen).unwrap();
        let size = Winsize {
            ws_row: 40,
            ws_col: 120,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&screen, size).unwrap();
        let name = ptsname(&screen, Vec::new()).unwrap().into_string().unwrap();
        let line = || {
            let line = File::options().read(true).write(true).open(&name).unwrap();
            Stdio::from(line)
        };
        let child = command
            .env("TERM", "xterm-256color")
            .stdin(line())
            .stdout(line())
            .stderr(line())
            .spawn()
            .unwrap();
        let screen = File::from(screen);
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (mut reading, into) = (screen.try_clone().unwrap(), Arc::clone(&shown));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // It ends with an error when the program closes the terminal.
            while let Ok(read @ 1..) = reading.read(&mut buffer) {
                into.lock().unwrap().extend_from_slice(&buffer[..read]);
            }
        });
        Self {
            child,
            screen,
            shown,
            read: 0,
        }
    }

    /// The whole output, with control sequences.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    pub async fn until_it_shows(&self, words: &str) {
        eventually(&format!("the terminal shows {words:?}"), || async {
            self.text().contains(words).then_some(())
        })
        .await;
    }

    /// The same for output that was not read before.
    pub async fn until_it_shows_next(&mut self, words: &str) {
        let read = self.read;
        let what = format!("the terminal shows {words:?}");
        let shown = eventually(&what, || async {
            let shown = self.shown.lock().unwrap();
            let text = String::from_utf8_lossy(&shown[read..]);
            text.contains(words).then_some(shown.len())
        });
        self.read = shown.await;
    }

    /// Answers a prompt when the program reads keys: earlier input to a hidden prompt is discarded.
    pub async fn answer(&mut self, text: &str) {
        self.until_keys_are_read().await;
        self.type_in(text);
    }

    pub async fn until_keys_are_read(&self) {
        eventually("the program reads keys", || async {
            (!self.shows_what_is_typed()).then_some(())
        })
        .await;
    }

    /// Whether it echoes input, as a shell needs it.
    pub fn shows_what_is_typed(&self) -> bool {
        let modes = tcgetattr(&self.screen).unwrap().local_modes;
        modes.contains(LocalModes::ECHO)
    }

    pub fn type_in(&mut self, text: &str) {
        self.screen.write_all(text.as_bytes()).unwrap();
    }

    /// Sends the signal of Ctrl-C.
    pub fn interrupt(&self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
    }

    /// Waits for the exit code.
    pub async fn ended(&mut self) -> i32 {
        let child = &mut self.child;
        eventually("the program ends", || {
            let status = child.try_wait().unwrap();
            async move { status }
        })
        .await
        .code()
        .unwrap()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It has ended already if the test passed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
