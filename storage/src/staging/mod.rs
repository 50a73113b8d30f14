//! Atomic publication: an attempt writes privately; publishing shows all of its files, or, if the attempt dies, none.
//!
//! In a directory, private files stand where no reader looks, and are renamed. In a bucket, outputs are multipart
//! uploads, which nobody sees until they are completed; what is not Parquet stands under a private key.

mod blocks;
mod bucket;
mod local;
mod loss;

use crate::{Location, StorageResult};
use bucket::{BucketStaging, BucketWriter};
use local::{LocalStaging, LocalWriter};
use millwork_manifest::ObjectUri;
use serde::{Deserialize, Serialize};
use std::io::{self, Write};

/// The private place of one attempt at one manifest: `{output}/_millwork/staging/{manifest}/{attempt}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staging(Kind);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Local(LocalStaging),
    Bucket(BucketStaging),
}

/// A finished private file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedFile {
    /// Its name in the attempt's directory; in a bucket, its key, which for an output is the final one.
    pub name: String,
    /// Its size.
    pub size_bytes: u64,
    /// The upload that will be it, if it is an output in a bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) upload: Option<Upload>,
}

/// An upload that is to be completed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Upload {
    pub(crate) id: String,
    /// The entity tags of its parts, in order.
    pub(crate) parts: Vec<String>,
    /// What the last of them has, as long as it may change.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "base64_text")]
    pub(crate) tail: Vec<u8>,
    /// What its object is known by, so that no other of the same size is taken for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) mark: Option<String>,
}

/// The end of an output.
pub struct Tail<'a> {
    /// Which of the files that are being settled it is of.
    pub file: usize,
    /// Where in the file it starts.
    pub offset: u64,
    /// The bytes that stand there.
    pub bytes: &'a [u8],
}

