# The server, and nothing else: no shell, no libc. Mount a configuration and modules at
# /etc/weir, or: docker run -p 8080:8080 weir demo --listen :8080
#
# The engine for JavaScript is inside if guest-sdk/js/engine/built has it (make
# js-engine). Without it the image serves JavaScript handlers that are built, but builds
# none.
FROM --platform=$BUILDPLATFORM golang:1.26-bookworm AS build
ARG TARGETOS TARGETARCH
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -ldflags='-s -w' -o /out/usr/bin/weir . \
	&& mkdir -p /out/etc/weir /cache

FROM scratch
COPY --from=build /out/ /
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
# Compiled modules and tapes; a volume here makes the second start a quick one.
COPY --from=build --chown=65532:65532 --chmod=700 /cache/ /var/cache/weir/
ENV XDG_CACHE_HOME=/var/cache
USER 65532:65532
WORKDIR /etc/weir
EXPOSE 8080
# There is no HEALTHCHECK: it would need a program inside. Probe /readyz of admin.listen.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/weir"]
CMD ["serve"]
