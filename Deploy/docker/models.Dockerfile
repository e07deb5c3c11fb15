# Model bundles alone, for Kubernetes' image volumes: docker build -f Deploy/docker/models.Dockerfile -t kefu/models:1 .
FROM scratch
COPY Deploy/models /
