# Baïkal in a container: docker build -t baikal .    (README.md has the rest)
#
# The same deploy that provisions machines runs in here; the last stage is nothing but metadata, which
# `pyinfra @docker/IMAGE deploy.py` takes from this file as well. Any Debian from 12 or Ubuntu from 24.04 will do as the
# base; this one is the smallest. A name stands for another image every few weeks; for a release, pin the one that was
# tried with its digest (docs/containers.md): --build-arg DISTRIBUTION_DIGEST=sha256:…
ARG DISTRIBUTION=debian:13-slim
ARG DISTRIBUTION_DIGEST=""
ARG BASE=provisioned

# What provisions, and stays out of the image: pyinfra in a virtual environment of its own.
FROM ${DISTRIBUTION}${DISTRIBUTION_DIGEST:+@$DISTRIBUTION_DIGEST} AS tools
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates python3-venv
# Behind a mirror or a proxy of your own: docker build --secret id=pip.conf,src=… --secret id=ca.crt,src=… .
RUN --mount=type=bind,source=requirements-deploy.lock,target=/requirements.lock \
    --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=ca.crt \
    python3 -m venv /venv && /venv/bin/pip install --no-cache-dir --require-hashes --requirement /requirements.lock

# /media and /mnt are in every base already, so that mounting there leaves nothing behind.
FROM ${DISTRIBUTION}${DISTRIBUTION_DIGEST:+@$DISTRIBUTION_DIGEST} AS provisioned
ARG BAIKAL_VERSION=0.12.1
# A zip of your own, in the folder releases/ beside this file: --build-arg BAIKAL_ARCHIVE=releases/baikal-0.12.1.zip
# It must be the official one, unless BAIKAL_SHA256 is its checksum.
ARG BAIKAL_ARCHIVE=""
ARG BAIKAL_SHA256=""
# For certificates by DNS: which of certbot's plugins the image is to have, such as cloudflare.
ARG ACME_DNS_PLUGIN=""
# For backups that restic keeps as well, which takes 25 MB: --build-arg RESTIC=yes
ARG RESTIC=""
# Arguments reach the deploy as JSON, whatever characters they have.
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
# The first probe comes after the interval; a compose file or an orchestrator may ask more often in the beginning.
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s --retries=3 CMD ["baikalctl", "health"]
ENTRYPOINT ["baikalctl"]
CMD ["start"]
