//! Servers that are silent, in no time: the loop's clock is a virtual one.

use std::collections::HashSet;
use std::fs;

use hickory_proto::op::{Message, OpCode};
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{RData, Record};

use super::*;

/// Servers that never answer.
fn silent(number: usize) -> (Vec<UdpSocket>, Vec<SocketAddr>) {
    let sockets: Vec<UdpSocket> = (0..number).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    let addresses = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
    (sockets, addresses)
}

/// How many questions came.
fn asked(socket: &UdpSocket) -> usize {
    socket.set_nonblocking(true).unwrap();
    std::iter::from_fn(|| socket.recv(&mut [0; 512]).ok()).count()
}

fn resolver(servers: &[SocketAddr], families: Families) -> Resolver {
    Resolver::new(servers, "/does/not/exist".into(), families, 16)
}

#[test]
fn silent_servers_are_asked_in_turn_and_given_up() {
    aioxide::testing::run(async {
        let (sockets, addresses) = silent(2);
        let resolver = resolver(&addresses, Families::FourFirst);
        let began = Instant::now();
        let error = resolver.shared.find("a.test").await.unwrap_err();
        assert_eq!(began.elapsed(), PATIENCE);
        let expected =
            format!("cannot resolve a.test: no answer from {}, {} within 10 s", addresses[0], addresses[1]);
        assert_eq!((error.kind(), error.to_string()), (io::ErrorKind::TimedOut, expected));
        // 1 s and 1 s, 2 s and 2 s, 3 s and what is left.
        assert_eq!((asked(&sockets[0]), asked(&sockets[1])), (3, 3));
        // For a second, nobody is asked again.
        let again = resolver.shared.find("a.test").await.unwrap_err();
        assert_eq!((again.to_string(), asked(&sockets[0])), (error.to_string(), 0));
    });
}

/// A server on the same loop, which answers each question with one address; `six`: those for IPv6, too.
fn answering(six: bool) -> SocketAddr {
    answering_for(60, six)
}

fn answering_for(ttl: u32, six: bool) -> SocketAddr {
    let socket = aioxide::net::UdpSocket::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = socket.local_addr().unwrap();
    let serving = async move {
        let mut datagram = [0; 512];
        loop {
            let (length, peer) = socket.recv_from(&mut datagram).await.unwrap();
            let question = Message::from_vec(&datagram[..length]).unwrap();
            let query = question.queries[0].clone();
            let mut answer = Message::response(question.metadata.id, OpCode::Query);
            let found = match query.query_type {
                RecordType::A => RData::A(A::new(127, 0, 0, 1)),
                _ if six => RData::AAAA(AAAA(Ipv6Addr::LOCALHOST)),
                _ => continue,
            };
            answer.add_answer(Record::from_rdata(query.name.clone(), ttl, found)).add_query(query);
            socket.send_to(&answer.to_vec().unwrap(), peer).await.unwrap();
        }
    };
    // It ends with the loop.
    drop(aioxide::spawn(serving));
    address
}

#[test]
fn server_that_was_silent_is_asked_last_and_tried_again_by_one_question() {
    aioxide::testing::run(async {
        let (sockets, mut addresses) = silent(1);
        addresses.push(answering(true));
        let resolver = resolver(&addresses, Families::FourFirst);
        let look_up = async |host: &str| {
            let began = Instant::now();
            resolver.shared.find(host).await.unwrap();
            began.elapsed().as_secs()
        };
        let mut times = Vec::new();
        for number in 0..5 {
            times.push(look_up(&format!("{number}.test")).await);
        }
        assert_eq!((times, asked(&sockets[0])), (vec![1, 1, 1, 0, 0], 3));
        sleep(Duration::from_secs(11)).await;
        let many: Vec<_> = (10..20)
            .map(|number| {
                let shared = Rc::clone(&resolver.shared);
                aioxide::spawn(async move { shared.find(&format!("{number}.test")).await.is_ok() })
            })
            .collect();
        for task in many {
            assert!(task.await);
        }
        assert_eq!(asked(&sockets[0]), 1);
        assert_eq!((look_up("30.test").await, asked(&sockets[0])), (0, 0), "it is still silent");
    });
}

#[test]
fn both_families_are_asked_for_where_both_are_reached() {
    aioxide::testing::run(async {
        let resolver = resolver(&[answering(true)], Families::Both);
        let found = resolver.shared.find("a.test").await.unwrap();
        assert_eq!(*found, [IpAddr::from(Ipv6Addr::LOCALHOST), Ipv4Addr::LOCALHOST.into()]);
    });
    aioxide::testing::run(async {
        let resolver = resolver(&[answering(false)], Families::Both);
        let began = Instant::now();
        let found = resolver.shared.find("a.test").await.unwrap();
        assert_eq!((began.elapsed(), &*found), (OTHER_FAMILY, &[IpAddr::from(Ipv4Addr::LOCALHOST)][..]));
        assert!(resolver.shared.cache.borrow().get("a.test").is_some());
        sleep(UNSURE).await;
        assert!(resolver.shared.cache.borrow().get("a.test").is_none(), "it may have been half of them");
    });
}

