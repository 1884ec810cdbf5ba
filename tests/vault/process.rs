//! Processes of their own, which are this test's binary again.

use std::{
    env,
    ffi::OsStr,
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStdout, Command, Stdio},
};

/// Set for them: what they work on.
const WORKS_ON: &str = "OLMCAST_TEST_WORKS_ON";

/// A test that another one runs.
pub(crate) struct Process {
    pub(crate) child: Child,
    output: BufReader<ChildStdout>,
}

impl Process {
    pub(crate) fn start(test: &str, on: impl AsRef<OsStr>) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"])
            .env(WORKS_ON, on)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    /// The next line that it [says](say); `None` if there is none any more.
    pub(crate) fn heard(&mut self) -> Option<String> {
        let mut line = String::new();
        while self.output.read_line(&mut line).unwrap() > 0 {
            if let Some((_, said)) = line.strip_suffix('\n').and_then(|line| line.split_once('@')) {
                return Some(said.to_owned());
            }
            line.clear();
        }
        None
    }

    /// Ends its [wait](wait_for_the_end).
    pub(crate) fn go_on(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Ends it as the kernel does, and returns all that it said.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::iter::from_fn(|| self.heard()).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What this process is to work on.
pub(crate) fn works_on() -> std::path::PathBuf {
    env::var_os(WORKS_ON).expect("run by another test").into()
}

/// Tells the test that runs this process.
pub(crate) fn say(text: &str) {
    use std::io::Write;
    let mut output = std::io::stdout().lock();
    output.write_all(format!("@{text}\n").as_bytes()).unwrap();
    output.flush().unwrap();
}

/// Waits until the other side ends this process, or is gone itself.
pub(crate) fn wait_for_the_end() {
    let _ = std::io::stdin().lock().read(&mut [0]);
}
