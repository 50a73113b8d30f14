//! Options of the fleet's size.

use crate::RunOptions;
use clap::Args;
use clap::builder::FalseyValueParser;
use millwork_net::{CertificatesInUse, ClientTrust, Identity, ServerTls};
use millwork_scaling::Policy;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Input per task, as a multiple of the target size of an output file: Parquet takes about a third of its input.
const TASK_PER_FILE: u64 = 3;

/// The size of the fleet, and who is told.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Size of the fleet")]
pub struct ScalingOptions {
    /// Executors that are wanted at least, also when there is nothing to do
    #[arg(long, env = "MILLWORK_SCALE_MIN_EXECUTORS", value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub scale_min_executors: u32,

    /// Executors that are wanted at most
    #[arg(long, env = "MILLWORK_SCALE_MAX_EXECUTORS", value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub scale_max_executors: u32,

    /// Age by which each run should be done, in minutes: as many executors are wanted as that takes. Give all schedulers of a state the
    /// same settings of this kind
    #[arg(long, env = "MILLWORK_SCALE_DEADLINE_MINUTES", value_name = "MINUTES", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=10_080))]
    pub scale_deadline_minutes: u64,

    /// Time from an executor's being wanted until it works, in seconds: a machine, an image, a start
    #[arg(long, env = "MILLWORK_SCALE_START_SECONDS", value_name = "SECONDS", default_value_t = 90, value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub scale_start_seconds: u64,

    /// Age of the oldest run, in minutes, until which no executor is wanted while nothing is being converted, unless there is
    /// much to do; so a fleet works in batches and sleeps between them. 0 wakes it at once
    #[arg(long, env = "MILLWORK_SCALE_WAKE_MINUTES", value_name = "MINUTES", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=10_080))]
    pub scale_wake_minutes: u64,

    /// Slots of an executor, as long as none has worked; after that they are known
    #[arg(long, env = "MILLWORK_SCALE_EXECUTOR_SLOTS", value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub scale_executor_slots: u32,

    /// Address where an autoscaler asks for the size of the fleet, as KEDA asks an external scaler (gRPC): off unless it is given
    #[arg(long, env = "MILLWORK_SCALER_LISTEN", value_name = "HOST:PORT")]
    pub scaler_listen: Option<SocketAddr>,

    /// Certificate to show to the autoscaler, in PEM; it is read again when it changes, as is its key
    #[arg(long, env = "MILLWORK_SCALER_TLS_CERT", value_name = "FILE", requires = "scaler_tls_key")]
    pub scaler_tls_cert: Option<PathBuf>,

    /// Private key of that certificate, in PEM
    #[arg(long, env = "MILLWORK_SCALER_TLS_KEY", value_name = "FILE", requires = "scaler_tls_cert")]
    pub scaler_tls_key: Option<PathBuf>,

    /// PEM file with the authorities that the autoscaler's certificate has to be of; without it, none is asked for
    #[arg(long, env = "MILLWORK_SCALER_TLS_CA", value_name = "FILE", requires = "scaler_tls_cert")]
    pub scaler_tls_ca: Option<PathBuf>,

    /// Answer an autoscaler in plain text on an address that others can reach
    #[arg(long, env = "MILLWORK_INSECURE_SCALER", value_parser = FalseyValueParser::new())]
    pub insecure_scaler: bool,
}

/// Settings of the server for an autoscaler, before it listens.
pub struct ScalerDoor {
    /// Address to listen on.
    pub address: SocketAddr,
    pub(super) tls: Option<ServerTls>,
}

impl ScalerDoor {
    /// Adds its certificates to those in use.
    pub fn note_certificates(&self, in_use: &CertificatesInUse) {
        if let Some(tls) = &self.tls {
            tls.note_in(in_use);
        }
    }
}

impl ScalingOptions {
    /// Scaling policy from the options. Refuses contradictory ones.
    pub fn policy(&self, run: &RunOptions) -> anyhow::Result<Policy> {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        let (min, max) = (self.scale_min_executors, self.scale_max_executors);
        anyhow::ensure!(min <= max, "--scale-min-executors is {min}, more than --scale-max-executors, which is {max}");
        let (wake, deadline) = (self.scale_wake_minutes, self.scale_deadline_minutes);
        anyhow::ensure!(
            wake < deadline,
            "--scale-wake-minutes is {wake}: a fleet that sleeps so long cannot be done by --scale-deadline-minutes, which is {deadline}"
        );
        Ok(Policy {
            min_executors: min,
            max_executors: max,
            deadline: minutes(deadline),
            start: Duration::from_secs(self.scale_start_seconds),
            wake_after: minutes(wake),
            max_concurrent_runs: run.max_concurrent_runs,
            bytes_per_task: (run.target_file_mb << 20) * TASK_PER_FILE,
        })
    }

    /// Settings of the server for an autoscaler, if there is to be one. Refuses settings that would let strangers in.
    pub fn door(&self) -> anyhow::Result<Option<ScalerDoor>> {
        let Some(address) = self.scaler_listen else { return Ok(None) };
        let tls = match (&self.scaler_tls_cert, &self.scaler_tls_key) {
            (Some(certificate), Some(key)) => {
                let identity = Identity { certificate: certificate.clone(), key: key.clone() };
                let trust = self.scaler_tls_ca.clone().map_or(ClientTrust::Unasked, ClientTrust::Required);
                Some(ServerTls::open("scaler", identity, trust, &["h2"])?)
            }
            _ => None,
        };
        anyhow::ensure!(
            address.ip().is_loopback() || tls.is_some() || self.insecure_scaler,
            "refusing to answer an autoscaler on {address}, which others can reach, without TLS: name a certificate with \
             --scaler-tls-cert and --scaler-tls-key, or limit who can reach it and say --insecure-scaler"
        );
        Ok(Some(ScalerDoor { address, tls }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        scaling: ScalingOptions,
        #[command(flatten)]
        run: RunOptions,
    }

    fn parse(arguments: &[&str]) -> Command {
        Command::parse_from([&["it", "--output", "/out"][..], arguments].concat())
    }

    #[test]
    fn wishes_that_cannot_be_met_are_refused() {
        let error = |arguments: &[&str]| {
            let command = parse(arguments);
            command.scaling.policy(&command.run).unwrap_err().to_string()
        };
        assert!(error(&["--scale-min-executors", "30"]).contains("--scale-max-executors"));
        assert!(error(&["--scale-wake-minutes", "30"]).contains("--scale-deadline-minutes"));
        let command = parse(&["--scale-wake-minutes", "20"]);
        let policy = command.scaling.policy(&command.run).unwrap();
        assert_eq!((policy.max_executors, policy.deadline.as_secs(), policy.bytes_per_task), (20, 1800, 402_653_184));
    }

    #[test]
    fn others_are_answered_only_with_tls_or_at_a_risk() {
        let door = |arguments: &[&str]| parse(arguments).scaling.door();
        assert!(door(&[]).unwrap().is_none());
        assert!(door(&["--scaler-listen", "127.0.0.1:0"]).unwrap().is_some());
        let error = door(&["--scaler-listen", "0.0.0.0:0"]).err().unwrap().to_string();
        assert!(error.contains("--scaler-tls-cert") && error.contains("--insecure-scaler"), "{error}");
        assert!(door(&["--scaler-listen", "0.0.0.0:0", "--insecure-scaler"]).is_ok());
    }
}
