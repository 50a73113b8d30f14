"""Containers on this machine without a daemon or a registry: a base image made of Debian packages, buildah, podman with storage of their own."""

import os
import pathlib
import shutil
import subprocess

from rendered import ROOT, VERSION

WORK = ROOT / "target" / "images"
PROGRAMS = ["millwork", "millwork-scheduler", "millwork-executor", "millwork-manifest-builder"]
TARGETS = {"scheduler": "millwork-scheduler", "executor": "millwork-executor", "manifest-builder": "millwork-manifest-builder", "cli": "millwork-cli"}
PACKAGES = ["buildah", "podman", "runc", "catatonit", "mmdebstrap"]
BASE = "localhost/millwork-base"


def run(*command, env=None, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, env={**os.environ, **(env or {})}, **options)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def install():
    if os.geteuid() != 0:
        raise SystemExit("images-check needs root: it makes a root file system and runs containers under other users")
    if not all(shutil.which(name) for name in ("buildah", "podman", "runc", "catatonit", "mmdebstrap")):
        run("apt-get", "update")
        run("apt-get", "install", "-y", "--no-install-recommends", *PACKAGES, env={"DEBIAN_FRONTEND": "noninteractive"})


class Storage:
    """Images and containers below one folder, apart from those of the machine."""

    def __init__(self, name):
        self.folder = WORK / name
        self.folder.mkdir(parents=True, exist_ok=True)
        containers = self.folder / "containers.conf"
        containers.write_text(
            '[containers]\ndefault_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\n'
            '[engine]\ncgroup_manager = "cgroupfs"\nruntime = "runc"\nevents_logger = "file"\ninfra_image = "localhost/millwork-pause"\n'
        )
        storage = self.folder / "storage.conf"
        storage.write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{self.folder}/storage"\nrunroot = "{self.folder}/run"\n')
        self.env = {"CONTAINERS_CONF": str(containers), "CONTAINERS_STORAGE_CONF": str(storage), "BUILDAH_ISOLATION": "chroot"}

    def buildah(self, *arguments):
        return run("buildah", *arguments, env=self.env, cwd=ROOT)

    def podman(self, *arguments):
        return run("podman", *arguments, env=self.env)

    def digest(self, name):
        return self.buildah("inspect", "--type", "image", "--format", "{{.FromImageDigest}}", name)

    def remove(self):
        """Removes all of it. Containers must have ended."""
        run("podman", "unshare", "true", env=self.env) if os.geteuid() else None
        shutil.rmtree(self.folder, ignore_errors=True)

    def root_file_system(self, folder, packages, variant, *options):
        """Makes root.tar in a folder, of packages of Debian."""
        folder.mkdir(parents=True, exist_ok=True)
        tar = folder / "root.tar"
        run("mmdebstrap", f"--variant={variant}", f"--include={packages}", "--quiet", *options, "bookworm", tar, env={"SOURCE_DATE_EPOCH": "0"})

    def build(self, commit, targets=TARGETS):
        """Builds the base and the images; returns the digests of the latter."""
        root = WORK / "base"
        # Certificates are put together here, since a root file system without a shell cannot do it itself.
        hook = 'cat "$1"/usr/share/ca-certificates/mozilla/*.crt > "$1"/etc/ssl/certs/ca-certificates.crt'
        self.root_file_system(root, "ca-certificates,libc6,libgcc-s1,tzdata", "extract", f"--extract-hook={hook}")
        (root / "Dockerfile").write_text("FROM scratch\nADD root.tar /\n")
        self.buildah("build", "-q", "--timestamp", "0", "-t", BASE, root)
        digests = {"base": self.digest(BASE)}
        for target in targets:
            name = f"localhost/millwork/{target}:{VERSION}"
            self.buildah(
                "build",
                "-q",
                "--timestamp",
                "0",
                "--target",
                target,
                "--build-arg",
                f"BASE={BASE}",
                "--build-arg",
                "FROM_STAGE=prebuilt",
                "--build-arg",
                f"MILLWORK_COMMIT={commit}",
                "-t",
                name,
                ".",
            )
            digests[target] = self.digest(name)
        return digests

    def pause(self):
        """The image that holds a pod together."""
        folder = WORK / "pause"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(shutil.which("catatonit") or "catatonit", folder / "pause")
        (folder / "Dockerfile").write_text('FROM scratch\nCOPY pause /pause\nENTRYPOINT ["/pause", "-P"]\n')
        self.buildah("build", "-q", "--timestamp", "0", "-t", "localhost/millwork-pause", folder)


def strip_programs(source):
    """Puts the programs where the Dockerfile takes them from, without symbols."""
    target = WORK / "bin"
    target.mkdir(parents=True, exist_ok=True)
    for name in PROGRAMS:
        run("strip", "-o", target / name, pathlib.Path(source) / name)
    return target
