// The pause program of every pod.
module yolo-operator/tests/cluster/pause

go 1.24.0
