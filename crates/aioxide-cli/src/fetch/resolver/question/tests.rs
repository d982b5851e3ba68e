//! What a datagram says, hostile ones among them.

use hickory_proto::rr::rdata::{A, CNAME, NS, SOA};

use super::*;

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn question() -> Question {
    Question::new(name("a.test."), RecordType::A)
}

fn a(of: &str, ttl: u32, last: u8) -> Record {
    Record::from_rdata(name(of), ttl, RData::A(A::new(127, 0, 0, last)))
}

fn alias(of: &str, to: &str) -> Record {
    Record::from_rdata(name(of), 100, RData::CNAME(CNAME(name(to))))
}

fn start(ttl: u32, minimum: u32) -> Record {
    let soa = SOA::new(name("ns.test."), name("admin.test."), 1, 1, 1, 1, minimum);
    Record::from_rdata(name("test."), ttl, RData::SOA(soa))
}

/// What is read of an answer that is right but for what `change` does to it.
fn read(answers: Vec<Record>, change: impl FnOnce(&mut Message)) -> Reading {
    let question = question();
    let sent = question.send(true).unwrap();
    let mut message = Message::response(sent.id, OpCode::Query);
    message.metadata.recursion_available = true;
    message.add_query(question.query.clone());
    message.add_answers(answers);
    change(&mut message);
    question.read(&sent, &message.to_vec().unwrap())
}

fn same(_: &mut Message) {}

fn addresses(last: &[u8], ttl: u32) -> Reading {
    let addresses = last.iter().map(|&last| [127, 0, 0, last].into()).collect();
    Reading::Answer(Answer::Addresses { addresses, ttl })
}

fn nothing(exists: bool, ttl: Option<u32>) -> Reading {
    Reading::Answer(Answer::Nothing { exists, ttl })
}

#[track_caller]
fn check_useless(reading: Reading, part: &str) {
    let Reading::Useless(text) = reading else { panic!("{reading:?}") };
    assert!(text.contains(part), "{text}");
}

#[test]
fn addresses_have_the_shortest_of_their_times() {
    let answers = vec![a("a.test.", 60, 1), a("A.TEST.", 30, 2), a("a.test.", 90, 1), a("other.test.", 1, 9)];
    assert_eq!(read(answers, same), addresses(&[1, 2], 30));
    assert_eq!(read(vec![a("a.test.", u32::MAX, 1)], same), addresses(&[1], 0), "as RFC 2181 has it");
    let many = (0..100).map(|last| a("a.test.", 60, last)).collect();
    let Reading::Answer(Answer::Addresses { addresses, .. }) = read(many, same) else { panic!() };
    assert_eq!(addresses.len(), MAX_ADDRESSES);
}

#[test]
fn names_without_addresses_are_told_from_those_that_do_not_exist() {
    let none = |code, authorities: Vec<Record>| {
        read(vec![], |message| {
            message.metadata.response_code = code;
            message.add_authorities(authorities);
        })
    };
    assert_eq!(none(ResponseCode::NXDomain, vec![start(300, 60)]), nothing(false, Some(60)));
    assert_eq!(none(ResponseCode::NXDomain, vec![]), nothing(false, None));
    assert_eq!(none(ResponseCode::NoError, vec![start(30, 60)]), nothing(true, Some(30)));
    assert_eq!(none(ResponseCode::NoError, vec![]), nothing(true, None));
}

#[test]
fn aliases_are_followed_in_any_order_and_to_an_end() {
    let answers = vec![a("c.test.", 60, 3), alias("b.test.", "c.test."), alias("a.test.", "b.test.")];
    assert_eq!(read(answers, same), addresses(&[3], 60));
    let alone = read(vec![alias("a.test.", "b.elsewhere.")], same);
    let to = name("b.elsewhere.");
    assert_eq!(alone, Reading::Answer(Answer::Alias { to, links: 1, ttl: 100 }));
    let dead = read(vec![alias("a.test.", "b.test.")], |message| {
        message.metadata.response_code = ResponseCode::NXDomain;
        message.add_authority(start(300, 300));
    });
    assert_eq!(dead, nothing(false, Some(100)));
    check_useless(read(vec![alias("a.test.", "b.test."), alias("b.test.", "a.test.")], same), "circle");
    check_useless(read(vec![alias("a.test.", "a.test.")], same), "circle");
    let link = |number: usize| alias(&format!("n{number}.test."), &format!("n{}.test.", number + 1));
    let mut long: Vec<Record> = (0..30).map(link).collect();
    long.push(alias("a.test.", "n0.test."));
    check_useless(read(long, same), "more than 10");
}

