{{/*
All that the operator does in the namespaces it serves. No Secrets, no Pod creation, no exec: what touches bytes runs in Jobs.
Server-side apply is `patch`, and `create` where the object is not there yet. The watches list and watch, the resync lists,
and a list by name tells whether it is taken by an object that is not ours.
*/}}
{{- define "yolo-operator.rules" -}}
- apiGroups: [yolo-operator.io]
  resources: [yolodeployments, yoloservers]
  verbs: [list, watch, patch] # patch: the finalizer
- apiGroups: [yolo-operator.io]
  resources: [yolodeployments/status, yoloservers/status]
  verbs: [patch]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes, grpcroutes] # a right to what the cluster may not have does no harm
  verbs: [list, watch, create, patch, delete]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [list, watch, create, delete] # Jobs cannot be changed: never patch
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [pods/status]
  verbs: [patch] # the readiness gate; that a pod has ended whose node is silent; which models a YoloServer's pod is to have, and takes requests for
- apiGroups: [""]
  resources: [events]
  verbs: [create, list] # its dry run tells whether a namespace is being deleted; why a Job has no Pod only an Event says
{{- end -}}
