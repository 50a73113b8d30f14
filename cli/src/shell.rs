//! `millwork completions` and `millwork man`, generated from the command definitions.

use anyhow::Context;
use clap::{Args, Command};
use clap_complete::Shell;
use millwork_storage::check_way;
use std::path::PathBuf;

/// Print completions for a shell.
///
/// Examples:
///   millwork completions bash > ~/.local/share/bash-completion/completions/millwork
///   millwork completions zsh > ~/.zfunc/_millwork   # a directory of $fpath
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct CompletionOptions {
    /// The shell
    shell: Shell,
}

/// Print the manual, or write a page for each command to a directory.
///
/// Examples:
///   millwork man | man -l -
///   millwork man ~/.local/share/man/man1
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ManOptions {
    /// Directory for the pages, which must be there
    directory: Option<PathBuf>,
}

pub(crate) fn completions(options: &CompletionOptions, mut command: Command) {
    let mut text = Vec::new();
    clap_complete::generate(options.shell, &mut command, "millwork", &mut text);
    print!("{}", String::from_utf8_lossy(&text));
}

pub(crate) fn man(options: &ManOptions, command: Command) -> anyhow::Result<()> {
    let Some(directory) = &options.directory else {
        let mut text = Vec::new();
        clap_mangen::Man::new(command).render(&mut text)?;
        print!("{}", String::from_utf8_lossy(&text));
        return Ok(());
    };
    for page in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        // Existing pages are replaced, not written through, since links of another user could redirect the write.
        if page.file_name().to_string_lossy().starts_with("millwork") {
            check_way(&page.path())?;
        }
    }
    clap_mangen::generate_to(command, directory)
        .with_context(|| format!("cannot write the manual to `{}`: make that directory first", directory.display()))
}
