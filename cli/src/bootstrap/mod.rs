//! `millwork bootstrap`: creates or corrects the resources that Millwork needs in a cloud. Reads everything before the
//! first change, and never deletes a bucket, a queue or a table.

mod aws;
mod names;
mod notifications;
mod plan;
mod s3;
mod sqs;
mod tables;

use crate::exit::Exit;
use anyhow::Context;
use aws::Aws;
use clap::{Args, Subcommand};
use millwork_tracking::TableNames;
use names::Names;
use plan::{Action, Resource};
use serde_json::{Map, Value, json};
use sqs::Addresses;
use std::process::ExitCode;

/// Create the buckets, queues, notifications and tables that Millwork needs.
#[derive(Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    target: Target,
}

#[derive(Subcommand)]
enum Target {
    Aws(AwsOptions),
}

/// Create what Millwork needs on AWS, or put right what is there.
///
/// Four buckets (input, manifests, output, quarantine), encrypted and closed to the public; a queue of events of the
/// input bucket and one of the manifest bucket, each with a queue for dead letters; the notifications that fill them;
/// the DynamoDB tables. What is as it must be is left alone, so that this can be run again at any time; rules and
/// notifications of others in the same buckets stay.
///
/// Each resource is told of on stderr as `create`, `update` with what differs, or `unchanged`. Stdout gets the
/// environment for `millwork-manifest-builder serve` and `millwork-scheduler`, one NAME=VALUE a line.
///
/// Region and credentials come from the environment (AWS_REGION, AWS_PROFILE, AWS_ACCESS_KEY_ID, …) or from the role
/// of the machine.
#[derive(Args)]
#[command(after_help = "Examples:\n  millwork bootstrap aws --prefix acme-millwork --dry-run")]
struct AwsOptions {
    /// Name everything after this: buckets NAME-input, NAME-manifests, NAME-output and NAME-quarantine, queues
    /// NAME-input and NAME-manifests, tables NAME, NAME-metrics and NAME-runs. All AWS accounts share the names of
    /// buckets: take one that nobody else has
    #[arg(long, value_name = "NAME")]
    prefix: Option<String>,

    /// Key prefix of the input; other objects of the input bucket send no events, and do not expire
    #[arg(long, value_name = "KEYPREFIX", default_value = "", hide_default_value = true)]
    input_prefix: String,

    /// Days after which input is deleted, 0 for never [default: 7]. A bucket that already holds objects gets this rule
    /// only if the option is given
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u16).range(0..=3650))]
    expire_input_days: Option<u16>,

    /// Only print, to stdout, what would be done; exit 3 if something would
    #[arg(long)]
    dry_run: bool,

    /// Print actions and environment as one JSON document
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    names: NameOptions,
}

#[derive(Args)]
#[command(next_help_heading = "Single names, instead of or beside --prefix")]
struct NameOptions {
    /// Bucket where files arrive
    #[arg(long, value_name = "NAME")]
    input_bucket: Option<String>,

    /// Bucket for manifests, which are below manifests/
    #[arg(long, value_name = "NAME")]
    manifest_bucket: Option<String>,

    /// Bucket for Parquet files
    #[arg(long, value_name = "NAME")]
    output_bucket: Option<String>,

    /// Bucket for refused files and rejected lines
    #[arg(long, value_name = "NAME")]
    quarantine_bucket: Option<String>,

    /// Queue of events of the input bucket
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,

    /// Queue for those that could not be handled [default: that of --queue with -dead-letters]
    #[arg(long, value_name = "NAME")]
    dead_letter_queue: Option<String>,

    /// Queue of new manifests; its dead letters go to the one of its name with -dead-letters
    #[arg(long, value_name = "NAME")]
    manifest_queue: Option<String>,

    /// Table of files
    #[arg(long, env = "TRACKING_TABLE", value_name = "NAME")]
    tracking_table: Option<String>,

