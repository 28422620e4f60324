# clipseg serve, as a user without rights. Build: docker build -t clipseg .
FROM python:3.12.12-slim-trixie AS build

# More options of pip, such as the index with the builds of torch for processors alone, which are much smaller.
ARG PIP_OPTIONS=""

WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src ./src
# hadolint ignore=SC2086
RUN python -m venv /opt/clipseg \
    && /opt/clipseg/bin/pip install --no-cache-dir --constraint constraints.txt ${PIP_OPTIONS} ".[serve]"

FROM python:3.12.12-slim-trixie

RUN useradd --uid 10001 --create-home --home-dir /home/clipseg clipseg
COPY --from=build /opt/clipseg /opt/clipseg

ENV PATH=/opt/clipseg/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HF_HOME=/home/clipseg/models \
    CLIPSEG_PROMPT_CACHE=off

USER 10001
WORKDIR /home/clipseg
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health', timeout=4).close()"]

# A token is needed, as others than this container can ask: set CLIPSEG_TOKEN.
ENTRYPOINT ["clipseg"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000", "--model", "nano"]
