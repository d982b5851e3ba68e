//! The jar's rules, without a network.

use super::*;

fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

fn sent(jar: &CookieJar, to: &str) -> String {
    jar.header(&url(to)).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}

#[test]
fn domain_path_and_scheme_decide_who_gets_a_cookie() {
    let jar = CookieJar::new();
    let from = url("https://a.example.co.uk/shop/cart");
    for cookie in
        ["host=1", "site=2; Domain=example.co.uk; Path=/", "tls=3; Path=/; Secure", "deep=4; Path=/shop/x"]
    {
        assert!(jar.set(&from, cookie), "{cookie}");
    }
    for (to, cookies) in [
        ("https://a.example.co.uk/shop/x/y", "deep=4; host=1; tls=3; site=2"),
        ("https://a.example.co.uk/", "tls=3; site=2"),
        ("http://a.example.co.uk/shop/", "host=1; site=2"),
        ("http://b.example.co.uk/", "site=2"),
        ("http://example.co.uk/shop/", "site=2"),
        ("http://other.co.uk/", ""),
        ("http://notexample.co.uk/", ""),
    ] {
        assert_eq!(sent(&jar, to), cookies, "{to}");
    }
}

#[test]
fn cookies_for_public_suffixes_other_sites_and_ip_hosts_are_refused() {
    let jar = CookieJar::new();
    for (from, cookie) in [
        ("http://a.example.co.uk/", "x=1; Domain=co.uk"),
        ("http://me.github.io/", "x=1; Domain=github.io"),
        ("http://a.example.org/", "x=1; Domain=b.example.org"),
        ("http://a.example.org/", "x=1; Domain=com"),
        ("http://127.0.0.1/", "x=1"),
        ("http://[::1]/", "x=1"),
        ("http://a.test/", "x=1; Secure"),
        ("http://a.test/", "__Secure-x=1"),
        ("https://a.test/", "__Host-x=1; Secure; Path=/; Domain=a.test"),
        ("https://a.test/", "__host-x=1; Secure"),
        ("https://a.test/", "__Secure-x=1"),
    ] {
        assert!(!jar.set(&url(from), cookie), "{from} {cookie}");
    }
    assert!(jar.is_empty());
    // The suffix itself may have one, for itself.
    assert!(jar.set(&url("https://github.io/"), "own=1; Domain=github.io"));
    assert_eq!(sent(&jar, "https://me.github.io/"), "");
    assert_eq!(sent(&jar, "https://github.io/"), "own=1");
    let jar = CookieJar::new().allow_ip_hosts(true);
    assert!(jar.set(&url("http://127.0.0.1/"), "x=1"));
    assert!(!jar.set(&url("http://127.0.0.1/"), "x=1; Domain=0.0.1"));
    assert_eq!(sent(&jar, "http://127.0.0.1:8000/"), "x=1");
    assert_eq!(sent(&jar, "http://127.0.0.2/"), "");
}

#[test]
fn an_outdated_cookie_removes_its_predecessor() {
    let jar = CookieJar::new();
    let from = url("http://a.test/");
    assert!(jar.set(&from, "x=1; Max-Age=100"));
    assert!(!jar.set(&from, "y=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT"));
    assert!(jar.set(&from, "x=1; Max-Age=0"));
    assert!(jar.is_empty());
    assert!(jar.jar.borrow().sites.is_empty());
}

#[test]
fn a_server_cannot_fill_the_jar() {
    let jar = CookieJar::new();
    let from = url("http://a.test/");
    assert!(jar.set(&from, "login=1"));
    for number in 0..1000 {
        assert!(jar.set(&from, &format!("n{number}={number}; Max-Age={}", 1000 + number)));
    }
    assert_eq!(jar.len(), MAX_PER_SITE);
    assert_eq!(jar.get(&from, "login").as_deref(), Some("1"));
    assert_eq!(jar.get(&from, "n999").as_deref(), Some("999"));
    assert!(!jar.set(&from, &format!("long={}", "x".repeat(MAX_LENGTH))));
    for number in 0..2 * MAX_TOTAL {
        assert!(jar.set(&url(&format!("http://host{number}.test/")), "a=1"));
    }
    assert!(jar.len() <= MAX_TOTAL);
    assert_eq!(jar.get(&from, "login"), None);
}

#[test]
fn a_saved_jar_is_the_same_when_it_is_loaded() {
    let jar = CookieJar::new();
    for (from, cookie) in [
        ("https://a.example.org/x/y", "host=1; HttpOnly"),
        ("https://a.example.org/", "site=a=b; Domain=example.org; Path=/; Max-Age=1000"),
        ("https://a.example.org/", "tls=; Secure; Path=/"),
    ] {
        assert!(jar.set(&url(from), cookie));
    }
    let mut first = Vec::new();
    jar.save_netscape(&mut first).unwrap();
    let text = String::from_utf8(first.clone()).unwrap();
    assert!(text.contains("#HttpOnly_a.example.org\tFALSE\t/x\tFALSE\t0\thost\t1\n"), "{text}");
    let again = CookieJar::new();
    assert_eq!(again.load_netscape(&first[..]).unwrap(), 3, "{text}");
    for to in ["https://a.example.org/x/z", "http://b.example.org/", "https://a.example.org/"] {
        assert_eq!(sent(&again, to), sent(&jar, to));
    }
    let odd =
        "\n# comment\nno tabs\n.example.org\tTRUE\t/\tFALSE\t1\told\t1\n.com\tTRUE\t/\tFALSE\tx\tbad\t1\n";
    assert_eq!(again.load_netscape(odd.as_bytes()).unwrap(), 0);
}
