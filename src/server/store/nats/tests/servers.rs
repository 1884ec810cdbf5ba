use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Mutex, OnceLock},
    time::{Duration, Instant},
};

use crate::server::store::nats::NatsConfig;

/// Runs a server and ends it with this process, however that ends: then its input closes.
const SUPERVISED: &str = r#"
"$0" -c "$1/server.conf" </dev/null >"$1/log" 2>&1 &
echo $!
cat >/dev/null
kill -9 $! 2>/dev/null
wait
rm -rf "$1"
"#;

/// Where the server is, if it is anywhere: `scripts/test` installs it.
fn binary() -> Option<PathBuf> {
    let installed = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/nats/bin/nats-server");
    let on_path = || {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|dir| dir.join("nats-server")).find(|file| file.is_file())
    };
    if installed.is_file() { Some(installed) } else { on_path() }
}

/// Whether these tests can run. Where they must (`OLMCAST_TEST_NATS=1`) and cannot, they fail.
pub(in crate::server::store::nats) fn are_here() -> bool {
    if binary().is_some() {
        return true;
    }
    let must = std::env::var_os("OLMCAST_TEST_NATS").is_some_and(|value| value == "1");
    assert!(!must, "there is no nats-server in target/nats/bin nor on the PATH");
    eprintln!("no nats-server here: nothing was tried with it");
    false
}

/// Servers of one cluster, or a single one.
pub(in crate::server::store::nats) struct Servers {
    servers: Vec<Server>,
}

struct Server {
    port: u16,
    supervisor: Child,
    pid: u32,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Server {
    fn start(port: u16, rest: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("olmcast-nats-").tempdir().unwrap().keep();
        let store = folder.join("store");
        let config = format!(
            "listen: 127.0.0.1:{port}\nserver_name: at{port}\n\
             jetstream {{ store_dir: {store:?}, max_file_store: 1TB, {rest}\n"
        );
        fs::write(folder.join("server.conf"), config).unwrap();
        let mut supervisor = Command::new("sh")
            .args(["-c", SUPERVISED])
            .arg(binary().unwrap())
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pid = String::new();
        BufReader::new(supervisor.stdout.take().unwrap()).read_line(&mut pid).unwrap();
        Self { port, supervisor, pid: pid.trim().parse().unwrap() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.supervisor.stdin.take());
        let _ = self.supervisor.wait();
    }
}

impl Servers {
    pub(in crate::server::store::nats) fn single() -> Self {
        let server = Server::start(free_port(), "sync_interval: always }");
        let started = Self { servers: vec![server] };
        started.wait();
        started
    }

    /// A server that stores nothing.
    pub(in crate::server::store::nats) fn without_jetstream() -> Self {
        let server = Server::start(free_port(), "enabled: false }");
        let started = Self { servers: vec![server] };
        // What it lacks cannot be waited for.
        std::thread::sleep(Duration::from_millis(500));
        started
    }

    /// Three servers that keep three replicas.
    pub(in crate::server::store::nats) fn cluster() -> Self {
        let ports: [(u16, u16); 3] = std::array::from_fn(|_| (free_port(), free_port()));
        let routes = ports.map(|(_, route)| format!("nats://127.0.0.1:{route}")).join(", ");
        let start = |(port, route)| {
            let cluster =
                format!("}}\ncluster {{ name: c, listen: 127.0.0.1:{route}, routes: [{routes}] }}");
            Server::start(port, &cluster)
        };
        let started = Self { servers: ports.into_iter().map(start).collect() };
        started.wait();
        started
    }

    /// The one that all tests share which kill none.
    pub(in crate::server::store::nats) fn shared_single() -> NatsConfig {
        static SHARED: OnceLock<Servers> = OnceLock::new();
        SHARED.get_or_init(Self::single).config()
    }

    pub(in crate::server::store::nats) fn shared_cluster() -> NatsConfig {
        static SHARED: OnceLock<Servers> = OnceLock::new();
        SHARED.get_or_init(Self::cluster).config()
    }

    /// With a prefix that nobody else has.
    pub(in crate::server::store::nats) fn config(&self) -> NatsConfig {
        static NUMBER: Mutex<u32> = Mutex::new(0);
        let mut number = NUMBER.lock().unwrap();
        *number += 1;
        let mut config =
            NatsConfig::new(self.servers.iter().map(|s| format!("nats://127.0.0.1:{}", s.port)));
        config.replicas = self.servers.len();
        config.prefix = format!("test-{number}");
        config
    }

    /// Which of them leads a stream.
    pub(in crate::server::store::nats) fn led_by(&self, name: &str) -> usize {
        let port = name.trim_start_matches("at").parse::<u16>().unwrap();
        self.servers.iter().position(|server| server.port == port).unwrap()
    }

    /// Ends a server without a word.
    pub(in crate::server::store::nats) fn kill(&self, index: usize) {
        let pid = self.servers[index].pid.to_string();
        assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    }

    fn wait(&self) {
        let until = Instant::now() + Duration::from_secs(20);
        let urls = self.config().urls;
        // Tests have a runtime of their own, in which one cannot wait like this.
        let ready = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                for url in urls {
                    while !answers(&url).await {
                        assert!(Instant::now() < until, "{url} does not come up");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
            });
        });
        ready.join().unwrap();
    }
}

/// Whether JetStream is up there, which in a cluster needs a leader.
async fn answers(url: &str) -> bool {
    let Ok(client) = async_nats::connect(url).await else { return false };
    let mut context = async_nats::jetstream::new(client);
    context.set_timeout(Duration::from_millis(500));
    context.query_account().await.is_ok()
}
