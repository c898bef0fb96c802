# Baïkal in a container: docker build -t baikal .    (README.md has the rest)
#
# BuildKit is needed: Docker from 23.0 on uses it; before, install docker-buildx and set DOCKER_BUILDKIT=1. The legacy
# builder stops at the first RUN with "the --mount option requires BuildKit".
#
# The build runs the same deploy that provisions machines. The last stage has only metadata, which
# `pyinfra @docker/IMAGE deploy.py` reads from this file as well. Debian from 12 on and Ubuntu from 24.04 on work as the
# base; this one is the smallest. Its content changes every few weeks. For a release, pin the image that you have tested by
# its digest (docs/containers.md): --build-arg DISTRIBUTION_DIGEST=sha256:…
ARG DISTRIBUTION=debian:13-slim
ARG DISTRIBUTION_DIGEST=""
ARG BASE=provisioned

# The tools of the build: pyinfra in a virtual environment. They are not in the image.
FROM ${DISTRIBUTION}${DISTRIBUTION_DIGEST:+@$DISTRIBUTION_DIGEST} AS tools
RUN --mount=type=tmpfs,target=/var/cache/apt \
    apt-get update && apt-get install --yes --no-install-recommends ca-certificates python3-venv
# If pip has to use a mirror or a proxy: docker build --secret id=pip.conf,src=… --secret id=ca.crt,src=… .
RUN --mount=type=bind,source=requirements-deploy.lock,target=/requirements.lock \
    --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=ca.crt \
    python3 -m venv /venv && /venv/bin/pip install --no-cache-dir --require-hashes --requirement /requirements.lock

# /media and /mnt exist in every base image, so that mounting there leaves no directory in the image.
FROM ${DISTRIBUTION}${DISTRIBUTION_DIGEST:+@$DISTRIBUTION_DIGEST} AS provisioned
ARG BAIKAL_VERSION=0.12.1
# To use a local zip, put it in the folder releases/: --build-arg BAIKAL_ARCHIVE=releases/baikal-0.12.1.zip
# It must be the official zip, or BAIKAL_SHA256 must be its checksum.
ARG BAIKAL_ARCHIVE=""
ARG BAIKAL_SHA256=""
# For certificates by DNS: the certbot plugin to install, for example cloudflare.
ARG ACME_DNS_PLUGIN=""
# For backups to a restic repository, which need 25 MB more: --build-arg RESTIC=yes
ARG RESTIC=""
# Arguments are passed to the deploy as JSON, so that they may have any characters.
RUN --mount=type=bind,from=tools,source=/venv,target=/media --mount=type=bind,target=/mnt \
    apt-get update && apt-get install --yes --no-install-recommends python3 && cd /mnt \
    && json() { /media/bin/python -B -c 'import json, sys; print(json.dumps(sys.argv[1]))' "$1"; } \
    && XDG_CACHE_HOME=/tmp PYTHONDONTWRITEBYTECODE=1 /media/bin/python -m pyinfra -y @local deploy.py \
    --data "baikal_version=$(json "$BAIKAL_VERSION")" --data "baikal_archive=$(json "$BAIKAL_ARCHIVE")" \
    --data "baikal_sha256=$(json "$BAIKAL_SHA256")" --data "acme_dns_plugin=$(json "$ACME_DNS_PLUGIN")" \
    --data "restic_repository=$(json "${RESTIC:+/of/a/container}")"

FROM ${BASE}
ARG BAIKAL_VERSION=0.12.1
ARG DISTRIBUTION
ARG DISTRIBUTION_DIGEST
LABEL org.opencontainers.image.title="Baïkal" \
      org.opencontainers.image.description="CalDAV and CardDAV server, configured when it starts" \
      org.opencontainers.image.version="${BAIKAL_VERSION}" \
      org.opencontainers.image.base.name="${DISTRIBUTION}" \
      org.opencontainers.image.base.digest="${DISTRIBUTION_DIGEST}" \
      org.opencontainers.image.licenses="GPL-3.0-only AND MIT" \
      org.opencontainers.image.documentation="https://sabre.io/baikal/"
VOLUME /var/lib/baikal
EXPOSE 80 443
STOPSIGNAL SIGTERM
# The first check is after one interval. A compose file or an orchestrator may check more often at first.
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s --retries=3 CMD ["baikalctl", "health"]
ENTRYPOINT ["baikalctl"]
CMD ["start"]