#[test]
fn answers_to_something_else_are_passed_over() {
    let ours = || vec![a("a.test.", 60, 1)];
    assert_eq!(read(ours(), |message| message.metadata.id ^= 1), Reading::Stray);
    assert_eq!(read(ours(), |message| message.metadata.message_type = MessageType::Query), Reading::Stray);
    assert_eq!(read(ours(), |message| message.queries.clear()), Reading::Stray);
    let other = |name: &str, kind| {
        let query = Query::query(Name::from_ascii(name).unwrap(), kind);
        read(ours(), move |message| message.queries = vec![query])
    };
    assert_eq!(other("b.test.", RecordType::A), Reading::Stray);
    assert_eq!(other("a.test.", RecordType::AAAA), Reading::Stray);
    assert_eq!(other("A.Test.", RecordType::A), addresses(&[1], 60));
    let sent = question().send(true).unwrap();
    for bytes in [&b""[..], b"\0", &sent.bytes] {
        assert_eq!(question().read(&sent, bytes), Reading::Stray);
    }
}

#[test]
fn servers_that_cannot_help_are_told_by_their_answer() {
    let refused = |code| {
        read(vec![], |message| {
            message.metadata.response_code = code;
            message.queries.clear();
        })
    };
    check_useless(refused(ResponseCode::ServFail), "SERVFAIL");
    check_useless(refused(ResponseCode::Refused), "REFUSED");
    assert_eq!(refused(ResponseCode::FormErr), Reading::WithoutEdns);
    let sent = question().send(false).unwrap();
    let message = Message::error_msg(sent.id, OpCode::Query, ResponseCode::FormErr);
    check_useless(question().read(&sent, &message.to_vec().unwrap()), "FORMERR");
    let referral = |message: &mut Message| {
        message.metadata.recursion_available = false;
        message.add_authority(Record::from_rdata(name("test."), 60, RData::NS(NS(name("ns.test.")))));
    };
    check_useless(read(vec![], referral), "reference to other servers");
}

#[test]
fn answers_that_are_cut_or_broken_end() {
    let cut = |message: &mut Message| message.metadata.truncation = true;
    assert_eq!(read(vec![], cut), Reading::Truncated);
    assert_eq!(read(vec![a("a.test.", 60, 1)], cut), Reading::Truncated, "there may be more");
    let sent = question().send(true).unwrap();
    let mut message = Message::response(sent.id, OpCode::Query);
    message.add_query(question().query).add_answer(alias("a.test.", "b.test."));
    let whole = message.to_vec().unwrap();
    for length in 12..whole.len() {
        check_useless(question().read(&sent, &whole[..length]), "cannot be read");
    }
    // The name of the record is where it begins itself, which never ends.
    let place = whole.windows(2).rposition(|pair| pair == [0xc0, 12]).unwrap();
    let mut circle = whole.clone();
    circle[place + 1] = u8::try_from(place).unwrap();
    check_useless(question().read(&sent, &circle), "cannot be read");
    let mut counts = whole;
    counts[6..8].fill(0xff);
    check_useless(question().read(&sent, &counts), "cannot be read");
}

#[test]
fn any_bytes_come_to_an_end() {
    let sent = question().send(true).unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    let mut message = Message::response(sent.id, OpCode::Query);
    message.add_query(question().query).add_answers([alias("a.test.", "b.test."), a("b.test.", 60, 1)]);
    let whole = message.to_vec().unwrap();
    for _ in 0..20_000 {
        let mut bytes = whole.clone();
        for _ in 0..random.usize(1..8) {
            let place = random.usize(2..bytes.len());
            bytes[place] = random.u8(..);
        }
        bytes.truncate(random.usize(0..=bytes.len()));
        question().read(&sent, &bytes);
    }
}

#[test]
fn identifiers_differ_and_are_not_in_order() {
    let ids: Vec<u16> = (0..64).map(|_| question().send(true).unwrap().id).collect();
    let steps: std::collections::HashSet<u16> =
        ids.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
    assert!(steps.len() > 55, "{ids:?}");
}
