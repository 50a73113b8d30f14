//! Slots that limit concurrent work.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// Slots for work of some duration, such as requests: limited in total, and per client. Clones share the slots.
#[derive(Debug)]
pub struct Slots<K: Eq + Hash + Clone> {
    in_all: usize,
    of_one: usize,
    taken: Arc<Mutex<Taken<K>>>,
}

#[derive(Debug)]
struct Taken<K> {
    in_all: usize,
    by: HashMap<K, usize>,
}

impl<K: Eq + Hash + Clone> Clone for Slots<K> {
    fn clone(&self) -> Self {
        Self { in_all: self.in_all, of_one: self.of_one, taken: self.taken.clone() }
    }
}

impl<K: Eq + Hash + Clone> Slots<K> {
    /// Creates `in_all` free slots, of which one client may have `of_one`.
    pub fn new(in_all: usize, of_one: usize) -> Self {
        let taken = Taken { in_all: 0, by: HashMap::new() };
        Self { in_all, of_one, taken: Arc::new(Mutex::new(taken)) }
    }

    /// Takes a slot until it is dropped; `None` if none is free, in total or for this client.
    pub fn take(&self, client: K) -> Option<Slot<K>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let of_one = taken.by.get(&client).copied().unwrap_or_default();
        if taken.in_all >= self.in_all || of_one >= self.of_one {
            return None;
        }
        taken.in_all += 1;
        taken.by.insert(client.clone(), of_one + 1);
        Some(Slot { client, taken: self.taken.clone() })
    }
}

/// A slot in use.
#[derive(Debug)]
pub struct Slot<K: Eq + Hash + Clone> {
    client: K,
    taken: Arc<Mutex<Taken<K>>>,
}

impl<K: Eq + Hash + Clone> Drop for Slot<K> {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.in_all -= 1;
        match taken.by.get_mut(&self.client) {
            Some(of_one) if *of_one > 1 => *of_one -= 1,
            // Clients without slots are removed, so that memory is bounded by the number of slots.
            _ => drop(taken.by.remove(&self.client)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_leaves_room_for_others_and_places_come_back() {
        let slots = Slots::new(3, 2);
        let mine: Vec<_> = (0..3).map(|_| slots.take("mine")).collect();
        assert_eq!(mine.iter().flatten().count(), 2);
        let other = slots.take("other");
        assert!(other.is_some() && slots.take("third").is_none(), "three in all");
        drop(mine);
        assert!(slots.take("third").is_some());
        drop(other);
        let taken = slots.taken.lock().unwrap();
        assert!(taken.in_all == 0 && taken.by.is_empty(), "nobody is remembered");
    }
}
