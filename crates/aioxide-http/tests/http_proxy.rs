//! Requests through proxies: forwarded, tunnelled, by SOCKS; what a proxy sees and what it does not.

mod support;

use aioxide_http::{AddressFilter, Proxies, Proxy as Via, RequestBuilder, Session};
use support::certs::Authority;
use support::nginx::Nginx;
use support::proxy::Proxy;
use support::run;
use support::server::{Server, ok};

async fn text(request: RequestBuilder) -> String {
    request.send().await.expect("an answer").text().await.expect("a body")
}

fn via(url: String) -> Via {
    Via::new(&url).expect("a proxy")
}

#[test]
fn plain_http_is_forwarded_with_the_whole_url_and_the_proxys_secret() {
    let proxy = Proxy::http(Some("Basic bWU6cHc="));
    run(async move {
        let own = via(format!("http://me:pw@127.0.0.1:{}", proxy.port));
        assert!(!format!("{own:?}").contains("pw"));
        let session = Session::builder().proxies(Proxies::all(own)).build().unwrap();
        for _ in 0..2 {
            let answer = text(session.get("http://some.test:81/a?b=c#d")).await;
            assert_eq!(answer, "forwarded http://some.test:81/a?b=c");
        }
        assert_eq!(session.connections(), 1);
        let head = proxy.seen().pop().unwrap().to_lowercase();
        assert!(
            head.contains("\r\nhost: some.test:81\r\n")
                && head.contains("proxy-authorization: basic bwu6chc=")
        );
        // Without the secret the proxy's refusal is the answer.
        let bare = via(format!("127.0.0.1:{}", proxy.port));
        let response = session.get("http://some.test/").proxy(bare).send().await.unwrap();
        assert_eq!(response.status(), 407);
    });
}

#[test]
fn https_goes_through_a_tunnel_over_http1_and_http2() {
    let nginx = Nginx::start(&[("page", b"hello")]);
    let proxy = Proxy::http(Some("Basic bWU6cHc="));
    run(async move {
        let session = Session::builder()
            .add_root_pem(nginx.authority.pem.as_bytes())
            .proxies(Proxies::all(via(format!("http://me:pw@127.0.0.1:{}", proxy.port))))
            .build()
            .unwrap();
        for url in [nginx.tls_url("/page"), nginx.h2_url("/page")] {
            let response = session.get(&url).header("X-Own", "secret").send().await.unwrap();
            assert_eq!(response.remote_addr().unwrap().port(), proxy.port);
            assert_eq!(response.text().await.unwrap(), "hello");
        }
        let seen = proxy.seen();
        assert_eq!(seen.len(), 2);
        for (head, port) in seen.iter().zip([nginx.tls_port, nginx.h2_port]) {
            assert!(
                head.starts_with(&format!("CONNECT localhost:{port} HTTP/1.1\r\nHost: localhost:{port}\r\n")),
                "{head}"
            );
            assert!(!head.contains("secret") && head.contains("User-Agent: aioxide/"), "{head}");
        }
        let refused = session.get("https://localhost:1/").send().await.unwrap_err();
        assert!(refused.is_proxy() && refused.proxy_status().unwrap() == 502, "{refused:?}");
        let bare = via(format!("http://127.0.0.1:{}", proxy.port));
        let refused = session.get(nginx.tls_url("/")).proxy(bare).send().await.unwrap_err();
        assert_eq!(refused.proxy_status().unwrap(), 407);
    });
}

#[test]
fn tls_to_the_proxy_and_within_it_tls_to_the_server() {
    let nginx = Nginx::start(&[("page", b"hello")]);
    let authority = Authority::new();
    let proxy = Proxy::https(&authority.issue(&["localhost"]));
    run(async move {
        let builder = || Session::builder().add_root_pem(nginx.authority.pem.as_bytes());
        let secure = via(format!("https://localhost:{}", proxy.port));
        let session = builder()
            .add_root_pem(authority.pem.as_bytes())
            .proxies(Proxies::all(secure.clone()))
            .build()
            .unwrap();
        for url in [nginx.tls_url("/page"), nginx.h2_url("/page")] {
            assert_eq!(text(session.get(url)).await, "hello");
        }
        assert_eq!(text(session.get("http://plain.test/")).await, "forwarded http://plain.test/");
        // The proxy's certificate is verified, too, by what is said for it if anything is.
        let session = builder().proxies(Proxies::all(secure.clone())).build().unwrap();
        assert!(session.get(nginx.tls_url("/page")).send().await.unwrap_err().is_tls());
        let own = aioxide_http::Tls::builder().root_pem(authority.pem.as_bytes()).build().unwrap();
        assert_eq!(text(session.get(nginx.tls_url("/page")).proxy(secure.tls(own))).await, "hello");
    });
}

#[test]
fn socks_takes_names_or_addresses_and_passwords() {
    let nginx = Nginx::start(&[("page", b"hello")]);
    let open = Proxy::socks(None);
    let closed = Proxy::socks(Some(("me", "p w")));
    run(async move {
        let session = Session::builder().add_root_pem(nginx.authority.pem.as_bytes()).build().unwrap();
        let named = via(format!("socks5h://127.0.0.1:{}", open.port));
        assert_eq!(text(session.get(nginx.h2_url("/page")).proxy(named.clone())).await, "hello");
        assert_eq!(open.seen(), [format!("localhost {}", nginx.h2_port)]);
        let resolved = via(format!("socks5://127.0.0.1:{}", open.port));
        assert_eq!(
            text(session.get(format!("http://localhost:{}/page", nginx.port)).proxy(resolved)).await,
            "hello"
        );
        assert_eq!(open.seen()[1], format!("127.0.0.1 {}", nginx.port));
        let secret = via(format!("socks5://me:p%20w@127.0.0.1:{}", closed.port));
        assert_eq!(text(session.get(nginx.url("/page")).proxy(secret)).await, "hello");
        for wrong in ["", "me:wrong@"] {
            let wrong = via(format!("socks5://{wrong}127.0.0.1:{}", closed.port));
            let error = session.get(nginx.url("/page")).proxy(wrong).send().await.unwrap_err();
            assert!(error.is_proxy(), "{error:?}");
        }
        let nowhere = session.get("http://127.0.0.1:1/").proxy(named).send().await.unwrap_err();
        assert!(nowhere.is_proxy() && nowhere.proxy_status().is_none(), "{nowhere:?}");
    });
}

