# The server as a container, outside of Azure Functions: docs/containers.md says
# what it needs. Not built by the tests.
FROM golang:1.26 AS build
WORKDIR /src
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -tags roots -ldflags='-s -w' -o /app . && mkdir /data

FROM scratch
COPY --from=build /app /app
COPY --from=build --chown=65532:65532 /data /data
COPY LICENSE /LICENSE
USER 65532:65532
ENV LISTEN_ADDRESS=0.0.0.0 PORT=7071 DATA_DIR=/data
EXPOSE 7071
ENTRYPOINT ["/app"]
