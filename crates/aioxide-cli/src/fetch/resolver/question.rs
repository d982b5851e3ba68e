//! A question in the DNS's own form, and what a datagram says about it: no input and output here.

use std::net::IpAddr;

use hickory_proto::ProtoError;
use hickory_proto::op::{Edns, Header, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

/// One question: the addresses of one family that a name has.
#[derive(Debug, Clone)]
pub(super) struct Question {
    query: Query,
}

/// A question as it is sent.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) id: u16,
    pub(super) bytes: Vec<u8>,
    pub(super) has_edns: bool,
}

/// What came back.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Not an answer to this question: the right one may still come.
    Stray,
    /// The server's answer is of no use; another server may have a better one.
    Useless(String),
    /// It did not fit into a datagram.
    Truncated,
    /// The server does not know the extension that allows more than 512 bytes.
    WithoutEdns,
    Answer(Answer),
}

/// An answer, with the seconds for which it may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Addresses {
        addresses: Vec<IpAddr>,
        ttl: u32,
    },
    /// No address of this family; no name at all if not `exists`. Without `ttl` the server does not say how long that holds.
    Nothing {
        exists: bool,
        ttl: Option<u32>,
    },
    /// The name stands for another one, over `links` steps, whose addresses the server has not sent along.
    Alias {
        to: Name,
        links: usize,
        ttl: u32,
    },
}

/// So many aliases lead from a name to its addresses, at most.
pub(super) const MAX_ALIASES: usize = 10;
/// More addresses of a name are not kept.
const MAX_ADDRESSES: usize = 32;
/// What a server may send in one datagram: it passes every network in one piece (DNS flag day 2020).
const MAX_PAYLOAD: u16 = 1232;

impl Question {
    /// `kind`: `A` or `AAAA`.
    pub(super) fn new(name: Name, kind: RecordType) -> Self {
        Self { query: Query::query(name, kind) }
    }

    /// The same for another name.
    pub(super) fn about(&self, name: Name) -> Self {
        Self::new(name, self.query.query_type)
    }

    /// Its bytes, with an identifier that nobody can guess.
    ///
    /// # Errors
    /// The name cannot be encoded.
    pub(super) fn send(&self, has_edns: bool) -> Result<Sent, ProtoError> {
        // The identifier is of `rand`'s generator for secrets.
        let mut message = Message::query();
        message.metadata.recursion_desired = true;
        message.add_query(self.query.clone());
        if has_edns {
            let mut edns = Edns::new();
            edns.set_version(0).set_max_payload(MAX_PAYLOAD);
            message.set_edns(edns);
        }
        Ok(Sent { id: message.metadata.id, bytes: message.to_vec()?, has_edns })
    }

    /// Reads what came over a socket on which `sent` was sent.
    pub(super) fn read(&self, sent: &Sent, bytes: &[u8]) -> Reading {
        let Ok(header) = Header::read(&mut BinDecoder::new(bytes)) else { return Reading::Stray };
        let is_answer = header.message_type == MessageType::Response && header.op_code == OpCode::Query;
        if header.id != sent.id || !is_answer {
            return Reading::Stray;
        }
        let message = match Message::from_vec(bytes) {
            Ok(message) => message,
            // Some servers cut in the middle of a record.
            Err(_) if header.truncation => return Reading::Truncated,
            Err(error) => return Reading::Useless(format!("an answer that cannot be read ({error})")),
        };
        let code = message.metadata.response_code;
        let is_failure = !matches!(code, ResponseCode::NoError | ResponseCode::NXDomain);
        // Who refuses may leave the question out.
        let is_ours = self.is_asked_in(&message.queries) || (is_failure && message.queries.is_empty());
        if !is_ours {
            return Reading::Stray;
        }
        match code {
            _ if message.metadata.truncation => Reading::Truncated,
            ResponseCode::NoError | ResponseCode::NXDomain => self.follow(&message, code),
            ResponseCode::FormErr | ResponseCode::NotImp | ResponseCode::BADVERS if sent.has_edns => {
                Reading::WithoutEdns
            }
            code => Reading::Useless(words(code)),
        }
    }

