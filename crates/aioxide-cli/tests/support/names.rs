//! A server of names, authoritative for all under `.test`, over UDP and TCP. The second part of a name says how it is answered:
//! `17.tcp.test` only over TCP, `17.nx.test` not at all. Blocking, in two threads.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// A running server; it ends with the test's process.
pub struct Names {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// How often each question came, by name and type.
    asked: Mutex<HashMap<String, usize>>,
}

/// What is sent for a question.
enum Sent {
    Nothing,
    One(Message),
    /// These bytes, one datagram after the other.
    Raw(Vec<Vec<u8>>),
    Late(Message, Duration),
    /// From another port than the one that was asked.
    FromElsewhere(Message),
}

impl Names {
    pub fn start() -> Self {
        // TCP and UDP have the same port.
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        let (at_udp, at_tcp) = (Arc::clone(&shared), Arc::clone(&shared));
        thread::spawn(move || serve_udp(&udp, &at_udp));
        thread::spawn(move || {
            for stream in tcp.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&at_tcp);
                // An error is the other side's leaving.
                thread::spawn(move || drop(serve_tcp(stream, &shared)));
            }
        });
        Names { address, shared }
    }

    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// How often a name was asked for, in a type ("A"), over UDP.
    pub fn asked(&self, name: &str, kind: &str) -> usize {
        self.shared.asked.lock().unwrap().get(&format!("{name} {kind}")).copied().unwrap_or_default()
    }

    /// How many questions came over UDP.
    pub fn questions(&self) -> usize {
        self.shared.asked.lock().unwrap().values().sum()
    }
}

fn serve_udp(socket: &UdpSocket, shared: &Shared) {
    let mut datagram = [0; 4096];
    while let Ok((length, peer)) = socket.recv_from(&mut datagram) {
        let question = Message::from_vec(&datagram[..length]).unwrap();
        let query = &question.queries[0];
        let name = query.name.to_ascii().to_lowercase();
        let key = format!("{} {}", name.trim_end_matches('.'), query.query_type);
        let count = {
            let mut asked = shared.asked.lock().unwrap();
            let count = asked.entry(key).or_default();
            *count += 1;
            *count
        };
        match answer(&question, count, false) {
            Sent::Nothing => {}
            Sent::One(message) => send(socket, peer, &message),
            Sent::Raw(datagrams) => datagrams.iter().for_each(|bytes| drop(socket.send_to(bytes, peer))),
            Sent::Late(message, pause) => {
                let socket = socket.try_clone().unwrap();
                thread::spawn(move || {
                    #[expect(clippy::disallowed_methods, reason = "a server that takes its time")]
                    thread::sleep(pause);
                    send(&socket, peer, &message);
                });
            }
            Sent::FromElsewhere(message) => {
                send(&UdpSocket::bind("127.0.0.1:0").unwrap(), peer, &message);
            }
        }
    }
}

fn send(socket: &UdpSocket, peer: SocketAddr, message: &Message) {
    // Who has given up does not listen any more.
    let _ = socket.send_to(&message.to_vec().unwrap(), peer);
}

fn serve_tcp(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut bytes)?;
    let question = Message::from_vec(&bytes).unwrap();
    let _ = shared;
    let bytes = match answer(&question, 1, true) {
        Sent::One(message) => message.to_vec().unwrap(),
        Sent::Raw(mut datagrams) => datagrams.remove(0),
        _ => return Ok(()),
    };
    stream.write_all(&u16::try_from(bytes.len()).unwrap().to_be_bytes())?;
    stream.write_all(&bytes)
}