/// Changes the end of an output: from the bytes that stand there to those that are to stand there.
pub type RewriteTail<'a> = &'a dyn Fn(&Tail<'_>) -> io::Result<Vec<u8>>;

/// Bytes as text, for `serde`.
pub mod base64_text {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes them in Base64.
    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    /// Reads them back.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// A private file that is being written.
pub struct StagingWriter(WriterKind);

enum WriterKind {
    Local(LocalWriter),
    Bucket(BucketWriter),
}

impl Staging {
    /// The place of one attempt. `output_path` is the path of an output below `output`, with `{part}` for its number.
    /// Nothing is created yet.
    pub fn new(output: &Location, manifest: &str, attempt: u32, output_path: &str) -> Self {
        Self(match output {
            Location::Local(directory) => Kind::Local(LocalStaging::new(directory, manifest, attempt)),
            Location::Bucket { .. } => Kind::Bucket(BucketStaging::new(output, manifest, attempt, output_path)),
        })
    }

    /// Makes the place, empty. What earlier attempts at the same manifest left goes, if this is not the first in a bucket; a later
    /// one, which may be alive if this one was given up meanwhile, is left alone.
    pub fn prepare(&self) -> StorageResult<()> {
        match &self.0 {
            Kind::Local(staging) => staging.prepare(),
            // There is no place to be made. What a first attempt of a state that was lost left has other names, and goes when this one
            // is published.
            Kind::Bucket(staging) if staging.is_first() => Ok(()),
            Kind::Bucket(_) => self.clear(),
        }
    }

    /// Makes the names of what was written in the place that [`Self::prepare`] made durable. To be called before a record names it.
    pub fn sync(&self) -> StorageResult<()> {
        match &self.0 {
            Kind::Local(staging) => staging.sync(),
            Kind::Bucket(_) => Ok(()),
        }
    }

    /// Starts an output. No two of an attempt have the same number. In a directory it fails once the attempt's place is
    /// gone: a task that outlives its attempt can leave nothing behind.
    pub fn create_output(&self, number: usize) -> StorageResult<StagingWriter> {
        Ok(StagingWriter(match &self.0 {
            Kind::Local(staging) => WriterKind::Local(staging.create(&format!("{}.part", uuid::Uuid::new_v4()))?),
            Kind::Bucket(staging) => WriterKind::Bucket(staging.create_output(number)),
        }))
    }

    /// Starts another private file.
    pub fn create(&self, name: &str) -> StorageResult<StagingWriter> {
        Ok(StagingWriter(match &self.0 {
            Kind::Local(staging) => WriterKind::Local(staging.create(name)?),
            Kind::Bucket(staging) => WriterKind::Bucket(staging.create(name)),
        }))
    }

    /// Whether outputs are uploads to their final places, which were free when they were finished. They have to be settled by
    /// [`Self::settle`] even if their footers stay as they are: what may change no more is let go of.
    pub fn has_uploads(&self) -> bool {
        matches!(self.0, Kind::Bucket(_))
    }

    /// Settles the ends of outputs, changed by `rewrite` if there is one; it is given bytes that end with the footer, the
    /// page indexes perhaps before it, and returns what is to stand in their place.
    pub fn settle<'a>(
        &self,
        files: impl IntoIterator<Item = &'a mut StagedFile>,
        rewrite: Option<RewriteTail<'_>>,
    ) -> StorageResult<()> {
        match (&self.0, rewrite) {
            (Kind::Local(_), None) => Ok(()),
            (Kind::Local(staging), Some(rewrite)) => {
                for (number, file) in files.into_iter().enumerate() {
                    file.size_bytes = staging.rewrite_tail((number, file), rewrite)?;
                }
                Ok(())
            }
            (Kind::Bucket(staging), rewrite) => staging.settle(files.into_iter().collect(), rewrite),
        }
    }

    /// Where an output will be, if its upload was begun for a place; else it can be published anywhere.
    pub fn place_of(&self, file: &StagedFile) -> Option<ObjectUri> {
        match &self.0 {
            Kind::Local(_) => None,
            Kind::Bucket(staging) => staging.uri(&file.name).ok(),
        }
    }

    /// Shows outputs under their final names, and removes what is left of this attempt and earlier ones, of which none is
    /// alive; returns what came of that. Doing it again is no error; another object of that name is, and stays.
    pub fn publish(&self, outputs: &[(StagedFile, ObjectUri)]) -> StorageResult<StorageResult<()>> {
        match &self.0 {
            Kind::Local(staging) => {
                let files = outputs.iter().map(|(file, to)| Ok((file, crate::path_of(to)?)));
                staging.publish(&files.collect::<StorageResult<Vec<_>>>()?)?;
                Ok(staging.clear())
            }
            Kind::Bucket(staging) => staging.publish(outputs.iter().map(|(file, _)| file)),
        }
    }

    /// Puts private files together as one, and shows that. Doing it again is no error; another object of that name is,
    /// and stays.
    pub fn publish_joined(&self, files: &[StagedFile], to: &ObjectUri) -> StorageResult<()> {
        match &self.0 {
            Kind::Local(staging) => match to.to_path() {
                Some(path) => staging.publish_joined(files, &path),
                None => bucket::publish_local(|file| staging.path(file), files, to),
            },
            Kind::Bucket(staging) => staging.publish_joined(files, to),
        }
    }

    /// Removes what is left of this attempt and earlier ones, of which none is alive. Doing it again is no error.
    pub fn clear(&self) -> StorageResult<()> {
        match &self.0 {
            Kind::Local(staging) => staging.clear(),
            Kind::Bucket(staging) => staging.clear(),
        }
    }

    /// Removes what the attempt wrote, when it gives up; another one may be alive. Doing it again is no error.
    pub fn discard(&self) -> StorageResult<()> {
        match &self.0 {
            Kind::Local(staging) => staging.discard(),
            Kind::Bucket(staging) => staging.discard(),
        }
    }
}

/// The names of the manifests of which something private is below an output.
pub fn staged_manifests(output: &Location) -> StorageResult<Vec<String>> {
    match output {
        Location::Local(directory) => local::staged_manifests(directory),
        Location::Bucket { .. } => bucket::staged_manifests(output),
    }
}

impl StagingWriter {
    /// Says that what comes now may still be changed by [`Staging::settle`].
    pub fn start_tail(&mut self) -> io::Result<()> {
        match &mut self.0 {
            WriterKind::Local(_) => Ok(()),
            WriterKind::Bucket(writer) => writer.start_tail(),
        }
    }

    /// Makes what was written durable and closes the file.
    pub fn finish(self) -> StorageResult<StagedFile> {
        match self.0 {
            WriterKind::Local(writer) => writer.finish(),
            WriterKind::Bucket(mut writer) => writer.finish(),
        }
    }
}

impl Write for StagingWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            WriterKind::Local(writer) => writer.write(buffer),
            WriterKind::Bucket(writer) => writer.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            WriterKind::Local(writer) => writer.flush(),
            WriterKind::Bucket(_) => Ok(()),
        }
    }
}