#[test]
fn connections_of_different_ways_are_not_mixed_and_no_proxy_is_obeyed() {
    let server = Server::always(ok("direct"));
    let proxy = Proxy::http(None);
    run(async move {
        let proxies = Proxies::all(via(format!("http://127.0.0.1:{}", proxy.port))).no_proxy("localhost");
        let session = Session::builder().proxies(proxies).build().unwrap();
        let direct = format!("http://localhost:{}/", server.port);
        assert_eq!(text(session.get(&direct)).await, "direct");
        assert_eq!(text(session.get(server.url("/"))).await, format!("forwarded {}", server.url("/")));
        assert_eq!(text(session.get(server.url("/")).proxies(Proxies::none())).await, "direct");
        assert_eq!(session.connections(), 3);
        assert_eq!(proxy.seen().len(), 1);
    });
}

#[test]
fn a_proxy_that_is_not_there_is_told_from_a_server_that_is_not() {
    run(async move {
        let gone = via("http://127.0.0.1:1".to_owned());
        let session = Session::builder().proxies(Proxies::all(gone)).build().unwrap();
        let error = session.get("http://some.test/").send().await.unwrap_err();
        assert!(error.is_proxy() && error.is_connect() && error.proxy_status().is_none(), "{error:?}");
        let error = session.get("http://127.0.0.1:1/").proxies(Proxies::none()).send().await.unwrap_err();
        assert!(!error.is_proxy() && error.is_connect(), "{error:?}");
    });
}

#[test]
fn answers_to_connect_that_are_none_are_errors_in_bounded_memory() {
    let answers: [&[u8]; 5] = [
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nbytes that nobody asked for",
        b"HTTP/1.1 2000\r\n\r\n",
        b"",
        &[b'x'; 100_000],
    ];
    for answer in answers {
        let server = Server::start(move |mut connection, _| {
            connection.read_request();
            connection.send(answer);
            connection.finish();
            connection.wait_closed();
        });
        run(async move {
            let proxy = via(format!("http://127.0.0.1:{}", server.port));
            let session = Session::builder().proxies(Proxies::all(proxy)).build().unwrap();
            let error = session.get("https://some.test/").send().await.unwrap_err();
            assert!(error.is_proxy(), "{error:?}");
        });
    }
}

#[test]
fn with_a_filter_the_proxy_is_given_an_address_that_passed() {
    let server = Server::always(ok("hello"));
    let proxy = Proxy::http(None);
    let socks = Proxy::socks(None);
    run(async move {
        let session = |filter: AddressFilter| {
            Session::builder()
                .address_filter(filter)
                .resolve_to("public.test", 0, [([93, 184, 215, 14], 0).into()])
                .resolve_to("inner.test", 0, [([10, 0, 0, 1], 0).into()])
                .build()
                .unwrap()
        };
        let session = session(AddressFilter::deny_private());
        for via in [
            via(format!("http://127.0.0.1:{}", proxy.port)),
            via(format!("socks5h://127.0.0.1:{}", socks.port)),
        ] {
            // The proxy of the test connects to this machine whatever it is told.
            let url = format!("http://public.test:{}/", server.port);
            assert_eq!(text(session.get(url).proxy(via.clone())).await, "hello");
            for url in
                ["http://inner.test/", "https://inner.test/", "http://0x7f.1/", "http://[::ffff:10.0.0.1]/"]
            {
                let error = session.get(url).proxy(via.clone()).send().await.unwrap_err();
                assert!(error.is_denied(), "{url}: {error:?}");
            }
        }
        let port = server.port;
        assert!(proxy.seen()[0].starts_with(&format!("CONNECT 93.184.215.14:{port} ")));
        assert_eq!(socks.seen(), [format!("93.184.215.14 {port}")]);
    });
}

#[test]
fn the_environment_is_read_as_curl_reads_it() {
    let find = |variables: &'static [(&str, &str)], url: &str| {
        let value =
            |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let proxies = Proxies::from_variables(value).unwrap();
        proxies.find(&aioxide_http::Url::parse(url).unwrap()).map(|proxy| proxy.url().to_string())
    };
    let host = |name: &str| Some(format!("http://{name}/"));
    assert_eq!(find(&[("http_proxy", "a")], "http://x.test/"), host("a"));
    assert_eq!(find(&[("http_proxy", "a")], "https://x.test/"), None);
    assert_eq!(find(&[("HTTP_PROXY", "a")], "http://x.test/"), None);
    assert_eq!(find(&[("HTTPS_PROXY", "a"), ("https_proxy", "b")], "https://x.test/"), host("b"));
    assert_eq!(find(&[("ALL_PROXY", "a"), ("http_proxy", "")], "http://x.test/"), host("a"));
    assert_eq!(find(&[("all_proxy", "a"), ("NO_PROXY", "x.test")], "http://x.test/"), None);
    let bad = Proxies::from_variables(|name| (name == "http_proxy").then(|| "ftp://me:secret@a".to_owned()));
    let error = bad.unwrap_err();
    assert!(error.is_invalid_url() && !format!("{error:?}").contains("secret"), "{error:?}");
}
