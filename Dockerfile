# Two stages: the first has pip and a build backend, the second only what runs. No compiler is needed
# in either, because every locked dependency comes as a wheel; `--only-binary` makes sure of it.
FROM python:3.11-slim AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1

WORKDIR /build
COPY requirements/runtime.txt requirements/build.txt ./
RUN python -m venv /opt/ws-gateway \
    && /opt/ws-gateway/bin/pip install --require-hashes --only-binary :all: -r runtime.txt \
    && python -m venv /opt/build \
    && /opt/build/bin/pip install --require-hashes --only-binary :all: -r build.txt

COPY pyproject.toml README.md ./
COPY src src
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --no-index --wheel-dir /dist . \
    && /opt/ws-gateway/bin/pip install --no-deps --no-index /dist/*.whl \
    && /opt/ws-gateway/bin/pip uninstall --yes pip


FROM python:3.11-slim

# A fixed number, so that volumes can be given to it before the first start.
RUN groupadd --gid 10001 gateway \
    && useradd --uid 10001 --gid gateway --home-dir /var/lib/ws-gateway --no-create-home \
        --shell /usr/sbin/nologin gateway \
    && install --directory --owner gateway --group gateway /var/lib/ws-gateway

COPY --from=build /opt/ws-gateway /opt/ws-gateway

ENV PATH=/opt/ws-gateway/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    WSG_HTTP_HOST=0.0.0.0 \
    WSG_DATA_DIR=/var/lib/ws-gateway

USER 10001:10001
WORKDIR /var/lib/ws-gateway
VOLUME /var/lib/ws-gateway
EXPOSE 8080

# It drains for up to 8 s after SIGTERM; an orchestrator should grant 15.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["ws-gateway", "doctor", "--alive"]

ENTRYPOINT ["ws-gateway"]
CMD ["serve"]
