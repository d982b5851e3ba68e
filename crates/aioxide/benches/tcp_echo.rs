//! TCP over loopback beside tokio's `current_thread` with a `LocalSet`, in the same run.
//!
//! `cargo bench -p aioxide --bench tcp_echo`. Server and client are two tasks of one loop. `echo`: a message there and
//! back, [`ROUNDS`] times on one connection. `echo_50`: the same on 50 connections at a time. `connect`: connect, accept,
//! a byte, close. `PROFILE=<mechanism>/<side>` runs one of them 200 times and ends, for strace and callgrind.

#![expect(clippy::unwrap_used, reason = "a failure ends the bench")]

use std::future::Future;
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::time::Duration;

use aioxide::Runtime;
use criterion::{BenchmarkId, Criterion, Throughput};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const ROUNDS: u64 = 1_000;
const CONNECTIONS: u64 = 50;
const CONNECTS: u64 = 100;
const LOCALHOST: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

/// One mechanism on one side: a closure that does it so many times.
struct Case {
    mechanism: &'static str,
    side: &'static str,
    count: u64,
    run: Box<dyn FnMut()>,
}

fn ours<F: Future<Output = ()> + 'static>(mechanism: &'static str, count: u64, make: fn() -> F) -> Case {
    let runtime = Runtime::new().unwrap();
    Case { mechanism, side: "aioxide", count, run: Box::new(move || runtime.block_on(make()).unwrap()) }
}

fn theirs<F: Future<Output = ()> + 'static>(mechanism: &'static str, count: u64, make: fn() -> F) -> Case {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let local = tokio::task::LocalSet::new();
    // As a task of the set, so that both sides run tasks and not the root future.
    let run = move || local.block_on(&runtime, async { tokio::task::spawn_local(make()).await.unwrap() });
    Case { mechanism, side: "tokio", count, run: Box::new(run) }
}

/// The same text for both sides: their names differ in nothing but the crate.
macro_rules! side {
    ($side:ident, $net:path, $spawn:path, $bind:expr) => {
        mod $side {
            use super::*;
            use $net::{TcpListener, TcpStream};
            use $spawn as spawn;

            pub(super) async fn pair() -> (TcpStream, TcpStream) {
                let listener: TcpListener = $bind;
                let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
                let (server, _) = listener.accept().await.unwrap();
                client.set_nodelay(true).unwrap();
                server.set_nodelay(true).unwrap();
                (client, server)
            }

            async fn serve<const SIZE: usize>(mut stream: TcpStream) {
                let mut buffer = vec![0; SIZE + 1];
                loop {
                    let count = stream.read(&mut buffer).await.unwrap();
                    if count == 0 {
                        return;
                    }
                    stream.write_all(&buffer[..count]).await.unwrap();
                }
            }

            async fn ask<const SIZE: usize>(mut stream: TcpStream, rounds: u64) {
                let message = vec![1; SIZE];
                // Room for more than is expected, as a protocol's buffer has.
                let mut buffer = vec![0; SIZE + 1];
                for _ in 0..rounds {
                    stream.write_all(&message).await.unwrap();
                    let mut received = 0;
                    while received < SIZE {
                        received += stream.read(&mut buffer[received..]).await.unwrap();
                    }
                }
            }

            pub(super) async fn echo<const SIZE: usize>() {
                let (client, server) = pair().await;
                let server = spawn(serve::<SIZE>(server));
                ask::<SIZE>(client, ROUNDS).await;
                let _ = black_box(server.await);
            }

            pub(super) async fn echo_many() {
                let mut tasks = Vec::new();
                for _ in 0..CONNECTIONS {
                    let (client, server) = pair().await;
                    tasks.push(spawn(serve::<64>(server)));
                    tasks.push(spawn(ask::<64>(client, ROUNDS / CONNECTIONS)));
                }
                for task in tasks {
                    let _ = black_box(task.await);
                }
            }

            pub(super) async fn connect() {
                let listener: TcpListener = $bind;
                let addr = listener.local_addr().unwrap();
                let server = spawn(async move {
                    for _ in 0..CONNECTS {
                        let (mut stream, _) = listener.accept().await.unwrap();
                        stream.write_all(b"x").await.unwrap();
                    }
                });
                for _ in 0..CONNECTS {
                    let mut stream = TcpStream::connect(addr).await.unwrap();
                    assert_eq!(stream.read(&mut [0; 2]).await.unwrap(), 1);
                }
                let _ = black_box(server.await);
            }
        }
    };
}

side!(on_aioxide, aioxide::net, aioxide::spawn, TcpListener::bind(LOCALHOST).unwrap());
side!(on_tokio, tokio::net, tokio::task::spawn_local, TcpListener::bind(LOCALHOST).await.unwrap());

fn cases() -> Vec<Case> {
    vec![
        ours("echo_64B", ROUNDS, on_aioxide::echo::<64>),
        theirs("echo_64B", ROUNDS, on_tokio::echo::<64>),
        ours("echo_16KiB", ROUNDS, on_aioxide::echo::<16_384>),
        theirs("echo_16KiB", ROUNDS, on_tokio::echo::<16_384>),
        ours("echo_50", ROUNDS, on_aioxide::echo_many),
        theirs("echo_50", ROUNDS, on_tokio::echo_many),
        ours("connect", CONNECTS, on_aioxide::connect),
        theirs("connect", CONNECTS, on_tokio::connect),
    ]
}

fn main() {
    if let Ok(wanted) = std::env::var("PROFILE") {
        let mut case = cases()
            .into_iter()
            .find(|case| format!("{}/{}", case.mechanism, case.side) == wanted)
            .expect("PROFILE names a mechanism and a side");
        (0..200).for_each(|_| (case.run)());
        return;
    }
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let mut cases = cases();
    for pair in cases.chunks_mut(2) {
        let mut group = criterion.benchmark_group(format!("tcp/{}", pair[0].mechanism));
        for case in pair {
            group.throughput(Throughput::Elements(case.count));
            group.bench_function(BenchmarkId::from_parameter(case.side), |bencher| {
                bencher.iter(|| (case.run)())
            });
        }
        group.finish();
    }
    criterion.final_summary();
}
