//! Addresses of schedulers, looked up repeatedly: a name may have several and changing addresses, such as that of a
//! headless service in Kubernetes.

use millwork_cluster::Address;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

/// Limit of the addresses that are tried per name: the first ones returned. A state has only a few schedulers.
const MAX_OF_A_NAME: usize = 64;
/// Time limit for looking up a name.
const LOOKUP: Duration = Duration::from_secs(5);

/// An address to try, with the name it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) name: Address,
    pub(crate) at: SocketAddr,
}

/// Addresses to try, in turn.
pub(crate) struct Candidates {
    names: Vec<Address>,
    next: VecDeque<Candidate>,
}

impl Candidates {
    pub(crate) fn new(names: &[Address]) -> Self {
        Self { names: names.to_vec(), next: VecDeque::new() }
    }

    /// Next address. When all have been tried, the names are looked up again; fails if none of them has an address.
    pub(crate) async fn next(&mut self) -> Result<Candidate, String> {
        if self.next.is_empty() {
            let mut reasons = Vec::new();
            for name in &self.names {
                match look_up(name).await {
                    Ok(found) => self.next.extend(found.into_iter().map(|at| Candidate { name: name.clone(), at })),
                    Err(reason) => reasons.push(format!("{name}: {reason}")),
                }
            }
            if self.next.is_empty() {
                return Err(reasons.join("; "));
            }
        }
        self.next.pop_front().ok_or_else(|| "no address".to_owned())
    }
}

/// Addresses of a name, without duplicates.
async fn look_up(name: &Address) -> Result<Vec<SocketAddr>, String> {
    let host = name.host.trim_matches(['[', ']']);
    let looked = tokio::time::timeout(LOOKUP, tokio::net::lookup_host((host, name.port))).await;
    let found = looked.map_err(|_| format!("not looked up within {} seconds", LOOKUP.as_secs()))?;
    let mut addresses = Vec::new();
    for address in found.map_err(|error| error.to_string())? {
        if !addresses.contains(&address) && addresses.len() < MAX_OF_A_NAME {
            addresses.push(address);
        }
    }
    match addresses.is_empty() {
        true => Err("no address".to_owned()),
        false => Ok(addresses),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<Address> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[tokio::test]
    async fn all_addresses_are_tried_in_turn() {
        let mut candidates = Candidates::new(&names(&["127.0.0.1:1", "[::1]:2", "127.0.0.1:3"]));
        let mut ports = Vec::new();
        for _ in 0..5 {
            ports.push(candidates.next().await.unwrap().at.port());
        }
        assert_eq!(ports, [1, 2, 3, 1, 2]);
    }

    #[tokio::test]
    async fn a_name_without_an_address_holds_up_no_other() {
        let mut candidates = Candidates::new(&names(&["nowhere.invalid:1", "127.0.0.1:2"]));
        assert_eq!(candidates.next().await.unwrap().at.port(), 2);
        let error = Candidates::new(&names(&["nowhere.invalid:1"])).next().await.unwrap_err();
        assert!(error.contains("nowhere.invalid:1"), "{error}");
    }
}
