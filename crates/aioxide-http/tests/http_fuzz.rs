//! Answers made from a seed, good and bad: none is a half body called whole, a hang, a panic, or taken for another's.
//!
//! A few hundred in the ordinary run; `make fuzz-http MINUTES=10` goes on. A failure names its seed:
//! `AIOXIDE_FUZZ_SEED=7` begins there.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use aioxide_http::{Method, Session, Timeouts};
use futures_util::stream::{self, StreamExt};
use support::raw::{Made, Plan, run_rounds, serve};
use support::raw_h2::{self, RawServer};
use support::run;

/// What no answer of the loopback needs; on a busy machine it must not be the fault.
const HANG: Timeouts = Timeouts { total: Some(Duration::from_secs(30)), ..Timeouts::NONE };

async fn make(session: &Session, method: Method, url: String, body: Vec<u8>) -> Made {
    let answer = async {
        let response = session.request(method, url).body(body).send().await?;
        let (status, named) = (response.status().as_u16(), response.headers().get("x-id").cloned());
        let named = named.and_then(|value| value.to_str().map(str::to_owned).ok());
        Ok::<_, aioxide_http::Error>((status, named, response.bytes().await?.to_vec()))
    };
    answer.await.map_err(|error| {
        assert!(!error.is_timeout(), "a hang: {error:?}");
        format!("{error:?}")
    })
}

#[test]
fn http1_answers_are_what_their_framing_says() {
    const CASES: u64 = 400;
    run_rounds(CASES, |seed| {
        let server = serve(seed, true);
        run(async move {
            let session = Session::builder().limit(6).redirects(0).timeouts(HANG).build().unwrap();
            let session = &session;
            let problems: Vec<String> = stream::iter(0..CASES)
                .map(|id| {
                    let url = server.url(&format!("/{id}"));
                    async move {
                        let is_head = id % 7 == 0;
                        let method = if is_head { Method::HEAD } else { Method::GET };
                        let made = make(session, method, url, Vec::new()).await;
                        Plan::new(seed, id, is_head, true).truth.check(id, &made).err()
                    }
                })
                .buffer_unordered(4)
                .filter_map(|problem| async { problem })
                .collect()
                .await;
            assert!(problems.is_empty(), "seed {seed}: {problems:#?}");
        });
        CASES
    });
}

/// Asks for the answers of one seed, `together` at a time.
fn http2_round(seed: u64, cases: u64, together: usize) -> u64 {
    let server = RawServer::start(seed);
    run(async move {
        let session = server.trusting().redirects(0).timeouts(HANG).build().unwrap();
        let (session, url) = (&session, &server.url());
        let problems: Vec<String> = stream::iter(0..cases)
            .map(|id| async move {
                let asks_head = |id: u64| id.is_multiple_of(7);
                let is_head = asks_head(id);
                let method = if is_head { Method::HEAD } else { Method::GET };
                let made = make(session, method, url.clone(), raw_h2::wish(id, is_head)).await;
                let truth = raw_h2::truth(seed, id, is_head);
                let is_alone = together == 1
                    && !id.checked_sub(1).is_some_and(|id| raw_h2::leaves_fault(seed, id, asks_head(id)));
                let truth = if is_alone { truth } else { raw_h2::weakened(truth) };
                // The number of a stream may be changed like any byte: then it is the server that mixes them up.
                let strays = |named: u64| {
                    together > 1 && named != id && raw_h2::is_mutated(seed, named, asks_head(named))
                };
                let named = made.as_ref().ok().and_then(|(_, named, _)| named.as_ref()?.parse().ok());
                truth.check(id, &made).err().filter(|_| !named.is_some_and(strays))
            })
            .buffer_unordered(together)
            .filter_map(|problem| async { problem })
            .collect()
            .await;
        assert!(problems.is_empty(), "seed {seed}: {problems:#?}");
    });
    cases
}

#[test]
fn http2_answers_are_what_their_frames_say() {
    run_rounds(150, |seed| http2_round(seed, 150, 1));
}

#[test]
fn http2_answers_beside_each_other_are_never_mixed_up() {
    run_rounds(150, |seed| http2_round(seed, 150, 5));
}