    fn is_asked_in(&self, queries: &[Query]) -> bool {
        // Names are compared without regard to case.
        matches!(queries, [one] if *one == self.query)
    }

    /// Goes from alias to alias to the addresses.
    fn follow(&self, message: &Message, code: ResponseCode) -> Reading {
        let (mut name, mut links, mut ttl) = (&self.query.name, 0, u32::MAX);
        loop {
            let addresses = self.addresses(message, name, &mut ttl);
            if !addresses.is_empty() {
                return Reading::Answer(Answer::Addresses { addresses, ttl });
            }
            let alias = records_of(&message.answers, name).find_map(|record| match &record.data {
                RData::CNAME(alias) => Some((&alias.0, seconds(record.ttl))),
                _ => None,
            });
            let Some((next, lasts)) = alias else { break };
            (name, links, ttl) = (next, links + 1, ttl.min(lasts));
            // A circle comes to this, too.
            if links > MAX_ALIASES {
                return Reading::Useless(too_many_aliases());
            }
        }
        let start = message.authorities.iter().find_map(|record| match &record.data {
            RData::SOA(soa) => Some(seconds(record.ttl).min(soa.minimum)),
            _ => None,
        });
        let exists = code == ResponseCode::NoError;
        if !exists || start.is_some() {
            return Reading::Answer(Answer::Nothing { exists, ttl: start.map(|lasts| lasts.min(ttl)) });
        }
        if links > 0 {
            return Reading::Answer(Answer::Alias { to: name.clone(), links, ttl });
        }
        let refers = message.authorities.iter().any(|record| matches!(record.data, RData::NS(_)));
        if refers && !message.metadata.recursion_available {
            return Reading::Useless(
                "no answer but a reference to other servers: it looks nothing up for others".to_owned(),
            );
        }
        Reading::Answer(Answer::Nothing { exists, ttl: None })
    }

    /// The addresses of `name` itself; `ttl` becomes no more than the shortest of theirs.
    fn addresses(&self, message: &Message, name: &Name, ttl: &mut u32) -> Vec<IpAddr> {
        let mut addresses = Vec::new();
        for record in records_of(&message.answers, name) {
            let address: IpAddr = match &record.data {
                RData::A(address) if self.query.query_type == RecordType::A => address.0.into(),
                RData::AAAA(address) if self.query.query_type == RecordType::AAAA => address.0.into(),
                _ => continue,
            };
            *ttl = (*ttl).min(seconds(record.ttl));
            if addresses.len() < MAX_ADDRESSES && !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses
    }
}

fn records_of<'a>(records: &'a [Record], name: &'a Name) -> impl Iterator<Item = &'a Record> {
    records.iter().filter(move |record| record.dns_class == DNSClass::IN && record.name == *name)
}

/// What a time to live says; the highest bit makes it none (RFC 2181, 8).
fn seconds(ttl: u32) -> u32 {
    if ttl > i32::MAX as u32 { 0 } else { ttl }
}

/// What is said of aliases that do not end.
pub(super) fn too_many_aliases() -> String {
    format!("aliases (CNAME) that lead in a circle, or more than {MAX_ALIASES} of them")
}

fn words(code: ResponseCode) -> String {
    match code {
        ResponseCode::ServFail => "SERVFAIL: it could not look the name up".to_owned(),
        ResponseCode::Refused => {
            "REFUSED: it does not answer this machine, or not about this name".to_owned()
        }
        ResponseCode::FormErr => "FORMERR: it does not understand the question".to_owned(),
        ResponseCode::NotImp => "NOTIMP: it does not answer such questions".to_owned(),
        code => format!("error {} ({code})", u16::from(code)),
    }
}

#[cfg(test)]
mod tests;
