# The cluster without Docker (or kind, where a Docker engine answers): tests/cluster/cluster.py says how.
CLUSTER := python3 tests/cluster/cluster.py

.PHONY: cluster-up cluster-down cluster-status images weights gateway programs prerequisites kind-config-check lock-exporter

cluster-up: ## A complete single-node cluster, idempotent; prints export KUBECONFIG=…
	@$(CLUSTER) up

cluster-down: ## End the cluster and put the host back; builds and images stay cached
	@$(CLUSTER) down

cluster-status: ## Which component runs
	@$(CLUSTER) status

images: ## Build what changed and load it into the running cluster (IMAGES="operator exporter" for some)
	@$(CLUSTER) images $(IMAGES)

weights: ## Third-party test weights and pictures into the cache
	@python3 tests/cluster/weights.py

gateway: ## Traefik and the Gateway API's CRDs into the cache
	@python3 tests/cluster/gateway.py

programs: ## An OCI registry, oras, and what Flux and Argo CD decide by, into the cache
	@python3 tests/cluster/programs.py

prerequisites: ## What the cluster needs of this machine and does not find
	@python3 tests/cluster/prerequisites.py

kind-config-check: ## kind's own loader reads kind-config.yaml
	@cd tests/cluster/kindconfig && GOTOOLCHAIN=local go run . ../../../kind-config.yaml

LOCK_EXPORTER := uv pip compile -q --python-version 3.13 --python-platform x86_64-manylinux_2_40 --generate-hashes --no-emit-index-url \
	--custom-compile-command "make lock-exporter"

lock-exporter: ## Lock the exporter's and the client image's packages with hashes
	UV_PYTHON_DOWNLOADS=never $(LOCK_EXPORTER) requirements/exporter.in --override requirements/exporter-overrides.txt -o requirements/exporter.txt
	UV_PYTHON_DOWNLOADS=never $(LOCK_EXPORTER) tests/cluster/images/client/requirements.in -c requirements/exporter.txt \
		-o tests/cluster/images/client/requirements.txt
	UV_PYTHON_DOWNLOADS=never $(LOCK_EXPORTER) --no-deps tests/cluster/images/client/oldest.in -o tests/cluster/images/client/oldest.txt
