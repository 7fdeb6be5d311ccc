{{/* Name of this release's objects: the release's, with the chart's where it does not say so itself. */}}
{{- define "yolo-operator.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- define "yolo-operator.serviceAccountName" -}}
{{ .Values.serviceAccount.name | default (ternary (include "yolo-operator.fullname" .) "default" .Values.serviceAccount.create) }}
{{- end -}}

{{- define "yolo-operator.image" -}}
{{ .Values.images.operator | default (printf "docker.io/yolo-operator/operator:%s" .Chart.AppVersion) }}
{{- end -}}

{{/* The S3 server's objects: RELEASE-s3. */}}
{{- define "yolo-operator.s3" -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}-s3
{{- end -}}

{{- define "yolo-operator.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "yolo-operator.s3Selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: s3
{{- end -}}

{{/* Labels besides the selector. */}}
{{- define "yolo-operator.labels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{/* What the restricted Pod security standard asks of a container. */}}
{{- define "yolo-operator.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "yolo-operator.podSecurity" -}}
runAsNonRoot: true
{{- if not .Values.assignedUser }}
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* The default storage as JSON, the form of spec.storage; empty where there is none. */}}
{{- define "yolo-operator.storage" -}}
{{- $given := .Values.storage -}}
{{- if $given.uri -}}
{{- $storage := dict "uri" $given.uri -}}
{{- range $key := list "endpoint" "region" "loader" -}}
{{- with get $given $key }}{{ $_ := set $storage $key . }}{{ end -}}
{{- end -}}
{{- range $key := list "secretRef" "readSecretRef" "caBundleRef" -}}
{{- $reference := get $given $key -}}
{{- if $reference.name }}{{ $_ := set $storage $key $reference }}{{ end -}}
{{- end -}}
{{- with $given.serverSideEncryption -}}
{{- if .algorithm }}{{ $_ := set $storage "serverSideEncryption" (ternary . (pick . "algorithm") (not (empty .kmsKeyId))) }}{{ end -}}
{{- end -}}
{{- toJson $storage -}}
{{- else if or $given.endpoint $given.region $given.loader $given.secretRef.name $given.readSecretRef.name $given.caBundleRef.name -}}
{{- fail "storage.uri is empty, but something else below storage is set: set storage.uri, for example s3://models/yolo" -}}
{{- else if .Values.s3.enabled -}}
{{- dict
  "uri" (printf "s3://%s/yolo" .Values.s3.bucket)
  "endpoint" (printf "http://%s.%s.svc:8333" (include "yolo-operator.s3" .) .Release.Namespace)
  "secretRef" (dict "name" .Values.s3.secretName)
  | toJson -}}
{{- end -}}
{{- end -}}

{{/* The way out to weights, as in spec.build.proxy, in JSON; empty where there is none. */}}
{{- define "yolo-operator.proxy" -}}
{{- $given := .Values.proxy -}}
{{- if or $given.httpProxy $given.httpsProxy -}}
{{- $proxy := dict "noProxy" $given.noProxy -}}
{{- range $key := list "httpProxy" "httpsProxy" -}}
{{- with get $given $key }}{{ $_ := set $proxy $key . }}{{ end -}}
{{- end -}}
{{- range $key := list "secretRef" "caBundleRef" -}}
{{- $reference := get $given $key -}}
{{- if $reference.name }}{{ $_ := set $proxy $key $reference }}{{ end -}}
{{- end -}}
{{- toJson $proxy -}}
{{- else if or $given.secretRef.name $given.caBundleRef.name -}}
{{- fail "proxy.secretRef or proxy.caBundleRef is set, but no proxy: set proxy.httpsProxy, for example http://proxy.example:3128" -}}
{{- end -}}
{{- end -}}
