//! `olmcast serve`.

mod data;
mod settings;
mod sources;

use std::{net::SocketAddr, path::PathBuf};

use anyhow::{Context, bail};
#[cfg(feature = "nats")]
use olmcast::server::NatsConfig;
use olmcast::{
    primitives::{ServiceAddress, Transport},
    server::{Server, ServerConfig, StoreConfig, Tls},
};

use crate::{console::interruption, store::Choice};
use settings::{Settings, Store};

/// Every setting with its default, explained.
const DEFAULT: &str = include_str!("default.toml");

/// Run a key service, which carries the messages between devices.
///
/// It can neither read nor forge them, and decides nothing: publishers do.
///
/// Everything can also be set in a TOML file and in the environment. The command line counts before
/// the environment, that before the file. --print-config prints a file with every setting, its
/// default and what it means. In the environment the setting `listen` is called OLMCAST_LISTEN, and
/// `mail_ttl` of the section `limits` OLMCAST_LIMITS__MAIL_TTL.
///
/// Devices dial olmcast://HOST:PORT with TLS, unless the host is this machine. For a service in the
/// clear elsewhere the link begins with olmcast+plain:// (`room new --plain`); for one with TLS on
/// this machine with olmcast+tls://.
///
/// SIGTERM and Ctrl-C end it in good order, SIGHUP makes it read its certificate's files again.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A TOML file with settings
    #[arg(long, env = "OLMCAST_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to listen; all devices must be able to reach it [default: 127.0.0.1:7600]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// A name by which devices dial this service, as it stands in invite links; repeat for more.
    /// With names it goes by no other, also not by its address
    #[arg(long = "name", value_name = "NAME:PORT")]
    names: Vec<String>,
    /// Where public keys and mail are kept: redb in the data folder, memory nowhere, or NATS for a
    /// service of several processes: nats://HOST:PORT, more of them with commas [default: redb]
    #[arg(long, value_name = "redb|memory|nats://…")]
    store: Option<Choice>,
    /// The folder for what is kept [default: $XDG_DATA_HOME/olmcast or ~/.local/share/olmcast]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// A PEM file with the service's certificate and those between it and its authority
    #[arg(long, value_name = "FILE")]
    tls_certificates: Option<PathBuf>,
    /// A PEM file with the key of the certificate
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// For trying: with a certificate that is made in the data folder, and that devices have to
    /// be given (--ca)
    #[arg(long)]
    tls_self_signed: bool,
    /// Where to answer /metrics, /healthz and /readyz, in the clear, for those who watch over the
    /// service; best on 127.0.0.1
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics: Option<SocketAddr>,
    /// How log lines look [default: text]
    #[arg(long, value_enum, value_name = "FORMAT")]
    log_format: Option<crate::logs::Format>,
    /// Print the settings that would hold, check them, and end
    #[arg(long)]
    check_config: bool,
    /// Print a file with every setting, its default and what it means, and end
    #[arg(long, conflicts_with = "check_config")]
    print_config: bool,
}

impl Arguments {
    fn settings(&self) -> anyhow::Result<Settings> {
        // What is no text is none of ours.
        let environment = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        sources::settings(self.config.as_deref(), environment, |all| {
            all.set_override_option("listen", self.listen.map(|at| at.to_string()))?
                .set_override_option("names", (!self.names.is_empty()).then(|| self.names.clone()))?
                .set_override_option("store", self.store.as_ref().map(Choice::name))?
                .set_override_option("nats.urls", self.nats_urls())?
                .set_override_option("data", path(&self.data))?
                .set_override_option("tls.certificates", path(&self.tls_certificates))?
                .set_override_option("tls.key", path(&self.tls_key))?
                .set_override_option("tls.self_signed", self.tls_self_signed.then_some(true))?
                .set_override_option("metrics", self.metrics.map(|at| at.to_string()))?
                .set_override_option("log.format", name(self.log_format))
        })
    }
}

impl Arguments {
    fn nats_urls(&self) -> Option<Vec<String>> {
        match &self.store {
            Some(Choice::Nats(urls)) if !urls.is_empty() => Some(urls.clone()),
            _ => None,
        }
    }
}

/// What a choice is called, on the command line as in files.
fn name(choice: Option<impl clap::ValueEnum>) -> Option<String> {
    Some(choice?.to_possible_value()?.get_name().to_owned())
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    if arguments.print_config {
        print!("{DEFAULT}");
        return Ok(());
    }
    let settings = arguments.settings()?;
    if arguments.check_config {
        print!("{}", settings.shown()?);
        if let Some(tls) = files(&settings) {
            tls.check()?;
        }
        store(&settings)?;
        return Ok(());
    }
    crate::logs::init(settings.log.format, &settings.log.level)?;
    // Before there is anything to end: a signal must not come too early.
    let interrupted = interruption()?;

    let mut config = ServerConfig::new(settings.listen);
    config.names.clone_from(&settings.names);
    config.limits.clone_from(&settings.limits);
    config.metrics = settings.metrics;
    config.drain_delay = settings.drain_delay;
    config.store = store(&settings)?;
    if settings.tls.self_signed || settings.store == Store::Redb {
        data::make(&settings.data())?;
    }
    config.tls = match settings.tls.self_signed {
        true => Some(Tls::self_signed(&settings.data(), &certified_names(&settings))?),
        false => files(&settings),
    };
    let tls = config.tls.clone();
    data::check_open_files(&settings.limits);
    let server = Server::bind(config).await?;
    introduce(&server, &settings, tls.as_ref())?;

    let failed = tokio::select! {
        result = interrupted => result.map(|()| None)?,
        why = server.failed() => Some(why),
        never = reload(&server) => match never {},
    };
    server.shutdown().await;
    match failed {
        None => Ok(()),
        Some(why) => bail!("{why}; mend that and start the service again"),
    }
}

