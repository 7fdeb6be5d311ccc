// CoreDNS with only the plugins a test cluster needs.
module yolo-operator/tests/cluster/coredns

go 1.24.0

require github.com/coredns/coredns v1.13.1
