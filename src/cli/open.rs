//! From the command line to a site: configuration, logins, repository, engines.
//!
//! Because everything below takes values, this is the one place that reads the environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cli::args::{Global, Log, Repo};
use crate::cli::exit::Exit;
use crate::cli::out;
use crate::cli::show::paint::{FAINT, WARN, count, painted, plain};
use crate::cli::show::progress;
use crate::cli::trouble::Trouble;
use crate::engine::{self, Logins, RegistryLogin};
use crate::files::SourceFile;
use crate::forge::{self, Forge};
use crate::model::config::{Config, LogFormat, Provider, SecretSource, TlsFiles, Webhooks};
use crate::name::Digest;
use crate::reconcile::site::{Connect, Site};
use crate::secret::Secret;
use crate::source;
use crate::validate::config::config as read_config;

/// The registry of image names that name none.
const DEFAULT_REGISTRY: &str = "docker.io";

/// The configuration; the defaults where no file is named. Relative paths in it are made absolute.
pub fn config(global: &Global) -> Result<Config, Trouble> {
    let Some(path) = &global.config else {
        return Ok(Config::default());
    };
    let text = std::fs::read_to_string(path)
        .map_err(|error| Trouble::usage(format!("the configuration {} cannot be read: {error}", path.display())))?;
    let shown: Arc<str> = path.display().to_string().into();
    let file = SourceFile { path: shown.clone(), blob: Digest::of(text.as_bytes()).as_str().into(), text: text.into() };
    let (config, report) = read_config(&file);
    if !report.is_empty() {
        out::note(&progress::report(&report, &[(shown, file.text.clone())].into()));
    }
    let mut config = config.ok_or_else(|| Trouble::shown(Exit::Usage))?;
    resolve_paths(&mut config, path.parent().unwrap_or(Path::new(".")));
    Ok(config)
}

fn resolve_paths(config: &mut Config, folder: &Path) {
    for TlsFiles { ca, cert, key } in config.engines.values_mut() {
        for path in [ca, cert, key] {
            *path = folder.join(&path);
        }
    }
    for login in config.registries.values_mut() {
        if let SecretSource::File(path) = &mut login.password {
            *path = folder.join(&path);
        }
    }
    if let Some(forge) = &mut config.forge {
        if let SecretSource::File(path) = &mut forge.token {
            *path = folder.join(&path);
        }
        if let Some(path) = &mut forge.ca {
            *path = folder.join(&path);
        }
    }
    for secret in config.webhooks.iter_mut().flat_map(|webhooks| webhooks.secrets.values_mut()) {
        if let SecretSource::File(path) = secret {
            *path = folder.join(&path);
        }
    }
}

/// Starts logging. `quiet` is the filter where `RUST_LOG` sets none.
pub fn start_logging(global: &Global, config: &Config, quiet: &str) {
    let format = match global.log {
        Some(Log::Text) => LogFormat::Text,
        Some(Log::Json) => LogFormat::Json,
        None => config.log,
    };
    let filter = std::env::var("RUST_LOG").ok();
    crate::telemetry::start(format, Some(filter.as_deref().unwrap_or(quiet)));
}

/// The site of the repository that the command line names, or the configuration, or the current folder.
pub async fn site(global: &Global, repo: &Repo, config: Config) -> Result<Site, Trouble> {
    let location = repo.repo.as_deref().or(config.repository.as_deref()).unwrap_or(".");
    let branch = global.branch.as_deref().or(config.branch.as_deref());
    let source = source::open(location, branch, &cache()).await?;
    if source.is_mirror() {
        source.fetch().await?;
    }
    let logins = Arc::new(logins(&config)?);
    let (tls, patience) = (config.engines.clone(), config.answer_within);
    let connect: Connect = Arc::new(move |host, endpoint| engine::connect::connect(host, endpoint, &tls, patience));
    Ok(Site::new(source, Arc::new(config), logins, connect).await?)
}

/// Where mirrors of repositories are kept: what the service manager says, else the user's cache.
fn cache() -> PathBuf {
    let of = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = of("CACHE_DIRECTORY")
        .or_else(|| of("XDG_CACHE_HOME").map(|cache| cache.join("bayplan")))
        .or_else(|| of("HOME").map(|home| home.join(".cache/bayplan")));
    folder.unwrap_or_else(|| PathBuf::from(".bayplan-cache"))
}

fn logins(config: &Config) -> Result<Logins, Trouble> {
    let mut logins = Logins::new();
    for (registry, login) in &config.registries {
        let password = secret(&login.password, &format!("the password of {registry}"))?;
        let login = RegistryLogin { username: login.username.clone(), password, server: registry.clone() };
        if registry == DEFAULT_REGISTRY {
            logins.insert(String::new(), login.clone());
        }
        logins.insert(registry.clone(), login);
    }
    Ok(logins)
}

/// The secrets of those who may tell of a push.
pub fn webhook_secrets(webhooks: &Webhooks) -> Result<BTreeMap<Provider, Secret<String>>, Trouble> {
    let mut secrets = BTreeMap::new();
    for (provider, source) in &webhooks.secrets {
        let what = format!("the secret of {}'s webhook", provider.as_str());
        let secret = secret(source, &what)?;
        if secret.expose().is_empty() {
            return Err(Trouble::usage(format!("{what} is empty: anybody could sign with it")));
        }
        secrets.insert(*provider, secret);
    }
    Ok(secrets)
}

/// The forge that the configuration names, for the repository at this location; none where it names none.
pub fn forge(config: &Config, location: &str) -> Result<Option<Forge>, Trouble> {
    let Some(configured) = &config.forge else { return Ok(None) };
    let token = secret(&configured.token, "the token of the forge")?;
    if token.expose().is_empty() {
        return Err(Trouble::usage("the token of the forge is empty"));
    }
    let repository = configured.repository.clone().or_else(|| forge::repository_of(location)).ok_or_else(|| {
        Trouble::usage(format!("{} says no `owner/name` of a forge: write `repository` below `forge`", plain(location)))
    })?;
    let place =
        forge::Place { kind: configured.kind, url: configured.url.clone(), repository, ca: configured.ca.clone() };
    Ok(Some(Forge::new(&place, token)?))
}

/// The secret itself. `what` it is, for people: `the password of ghcr.io`.
fn secret(source: &SecretSource, what: &str) -> Result<Secret<String>, Trouble> {
    let text = match source {
        SecretSource::File(path) => std::fs::read_to_string(path).map_err(|error| {
            Trouble::usage(format!("the file {} with {what} cannot be read: {error}", path.display()))
        })?,
        SecretSource::Environment(name) => {
            std::env::var(name).map_err(|_| Trouble::usage(format!("the variable {name} with {what} is not set")))?
        }
    };
    Ok(Secret::new(text.trim_end().to_owned()))
}

/// Says which files are not part of what is planned, since only commits are.
pub async fn note_uncommitted(site: &Site) -> Result<(), Trouble> {
    const MOST_NAMED: usize = 10;
    let paths = site.source.uncommitted().await?;
    if paths.is_empty() {
        return Ok(());
    }
    let files = count(paths.len(), "file is", "files are");
    let mut text = format!("{} {files} not committed and so not part of this:\n", painted(WARN, "note:"));
    for path in paths.iter().take(MOST_NAMED) {
        text.push_str(&format!("  {}\n", plain(path)));
    }
    if let Some(more) = paths.len().checked_sub(MOST_NAMED).filter(|more| *more > 0) {
        text.push_str(&format!("  {}\n", painted(FAINT, format!("and {more} more"))));
    }
    out::note(&text);
    Ok(())
}