/// Reads the certificate's files again whenever it is told to.
async fn reload(server: &Server) -> std::convert::Infallible {
    #[cfg(unix)]
    if let Ok(mut hang_up) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())
    {
        while hang_up.recv().await.is_some() {
            match server.reload_tls() {
                Ok(()) => tracing::warn!("told to read the certificate's files again: done"),
                Err(error) => tracing::error!(%error, "what was read before stays in use"),
            }
        }
    }
    std::future::pending().await
}

fn files(settings: &Settings) -> Option<Tls> {
    Some(Tls::new(settings.tls.certificates.as_ref()?, settings.tls.key.as_ref()?))
}

fn store(settings: &Settings) -> anyhow::Result<StoreConfig> {
    Ok(match settings.store {
        Store::Memory => StoreConfig::Memory,
        Store::Redb => StoreConfig::Redb(settings.data()),
        #[cfg(feature = "nats")]
        Store::Nats => {
            let from = settings.nats.clone();
            let mut nats = NatsConfig::new(from.urls);
            nats.replicas = from.replicas;
            nats.credentials = from.credentials;
            nats.authorities = from.authorities;
            nats.prefix = from.prefix;
            StoreConfig::Nats(nats)
        }
        #[cfg(not(feature = "nats"))]
        Store::Nats => bail!("this olmcast was built without NATS; take --store redb"),
    })
}

/// What devices may dial, for a certificate.
fn certified_names(settings: &Settings) -> Vec<String> {
    let mut names = settings.names.clone();
    names.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
    if !settings.listen.ip().is_unspecified() {
        names.push(settings.listen.ip().to_canonical().to_string());
    }
    names
}

/// Says what one needs to know to use the service.
fn introduce(server: &Server, settings: &Settings, tls: Option<&Tls>) -> anyhow::Result<()> {
    let address = server.local_addr();
    let dialled = match (settings.names.first(), address.ip().is_unspecified()) {
        (Some(name), _) => name.clone(),
        (None, false) => address.to_string(),
        // A link must hold what devices dial, and a wildcard is nothing that they could.
        (None, true) => format!("NAME:{}", address.port()),
    };
    let usual = ServiceAddress::new(&dialled).context("--name")?.transport();
    let how = match (tls, usual) {
        (Some(_), Transport::Plain) => format!("olmcast+tls://{dialled}"),
        (None, Transport::Tls) => format!("{dialled} --plain"),
        _ => dialled.clone(),
    };
    println!("key service on {address}; make a room with: olmcast room new --server {how}");
    if dialled.starts_with("NAME:") {
        println!("start it with --name {dialled} as well, with the name that devices dial");
    }
    match tls {
        Some(tls) if settings.tls.self_signed => {
            println!("its certificate is self-signed, SHA-256 {}", tls.fingerprint()?);
            println!("devices need that certificate: --ca {}", tls.certificates.display());
        }
        Some(tls) => println!("TLS with the certificate in {}", tls.certificates.display()),
        None if address.ip().is_loopback() => {}
        None => println!(
            "connections are in the clear: who listens on the way learns what the service does \
             (--tls-certificates, or a proxy that does TLS)"
        ),
    }
    match settings.store {
        Store::Memory => println!("nothing is kept: keys and mail are gone with this process"),
        Store::Redb => println!("keys and mail are kept in {}", settings.data().display()),
        Store::Nats => println!("keys and mail are kept in NATS"),
    }
    if let Some(at) = server.metrics_addr() {
        println!("metrics at http://{at}/metrics");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys of a table, those of its sections with their names before them.
    fn keys(prefix: &str, table: &toml::Table) -> Vec<String> {
        let name =
            |key: &str| if prefix.is_empty() { key.into() } else { format!("{prefix}.{key}") };
        let keys = table.iter().map(|(key, value)| match value {
            toml::Value::Table(section) => keys(&name(key), section),
            _ => vec![name(key)],
        });
        keys.flatten().collect()
    }

    #[test]
    fn the_printed_file_has_every_setting_with_its_default_and_a_comment() {
        let read: Settings = toml::from_str(DEFAULT).unwrap();
        assert_eq!(read, Settings::default());

        // Where there is no default, the line is commented out: `#key = …`.
        let whole: String = DEFAULT
            .lines()
            .map(|line| line.strip_prefix('#').filter(|l| !l.starts_with(' ')).unwrap_or(line))
            .fold(String::new(), |text, line| text + line + "\n");
        let everything = toml::from_str::<Settings>(&whole).unwrap();
        let mut here = keys("", &toml::from_str(&whole).unwrap());
        let mut there = keys("", &toml::Table::try_from(&everything).unwrap());
        here.sort();
        there.sort();
        assert_eq!(here, there);
        let top: Vec<_> = there.iter().map(|key| key.split('.').next().unwrap()).collect();
        assert!(settings::KEYS.iter().all(|key| top.contains(key)));
        assert!(top.iter().all(|key| settings::KEYS.contains(key)));

        let mut before = "";
        for line in DEFAULT.lines() {
            if line.trim_start_matches('#').contains(" = ") && !line.starts_with("# ") {
                assert!(before.starts_with("# "), "{line} is not explained");
            }
            before = line;
        }
    }

    #[test]
    fn the_sample_in_examples_can_be_used() {
        let sample = include_str!("../../../../examples/service/olmcast.toml");
        toml::from_str::<Settings>(sample).unwrap();
    }
}