    /// Table of locks [default: the table of files]
    #[arg(long, env = "LOCK_TABLE", value_name = "NAME")]
    lock_table: Option<String>,

    /// Table of numbers and notes [default: that of files with -metrics]
    #[arg(long, env = "METRICS_TABLE", value_name = "NAME")]
    metrics_table: Option<String>,

    /// Table of runs [default: that of files with -runs]
    #[arg(long, env = "RUNS_TABLE", value_name = "NAME")]
    runs_table: Option<String>,
}

impl AwsOptions {
    fn names(&self) -> anyhow::Result<Names> {
        let name = |given: &Option<String>, option: &str, end: &str| {
            let prefixed = self.prefix.as_ref().map(|prefix| format!("{prefix}{end}"));
            let given = given.clone().filter(|name| !name.is_empty());
            given.or(prefixed).with_context(|| format!("say --{option} NAME, or --prefix to name everything"))
        };
        let given = &self.names;
        let queue = name(&given.queue, "queue", "-input")?;
        let defaults = TableNames::from_env(&name(&given.tracking_table, "tracking-table", "")?);
        let or = |given: &Option<String>, default: String| given.clone().filter(|n| !n.is_empty()).unwrap_or(default);
        Ok(Names {
            input_bucket: name(&given.input_bucket, "input-bucket", "-input")?,
            manifest_bucket: name(&given.manifest_bucket, "manifest-bucket", "-manifests")?,
            output_bucket: name(&given.output_bucket, "output-bucket", "-output")?,
            quarantine_bucket: name(&given.quarantine_bucket, "quarantine-bucket", "-quarantine")?,
            dead_letter_queue: or(&given.dead_letter_queue, format!("{queue}-dead-letters")),
            queue,
            manifest_queue: name(&given.manifest_queue, "manifest-queue", "-manifests")?,
            tables: TableNames {
                lock: or(&given.lock_table, defaults.lock),
                metrics: or(&given.metrics_table, defaults.metrics),
                runs: or(&given.runs_table, defaults.runs),
                tracking: defaults.tracking,
            },
            input_prefix: self.input_prefix.clone(),
        })
    }
}

pub(crate) async fn bootstrap(options: Options) -> anyhow::Result<ExitCode> {
    let Target::Aws(options) = options.target;
    let names = options.names()?;
    let resources = plan::resources(&names, options.expire_input_days)?;
    let aws = Aws::connect().await?;
    let mut bootstrap = Bootstrap { aws, queues: Addresses::new(), actions: Vec::new() };
    for resource in resources {
        bootstrap.look(resource).await.context("nothing was changed")?;
    }
    if !options.dry_run {
        bootstrap.make().await?;
    }
    let environment = environment(&names, &bootstrap.aws.region, &bootstrap.queues);
    if options.json {
        println!("{}", serde_json::to_string_pretty(&document(&bootstrap.actions, environment))?);
    } else if options.dry_run {
        bootstrap.actions.iter().for_each(|(resource, action)| println!("{resource}: {action}"));
    } else {
        eprintln!("\nEnvironment for millwork-manifest-builder serve and millwork-scheduler:");
        let known = environment.into_iter().filter_map(|(name, value)| Some((name, value?)));
        known.for_each(|(name, value)| println!("{name}={value}"));
    }
    let would_change = options.dry_run && bootstrap.actions.iter().any(|(_, action)| *action != Action::Unchanged);
    Ok(if would_change { Exit::NeedsYou } else { Exit::Done }.into())
}

struct Bootstrap {
    aws: Aws,
    queues: Addresses,
    actions: Vec<(Resource, Action)>,
}

