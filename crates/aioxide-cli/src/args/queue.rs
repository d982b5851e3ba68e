//! The options of `aioxide queue`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueHint};

use super::values::seconds;
use crate::fetch::Format;
use crate::queue::{Address, By};

/// `aioxide queue`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
        aioxide queue fill /shared/queue -i urls.txt.zst     divide a list into shards\n  \
        aioxide fetch --queue /shared/queue -o /shared/out   a worker; start as many as wanted\n  \
        aioxide queue status /shared/queue                   how far they are\n  \
        aioxide queue fill 'redis://broker:6379/0?name=crawl' -i urls.csv\n\n\
    QUEUE is a directory that all machines share, or a Redis (6.2 or newer) or Valkey\n\
    server: redis://[USER:PASSWORD@]HOST:PORT/DATABASE?name=NAME, rediss:// with TLS.")]
pub(crate) struct QueueArgs {
    #[command(subcommand)]
    pub(crate) command: QueueCommand,
}

/// The verbs of `aioxide queue`.
#[derive(Debug, Subcommand)]
pub(crate) enum QueueCommand {
    /// Divide a list of URLs into shards, and put them into a new queue
    Fill(FillArgs),
    /// Show what is done, waiting, with workers and set aside
    Status(StatusArgs),
    /// Have shards that were set aside tried again
    Retry(RetryArgs),
}

/// `aioxide queue fill`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
        aioxide queue fill /shared/queue -i urls.txt.zst\n  \
        duckdb -c \"copy (select url from 'x.parquet') to '/dev/stdout' (format csv)\" |\n    \
            aioxide queue fill 'redis://broker/0?name=crawl' --format csv -i -\n\n\
    A line that is no URL is named, left out, and makes the exit status 1.")]
pub(crate) struct FillArgs {
    /// A new or empty directory, or redis://HOST:PORT/0?name=NAME
    #[arg(value_parser = Address::parse)]
    pub(crate) queue: Address,

    /// Read URLs from FILE, as `aioxide fetch` does; `-` for the standard input
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) input: PathBuf,

    /// How FILE is read; by its extension unless given
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<Format>,

    /// About how many URLs a shard has: N to 2 N, and more where one host has more
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) shard_size: u64,

    /// What decides in which shard a URL is
    #[arg(long, value_name = "WHAT", default_value = "host")]
    pub(crate) by: By,

    /// A worker that was not heard for SECONDS is taken for dead, and its shard goes to another one
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub(crate) lease: Duration,

    /// Set a shard aside when N workers have died of it, or could not read its list
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) tries: u32,
}

/// `aioxide queue status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// The directory, or redis://HOST:PORT/0?name=NAME
    #[arg(value_parser = Address::parse)]
    pub(crate) queue: Address,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// `aioxide queue retry`.
#[derive(Debug, Args)]
pub(crate) struct RetryArgs {
    /// The directory, or redis://HOST:PORT/0?name=NAME
    #[arg(value_parser = Address::parse)]
    pub(crate) queue: Address,
}
