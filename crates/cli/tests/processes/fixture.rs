//! Processes of the `olmcast` command, with what they say.

use std::{
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

/// No bound of olmcast's: only an end to waiting for what never comes. A busy machine is slow.
const PATIENCE: Duration = Duration::from_secs(40);

/// For so long a question is on the screen before an answer is taken, and some more.
pub(crate) const TO_READ: Duration = Duration::from_millis(1100);

/// A file of `crates/cli/media`.
pub(crate) fn media(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("media").join(name)
}

/// A line that a process wrote, and when it was read here.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) text: String,
    pub(crate) at: Instant,
}

/// What a process wrote to one of its outputs.
#[derive(Default)]
struct Log {
    lines: Mutex<Vec<Line>>,
    more: Condvar,
}

impl Log {
    fn follow(output: impl Read + Send + 'static) -> Arc<Self> {
        let log = Arc::new(Self::default());
        let lines = BufReader::new(output).lines();
        thread::spawn({
            let log = Arc::clone(&log);
            move || {
                for text in lines.map_while(Result::ok) {
                    log.lines.lock().unwrap().push(Line { text, at: Instant::now() });
                    log.more.notify_all();
                }
            }
        });
        log
    }

    fn len(&self) -> usize {
        self.lines.lock().unwrap().len()
    }

    fn find(&self, from: usize, text: &str) -> Option<Line> {
        let lines = self.lines.lock().unwrap();
        lines[from..].iter().find(|line| line.text.contains(text)).cloned()
    }

    fn wait(&self, from: usize, text: &str) -> Option<Line> {
        let end = Instant::now() + PATIENCE;
        let mut lines = self.lines.lock().unwrap();
        loop {
            if let Some(line) = lines[from..].iter().find(|line| line.text.contains(text)) {
                return Some(line.clone());
            }
            let left = end.checked_duration_since(Instant::now())?;
            lines = self.more.wait_timeout(lines, left).unwrap().0;
        }
    }

    fn text(&self) -> String {
        let lines = self.lines.lock().unwrap();
        lines.iter().map(|line| format!("  {}\n", line.text)).collect()
    }
}

/// The command, without the settings of whoever runs the tests.
pub(crate) fn olmcast() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_olmcast"));
    command.env_remove("RUST_LOG");
    for setting in ["ROOM", "RELAY", "CA", "CONFIG", "VAULT", "KEY_FILE", "PASSPHRASE"] {
        command.env_remove(format!("OLMCAST_{setting}"));
    }
    command
}

/// What opens the vaults of the tests.
pub(crate) const PASSPHRASE: &str = "seven words that nobody said before me";

/// A device in its vault.
pub(crate) struct Device {
    pub(crate) name: String,
    pub(crate) vault: PathBuf,
    pub(crate) id: String,
    pub(crate) code: String,
}

impl Device {
    pub(crate) fn make(folder: &Path, name: &str) -> Self {
        let (name, vault) = (name.to_owned(), folder.join(format!("{name}.vault")));
        let mut device = Self { name, vault, id: String::new(), code: String::new() };
        let mut id = device.start(&["id", "--name", &device.name]);
        id.ends_well();
        let field = |name: &str| {
            let line = id.prints(name).text;
            line.split_whitespace().nth(1).unwrap().to_owned()
        };
        (device.id, device.code) = (field("device "), field("code "));
        device
    }

    /// The command as this device.
    pub(crate) fn olmcast(&self) -> Command {
        let mut command = olmcast();
        command.env("OLMCAST_VAULT", &self.vault).env("OLMCAST_PASSPHRASE", PASSPHRASE);
        command
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Process {
        Process::run(&self.name, self.olmcast().args(arguments))
    }

    /// Runs a command to its good end. What it printed.
    pub(crate) fn runs(&self, arguments: &[&str]) -> String {
        let mut process = self.start(arguments);
        process.ends_well();
        process.stdout()
    }

    /// The first characters of its id.
    pub(crate) fn short(&self) -> &str {
        &self.id[..8]
    }
}

/// A running `olmcast`. Killed when dropped.
pub(crate) struct Process {
    name: String,
    child: Child,
    stdin: ChildStdin,
    stdout: Arc<Log>,
    stderr: Arc<Log>,
    /// What it said before this is not looked at any more.
    mark: usize,
}

impl Process {
    pub(crate) fn start<S: AsRef<std::ffi::OsStr>>(name: &str, arguments: &[S]) -> Self {
        Self::run(name, olmcast().args(arguments))
    }

