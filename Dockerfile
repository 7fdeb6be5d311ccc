# The operator's and the exporter's image: docker build --target operator|exporter .
# A release passes BASE by digest. The package index comes from build arguments, never from the image.
ARG BASE=docker.io/library/debian:trixie-slim

# The package itself: the only stage that a change of the code rebuilds.
FROM ${BASE} AS wheel
RUN apt-get update -q \
 && apt-get install -y -q --no-install-recommends python3-pip python3-hatchling \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY operator operator
RUN python3 -m pip wheel -q --no-deps --no-index --no-build-isolation --wheel-dir /wheel .

FROM ${BASE} AS operator-dependencies
ARG PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_TRUSTED_HOST
RUN apt-get update -q \
 && apt-get install -y -q --no-install-recommends python3-venv \
 && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/yolo-operator
COPY requirements/operator.txt /tmp/operator.txt
RUN /opt/yolo-operator/bin/pip install -q --no-cache-dir --no-deps --require-hashes -r /tmp/operator.txt

# What decodes pictures in serving pods: for the Python of whatever Triton they run.
FROM ${BASE} AS picture-decoder
ARG PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_TRUSTED_HOST
RUN apt-get update -q \
 && apt-get install -y -q --no-install-recommends python3-pip \
 && rm -rf /var/lib/apt/lists/*
COPY requirements/pictures.txt /tmp/pictures.txt
RUN python3 -m pip install -q --no-cache-dir --no-deps --require-hashes --only-binary=:all: --target /opt/picture-decoder -r /tmp/pictures.txt

FROM ${BASE} AS operator
RUN apt-get update -q \
 && apt-get install -y -q --no-install-recommends ca-certificates python3 \
 && rm -rf /var/lib/apt/lists/* \
 && echo 'yolo-operator:x:65532:65532::/tmp:/usr/sbin/nologin' >> /etc/passwd
COPY --from=operator-dependencies /opt/yolo-operator /opt/yolo-operator
COPY --from=picture-decoder /opt/picture-decoder /opt/picture-decoder
COPY --from=wheel /wheel /wheel
RUN /opt/yolo-operator/bin/pip install -q --no-cache-dir --no-deps --no-index /wheel/*.whl
ENV PATH=/opt/yolo-operator/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    ORT_DISABLE_TELEMETRY=1
WORKDIR /tmp
USER 65532:65532
ENTRYPOINT ["yolo-operator"]

# PyTorch is Debian's CPU build: the one of PyPI brings 6 GB of CUDA.
FROM ${BASE} AS exporter
ARG PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_TRUSTED_HOST
RUN apt-get update -q \
 && apt-get install -y -q --no-install-recommends ca-certificates python3-torch python3-torchvision python3-venv \
 && rm -rf /var/lib/apt/lists/* \
 && echo 'yolo-operator:x:65532:65532::/tmp:/usr/sbin/nologin' >> /etc/passwd
RUN python3 -m venv --system-site-packages /opt/yolo-operator
COPY requirements/exporter.txt /tmp/exporter.txt
RUN /opt/yolo-operator/bin/pip install -q --no-cache-dir --no-deps --require-hashes -r /tmp/exporter.txt
# Nothing reports home, nothing is installed at run time, and all that is written goes below /tmp.
ENV PATH=/opt/yolo-operator/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    ORT_DISABLE_TELEMETRY=1 \
    YOLO_OFFLINE=1 \
    YOLO_AUTOINSTALL=false \
    YOLO_CONFIG_DIR=/tmp/ultralytics \
    MPLCONFIGDIR=/tmp/matplotlib
COPY --from=wheel /wheel /wheel
RUN /opt/yolo-operator/bin/pip install -q --no-cache-dir --no-deps --no-index /wheel/*.whl
WORKDIR /tmp
USER 65532:65532
ENTRYPOINT ["yolo-operator"]
