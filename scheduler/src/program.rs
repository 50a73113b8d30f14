//! Options of `millwork-scheduler`, and their validation.

use crate::{HttpOptions, IntakeOptions, PlaceOptions, RunOptions, ScalingOptions};
use clap::Parser;
use millwork_cluster::{DoorAccess, Identity, Secret, TlsFiles, TlsMode};
use millwork_storage::{Places, Storage};
use millwork_tracking::StateUrl;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Runs manifests on a fleet of executors.
///
/// Manifests come over HTTP (`millwork submit`), from the state where a manifest builder queues them, from the events of
/// a bucket or from a directory. Each becomes a run: planned here, converted by executors, committed and published here.
/// Runs that are under way when the scheduler stops go on when it is started again. Of several schedulers on one state, one runs
/// the manifests; the others stand by, answer over HTTP, and take over when it dies.
#[derive(Parser)]
#[command(version)]
pub struct Program {
    /// Address for executors. They prove that they have the scheduler's secret, but what travels is not encrypted: keep it inside a
    /// network you trust
    #[arg(long, env = "MILLWORK_LISTEN", value_name = "HOST:PORT", default_value = "127.0.0.1:50050")]
    pub listen: SocketAddr,

    /// State with runs and files: sqlite:PATH or dynamodb:TABLE
    #[arg(long, env = "MILLWORK_STATE", value_name = "URL")]
    pub state: String,

    /// Take an output over that another state has filled: the files of manifests below its `_millwork/manifests` count as converted. Files
    /// of other manifests are converted again if they come again
    #[arg(long, env = "MILLWORK_ADOPT")]
    pub adopt: bool,

    /// File with the secret that executors have, too; MILLWORK_EXECUTOR_SECRET in the environment does the same [default: one that is made
    /// for this user in ~/.local/state/millwork, if --listen is on loopback]
    #[arg(long, env = "MILLWORK_EXECUTOR_SECRET_FILE", value_name = "FILE")]
    pub executor_secret_file: Option<PathBuf>,

    /// TLS with executors: off, permissive (for those that begin with it) or strict (nothing else)
    #[arg(long, env = "MILLWORK_EXECUTOR_TLS", value_name = "MODE", default_value = "off")]
    pub executor_tls: TlsMode,

    /// PEM file with the certificate to show to executors, for the name they dial and a URI that ends in /scheduler, such as
    /// spiffe://example.org/millwork/scheduler. Read again when it changes, as is its key
    #[arg(long, env = "MILLWORK_EXECUTOR_TLS_CERT", value_name = "FILE")]
    pub executor_tls_cert: Option<PathBuf>,

    /// PEM file with its key
    #[arg(long, env = "MILLWORK_EXECUTOR_TLS_KEY", value_name = "FILE")]
    pub executor_tls_key: Option<PathBuf>,

    /// PEM file with the authorities that certificates of executors are of; they have a URI that ends in /executor
    #[arg(long, env = "MILLWORK_EXECUTOR_TLS_CA", value_name = "FILE")]
    pub executor_tls_ca: Option<PathBuf>,

    /// Listen for executors on an address that others can reach, without encryption or with --executor-tls permissive
    #[arg(long, env = "INSECURE_EXECUTORS", value_parser = clap::builder::FalseyValueParser::new())]
    pub insecure_executors: bool,

    /// Time that commits and publications have after SIGTERM to come to their end; the next start, or another scheduler, goes on
    /// with what is left. Attempts are given up at once. Stay below what ends the process for good
    #[arg(long, env = "MILLWORK_DRAIN_SECONDS", value_name = "SECONDS", default_value_t = 270, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub drain_seconds: u64,

    #[command(flatten)]
    pub http: HttpOptions,

    #[command(flatten)]
    pub places: PlaceOptions,

    #[command(flatten)]
    pub intake: IntakeOptions,

    #[command(flatten)]
    pub run: RunOptions,

    #[command(flatten)]
    pub scaling: ScalingOptions,
}

