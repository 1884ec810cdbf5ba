use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context, ensure};

/// A process of ours, which does not outlive its owner.
pub(crate) struct Process {
    child: Child,
    /// When it closes, a process that was started with [`Process::testbed`] ends by itself: so it
    /// does even if this process is killed.
    stdin: Option<ChildStdin>,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let stdin = child.stdin.take();
        Ok(Self { child, stdin })
    }

    /// This program once more, with other arguments; the command can be changed before it starts.
    pub(crate) fn testbed() -> anyhow::Result<Command> {
        Ok(Command::new(std::env::current_exe().context("this program does not find itself")?))
    }

    /// Starts it and reads what it says first.
    pub(crate) fn start_and_read_line(
        command: &mut Command,
    ) -> anyhow::Result<(Self, String, BufReader<ChildStdout>)> {
        let mut process = Self::start(command.stdout(Stdio::piped()))?;
        let stdout = process.child.stdout.take().context("its output was not captured")?;
        let (mut reader, mut line) = (BufReader::new(stdout), String::new());
        reader.read_line(&mut line)?;
        ensure!(!line.is_empty(), "a child process ended at once; see what it said above");
        Ok((process, line.trim().to_owned(), reader))
    }

    /// `kill -9`, and waits until nothing is left of it.
    pub(crate) fn kill(&mut self) {
        // It fails only for a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Lets a process end that was started with [`Process::testbed`], and returns what it says.
    pub(crate) fn finish(mut self, mut said: BufReader<ChildStdout>) -> anyhow::Result<String> {
        self.stdin = None;
        let mut text = String::new();
        said.read_to_string(&mut text)?;
        Ok(text)
    }

    /// Fails if it has ended by itself.
    pub(crate) fn check_alive(&mut self) -> anyhow::Result<()> {
        let ended = self.child.try_wait()?;
        ensure!(ended.is_none(), "a child process ended by itself: {ended:?}");
        Ok(())
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> anyhow::Result<u64> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).context("the process is gone, or no /proc")?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        Ok(kib.context("no VmRSS of the process")? * 1024)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
