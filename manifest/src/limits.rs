//! Limits of a manifest, which may come from an untrusted source.

use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;

/// Limit of a manifest's document, in bytes: 32 MiB, room for 100,000 files with their sizes and entity tags. Documents
/// are read into memory as a whole.
pub const MAX_MANIFEST_BYTES: u64 = 32 << 20;

/// Limit of the files of a manifest: 100,000, five hundred times the usual number. Each has a row in the store and a
/// part of the plan.
pub const MAX_MANIFEST_FILES: usize = 100_000;

/// Limit of the size of an object: 5 TiB, the largest that S3 stores (Amazon S3 User Guide, "Multipart upload limits").
pub const MAX_OBJECT_BYTES: u64 = 5 << 40;

/// Limit of an entity tag or version, in bytes: 1,024, the longest version in S3 (Amazon S3 User Guide, "Versioning
/// workflows"). Each is stored with its file.
pub(crate) const MAX_TAG_BYTES: usize = 1024;

/// Limit of an object's URI, in bytes: 16 KiB, enough for a Linux path of 4,096 percent-encoded bytes, and for any S3
/// key. Stored with the file, in indexes and in the timeline.
pub const MAX_URI_BYTES: usize = 16 << 10;

// The total size of a manifest fits in the stores' signed 64-bit integers.
const _: () = assert!(MAX_MANIFEST_FILES as u64 * MAX_OBJECT_BYTES <= i64::MAX as u64);

/// Beginning of a list, limited to [`MAX_MANIFEST_FILES`] items, and its full length.
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
