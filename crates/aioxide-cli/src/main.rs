//! The program `aioxide`: a concurrent downloader and the lesson's demo.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser};

mod args;
mod clock;
mod demo;
mod fetch;
mod page;
mod queue;
mod top;

use args::{Cli, Command};

fn main() -> ExitCode {
    run(Cli::parse())
}

fn run(cli: Cli) -> ExitCode {
    keep_quiet_about_slowness();
    let result = match cli.command {
        Command::Demo(args) => demo::run(&args),
        Command::Fetch(args) => fetch::run(*args),
        Command::Completions(args) => completions(args.shell),
        Command::Report(args) => page::run(&args),
        Command::Queue(args) => queue::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Man(args) => man(&args.command),
    };
    result.unwrap_or_else(|error| {
        say(&error);
        ExitCode::from(2)
    })
}

/// Tells of a failure on the standard error, or on the terminal where that is not for it.
fn say(error: &Failure) {
    let told = format!("aioxide: {error}\n");
    // There is nobody to tell if that fails.
    let _ = match error.is::<fetch::Unsayable>() {
        true => {
            File::options().write(true).open("/dev/tty").and_then(|mut tty| tty.write_all(told.as_bytes()))
        }
        false => io::stderr().write_all(told.as_bytes()),
    };
}

/// Turns this thread's slow-callback reports off: they are for whoever writes a program, and would stand between the
/// marks and in the bar of whoever uses this one whenever the machine is busy.
fn keep_quiet_about_slowness() {
    aioxide::set_slow_callback_duration(Duration::MAX);
}

/// What keeps a command from starting: a message for the user.
type Failure = Box<dyn std::error::Error>;

/// Prints the manual page of the program or of one of its commands.
fn man(names: &[String]) -> Result<ExitCode, Failure> {
    let mut command = Cli::command();
    command.build();
    for name in names {
        let found = command.find_subcommand(name).cloned();
        command = found.ok_or_else(|| format!("there is no command {:?}", names.join(" ")))?;
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    io::stdout().write_all(&page)?;
    io::stdout().flush()?;
    Ok(ExitCode::SUCCESS)
}

fn completions(shell: clap_complete::Shell) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "aioxide", &mut script);
    io::stdout().write_all(&script)?;
    io::stdout().flush()?;
    Ok(ExitCode::SUCCESS)
}