impl Program {
    /// Authentication of executors, from the options. Refuses settings that would let strangers listen.
    pub fn executor_access(&self) -> anyhow::Result<DoorAccess> {
        let tls = self.executor_tls()?;
        let secret = match self.configured_secret()? {
            Some(secret) => secret,
            None => Secret::of_this_user()?,
        };
        Ok(DoorAccess::new(secret, tls)?)
    }

    /// Refuses an address for executors that other hosts can reach, where traffic could be unencrypted.
    fn check_listen(&self) -> anyhow::Result<()> {
        let is_safe = self.listen.ip().is_loopback() || self.executor_tls == TlsMode::Strict;
        anyhow::ensure!(
            is_safe || self.insecure_executors,
            "refusing to listen for executors on {}, which others can reach: what travels is not encrypted, or not always; say \
             --executor-tls strict with certificates, or limit who can reach it, then say --insecure-executors",
            self.listen
        );
        Ok(())
    }

    fn executor_tls(&self) -> anyhow::Result<Option<(TlsFiles, TlsMode)>> {
        self.check_listen()?;
        match (&self.executor_tls_cert, &self.executor_tls_key, &self.executor_tls_ca) {
            _ if self.executor_tls == TlsMode::Off => Ok(None),
            (Some(certificate), Some(key), Some(authorities)) => {
                let identity = Identity { certificate: certificate.clone(), key: key.clone() };
                Ok(Some((TlsFiles { authorities: authorities.clone(), identity }, self.executor_tls)))
            }
            _ => anyhow::bail!(
                "--executor-tls needs --executor-tls-cert, --executor-tls-key and --executor-tls-ca: certificates of both ends are checked"
            ),
        }
    }

    /// Secret shared with executors, if one is configured. Needed for executors on other machines; for those of one
    /// user on one machine it is generated.
    fn configured_secret(&self) -> anyhow::Result<Option<Secret>> {
        let secret = Secret::configured(self.executor_secret_file.as_deref())?;
        anyhow::ensure!(
            secret.is_some() || self.listen.ip().is_loopback(),
            "executors on other machines need the secret of this scheduler: write one to a file (openssl rand -hex 32), give it to both \
             with --executor-secret-file, or to both as MILLWORK_EXECUTOR_SECRET"
        );
        Ok(secret)
    }

    fn check_executors(&self) -> anyhow::Result<()> {
        let tls = self.executor_tls()?;
        if let Some(secret) = self.configured_secret()? {
            DoorAccess::new(secret, tls)?;
        }
        Ok(())
    }

    /// All errors for which the scheduler would refuse to start, as far as they show without a store, a network, or
    /// changes.
    pub fn problems(&self) -> Vec<anyhow::Error> {
        let state = self.state.parse::<StateUrl>();
        let places = self.places.read(&self.intake, &self.run, state.as_ref().ok().and_then(StateUrl::file));
        let input = places.as_ref().map_or_else(|_| Places::none(), |places| places.input.clone());
        let found = [
            self.check_executors().err(),
            places.err(),
            self.run.service_conversion(input, Storage::from_env()).err(),
            self.scaling.policy(&self.run).err(),
            self.scaling.door().err(),
            state.err().map(Into::into),
        ];
        self.http.problems().into_iter().chain(found.into_iter().flatten()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executors_of_others_are_listened_to_with_strict_tls_or_at_a_risk() {
        let check = |arguments: &[&str]| {
            let start = ["it", "--state", "sqlite:/s.db", "--output", "/out"];
            let options = Program::try_parse_from([&start[..], arguments].concat()).unwrap();
            options.check_listen().map_err(|error| error.to_string())
        };
        let everywhere = ["--listen", "0.0.0.0:0", "--executor-tls"];
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(check(&["--listen", "[::1]:0"]), Ok(()));
        assert_eq!(check(&[&everywhere[..], &["strict"]].concat()), Ok(()));
        for mode in ["off", "permissive"] {
            let refused = check(&[&everywhere[..], &[mode]].concat()).unwrap_err();
            assert!(refused.contains("0.0.0.0:0") && refused.contains("--executor-tls strict"), "{refused}");
            assert_eq!(check(&[&everywhere[..], &[mode, "--insecure-executors"]].concat()), Ok(()));
        }
    }
}
