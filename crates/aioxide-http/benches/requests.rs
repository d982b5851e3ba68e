//! What a request costs, beside bare hyper on tokio's `current_thread` with one connection per worker.
//!
//! `cargo bench -p aioxide-http --bench requests` starts an nginx, and then, in turn, a process per client and round, each of
//! which fetches a 10 KiB page over and over with some workers at once. It prints the medians of CPU time (user and
//! system, of the one thread) and the ratio. With `-- --callgrind` it counts user instructions under valgrind instead, which
//! do not depend on what else the machine does.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a program that prints figures")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::process::Command;
use std::rc::Rc;

use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use support::nginx::Nginx;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let find = |name: &str| arguments.iter().position(|argument| argument == name).map(|at| at + 1);
    if let Some(client) = find("--client") {
        let requests = arguments[client + 2].parse().unwrap();
        let workers = arguments[client + 3].parse().unwrap();
        let url = arguments[client + 1].clone();
        match arguments[client].as_str() {
            "aioxide" => run_aioxide(url, requests, workers),
            "hyper" => run_hyper(&url, requests, workers),
            other => panic!("no client {other}"),
        }
        println!("{}", cpu_nanoseconds());
        return;
    }
    let nginx = Nginx::start(&[("page", &[b'x'; 10 * 1024])]);
    let url = nginx.url("/page");
    if find("--callgrind").is_some() {
        println!("workers  aioxide  hyper+tokio  ratio   (user instructions per request)");
        for workers in [1, 10, 100] {
            let [aioxide, hyper] = CLIENTS.map(|client| instructions(client, &url, workers));
            println!("{workers:7}  {aioxide:7.0}  {hyper:11.0}  {:5.3}", aioxide / hyper);
        }
        return;
    }
    println!("workers  aioxide (min..max)      hyper+tokio (min..max)  ratio   (us of CPU per request)");
    for workers in [1, 10, 100] {
        let mut figures = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (client, figures) in CLIENTS.iter().zip(&mut figures) {
                let nanoseconds: f64 =
                    child(Command::new(std::env::current_exe().unwrap()), client, &url, REQUESTS, workers);
                figures.push(nanoseconds / REQUESTS as f64 / 1000.0);
            }
        }
        let [aioxide, hyper] = figures.map(|mut figures| {
            figures.sort_by(f64::total_cmp);
            (figures[ROUNDS / 2], figures[0], figures[ROUNDS - 1])
        });
        println!(
            "{workers:7}  {:6.2} ({:6.2}..{:6.2})  {:10.2} ({:6.2}..{:6.2})  {:5.3}",
            aioxide.0,
            aioxide.1,
            aioxide.2,
            hyper.0,
            hyper.1,
            hyper.2,
            aioxide.0 / hyper.0
        );
    }
}

const CLIENTS: [&str; 2] = ["aioxide", "hyper"];
const ROUNDS: usize = 7;
const REQUESTS: usize = 20_000;

/// Runs a client in a process of its own; what it prints.
fn child(mut command: Command, client: &str, url: &str, requests: usize, workers: usize) -> f64 {
    let output = command
        .args(["--client", client, url, &requests.to_string(), &workers.to_string()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

/// User instructions per request: the difference between two runs, so that what happens once does not count.
fn instructions(client: &str, url: &str, workers: usize) -> f64 {
    let directory = tempfile::tempdir().unwrap();
    let mut totals = [0.0; 2];
    for (total, requests) in totals.iter_mut().zip([1000, 3000]) {
        let file = directory.path().join("callgrind.out");
        let mut valgrind = Command::new("valgrind");
        valgrind.args(["--tool=callgrind", &format!("--callgrind-out-file={}", file.display())]);
        valgrind.arg(std::env::current_exe().unwrap());
        child(valgrind, client, url, requests, workers);
        let text = std::fs::read_to_string(&file).unwrap();
        let line =
            text.lines().find(|line| line.starts_with("summary:") || line.starts_with("totals:")).unwrap();
        *total = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    }
    (totals[1] - totals[0]) / 2000.0
}

/// CPU time of this process's only busy thread so far.
fn cpu_nanoseconds() -> u64 {
    let schedstat = std::fs::read_to_string("/proc/self/schedstat").unwrap();
    schedstat.split_whitespace().next().unwrap().parse().unwrap()
}

fn run_aioxide(url: String, requests: usize, workers: usize) {
    support::run(async move {
        let session = aioxide_http::Session::builder().limit(workers).build().unwrap();
        // As the other side: the URL is read once.
        let url: Rc<aioxide_http::Url> = Rc::new(url.parse().unwrap());
        let tasks: Vec<_> = (0..workers)
            .map(|_| {
                let (session, url) = (session.clone(), url.clone());
                aioxide::spawn(async move {
                    for _ in 0..requests / workers {
                        let mut response = session.get(&*url).send().await.unwrap();
                        let mut length = 0;
                        while let Some(chunk) = response.chunk().await.unwrap() {
                            length += chunk.len();
                        }
                        assert_eq!(length, 10 * 1024);
                    }
                })
            })
            .collect();
        futures_util::future::join_all(tasks).await;
    });
}

fn run_hyper(url: &str, requests: usize, workers: usize) {
    let url: http::Uri = url.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async move {
        let authority = url.authority().unwrap().to_string();
        let tasks: Vec<_> = (0..workers)
            .map(|_| {
                let (authority, url) = (authority.clone(), url.clone());
                tokio::task::spawn_local(async move {
                    let stream = tokio::net::TcpStream::connect(&authority).await.unwrap();
                    stream.set_nodelay(true).unwrap();
                    let io = hyper_util::rt::TokioIo::new(stream);
                    let (mut sender, connection) =
                        http1::handshake::<_, Empty<bytes::Bytes>>(io).await.unwrap();
                    tokio::task::spawn_local(connection);
                    for _ in 0..requests / workers {
                        let request = http::Request::get(url.path())
                            .header("host", &authority)
                            .header("accept", "*/*")
                            .header("user-agent", "bench/1")
                            .body(Empty::new())
                            .unwrap();
                        sender.ready().await.unwrap();
                        let mut body = sender.send_request(request).await.unwrap().into_body();
                        let mut length = 0;
                        while let Some(frame) = body.frame().await {
                            length += frame.unwrap().data_ref().map_or(0, bytes::Bytes::len);
                        }
                        assert_eq!(length, 10 * 1024);
                    }
                })
            })
            .collect();
        futures_util::future::join_all(tasks).await;
    });
}
