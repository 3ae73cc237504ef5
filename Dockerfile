# The image of all containers in docker-compose.yaml; a role (head, worker, trainer) is an argument of the entry point.
#
#     docker compose build                         all targets: `node`, `head`, `trainer`, each with its test commands
#     docker run --rm ray-pong-trainer python compare.py --help      any entry point, as the run's user
#
# A glibc base: the wheels of Ray and the emulator, and the Antithesis library, ask for one. Python 3.12 or newer: the
# SDK sees no coverage below, where there is no sys.monitoring; digests are the same. The requirements have a
# layer of their own, which stays while only code changes.
FROM python:3.12-slim-bookworm AS node

ENV NO_COLOR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

# The folder is where the platform looks for Python code to instrument, and it is the same on each node: the actors
# import what was instrumented, and no copy of the code travels (RAY_PONG_CODE_ON_NODES, see ray_cluster.py).
WORKDIR /opt/antithesis/catalog/ray-pong
COPY requirements.txt .
RUN python -m pip install --requirement requirements.txt

RUN useradd --uid 10001 --user-group --create-home --shell /usr/sbin/nologin pong \
    && install --directory --owner=pong --group=pong /runs
COPY *.py ./
COPY bitexact/ bitexact/
COPY pong/ pong/
COPY training/ training/
COPY workload/*.py workload/*.sh workload/
ENV PYTHONPATH=/opt/antithesis/catalog/ray-pong \
    RAY_PONG_CODE_ON_NODES=1

# No USER: the entry point starts as root, because the folders that are mounted from outside are root's, gives them to
# the user `pong`, and becomes that user before it runs anything.
ENTRYPOINT ["/opt/antithesis/catalog/ray-pong/workload/entrypoint.sh"]

# Test commands act on their own container: those on any node's processes, then the head's, and those that need the run.
COPY --chmod=755 workload/template/node/ /opt/antithesis/test/v1/pong/

FROM node AS head
COPY --chmod=755 workload/template/head/ /opt/antithesis/test/v1/pong/

FROM node AS trainer
COPY --chmod=755 workload/template/trainer/ /opt/antithesis/test/v1/pong/
