//! Who of a list gets which name, told by the list alone: the first who wants a name has it, the next ones have numbers.

use std::collections::HashMap;

use super::names;

/// Names that entries of the list have a claim to, before any of them has come.
///
/// A run that looks for files of earlier runs needs them: names that are given in the order in which downloads end are another URL's
/// in another run. Up to 24 bytes for each name, and as many for each that has a number.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// By the hash of a name that somebody has: the next number to try for whoever wants it.
    next: HashMap<u64, u32>,
    /// By entry: its number, unless it has the name as it is.
    numbers: HashMap<u64, u32>,
}

impl Claims {
    /// An entry wants a name; `hash` stands for one.
    pub(super) fn add(&mut self, wanted: &str, entry: u64, hash: impl Fn(&str) -> u64) {
        let wanted_hash = hash(wanted);
        let Some(mut number) = self.next.get(&wanted_hash).copied() else {
            self.next.insert(wanted_hash, 1);
            return;
        };
        loop {
            let hash = hash(&names::numbered(wanted, number.into()));
            if let std::collections::hash_map::Entry::Vacant(free) = self.next.entry(hash) {
                free.insert(1);
                break;
            }
            number += 1;
        }
        self.next.insert(wanted_hash, number + 1);
        self.numbers.insert(entry, number);
    }

    /// The name that an entry has a claim to.
    pub(super) fn of(&self, wanted: String, entry: u64) -> String {
        match self.numbers.get(&entry) {
            Some(number) => names::numbered(&wanted, (*number).into()),
            None => wanted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart_in_the_order_of_the_list() {
        let mut claims = Claims::default();
        let wanted = ["x", "x", "x-1", "y", "x", "x-1", "x-2"];
        for (entry, name) in wanted.iter().enumerate() {
            claims.add(name, entry as u64, |name| names::fnv1a(name.as_bytes()));
        }
        let names: Vec<_> = wanted
            .iter()
            .enumerate()
            .map(|(entry, name)| claims.of((*name).to_owned(), entry as u64))
            .collect();
        assert_eq!(names, ["x", "x-1", "x-1-1", "y", "x-2", "x-1-2", "x-2-1"]);
    }
}
