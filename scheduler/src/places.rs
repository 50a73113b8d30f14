//! Places in which a scheduler may read, and the check that they do not overlap with those in which it writes.

use crate::{IntakeOptions, ReadPlaces, RunOptions};
use anyhow::Context;
use clap::Args;
use millwork_storage::{Location, Places};
use std::path::Path;

/// Folder of a manifest bucket in which builders write manifests.
const MANIFEST_FOLDER: &str = "manifests";

/// Places of input files and manifests.
#[derive(Args, Clone, Debug)]
pub struct PlaceOptions {
    /// Places of input files, with commas between: s3://BUCKET, s3://BUCKET/FOLDER/, /DIRECTORY. A manifest that names a file
    /// elsewhere is refused, whoever it is of, and so is a link that leads elsewhere
    #[arg(long, env = "INPUT_PLACES", value_name = "PLACES")]
    pub input_places: Option<String>,

    /// Places of manifests that a queue or a client names by their address, written in the same way; --manifest-dir need not be
    /// named again [default: the folder manifests/ of $MANIFEST_BUCKET]
    #[arg(long, env = "MANIFEST_PLACES", value_name = "PLACES")]
    pub manifest_places: Option<String>,
}

impl PlaceOptions {
    /// Allowed places from these and other options; `state` is the file of the state, if it is a file. Refuses an
    /// input that overlaps with a place written to.
    pub fn read(&self, intake: &IntakeOptions, run: &RunOptions, state: Option<&Path>) -> anyhow::Result<ReadPlaces> {
        let input = said(self.input_places.as_deref()).context(
            "say where input files may be: --input-places PLACES or INPUT_PLACES, such as s3://acme-input or /data/in; \
             manifests that name files elsewhere are refused",
        )?;
        let input: Places = input.parse().context("--input-places or INPUT_PLACES")?;
        let manifests = self.manifests(intake)?;
        anyhow::ensure!(
            manifests.locations().next().is_some() || said(intake.manifest_queue_url.as_deref()).is_none(),
            "say where the manifests may be that --manifest-queue-url tells of: --manifest-places PLACES, MANIFEST_PLACES or \
             MANIFEST_BUCKET"
        );
        let mut written = vec![("the output", run.output()?)];
        written.extend(run.quarantine()?.map(|place| ("the quarantine", place)));
        if let Some(path) = state {
            written.push(("the state", Location::parse(&path.to_string_lossy())?));
        }
        written.extend(manifests.locations().map(|place| ("the place of manifests", place)));
        for place in input.locations() {
            let meets = |other: &Location| place.contains(other) || other.contains(&place);
            if let Some((what, other)) = written.iter().find(|(_, other)| meets(other)) {
                anyhow::bail!("the input `{place}` and {what} `{other}` are one inside the other: keep them apart");
            }
        }
        Ok(ReadPlaces::new(input, manifests, Some(&run.output()?)))
    }

    fn manifests(&self, intake: &IntakeOptions) -> anyhow::Result<Places> {
        let mut places = match (said(self.manifest_places.as_deref()), Location::of_variable("MANIFEST_BUCKET")?) {
            (Some(places), _) => places.parse().context("--manifest-places or MANIFEST_PLACES")?,
            (None, Some(bucket)) => Places::of(&bucket.join(MANIFEST_FOLDER)),
            (None, None) => Places::none(),
        };
        if let Some(directory) = &intake.manifest_dir {
            places = places.and(Places::of(&Location::parse(directory)?));
        }
        Ok(places)
    }
}

/// The given text; `None` if it is empty, as for an empty variable.
fn said(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Options {
        #[command(flatten)]
        places: PlaceOptions,
        #[command(flatten)]
        intake: IntakeOptions,
        #[command(flatten)]
        run: RunOptions,
    }

    fn read(arguments: &[&str]) -> Result<ReadPlaces, String> {
        let always = ["test", "--output", "/o/out"];
        let quarantine = ["--quarantine", "s3://q/bad"];
        let quarantine = quarantine.iter().filter(|_| !arguments.contains(&"--quarantine"));
        let options = Options::parse_from(always.iter().chain(quarantine).chain(arguments));
        options
            .places
            .read(&options.intake, &options.run, Some(Path::new("/o/state/s.db")))
            .map_err(|e| format!("{e:#}"))
    }

    #[test]
    fn an_input_is_named_and_apart_from_what_is_written() {
        assert!(read(&["--input-places", "/in,s3://q/in/", "--manifest-dir", "/m"]).is_ok());
        for (arguments, part) in [
            (&[][..], "say where input files may be"),
            (&["--input-places", ""], "say where input files may be"),
            (&["--input-places", "in"], "`in` is no place"),
            (&["--input-places", "/o/out/in"], "the output"),
            (&["--input-places", "/in,/o"], "the output"),
            (&["--input-places", "s3://q"], "the quarantine"),
            (&["--input-places", "s3://q/bad/in"], "the quarantine"),
            (&["--input-places", "/o/state"], "the state"),
            (
                &["--input-places", "/in", "--quarantine", "/o/out/bad"],
                "name a place elsewhere, or `/o/out/_quarantine`",
            ),
            (&["--input-places", "/in", "--manifest-dir", "/in/m"], "the place of manifests"),
            (&["--input-places", "/in", "--manifest-places", "s3://m,/in"], "the place of manifests"),
            (&["--input-places", "/in", "--manifest-queue-url", "http://q"], "say where the manifests may be"),
        ] {
            let error = read(arguments).unwrap_err();
            assert!(error.contains(part), "{arguments:?}: {error}");
        }
    }

    #[test]
    fn manifests_are_read_where_it_is_said() {
        let places =
            read(&["--input-places", "/in", "--manifest-places", "s3://m/x/", "--manifest-dir", "/m"]).unwrap();
        for (uri, is_in) in
            [("s3://m/x/a.json", true), ("/m/a.json", true), ("s3://m/a.json", false), ("/a.json", false)]
        {
            assert_eq!(places.manifests.contains(&uri.parse().unwrap()), is_in, "{uri}");
        }
        assert!(!read(&["--input-places", "/in"]).unwrap().manifests.contains(&"/m/a.json".parse().unwrap()));
    }
}
