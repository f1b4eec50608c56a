# mnistlab on the CPU, without a network and without rights:
#   docker build --tag mnistlab .
#   docker run --rm mnistlab train
# Runs are kept where the container is given a folder, and written as you:
#   docker run --rm --volume "$PWD:/work" --user "$(id -u):$(id -g)" mnistlab train

# The builds of torch without CUDA, which has 3 GB; also read by the workflows.
ARG CPU_INDEX=https://download.pytorch.org/whl/cpu

FROM python:3.14-slim AS build
ARG CPU_INDEX
ENV PIP_EXTRA_INDEX_URL=$CPU_INDEX \
    PIP_CONSTRAINT=requirements.lock \
    PIP_BUILD_CONSTRAINT=requirements.lock \
    HOUSE=/opt/mnistlab
WORKDIR /src
COPY . .
RUN python -m pip wheel --no-deps --wheel-dir dist . ./data/digits
RUN python -m venv --without-pip "$HOUSE" \
 && python -m pip --python "$HOUSE" install --no-compile dist/*.whl
# Of torch, what others compile against and its own tests, a quarter of it; and all other tests.
RUN cd "$HOUSE"/lib/python*/site-packages \
 && rm -rf torch/include torch/test \
 && find . -path './torch/bin/*' -type f ! -name torch_shm_manager -delete \
 && find . -type d -name tests -prune -exec rm -rf {} +
# A training shows that nothing is missing, and leaves what it imports compiled.
RUN "$HOUSE/bin/mnistlab" train --quiet

# What .devcontainer opens: the checkout is mounted there, and make installs.
FROM python:3.14-slim AS develop
ARG CPU_INDEX
ENV PIP_EXTRA_INDEX_URL=$CPU_INDEX
RUN apt-get update \
 && apt-get install --yes --no-install-recommends chromium git make strace \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home --shell /bin/bash learner
USER learner

FROM python:3.14-slim
COPY --from=build /opt/mnistlab /opt/mnistlab
RUN useradd --create-home learner \
 && install --directory --mode 1777 /work
USER learner
WORKDIR /work
ENTRYPOINT ["/opt/mnistlab/bin/mnistlab"]
CMD ["--help"]
