# Images of Millwork, a target each: scheduler, executor, manifest-builder, cli.
#
#   docker build --target scheduler --build-arg BASE=NAME@sha256:… --build-arg RUST=NAME@sha256:… --tag … .
#
# BASE  what programs run on: the C library, libgcc and certificates of public authorities, no shell and no package manager; such as
#       distroless `cc-debian12`. Give it by digest: the same sources then make the same image, bit by bit.
# RUST  what they are built in: a Rust toolchain on the same release of Debian, such as `rust:1.95-bookworm`, by digest.
# FROM_STAGE  `build` compiles; `prebuilt` takes programs from PREBUILT, a folder of the context.
ARG BASE
ARG RUST=rust:1.95-bookworm
ARG FROM_STAGE=build

FROM ${RUST} AS build
WORKDIR /src
COPY . .
# The commit that millwork_build_info tells of.
ARG MILLWORK_COMMIT=unknown
# Paths and times of the machine that builds stay out of the programs.
ENV MILLWORK_COMMIT=${MILLWORK_COMMIT} \
    SOURCE_DATE_EPOCH=0 \
    CARGO_PROFILE_RELEASE_STRIP=symbols \
    CARGO_INCREMENTAL=0
RUN RUSTFLAGS="--remap-path-prefix=/src=millwork --remap-path-prefix=${CARGO_HOME}=cargo" \
        cargo build --release --locked --bins \
    && mkdir /out \
    && cp target/release/millwork target/release/millwork-scheduler target/release/millwork-executor target/release/millwork-manifest-builder /out/

FROM scratch AS prebuilt
ARG PREBUILT=target/images/bin
COPY ${PREBUILT}/ /out/

# hadolint ignore=DL3006
FROM ${FROM_STAGE} AS programs

# hadolint ignore=DL3006
FROM ${BASE} AS common
ARG BASE
ARG VERSION=0.2.0
ARG MILLWORK_COMMIT=unknown
ARG SOURCE_URL=https://example.com/millwork
LABEL org.opencontainers.image.vendor="Millwork" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${MILLWORK_COMMIT}" \
      org.opencontainers.image.source="${SOURCE_URL}" \
      org.opencontainers.image.base.name="${BASE}"
COPY LICENSE /licenses/LICENSE
# Nobody's number, which owns no file. The root can be read-only; /tmp is a volume.
USER 65532:65532
WORKDIR /tmp

FROM common AS scheduler
LABEL org.opencontainers.image.title="millwork-scheduler" \
      org.opencontainers.image.description="Runs manifests of NDJSON files on a fleet of executors"
COPY --from=programs /out/millwork-scheduler /usr/local/bin/
EXPOSE 8080 50050 50051
ENTRYPOINT ["/usr/local/bin/millwork-scheduler"]

FROM common AS executor
LABEL org.opencontainers.image.title="millwork-executor" \
      org.opencontainers.image.description="Converts NDJSON to Parquet for a scheduler of Millwork"
COPY --from=programs /out/millwork-executor /usr/local/bin/
EXPOSE 8082
ENTRYPOINT ["/usr/local/bin/millwork-executor"]

FROM common AS manifest-builder
LABEL org.opencontainers.image.title="millwork-manifest-builder" \
      org.opencontainers.image.description="Turns files that arrive in a bucket into manifests for Millwork"
COPY --from=programs /out/millwork-manifest-builder /usr/local/bin/
EXPOSE 8081
ENTRYPOINT ["/usr/local/bin/millwork-manifest-builder"]

FROM common AS cli
LABEL org.opencontainers.image.title="millwork" \
      org.opencontainers.image.description="Command line of Millwork: submits, shows and steers runs, sets AWS up"
COPY --from=programs /out/millwork /usr/local/bin/
ENTRYPOINT ["/usr/local/bin/millwork"]
