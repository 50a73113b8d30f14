//! Atomic publication: an attempt writes private files; publishing gives all of them their final names. An attempt that
//! dies before its commit publishes none.
//!
//! In a directory, private files are below `_millwork/staging/`, and get their final names by hard links, or by a rename or a
//! copy where these are impossible. In a bucket, outputs are multipart uploads, which are invisible until completed; other
//! files have private keys.

mod arrange;
mod blocks;
mod bounds;
mod bucket;
mod local;
mod loss;
mod name;
mod private;

use crate::{Location, Storage, StorageError, StorageResult};
pub use arrange::{Arrange, Arranged};
pub use bounds::list_at_most;
use bucket::{BucketStaging, BucketWriter};
use local::{LocalStaging, LocalWriter};
use millwork_manifest::ObjectUri;
pub(crate) use name::Mark;
pub use name::{InvalidPrivateName, PrivateKind, PrivateName};
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};

/// The private place of one attempt at one manifest, `{output}/_millwork/staging/{manifest}/{attempt}`, as plans and commit records
/// tell it. [`Storage::staging`] is the way to it.
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
#[serde(deny_unknown_fields)]
pub struct StagedFile {
    /// Name of the file in the attempt's directory. In a bucket, its key is derived from this: for an output, the final
    /// key with its number.
    pub name: PrivateName,
    /// Size of the file, in bytes.
    pub size_bytes: u64,
    /// The open upload, for an output in a bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) upload: Option<Upload>,
}

impl StagedFile {
    /// An output of this number that was published before its record was lost, so that no private file is left.
    pub fn shown(number: u32, size_bytes: u64) -> Self {
        Self { name: PrivateName::new(PrivateKind::Output, number), size_bytes, upload: None }
    }
}

/// Limit of the parts of an upload (Amazon S3 User Guide, "Multipart upload limits").
const MAX_UPLOAD_PARTS: usize = 10_000;

/// An open upload that is to be completed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Upload {
    pub(crate) id: String,
    /// Entity tags of its parts, in order.
    #[serde(deserialize_with = "list_at_most::<_, _, MAX_UPLOAD_PARTS>")]
    pub(crate) parts: Vec<String>,
    /// Content of the last part, while it may still change.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "base64_text")]
    pub(crate) tail: Vec<u8>,
    /// Mark that identifies the object, to distinguish it from others of the same size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) mark: Option<Mark>,
}

/// The tail of an output: its last bytes, with the footer.
pub struct Tail<'a> {
    /// Index of the file among those that are being settled.
    pub file: usize,
    /// Offset of the tail in the file, in bytes.
    pub offset: u64,
    /// Content of the tail.
    pub bytes: &'a [u8],
}

