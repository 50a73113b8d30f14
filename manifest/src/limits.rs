//! Limits of what a manifest may hold, since anybody may have written it.

use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;

/// Limit of a manifest's document, in bytes: 32 MiB, room for 100,000 files with their sizes and entity tags. It is read
/// into memory as a whole.
pub const MAX_MANIFEST_BYTES: u64 = 32 << 20;

/// Limit of the files of one manifest: 100,000, five hundred times what a builder puts in one. Each is a row in the store
/// and a part of the plan.
pub const MAX_MANIFEST_FILES: usize = 100_000;

/// Limit of the size of one object, in bytes: 5 TiB, what one upload to S3 can make (Amazon S3 User Guide, "Multipart
/// upload limits").
pub const MAX_OBJECT_BYTES: u64 = 5 << 40;

/// Limit of an entity tag or version, in bytes: 1,024, the longest version that S3 gives (Amazon S3 User Guide, "Versioning
/// workflows"). Each is stored with its file.
pub(crate) const MAX_TAG_BYTES: usize = 1024;

/// Limit of an object's URI, in bytes: 16 KiB, a path of Linux's 4,096 bytes with all of them percent-encoded, and more than
/// any key of S3. It is stored with the file, and again in indexes and timeline.
pub const MAX_URI_BYTES: usize = 16 << 10;

// The sum of a manifest's sizes fits every store, which counts in signed integers of 64 bits.
const _: () = assert!(MAX_MANIFEST_FILES as u64 * MAX_OBJECT_BYTES <= i64::MAX as u64);

/// The beginning of a list, of which only [`MAX_MANIFEST_FILES`] are kept, and its length.
pub(crate) struct Bounded<T> {
    pub(crate) kept: Vec<T>,
    pub(crate) count: usize,
}

impl<T> Default for Bounded<T> {
    fn default() -> Self {
        Self { kept: Vec::new(), count: 0 }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Bounded<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(BoundedVisitor(PhantomData))
    }
}

struct BoundedVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for BoundedVisitor<T> {
    type Value = Bounded<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Bounded<T>, A::Error> {
        let mut bounded = Bounded::default();
        while bounded.kept.len() < MAX_MANIFEST_FILES
            && let Some(item) = items.next_element()?
        {
            bounded.kept.push(item);
        }
        bounded.count = bounded.kept.len();
        if bounded.count == MAX_MANIFEST_FILES {
            while items.next_element::<IgnoredAny>()?.is_some() {
                bounded.count += 1;
            }
        }
        Ok(bounded)
    }
}
