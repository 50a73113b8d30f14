//! Bounded decoding of lists in executors' reports, so that none takes more memory than allowed.

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;

/// Limit of the items for which memory is reserved before they are read.
const MOST_AHEAD: usize = 1024;

/// Deserializes a list of at most `MOST` items, for `serde`'s `deserialize_with`. A longer list fails at the first item
/// beyond the limit.
pub fn list_at_most<'de, D, T, const MOST: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    deserializer.deserialize_seq(ListAtMost::<T, MOST>(PhantomData))
}

struct ListAtMost<T, const MOST: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for ListAtMost<T, MOST> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of up to {MOST} items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::with_capacity(items.size_hint().unwrap_or(0).min(MOST_AHEAD));
        while let Some(item) = items.next_element()? {
            if list.len() == MOST {
                return Err(A::Error::custom(format_args!("a list has more than {MOST} items, the limit")));
            }
            list.push(item);
        }
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Three {
        #[serde(deserialize_with = "list_at_most::<_, _, 3>")]
        list: Vec<u8>,
    }

    #[test]
    fn a_list_over_its_limit_is_refused() {
        let read = |text: &str| serde_json::from_str::<Three>(text).map(|three| three.list);
        assert_eq!(read(r#"{"list":[1,2,3]}"#).unwrap(), [1, 2, 3]);
        let error = read(r#"{"list":[1,2,3,4]}"#).unwrap_err().to_string();
        assert!(error.contains("more than 3 items, the limit"), "{error}");
    }
}