impl Bootstrap {
    /// Determines the action that a resource needs.
    async fn look(&mut self, resource: Resource) -> anyhow::Result<()> {
        let action = match &resource {
            Resource::Queue(queue) => sqs::look(&self.aws, queue, &mut self.queues).await?,
            Resource::Bucket(bucket) => s3::look(&self.aws, bucket, account(&self.queues)).await?,
            Resource::Table(table) => tables::look(&self.aws, table).await?,
            Resource::Notification(wanted) => {
                let is_bucket = |there: &Resource| matches!(there, Resource::Bucket(it) if it.name == wanted.bucket);
                let bucket = self.actions.iter().find(|(there, _)| is_bucket(there));
                let is_new = bucket.is_some_and(|(_, action)| *action == Action::Create);
                notifications::look(&self.aws, wanted, is_new, &self.queues).await?
            }
        };
        self.actions.push((resource, action));
        Ok(())
    }

    /// Creates and changes the resources of the plan.
    async fn make(&mut self) -> anyhow::Result<()> {
        let changes = self.actions.iter().filter(|(_, action)| *action != Action::Unchanged).count();
        let mut done = 0;
        for (resource, action) in &self.actions {
            if *action != Action::Unchanged {
                let made = match resource {
                    Resource::Queue(queue) => sqs::make(&self.aws, queue, &mut self.queues).await,
                    Resource::Bucket(bucket) => s3::make(&self.aws, bucket, account(&self.queues)).await,
                    Resource::Table(table) => tables::make(&self.aws, table).await,
                    Resource::Notification(wanted) => notifications::make(&self.aws, wanted, &self.queues).await,
                };
                made.with_context(|| {
                    format!("{done} of {changes} changes were made, and the same command again makes the rest")
                })?;
                done += 1;
            }
            eprintln!("{resource}: {action}");
        }
        Ok(())
    }
}

/// AWS account, from the ARN of any queue.
fn account(queues: &Addresses) -> Option<&str> {
    queues.values().find_map(sqs::Address::account)
}

/// Environment variables for the services. The URL of a queue that does not exist yet is unknown.
fn environment(names: &Names, region: &str, queues: &Addresses) -> Vec<(&'static str, Option<String>)> {
    let url = |name: &str| queues.get(name).map(|address| address.url.clone());
    // With the scheme, every reader takes it for a bucket, and not for a directory.
    let bucket = |name: &str| Some(format!("s3://{name}"));
    // Refused files must be hidden from readers of the output.
    let is_shared = names.quarantine_bucket == names.output_bucket;
    let quarantine = format!("s3://{}{}", names.quarantine_bucket, if is_shared { "/_quarantine" } else { "" });
    // A place is a complete folder, while the prefix of a notification can end in the middle of a name.
    let folder = names.input_prefix.rfind('/').map_or("", |end| &names.input_prefix[..=end]);
    vec![
        ("AWS_REGION", Some(region.to_owned())),
        ("QUEUE_URL", url(&names.queue)),
        ("DEAD_LETTER_QUEUE_URL", url(&names.dead_letter_queue)),
        ("MANIFEST_QUEUE_URL", url(&names.manifest_queue)),
        ("INPUT_PLACES", Some(format!("s3://{}/{folder}", names.input_bucket))),
        ("MANIFEST_BUCKET", bucket(&names.manifest_bucket)),
        ("OUTPUT_BUCKET", bucket(&names.output_bucket)),
        ("QUARANTINE_BUCKET", Some(quarantine)),
        ("TRACKING_TABLE", Some(names.tables.tracking.clone())),
        ("LOCK_TABLE", Some(names.tables.lock.clone())),
        ("METRICS_TABLE", Some(names.tables.metrics.clone())),
        ("RUNS_TABLE", Some(names.tables.runs.clone())),
    ]
}

fn document(actions: &[(Resource, Action)], environment: Vec<(&'static str, Option<String>)>) -> Value {
    let actions: Vec<Value> = actions
        .iter()
        .map(|(resource, action)| {
            let (name, kind) = (resource.name(), resource.kind());
            json!({"resource": name, "kind": kind, "action": action.name(), "detail": action.detail()})
        })
        .collect();
    let environment: Map<String, Value> =
        environment.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
    json!({"actions": actions, "environment": environment})
}