/// Returns the new tail of an output, given the present one.
pub type RewriteTail<'a> = &'a dyn Fn(&Tail<'_>) -> io::Result<Vec<u8>>;

/// Base64 encoding of bytes, for `serde`.
pub mod base64_text {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes bytes in Base64.
    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    /// Reads bytes from Base64.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// A private file that is being written.
pub struct StagingWriter {
    name: PrivateName,
    kind: WriterKind,
}

enum WriterKind {
    Local(LocalWriter),
    Bucket(Box<BucketWriter>),
}

impl Staging {
    /// Describes the place of one attempt, without creating anything. `output_path` is the path of an output relative
    /// to `output`, with `{part}` for its number.
    pub fn new(output: &Location, manifest: &str, attempt: u32, output_path: &str) -> Self {
        Self(match output {
            Location::Local(directory) => Kind::Local(LocalStaging::new(directory, manifest, attempt)),
            Location::Bucket { .. } => Kind::Bucket(BucketStaging::new(output, manifest, attempt, output_path)),
        })
    }

    /// The attempt's number; `None` for a place without one.
    pub fn attempt(&self) -> Option<u32> {
        match &self.0 {
            Kind::Local(staging) => staging.attempt(),
            Kind::Bucket(staging) => Some(staging.attempt()),
        }
    }

    /// Tells whether outputs are uploads to their final places, which were free when the outputs were finished. Uploads
    /// have to be settled by [`StagingArea::settle`] even if their footers stay as they are: what may change no more is let go
    /// of.
    pub fn has_uploads(&self) -> bool {
        matches!(self.0, Kind::Bucket(_))
    }

    /// The final place of an output, if its upload was begun for one; `None` if the output can be published anywhere.
    pub fn place_of(&self, file: &StagedFile) -> Option<ObjectUri> {
        match &self.0 {
            Kind::Local(_) => None,
            Kind::Bucket(staging) => staging.uri(&staging.key(&file.name)).ok(),
        }
    }
}

/// The private place of one attempt, and the storage in which it is.
#[derive(Clone, Debug)]
pub struct StagingArea {
    place: Staging,
    storage: Storage,
}

impl Storage {
    /// The way to the private place of an attempt.
    pub fn staging(&self, place: Staging) -> StagingArea {
        StagingArea { place, storage: self.clone() }
    }

    /// Names of the manifests that have private files below an output.
    pub fn staged_manifests(&self, output: &Location) -> StorageResult<Vec<String>> {
        match output {
            Location::Local(directory) => local::staged_manifests(directory),
            Location::Bucket { .. } => bucket::staged_manifests(self, output),
        }
    }
}

impl StagingArea {
    /// The place, as it is told.
    pub fn place(&self) -> &Staging {
        &self.place
    }

    /// Creates the place, empty. Removes files of earlier attempts at the manifest, except in a bucket if this is the
    /// first attempt. Those of a later attempt, which may be running if this one was given up, are left alone.
    pub fn prepare(&self) -> StorageResult<()> {
        match &self.place.0 {
            Kind::Local(staging) => staging.prepare(),
            // Nothing has to be created in a bucket. Files of a first attempt whose state was lost have other names,
            // and are removed when this attempt is published.
            Kind::Bucket(staging) if staging.is_first() => Ok(()),
            Kind::Bucket(_) => self.clear(),
        }
    }

    /// Syncs the names of the files written in the place that [`Self::prepare`] created. Must be called before a record
    /// refers to them.
    pub fn sync(&self) -> StorageResult<()> {
        match &self.place.0 {
            Kind::Local(staging) => staging.sync(),
            Kind::Bucket(_) => Ok(()),
        }
    }

    /// Starts an output. Numbers must be unique within an attempt. In a directory this fails once the attempt's place
    /// is removed, so that a task that outlives its attempt leaves nothing behind.
    pub fn create_output(&self, number: usize) -> StorageResult<StagingWriter> {
        self.create(PrivateKind::Output, number)
    }

    /// Starts a private file of lines rejected by the task of this number. A task can have several.
    pub fn create_rejects(&self, task: usize) -> StorageResult<StagingWriter> {
        self.create(PrivateKind::Rejects, task)
    }

    fn create(&self, kind: PrivateKind, number: usize) -> StorageResult<StagingWriter> {
        let number = u32::try_from(number).map_err(|e| StorageError::new("create", number, io::Error::other(e)))?;
        let name = PrivateName::new(kind, number);
        let kind = match &self.place.0 {
            Kind::Local(staging) => WriterKind::Local(staging.create(&name.to_string())?),
            Kind::Bucket(staging) => WriterKind::Bucket(Box::new(staging.create(&self.storage, &name))),
        };
        Ok(StagingWriter { name, kind })
    }

    /// Checks the tails of outputs against their reports, before anything else is done with them, and passes each tail
    /// to `look` in the form that [`Self::settle`] uses. Returns the index and error of the first that fails.
    ///
    /// In a directory the tail is read from the file. In a bucket it came with the report, and is compared with the
    /// store's list of the upload's parts, with their sizes and entity tags. Earlier parts cannot be read before the
    /// upload is completed.
    pub fn examine(
        &self,
        files: &[&StagedFile],
        look: &mut dyn FnMut(&Tail<'_>) -> io::Result<()>,
    ) -> Result<(), (usize, StorageError)> {
        match &self.place.0 {
            Kind::Local(staging) => (0..).zip(files).try_for_each(|(number, file)| {
                let looked = staging.look_at_tail((number, file), look);
                looked.map_err(|e| (number, e))
            }),
            Kind::Bucket(staging) => staging.examine(&self.storage, files, look),
        }
    }

    /// Opens a private file of rejected lines, limited to the reported number of bytes; a file of another size is
    /// refused.
    pub fn open_rejects(&self, file: &StagedFile) -> StorageResult<Box<dyn Read>> {
        match &self.place.0 {
            Kind::Local(staging) => Ok(Box::new(staging.open(file)?)),
            Kind::Bucket(staging) => staging.open_rejects(&self.storage, file),
        }
    }

    /// Settles the tails of outputs. With `rewrite`, each is changed first: it is given bytes that end with the footer,
    /// perhaps with page indexes before it, and returns their replacement.
    pub fn settle<'a>(
        &self,
        files: impl IntoIterator<Item = &'a mut StagedFile>,
        rewrite: Option<RewriteTail<'_>>,
    ) -> StorageResult<()> {
        match (&self.place.0, rewrite) {
            (Kind::Local(_), None) => Ok(()),
            (Kind::Local(staging), Some(rewrite)) => {
                for (number, file) in files.into_iter().enumerate() {
                    file.size_bytes = staging.rewrite_tail((number, file), rewrite)?;
                }
                Ok(())
            }
            (Kind::Bucket(staging), rewrite) => staging.settle(&self.storage, files.into_iter().collect(), rewrite),
        }
    }

    /// Publishes outputs under their final names, and removes what is left of this attempt and earlier ones, all
    /// of which have ended; returns the result of that clean-up. Idempotent. Another object under a final name is an
    /// error, and is kept.
    pub fn publish(&self, outputs: &[(StagedFile, ObjectUri)]) -> StorageResult<StorageResult<()>> {
        match &self.place.0 {
            Kind::Local(staging) => {
                let files = outputs.iter().map(|(file, to)| Ok((file, crate::path_of(to)?)));
                staging.publish(&files.collect::<StorageResult<Vec<_>>>()?)?;
                Ok(staging.clear())
            }
            Kind::Bucket(staging) => staging.publish(&self.storage, outputs.iter().map(|(file, _)| file)),
        }
    }

    /// Joins private files into one and publishes it. Idempotent. Another object under its name is an error, and is
    /// kept.
    pub fn publish_joined(&self, files: &[StagedFile], to: &ObjectUri) -> StorageResult<()> {
        match &self.place.0 {
            Kind::Local(staging) => match to.to_path() {
                Some(path) => staging.publish_joined(files, &path),
                None => bucket::publish_local(&self.storage, staging, files, to),
            },
            Kind::Bucket(staging) => staging.publish_joined(&self.storage, files, to),
        }
    }

    /// Removes what is left of this attempt and earlier ones, all of which have ended. Idempotent.
    pub fn clear(&self) -> StorageResult<()> {
        match &self.place.0 {
            Kind::Local(staging) => staging.clear(),
            Kind::Bucket(staging) => staging.clear(&self.storage),
        }
    }

    /// Removes the files of this attempt, which gives up; others may be running. Idempotent.
    pub fn discard(&self) -> StorageResult<()> {
        match &self.place.0 {
            Kind::Local(staging) => staging.discard(),
            Kind::Bucket(staging) => staging.discard(&self.storage),
        }
    }
}

impl StagingWriter {
    /// Says that what comes now may still be changed by [`StagingArea::settle`].
    pub fn start_tail(&mut self) -> io::Result<()> {
        match &mut self.kind {
            WriterKind::Local(_) => Ok(()),
            WriterKind::Bucket(writer) => writer.start_tail(),
        }
    }

    /// Syncs and closes the file.
    pub fn finish(self) -> StorageResult<StagedFile> {
        let (size_bytes, upload) = match self.kind {
            WriterKind::Local(writer) => (writer.finish()?, None),
            WriterKind::Bucket(mut writer) => writer.finish()?,
        };
        Ok(StagedFile { name: self.name, size_bytes, upload })
    }
}

impl Write for StagingWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match &mut self.kind {
            WriterKind::Local(writer) => writer.write(buffer),
            WriterKind::Bucket(writer) => writer.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.kind {
            WriterKind::Local(writer) => writer.flush(),
            WriterKind::Bucket(_) => Ok(()),
        }
    }
}
