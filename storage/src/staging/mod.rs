//! Atomic publication: an attempt writes privately; publishing shows all of its files, or, if the attempt dies, none.
//!
//! In a directory, private files stand where no reader looks, and are renamed. In a bucket, outputs are multipart
//! uploads, which nobody sees until they are completed; what is not Parquet stands under a private key.

mod arrange;
mod blocks;
mod bounds;
mod bucket;
mod local;
mod loss;
mod name;
mod private;

use crate::{Location, StorageError, StorageResult};
pub use arrange::{Arrange, Arranged};
pub use bounds::list_at_most;
use bucket::{BucketStaging, BucketWriter};
use local::{LocalStaging, LocalWriter};
use millwork_manifest::ObjectUri;
pub(crate) use name::Mark;
pub use name::{InvalidPrivateName, PrivateKind, PrivateName};
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};

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
#[serde(deny_unknown_fields)]
pub struct StagedFile {
    /// Name of the file in the attempt's directory. In a bucket its key is made of that: for an output, the final one
    /// with its number.
    pub name: PrivateName,
    /// Size of the file, in bytes.
    pub size_bytes: u64,
    /// The upload that will be it, if it is an output in a bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) upload: Option<Upload>,
}

impl StagedFile {
    /// An output of this number that was shown before its record was lost: nothing private of it is left.
    pub fn shown(number: u32, size_bytes: u64) -> Self {
        Self { name: PrivateName::new(PrivateKind::Output, number), size_bytes, upload: None }
    }
}

/// The most parts of an upload (Amazon S3 User Guide, "Multipart upload limits").
const MAX_UPLOAD_PARTS: usize = 10_000;

/// An upload that is to be completed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Upload {
    pub(crate) id: String,
    /// The entity tags of its parts, in order.
    #[serde(deserialize_with = "list_at_most::<_, _, MAX_UPLOAD_PARTS>")]
    pub(crate) parts: Vec<String>,
    /// Content of the last part, as long as it may change.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "base64_text")]
    pub(crate) tail: Vec<u8>,
    /// Mark by which the object is known, so that no other of the same size is taken for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) mark: Option<Mark>,
}

/// The end of an output.
pub struct Tail<'a> {
    /// Place of its file among those that are being settled.
    pub file: usize,
    /// Offset in the file at which the end starts, in bytes.
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
    /// The place of one attempt. `output_path` is the path of an output below `output`, with `{part}` for its number.
    /// Nothing is created yet.
    pub fn new(output: &Location, manifest: &str, attempt: u32, output_path: &str) -> Self {
        Self(match output {
            Location::Local(directory) => Kind::Local(LocalStaging::new(directory, manifest, attempt)),
            Location::Bucket { .. } => Kind::Bucket(BucketStaging::new(output, manifest, attempt, output_path)),
        })
    }

    /// The attempt's number; none in a place that has none.
    pub fn attempt(&self) -> Option<u32> {
        match &self.0 {
            Kind::Local(staging) => staging.attempt(),
            Kind::Bucket(staging) => Some(staging.attempt()),
        }
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
        self.create(PrivateKind::Output, number)
    }

    /// Starts a private file of the lines that the task of this number rejects. A task can have several.
    pub fn create_rejects(&self, task: usize) -> StorageResult<StagingWriter> {
        self.create(PrivateKind::Rejects, task)
    }

    fn create(&self, kind: PrivateKind, number: usize) -> StorageResult<StagingWriter> {
        let number = u32::try_from(number).map_err(|e| StorageError::new("create", number, io::Error::other(e)))?;
        let name = PrivateName::new(kind, number);
        let kind = match &self.0 {
            Kind::Local(staging) => WriterKind::Local(staging.create(&name.to_string())?),
            Kind::Bucket(staging) => WriterKind::Bucket(Box::new(staging.create(&name))),
        };
        Ok(StagingWriter { name, kind })
    }

    /// Tells whether outputs are uploads to their final places, which were free when the outputs were finished. Uploads
    /// have to be settled by [`Self::settle`] even if their footers stay as they are: what may change no more is let go
    /// of.
    pub fn has_uploads(&self) -> bool {
        matches!(self.0, Kind::Bucket(_))
    }

    /// Looks at the ends of outputs, before anything is done with them: each is what was reported, as far as that can be seen here,
    /// and `look` is given its end, as [`Self::settle`] has it. Returns the first that does not hold, by its place.
    ///
    /// In a directory it is read from the file. In a bucket it came with the report; the store says which parts the upload has, of
    /// which sizes and entity tags. What stands in parts before the last cannot be read as long as the upload is not completed.
    pub fn examine(
        &self,
        files: &[&StagedFile],
        look: &mut dyn FnMut(&Tail<'_>) -> io::Result<()>,
    ) -> Result<(), (usize, StorageError)> {
        match &self.0 {
            Kind::Local(staging) => (0..).zip(files).try_for_each(|(number, file)| {
                let looked = staging.look_at_tail((number, file), look);
                looked.map_err(|e| (number, e))
            }),
            Kind::Bucket(staging) => staging.examine(files, look),
        }
    }

    /// Opens a private file of rejected lines: so many bytes as were reported, if it has no others.
    pub fn open_rejects(&self, file: &StagedFile) -> StorageResult<Box<dyn Read>> {
        match &self.0 {
            Kind::Local(staging) => Ok(Box::new(staging.open(file)?)),
            Kind::Bucket(staging) => staging.open_rejects(file),
        }
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

    /// Returns the final place of an output, if its upload was begun for one; else the output can be published anywhere.
    pub fn place_of(&self, file: &StagedFile) -> Option<ObjectUri> {
        match &self.0 {
            Kind::Local(_) => None,
            Kind::Bucket(staging) => staging.uri(&staging.key(&file.name)).ok(),
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
                None => bucket::publish_local(staging, files, to),
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
        match &mut self.kind {
            WriterKind::Local(_) => Ok(()),
            WriterKind::Bucket(writer) => writer.start_tail(),
        }
    }

    /// Makes what was written durable and closes the file.
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