    pub(crate) fn run(name: &str, command: &mut Command) -> Self {
        let mut child = command
            // A user may have this set; messages must stay messages.
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            name: name.to_owned(),
            stdin: child.stdin.take().unwrap(),
            stdout: Log::follow(child.stdout.take().unwrap()),
            stderr: Log::follow(child.stderr.take().unwrap()),
            child,
            mark: 0,
        }
    }

    /// From here on only what it says next counts.
    pub(crate) fn listen_anew(&mut self) {
        self.mark = self.stderr.len();
    }

    /// Waits until it has said this.
    pub(crate) fn says(&self, text: &str) -> Line {
        self.stderr
            .wait(self.mark, text)
            .unwrap_or_else(|| panic!("{} never said {text:?}:\n{self}", self.name))
    }

    pub(crate) fn has_said(&self, text: &str) -> bool {
        self.stderr.find(self.mark, text).is_some()
    }

    /// What it said behind this word.
    pub(crate) fn says_behind(&self, word: &str) -> String {
        let line = self.says(word).text;
        let behind = line.split_once(word).unwrap().1;
        behind.split_whitespace().next().unwrap().to_owned()
    }

    /// Waits for a line of results.
    pub(crate) fn prints(&self, text: &str) -> Line {
        self.stdout
            .wait(0, text)
            .unwrap_or_else(|| panic!("{} never printed {text:?}:\n{self}", self.name))
    }