#[test]
fn answers_are_not_kept_for_longer_than_an_hour_whatever_they_say() {
    aioxide::testing::run(async {
        for (ttl, kept) in [(i32::MAX as u32, LONGEST), (50, Duration::from_secs(50))] {
            let resolver = resolver(&[answering_for(ttl, true)], Families::FourFirst);
            let is_known = || resolver.shared.cache.borrow().get("a.test").is_some();
            assert!(resolver.shared.find("a.test").await.is_ok());
            sleep(kept - Duration::from_secs(1)).await;
            assert!(is_known(), "{ttl}");
            sleep(Duration::from_secs(1)).await;
            assert!(!is_known(), "{ttl}");
        }
        // RFC 2181: such a time to live is none.
        let resolver = resolver(&[answering_for(u32::MAX, true)], Families::FourFirst);
        assert!(resolver.shared.find("a.test").await.is_ok());
        assert!(resolver.shared.cache.borrow().get("a.test").is_none());
    });
}

#[test]
fn each_question_has_a_port_and_an_identifier_of_its_own() {
    aioxide::testing::run(async {
        let (sockets, addresses) = silent(1);
        let resolver = resolver(&addresses, Families::Both);
        let tasks: Vec<_> = (0..8)
            .map(|number| {
                let shared = Rc::clone(&resolver.shared);
                aioxide::spawn(async move { shared.find(&format!("{number}.test")).await.is_err() })
            })
            .collect();
        sleep(Duration::from_millis(500)).await;
        sockets[0].set_nonblocking(true).unwrap();
        let mut datagram = [0; 512];
        let came: Vec<(u16, [u8; 2])> = std::iter::from_fn(|| {
            let (_, peer) = sockets[0].recv_from(&mut datagram).ok()?;
            Some((peer.port(), [datagram[0], datagram[1]]))
        })
        .collect();
        let ports: HashSet<u16> = came.iter().map(|(port, _)| *port).collect();
        let identifiers: HashSet<[u8; 2]> = came.iter().map(|(_, identifier)| *identifier).collect();
        // Two of sixteen identifiers may be the same by chance, once in five hundred times.
        assert!(came.len() == 16 && ports.len() == 16 && identifiers.len() >= 14, "{came:?}");
        tasks.iter().for_each(|task| {
            task.cancel();
        });
    });
}

#[test]
fn questions_wait_when_there_are_too_many() {
    aioxide::testing::run(async {
        let (sockets, addresses) = silent(1);
        let resolver = resolver(&addresses, Families::Both);
        let tasks: Vec<_> = (0..16)
            .map(|number| {
                let shared = Rc::clone(&resolver.shared);
                aioxide::spawn(async move { shared.find(&format!("{number}.test")).await.is_err() })
            })
            .collect();
        sleep(Duration::from_millis(500)).await;
        assert_eq!(asked(&sockets[0]), 16, "two for each name: the first half of them");
        sleep(Duration::from_secs(1)).await;
        assert_eq!(
            asked(&sockets[0]),
            32,
            "silence holds up nobody: the others are asked, and the first ones again"
        );
        tasks.iter().for_each(|task| {
            task.cancel();
        });
        sleep(Duration::from_millis(1)).await;
        assert_eq!(asked(&sockets[0]), 0, "what is cancelled asks no more");
        assert!(Rc::strong_count(&resolver.shared) == 1);
    });
}

#[test]
fn hosts_and_localhost_need_no_server() {
    aioxide::testing::run(async {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hosts");
        fs::write(&path, "10.0.0.1 listed.test short\n").unwrap();
        let resolver = Resolver::new(&["127.0.0.1:1".parse().unwrap()], path, Families::Both, 16);
        for (host, expected) in [
            ("listed.test", "[10.0.0.1]"),
            ("short", "[10.0.0.1]"),
            ("localhost", "[127.0.0.1, ::1]"),
            ("x.localhost.", "[127.0.0.1, ::1]"),
        ] {
            assert_eq!(format!("{:?}", resolver.shared.find(host).await.unwrap()), expected, "{host}");
        }
        let refused = resolver.shared.find("a.onion").await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::NotFound);
        assert!(refused.to_string().starts_with("cannot resolve a.onion: names of the Tor"), "{refused}");
        // Nobody listens at port 1, which the system tells at once.
        let closed = resolver.shared.find("a.test").await.unwrap_err();
        assert!(closed.to_string().contains("127.0.0.1:1 cannot be asked"), "{closed}");
    });
}

#[test]
fn families_come_to_one_answer() {
    let found = |last: u8, seconds| {
        let time = Duration::from_secs(seconds);
        Ok(Found { addresses: vec![[127, 0, 0, last].into()], time })
    };
    let none = |exists, seconds| Err(Failure::Nothing { exists, time: Duration::from_secs(seconds) });
    let trouble = || Err(Failure::Trouble(Trouble::Servers(io::ErrorKind::Other, "x".to_owned())));
    let told = |result: Result<Found, Failure>| match result {
        Ok(Found { addresses, time }) => format!("{} for {}", addresses.len(), time.as_secs()),
        Err(Failure::Nothing { exists, time }) => format!("nothing, {exists}, for {}", time.as_secs()),
        Err(Failure::Trouble(_)) => "trouble".to_owned(),
    };
    for (result, expected) in [
        (both(found(6, 50), found(4, 20)), "2 for 20"),
        (both(none(true, 5), found(4, 20)), "1 for 20"),
        (both(found(6, 50), none(true, 5)), "1 for 50"),
        (both(trouble(), found(4, 20)), "1 for 10"),
        (both(found(6, 3), trouble()), "1 for 3"),
        (both(none(true, 5), none(true, 9)), "nothing, true, for 5"),
        (both(none(false, 5), none(false, 9)), "nothing, false, for 5"),
        (both(none(true, 5), trouble()), "trouble"),
        (both(trouble(), trouble()), "trouble"),
    ] {
        assert_eq!(told(result), expected);
    }
}