/// The answer to a question that has come so often; see the names in the tests.
fn answer(question: &Message, count: usize, is_tcp: bool) -> Sent {
    let query = &question.queries[0];
    let labels: Vec<String> =
        query.name.iter().map(|label| String::from_utf8_lossy(label).to_lowercase()).collect();
    let kind = labels.iter().rev().nth(1).map_or("", String::as_str);
    let mut message = Message::response(question.metadata.id, OpCode::Query);
    message.add_query(query.clone());
    let four = |ttl| vec![record(&query.name, ttl, [127, 0, 0, 1])];
    let is_six = query.query_type == RecordType::AAAA;
    match kind {
        "nx" => with_start(message, ResponseCode::NXDomain),
        "none" => with_start(message, ResponseCode::NoError),
        "six" if is_six => {
            let found = RData::AAAA(AAAA(Ipv6Addr::LOCALHOST));
            message.add_answer(Record::from_rdata(query.name.clone(), 60, found));
            Sent::One(message)
        }
        "six" => with_start(message, ResponseCode::NoError),
        "dead" => Sent::Nothing,
        // A server that has never heard of IPv6.
        "deaf" if is_six => Sent::Nothing,
        "lossy" if count < 2 => Sent::Nothing,
        "servfail" => code(message, ResponseCode::ServFail),
        "refused" => code(message, ResponseCode::Refused),
        "noedns" if question.edns.is_some() => {
            Sent::One(Message::error_msg(question.metadata.id, OpCode::Query, ResponseCode::FormErr))
        }
        "referral" => {
            let server = RData::NS(NS(name("ns.elsewhere.")));
            message.add_authority(Record::from_rdata(name("test."), 60, server));
            Sent::One(message)
        }
        "tcp" | "cut" if !is_tcp => {
            message.metadata.truncation = true;
            Sent::One(message)
        }
        "cut" => Sent::Raw(vec![message.to_vec().unwrap()[..20].to_vec()]),
        "loop" => {
            // The record's name is a pointer to itself.
            let mut bytes = message.to_vec().unwrap();
            bytes[7] = 1;
            let place = u8::try_from(bytes.len()).unwrap();
            bytes.extend_from_slice(&[0xc0, place, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
            Sent::Raw(vec![bytes])
        }
        "garbage" => {
            let mut bytes = message.to_vec().unwrap()[..12].to_vec();
            bytes.extend_from_slice(b"\xff\xff\xff\xff\xff\xff\xff\xff");
            Sent::Raw(vec![bytes])
        }
        "circle" => aliases(message, &["a.circle.test.", "b.circle.test.", "a.circle.test."]),
        // Each name stands for another one, without end, and the server sends one step at a time.
        "endless" => {
            let next = format!("{}.endless.test.", labels[0].parse::<u64>().unwrap_or_default() + 1);
            aliases(message, &[&next])
        }
        // Three steps, each asked for on its own.
        "steps" => match labels[0].strip_prefix('s').and_then(|step| step.parse::<u8>().ok()) {
            Some(3) => whole(message, four(60), is_six),
            step => aliases(message, &[&format!("s{}.steps.test.", step.unwrap_or(0) + 1)]),
        },
        "alias" => {
            let Sent::One(mut message) = aliases(message, &["b.ok.test.", "c.ok.test."]) else {
                unreachable!()
            };
            if !is_six {
                message.add_answer(record(&name("c.ok.test."), 60, [127, 0, 0, 1]));
            }
            Sent::One(message)
        }
        "wrongid" | "wrongonly" | "flood" => {
            let right = whole_message(message, four(60), is_six);
            let mut wrong = right.clone();
            // Somebody guesses, and says that the name is his.
            wrong.answers = vec![record(&query.name, 60, [127, 0, 0, 9])];
            let guesses = if kind == "flood" { 100 } else { 3 };
            let mut datagrams: Vec<Vec<u8>> = (1..=guesses)
                .map(|guess| {
                    wrong.metadata.id = right.metadata.id.wrapping_add(guess);
                    wrong.to_vec().unwrap()
                })
                .collect();
            if kind == "wrongid" {
                datagrams.push(right.to_vec().unwrap());
            }
            Sent::Raw(datagrams)
        }
        "wrongname" => {
            message.queries = vec![Query::query(name("victim.test."), query.query_type)];
            message.add_answer(record(&name("victim.test."), 60, [127, 0, 0, 9]));
            Sent::One(message)
        }
        "elsewhere" => {
            message.add_answer(record(&query.name, 60, [127, 0, 0, 9]));
            Sent::FromElsewhere(message)
        }
        "huge" => whole(message, four(i32::MAX as u32), is_six),
        "never" => whole(message, four(0), is_six),
        // Longer than the first pause: the question comes twice, and the first answer counts.
        "slow" => Sent::Late(whole_message(message, four(60), is_six), Duration::from_millis(1300)),
        _ => whole(message, four(60), is_six),
    }
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn record(name: &Name, ttl: u32, address: [u8; 4]) -> Record {
    let IpAddr::V4(address) = IpAddr::from(address) else { unreachable!() };
    Record::from_rdata(name.clone(), ttl, RData::A(A(address)))
}

fn code(mut message: Message, code: ResponseCode) -> Sent {
    message.metadata.response_code = code;
    Sent::One(message)
}

fn with_start(mut message: Message, code: ResponseCode) -> Sent {
    let soa = SOA::new(name("ns.test."), name("admin.test."), 1, 1, 1, 1, 60);
    message.metadata.response_code = code;
    message.add_authority(Record::from_rdata(name("test."), 60, RData::SOA(soa)));
    Sent::One(message)
}

fn whole(message: Message, answers: Vec<Record>, is_six: bool) -> Sent {
    Sent::One(whole_message(message, answers, is_six))
}

fn whole_message(mut message: Message, answers: Vec<Record>, is_six: bool) -> Message {
    if !is_six {
        message.add_answers(answers);
        return message;
    }
    let Sent::One(message) = with_start(message, ResponseCode::NoError) else { unreachable!() };
    message
}

/// From the name that is asked for over each of these.
fn aliases(mut message: Message, names: &[&str]) -> Sent {
    let mut of = message.queries[0].name.clone();
    for to in names {
        message.add_answer(Record::from_rdata(of, 60, RData::CNAME(CNAME(name(to)))));
        of = name(to);
    }
    Sent::One(message)
}