    pub(crate) fn stdout(&self) -> String {
        let lines = self.stdout.lines.lock().unwrap();
        lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn hears(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").unwrap();
    }

    /// The same for an answer to a question that has been there for long enough to be read.
    pub(crate) fn answers(&mut self, line: &str) {
        thread::sleep(TO_READ);
        self.hears(line);
    }

    /// Kills it as nothing else does: without a word to anybody.
    pub(crate) fn kill(&mut self) -> Instant {
        let killed = Instant::now();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        killed
    }

    /// Asks it to end, as service managers do.
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    pub(crate) fn signal(&self, name: &str) {
        let (signal, pid) = (format!("-{name}"), self.child.id().to_string());
        assert!(Command::new("kill").args([signal, pid]).status().unwrap().success());
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until it has ended by itself and all that it wrote is here.
    pub(crate) fn ends(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().unwrap() {
                // The pipes are closed now; their readers are at most a moment behind.
                let readers = || [&self.stdout, &self.stderr].map(Arc::strong_count);
                while readers() != [1, 1] {
                    thread::sleep(Duration::from_millis(5));
                }
                return status;
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("{} did not end:\n{self}", self.name);
    }

    pub(crate) fn ends_well(&mut self) {
        let status = self.ends();
        assert!(status.success(), "{} ended with {status}:\n{self}", self.name);
    }

    /// It ends with a failure, and says this.
    pub(crate) fn fails_saying(&mut self, text: &str) {
        let status = self.ends();
        assert_eq!(status.code(), Some(1), "{} ended with {status}:\n{self}", self.name);
        assert!(self.has_said(text), "{} did not say {text:?}:\n{self}", self.name);
        assert!(!self.has_said("Stack backtrace"), "a backtrace is no message:\n{self}");
    }
}

impl std::fmt::Display for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "stderr:\n{}stdout:\n{}", self.stderr.text(), self.stdout.text())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A key service, a relay and a room, each at ports of its own.
pub(crate) struct Place {
    pub(crate) service: Process,
    pub(crate) relay: Process,
    pub(crate) link: String,
    service_at: String,
    relay_at: String,
    folder: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let (service, service_at) = serve("127.0.0.1:0");
        let (relay, relay_at) = relay("127.0.0.1:0");
        let link = new_room(&service_at);
        let folder = tempfile::tempdir().unwrap();
        Self { service, relay, link, service_at, relay_at, folder }
    }

    pub(crate) fn relay_at(&self) -> &str {
        &self.relay_at
    }

    pub(crate) fn service_at(&self) -> &str {
        &self.service_at
    }

    /// Starts the key service again, at the same port.
    pub(crate) fn restart_service(&mut self) {
        self.service = serve(&self.service_at).0;
    }

    /// Starts the relay again, at the same port.
    pub(crate) fn restart_relay(&mut self) {
        self.relay = relay(&self.relay_at).0;
    }

    /// A path in the test's own folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A device whose vault is in the test's folder.
    pub(crate) fn device(&self, name: &str) -> Device {
        Device::make(self.folder.path(), name)
    }

    /// Starts to publish, without waiting for anything.
    pub(crate) fn start_publisher(&self, more: &[&str]) -> Process {
        Process::run("the publisher", olmcast().args(self.publishing(more)))
    }

    /// The same as a device.
    pub(crate) fn start_publisher_as(&self, device: &Device, more: &[&str]) -> Process {
        Process::run(&device.name, device.olmcast().args(self.publishing(more)))
    }

    /// The arguments of a publisher.
    pub(crate) fn publishing(&self, more: &[&str]) -> Vec<String> {
        let (video, audio) = (media("video.ivf"), media("audio.ogg"));
        let relay = format!("http://{}", self.relay_at);
        let mut arguments = vec!["publish", "--room", &self.link, "--relay", &relay];
        arguments.extend(["--video", video.to_str().unwrap()]);
        arguments.extend(["--audio", audio.to_str().unwrap()]);
        arguments.extend(more);
        arguments.into_iter().map(str::to_owned).collect()
    }

    /// A publisher whose media flows.
    pub(crate) fn publisher(&self, more: &[&str]) -> Process {
        let publisher = self.start_publisher(more);
        publisher.says("media flows to the relay");
        publisher
    }

    pub(crate) fn publisher_as(&self, device: &Device, more: &[&str]) -> Process {
        let publisher = self.start_publisher_as(device, more);
        publisher.says("media flows to the relay");
        publisher
    }

    /// Starts to subscribe, without waiting for anything. It records to a folder of its name.
    pub(crate) fn start_subscriber(&self, name: &str, more: &[&str]) -> Process {
        Process::run(name, olmcast().args(self.subscribing(name, more)))
    }

    /// The same as a device.
    pub(crate) fn start_subscriber_as(&self, device: &Device, more: &[&str]) -> Process {
        Process::run(&device.name, device.olmcast().args(self.subscribing(&device.name, more)))
    }

    fn subscribing(&self, name: &str, more: &[&str]) -> Vec<String> {
        let out = self.path(name);
        let mut arguments = vec!["subscribe", "--room", &self.link, "--name", name];
        arguments.extend(["--out", out.to_str().unwrap()]);
        arguments.extend(more);
        arguments.into_iter().map(str::to_owned).collect()
    }

    /// A subscriber that opens frames.
    pub(crate) fn subscriber(&self, name: &str) -> Process {
        let subscriber = self.start_subscriber(name, &[]);
        subscriber.says("media flows");
        subscriber
    }

    /// Waits until more of this recording is on the disk than now.
    pub(crate) fn grows(&self, subscriber: &str, file: &str) {
        let path = self.path(subscriber).join(file);
        let size = || path.metadata().map_or(0, |metadata| metadata.len());
        let (before, end) = (size(), Instant::now() + PATIENCE);
        while size() <= before {
            assert!(Instant::now() < end, "{} does not grow beyond {before}", path.display());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn serve(listen: &str) -> (Process, String) {
    let service =
        Process::start("the key service", &["serve", "--store", "memory", "--listen", listen]);
    let line = service.prints("key service on ").text;
    let rest = line.split_once("key service on ").unwrap().1;
    let at = rest.split_once(';').unwrap().0.to_owned();
    (service, at)
}

fn relay(listen: &str) -> (Process, String) {
    let relay = Process::start("the relay", &["relay", "--listen", listen]);
    let line = relay.prints("relay on ").text;
    let rest = line.split_once("http://").unwrap().1;
    let at = rest.split_once(';').unwrap().0.to_owned();
    (relay, at)
}

/// The link of a new room.
pub(crate) fn new_room(service_at: &str) -> String {
    let mut room = Process::start("room new", &["room", "new", "--server", service_at]);
    room.ends_well();
    room.stdout()
}

/// A port where nobody listens.
pub(crate) fn nobody_listens() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// The number that stands before this in a line.
pub(crate) fn number_before(line: &Line, unit: &str) -> u64 {
    let before = line.text.split_once(unit).unwrap().0;
    before.split_whitespace().last().unwrap().parse().unwrap()
}
