# slotlab on a CPU: `make demo` and `make test` work in it, as a user without rights.
#
#   docker build -t slotlab .
#   docker run --rm -it slotlab make demo
#   docker run --rm -it --gpus all -v "$PWD/runs:/home/slotlab/slotlab/runs" slotlab bash
FROM python:3.11-slim

SHELL ["/bin/bash", "-o", "pipefail", "-c"]

# git is for provenance, chromium for the tests of pages.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends chromium git make \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 --shell /bin/bash slotlab

USER 1000
WORKDIR /home/slotlab/slotlab

# What changes seldom comes first: the libraries are a layer of their own, which new code leaves as it is.
COPY --chown=slotlab:slotlab Makefile pyproject.toml setup.py README.md LICENSE ./
RUN mkdir registry framework plugins experiments slotlab \
    && for layer in registry framework plugins slotlab; do touch "$layer/__init__.py"; done \
    && make .venv/installed-dev \
    && rm -rf registry framework plugins experiments slotlab

COPY --chown=slotlab:slotlab . .
RUN touch .venv/installed .venv/installed-dev

ENV PATH=/home/slotlab/slotlab/.venv/bin:$PATH
CMD ["bash"]
