# The file system of the managed plugin, where an image registry can be reached:
# `make plugin-docker`. Without one, `make plugin` makes the same from packages.

FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=unknown
ARG COMMIT=unknown
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false \
    -ldflags "-s -w -X main.version=${VERSION} -X main.commit=${COMMIT}" -o /mybr ./cmd/mybr

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends iptables \
    && rm -rf /var/lib/apt/lists/* \
    && mkdir -p /run/docker/plugins /var/lib/mybr
COPY --from=build /mybr /usr/bin/mybr
ENTRYPOINT ["/usr/bin/mybr", "serve"]
