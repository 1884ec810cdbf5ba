//! From where settings come: the command line before the environment before the file before the
//! defaults.

use std::{collections::HashMap, path::Path};

use anyhow::{Context, ensure};
use config::{Config, ConfigBuilder, Environment, File, FileFormat, builder::DefaultState};

use super::settings::{KEYS, Settings};

/// What variables begin with; what is in a section stands behind two underscores.
const PREFIX: &str = "OLMCAST_";

/// Variables by which other commands are told something, or this one where its file is.
type Variables = HashMap<String, String>;

/// Puts the settings together.
///
/// Each source is looked at by itself first, so that an error can say where it is.
pub(super) fn settings(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
    command_line: impl FnOnce(
        ConfigBuilder<DefaultState>,
    ) -> Result<ConfigBuilder<DefaultState>, config::ConfigError>,
) -> anyhow::Result<Settings> {
    let mut all = Config::builder();
    if let Some(path) = file {
        let name = || format!("in {}", path.display());
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let source = File::from_str(&text, FileFormat::Toml);
        read(Config::builder().add_source(source.clone())).with_context(name)?;
        all = all.add_source(source);
    }
    let source = self::environment(environment)?;
    read(Config::builder().add_source(source.clone())).context("in the environment (OLMCAST_…)")?;
    all = command_line(all.add_source(source))?;
    let settings = read(all)?;
    check(&settings)?;
    Ok(settings)
}

fn read(sources: ConfigBuilder<DefaultState>) -> anyhow::Result<Settings> {
    Ok(sources.build()?.try_deserialize()?)
}

/// The variables that are meant for the service. Others may well begin the same way: those of
/// other commands, or those that Kubernetes sets for a service called olmcast.
fn environment(
    variables: impl IntoIterator<Item = (String, String)>,
) -> anyhow::Result<Environment> {
    let mut ours = Variables::new();
    for (name, value) in variables {
        let Some(key) = name.strip_prefix(PREFIX) else { continue };
        let (first, nested) = match key.split_once("__") {
            Some((section, _)) => (section, true),
            None => (key, false),
        };
        let known = KEYS.contains(&first.to_ascii_lowercase().as_str());
        ensure!(known || !nested, "unknown section in the variable {name}; see --print-config");
        if known {
            ours.insert(name, value);
        }
    }
    Ok(Environment::with_prefix("OLMCAST")
        .prefix_separator("_")
        .separator("__")
        .try_parsing(true)
        .list_separator(",")
        .with_list_parse_key("names")
        .with_list_parse_key("nats.urls")
        .source(Some(ours)))
}

/// What no single value tells.
fn check(settings: &Settings) -> anyhow::Result<()> {
    let tls = &settings.tls;
    ensure!(
        tls.certificates.is_some() == tls.key.is_some(),
        "TLS needs both files: tls.certificates and tls.key"
    );
    ensure!(
        !(tls.self_signed && tls.key.is_some()),
        "tls.self_signed makes a certificate of its own; leave out tls.certificates and tls.key, \
         or tls.self_signed"
    );
    ensure!(
        settings.store != super::settings::Store::Nats || !settings.nats.urls.is_empty(),
        "the store nats needs the servers' addresses: nats.urls"
    );
    Ok(())
}

#[cfg(test)]
mod tests;
